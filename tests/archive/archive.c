/* SPDX-License-Identifier: Apache-2.0 */
/* Archives: what is written comes back, GNU tar understands it and is understood, and hostile ones reach nothing outside. */
#include "archive/archive.h"
#include "archive/tar.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

static char scratch[] = "/tmp/test-archive-XXXXXX"; /* the working directory of every test */

static void shell(const char *command)
{
    if (system(command) != 0)
        fail_msg("failed: %s", command);
}

/* What can be compared of everything in a tree; directories' sizes are the file system's matter. */
#define LIST(dir, file)                                                                                                          \
    "(cd " dir " && find . -type d -printf '%P %y %#m %U %G %T@\\n' -o -printf '%P %y %#m %U %G %T@ %n %l %s\\n' | sort; "       \
    "find . -type f -exec sha256sum {} + | sort) >" file

static void write_archive(const char *path, const char *file)
{
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    msb_error *err = NULL;

    assert_true(fd >= 0);
    if (archive_write(fd, path, &err) < 0)
        fail_msg("%s", msb_error_message(err));
    close(fd);
}

static int read_archive(const char *file, const char *path, unsigned flags, msb_error **err)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    int result;

    assert_true(fd >= 0);
    result = archive_read(fd, path, flags, err);
    close(fd);
    return result;
}

static void expect_read(const char *file, const char *path, unsigned flags)
{
    msb_error *err = NULL;

    if (read_archive(file, path, flags, &err) < 0)
        fail_msg("%s", msb_error_message(err));
}

static void expect_refusal(const char *file, const char *path, const char *text)
{
    msb_error *err = NULL;

    assert_int_equal(read_archive(file, path, 0, &err), -1);
    if (!strstr(msb_error_message(err), text))
        fail_msg("`%s` does not say `%s`", msb_error_message(err), text);
    msb_error_free(err);
}

/* The same as in the tree, or none where the file system has none. */
static void expect_attributes(const char *directory)
{
    char path[128], want[16], have[16];
    ssize_t size;

    snprintf(path, sizeof(path), "%s/file", directory);
    size = getxattr("tree/file", "user.one", want, sizeof(want));
    assert_int_equal(getxattr(path, "user.one", have, sizeof(have)), size);
    snprintf(path, sizeof(path), "%s/dir", directory);
    size = getxattr("tree/dir", "user.bytes", want, sizeof(want));
    assert_int_equal(getxattr(path, "user.bytes", have, sizeof(have)), size);
    if (size > 0)
        assert_memory_equal(want, have, (size_t)size);
}

static unsigned owners(void)
{
    return geteuid() == 0 ? ARCHIVE_OWNERS : 0;
}

static void make_tree(void)
{
    shell(
        "mkdir -p tree/dir/below tree/empty && echo text >tree/file && : >tree/nothing && ln tree/file tree/dir/hard"
        " && ln -s ../file tree/dir/soft && ln -s /nonexistent/target tree/dangling && mkfifo tree/fifo"
        " && head -c 1000000 /dev/urandom >tree/dir/below/large && head -c 512 /dev/urandom >tree/block"
        " && chmod 4711 tree/nothing && chmod 0400 tree/block && chmod 0500 tree/dir/below && touch -d '1960-02-03 04:05:06.789' "
        "tree/empty"
        " && touch -d '2040-01-02 03:04:05.123456789' tree/block && ln -s $(printf '%0200d' 7) tree/longlink"
        " && n=$(printf '%0150d' 1) && mkdir -p tree/$n/$n && echo deep >tree/$n/$n/$n && printf 'a' >\"$(printf 'tree/odd "
        "\\n\\377 name')\"");
    if (setxattr("tree/file", "user.one", "value", 5, 0) < 0 || setxattr("tree/dir", "user.bytes", "\0\n=\xff", 4, 0) < 0)
        print_message("this file system has no extended attributes\n");
    if (geteuid() == 0)
        shell("mknod tree/null c 1 3 && mknod tree/loop b 7 130 && chown 12345:54321 tree/file && chown -h 3000000000:5 "
              "tree/dangling");
}

