/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/log_file.h"
#include "util/cleanup.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/uio.h>

enum {
    HEADER_SIZE = 32,         /* of a file, and of a record */
    RECORD_MAX = 64 << 10,    /* bytes in one record; more becomes several */
    NANOSECONDS = 1000000000, /* a second */
};

static const char current[] = "log", older[] = "log.1";

/* ---- Where it is --------------------------------------------------------------------------------------------------------------- */

static char *home_directory(msb_error **err)
{
    const char *home = getenv("HOME");
    struct passwd entry, *found = NULL;
    char buffer[4096];
    int error = 0;

    if (!home || *home != '/') {
        error = getpwuid_r(geteuid(), &entry, buffer, sizeof(buffer), &found);
        home = found ? found->pw_dir : NULL;
    }
    if (!home) {
        errno = error ? error : ENOENT;
        return FAIL_NULL(fail_errno(err, "find the user's home for the sandbox's log; set XDG_STATE_HOME"));
    }
    home = strdup(home);
    return home ? (char *)home : FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
}

char *log_directory(const char *name, msb_error **err)
{
    const char *state = getenv("XDG_STATE_HOME");
    _cleanup_free_ char *home = NULL;
    char *path = NULL;

    if (state && *state == '/')
        return asprintf(&path, "%s/microsandbox/%s", state, name) < 0 ? FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"))
                                                                      : path;
    home = home_directory(err);
    if (!home)
        return NULL;
    return asprintf(&path, "%s/.local/state/microsandbox/%s", home, name) < 0
               ? FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"))
               : path;
}

static int remove_file(int directory, const char *name)
{
    return unlinkat(directory, name, 0) < 0 && errno != ENOENT ? -1 : 0;
}

