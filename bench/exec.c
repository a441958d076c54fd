/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long `true` takes in a sandbox that runs: from outside, through the library, and inside, by a process of the guest's own.
 *
 *     bench-exec ENGINE [TIMES]       prints medians and 99th percentiles, and the difference
 *     bench-exec --inside TIMES       what the first form runs in the guest: prints one time per line, in microseconds
 */
#include <microsandbox.h>

#include <libgen.h>
#include <limits.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE = 120000, NO_CANCEL = -1, WARM_UP = 20 };

static double microseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b)
{
    double one = *(const double *)a, two = *(const double *)b;

    return (one > two) - (one < two);
}

static double at(const double *sorted, int count, double part)
{
    return sorted[(int)(part * (count - 1))] / 1000;
}

static void report(const char *what, double *times, int count)
{
    qsort(times, (size_t)count, sizeof(*times), compare);
    printf("%-28s median %7.2f ms   p99 %7.2f ms\n", what, at(times, count, 0.5), at(times, count, 0.99));
}

static int inside(int times)
{
    char *const argv[] = { (char *)"true", NULL }, *const env[] = { NULL };

    for (int i = 0; i < times; i++) {
        double begin = microseconds();
        pid_t pid;
        int status;

        if (posix_spawn(&pid, "/bin/true", NULL, NULL, argv, env) != 0 || waitpid(pid, &status, 0) != pid || status != 0)
            return 1;
        printf("%.3f\n", microseconds() - begin);
    }
    return 0;
}

static _Noreturn void die(const char *what, const msb_error *error)
{
    fprintf(stderr, "bench-exec: %s: %s\n", what, msb_error_message(error));
    exit(1);
}

static msb_sandbox *launch(const char *engine_name, char *self)
{
    msb_vm_builder *builder = msb_vm_builder_new();
    enum msb_engine engine = MSB_ENGINE_AUTO;
    msb_error *error = NULL;
    char *share, *name = msb_sandbox_make_name(NULL);
    msb_sandbox *sandbox = NULL;
    msb_vm *vm;

    if (!name || asprintf(&share, "%s:/bench:ro", dirname(dirname(self))) < 0)
        die("launch", NULL);
    if (msb_engine_parse(engine_name, MSB_LENGTH_UNKNOWN, &engine, &error) < 0)
        die("launch", error);
    msb_vm_builder_set_engine(builder, engine);
    msb_vm_builder_set_rootfs_host(builder);
    msb_vm_builder_set_memory_mib(builder, 512);
    msb_vm_builder_set_mapped_dirs(builder, (const char *const *)&share, 1);
    msb_vm_builder_set_name(builder, name);
    vm = msb_vm_builder_build(builder, &error);
    if (vm)
        sandbox = msb_vm_launch(vm, 0, PATIENCE, NO_CANCEL, &error);
    if (!sandbox)
        die("launch", error);
    msb_vm_free(vm);
    msb_vm_builder_free(builder);
    free(share);
    free(name);
    return sandbox;
}

static double run_once(msb_sandbox *sandbox, const msb_exec_options *options, char **output)
{
    double begin = microseconds();
    msb_error *error = NULL;
    msb_exec *exec = msb_sandbox_exec(sandbox, options, PATIENCE, NO_CANCEL, &error);

    if (!exec || msb_exec_wait(exec, PATIENCE, NO_CANCEL, &error) != 0)
        die("exec", error);
    begin = microseconds() - begin;
    if (output)
        *output = strdup(msb_exec_output(exec, NULL));
    msb_exec_free(exec);
    return begin;
}

static void measure_outside(msb_sandbox *sandbox, double *results, int times)
{
    msb_exec_options *options = msb_exec_options_new();

    msb_exec_options_set_exec_path(options, "/bin/true");
    for (int i = 0; i < WARM_UP + times; i++)
        results[i < WARM_UP ? 0 : i - WARM_UP] = run_once(sandbox, options, NULL);
    msb_exec_options_free(options);
}

static void measure_inside(msb_sandbox *sandbox, char *program, double *results, int times)
{
    msb_exec_options *options = msb_exec_options_new();
    char path[PATH_MAX], number[16];
    const char *args[] = { "--inside", number };
    char *output, *line;

    snprintf(path, sizeof(path), "/bench/bench/%s", basename(program));
    snprintf(number, sizeof(number), "%d", WARM_UP + times);
    msb_exec_options_set_exec_path(options, path);
    msb_exec_options_set_args(options, args, 2);
    msb_exec_options_set_collect(options, 1 << 20);
    run_once(sandbox, options, &output);
    line = output;
    for (int i = 0; i < WARM_UP + times; i++) {
        results[i < WARM_UP ? 0 : i - WARM_UP] = strtod(line, &line);
    }
    free(output);
    msb_exec_options_free(options);
}

int main(int argc, char **argv)
{
    int times = argc > 2 ? atoi(argv[2]) : 300;
    char self[PATH_MAX], copy[PATH_MAX];
    double *outside_times, *inside_times;
    msb_sandbox *sandbox;
    ssize_t length;

    if (argc < 2 || times < 1)
        return 2;
    if (!strcmp(argv[1], "--inside"))
        return inside(times);
    length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    outside_times = calloc((size_t)times, sizeof(*outside_times));
    inside_times = calloc((size_t)times, sizeof(*inside_times));
    if (length < 0 || !outside_times || !inside_times)
        return 1;
    self[length] = '\0';
    strcpy(copy, self);
    sandbox = launch(argv[1], copy);
    measure_outside(sandbox, outside_times, times);
    measure_inside(sandbox, self, inside_times, times);
    report("exec true, from outside", outside_times, times);
    report("spawn true, in the guest", inside_times, times);
    printf("%-28s median %7.2f ms   p99 %7.2f ms\n", "what it costs above",
           at(outside_times, times, 0.5) - at(inside_times, times, 0.5),
           at(outside_times, times, 0.99) - at(inside_times, times, 0.99));
    msb_sandbox_kill(sandbox, PATIENCE, NO_CANCEL, NULL);
    msb_sandbox_wait(sandbox, PATIENCE, NO_CANCEL, NULL);
    msb_sandbox_free(sandbox);
    free(outside_times);
    free(inside_times);
    return 0;
}
