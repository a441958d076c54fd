/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The model test: random operations on a directory under test and, each at once, on one on tmpfs; the results, errno values,
 * attributes and contents must be the same. Runs inside the guest, as root.
 *
 *     fs-model TESTED MODEL SECONDS SEED [trace]
 *
 * Says on which operation the two first differ, and fails. Symbolic links lead up to two directories above the two, which must have
 * nothing else in them: p/q/TESTED.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

enum {
    NAMES = 6, /* per directory: few, so that operations meet */
    DEPTH = 3,
    OPEN_MAX_FILES = 8,
    DATA_MAX = 300000,
    SIDES = 2, /* the tested directory and the model */
};

static const char *roots[SIDES];
static uint64_t random_state;
static unsigned long operation_count;
static char what[4096]; /* the operation, for the report */

static uint64_t next_random(void)
{
    /* xorshift64* */
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 0x2545f4914f6cdd1dULL;
}

static unsigned pick(unsigned count)
{
    return (unsigned)(next_random() % count);
}

__attribute__((format(printf, 1, 2))) static _Noreturn void differ(const char *format, ...)
{
    va_list args;

    printf("operation %lu: %s: ", operation_count, what);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    exit(1);
}

/* A path below the roots, such as "/b/a/f". */
static void random_path(char path[64])
{
    unsigned depth = 1 + pick(DEPTH);
    char *p = path;

    for (unsigned i = 0; i < depth; i++) {
        *p++ = '/';
        *p++ = (char)('a' + pick(NAMES));
    }
    *p = '\0';
}

static const char *on(int side, const char *path)
{
    static char full[4][PATH_MAX];
    static unsigned next;
    char *buffer = full[next++ % 4];

    snprintf(buffer, PATH_MAX, "%s%s", roots[side], path);
    return buffer;
}

/* Both results, as returned and as errno. */
struct result {
    long value[SIDES];
    int error[SIDES];
};

static void record(struct result *r, int side, long value)
{
    r->value[side] = value;
    r->error[side] = value < 0 ? errno : 0;
}

static int last_error; /* of the last call that both sides agreed on */

static bool compare_result(const struct result *r)
{
    last_error = r->error[0];
    if (r->error[0] != r->error[1])
        differ("%s here, %s on the model", strerror(r->error[0]), strerror(r->error[1]));
    if (r->value[0] != r->value[1])
        differ("%ld here, %ld on the model", r->value[0], r->value[1]);
    return r->error[0] == 0;
}

/* Success or the same error; the value is a descriptor and means nothing. */
static bool compare_success(struct result *r)
{
    for (int side = 0; side < SIDES; side++)
        if (r->value[side] >= 0)
            r->value[side] = 0;
    return compare_result(r);
}

static void compare_stat(const struct stat *a, const struct stat *b)
{
    if (a->st_mode != b->st_mode)
        differ("mode %o here, %o on the model", a->st_mode, b->st_mode);
    if (a->st_uid != b->st_uid || a->st_gid != b->st_gid)
        differ("owner %u:%u here, %u:%u on the model", a->st_uid, a->st_gid, b->st_uid, b->st_gid);
    if (!S_ISDIR(a->st_mode) && a->st_nlink != b->st_nlink)
        differ("%lu links here, %lu on the model", (unsigned long)a->st_nlink, (unsigned long)b->st_nlink);
    if (!S_ISDIR(a->st_mode) && a->st_size != b->st_size)
        differ("size %jd here, %jd on the model", (intmax_t)a->st_size, (intmax_t)b->st_size);
    if ((S_ISCHR(a->st_mode) || S_ISBLK(a->st_mode)) && a->st_rdev != b->st_rdev)
        differ("device %lx here, %lx on the model", (unsigned long)a->st_rdev, (unsigned long)b->st_rdev);
}

static void check_path(const char *path)
{
    struct stat st[SIDES];
    struct result r;

    for (int side = 0; side < SIDES; side++)
        record(&r, side, lstat(on(side, path), &st[side]));
    if (compare_result(&r))
        compare_stat(&st[0], &st[1]);
}

