/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POSIX's rules for names, permissions, owners and times, one by one, with every errno. Runs inside the guest, as root:
 *
 *     posix DIRECTORY
 *
 * Each check is a line of a small language: an optional user, an operation and its arguments, and what is expected of it. What
 * differs is printed; the last line says how many checks there were and how many failed.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

enum {
    LINE_MAX_SIZE = 3 * PATH_MAX,
    WORDS_MAX = 12,
    TICK =
        40000000, /* nanoseconds: longer than the clocks of guest and host differ, and a file system takes to advance its own */
};

static unsigned long checks, failures;
static char self[PATH_MAX]; /* this program */

/* ---- Operations ------------------------------------------------------------------------------------------------------------------ */

/* What an operation said: an errno's name, "0", or what it was asked for. */
struct answer {
    char text[PATH_MAX];
};

static void say(struct answer *a, long result)
{
    snprintf(a->text, sizeof(a->text), "%s", result < 0 ? strerrorname_np(errno) : "0");
}

static long number(const char *word)
{
    return strtol(word, NULL, 0);
}

static int open_flags(const char *text)
{
    static const struct {
        const char *name;
        int flag;
    } flags[] = {
        { "O_RDONLY", O_RDONLY }, { "O_WRONLY", O_WRONLY },   { "O_RDWR", O_RDWR },         { "O_CREAT", O_CREAT },
        { "O_EXCL", O_EXCL },     { "O_TRUNC", O_TRUNC },     { "O_APPEND", O_APPEND },     { "O_NONBLOCK", O_NONBLOCK },
        { "O_PATH", O_PATH },     { "O_TMPFILE", O_TMPFILE }, { "O_NOFOLLOW", O_NOFOLLOW }, { "O_DIRECTORY", O_DIRECTORY },
    };
    char copy[256], *rest = copy, *word;
    int result = 0;

    snprintf(copy, sizeof(copy), "%s", text);
    while ((word = strsep(&rest, "|"))) {
        size_t i = 0;

        while (i < sizeof(flags) / sizeof(flags[0]) && strcmp(flags[i].name, word) != 0)
            i++;
        if (i == sizeof(flags) / sizeof(flags[0])) {
            fprintf(stderr, "posix: no flag `%s`\n", word);
            exit(2);
        }
        result |= flags[i].flag;
    }
    return result;
}

static void op_open(char **w, struct answer *a)
{
    int fd = open(w[0], open_flags(w[1]), w[2] ? (mode_t)number(w[2]) : 0);

    say(a, fd);
    if (fd >= 0)
        close(fd);
}

static void op_create(char **w, struct answer *a)
{
    w[2] = w[1];
    w[1] = (char *)"O_WRONLY|O_CREAT|O_EXCL";
    op_open(w, a);
}

/* write PATH TEXT: overwrites the beginning. */
static void op_write(char **w, struct answer *a)
{
    int fd = open(w[0], O_WRONLY);
    ssize_t n = fd < 0 ? -1 : write(fd, w[1], strlen(w[1]));

    say(a, n);
    if (fd >= 0)
        close(fd);
}

static void op_read(char **w, struct answer *a)
{
    int fd = open(w[0], O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, a->text, 100);

    if (n < 0)
        say(a, -1);
    else
        a->text[n] = '\0';
    if (fd >= 0)
        close(fd);
}

static void op_unlink(char **w, struct answer *a)
{
    say(a, unlink(w[0]));
}

static void op_mkdir(char **w, struct answer *a)
{
    say(a, mkdir(w[0], (mode_t)number(w[1])));
}

static void op_rmdir(char **w, struct answer *a)
{
    say(a, rmdir(w[0]));
}

static void op_link(char **w, struct answer *a)
{
    say(a, link(w[0], w[1]));
}

static void op_symlink(char **w, struct answer *a)
{
    say(a, symlink(w[0], w[1]));
}

static void op_readlink(char **w, struct answer *a)
{
    ssize_t n = readlink(w[0], a->text, sizeof(a->text) - 1);

    if (n < 0)
        say(a, n);
    else
        a->text[n] = '\0';
}

static void op_rename(char **w, struct answer *a)
{
    say(a, syscall(SYS_renameat2, AT_FDCWD, w[0], AT_FDCWD, w[1], w[2] ? number(w[2]) : 0));
}

static void op_mkfifo(char **w, struct answer *a)
{
    say(a, mkfifo(w[0], (mode_t)number(w[1])));
}

/* mknod PATH c|b|r MODE MAJOR MINOR */
static void op_mknod(char **w, struct answer *a)
{
    mode_t type = *w[1] == 'c' ? S_IFCHR : *w[1] == 'b' ? S_IFBLK : S_IFREG;

    say(a, mknod(w[0], type | (mode_t)number(w[2]), makedev((unsigned)number(w[3]), (unsigned)number(w[4]))));
}