static void what_is_written_comes_back(void **state)
{
    (void)state;
    write_archive("tree", "ours.tar");
    shell("mkdir out");
    expect_read("ours.tar", "out", owners());
    shell(LIST("tree", "want") " && " LIST("out/tree", "have") " && diff want have");
    expect_attributes("out/tree");
}

static void gnu_tar_reads_it(void **state)
{
    (void)state;
    write_archive("tree", "ours.tar");
    shell("mkdir out && tar -xpf ours.tar -C out --xattrs --xattrs-include='user.*' 2>tar-errors");
    shell(LIST("tree", "want") " && " LIST("out/tree", "have") " && diff want have");
    expect_attributes("out/tree");
}

static void gnu_tars_formats_are_read(void **state)
{
    static const char *const formats[] = { "pax", "gnu" };

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        char command[256];

        snprintf(
            command, sizeof(command),
            "[ ! -d out ] || chmod -R u+rwX out; rm -rf out && mkdir out && tar -cf theirs.tar --format=%s %s tree 2>tar-errors",
            formats[i], i == 0 ? "--xattrs" : "");
        shell(command);
        expect_read("theirs.tar", "out", owners());
        /* Its own format has whole seconds and no attributes. */
        if (i == 0)
            shell(LIST("tree", "want") " && " LIST("out/tree", "have") " && diff want have");
        else
            shell("diff -r --no-dereference tree out/tree 2>/dev/null || diff -r --no-dereference tree out/tree | grep -qv "
                  "'^Only' ;"
                  " (cd tree && find . -printf '%P %y %m %U %G %l\\n' | sort) >want;"
                  " (cd out/tree && find . -printf '%P %y %m %U %G %l\\n' | sort) >have; diff want have");
    }
    shell("chmod -R u+rwX out; rm -rf out && mkdir out plain && echo x >plain/file && tar -cf theirs.tar --format=ustar plain");
    expect_read("theirs.tar", "out", owners());
    shell("grep -q x out/plain/file && tar -cf theirs.tar --format=v7 plain && rm -r out/plain");
    expect_read("theirs.tar", "out", owners());
    shell("grep -q x out/plain/file");
}