/* POSIX lets a truncation take set-id bits away. Where it did so here, the model is made the same. */
static void settle_privileges(const char *path)
{
    struct stat st[SIDES];
    mode_t without;

    if (stat(on(0, path), &st[0]) < 0 || stat(on(1, path), &st[1]) < 0 || !S_ISREG(st[1].st_mode))
        return;
    without = st[1].st_mode & ~(mode_t)(S_ISUID | (st[1].st_mode & S_IXGRP ? S_ISGID : 0));
    if (st[0].st_mode == without)
        chmod(on(1, path), without & 07777);
}

/* ---- Open files --------------------------------------------------------------------------------------------------------------------- */

struct open_file {
    int fd[SIDES];
    bool used;
};

static struct open_file files[OPEN_MAX_FILES];
static char data[SIDES][DATA_MAX];

static struct open_file *random_file(void)
{
    struct open_file *file = &files[pick(OPEN_MAX_FILES)];

    return file->used ? file : NULL;
}

static void close_file(struct open_file *file)
{
    for (int side = 0; side < SIDES; side++)
        close(file->fd[side]);
    file->used = false;
}

static void do_open(void)
{
    static const int accesses[] = { O_RDONLY, O_WRONLY, O_RDWR };
    int flags = accesses[pick(3)] | (pick(2) ? O_CREAT : 0) | (pick(4) ? 0 : O_EXCL) | (pick(4) ? 0 : O_TRUNC) |
                (pick(4) ? 0 : O_APPEND) | (pick(6) ? 0 : O_NOFOLLOW) | (pick(8) ? 0 : O_DIRECTORY) | O_NONBLOCK;
    mode_t mode = (mode_t)(pick(4) ? 0644 : pick(01000));
    struct open_file *file = &files[pick(OPEN_MAX_FILES)];
    struct stat st;
    struct result r;
    char path[64];

    if ((flags & (O_CREAT | O_DIRECTORY)) == (O_CREAT | O_DIRECTORY))
        flags &= ~O_DIRECTORY;
    if (file->used)
        close_file(file);
    random_path(path);
    /* What a device's driver says is not the file system's. */
    if (stat(on(1, path), &st) == 0 && (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)))
        return;
    snprintf(what, sizeof(what), "open %s flags %o mode %o", path, (unsigned)flags, mode);
    for (int side = 0; side < SIDES; side++) {
        file->fd[side] = open(on(side, path), flags, mode);
        record(&r, side, file->fd[side]);
    }
    file->used = compare_success(&r);
    settle_privileges(path);
    check_path(path);
}

static void check_content(struct open_file *file)
{
    struct stat st[SIDES];
    struct result r;
    off_t offset;

    for (int side = 0; side < SIDES; side++)
        if (fstat(file->fd[side], &st[side]) < 0)
            differ("fstat of side %d: %s", side, strerror(errno));
    compare_stat(&st[0], &st[1]);
    if (!S_ISREG(st[0].st_mode))
        return;
    offset = st[0].st_size > DATA_MAX ? (off_t)pick((unsigned)st[0].st_size) : 0;
    for (int side = 0; side < SIDES; side++)
        record(&r, side, pread(file->fd[side], data[side], DATA_MAX, offset));
    if (compare_result(&r) && memcmp(data[0], data[1], (size_t)r.value[0]) != 0)
        differ("contents differ in %ld bytes from %jd", r.value[0], (intmax_t)offset);
}

static void do_write(void)
{
    struct open_file *file = random_file();
    size_t size = pick(3) ? pick(5000) : pick(DATA_MAX);
    off_t offset = (off_t)pick(pick(2) ? 10000 : 1000000);
    struct result r;
    bool append = pick(2);

    if (!file)
        return;
    snprintf(what, sizeof(what), "write %zu bytes at %jd", size, append ? (intmax_t)-1 : (intmax_t)offset);
    for (size_t i = 0; i < size; i += 64)
        data[0][i] = (char)next_random();
    for (int side = 0; side < SIDES; side++)
        record(&r, side, append ? write(file->fd[side], data[0], size) : pwrite(file->fd[side], data[0], size, offset));
    compare_result(&r);
    check_content(file);
}

static void do_read(void)
{
    struct open_file *file = random_file();

    if (!file)
        return;
    snprintf(what, sizeof(what), "read");
    check_content(file);
}