static int unix_socket(const char *path, struct sockaddr_un *address)
{
    *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
    snprintf(address->sun_path, sizeof(address->sun_path), "%s", path);
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static void op_bind(char **w, struct answer *a)
{
    struct sockaddr_un address;
    int fd = unix_socket(w[0], &address);

    say(a, strlen(w[0]) >= sizeof(address.sun_path) ? (errno = ENAMETOOLONG, -1)
                                                    : bind(fd, (struct sockaddr *)&address, sizeof(address)));
    close(fd);
}

/* serve PATH: binds, listens, connects, and passes a byte. */
static void op_serve(char **w, struct answer *a)
{
    struct sockaddr_un address;
    int server = unix_socket(w[0], &address), client = unix_socket(w[0], &address), peer = -1;
    char c = 0;

    if (bind(server, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(server, 1) == 0 &&
        connect(client, (struct sockaddr *)&address, sizeof(address)) == 0)
        peer = accept(server, NULL, NULL);
    say(a, peer >= 0 && write(client, "x", 1) == 1 && read(peer, &c, 1) == 1 && c == 'x' ? 0 : -1);
    close(server);
    close(client);
    close(peer);
}

static void op_chmod(char **w, struct answer *a)
{
    say(a, chmod(w[0], (mode_t)number(w[1])));
}

static void op_chown(char **w, struct answer *a)
{
    say(a, chown(w[0], (uid_t)number(w[1]), (gid_t)number(w[2])));
}

static void op_lchown(char **w, struct answer *a)
{
    say(a, lchown(w[0], (uid_t)number(w[1]), (gid_t)number(w[2])));
}

static void op_truncate(char **w, struct answer *a)
{
    say(a, truncate(w[0], number(w[1])));
}

static void op_ftruncate(char **w, struct answer *a)
{
    int fd = open(w[0], O_WRONLY);

    say(a, fd < 0 ? -1 : ftruncate(fd, number(w[1])));
    if (fd >= 0)
        close(fd);
}

static void op_fallocate(char **w, struct answer *a)
{
    int fd = open(w[0], O_WRONLY);

    say(a, fd < 0 ? -1 : fallocate(fd, (int)number(w[1]), number(w[2]), number(w[3])));
    if (fd >= 0)
        close(fd);
}

static struct timespec time_of(const char *word)
{
    struct timespec t = { 0 };
    char *end;

    if (strcmp(word, "now") == 0)
        return (struct timespec){ .tv_nsec = UTIME_NOW };
    if (strcmp(word, "omit") == 0)
        return (struct timespec){ .tv_nsec = UTIME_OMIT };
    t.tv_sec = strtol(word, &end, 10);
    if (*end == '.')
        t.tv_nsec = strtol(end + 1, NULL, 10);
    return t;
}

/* utimensat PATH ATIME MTIME [nofollow] */
static void op_utimensat(char **w, struct answer *a)
{
    const struct timespec times[2] = { time_of(w[1]), time_of(w[2]) };

    say(a, utimensat(AT_FDCWD, w[0], times, w[3] ? AT_SYMLINK_NOFOLLOW : 0));
}

static const char *type_name(mode_t mode)
{
    return S_ISREG(mode)    ? "regular"
           : S_ISDIR(mode)  ? "dir"
           : S_ISFIFO(mode) ? "fifo"
           : S_ISBLK(mode)  ? "block"
           : S_ISCHR(mode)  ? "char"
           : S_ISSOCK(mode) ? "socket"
           : S_ISLNK(mode)  ? "symlink"
                            : "unknown";
}

static void add_field(char *text, size_t size, const struct stat *st, const char *field)
{
    size_t used = strlen(text);
    char *to = text + used;

    size -= used;
    if (strcmp(field, "type") == 0)
        snprintf(to, size, "%s", type_name(st->st_mode));
    else if (strcmp(field, "mode") == 0)
        snprintf(to, size, "0%o", st->st_mode & 07777);
    else if (strcmp(field, "uid") == 0)
        snprintf(to, size, "%u", st->st_uid);
    else if (strcmp(field, "gid") == 0)
        snprintf(to, size, "%u", st->st_gid);
    else if (strcmp(field, "nlink") == 0)
        snprintf(to, size, "%lu", (unsigned long)st->st_nlink);
    else if (strcmp(field, "size") == 0)
        snprintf(to, size, "%jd", (intmax_t)st->st_size);
    else if (strcmp(field, "ino") == 0)
        snprintf(to, size, "%ju", (uintmax_t)st->st_ino);
    else if (strcmp(field, "dev") == 0)
        snprintf(to, size, "%u:%u", major(st->st_rdev), minor(st->st_rdev));
    else if (strcmp(field, "atime") == 0)
        snprintf(to, size, "%jd.%09ld", (intmax_t)st->st_atim.tv_sec, st->st_atim.tv_nsec);
    else if (strcmp(field, "mtime") == 0)
        snprintf(to, size, "%jd.%09ld", (intmax_t)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
    else if (strcmp(field, "ctime") == 0)
        snprintf(to, size, "%jd.%09ld", (intmax_t)st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
}

static void show(const struct stat *st, char *fields, struct answer *a)
{
    char *field;

    *a->text = '\0';
    while ((field = strsep(&fields, ","))) {
        add_field(a->text, sizeof(a->text), st, field);
        if (fields)
            strcat(a->text, ",");
    }
}

static void op_stat(char **w, struct answer *a)
{
    struct stat st;
    int result = stat(w[0], &st);

    say(a, result);
    if (result == 0 && w[1])
        show(&st, w[1], a);
}

static void op_lstat(char **w, struct answer *a)
{
    struct stat st;
    int result = lstat(w[0], &st);

    say(a, result);
    if (result == 0 && w[1])
        show(&st, w[1], a);
}

static void op_access(char **w, struct answer *a)
{
    say(a, faccessat(AT_FDCWD, w[0], (int)number(w[1]), AT_EACCESS));
}

static void op_list(char **w, struct answer *a)
{
    int fd = open(w[0], O_RDONLY | O_DIRECTORY);
    char buffer[1024];

    say(a, fd < 0 ? -1 : syscall(SYS_getdents64, fd, buffer, sizeof(buffer)));
    if (fd >= 0)
        close(fd);
}

static void op_chdir(char **w, struct answer *a)
{
    int here = open(".", O_PATH | O_DIRECTORY);

    say(a, chdir(w[0]));
    if (fchdir(here) < 0)
        abort();
    close(here);
}

/* setxattr PATH NAME VALUE, getxattr PATH NAME, removexattr PATH NAME: of the thing itself. */
static void op_setxattr(char **w, struct answer *a)
{
    say(a, lsetxattr(w[0], w[1], w[2], strlen(w[2]), w[3] ? (int)number(w[3]) : 0));
}

static void op_getxattr(char **w, struct answer *a)
{
    ssize_t n = lgetxattr(w[0], w[1], a->text, sizeof(a->text) - 1);

    if (n < 0)
        say(a, n);
    else
        a->text[n] = '\0';
}

static void op_removexattr(char **w, struct answer *a)
{
    say(a, lremovexattr(w[0], w[1]));
}

/* exec PATH: a copy of this program, which says "ran" by its status. */
static void op_exec(char **w, struct answer *a)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        execl(w[0], w[0], "exit", (char *)NULL);
        _exit(errno);
    }
    waitpid(pid, &status, 0);
    errno = WEXITSTATUS(status);
    say(a, errno == 77 ? 0 : -1);
}

static const struct {
    const char *name;
    void (*run)(char **words, struct answer *answer);
} operations[] = {
    { "open", op_open },           { "create", op_create },       { "write", op_write },
    { "read", op_read },           { "unlink", op_unlink },       { "mkdir", op_mkdir },
    { "rmdir", op_rmdir },         { "link", op_link },           { "symlink", op_symlink },
    { "readlink", op_readlink },   { "rename", op_rename },       { "mkfifo", op_mkfifo },
    { "mknod", op_mknod },         { "bind", op_bind },           { "serve", op_serve },
    { "chmod", op_chmod },         { "chown", op_chown },         { "lchown", op_lchown },
    { "truncate", op_truncate },   { "ftruncate", op_ftruncate }, { "fallocate", op_fallocate },
    { "utimensat", op_utimensat }, { "stat", op_stat },           { "lstat", op_lstat },
    { "access", op_access },       { "list", op_list },           { "chdir", op_chdir },
    { "setxattr", op_setxattr },   { "getxattr", op_getxattr },   { "removexattr", op_removexattr },
    { "exec", op_exec },
};

/* ---- Checks ---------------------------------------------------------------------------------------------------------------------- */

/* "UID:GID" or "UID:GID,GID": this thread becomes that user until become_root(). */
static void become(char *user)
{
    gid_t groups[8];
    size_t count = 0;
    uid_t uid = (uid_t)strtoul(user, &user, 10);

    while (*user && count < 8)
        groups[count++] = (gid_t)strtoul(user + 1, &user, 10);
    if (setgroups(count, groups) < 0 || setegid(groups[0]) < 0 || seteuid(uid) < 0)
        abort();
}

static void become_root(void)
{
    if (seteuid(0) < 0 || setegid(0) < 0 || setgroups(0, NULL) < 0)
        abort();
}

static void run_line(char *line, struct answer *a)
{
    char *words[WORDS_MAX + 1] = { NULL }, **w = words, *word;
    size_t count = 0;
    bool other = false;

    while ((word = strsep(&line, " ")) && count < WORDS_MAX)
        words[count++] = word;
    if (**w >= '0' && **w <= '9') {
        become(*w++);
        other = true;
    }
    for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
        if (strcmp(operations[i].name, *w) == 0) {
            operations[i].run(w + 1, a);
            if (other)
                become_root();
            return;
        }
    }
    fprintf(stderr, "posix: no operation `%s`\n", *w);
    exit(2);
}

__attribute__((format(printf, 3, 0))) static void do_line(struct answer *a, char copy[LINE_MAX_SIZE], const char *format,
                                                          va_list args)
{
    char line[LINE_MAX_SIZE];

    vsnprintf(line, sizeof(line), format, args);
    strcpy(copy, line);
    run_line(line, a);
}

static bool among(const char *answer, const char *expected)
{
    char copy[PATH_MAX], *rest = copy, *word;

    snprintf(copy, sizeof(copy), "%s", expected);
    while ((word = strsep(&rest, "|")))
        if (strcmp(word, answer) == 0)
            return true;
    return false;
}

/* expected: what is answered, or several with a bar between them. */
__attribute__((format(printf, 2, 3))) static void expect(const char *expected, const char *format, ...)
{
    char line[LINE_MAX_SIZE];
    struct answer a;
    va_list args;

    va_start(args, format);
    do_line(&a, line, format, args);
    va_end(args);
    checks++;
    if (among(a.text, expected))
        return;
    failures++;
    printf("%.200s: %.100s, not %.100s\n", line, a.text, expected);
}

/* What a line answers. */
__attribute__((format(printf, 1, 2))) static struct answer ask(const char *format, ...)
{
    char line[LINE_MAX_SIZE];
    struct answer a;
    va_list args;

    va_start(args, format);
    do_line(&a, line, format, args);
    va_end(args);
    return a;
}

static void tick(void)
{
    nanosleep(&(struct timespec){ .tv_nsec = TICK }, NULL);
}

static void check(bool good, const char *what, const char *detail)
{
    checks++;
    if (good)
        return;
    failures++;
    printf("%s: %s\n", what, detail);
}

/* Whether the first time in a is after that in b. */
static bool is_later(const char *a, const char *b)
{
    struct timespec x = { .tv_nsec = 0 }, y = { .tv_nsec = 0 };

    sscanf(a, "%ld.%ld", &x.tv_sec, &x.tv_nsec);
    sscanf(b, "%ld.%ld", &y.tv_sec, &y.tv_nsec);
    return x.tv_sec > y.tv_sec || (x.tv_sec == y.tv_sec && x.tv_nsec > y.tv_nsec);
}

/* Whether times in a file's status are as before, or later. */
static void times_changed(const char *path, const char *fields, const struct answer *before, bool wanted, const char *what)
{
    struct answer now = ask("lstat %s %s", path, fields);
    char then[PATH_MAX], *a = then, *b = now.text, *old, *new;
    char detail[512];

    snprintf(then, sizeof(then), "%s", before->text);
    snprintf(detail, sizeof(detail), "%s of %.60s: %.100s, was %.100s", fields, path, now.text, before->text);
    while ((old = strsep(&a, ",")) && (new = strsep(&b, ",")))
        check(wanted ? is_later(new, old) : strcmp(new, old) == 0, what, detail);
}

static const char *const types[] = { "regular", "dir", "fifo", "block", "char", "socket", "symlink" };
enum { NUM_TYPES = 7, NOT_LINKS = 6 };

static void make(const char *type, const char *name)
{
    if (strcmp(type, "regular") == 0)
        expect("0", "create %s 0644", name);
    else if (strcmp(type, "dir") == 0)
        expect("0", "mkdir %s 0755", name);
    else if (strcmp(type, "fifo") == 0)
        expect("0", "mkfifo %s 0644", name);
    else if (strcmp(type, "block") == 0)
        expect("0", "mknod %s b 0644 1 2", name);
    else if (strcmp(type, "char") == 0)
        expect("0", "mknod %s c 0644 1 2", name);
    else if (strcmp(type, "socket") == 0)
        expect("0", "bind %s", name);
    else
        expect("0", "symlink test %s", name);
}

static void unmake(const char *type, const char *name)
{
    expect("0", "%s %s", strcmp(type, "dir") == 0 ? "rmdir" : "unlink", name);
}

/* ---- What all operations have in common ------------------------------------------------------------------------------------------- */

/* Operations on a name that is there, and on one that is not; the name is where %s stands. */
static const char *const on_name[] = {
    "open %s O_RDONLY",
    "open %s O_RDWR",
    "chmod %s 0600",
    "chown %s 0 0",
    "lchown %s 0 0",
    "truncate %s 10",
    "unlink %s",
    "rmdir %s",
    "stat %s",
    "lstat %s",
    "rename %s other",
    "link %s other",
    "utimensat %s now now",
    "readlink %s",
    "access %s 0",
    "getxattr %s user.a",
    "list %s",
    "chdir %s",
};
static const char *const for_name[] = {
    "open %s O_RDWR|O_CREAT 0644", "create %s 0644",  "mkdir %s 0755", "mkfifo %s 0644", "mknod %s c 0644 1 2",
    "mknod %s r 0644 0 0",         "symlink test %s", "bind %s",       "link file %s",   "rename file %s",
    "rename directory %s",
};
enum { ON_NAME = sizeof(on_name) / sizeof(on_name[0]), FOR_NAME = sizeof(for_name) / sizeof(for_name[0]) };

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void expect_all(const char *expected, const char *user, const char *const *list, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        char line[LINE_MAX_SIZE];

        /* A socket's address is too short for the longest names. */
        if (strncmp(list[i], "bind", 4) == 0 && strlen(name) > 100)
            continue;
        snprintf(line, sizeof(line), list[i], name);
        expect(expected, "%s%s", user, line);
    }
}
#pragma GCC diagnostic pop