/* -1 with errno. */
static int open_directory(const char *path)
{
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

int log_remove(const char *path, msb_error **err)
{
    _cleanup_fd_ int directory = open_directory(path);

    if (directory < 0 && errno == ENOENT)
        return 0;
    if (directory < 0 || remove_file(directory, older) < 0 || remove_file(directory, current) < 0 ||
        (rmdir(path) < 0 && errno != ENOTEMPTY))
        return fail_errno(err, "remove the log in `%s`", path);
    return 0;
}

/* ---- Writing ------------------------------------------------------------------------------------------------------------------- */

struct log_writer {
    int directory;
    int fd;        /* `log`; -1 when it could not be made */
    uint64_t size; /* of what is whole in it */
    uint64_t file_size;
    unsigned generation; /* of `log` */
    uint64_t lost;       /* bytes, since the last note */
    int reason;          /* errno of the first of them */
};

/* Like mkdir -p. */
static int make_directories(const char *path)
{
    char *copy = strdup(path), *at = copy;
    int result = 0;

    if (!copy)
        return -1;
    while (result == 0 && (at = strchr(at + 1, '/'))) {
        *at = '\0';
        result = mkdir(copy, 0700) < 0 && errno != EEXIST ? -1 : 0;
        *at = '/';
    }
    if (result == 0 && mkdir(path, 0700) < 0 && errno != EEXIST)
        result = -1;
    free(copy);
    return result;
}

/* Writes all of it at the end of what is whole, or nothing: what was begun is cut off again. Returns -1 with errno. */
static int append(struct log_writer *writer, const struct iovec *parts, int count, size_t total)
{
    ssize_t n;

    do
        n = pwritev(writer->fd, parts, count, (off_t)writer->size);
    while (n < 0 && errno == EINTR);
    if (n >= 0 && (size_t)n == total) {
        writer->size += total;
        return 0;
    }
    if (n >= 0)
        errno = ENOSPC; /* the only reason of a regular file for less */
    if (n > 0) {
        int saved = errno;

        /* Should this fail too, the next record goes over it. */
        (void)!ftruncate(writer->fd, (off_t)writer->size);
        errno = saved;
    }
    return -1;
}

/* Begins the next generation. Returns -1 with errno, and then there is no file. */
static int begin_file(struct log_writer *writer)
{
    char header[HEADER_SIZE + 1];
    struct iovec part = { header, HEADER_SIZE };

    snprintf(header, sizeof(header), "msb log 1 generation %010u\n", writer->generation + 1);
    writer->size = 0;
    writer->fd = openat(writer->directory, current, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (writer->fd < 0)
        return -1;
    if (append(writer, &part, 1, HEADER_SIZE) < 0) {
        int saved = errno;

        close(steal_fd(&writer->fd));
        remove_file(writer->directory, current);
        errno = saved;
        return -1;
    }
    writer->generation++;
    return 0;
}

/* Makes room for a record, in a new file if it does not fit. */
static int make_room(struct log_writer *writer, size_t size)
{
    if (writer->fd < 0)
        return begin_file(writer);
    if (writer->size + size <= writer->file_size || writer->size <= HEADER_SIZE)
        return 0;
    if (renameat(writer->directory, current, writer->directory, older) < 0)
        return -1;
    close(steal_fd(&writer->fd));
    return begin_file(writer);
}

static int put_record(struct log_writer *writer, enum log_stream stream, const void *bytes, size_t size, uint64_t realtime)
{
    char header[HEADER_SIZE + 1];
    size_t total = HEADER_SIZE + size + 1;
    struct iovec parts[] = { { header, HEADER_SIZE }, { (void *)bytes, size }, { (char *)"\n", 1 } };

    snprintf(header, sizeof(header), "%010" PRIu64 ".%09" PRIu64 " %c %08zu\n", realtime / NANOSECONDS % 10000000000U,
             realtime % NANOSECONDS, (char)stream, size);
    return make_room(writer, total) < 0 ? -1 : append(writer, parts, 3, total);
}

static int put_note(struct log_writer *writer, uint64_t realtime)
{
    char note[256];
    int length =
        snprintf(note, sizeof(note), "%" PRIu64 " bytes of the log were lost here: %s", writer->lost, strerror(writer->reason));

    return put_record(writer, LOG_NOTE, note, (size_t)length, realtime);
}

void log_writer_put(struct log_writer *writer, enum log_stream stream, const void *bytes, size_t size, uint64_t realtime)
{
    const uint8_t *at = bytes;

    while (size > 0) {
        size_t piece = size < RECORD_MAX ? size : RECORD_MAX;

        if (writer->lost && put_note(writer, realtime) == 0)
            writer->lost = 0;
        if (writer->lost || put_record(writer, stream, at, piece, realtime) < 0) {
            if (!writer->lost)
                writer->reason = errno;
            writer->lost += size;
            return;
        }
        at += piece;
        size -= piece;
    }
}

struct log_writer *log_writer_new(const char *path, uint64_t file_size, msb_error **err)
{
    struct log_writer *writer = malloc(sizeof(*writer));

    if (!writer)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    *writer = (struct log_writer){ .fd = -1, .file_size = file_size };
    writer->directory = make_directories(path) < 0 ? -1 : open_directory(path);
    if (writer->directory >= 0 && remove_file(writer->directory, older) == 0 && remove_file(writer->directory, current) == 0 &&
        begin_file(writer) == 0)
        return writer;
    fail_errno(err, "begin a log in `%s`", path);
    log_writer_free(writer);
    return NULL;
}

void log_writer_free(struct log_writer *writer)
{
    if (!writer)
        return;
    if (writer->fd >= 0)
        close(writer->fd);
    if (writer->directory >= 0)
        close(writer->directory);
    free(writer);
}

/* ---- Reading ------------------------------------------------------------------------------------------------------------------- */

struct log_reader {
    int directory;
    int inotify; /* -1: does not follow */
    bool idle;   /* said that there is no more: what inotify has is old */
    int fd;      /* the file that is read, or -1 */
    unsigned generation;
    off_t at;    /* where the next record begins */
    off_t begin; /* where in the file the buffer begins */
    size_t filled;
    uint8_t buffer[HEADER_SIZE + RECORD_MAX + 1];
};

/* Decimal digits and nothing else. */
static bool number(const uint8_t *digits, size_t count, uint64_t *value)
{
    *value = 0;
    for (size_t i = 0; i < count; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            return false;
        *value = *value * 10 + (uint64_t)(digits[i] - '0');
    }
    return true;
}

/* The size of the whole record, and the record, when this is the header of one. */
static size_t parse_header(const uint8_t header[HEADER_SIZE], struct log_record *record)
{
    uint64_t seconds, nanoseconds, size;

    if (!number(header, 10, &seconds) || header[10] != '.' || !number(header + 11, 9, &nanoseconds) || header[20] != ' ' ||
        header[22] != ' ' || !number(header + 23, 8, &size) || header[31] != '\n' || size > RECORD_MAX)
        return 0;
    if (header[21] != LOG_STDOUT && header[21] != LOG_STDERR && header[21] != LOG_NOTE)
        return 0;
    *record = (struct log_record){
        .stream = (enum log_stream)header[21],
        .realtime = seconds * NANOSECONDS + nanoseconds,
        .bytes = header + HEADER_SIZE,
        .size = size,
    };
    return HEADER_SIZE + size + 1;
}

/* The record at reader->at, if it is in the buffer whole. */
static bool take(struct log_reader *reader, struct log_record *record)
{
    size_t offset = (size_t)(reader->at - reader->begin), left = offset <= reader->filled ? reader->filled - offset : 0, size;
    const uint8_t *header = reader->buffer + offset;

    if (left < HEADER_SIZE)
        return false;
    size = parse_header(header, record);
    if (size == 0 || size > left || header[size - 1] != '\n')
        return false;
    reader->at += (off_t)size;
    return true;
}

/* 1 with the record at reader->at; 0 when the file has no more, as yet. */
static int read_record(struct log_reader *reader, struct log_record *record, msb_error **err)
{
    ssize_t n;

    if (reader->fd < 0)
        return 0;
    if (take(reader, record))
        return 1;
    n = pread(reader->fd, reader->buffer, sizeof(reader->buffer), reader->at);
    if (n < 0)
        return fail_errno(err, "read the log");
    reader->begin = reader->at;
    reader->filled = (size_t)n;
    return take(reader, record);
}

/* Opens a file whose generation is above that of the reader; -1 when it is not. */
static int open_newer(const struct log_reader *reader, const char *name, unsigned *generation)
{
    _cleanup_fd_ int fd = openat(reader->directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    static const char beginning[] = "msb log 1 generation ";
    uint8_t header[HEADER_SIZE];
    struct stat st;
    uint64_t found;

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || pread(fd, header, HEADER_SIZE, 0) != HEADER_SIZE)
        return -1;
    if (memcmp(header, beginning, sizeof(beginning) - 1) != 0 || !number(header + sizeof(beginning) - 1, 10, &found) ||
        header[HEADER_SIZE - 1] != '\n' || found <= reader->generation || found > UINT_MAX)
        return -1;
    *generation = (unsigned)found;
    return steal_fd(&fd);
}

static bool is_current(const struct log_reader *reader)
{
    struct stat ours, named;

    return reader->fd >= 0 && fstat(reader->fd, &ours) == 0 && fstatat(reader->directory, current, &named, 0) == 0 &&
           ours.st_dev == named.st_dev && ours.st_ino == named.st_ino;
}

/* The next file, which is the older of those that are newer than the one read. When the writer exchanges them between the two looks,
   both find the same one. */
static int open_next(struct log_reader *reader, unsigned *generation)
{
    unsigned generations[2] = { 0 };
    _cleanup_fd_ int last = open_newer(reader, current, &generations[0]);
    _cleanup_fd_ int first = open_newer(reader, older, &generations[1]);

    if (first >= 0 && (last < 0 || generations[1] < generations[0])) {
        *generation = generations[1];
        return steal_fd(&first);
    }
    *generation = generations[0];
    return steal_fd(&last);
}

int log_reader_next(struct log_reader *reader, struct log_record *record, msb_error **err)
{
    uint8_t events[4096];
    int result;

    /* Before the look at the files, so that what changes after it is told. */
    while (reader->idle && reader->inotify >= 0 && read(reader->inotify, events, sizeof(events)) > 0)
        ;
    reader->idle = false;
    for (;;) {
        unsigned generation;
        int next;

        result = read_record(reader, record, err);
        if (result != 0)
            return result;
        next = is_current(reader) ? -1 : open_next(reader, &generation);
        if (next < 0)
            break;
        /* Now that there is another, this one is as long as it will ever be. */
        result = read_record(reader, record, err);
        if (result != 0) {
            close(next);
            return result;
        }
        if (reader->fd >= 0)
            close(reader->fd);
        reader->fd = next;
        reader->generation = generation;
        reader->at = reader->begin = HEADER_SIZE;
        reader->filled = 0;
    }
    reader->idle = true;
    return 0;
}

static int watch(struct log_reader *reader, const char *path, msb_error **err)
{
    reader->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (reader->inotify < 0 || inotify_add_watch(reader->inotify, path, IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0)
        return fail_errno(err, "watch the log in `%s`", path);
    return 0;
}

struct log_reader *log_reader_new(const char *path, bool follow, msb_error **err)
{
    struct log_reader *reader = malloc(sizeof(*reader));

    if (!reader)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    reader->inotify = reader->fd = -1;
    reader->idle = false;
    reader->generation = 0;
    reader->at = reader->begin = 0;
    reader->filled = 0;
    reader->directory = open_directory(path);
    if (reader->directory < 0)
        fail_errno(err, "open the log in `%s`", path);
    if (reader->directory >= 0 && (!follow || watch(reader, path, err) == 0))
        return reader;
    log_reader_free(reader);
    return NULL;
}

void log_reader_free(struct log_reader *reader)
{
    if (!reader)
        return;
    if (reader->directory >= 0)
        close(reader->directory);
    if (reader->inotify >= 0)
        close(reader->inotify);
    if (reader->fd >= 0)
        close(reader->fd);
    free(reader);
}

int log_reader_fd(const struct log_reader *reader)
{
    return reader->inotify;
}
