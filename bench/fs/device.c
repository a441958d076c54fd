/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One virtio-fs device against another: the same user-space driver, the same requests, in turns.
 *
 *     bench-fs OURS THEIRS DIRECTORY ROUNDS
 *
 * OURS and THEIRS are connected to by this program: it starts OURS (msb-fs) as the monitor does, and THEIRS (QEMU's virtiofsd) with
 * --socket-path. Each serves a tree of its own below DIRECTORY. For each kind of request and for one and two requests in flight, the
 * medians of ROUNDS are compared; a ratio above 1 means that OURS is faster.
 */
#include "devices.h"
#include "driver.h"
#include "fs/fuse.h"
#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    NUM_FILES = 1000,
    FILE_SIZE = 64 << 20,
    CHUNK = 1 << 20,
    PAGE = 4096,
    MAX_DEPTH = 2,
    QUEUE_SIZE = 1024,
    MEMORY = 64 << 20,
    TIMEOUT_MS = 20000,
    ROUNDS_MAX = 31,
};

#define LOOK_FOR 200e-6 /* seconds */

struct buffers {
    gpa_t header, argument, out_header, reply, data;
    int head; /* of the chain in flight, -1: none */
};

struct server {
    const char *name;
    char path[256];
    struct device_process process;
    pid_t pid;
    struct driver *driver;
    struct driver_queue *hiprio, *queue;
    struct buffers buffers[MAX_DEPTH];
    uint64_t unique;
    uint64_t root_files[NUM_FILES]; /* node ids */
    uint64_t big, big_fh;
};

/* ---- Requests --------------------------------------------------------------------------------------------------------------------- */

struct shape {
    uint32_t opcode;
    uint64_t node;
    const void *argument;
    size_t argument_size;
    size_t data_size;  /* of what is written, from the buffer as it is */
    size_t reply_size; /* the fixed part */
    size_t reply_data; /* what is read */
};

static void add_pages(struct driver_buffer *list, unsigned *count, gpa_t at, size_t size, bool writable)
{
    for (size_t done = 0; done < size; done += PAGE) {
        size_t length = size - done < PAGE ? size - done : PAGE;

        list[(*count)++] =
            (struct driver_buffer){ .address = { at.value + done }, .length = (uint32_t)length, .writable = writable };
    }
}