static void paths_are_checked(void)
{
    char name[PATH_MAX + 8], *p = name;

    expect("0", "create file 0644");
    expect("0", "mkdir directory 0755");
    for (int i = 0; i < NOT_LINKS; i++) {
        if (strcmp(types[i], "dir") == 0)
            continue;
        make(types[i], "nodir");
        expect_all("ENOTDIR", "", on_name, ON_NAME, "nodir/test");
        expect_all("ENOTDIR", "", for_name, FOR_NAME, "nodir/test");
        expect("ENOTDIR", "open nodir O_RDONLY|O_DIRECTORY");
        expect("ENOTDIR", "rmdir nodir");
        expect("ENOTDIR", "list nodir");
        expect("ENOTDIR", "rename directory nodir");
        unmake(types[i], "nodir");
    }
    expect_all("ENOENT", "", on_name, ON_NAME, "missing");
    expect_all("ENOENT", "", on_name, ON_NAME, "missing/test");
    expect_all("ENOENT", "", for_name, FOR_NAME, "missing/test");
    /* Loops. */
    expect("0", "symlink loop1 loop2");
    expect("0", "symlink loop2 loop1");
    expect_all("ELOOP", "", on_name, ON_NAME, "loop1/test");
    expect_all("ELOOP", "", for_name, FOR_NAME, "loop1/test");
    expect("ELOOP", "open loop1 O_RDONLY");
    expect("ELOOP", "open loop1 O_RDWR|O_CREAT 0644");
    expect("ELOOP", "chmod loop1 0600");
    expect("ELOOP", "chown loop1 1 1");
    expect("ELOOP", "truncate loop1 1");
    expect("ELOOP", "stat loop1");
    expect("ELOOP", "utimensat loop1 now now");
    expect("0", "unlink loop1");
    expect("0", "unlink loop2");
    /* The longest names there are, and one more. */
    memset(name, 'n', NAME_MAX);
    name[NAME_MAX] = '\0';
    expect("0", "create %s 0644", name);
    expect("regular", "lstat %s type", name);
    expect("0", "chmod %s 0600", name);
    expect("0", "rename %s file2", name);
    expect("0", "rename file2 %s", name);
    expect("0", "link %s file2", name);
    expect("2", "stat %s nlink", name);
    expect("0", "unlink file2");
    expect("0", "unlink %s", name);
    expect("0", "mkdir %s 0755", name);
    expect("0", "rmdir %s", name);
    expect("0", "symlink test %s", name);
    expect("test", "readlink %s", name);
    expect("0", "unlink %s", name);
    expect("0", "mkfifo %s 0644", name);
    expect("0", "unlink %s", name);
    strcat(name, "n");
    expect_all("ENAMETOOLONG", "", on_name, ON_NAME, name);
    expect_all("ENAMETOOLONG", "", for_name, FOR_NAME, name);
    while (p + 2 < name + PATH_MAX - 1)
        p = stpcpy(p, "./");
    *p++ = 'x';
    *p = '\0';
    if (p < name + PATH_MAX - 1)
        strcpy(p, "x");
    expect("0", "create %s 0644", name);
    expect("0", "unlink %s", name);
    strcat(name, "y");
    expect_all("ENAMETOOLONG", "", on_name, ON_NAME, name);
    expect_all("ENAMETOOLONG", "", for_name, FOR_NAME, name);
    expect("0", "unlink file");
    expect("0", "rmdir directory");
}