static void large_numbers_are_kept(void **state)
{
    msb_error *err = NULL;
    int pipe_fds[2];
    pid_t pid;

    (void)state;
    /* 9 GiB of nothing: more than eleven octal digits. What the header says is seen by GNU tar. */
    shell("truncate -s 9G sparse");
    assert_int_equal(pipe(pipe_fds), 0);
    pid = fork();
    if (pid == 0) {
        close(pipe_fds[1]);
        dup2(pipe_fds[0], 0);
        execl("/bin/sh", "sh", "-c", "head -c 4096 | tar -tvf - 2>/dev/null | grep -q 9663676416", NULL);
        _exit(127);
    }
    close(pipe_fds[0]);
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(archive_write(pipe_fds[1], "sparse", &err), -1); /* the reader has seen enough */
    msb_error_free(err);
    close(pipe_fds[1]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* Where things go, as cp(1) has it. */
static void places_are_as_with_cp(void **state)
{
    (void)state;
    shell("mkdir src dst && echo 1 >src/f && echo old >dst/old");
    write_archive("src", "a.tar");
    expect_read("a.tar", "dst", 0);
    shell("[ -f dst/src/f ] && [ -f dst/old ]");
    expect_read("a.tar", "new", 0);
    shell("[ -f new/f ]");
    expect_refusal("a.tar", "missing/new", "the directory of `missing/new`");
    expect_refusal("a.tar", "newer/", "directory `newer/`: No such file");
    write_archive("src/.", "dot.tar");
    expect_read("dot.tar", "dst", 0);
    shell("[ -f dst/f ]");
    expect_read("dot.tar", "made", 0);
    shell("[ -f made/f ]");
    write_archive("src/f", "f.tar");
    expect_read("f.tar", "dst/old", 0);
    shell("[ \"$(cat dst/old)\" = 1 ]");
    expect_read("f.tar", "dst/g", 0);
    shell("[ \"$(cat dst/g)\" = 1 ] && ln -s src link");
    write_archive("link", "l.tar");
    expect_read("l.tar", "dst", 0);
    shell("[ -L dst/link ]");
    write_archive("link/", "l.tar");
    expect_read("l.tar", "copy", 0);
    shell("[ -f copy/f ] && [ ! -L copy ]");
}

static void a_missing_path_is_said(void **state)
{
    msb_error *err = NULL;

    (void)state;
    assert_int_equal(archive_write(STDERR_FILENO, "no/such/file", &err), -1);
    assert_non_null(strstr(msb_error_message(err), "No such file"));
    msb_error_free(err);
}

static void directories_that_were_there_keep_their_mode(void **state)
{
    (void)state;
    shell("mkdir -p src/d dst/src/d && chmod 700 src src/d && chmod 755 dst dst/src dst/src/d");
    write_archive("src", "a.tar");
    expect_read("a.tar", "dst", 0);
    shell("[ $(stat -c %a dst/src/d) = 755 ]");
    write_archive("src/.", "a.tar");
    expect_read("a.tar", "dst", 0);
    shell("[ $(stat -c %a dst) = 755 ] && [ $(stat -c %a dst/d) = 700 ]");
}

/* ---- Hostile archives ---------------------------------------------------------------------------------------------------------- */

static struct tar_header header_of(char type, const char *name, const char *link, unsigned mode, unsigned size)
{
    struct tar_header header = { .type = type, .magic = "ustar", .version = { '0', '0' } };

    snprintf(header.name, sizeof(header.name), "%s", name);
    snprintf(header.link, sizeof(header.link), "%s", link ? link : "");
    snprintf(header.mode, sizeof(header.mode), "%07o", mode);
    snprintf(header.uid, sizeof(header.uid), "%07o", 0U);
    snprintf(header.gid, sizeof(header.gid), "%07o", 0U);
    snprintf(header.size, sizeof(header.size), "%011o", size);
    snprintf(header.mtime, sizeof(header.mtime), "%011o", 0U);
    snprintf(header.major, sizeof(header.major), "%07o", 1U);
    snprintf(header.minor, sizeof(header.minor), "%07o", 3U);
    return header;
}

static void put_block(FILE *file, const void *bytes, size_t size)
{
    char block[TAR_BLOCK] = { 0 };

    memcpy(block, bytes, size);
    assert_int_equal(fwrite(block, 1, sizeof(block), file), sizeof(block));
}

static void put_header(FILE *file, struct tar_header header)
{
    snprintf(header.checksum, sizeof(header.checksum), "%06o", tar_checksum(&header));
    put_block(file, &header, sizeof(header));
}

static void put_entry(FILE *file, char type, const char *name, const char *link, unsigned mode, const char *content)
{
    put_header(file, header_of(type, name, link, mode, content ? (unsigned)strlen(content) : 0));
    if (content)
        put_block(file, content, strlen(content));
}

static void end_archive(FILE *file)
{
    put_block(file, "", 0);
    put_block(file, "", 0);
    fclose(file);
}

static FILE *begin_archive(void)
{
    FILE *file = fopen("evil.tar", "w");

    assert_non_null(file);
    return file;
}

static void dotdot_is_refused(void **state)
{
    static const char *const names[] = { "../escaped", "a/../../escaped", "..", "a/.." };

    (void)state;
    shell("mkdir out");
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        FILE *file = begin_archive();

        put_entry(file, TAR_FILE, names[i], NULL, 0644, "evil");
        end_archive(file);
        expect_refusal("evil.tar", "out", "`..`");
    }
    shell("[ ! -e escaped ] && [ -z \"$(ls out)\" ]");
}

static void an_absolute_name_is_relative(void **state)
{
    FILE *file = begin_archive();

    (void)state;
    put_entry(file, TAR_FILE, "//etc//./f", NULL, 0644, "x");
    end_archive(file);
    shell("mkdir out");
    expect_read("evil.tar", "out", 0);
    shell("[ -f out/etc/f ]");
}

static void links_of_the_archive_are_not_followed(void **state)
{
    FILE *file = begin_archive();

    (void)state;
    shell("mkdir out outside");
    put_entry(file, TAR_DIRECTORY, "top/", NULL, 0755, NULL);
    put_entry(file, TAR_SYMLINK, "top/link", "../../outside", 0777, NULL);
    put_entry(file, TAR_FILE, "top/link/evil", NULL, 0644, "evil");
    end_archive(file);
    expect_refusal("evil.tar", "out", "top/link");
    file = begin_archive();
    put_entry(file, TAR_SYMLINK, "top", "../outside", 0777, NULL);
    put_entry(file, TAR_FILE, "top/evil", NULL, 0644, "evil");
    end_archive(file);
    shell("rm -rf out/top");
    expect_refusal("evil.tar", "out", "top/evil");
    shell("[ -z \"$(ls outside)\" ]");
}

static void links_that_are_there_are_not_followed(void **state)
{
    FILE *file = begin_archive();

    (void)state;
    shell("mkdir -p out/top outside && echo good >outside/file && ln -s ../../outside out/top/dir && ln -s ../../outside/file "
          "out/top/file");
    put_entry(file, TAR_FILE, "top/file", NULL, 0644, "evil");
    put_entry(file, TAR_FILE, "top/dir/file", NULL, 0644, "evil");
    end_archive(file);
    expect_refusal("evil.tar", "out", "top/dir");
    shell("[ $(cat outside/file) = good ] && [ $(cat out/top/file) = evil ] && [ ! -L out/top/file ]");
    /* A directory takes a link's place, and nothing goes through it. */
    file = begin_archive();
    put_entry(file, TAR_DIRECTORY, "top/dir", NULL, 0755, NULL);
    put_entry(file, TAR_FILE, "top/dir/file", NULL, 0644, "evil");
    end_archive(file);
    expect_read("evil.tar", "out", 0);
    shell("[ $(cat outside/file) = good ] && [ $(cat out/top/dir/file) = evil ]");
}

static void hard_links_stay_below_the_top(void **state)
{
    static const char *const targets[] = { "outside/file", "../outside/file", "/etc/passwd", "top/link/file" };

    (void)state;
    shell("mkdir -p out/top outside && echo good >outside/file && ln -s ../../outside out/top/link");
    for (unsigned i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        FILE *file = begin_archive();

        put_entry(file, TAR_LINK, "top/hard", targets[i], 0644, NULL);
        end_archive(file);
        expect_refusal("evil.tar", "out", "");
    }
    shell("[ $(stat -c %h outside/file) = 1 ] && [ ! -e out/top/hard ]");
}

static void a_second_top_is_refused(void **state)
{
    FILE *file = begin_archive();

    (void)state;
    shell("mkdir out");
    put_entry(file, TAR_FILE, "one", NULL, 0644, "1");
    put_entry(file, TAR_FILE, "onemore", NULL, 0644, "2");
    end_archive(file);
    expect_refusal("evil.tar", "out", "more at its top than `one`");
    shell("[ ! -e out/onemore ]");
}

static void untrusted_archives_leave_nothing_dangerous(void **state)
{
    FILE *file = begin_archive();

    (void)state;
    shell("mkdir out");
    put_entry(file, TAR_DIRECTORY, "top", NULL, 06777, NULL);
    put_entry(file, TAR_FILE, "top/suid", NULL, 06755, "x");
    put_entry(file, TAR_CHARACTER_DEVICE, "top/null", NULL, 0666, NULL);
    put_entry(file, TAR_BLOCK_DEVICE, "top/disk", NULL, 0666, NULL);
    end_archive(file);
    expect_read("evil.tar", "out", ARCHIVE_UNTRUSTED);
    shell("[ $(stat -c %a out/top/suid) = 755 ] && [ $(stat -c %a out/top) = 777 ] && [ ! -e out/top/null ] && [ ! -e "
          "out/top/disk ]");
}

static void sizes_are_not_believed(void **state)
{
    static const char *const sizes[] = { "77777777777", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
                                         "\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "12x", "-1" };

    (void)state;
    shell("mkdir out");
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (unsigned extension = 0; extension < 2; extension++) {
            struct tar_header header = header_of(extension ? TAR_PAX : TAR_FILE, "f", NULL, 0644, 0);
            FILE *file = begin_archive();

            memset(header.size, 0, sizeof(header.size));
            memcpy(header.size, sizes[i], strlen(sizes[i]));
            put_header(file, header);
            end_archive(file);
            expect_refusal("evil.tar", "out", "no tar archive");
        }
    }
}

static void broken_records_are_refused(void **state)
{
    static const char *const records[] = { "9 path=x",    "1 path=xx\n", "99 path=x\n",  "x path=x\n", "8 size\n",
                                           "10 size=x\n", "0 path=x\n",  "11 mtime=x\n", "7 path=\n" };

    (void)state;
    shell("mkdir out");
    for (unsigned i = 0; i < sizeof(records) / sizeof(records[0]); i++) {
        FILE *file = begin_archive();

        put_entry(file, TAR_PAX, "x", NULL, 0644, records[i]);
        put_entry(file, TAR_FILE, "f", NULL, 0644, "x");
        end_archive(file);
        expect_refusal("evil.tar", "out", "no tar archive");
    }
}

/* Every shorter form, and every byte of the headers changed: an error or not, but never a crash (ASan watches), and nothing outside. */
static void truncated_and_garbled_archives_are_survived(void **state)
{
    uint8_t bytes[8192];
    size_t size;
    FILE *file;

    (void)state;
    shell("mkdir -p inner/out src && echo x >src/file && ln -s x src/link");
    setxattr("src/file", "user.a", "b", 1, 0);
    write_archive("src", "good.tar");
    file = fopen("good.tar", "r");
    size = fread(bytes, 1, sizeof(bytes), file);
    fclose(file);
    assert_in_range(size, 2048, sizeof(bytes) - 1);
    for (size_t at = 0; at < size; at += 7) {
        msb_error *err = NULL;

        file = begin_archive();
        fwrite(bytes, 1, at, file);
        fclose(file);
        /* The two last blocks are the end, of which one is enough. */
        assert_int_equal(read_archive("evil.tar", "inner/out", 0, &err), at < size - TAR_BLOCK ? -1 : 0);
        msb_error_free(err);
        err = NULL;
        file = begin_archive();
        bytes[at] ^= 0x20;
        fwrite(bytes, 1, size, file);
        bytes[at] ^= 0x20;
        fclose(file);
        read_archive("evil.tar", "inner/out", 0, &err);
        msb_error_free(err);
    }
    shell("[ \"$(ls inner)\" = out ]");
}

static int make_scratch(void **state)
{
    (void)state;
    strcpy(strrchr(scratch, '-'), "-XXXXXX");
    return mkdtemp(scratch) && chdir(scratch) == 0 ? 0 : -1;
}

static int make_scratch_with_tree(void **state)
{
    if (make_scratch(state) < 0)
        return -1;
    make_tree();
    return 0;
}

static int remove_scratch(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof(command), "cd / && chmod -R u+rwX %s && rm -r %s", scratch, scratch);
    return system(command);
}

#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, make_scratch, remove_scratch)
#define WITH_TREE(test) cmocka_unit_test_setup_teardown(test, make_scratch_with_tree, remove_scratch)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_TREE(what_is_written_comes_back),
        WITH_TREE(gnu_tar_reads_it),
        WITH_TREE(gnu_tars_formats_are_read),
        IN_SCRATCH(large_numbers_are_kept),
        IN_SCRATCH(places_are_as_with_cp),
        IN_SCRATCH(a_missing_path_is_said),
        IN_SCRATCH(directories_that_were_there_keep_their_mode),
        IN_SCRATCH(dotdot_is_refused),
        IN_SCRATCH(an_absolute_name_is_relative),
        IN_SCRATCH(links_of_the_archive_are_not_followed),
        IN_SCRATCH(links_that_are_there_are_not_followed),
        IN_SCRATCH(hard_links_stay_below_the_top),
        IN_SCRATCH(a_second_top_is_refused),
        IN_SCRATCH(untrusted_archives_leave_nothing_dangerous),
        IN_SCRATCH(sizes_are_not_believed),
        IN_SCRATCH(broken_records_are_refused),
        IN_SCRATCH(truncated_and_garbled_archives_are_survived),
    };

    umask(022);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