static void submit(struct server *s, unsigned slot, const struct shape *shape)
{
    struct driver_buffer list[4 + 2 * CHUNK / PAGE];
    struct buffers *b = &s->buffers[slot];
    struct fuse_in_header in = {
        .len = (uint32_t)(sizeof(in) + shape->argument_size + shape->data_size),
        .opcode = shape->opcode,
        .unique = ++s->unique,
        .nodeid = shape->node,
    };
    unsigned count = 0;
    bool reply = shape->opcode != FUSE_FORGET;
    struct driver_queue *queue = reply ? s->queue : s->hiprio;

    memcpy(driver_at(s->driver, b->header), &in, sizeof(in));
    list[count++] = (struct driver_buffer){ .address = b->header, .length = sizeof(in) };
    if (shape->argument_size) {
        memcpy(driver_at(s->driver, b->argument), shape->argument, shape->argument_size);
        list[count++] = (struct driver_buffer){ .address = b->argument, .length = (uint32_t)shape->argument_size };
    }
    add_pages(list, &count, b->data, shape->data_size, false);
    if (reply)
        list[count++] =
            (struct driver_buffer){ .address = b->out_header, .length = sizeof(struct fuse_out_header), .writable = true };
    if (shape->reply_size)
        list[count++] = (struct driver_buffer){ .address = b->reply, .length = (uint32_t)shape->reply_size, .writable = true };
    add_pages(list, &count, b->data, shape->reply_data, true);
    b->head = driver_add(queue, list, count);
    if (b->head < 0)
        die("the queue is full");
    driver_kick(queue);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Waits for the device. As a processor of a guest does that has nothing else to do (KVM's halt_poll_ns), it looks for a moment before it
   sleeps: what it takes to put our process to sleep and to wake it is none of the device's. */
static void wait_for_used(struct server *s, struct driver_used *used)
{
    double end = now() + LOOK_FOR;

    do {
        int taken = driver_take(s->queue, used);

        if (taken > 0)
            return;
    } while (now() < end);
    if (driver_wait(s->queue, used, TIMEOUT_MS) != 1)
        die("the device does not answer");
}

/* Waits for one request; its slot. Its error in *error. */
static unsigned await(struct server *s, int *error)
{
    struct driver_used used;
    struct fuse_out_header out;

    wait_for_used(s, &used);
    for (unsigned slot = 0; slot < MAX_DEPTH; slot++) {
        if (s->buffers[slot].head != used.head)
            continue;
        s->buffers[slot].head = -1;
        memcpy(&out, driver_at(s->driver, s->buffers[slot].out_header), sizeof(out));
        *error = out.error;
        return slot;
    }
    die("an answer to nothing");
}

static int call(struct server *s, unsigned slot, const struct shape *shape, void *reply)
{
    int error;

    submit(s, slot, shape);
    await(s, &error);
    if (error == 0 && reply)
        memcpy(reply, driver_at(s->driver, s->buffers[slot].reply), shape->reply_size);
    return error;
}

static void must_call(struct server *s, const struct shape *shape, void *reply)
{
    int error = call(s, 0, shape, reply);

    if (error) {
        errno = -error;
        fprintf(stderr, "bench-fs: request %u to %s: ", shape->opcode, s->name);
        die("failed");
    }
}

/* ---- Starting ------------------------------------------------------------------------------------------------------------------------ */

static void make_tree(struct server *s, const char *directory, const char *big)
{
    char path[512];
    int fd;

    snprintf(s->path, sizeof(s->path), "%s/%s", directory, s->name);
    if (mkdir(s->path, 0755) < 0)
        die(s->path);
    for (int i = 0; i < NUM_FILES; i++) {
        snprintf(path, sizeof(path), "%s/file%04d", s->path, i);
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
        if (fd < 0 || write(fd, path, 100) != 100)
            die(path);
        close(fd);
    }
    snprintf(path, sizeof(path), "%s/big", s->path);
    if (link(big, path) < 0)
        die(path);
}

/* Both trees hold this one file: two files of one size differ in how their pages lie in memory, and how fast they are read with that. */
static void make_big(const char *path)
{
    static char chunk[CHUNK];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);

    for (int done = 0; done < FILE_SIZE; done += CHUNK)
        if (write(fd, chunk, CHUNK) != CHUNK)
            die(path);
    close(fd);
}

static void agree(struct server *s)
{
    struct fuse_init_in in = {
        .major = 7,
        .minor = 38,
        .max_readahead = 1 << 20,
        .flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_WRITEBACK_CACHE | FUSE_NO_OPEN_SUPPORT | FUSE_DO_READDIRPLUS |
                 FUSE_READDIRPLUS_AUTO | FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | FUSE_NO_OPENDIR_SUPPORT |
                 FUSE_HANDLE_KILLPRIV_V2 | FUSE_CACHE_SYMLINKS,
    };
    struct fuse_init_out out;

    must_call(s, &(struct shape){ .opcode = FUSE_INIT, .argument = &in, .argument_size = sizeof(in), .reply_size = sizeof(out) },
              &out);
}

static uint64_t lookup(struct server *s, const char *name)
{
    struct fuse_entry_out entry;

    must_call(
        s,
        &(struct shape){
            .opcode = FUSE_LOOKUP, .node = 1, .argument = name, .argument_size = strlen(name) + 1, .reply_size = sizeof(entry) },
        &entry);
    return entry.nodeid;
}

static uint64_t open_node(struct server *s, uint32_t opcode, uint64_t node, uint32_t flags)
{
    struct fuse_open_in in = { .flags = flags };
    struct fuse_open_out out;
    int error =
        call(s, 0,
             &(struct shape){
                 .opcode = opcode, .node = node, .argument = &in, .argument_size = sizeof(in), .reply_size = sizeof(out) },
             &out);

    if (error == -ENOSYS)
        return 0;
    if (error) {
        errno = -error;
        die("open");
    }
    return out.fh;
}

static void connect_driver(struct server *s, int fd)
{
    msb_error *error = NULL;
    char name[32];

    s->driver = driver_new(fd, MEMORY, &error);
    check(s->driver ? 0 : -1, error);
    /* Without packed rings and the like: what a guest's kernel takes of what both offer. */
    check(
        driver_accept(s->driver, frontend_features(driver_frontend(s->driver)) & (1ULL << 32 | 1ULL << 29 | 1ULL << 28), &error),
        error);
    s->hiprio = driver_queue_start(s->driver, 0, QUEUE_SIZE, &error);
    check(s->hiprio ? 0 : -1, error);
    s->queue = driver_queue_start(s->driver, 1, QUEUE_SIZE, &error);
    check(s->queue ? 0 : -1, error);
    for (unsigned i = 0; i < MAX_DEPTH; i++)
        s->buffers[i] = (struct buffers){
            .header = driver_alloc(s->driver, PAGE, PAGE),
            .argument = driver_alloc(s->driver, PAGE, PAGE),
            .out_header = driver_alloc(s->driver, PAGE, PAGE),
            .reply = driver_alloc(s->driver, PAGE, PAGE),
            .data = driver_alloc(s->driver, CHUNK, PAGE),
            .head = -1,
        };
    agree(s);
    for (int i = 0; i < NUM_FILES; i++) {
        snprintf(name, sizeof(name), "file%04d", i);
        s->root_files[i] = lookup(s, name);
    }
    s->big = lookup(s, "big");
    s->big_fh = open_node(s, FUSE_OPEN, s->big, O_RDWR);
}

/* ---- Rows ------------------------------------------------------------------------------------------------------------------------------ */

/* Sends request i of a row in a slot. */
typedef void sender(struct server *s, unsigned slot, unsigned i);

static void send_read(struct server *s, unsigned slot, uint64_t offset, uint32_t size)
{
    struct fuse_read_in in = { .fh = s->big_fh, .offset = offset, .size = size };

    submit(
        s, slot,
        &(struct shape){ .opcode = FUSE_READ, .node = s->big, .argument = &in, .argument_size = sizeof(in), .reply_data = size });
}

static void send_write(struct server *s, unsigned slot, uint64_t offset, uint32_t size)
{
    struct fuse_write_in in = { .fh = s->big_fh, .offset = offset, .size = size };

    submit(s, slot,
           &(struct shape){ .opcode = FUSE_WRITE,
                            .node = s->big,
                            .argument = &in,
                            .argument_size = sizeof(in),
                            .data_size = size,
                            .reply_size = sizeof(struct fuse_write_out) });
}

static uint64_t scattered(unsigned i)
{
    return (i * 2654435761U) % (FILE_SIZE / PAGE) * (uint64_t)PAGE;
}

static void sequential_read(struct server *s, unsigned slot, unsigned i)
{
    send_read(s, slot, (uint64_t)i * CHUNK % FILE_SIZE, CHUNK);
}

static void random_read(struct server *s, unsigned slot, unsigned i)
{
    send_read(s, slot, scattered(i), PAGE);
}

static void sequential_write(struct server *s, unsigned slot, unsigned i)
{
    send_write(s, slot, (uint64_t)i * CHUNK % FILE_SIZE, CHUNK);
}

static void random_write(struct server *s, unsigned slot, unsigned i)
{
    send_write(s, slot, scattered(i), PAGE);
}

static void send_lookup(struct server *s, unsigned slot, unsigned i)
{
    char name[32];

    snprintf(name, sizeof(name), "file%04u", i % NUM_FILES);
    submit(s, slot,
           &(struct shape){ .opcode = FUSE_LOOKUP,
                            .node = 1,
                            .argument = name,
                            .argument_size = strlen(name) + 1,
                            .reply_size = sizeof(struct fuse_entry_out) });
}

static void send_getattr(struct server *s, unsigned slot, unsigned i)
{
    struct fuse_getattr_in in = { 0 };

    submit(s, slot,
           &(struct shape){ .opcode = FUSE_GETATTR,
                            .node = s->root_files[i % NUM_FILES],
                            .argument = &in,
                            .argument_size = sizeof(in),
                            .reply_size = sizeof(struct fuse_attr_out) });
}

/* Requests per second with depth in flight. */
static double run_row(struct server *s, sender *send, unsigned requests, unsigned depth);

static double run_row(struct server *s, sender *send, unsigned requests, unsigned depth)
{
    double begin = now();
    unsigned sent = 0;

    for (; sent < depth; sent++)
        send(s, sent, sent);
    for (unsigned done = 0; done < requests; done++) {
        int error;
        unsigned slot = await(s, &error);

        if (error) {
            errno = -error;
            die("a request failed");
        }
        if (sent < requests)
            send(s, slot, sent++);
    }
    return requests / (now() - begin);
}

struct made {
    struct fuse_entry_out entry;
    struct fuse_open_out open;
};

static void forget(struct server *s, uint64_t node)
{
    struct fuse_forget_in in = { .nlookup = 1 };
    struct driver_used used;

    submit(s, 0, &(struct shape){ .opcode = FUSE_FORGET, .node = node, .argument = &in, .argument_size = sizeof(in) });
    if (driver_wait(s->hiprio, &used, TIMEOUT_MS) != 1)
        die("forget");
}

/* Creates and unlinks depth files at a time. */
static double run_create(struct server *s, unsigned files, unsigned depth)
{
    struct {
        struct fuse_create_in in;
        char name[32];
    } create = { .in = { .flags = O_RDWR | O_CREAT | O_EXCL, .mode = S_IFREG | 0644 } };
    double begin = now();

    for (unsigned i = 0; i < files; i += depth) {
        struct made made[MAX_DEPTH];
        char name[MAX_DEPTH][32];
        int error;

        for (unsigned d = 0; d < depth; d++) {
            snprintf(name[d], sizeof(name[d]), "new%u", d);
            strcpy(create.name, name[d]);
            submit(s, d,
                   &(struct shape){ .opcode = FUSE_CREATE,
                                    .node = 1,
                                    .argument = &create,
                                    .argument_size = sizeof(create.in) + strlen(name[d]) + 1,
                                    .reply_size = sizeof(struct made) });
        }
        for (unsigned d = 0; d < depth; d++) {
            unsigned slot = await(s, &error);

            if (error)
                die("create");
            memcpy(&made[slot], driver_at(s->driver, s->buffers[slot].reply), sizeof(made[slot]));
        }
        /* A guest does not release what was not opened. */
        for (unsigned d = 0; s->big_fh && d < depth; d++) {
            struct fuse_release_in in = { .fh = made[d].open.fh };

            must_call(s,
                      &(struct shape){
                          .opcode = FUSE_RELEASE, .node = made[d].entry.nodeid, .argument = &in, .argument_size = sizeof(in) },
                      NULL);
        }
        for (unsigned d = 0; d < depth; d++)
            submit(
                s, d,
                &(struct shape){ .opcode = FUSE_UNLINK, .node = 1, .argument = name[d], .argument_size = strlen(name[d]) + 1 });
        for (unsigned d = 0; d < depth; d++) {
            await(s, &error);
            if (error)
                die("unlink");
        }
        for (unsigned d = 0; d < depth; d++)
            forget(s, made[d].entry.nodeid);
    }
    return files / (now() - begin);
}

/* Lists the directory of NUM_FILES a page at a time, as Linux does; entries per second. */
static double run_list(struct server *s, unsigned times)
{
    double begin = now();
    unsigned entries = 0;

    for (unsigned i = 0; i < times; i++) {
        uint64_t fh = open_node(s, FUSE_OPENDIR, 1, 0);
        struct fuse_read_in in = { .fh = fh, .size = PAGE };
        uint32_t got;

        do {
            struct fuse_out_header out;
            const char *data = driver_at(s->driver, s->buffers[0].data);

            must_call(
                s,
                &(struct shape){
                    .opcode = FUSE_READDIRPLUS, .node = 1, .argument = &in, .argument_size = sizeof(in), .reply_data = PAGE },
                NULL);
            memcpy(&out, driver_at(s->driver, s->buffers[0].out_header), sizeof(out));
            got = out.len - (uint32_t)sizeof(out);
            for (uint32_t at = 0; at < got;) {
                struct fuse_direntplus e;

                memcpy(&e, data + at, sizeof(e));
                in.offset = e.dirent.off;
                at += (uint32_t)FUSE_DIRENTPLUS_SIZE(&e);
                entries++;
            }
        } while (got);
        if (fh) {
            struct fuse_release_in release = { .fh = fh };

            must_call(
                s,
                &(struct shape){ .opcode = FUSE_RELEASEDIR, .node = 1, .argument = &release, .argument_size = sizeof(release) },
                NULL);
        }
    }
    return entries / (now() - begin);
}

/* ---- Comparing --------------------------------------------------------------------------------------------------------------------------- */

struct row {
    const char *name;
    sender *send; /* NULL: one of the others */
    unsigned requests;
};

static const struct row rows[] = {
    { "sequential read, 1 MiB", sequential_read, 200 },
    { "random read, 4 KiB", random_read, 5000 },
    { "sequential write, 1 MiB", sequential_write, 100 },
    { "random write, 4 KiB", random_write, 5000 },
    { "lookup", send_lookup, 5000 },
    { "getattr", send_getattr, 5000 },
    { "create and unlink", NULL, 600 },
    { "readdirplus, 1000 entries", NULL, 4 },
};

enum { NUM_ROWS = sizeof(rows) / sizeof(rows[0]) };

static double run_once(struct server *s, const struct row *row, unsigned depth)
{
    if (row->send)
        return run_row(s, row->send, row->requests, depth);
    return row->requests >= 100 ? run_create(s, row->requests, depth) : run_list(s, row->requests);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double median(double *values, unsigned count)
{
    qsort(values, count, sizeof(*values), by_value);
    return values[count / 2];
}

static double compare(struct server *servers, const struct row *row, unsigned depth, unsigned rounds)
{
    double rate[2][ROUNDS_MAX];
    double ours, theirs;

    for (unsigned r = 0; r < rounds; r++)
        for (unsigned i = 0; i < 2; i++)
            rate[i ^ (r & 1)][r] = run_once(&servers[i ^ (r & 1)], row, depth);
    ours = median(rate[0], rounds);
    theirs = median(rate[1], rounds);
    printf("%-28s %5u %12.0f %12.0f %8.2f\n", row->name, depth, ours, theirs, ours / theirs);
    fflush(stdout);
    return ours / theirs;
}

int main(int argc, char **argv)
{
    struct server servers[2] = { { .name = "ours" }, { .name = "theirs" } };
    double sum = 0, worst = INFINITY;
    unsigned rounds, count = 0;
    char big[256];

    if (argc != 5) {
        fprintf(stderr, "usage: bench-fs OURS THEIRS DIRECTORY ROUNDS\n");
        return 2;
    }
    rounds = (unsigned)atoi(argv[4]);
    if (rounds < 1 || rounds > ROUNDS_MAX)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    snprintf(big, sizeof(big), "%s/big", argv[3]);
    make_big(big);
    for (unsigned i = 0; i < 2; i++)
        make_tree(&servers[i], argv[3], big);
    connect_driver(&servers[0], start_ours(&servers[0].process, argv[1], servers[0].path, "bench", 1));
    servers[0].pid = servers[0].process.child.pid;
    connect_driver(&servers[1], start_theirs(&servers[1].pid, argv[2], servers[1].path));
    printf("%-28s %5s %12s %12s %8s\n", "requests per second", "depth", "msb-fs", "virtiofsd", "ratio");
    for (unsigned i = 0; i < NUM_ROWS; i++) {
        for (unsigned depth = 1; depth <= MAX_DEPTH; depth++) {
            double ratio;

            /* Pages of one listing follow one another. */
            if (!rows[i].send && rows[i].requests < 100 && depth > 1)
                continue;
            ratio = compare(servers, &rows[i], depth, rounds);
            sum += log(ratio);
            worst = ratio < worst ? ratio : worst;
            count++;
        }
    }
    printf("geometric mean %.2f, lowest %.2f\n", exp(sum / count), worst);
    for (unsigned i = 0; i < 2; i++)
        driver_free(servers[i].driver);
    device_process_wait(&servers[0].process, TIMEOUT_MS);
    waitpid(servers[1].pid, NULL, 0);
    return 0;
}