static void directories_are_searched_and_written_with_leave(void)
{
    static const char *const changes[] = { "unlink %s", "rename %s d/other", "rmdir %s" };

    expect("0", "mkdir d 0755");
    expect("0", "chown d 65534 65534");
    expect("0", "65534:65534 create d/file 0666");
    expect("0", "65534:65534 mkdir d/directory 0777");
    expect("0", "create file 0666");
    expect("0", "mkdir directory 0777");
    /* Not searched. */
    expect("0", "chmod d 0644");
    expect_all("EACCES", "65534:65534 ", on_name, ON_NAME, "d/file");
    expect_all("EACCES", "65534:65534 ", for_name, FOR_NAME - 3, "d/new");
    expect("EACCES", "65534:65534 link d/file d/new");
    expect("EACCES", "65534:65534 rename d/file d/new");
    expect("0", "chmod d 0766");
    expect_all("EACCES", "65533:65533 ", on_name, ON_NAME - 1, "d/file");
    expect_all("EACCES", "65533:65534 ", for_name, FOR_NAME - 3, "d/new");
    /* Not written. */
    expect("0", "chmod d 0555");
    for (size_t i = 0; i < 2; i++)
        expect_all("EACCES", "65534:65534 ", &changes[i], 1, "d/file");
    expect_all("EACCES", "65534:65534 ", &changes[1], 2, "d/directory");
    expect_all("EACCES", "65534:65534 ", for_name, 4, "d/new");
    expect("EACCES", "65534:65534 symlink test d/new");
    expect("EACCES", "65534:65534 link d/file d/new");
    expect("0", "65534:65534 open d/file O_RDWR|O_CREAT 0644");
    expect("EEXIST", "65534:65534 create d/file 0644");
    expect("EEXIST", "65534:65534 mkdir d/file 0755");
    /* Not read. */
    expect("0", "chmod d 0333");
    expect("EACCES", "65534:65534 list d");
    expect("0", "65534:65534 chdir d");
    expect("regular", "65534:65534 stat d/file type");
    expect("0", "65534:65534 rename d/file d/new");
    expect("0", "65534:65534 rename d/new d/file");
    /* Of a group, and of supplementary ones. */
    expect("0", "chmod d 0070");
    expect("EACCES", "65533:65533 create d/new 0644");
    expect("0", "65533:65534 create d/new 0644");
    expect("0", "65533:65533,65534 unlink d/new");
    expect("EACCES", "65534:65534 create d/new 0644");
    expect("0", "create d/new 0644");
    expect("0", "unlink d/new");
    expect("0", "unlink d/file");
    expect("0", "rmdir d/directory");
    expect("0", "rmdir d");
    expect("0", "unlink file");
    expect("0", "rmdir directory");
}

static void files_are_opened_with_leave(void)
{
    static const char *const users[] = { "65534:65534", "65533:65534", "65533:65533", "65533:65533,65534" };

    expect("0", "create f 0");
    expect("0", "chown f 65534 65534");
    for (unsigned user = 0; user < 4; user++) {
        unsigned shift = user == 0 ? 6 : user == 2 ? 0 : 3;

        for (unsigned bits = 0; bits < 8; bits++) {
            /* All the others have what this one has not. */
            unsigned mode = (0777 & ~(7u << shift)) ^ 0, others = 7 ^ bits;

            mode = (others * 0111 & ~(7u << shift)) | bits << shift;
            expect("0", "chmod f 0%o", mode);
            expect(bits & 4 ? "0" : "EACCES", "%s open f O_RDONLY", users[user]);
            expect(bits & 2 ? "0" : "EACCES", "%s open f O_WRONLY", users[user]);
            expect((bits & 6) == 6 ? "0" : "EACCES", "%s open f O_RDWR", users[user]);
            expect(bits & 2 ? "0" : "EACCES", "%s open f O_WRONLY|O_TRUNC", users[user]);
            expect((bits & 6) == 6 ? "0" : "EACCES", "%s open f O_RDONLY|O_TRUNC", users[user]);
            expect(bits & 2 ? "0" : "EACCES", "%s truncate f 0", users[user]);
            expect(bits & 1 ? "0" : "EACCES", "%s access f 1", users[user]);
        }
    }
    expect("0", "chmod f 0");
    expect("0", "open f O_RDWR");
    expect("EACCES", "access f 1");
    expect("EACCES", "exec f");
    expect("0", "unlink f");
}

/* ---- By operation ------------------------------------------------------------------------------------------------------------------ */

static void chmod_works(void)
{
    for (int i = 0; i < NOT_LINKS; i++) {
        struct answer before;

        make(types[i], "n");
        expect("0", "chmod n 0111");
        expect("0111", "stat n mode");
        expect("0", "symlink n l");
        expect("0", "chmod l 0222");
        expect("0222", "stat l mode");
        expect("0222", "lstat n mode");
        expect("0777", "lstat l mode");
        expect("0", "unlink l");
        before = ask("lstat n ctime");
        tick();
        expect("0", "chmod n 0321");
        times_changed("n", "ctime", &before, true, "chmod");
        before = ask("lstat n ctime");
        tick();
        expect("EPERM", "65534:65534 chmod n 0100");
        times_changed("n", "ctime", &before, false, "refused chmod");
        expect("0", "chown n 65534 65534");
        expect("0", "65534:65534 chmod n 0642");
        expect("EPERM", "65533:65533 chmod n 0641");
        expect("0642", "stat n mode");
        /* Set-group-id only for a group that one is in. */
        expect("0", "65534:65534 chmod n 02755");
        expect("02755", "stat n mode");
        expect("0", "65534:65533 chmod n 02755");
        expect("0755", "stat n mode");
        expect("0", "65534:65533,65534 chmod n 02755");
        expect("02755", "stat n mode");
        expect("0", "65534:65534 chmod n 01644");
        expect("01644", "stat n mode");
        expect("0", "chmod n 07777");
        expect("07777", "stat n mode");
        unmake(types[i], "n");
    }
}

/* A write or a truncation by somebody else takes set-id bits away; root's does not. */
static void privileges_go_with_a_change(void)
{
    static const char *const changes[] = {
        "write n x", "truncate n 0", "truncate n 20", "ftruncate n 3", "open n O_WRONLY|O_TRUNC", "fallocate n 0 0 4096"
    };

    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        expect("0", "create n 0644");
        expect("0", "chown n 65533 65533");
        expect("0", "write n hello");
        expect("0", "chmod n 06777");
        expect("0", "65534:65534 %s", changes[i]);
        expect("0777", "stat n mode");
        expect("0", "chmod n 04777");
        expect("0", "65533:65533 %s", changes[i]);
        expect("0777", "stat n mode");
        expect("0", "chmod n 02777");
        expect("0", "65534:65534 %s", changes[i]);
        expect("0777", "stat n mode");
        /* Without group execution the bit is none of privilege. */
        expect("0", "chmod n 02767");
        expect("0", "65533:65533 %s", changes[i]);
        expect("02767", "stat n mode");
        expect("0", "chmod n 06777");
        expect("0", "%s", changes[i]);
        /* POSIX lets truncate(2) take them away, and over an overlay it does. */
        expect(strstr(changes[i], "trunc") || strstr(changes[i], "TRUNC") ? "06777|0777" : "06777", "stat n mode");
        expect("0", "unlink n");
    }
}

