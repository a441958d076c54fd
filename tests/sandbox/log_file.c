/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log of a sandbox: records come back byte for byte, over the change of files, while it is written and afterwards; what is cut short or
 * no log at all is passed over; a disk that is full loses what it must and says so.
 */
#include "sandbox/log_file.h"

#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

enum { HEADER = 32, SECOND = 1000000000 };

static char *base, *directory;

static int setup(void **state)
{
    (void)state;
    base = strdup("/tmp/msb-log-XXXXXX");
    assert_non_null(mkdtemp(base));
    assert_true(asprintf(&directory, "%s/state/microsandbox/one", base) > 0);
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static int teardown(void **state)
{
    (void)state;
    nftw(base, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(base);
    free(directory);
    return 0;
}

static struct log_writer *begin(uint64_t file_size)
{
    msb_error *error = NULL;
    struct log_writer *writer = log_writer_new(directory, file_size, &error);

    assert_null(error);
    assert_non_null(writer);
    return writer;
}

static struct log_reader *open_reader(bool follow)
{
    struct log_reader *reader = log_reader_new(directory, follow, NULL);

    assert_non_null(reader);
    return reader;
}

static void put(struct log_writer *writer, enum log_stream stream, const char *text)
{
    log_writer_put(writer, stream, text, strlen(text), 1764033543123456789U);
}

static void expect(struct log_reader *reader, enum log_stream stream, const char *text)
{
    struct log_record record;

    assert_int_equal(log_reader_next(reader, &record, NULL), 1);
    assert_int_equal(record.stream, stream);
    assert_int_equal(record.size, strlen(text));
    assert_memory_equal(record.bytes, text, record.size);
}

static void expect_end(struct log_reader *reader)
{
    struct log_record record;

    assert_int_equal(log_reader_next(reader, &record, NULL), 0);
}

static char *path_of(const char *name)
{
    static char path[256];

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    return path;
}

static void test_the_directory(void **state)
{
    char *path;

    (void)state;
    setenv("XDG_STATE_HOME", "/state", 1);
    path = log_directory("one", NULL);
    assert_string_equal(path, "/state/microsandbox/one");
    free(path);
    /* Not absolute counts as not set (the XDG base directory specification). */
    setenv("XDG_STATE_HOME", "state", 1);
    setenv("HOME", "/home/somebody", 1);
    path = log_directory("one", NULL);
    assert_string_equal(path, "/home/somebody/.local/state/microsandbox/one");
    free(path);
    unsetenv("HOME");
    path = log_directory("one", NULL);
    assert_non_null(strstr(path, "/.local/state/microsandbox/one"));
    free(path);
}

static void test_only_the_user_may_look(void **state)
{
    struct stat st;

    (void)state;
    umask(0);
    log_writer_free(begin(LOG_FILE_SIZE));
    assert_int_equal(stat(directory, &st), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0700);
    assert_int_equal(stat(path_of("log"), &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0600);
}

static void test_records(void **state)
{
    static const char bytes[] = "\0\xff\n\r\x1b[31m";
    struct log_writer *writer = begin(LOG_FILE_SIZE);
    struct log_reader *reader = open_reader(false);
    struct log_record record;

    (void)state;
    expect_end(reader);
    put(writer, LOG_STDOUT, "hello\n");
    put(writer, LOG_STDERR, "no newline");
    log_writer_put(writer, LOG_STDOUT, bytes, sizeof(bytes), 1);
    assert_int_equal(log_reader_next(reader, &record, NULL), 1);
    assert_int_equal(record.realtime, 1764033543123456789U);
    assert_int_equal(record.stream, LOG_STDOUT);
    assert_int_equal(record.size, 6);
    assert_memory_equal(record.bytes, "hello\n", 6);
    expect(reader, LOG_STDERR, "no newline");
    assert_int_equal(log_reader_next(reader, &record, NULL), 1);
    assert_int_equal(record.size, sizeof(bytes));
    assert_memory_equal(record.bytes, bytes, sizeof(bytes));
    assert_int_equal(record.realtime, 1);
    expect_end(reader);
    put(writer, LOG_STDOUT, "more");
    expect(reader, LOG_STDOUT, "more");
    expect_end(reader);
    assert_int_equal(log_reader_fd(reader), -1);
    log_reader_free(reader);
    log_writer_free(writer);
}

static void test_the_format_as_documented(void **state)
{
    static const char expected[] = "msb log 1 generation 0000000001\n1764033543.123456789 o 00000006\nhello\n\n";
    struct log_writer *writer = begin(LOG_FILE_SIZE);
    char found[256];
    FILE *file;

    (void)state;
    put(writer, LOG_STDOUT, "hello\n");
    log_writer_free(writer);
    file = fopen(path_of("log"), "re");
    assert_int_equal(fread(found, 1, sizeof(found), file), strlen(expected));
    assert_memory_equal(found, expected, strlen(expected));
    fclose(file);
}

static void test_large_pieces(void **state)
{
    enum { SIZE = 300000 };
    struct log_writer *writer = begin(LOG_FILE_SIZE);
    struct log_reader *reader = open_reader(false);
    struct log_record record;
    uint8_t *bytes = malloc(SIZE);
    size_t got = 0;

    (void)state;
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (uint8_t)(i * 2654435761U >> 13);
    log_writer_put(writer, LOG_STDERR, bytes, SIZE, SECOND);
    while (log_reader_next(reader, &record, NULL) == 1) {
        assert_int_equal(record.stream, LOG_STDERR);
        assert_true(got + record.size <= SIZE);
        assert_memory_equal(record.bytes, bytes + got, record.size);
        got += record.size;
    }
    assert_int_equal(got, SIZE);
    free(bytes);
    log_reader_free(reader);
    log_writer_free(writer);
}

/* A reader that keeps up loses nothing; one that comes later finds what the two files hold. Neither file gets larger than said. */
static void test_change_of_files(void **state)
{
    enum { FILE_SIZE = 1000, RECORDS = 200 };
    struct log_writer *writer = begin(FILE_SIZE);
    struct log_reader *reader = open_reader(false), *late;
    struct log_record record;
    char text[32];
    int first = -1, count = 0;
    struct stat st;

    (void)state;
    for (int i = 0; i < RECORDS; i++) {
        snprintf(text, sizeof(text), "record %d", i);
        put(writer, LOG_STDOUT, text);
        if (i % 7 == 0) /* at most a file's worth behind */
            for (int j = i == 0 ? 0 : i - 6; j <= i; j++) {
                snprintf(text, sizeof(text), "record %d", j);
                expect(reader, LOG_STDOUT, text);
            }
        assert_int_equal(stat(path_of("log"), &st), 0);
        assert_true(st.st_size <= FILE_SIZE);
    }
    assert_int_equal(stat(path_of("log.1"), &st), 0);
    assert_true(st.st_size <= FILE_SIZE && st.st_size > FILE_SIZE / 2);
    late = open_reader(false);
    while (log_reader_next(late, &record, NULL) == 1) {
        int number = atoi((const char *)record.bytes + strlen("record "));

        if (first < 0)
            first = number;
        assert_int_equal(number, first + count++);
    }
    assert_int_equal(first + count, RECORDS);
    assert_true(count > 20);
    log_reader_free(late);
    log_reader_free(reader);
    log_writer_free(writer);
}

/* A reader that is overtaken goes on with the oldest that is left. */
static void test_overtaken(void **state)
{
    struct log_writer *writer = begin(200);
    struct log_reader *reader = open_reader(false);
    struct log_record record;
    int last = -1;

    (void)state;
    put(writer, LOG_STDOUT, "first");
    expect(reader, LOG_STDOUT, "first");
    for (int i = 0; i < 50; i++) {
        char text[8];

        snprintf(text, sizeof(text), "%d", i);
        put(writer, LOG_STDOUT, text);
    }
    while (log_reader_next(reader, &record, NULL) == 1) {
        assert_true(atoi((const char *)record.bytes) > last);
        last = atoi((const char *)record.bytes);
    }
    assert_int_equal(last, 49);
    log_reader_free(reader);
    log_writer_free(writer);
}

static void await(const struct log_reader *reader)
{
    struct pollfd readable = { log_reader_fd(reader), POLLIN, 0 };

    assert_int_equal(poll(&readable, 1, 10000), 1);
}

static bool is_quiet(const struct log_reader *reader)
{
    struct pollfd readable = { log_reader_fd(reader), POLLIN, 0 };

    return poll(&readable, 1, 0) == 0;
}

/* Each record wakes the reader, over the change of files too; when it has read all, it sleeps. */
static void test_follow(void **state)
{
    struct log_writer *writer = begin(150);
    struct log_reader *reader = open_reader(true);
    char text[16];

    (void)state;
    expect_end(reader);
    assert_true(is_quiet(reader));
    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof(text), "%d", i);
        put(writer, LOG_STDOUT, text);
        await(reader);
        expect(reader, LOG_STDOUT, text);
        expect_end(reader);
        expect_end(reader);
        assert_true(is_quiet(reader));
    }
    log_reader_free(reader);
    log_writer_free(writer);
}

/* Another process writes as fast as it can: what is read is in order and whole, and the last record comes. */
static void test_follow_another_process(void **state)
{
    enum { RECORDS = 20000 };
    struct log_writer *writer = begin(100000);
    struct log_reader *reader = open_reader(true);
    int last = -1, status;
    pid_t pid = fork();

    (void)state;
    if (pid == 0) {
        for (int i = 0; i < RECORDS; i++) {
            char text[16];

            snprintf(text, sizeof(text), "%d", i);
            put(writer, i % 2 ? LOG_STDOUT : LOG_STDERR, text);
        }
        _exit(0);
    }
    while (last < RECORDS - 1) {
        struct log_record record;
        int found = log_reader_next(reader, &record, NULL), value;
        char text[16] = { 0 };

        assert_true(found >= 0);
        if (found == 0) {
            await(reader);
            continue;
        }
        assert_true(record.size < sizeof(text));
        memcpy(text, record.bytes, record.size);
        value = atoi(text);
        assert_true(value > last);
        assert_int_equal(record.stream, value % 2 ? LOG_STDOUT : LOG_STDERR);
        last = value;
    }
    waitpid(pid, &status, 0);
    log_reader_free(reader);
    log_writer_free(writer);
}

/* A log cut at any byte gives the records before it. */
static void test_cut_short(void **state)
{
    struct log_writer *writer = begin(LOG_FILE_SIZE);
    const int whole = 3 * HEADER + 2 * 3;

    (void)state;
    put(writer, LOG_STDOUT, "ab");
    put(writer, LOG_STDOUT, "cd");
    log_writer_free(writer);
    for (int size = whole - 1; size >= 0; size--) {
        struct log_reader *reader;

        assert_int_equal(truncate(path_of("log"), size), 0);
        reader = open_reader(false);
        if (size >= 2 * HEADER + 3)
            expect(reader, LOG_STDOUT, "ab");
        expect_end(reader);
        log_reader_free(reader);
    }
}

static void overwrite(const char *name, int at, const char *bytes)
{
    int fd = open(path_of(name), O_WRONLY | O_CLOEXEC | O_CREAT, 0600);

    assert_int_equal(pwrite(fd, bytes, strlen(bytes), at), strlen(bytes));
    close(fd);
}

static void test_what_is_no_record(void **state)
{
    static const char *const headers[] = {
        "1764033543.123456789 x 00000002\n", "1764033543.123456789 o 99999999\n", "1764033543.123456789 o 00000001\n",
        "176403354a.123456789 o 00000002\n", "1764033543 123456789 o 00000002\n", "1764033543.123456789 o 0000000-\n",
        "1764033543.123456789 o 00000002 ",  "                                 ",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        struct log_writer *writer = begin(LOG_FILE_SIZE);
        struct log_reader *reader = open_reader(false);

        put(writer, LOG_STDOUT, "ab");
        put(writer, LOG_STDOUT, "cd");
        overwrite("log", 2 * HEADER + 3, headers[i]);
        expect(reader, LOG_STDOUT, "ab");
        expect_end(reader);
        log_reader_free(reader);
        log_writer_free(writer);
    }
}

static void test_what_is_no_log(void **state)
{
    struct log_reader *reader;

    (void)state;
    log_writer_free(begin(LOG_FILE_SIZE));
    overwrite("log", 0, "msb log 2");
    reader = open_reader(false);
    expect_end(reader);
    log_reader_free(reader);
    /* A link may lead anywhere, and a pipe nowhere. */
    log_writer_free(begin(LOG_FILE_SIZE));
    assert_int_equal(chdir(directory), 0);
    assert_int_equal(rename("log", "elsewhere"), 0);
    assert_int_equal(symlink("elsewhere", "log"), 0);
    overwrite("elsewhere", HEADER, "1764033543.123456789 o 00000001\na\n");
    assert_int_equal(mkfifo(path_of("log.1"), 0600), 0);
    reader = open_reader(false);
    expect_end(reader);
    log_reader_free(reader);
    assert_null(log_reader_new("/nonexistent/log", false, NULL));
}

static void test_a_new_sandbox_of_the_same_name(void **state)
{
    struct log_writer *writer = begin(100);
    struct log_reader *reader;

    (void)state;
    put(writer, LOG_STDOUT, "first");
    put(writer, LOG_STDOUT, "which is long enough to need another file");
    log_writer_free(writer);
    assert_int_equal(access(path_of("log.1"), F_OK), 0);
    writer = begin(100);
    put(writer, LOG_STDOUT, "second");
    reader = open_reader(false);
    expect(reader, LOG_STDOUT, "second");
    expect_end(reader);
    log_reader_free(reader);
    log_writer_free(writer);
    close(open(path_of("other"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    assert_int_equal(log_remove(directory, NULL), 0);
    assert_int_equal(access(path_of("log"), F_OK), -1);
    assert_int_equal(access(path_of("other"), F_OK), 0);
    assert_int_equal(unlink(path_of("other")), 0);
    assert_int_equal(log_remove(directory, NULL), 0);
    assert_int_equal(access(directory, F_OK), -1);
    assert_int_equal(log_remove(directory, NULL), 0);
}

/* A limit on the size of files stands for the full disk: a write is cut short in the middle of a record too. */
static void test_a_full_disk(void **state)
{
    struct rlimit before, limit;
    struct log_writer *writer = begin(LOG_FILE_SIZE);
    struct log_reader *reader = open_reader(false);
    struct log_record record;
    struct stat st;

    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    put(writer, LOG_STDOUT, "before");
    getrlimit(RLIMIT_FSIZE, &before);
    limit = (struct rlimit){ 2 * HEADER + 7 + 40, before.rlim_max };
    setrlimit(RLIMIT_FSIZE, &limit);
    put(writer, LOG_STDOUT, "is cut short");
    put(writer, LOG_STDERR, "is lost");
    expect(reader, LOG_STDOUT, "before");
    expect_end(reader);
    assert_int_equal(stat(path_of("log"), &st), 0);
    assert_int_equal(st.st_size, 2 * HEADER + 7);
    setrlimit(RLIMIT_FSIZE, &before);
    put(writer, LOG_STDOUT, "after");
    assert_int_equal(log_reader_next(reader, &record, NULL), 1);
    assert_int_equal(record.stream, LOG_NOTE);
    assert_non_null(memmem(record.bytes, record.size, "19 bytes of the log were lost here: ", 36));
    expect(reader, LOG_STDOUT, "after");
    expect_end(reader);
    log_reader_free(reader);
    log_writer_free(writer);
}

/* No room for the next file either: when there is, it goes on. */
static void test_a_disk_that_is_full_between_files(void **state)
{
    struct rlimit before, limit;
    struct log_writer *writer = begin(250);
    struct log_reader *reader = open_reader(true);
    struct log_record record;
    char large[200] = { 0 };

    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    put(writer, LOG_STDOUT, "before");
    getrlimit(RLIMIT_FSIZE, &before);
    limit = (struct rlimit){ 10, before.rlim_max };
    setrlimit(RLIMIT_FSIZE, &limit);
    log_writer_put(writer, LOG_STDOUT, large, sizeof(large), SECOND);
    put(writer, LOG_STDOUT, "is lost");
    setrlimit(RLIMIT_FSIZE, &before);
    put(writer, LOG_STDOUT, "after");
    expect(reader, LOG_STDOUT, "before");
    assert_int_equal(log_reader_next(reader, &record, NULL), 1);
    assert_int_equal(record.stream, LOG_NOTE);
    expect(reader, LOG_STDOUT, "after");
    expect_end(reader);
    log_reader_free(reader);
    log_writer_free(writer);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_directory),
        TEST(test_only_the_user_may_look),
        TEST(test_records),
        TEST(test_the_format_as_documented),
        TEST(test_large_pieces),
        TEST(test_change_of_files),
        TEST(test_overtaken),
        TEST(test_follow),
        TEST(test_follow_another_process),
        TEST(test_cut_short),
        TEST(test_what_is_no_record),
        TEST(test_what_is_no_log),
        TEST(test_a_new_sandbox_of_the_same_name),
        TEST(test_a_full_disk),
        TEST(test_a_disk_that_is_full_between_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