static void do_ftruncate(void)
{
    struct open_file *file = random_file();
    struct stat st;
    off_t size = (off_t)pick(200000);
    struct result r;

    if (!file)
        return;
    if (fstat(file->fd[1], &st) < 0 || (st.st_mode & (S_ISUID | S_ISGID)))
        return;
    snprintf(what, sizeof(what), "ftruncate to %jd", (intmax_t)size);
    for (int side = 0; side < SIDES; side++)
        record(&r, side, ftruncate(file->fd[side], size));
    compare_result(&r);
    check_content(file);
}

static void do_fallocate(void)
{
    struct open_file *file = random_file();
    /* What tmpfs has too: allocate, keep the size, punch. */
    static const int modes[] = { 0, 1, 3 };
    int mode = modes[pick(3)];
    off_t offset = (off_t)pick(100000), length = 1 + (off_t)pick(100000);
    struct result r;

    if (!file)
        return;
    snprintf(what, sizeof(what), "fallocate mode %d at %jd for %jd", mode, (intmax_t)offset, (intmax_t)length);
    for (int side = 0; side < SIDES; side++)
        record(&r, side, fallocate(file->fd[side], mode, offset, length));
    compare_result(&r);
    check_content(file);
}

static void do_fsync(void)
{
    struct open_file *file = random_file();
    struct result r;

    if (!file)
        return;
    snprintf(what, sizeof(what), "fsync");
    for (int side = 0; side < SIDES; side++)
        record(&r, side, fsync(file->fd[side]));
    compare_result(&r);
}