static void chown_works(void)
{
    for (int i = 0; i < NUM_TYPES; i++) {
        bool is_link = i == NOT_LINKS;
        struct answer before;

        make(types[i], "n");
        expect("0", "lchown n 123 456");
        expect("123,456", "lstat n uid,gid");
        expect("0", "lchown n -1 457");
        expect("123,457", "lstat n uid,gid");
        expect("0", "lchown n 124 -1");
        expect("124,457", "lstat n uid,gid");
        expect("0", "lchown n 0 0");
        expect("0,0", "lstat n uid,gid");
        if (!is_link) {
            expect("0", "symlink n l");
            expect("0", "chown l 123 456");
            expect("123,456", "lstat n uid,gid");
            expect("0,0", "lstat l uid,gid");
            expect("0", "unlink l");
        }
        /* Its owner may give it to a group that he is in. */
        expect("0", "lchown n 65534 65533");
        expect("0", "65534:65532,65531 lchown n -1 65532");
        expect("65534,65532", "lstat n uid,gid");
        expect("0", "65534:65532,65531 lchown n 65534 65531");
        expect("65534,65531", "lstat n uid,gid");
        expect("EPERM", "65534:65532,65531 lchown n 65534 65530");
        expect("EPERM", "65534:65532,65531 lchown n 65533 -1");
        expect("EPERM", "65533:65532,65531 lchown n -1 65532");
        expect("EPERM", "65533:65532,65531 lchown n 65533 65532");
        expect("65534,65531", "lstat n uid,gid");
        expect("0", "65533:65533 lchown n -1 -1");
        before = ask("lstat n ctime");
        tick();
        expect("0", "65534:65532 lchown n 65534 65532");
        times_changed("n", "ctime", &before, true, "lchown by the owner");
        before = ask("lstat n ctime");
        tick();
        expect("0", "lchown n 65533 65533");
        times_changed("n", "ctime", &before, true, "lchown");
        before = ask("lstat n ctime");
        tick();
        expect("EPERM", "65534:65534 lchown n 65534 -1");
        times_changed("n", "ctime", &before, false, "refused lchown");
        if (!is_link) {
            bool is_dir = strcmp(types[i], "dir") == 0;

            expect("0", "chown n 65534 65533");
            expect("0", "chmod n 06555");
            expect("0", "65534:65533,65532 chown n 65534 65532");
            expect(is_dir ? "06555,65534,65532" : "0555,65534,65532", "stat n mode,uid,gid");
            expect("0", "chmod n 06555");
            expect("0", "65534:65533,65532 chown n -1 65533");
            expect(is_dir ? "06555,65534,65533" : "0555,65534,65533", "stat n mode,uid,gid");
            expect("0", "chmod n 06555");
            expect("0", "chown n 0 0");
            expect("06555,0,0|0555,0,0", "stat n mode,uid,gid");
        }
        unmake(types[i], "n");
    }
}

static void new_things_belong_to_their_maker(void)
{
    expect("0", "mkdir d 0777");
    expect("0", "chmod d 0777");
    expect("0", "chown d 65533 65532");
    for (int i = 0; i < NUM_TYPES; i++) {
        struct answer before = ask("stat d mtime,ctime"), inner;
        bool device = strcmp(types[i], "block") == 0 || strcmp(types[i], "char") == 0;
        const char *how = strcmp(types[i], "regular") == 0  ? "open d/n O_WRONLY|O_CREAT 0654"
                          : strcmp(types[i], "dir") == 0    ? "mkdir d/n 0654"
                          : strcmp(types[i], "fifo") == 0   ? "mkfifo d/n 0654"
                          : strcmp(types[i], "socket") == 0 ? "bind d/n"
                          : device                          ? "mknod d/n c 0654 1 2"
                                                            : "symlink test d/n";

        tick();
        if (device) {
            expect("EPERM", "65534:65534 %s", how);
            expect("0", "%s", how);
            expect("char,0,0,1:2", "lstat d/n type,uid,gid,dev");
        } else {
            expect("0", "65534:65534,65535 %s", how);
            expect("65534,65534", "lstat d/n uid,gid");
            if (strcmp(types[i], "symlink") != 0 && strcmp(types[i], "socket") != 0)
                expect("0654", "lstat d/n mode");
        }
        times_changed("d", "mtime,ctime", &before, true, how);
        inner = ask("lstat d/n atime");
        check(is_later(inner.text, before.text), how, "access time");
        before = ask("stat d mtime,ctime");
        tick();
        unmake(strcmp(types[i], "dir") == 0 ? "dir" : "regular", "d/n");
        times_changed("d", "mtime,ctime", &before, true, "unlink or rmdir");
    }
    /* A directory that gives its group. */
    expect("0", "chmod d 02777");
    expect("0", "65534:65534 create d/n 0664");
    expect("65534,65532,0664", "stat d/n uid,gid,mode");
    expect("0", "65534:65534 mkdir d/e 0755");
    expect("65534,65532,02755", "stat d/e uid,gid,mode");
    expect("0", "65534:65534 create d/m 02775");
    expect("65534,65532,0775|65534,65532,02775", "stat d/m uid,gid,mode");
    expect("0", "65534:65534 symlink x d/s");
    expect("65534,65532", "lstat d/s uid,gid");
    expect("0", "65534:65534 mkfifo d/f 0644");
    expect("65534,65532", "lstat d/f uid,gid");
    expect("0", "unlink d/s");
    expect("0", "unlink d/f");
    expect("0", "unlink d/n");
    expect("0", "unlink d/m");
    expect("0", "rmdir d/e");
    /* The umask. */
    umask(077);
    expect("0", "create d/n 0666");
    expect("0600", "stat d/n mode");
    expect("0", "mkdir d/e 0777");
    expect("02700", "stat d/e mode");
    expect("0", "mkfifo d/f 0666");
    expect("0600", "stat d/f mode");
    umask(0);
    expect("0", "unlink d/n");
    expect("0", "unlink d/f");
    expect("0", "rmdir d/e");
    expect("0", "rmdir d");
}

static void open_works(void)
{
    struct answer before, directory;

    for (int i = 0; i < NUM_TYPES; i++) {
        make(types[i], "n");
        expect("EEXIST", "open n O_CREAT|O_EXCL 0644");
        expect("EEXIST", "mkdir n 0755");
        expect("EEXIST", "mkfifo n 0644");
        expect("EEXIST", "mknod n c 0644 1 2");
        expect("EEXIST", "mknod n b 0644 1 2");
        expect("EEXIST", "mknod n r 0644 0 0");
        expect("EEXIST", "symlink test n");
        expect("EADDRINUSE", "bind n");
        expect("0", "create other 0644");
        expect("EEXIST", "link other n");
        expect("0", "unlink other");
        unmake(types[i], "n");
    }
    expect("0", "mkdir d 0755");
    expect("EISDIR", "open d O_WRONLY");
    expect("EISDIR", "open d O_RDWR");
    expect("EISDIR", "open d O_RDONLY|O_TRUNC");
    expect("EISDIR", "open d O_RDWR|O_CREAT 0644");
    expect("EISDIR", "truncate d 0");
    expect("EISDIR", "read d");
    expect("0", "create d/n 0644");
    /* What changes when an existing file is opened to be made, or truncated. */
    expect("0", "write d/n content");
    before = ask("stat d/n mtime,ctime");
    directory = ask("stat d mtime,ctime");
    tick();
    expect("0", "open d/n O_CREAT 0600");
    times_changed("d/n", "mtime,ctime", &before, false, "open of what is there");
    expect("0", "open d/n O_WRONLY|O_TRUNC");
    times_changed("d/n", "mtime,ctime", &before, true, "open with truncation");
    times_changed("d", "mtime,ctime", &directory, false, "open of what is there");
    expect("0,0644", "stat d/n size,mode");
    expect("0", "unlink d/n");
    expect("0", "rmdir d");
    /* Links. */
    expect("0", "symlink target l");
    expect("ELOOP", "open l O_RDONLY|O_NOFOLLOW");
    expect("ELOOP", "open l O_RDWR|O_CREAT|O_NOFOLLOW 0644");
    expect("EEXIST", "open l O_CREAT|O_EXCL 0644");
    expect("ENOENT", "open l O_RDONLY");
    expect("0", "open l O_RDWR|O_CREAT 0644");
    expect("regular", "lstat target type");
    expect("0", "unlink target");
    expect("0", "unlink l");
    /* What cannot be opened. */
    expect("0", "mkfifo f 0644");
    expect("ENXIO", "open f O_WRONLY|O_NONBLOCK");
    expect("0", "open f O_RDONLY|O_NONBLOCK");
    expect("0", "open f O_RDWR");
    expect("0", "unlink f");
    expect("0", "bind s");
    expect("ENXIO", "open s O_RDONLY");
    expect("ENXIO", "open s O_WRONLY");
    expect("0", "unlink s");
    expect("0", "mknod z b 0666 300 12345");
    expect("ENXIO", "open z O_RDONLY");
    expect("300:12345", "stat z dev");
    expect("0", "unlink z");
    expect("0", "mknod null c 0666 1 3");
    expect("0|EACCES", "write null x");
    expect("0", "unlink null");
    expect("0", "serve s");
    expect("0", "unlink s");
    /* Files without a name. */
    expect("0", "65534:65534 open /tmp O_PATH");
    expect("0", "open . O_TMPFILE|O_RDWR 0644");
    expect("EINVAL", "open . O_TMPFILE|O_RDONLY 0644");
}

