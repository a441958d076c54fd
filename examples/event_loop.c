/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs several commands at once, each in a microVM of its own, from one poll(2) loop, and stops those that take too long.
 *
 *     event_loop ROOTFS|host SECONDS COMMAND...
 *
 * Each COMMAND is a line for the guest's /bin/sh, and has SECONDS to end. No thread is made and nothing blocks but poll(2).
 *
 * Build: cc $(pkg-config --cflags microsandbox) event_loop.c $(pkg-config --libs microsandbox)
 */
#include <microsandbox.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { VMS_MAX = 16, GRACE_MS = 2000 };

struct job {
    const char *command;
    msb_vm *vm; /* NULL once it is done */
};

static void report(const struct job *job, const char *what, msb_error *error)
{
    fprintf(stderr, "%s: %s: %s\n", job->command, what, msb_error_message(error));
    msb_error_free(error);
}

static int start(struct job *job, const char *rootfs)
{
    const char *args[2];
    msb_vm_builder *builder = msb_vm_builder_new();
    msb_error *error = NULL;

    if (!builder)
        return -1;
    args[0] = "-c";
    args[1] = job->command;
    if (strcmp(rootfs, "host") == 0)
        msb_vm_builder_set_rootfs_host(builder);
    else
        msb_vm_builder_set_rootfs(builder, rootfs);
    msb_vm_builder_set_exec_path(builder, "/bin/sh");
    msb_vm_builder_set_args(builder, args, 2);
    msb_vm_builder_set_memory_mib(builder, 256);
    msb_vm_builder_set_stdio(builder, -1, 1, 2);
    job->vm = msb_vm_builder_build(builder, &error);
    msb_vm_builder_free(builder); /* the VM needs it no more */
    if (!job->vm || msb_vm_spawn(job->vm, &error) < 0) {
        report(job, "start", error);
        msb_vm_free(job->vm);
        job->vm = NULL;
        return -1;
    }
    return 0;
}

/* The VM's descriptor is readable: it has ended, and waiting for it does not block. */
static void finish(struct job *job)
{
    msb_error *error = NULL;
    int status = msb_vm_wait(job->vm, &error);

    if (status < 0)
        report(job, "run", error);
    else
        printf("%s: status %d\n", job->command, status);
    msb_vm_free(job->vm);
    job->vm = NULL;
}

static long milliseconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long)(now.tv_sec * 1000 + now.tv_nsec / 1000000);
}

/* Politely first; by force after GRACE_MS. The VM's descriptor says when it has ended. */
static void stop_all(struct job *jobs, int num_jobs)
{
    int i;

    for (i = 0; i < num_jobs; i++) {
        msb_error *error = NULL;

        if (jobs[i].vm && msb_vm_stop(jobs[i].vm, GRACE_MS, &error) < 0)
            report(&jobs[i], "stop", error);
    }
}

/* Fills polled and which with the jobs that run; returns how many. */
static int running(const struct job *jobs, int num_jobs, struct pollfd *polled, int *which)
{
    int i, count = 0;

    for (i = 0; i < num_jobs; i++) {
        if (!jobs[i].vm)
            continue;
        polled[count].fd = msb_vm_fd(jobs[i].vm);
        polled[count].events = POLLIN;
        polled[count].revents = 0;
        which[count++] = i;
    }
    return count;
}

static void run_loop(struct job *jobs, int num_jobs, long deadline)
{
    struct pollfd polled[VMS_MAX];
    int which[VMS_MAX], count, i, stopped = 0;

    while ((count = running(jobs, num_jobs, polled, which)) > 0) {
        long left = deadline - milliseconds_now();

        if (!stopped && left <= 0) {
            stop_all(jobs, num_jobs);
            stopped = 1;
        }
        if (poll(polled, (nfds_t)count, stopped ? -1 : (int)left) < 0 && errno != EINTR) {
            perror("poll");
            return;
        }
        for (i = 0; i < count; i++)
            if (polled[i].revents)
                finish(&jobs[which[i]]);
    }
}

int main(int argc, char **argv)
{
    struct job jobs[VMS_MAX];
    int i, num_jobs = argc - 3, failed = 0;
    long deadline;

    if (num_jobs < 1 || num_jobs > VMS_MAX) {
        fprintf(stderr, "usage: %s ROOTFS|host SECONDS COMMAND...  (at most %d)\n", argv[0], VMS_MAX);
        return EXIT_FAILURE;
    }
    deadline = milliseconds_now() + atol(argv[2]) * 1000;
    for (i = 0; i < num_jobs; i++) {
        jobs[i].command = argv[3 + i];
        jobs[i].vm = NULL;
        failed |= start(&jobs[i], argv[1]) < 0;
    }
    run_loop(jobs, num_jobs, deadline);
    for (i = 0; i < num_jobs; i++)
        msb_vm_free(jobs[i].vm); /* ends what still runs, should the loop have failed */
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