static void do_mmap_write(void)
{
    struct open_file *file = random_file();
    struct stat st;
    struct result r;
    char *map[SIDES];
    size_t at;

    if (!file || fstat(file->fd[0], &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
        return;
    snprintf(what, sizeof(what), "a shared mapping");
    for (int side = 0; side < SIDES; side++) {
        map[side] = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd[side], 0);
        record(&r, side, map[side] == MAP_FAILED ? -1 : 0);
    }
    if (!compare_result(&r))
        return;
    at = pick((unsigned)st.st_size);
    for (int side = 0; side < SIDES; side++) {
        map[side][at] = (char)operation_count;
        if (operation_count % 2)
            msync(map[side], (size_t)st.st_size, MS_SYNC);
        munmap(map[side], (size_t)st.st_size);
    }
    check_content(file);
}

static void do_copy_range(void)
{
    struct open_file *from = random_file(), *to = random_file();
    size_t size = pick(100000);
    struct result r;

    if (!from || !to || from == to)
        return;
    snprintf(what, sizeof(what), "copy_file_range of %zu", size);
    for (int side = 0; side < SIDES; side++) {
        loff_t in = 100, out = 5000;

        record(&r, side, copy_file_range(from->fd[side], &in, to->fd[side], &out, size, 0));
    }
    compare_result(&r);
    check_content(to);
}

static void do_close(void)
{
    struct open_file *file = random_file();

    if (file)
        close_file(file);
}

/* ---- Names ---------------------------------------------------------------------------------------------------------------------------- */

static void do_mkdir(void)
{
    mode_t mode = (mode_t)(pick(3) ? 0755 : pick(02000));
    struct result r;
    char path[64];

    random_path(path);
    snprintf(what, sizeof(what), "mkdir %s %o", path, mode);
    for (int side = 0; side < SIDES; side++)
        record(&r, side, mkdir(on(side, path), mode));
    compare_result(&r);
    check_path(path);
}

static void do_mknod(void)
{
    static const mode_t types[] = { S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK };
    mode_t mode = types[pick(5)] | (mode_t)pick(010000);
    dev_t device = makedev(1 + pick(300), pick(70000));
    struct result r;
    char path[64];

    random_path(path);
    snprintf(what, sizeof(what), "mknod %s %o", path, mode);
    for (int side = 0; side < SIDES; side++)
        record(&r, side, mknod(on(side, path), mode, device));
    compare_result(&r);
    check_path(path);
}

static void do_remove(bool directory)
{
    struct result r;
    char path[64];

    random_path(path);
    snprintf(what, sizeof(what), "%s %s", directory ? "rmdir" : "unlink", path);
    for (int side = 0; side < SIDES; side++)
        record(&r, side, directory ? rmdir(on(side, path)) : unlink(on(side, path)));
    compare_result(&r);
    check_path(path);
}

static void do_unlink(void)
{
    do_remove(false);
}

static void do_rmdir(void)
{
    do_remove(true);
}

static void do_rename(void)
{
    unsigned flags = pick(3) ? 0 : 1 + pick(2); /* RENAME_NOREPLACE, RENAME_EXCHANGE */
    char from[64], to[64];
    struct result r;

    random_path(from);
    random_path(to);
    snprintf(what, sizeof(what), "rename %s %s flags %u", from, to, flags);
    for (int side = 0; side < SIDES; side++)
        record(&r, side, syscall(SYS_renameat2, AT_FDCWD, on(side, from), AT_FDCWD, on(side, to), flags));
    compare_result(&r);
    check_path(from);
    check_path(to);
}

static void do_link(void)
{
    char from[64], to[64];
    struct result r;

    random_path(from);
    random_path(to);
    snprintf(what, sizeof(what), "link %s %s", from, to);
    for (int side = 0; side < SIDES; side++)
        record(&r, side, link(on(side, from), on(side, to)));
    compare_result(&r);
    check_path(from);
    check_path(to);
}

static void do_symlink(void)
{
    static const char *const targets[] = { "a", "../b", "c/d", "missing", "../../a/b" };
    const char *target = targets[pick(5)];
    char path[64], text[SIDES][64] = { 0 };
    struct result r;

    random_path(path);
    snprintf(what, sizeof(what), "symlink %s to %s", path, target);
    for (int side = 0; side < SIDES; side++)
        record(&r, side, symlink(target, on(side, path)));
    compare_result(&r);
    check_path(path);
    for (int side = 0; side < SIDES; side++)
        record(&r, side, readlink(on(side, path), text[side], sizeof(text[side]) - 1));
    if (compare_result(&r) && strcmp(text[0], text[1]) != 0)
        differ("link to %s here, to %s on the model", text[0], text[1]);
}

static void do_chmod(void)
{
    mode_t mode = (mode_t)pick(010000);
    struct result r;
    char path[64];

    random_path(path);
    snprintf(what, sizeof(what), "chmod %s %o", path, mode);
    for (int side = 0; side < SIDES; side++)
        record(&r, side, chmod(on(side, path), mode));
    compare_result(&r);
    check_path(path);
}

static void do_chown(void)
{
    uid_t uid = pick(4) ? pick(3) * 1000 : (uid_t)-1;
    gid_t gid = pick(4) ? pick(3) * 1000 : (gid_t)-1;
    struct result r;
    char path[64];

    /* Without either there is nothing to tell the file system, and set-id bits stay. */
    if (uid == (uid_t)-1 && gid == (gid_t)-1)
        return;
    random_path(path);
    snprintf(what, sizeof(what), "lchown %s %d:%d", path, (int)uid, (int)gid);
    for (int side = 0; side < SIDES; side++)
        record(&r, side, lchown(on(side, path), uid, gid));
    compare_result(&r);
    check_path(path);
}

static void do_utimens(void)
{
    struct timespec times[2] = { { pick(1u << 31), pick(1000000000) }, { pick(1u << 31), pick(1000000000) } };
    struct stat st[SIDES];
    struct result r;
    char path[64];

    random_path(path);
    snprintf(what, sizeof(what), "utimensat %s", path);
    for (int side = 0; side < SIDES; side++)
        record(&r, side, utimensat(AT_FDCWD, on(side, path), times, AT_SYMLINK_NOFOLLOW));
    if (!compare_result(&r))
        return;
    for (int side = 0; side < SIDES; side++)
        if (lstat(on(side, path), &st[side]) < 0)
            differ("lstat: %s", strerror(errno));
    if (st[0].st_mtim.tv_sec != times[1].tv_sec || st[0].st_mtim.tv_nsec != times[1].tv_nsec)
        differ("modification time %jd.%09ld", (intmax_t)st[0].st_mtim.tv_sec, st[0].st_mtim.tv_nsec);
    /* Looking may have gone through the link itself. */
    if (S_ISLNK(st[0].st_mode))
        return;
    if (st[0].st_atim.tv_sec != times[0].tv_sec || st[0].st_atim.tv_nsec != times[0].tv_nsec)
        differ("access time %jd.%09ld", (intmax_t)st[0].st_atim.tv_sec, st[0].st_atim.tv_nsec);
}

static void do_truncate(void)
{
    off_t size = (off_t)pick(100000);
    struct result r;
    char path[64];

    random_path(path);
    snprintf(what, sizeof(what), "truncate %s %jd", path, (intmax_t)size);
    for (int side = 0; side < SIDES; side++)
        record(&r, side, truncate(on(side, path), size));
    compare_result(&r);
    settle_privileges(path);
    check_path(path);
}

static void do_xattr(void)
{
    static const char *const names[] = { "trusted.a", "security.b", "trusted.c" };
    const char *name = names[pick(3)];
    char value[2][200], path[64];
    size_t size = pick(200);
    unsigned operation = pick(3);
    struct stat st;
    struct result r;

    random_path(path);
    if (lstat(on(1, path), &st) < 0 || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
        return;
    snprintf(what, sizeof(what), "xattr %s %s of %s", operation == 0 ? "set" : operation == 1 ? "get" : "remove", name, path);
    memset(value, (int)pick(256), sizeof(value));
    for (int side = 0; side < SIDES; side++) {
        if (operation == 0)
            record(&r, side, lsetxattr(on(side, path), name, value[0], size, (int)pick(1)));
        else if (operation == 1)
            record(&r, side, lgetxattr(on(side, path), name, value[side], sizeof(value[side])));
        else
            record(&r, side, lremovexattr(on(side, path), name));
    }
    if (compare_result(&r) && operation == 1 && memcmp(value[0], value[1], (size_t)r.value[0]) != 0)
        differ("values differ");
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names in a directory with their types, sorted. */
static long list(const char *path, char *text, size_t size)
{
    DIR *dir = opendir(path);
    char *names[NAMES + 3];
    size_t count = 0, length = 0;
    const struct dirent *e;

    if (!dir)
        return -1;
    while ((e = readdir(dir)) && count < NAMES + 3)
        if (asprintf(&names[count++], "%s:%d ", e->d_name, e->d_type) < 0)
            abort();
    closedir(dir);
    qsort(names, count, sizeof(names[0]), by_name);
    for (size_t i = 0; i < count; i++) {
        length += (size_t)snprintf(text + length, size - length, "%s", names[i]);
        free(names[i]);
    }
    return (long)length;
}

static void do_list(void)
{
    char path[64], text[SIDES][1024];
    struct result r;

    random_path(path);
    snprintf(what, sizeof(what), "list %s", path);
    for (int side = 0; side < SIDES; side++)
        record(&r, side, list(on(side, path), text[side], sizeof(text[side])));
    if (compare_success(&r) && strcmp(text[0], text[1]) != 0)
        differ("%shere, %son the model", text[0], text[1]);
}

static void (*const operations[])(void) = {
    do_open,    do_open,  do_open,  do_write,   do_write,    do_write,  do_read,  do_ftruncate, do_fallocate,  do_fsync,
    do_close,   do_mkdir, do_mkdir, do_mknod,   do_unlink,   do_unlink, do_rmdir, do_rename,    do_rename,     do_link,
    do_symlink, do_chmod, do_chown, do_utimens, do_truncate, do_xattr,  do_xattr, do_list,      do_mmap_write, do_copy_range,
};

int main(int argc, char **argv)
{
    time_t end;

    if (argc < 5) {
        fprintf(stderr, "usage: fs-model TESTED MODEL SECONDS SEED [trace]\n");
        return 2;
    }
    roots[0] = argv[1];
    roots[1] = argv[2];
    random_state = strtoull(argv[4], NULL, 10) * 2 + 1;
    umask(022);
    signal(SIGPIPE, SIG_IGN); /* writing to a FIFO that nobody reads any more: an error to compare, as any */
    end = time(NULL) + atol(argv[3]);
    while (time(NULL) < end) {
        operation_count++;
        *what = '\0';
        operations[pick(sizeof(operations) / sizeof(operations[0]))]();
        if (argc == 6 && *what)
            printf("%lu: %s: %s\n", operation_count, what, strerror(last_error));
    }
    printf("%lu operations agree\n", operation_count);
    return 0;
}
