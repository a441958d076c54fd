/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/child.h"

#include "archive/archive.h"
#include "guest/syscalls.h"
#include "guest/user.h"
#include "guest/why.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum {
    DEFAULT_NOFILE = 1024, /* soft, as every login has it: more breaks programs that use select(2) or close all descriptors */
};

static _Noreturn void refuse(int report, uint8_t status, const char *format, ...) __attribute__((format(printf, 3, 4)));

static _Noreturn void refuse(int report, uint8_t status, const char *format, ...)
{
    char text[CHILD_REPORT_MAX];
    int length;
    va_list args;

    text[0] = (char)status;
    va_start(args, format);
    length = vsnprintf(text + 1, sizeof(text) - 1, format, args);
    va_end(args);
    if (length < 0)
        length = 0;
    if (length > (int)sizeof(text) - 2)
        length = (int)sizeof(text) - 2;
    /* PID 1 takes a report that could not be written for a program that ended with this status. */
    if (write(report, text, (size_t)length + 1) < 0)
        _exit(status);
    _exit(status);
}

/* PID 1 ignores SIGPIPE and blocks what it reads from a signalfd; a program starts with neither. */
static void reset_signals(void)
{
    sigset_t none;

    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Frees 0, 1 and 2 for the program: a descriptor of ours down there is moved up. */
static int move_up(int fd)
{
    return fd > STDERR_FILENO ? fd : fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
}

static int set_files(bool tty, const struct child_files *files)
{
    if (setsid() < 0)
        return -1;
    if (tty && ioctl(files->input, TIOCSCTTY, 0) < 0)
        return -1;
    return dup2(files->input, STDIN_FILENO) < 0 || dup2(files->output, STDOUT_FILENO) < 0 || dup2(files->error, STDERR_FILENO) < 0
               ? -1
               : 0;
}

/* Linux's names, by number. */
static const char *limit_name(uint32_t resource)
{
    static const char *const names[PROCESS_RLIMITS] = {
        "RLIMIT_CPU",      "RLIMIT_FSIZE",  "RLIMIT_DATA",    "RLIMIT_STACK",  "RLIMIT_CORE",  "RLIMIT_RSS",
        "RLIMIT_NPROC",    "RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "RLIMIT_AS",     "RLIMIT_LOCKS", "RLIMIT_SIGPENDING",
        "RLIMIT_MSGQUEUE", "RLIMIT_NICE",   "RLIMIT_RTPRIO",  "RLIMIT_RTTIME",
    };

    return resource < PROCESS_RLIMITS ? names[resource] : "an unknown limit";
}

static void set_limits(const struct process *process, int report)
{
    struct rlimit nofile;

    if (getrlimit(RLIMIT_NOFILE, &nofile) == 0 && nofile.rlim_cur > DEFAULT_NOFILE) {
        nofile.rlim_cur = DEFAULT_NOFILE;
        setrlimit(RLIMIT_NOFILE, &nofile);
    }
    for (size_t i = 0; i < process->num_rlimits; i++) {
        const struct rlimit_setting *setting = &process->rlimits[i];
        struct rlimit limit = { setting->soft, setting->hard };

        if (setrlimit((int)setting->resource, &limit) < 0)
            refuse(report, EXIT_OURS, "rlimit %s=%llu:%llu: %s", limit_name(setting->resource), (unsigned long long)setting->soft,
                   (unsigned long long)setting->hard, strerror(errno));
    }
}

/* The pipes or the terminal become the user's, so that /dev/stdout and /dev/tty can be opened again by name. */
static void give_files(const struct user *user)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (user->uid != 0 && fchown(fd, user->uid, (gid_t)-1) < 0)
            return;
    }
}

/* Without a user it stays what PID 1 is: root, without supplementary groups. */
static void become(const struct process *process, const struct user *user, int report)
{
    const char *name = process->user;

    if (!name)
        return;
    if (setgroups(user->num_groups, user->groups) < 0)
        refuse(report, EXIT_OURS, "set the groups of user `%s`: %s", name, strerror(errno));
    if (setgid(user->gid) < 0 || setuid(user->uid) < 0)
        refuse(report, EXIT_OURS, "become user `%s` (%u:%u): %s", name, user->uid, user->gid, strerror(errno));
}

static void enter_workdir(const struct process *process, int report)
{
    struct stat status;

    if (chdir(process->workdir) == 0)
        return;
    if (errno == ENOENT)
        refuse(report, EXIT_OURS, "working directory `%s` is not in the guest", process->workdir);
    if (errno == ENOTDIR && stat(process->workdir, &status) == 0)
        refuse(report, EXIT_OURS, "working directory `%s` is not a directory", process->workdir);
    refuse(report, EXIT_OURS, "enter working directory `%s`: %s", process->workdir, strerror(errno));
}

static const char *find_variable(char *const *env, const char *key)
{
    size_t length = strlen(key);

    for (; *env; env++) {
        if (strncmp(*env, key, length) == 0 && (*env)[length] == '=')
            return *env + length + 1;
    }
    return NULL;
}

static void add_default(char **env, size_t *count, const char *key, const char *value)
{
    if (!find_variable(env, key) && asprintf(&env[*count], "%s=%s", key, value) >= 0)
        env[++*count] = NULL;
}