static void programs_that_run_are_not_written(void)
{
    char command[2 * PATH_MAX + 64];
    int ready[2], fd;
    pid_t pid;
    char c;

    snprintf(command, sizeof(command), "%s", self);
    fd = open(self, O_RDONLY);
    {
        int to = open("program", O_WRONLY | O_CREAT | O_EXCL, 0755);
        char buffer[65536];
        ssize_t n;

        while ((n = read(fd, buffer, sizeof(buffer))) > 0)
            if (write(to, buffer, (size_t)n) != n)
                abort();
        close(to);
        close(fd);
    }
    if (pipe(ready) < 0)
        abort();
    pid = fork();
    if (pid == 0) {
        dup2(ready[1], 1);
        close(ready[0]);
        execl("./program", "program", "wait", (char *)NULL);
        _exit(1);
    }
    close(ready[1]);
    check(read(ready[0], &c, 1) == 1, "program", "it did not run");
    expect("ETXTBSY", "open program O_WRONLY");
    expect("ETXTBSY", "open program O_RDWR");
    expect("ETXTBSY", "open program O_RDONLY|O_TRUNC");
    expect("ETXTBSY", "truncate program 10");
    expect("0", "open program O_RDONLY");
    expect("0", "chmod program 0700");
    expect("0", "rename program moved");
    expect("0", "rename moved program");
    kill(pid, 9);
    waitpid(pid, NULL, 0);
    close(ready[0]);
    fd = open("program", O_WRONLY);
    expect("ETXTBSY", "exec ./program");
    close(fd);
    expect("0", "exec ./program");
    expect("0", "unlink program");
}

static void link_works(void)
{
    for (int i = 0; i < NUM_TYPES; i++) {
        struct answer ino, before, directory;

        make(types[i], "n0");
        if (strcmp(types[i], "dir") == 0) {
            expect("EPERM", "link n0 n1");
            unmake(types[i], "n0");
            continue;
        }
        expect("0", "mkdir d 0755");
        ino = ask("lstat n0 ino");
        before = ask("lstat n0 ctime");
        directory = ask("stat d ctime,mtime");
        expect("1", "lstat n0 nlink");
        tick();
        expect("0", "link n0 d/n1");
        times_changed("n0", "ctime", &before, true, "link");
        times_changed("d", "ctime,mtime", &directory, true, "link");
        expect("2", "lstat n0 nlink");
        expect("2", "lstat d/n1 nlink");
        expect(ino.text, "lstat d/n1 ino");
        expect("0", "link d/n1 n2");
        expect("3", "lstat n0 nlink");
        if (i != NOT_LINKS) {
            expect("0", "chmod d/n1 0201");
            expect("0201", "lstat n0 mode");
        }
        expect("0", "lchown d/n1 65534 65533");
        expect("65534,65533", "lstat n0 uid,gid");
        expect("65534,65533", "lstat n2 uid,gid");
        before = ask("lstat n2 ctime");
        tick();
        expect("0", "unlink n0");
        times_changed("n2", "ctime", &before, true, "unlink of another name");
        expect("ENOENT", "lstat n0");
        expect("2,65534,65533", "lstat n2 nlink,uid,gid");
        before = ask("lstat n2 ctime");
        tick();
        expect("0", "create n0 0644");
        expect("0", "rename n0 d/n1");
        times_changed("n2", "ctime", &before, true, "rename over another name");
        expect("1,65534,65533", "lstat n2 nlink,uid,gid");
        before = ask("lstat n2 ctime");
        tick();
        expect("EACCES|EPERM", "65533:65533 link n2 d/other");
        times_changed("n2", "ctime", &before, false, "refused link");
        expect("0", "link n2 n3");
        /* Two names of one thing: nothing happens. */
        expect("0", "rename n2 n3");
        expect("2", "lstat n2 nlink");
        expect("2", "lstat n3 nlink");
        expect("0", "unlink n3");
        expect("0", "unlink n2");
        expect("0", "unlink d/n1");
        expect("0", "rmdir d");
    }
    expect("EXDEV", "link %s n", "/proc/self/status");
}

static void symlink_works(void)
{
    char target[PATH_MAX + 2];
    struct answer before;

    expect("0", "create regular 0644");
    expect("0", "symlink regular l");
    expect("symlink,0777,7", "lstat l type,mode,size");
    expect("regular,0644", "stat l type,mode");
    expect("regular", "readlink l");
    expect("EINVAL", "readlink regular");
    expect("0", "unlink regular");
    expect("ENOENT", "stat l");
    expect("0", "unlink l");
    memset(target, 't', sizeof(target));
    target[PATH_MAX - 1] = '\0';
    expect("0", "symlink %s l", target);
    expect(target, "readlink l");
    expect("4095", "lstat l size");
    expect("0", "unlink l");
    target[PATH_MAX - 1] = 't';
    target[PATH_MAX] = '\0';
    expect("ENAMETOOLONG", "symlink %s l", target);
    expect("ENOENT", "symlink  l");
    before = ask("lstat . ctime");
    tick();
    expect("0", "symlink x l");
    times_changed(".", "ctime", &before, true, "symlink");
    expect("0", "utimensat l 1000.5 2000.7 nofollow");
    expect("1000.000000005,2000.000000007", "lstat l atime,mtime");
    expect("EPERM", "setxattr l user.a b");
    expect("ENODATA|EPERM", "getxattr l user.a");
    expect("0", "unlink l");
    expect("0", "mkdir d 0755");
    expect("0", "symlink d l");
    expect("0", "create l/n 0644");
    expect("regular", "lstat d/n type");
    expect("ENOTDIR", "rmdir l");
    expect("0", "unlink l/n");
    expect("0", "unlink l");
    expect("0", "rmdir d");
}

static void rename_works(void)
{
    for (int i = 0; i < NUM_TYPES; i++) {
        struct answer ino, before, from, to;

        make(types[i], "n0");
        expect("0", "mkdir d1 0755");
        expect("0", "mkdir d2 0755");
        expect("0", "lchown n0 65534 65533");
        ino = ask("lstat n0 type,ino,uid,gid,mode");
        expect("0", "rename n0 d1/n1");
        expect("ENOENT", "lstat n0");
        expect(ino.text, "lstat d1/n1 type,ino,uid,gid,mode");
        from = ask("stat d1 ctime,mtime");
        to = ask("stat d2 ctime,mtime");
        before = ask("lstat d1/n1 ctime");
        tick();
        expect("0", "rename d1/n1 d2/n2");
        times_changed("d1", "ctime,mtime", &from, true, "rename");
        times_changed("d2", "ctime,mtime", &to, true, "rename");
        times_changed("d2/n2", "ctime", &before, true, "rename");
        expect(ino.text, "lstat d2/n2 type,ino,uid,gid,mode");
        expect("EACCES", "65534:65534 rename d2/n2 d2/n3");
        expect("0", "rename d2/n2 d2/n2");
        for (int j = 0; j < NUM_TYPES; j++) {
            bool source = strcmp(types[i], "dir") == 0, target = strcmp(types[j], "dir") == 0;

            make(types[j], "d1/x");
            expect(source == target ? "0" : source ? "ENOTDIR" : "EISDIR", "rename d2/n2 d1/x");
            if (source == target)
                expect("0", "rename d1/x d2/n2");
            else
                unmake(types[j], "d1/x");
            expect(ino.text, "lstat d2/n2 type,ino,uid,gid,mode");
            make(types[j], "d1/x");
            expect("EEXIST", "rename d2/n2 d1/x 1");
            expect("0", "rename d2/n2 d1/x 2");
            expect(types[j], "lstat d2/n2 type");
            expect(ino.text, "lstat d1/x type,ino,uid,gid,mode");
            expect("0", "rename d2/n2 d1/x 2");
            unmake(types[j], "d1/x");
        }
        unmake(types[i], "d2/n2");
        expect("0", "rmdir d1");
        expect("0", "rmdir d2");
    }
    expect("0", "mkdir a 0755");
    expect("0", "mkdir a/b 0755");
    expect("0", "mkdir c 0755");
    expect("EINVAL", "rename a a/b/c");
    expect("EINVAL", "rename a a/b");
    expect("ENOTEMPTY|EEXIST", "rename c a");
    expect("ENOTEMPTY|EEXIST", "rename a/b a");
    expect("EINVAL|EBUSY", "rename a/. c");
    expect("EINVAL|EBUSY", "rename a/.. c");
    expect("EXDEV", "rename c /proc/c");
    /* The parent that a moved directory has. */
    expect("3", "stat a nlink");
    expect("0", "rename a/b c/b");
    expect("2", "stat a nlink");
    expect("3", "stat c nlink");
    {
        struct answer parent = ask("stat c ino");

        expect(parent.text, "stat c/b/.. ino");
    }
    expect("ENOENT", "rename missing c 2");
    expect("ENOENT", "rename c missing 2");
    expect("0", "rename c/b d 1");
    expect("0", "rmdir d");
    expect("0", "rmdir c");
    expect("0", "rmdir a");
    /* Another's directory is moved to another parent only with leave to write it. */
    expect("0", "mkdir p 0777");
    expect("0", "mkdir q 0777");
    expect("0", "chmod p 0777");
    expect("0", "chmod q 0777");
    expect("0", "mkdir p/d 0700");
    expect("EACCES", "65534:65534 rename p/d q/d");
    expect("0", "65534:65534 rename p/d p/e");
    expect("0", "rmdir p/e");
    expect("0", "rmdir p");
    expect("0", "rmdir q");
}

static void sticky_directories_keep_others_out(void)
{
    static const struct {
        const char *directory, *file;
        bool may;
    } owners[] = { { "65534", "65534", true },
                   { "65534", "65533", true },
                   { "65533", "65534", true },
                   { "65533", "65533", false },
                   { "0", "0", false } };

    expect("0", "mkdir d 0777");
    expect("0", "mkdir e 0777");
    expect("0", "chmod e 0777");
    for (int i = 0; i < NUM_TYPES; i++) {
        bool is_dir = strcmp(types[i], "dir") == 0;

        for (size_t j = 0; j < sizeof(owners) / sizeof(owners[0]); j++) {
            const char *expected = owners[j].may ? "0" : "EPERM|EACCES";

            expect("0", "chmod d 01777");
            expect("0", "chown d %s 0", owners[j].directory);
            make(types[i], "d/n");
            expect("0", "lchown d/n %s 0", owners[j].file);
            if (is_dir)
                expect("0", "chmod d/n 0777");
            expect(expected, "65534:65534 rename d/n d/m");
            if (owners[j].may)
                expect("0", "65534:65534 rename d/m d/n");
            expect(expected, "65534:65534 rename d/n e/n");
            if (owners[j].may)
                expect("0", "rename e/n d/n");
            expect("0", "65534:65534 %s", is_dir ? "mkdir e/o 0755" : "create e/o 0644");
            expect(expected, "65534:65534 rename e/o d/n");
            if (!owners[j].may)
                unmake(types[i], "e/o");
            else if (!is_dir)
                expect("regular", "lstat d/n type");
            expect(expected, "65534:65534 %s d/n", is_dir ? "rmdir" : "unlink");
            if (!owners[j].may)
                unmake(types[i], "d/n");
        }
    }
    expect("0", "rmdir d");
    expect("0", "rmdir e");
}

static void removal_works(void)
{
    char buffer[32] = { 0 };
    struct stat st;
    int fd;

    for (int i = 0; i < NUM_TYPES; i++) {
        if (strcmp(types[i], "dir") == 0)
            continue;
        make(types[i], "n");
        expect("0", "unlink n");
        expect("ENOENT", "lstat n");
        expect("ENOENT", "unlink n");
        expect("0", "mkdir d 0755");
        make(types[i], "d/n");
        expect("ENOTEMPTY|EEXIST", "rmdir d");
        expect("0", "unlink d/n");
        expect("0", "rmdir d");
    }
    expect("0", "mkdir d 0755");
    expect("EISDIR|EPERM", "unlink d");
    expect("EINVAL", "rmdir d/.");
    expect("ENOTEMPTY|EEXIST", "rmdir d/..");
    expect("0", "mkdir d/e 0755");
    expect("ENOTEMPTY|EEXIST", "rmdir d");
    expect("3", "stat d nlink");
    expect("0", "rmdir d/e");
    expect("2", "stat d nlink");
    fd = open("d", O_RDONLY | O_DIRECTORY);
    expect("0", "rmdir d");
    check(fstat(fd, &st) == 0 && st.st_nlink == 0, "removed directory", "it still has links");
    check(openat(fd, "new", O_CREAT | O_WRONLY, 0644) < 0 && errno == ENOENT, "removed directory", "a file was made in it");
    close(fd);
    /* What is open stays. */
    fd = open("n", O_RDWR | O_CREAT | O_EXCL, 0644);
    check(write(fd, "Hello", 5) == 5, "open file", "write");
    expect("0", "unlink n");
    check(fstat(fd, &st) == 0 && st.st_nlink == 0 && st.st_size == 5, "unlinked file", "status");
    check(pread(fd, buffer, 5, 0) == 5 && memcmp(buffer, "Hello", 5) == 0, "unlinked file", "read");
    check(fchmod(fd, 0600) == 0 && fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0600, "unlinked file", "fchmod");
    check(fchown(fd, 12, 34) == 0 && fstat(fd, &st) == 0 && st.st_uid == 12 && st.st_gid == 34, "unlinked file", "fchown");
    check(ftruncate(fd, 3) == 0 && fstat(fd, &st) == 0 && st.st_size == 3, "unlinked file", "ftruncate");
    check(fsetxattr(fd, "user.a", "b", 1, 0) == 0 && fgetxattr(fd, "user.a", buffer, 1) == 1, "unlinked file", "xattr");
    close(fd);
    expect("0", "mkdir m 0755");
    if (mount("none", "m", "tmpfs", 0, NULL) == 0) {
        expect("EBUSY", "rmdir m");
        expect("EBUSY", "rename m m2");
        umount("m");
    }
    expect("0", "rmdir m");
}