/* The environment as it was given, and what every program expects where it was not. NULL: no memory. */
static char **make_environment(const struct process *process, const struct user *user, const char *hostname)
{
    enum { DEFAULTS = 4 };
    size_t count = process->num_env;
    char **env = calloc(count + DEFAULTS + 1, sizeof(*env));

    if (!env)
        return NULL;
    memcpy(env, process->env, count * sizeof(*env));
    add_default(env, &count, "PATH", DEFAULT_PATH);
    add_default(env, &count, "HOSTNAME", hostname);
    add_default(env, &count, "HOME", user->home);
    if (process->tty)
        add_default(env, &count, "TERM", "xterm");
    return env;
}

static char **make_arguments(const struct process *process)
{
    char **argv = calloc(process->num_args + 2, sizeof(*argv));

    if (!argv)
        return NULL;
    argv[0] = process->exec_path;
    memcpy(argv + 1, process->args, process->num_args * sizeof(*argv));
    return argv;
}

static size_t bytes_of(char *const *strings)
{
    size_t bytes = 0;

    for (; *strings; strings++)
        bytes += strlen(*strings) + 1;
    return bytes;
}

static _Noreturn void refuse_exec(const char *path, char *const *argv, char *const *env, int error, int report)
{
    char why[CHILD_REPORT_MAX / 2];

    if (error == E2BIG)
        refuse(report, EXIT_NOT_EXECUTABLE,
               "`%s` cannot be executed: Linux refuses these arguments (%zu bytes) and environment (%zu bytes) as too big", path,
               bytes_of(argv), bytes_of(env));
    if (why_not_executable(path, error, why, sizeof(why)))
        refuse(report, EXIT_NOT_EXECUTABLE, "`%s` cannot be executed: %s", path, why);
    refuse(report, EXIT_NOT_FOUND, "`%s` is not in the guest", path);
}

/* As a shell looks a command up: the first that can be executed; if there is none, the first that is there at all says why not. */
static _Noreturn void execute_from_path(char **argv, char **env, int report)
{
    const char *path = find_variable(env, "PATH");
    size_t longest = strlen(path) + strlen(argv[0]) + 3;
    char *candidate = malloc(longest);
    char *refused = NULL;
    int error = ENOENT;

    if (!candidate)
        refuse(report, EXIT_OURS, "out of memory");
    for (const char *directory = path; directory;) {
        const char *end = strchrnul(directory, ':');
        struct stat status;

        /* An empty entry is the working directory (environ(7)). */
        snprintf(candidate, longest, "%.*s/%s", end > directory ? (int)(end - directory) : 1, end > directory ? directory : ".",
                 argv[0]);
        execve(candidate, argv, env);
        if (!refused && (errno == E2BIG || (stat(candidate, &status) == 0 && !S_ISDIR(status.st_mode)))) {
            error = errno;
            refused = strdup(candidate);
        }
        directory = *end ? end + 1 : NULL;
    }
    if (refused)
        refuse_exec(refused, argv, env, error, report);
    refuse(report, EXIT_NOT_FOUND, "`%s` is not in the guest's PATH (%s)", argv[0], path);
}

/* The first thing in the child: the descriptors of its streams, with the report descriptor out of their way. */
static int enter(bool tty, const struct child_files *files)
{
    int report = move_up(files->report);
    struct child_files moved = { move_up(files->input), move_up(files->output), move_up(files->error), report };

    if (set_files(tty, &moved) < 0)
        refuse(report, EXIT_OURS, "set up the standard streams: %s", strerror(errno));
    reset_signals();
    return report;
}

_Noreturn void child_run(const struct process *process, const struct child_files *files, const char *hostname)
{
    int report = enter(process->tty, files);
    msb_error *err = NULL;
    struct user user;
    char **argv, **env;

    if (user_lookup(process->user, &user, &err) < 0)
        refuse(report, EXIT_OURS, "%s", msb_error_message(err));
    argv = make_arguments(process);
    env = make_environment(process, &user, hostname);
    if (!argv || !env)
        refuse(report, EXIT_OURS, "out of memory");
    give_files(&user);
    set_limits(process, report);
    become(process, &user, report);
    enter_workdir(process, report);
    if (!strchr(process->exec_path, '/'))
        execute_from_path(argv, env, report);
    execve(process->exec_path, argv, env);
    refuse_exec(process->exec_path, argv, env, errno, report);
}

_Noreturn void child_copy(enum copy_direction direction, const char *path, const struct child_files *files)
{
    msb_error *err = NULL;
    int result;

    enter(false, files);
    /* No exec closes them, and closing the report descriptor says that the process is running. */
    sys_close_range(STDERR_FILENO + 1);
    umask(0);
    prctl(PR_SET_NAME, "copy");
    result =
        direction == COPY_OUT ? archive_write(STDOUT_FILENO, path, &err) : archive_read(STDIN_FILENO, path, ARCHIVE_OWNERS, &err);
    if (result < 0)
        dprintf(STDERR_FILENO, "%s\n", msb_error_message(err));
    _exit(result < 0);
}