static void truncate_works(void)
{
    struct answer before;

    expect("0", "create n 0644");
    expect("0", "write n hello");
    before = ask("stat n mtime,ctime");
    tick();
    expect("0", "truncate n 1234567");
    expect("1234567", "stat n size");
    times_changed("n", "mtime,ctime", &before, true, "truncate");
    expect("0", "ftruncate n 3");
    expect("hel", "read n");
    /* With the same size, virtio-fs's client does not set the times, as POSIX allows for truncate(2). */
    expect("0", "truncate n 3");
    expect("0", "ftruncate n 567");
    before = ask("stat n mtime,ctime");
    tick();
    expect("EACCES", "65534:65534 truncate n 1");
    times_changed("n", "mtime,ctime", &before, false, "refused truncate");
    expect("EINVAL", "truncate n -1");
    expect("EINVAL", "truncate n %ld", LONG_MIN);
    expect("EINVAL", "ftruncate n -1");
    expect("EFBIG|EINVAL|0", "truncate n 999999999999999");
    expect("EFBIG|EINVAL|0", "truncate n %ld", LONG_MAX);
    expect("0", "truncate n 0");
    expect("0", "fallocate n 0 0 5000");
    expect("5000", "stat n size");
    expect("0", "fallocate n 1 0 50000");
    expect("5000", "stat n size");
    expect("EINVAL", "fallocate n 0 0 0");
    expect("EINVAL", "fallocate n 0 -1 10");
    expect("EOPNOTSUPP|EINVAL", "fallocate n 4096 0 10");
    expect("0", "unlink n");
    for (int i = 1; i < NOT_LINKS; i++) {
        make(types[i], "n");
        expect(strcmp(types[i], "dir") == 0 ? "EISDIR" : "EINVAL", "truncate n 0");
        unmake(types[i], "n");
    }
}

static void utimensat_works(void)
{
    for (int i = 0; i < NUM_TYPES; i++) {
        struct answer before;

        make(types[i], "n");
        before = ask("lstat n ctime");
        tick();
        expect("0", "utimensat n 1900000000.123456789 1950000000.987654321 nofollow");
        expect("1900000000.123456789,1950000000.987654321", "lstat n atime,mtime");
        times_changed("n", "ctime", &before, true, "utimensat");
        expect("0", "utimensat n omit 1000.1 nofollow");
        expect("1900000000.123456789,1000.000000001", "lstat n atime,mtime");
        expect("0", "utimensat n 2000.2 omit nofollow");
        expect("2000.000000002,1000.000000001", "lstat n atime,mtime");
        before = ask("lstat n atime,mtime");
        expect("0", "utimensat n omit omit nofollow");
        times_changed("n", "atime,mtime", &before, false, "utimensat omit omit");
        tick();
        expect("0", "utimensat n omit now nofollow");
        expect("2000.000000002", "lstat n atime");
        before = ask("lstat n atime,ctime");
        tick();
        expect("0", "utimensat n now omit nofollow");
        times_changed("n", "atime,ctime", &before, true, "utimensat now");
        expect("0", "utimensat n 4294967296.5 7000000000.5 nofollow");
        expect("4294967296.000000005,7000000000.000000005", "lstat n atime,mtime");
        expect("0", "utimensat n -1.5 -100.5 nofollow");
        expect("-1.000000005,-100.000000005", "lstat n atime,mtime");
        /* By others. */
        expect("EPERM", "65534:65534 utimensat n 1 1 nofollow");
        expect("EPERM", "65534:65534 utimensat n omit now nofollow");
        expect("EPERM", "65534:65534 utimensat n now omit nofollow");
        expect("0", "65534:65534 utimensat n omit omit nofollow");
        if (i != NOT_LINKS) {
            expect("0", "chmod n 0644");
            expect("EACCES", "65534:65534 utimensat n now now nofollow");
            expect("0", "chmod n 0666");
            expect("0", "65534:65534 utimensat n now now nofollow");
            expect("EPERM", "65534:65534 utimensat n 1 1 nofollow");
            expect("0", "chmod n 0444");
        }
        expect("0", "lchown n 65534 65534");
        expect("0", "65534:65534 utimensat n 1 2 nofollow");
        expect("0", "65534:65534 utimensat n now now nofollow");
        if (i != NOT_LINKS) {
            expect("0", "symlink n l");
            expect("0", "utimensat l 5 6");
            expect("5.000000000,6.000000000", "lstat n atime,mtime");
            expect("0", "unlink l");
        }
        unmake(types[i], "n");
    }
}

static void reads_and_writes_show_in_the_times(void)
{
    struct answer before;

    expect("0", "create n 0644");
    expect("0", "write n hello");
    before = ask("stat n mtime,ctime");
    tick();
    expect("0", "write n again");
    times_changed("n", "mtime,ctime", &before, true, "write");
    before = ask("stat n mtime,ctime");
    tick();
    expect("again", "read n");
    times_changed("n", "mtime,ctime", &before, false, "read");
    expect("0", "setxattr n user.a b");
    times_changed("n", "ctime", &before, true, "setxattr");
    expect("b", "getxattr n user.a");
    before = ask("stat n ctime");
    tick();
    expect("0", "removexattr n user.a");
    times_changed("n", "ctime", &before, true, "removexattr");
    expect("ENODATA", "getxattr n user.a");
    expect("ENODATA", "removexattr n user.a");
    expect("ENODATA", "setxattr n user.a b 2");
    expect("0", "setxattr n user.a b 1");
    expect("EEXIST", "setxattr n user.a c 1");
    expect("EOPNOTSUPP", "setxattr n nonsense.a c");
    expect("EACCES", "65534:65534 setxattr n user.a c");
    expect("b", "65534:65534 getxattr n user.a");
    expect("0", "chmod n 0600");
    expect("EACCES", "65534:65534 getxattr n user.a");
    expect("0", "setxattr n trusted.a t");
    expect("ENODATA", "65534:65534 getxattr n trusted.a");
    expect("EPERM", "65534:65534 setxattr n trusted.a c");
    expect("EPERM", "65534:65534 setxattr n security.a c");
    expect("0", "unlink n");
    for (int i = 2; i < NOT_LINKS; i++) {
        make(types[i], "n");
        expect("EPERM", "setxattr n user.a b");
        expect("ENODATA|EPERM", "getxattr n user.a");
        unmake(types[i], "n");
    }
}

/* ---- The program ------------------------------------------------------------------------------------------------------------------- */

static void (*const groups[])(void) = {
    paths_are_checked,
    directories_are_searched_and_written_with_leave,
    files_are_opened_with_leave,
    chmod_works,
    privileges_go_with_a_change,
    chown_works,
    new_things_belong_to_their_maker,
    open_works,
    programs_that_run_are_not_written,
    link_works,
    symlink_works,
    rename_works,
    sticky_directories_keep_others_out,
    removal_works,
    truncate_works,
    utimensat_works,
    reads_and_writes_show_in_the_times,
};

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "exit") == 0)
        return 77;
    if (argc == 2 && strcmp(argv[1], "wait") == 0) {
        if (write(1, "x", 1) != 1)
            return 1;
        pause();
    }
    if (argc != 2 || readlink("/proc/self/exe", self, sizeof(self) - 1) < 0 || chdir(argv[1]) < 0) {
        fprintf(stderr, "usage: posix DIRECTORY\n");
        return 2;
    }
    umask(0);
    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        char name[16];

        /* Each in a directory of its own, so that what one leaves does not disturb the others. */
        snprintf(name, sizeof(name), "g%zu", i);
        if (mkdir(name, 0755) < 0 || chdir(name) < 0)
            abort();
        groups[i]();
        if (chdir("..") < 0)
            abort();
    }
    printf("%lu checks, %lu failures\n", checks, failures);
    return failures ? 1 : 0;
}
