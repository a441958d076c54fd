/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is alive is asked of the lock that each monitor holds, and never of a process number, which may be another's by now. Asking takes
 * the lock for a moment, so that it is done under the user's lock alone; so is making and removing, so that no two see each other
 * half-way. state.json is written beside its place and renamed (rename(2) is atomic); its readers need no lock.
 */
#include "sandbox/registry.h"

#include "config/config.h"
#include "sandbox/log_file.h"
#include "sandbox/record.h"
#include "sandbox/runtime.h"
#include "util/cleanup.h"
#include "wire/buffer.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { STATE_SIZE_MAX = 32 << 20, BACKLOG = 128 };

static const char *const files[] = { "control", "vsock", "state.json", "state.json.new", "lock" };

/* ---- The user's lock -------------------------------------------------------------------------------------------------------- */

struct user {
    int runtime; /* the directory */
    int lock;
};

static void user_close(struct user *user)
{
    cleanup_fd(&user->lock);
    cleanup_fd(&user->runtime);
}

#define _cleanup_user_ __attribute__((cleanup(user_close)))

static int open_runtime(msb_error **err)
{
    _cleanup_free_ char *path = runtime_directory(err);
    int fd = path ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW) : -1;

    if (path && fd < 0)
        return fail_errno(err, "open `%s`", path);
    return fd;
}

static int user_lock(struct user *user, msb_error **err)
{
    user->runtime = open_runtime(err);
    if (user->runtime < 0)
        return -1;
    user->lock = openat(user->runtime, ".lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (user->lock < 0)
        return fail_errno(err, "open the lock of the sandboxes");
    while (flock(user->lock, LOCK_EX) < 0)
        if (errno != EINTR)
            return fail_errno(err, "lock the sandboxes");
    return 0;
}

/* ---- One directory ---------------------------------------------------------------------------------------------------------- */

/* With the user's lock held. */
static bool has_monitor(int directory)
{
    _cleanup_fd_ int fd = openat(directory, "lock", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0;
}

static bool same_file(int directory, int parent, const char *name)
{
    struct stat one, two;

    return fstat(directory, &one) == 0 && fstatat(parent, name, &two, AT_SYMLINK_NOFOLLOW) == 0 && one.st_dev == two.st_dev &&
           one.st_ino == two.st_ino;
}

static void unlink_sockets(int directory)
{
    unlinkat(directory, "control", 0);
    unlinkat(directory, "vsock", 0);
}

static void remove_directory(const struct user *user, const char *name, int directory)
{
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        unlinkat(directory, files[i], 0);
    if (same_file(directory, user->runtime, name))
        unlinkat(user->runtime, name, AT_REMOVEDIR);
}

static int write_state(int directory, const char *json, msb_error **err)
{
    _cleanup_fd_ int fd = openat(directory, "state.json.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    size_t size = strlen(json), done = 0;

    while (fd >= 0 && done < size) {
        ssize_t n = write(fd, json + done, size - done);

        if (n < 0 && errno != EINTR)
            return fail_errno(err, "write the sandbox's state");
        done += n > 0 ? (size_t)n : 0;
    }
    if (fd < 0 || renameat(directory, "state.json.new", directory, "state.json") < 0)
        return fail_errno(err, "write the sandbox's state");
    return 0;
}

/* NULL without an error: there is none. */
static char *read_state(int directory, msb_error **err)
{
    _cleanup_fd_ int fd = openat(directory, "state.json", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    _cleanup_free_ char *text = NULL;
    size_t done = 0;
    struct stat st;

    if (fd < 0 && errno == ENOENT)
        return NULL;
    if (fd < 0 || fstat(fd, &st) < 0)
        return FAIL_NULL(fail_errno(err, "open the sandbox's state"));
    text = st.st_size < STATE_SIZE_MAX ? malloc((size_t)st.st_size + 1) : NULL;
    if (!text)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    while (done < (size_t)st.st_size) {
        ssize_t n = read(fd, text + done, (size_t)st.st_size - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return FAIL_NULL(fail_errno(err, "read the sandbox's state"));
        done += (size_t)n;
    }
    text[done] = '\0';
    return steal_pointer(&text);
}

static int fail_not_found(const char *name, msb_error **err)
{
    return fail(err, MSB_ERR_NOT_FOUND, "there is no sandbox \"%s\"", name);
}

/* With the user's lock held: what state.json says, or should have said. NULL without an error: there is nothing (any more). */
static char *judge(const struct user *user, const char *name, int directory, msb_error **err)
{
    bool alive = has_monitor(directory), keep = true;
    _cleanup_free_ char *json = read_state(directory, err), *last = NULL;

    if (alive || (!json && err && *err))
        return steal_pointer(&json);
    /* Its monitor was killed before it had written anything. */
    if (!json) {
        remove_directory(user, name, directory);
        return NULL;
    }
    if (record_ended(json))
        return steal_pointer(&json);
    last = record_died(json, &keep, err);
    if (!last)
        return NULL;
    unlink_sockets(directory);
    if (keep && write_state(directory, last, err) < 0)
        return NULL;
    if (!keep) {
        _cleanup_free_ char *log = log_directory(name, NULL);

        remove_directory(user, name, directory);
        if (log)
            log_remove(log, NULL);
    }
    return steal_pointer(&last);
}

/* ---- For the monitor -------------------------------------------------------------------------------------------------------- */

static int check_free(const struct user *user, const char *name, msb_error **err)
{
    _cleanup_fd_ int directory = openat(user->runtime, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    msb_error *error = NULL;

    if (directory < 0 && errno == ENOENT)
        return 0;
    if (directory < 0)
        return fail_errno(err, "open the directory of the sandbox \"%s\"", name);
    if (has_monitor(directory))
        return fail(err, MSB_ERR_IN_USE, "name \"%s\" is taken by a sandbox that runs; choose another, or stop that one", name);
    /* It may be gone afterwards. */
    free(judge(user, name, directory, &error));
    if (error)
        return fail_with(err, error);
    if (!same_file(directory, user->runtime, name))
        return 0;
    return fail(err, MSB_ERR_IN_USE, "name \"%s\" is taken by a sandbox that has ended; choose another, or remove that one",
                name);
}

static int make(const struct user *user, const char *name, const char *json, struct registration *registration, msb_error **err)
{
    if (mkdirat(user->runtime, name, 0700) < 0)
        return fail_errno(err, "make a directory for the sandbox \"%s\"", name);
    registration->directory = openat(user->runtime, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (registration->directory < 0)
        return fail_errno(err, "open the directory of the sandbox \"%s\"", name);
    registration->lock = openat(registration->directory, "lock", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (registration->lock < 0 || flock(registration->lock, LOCK_EX | LOCK_NB) < 0)
        return fail_errno(err, "lock the sandbox \"%s\"", name);
    return write_state(registration->directory, json, err);
}

int registry_take(const char *name, const char *json, struct registration *registration, msb_error **err)
{
    _cleanup_user_ struct user user = { -1, -1 };

    *registration = REGISTRATION_NONE;
    /* It becomes a path. */
    if (config_check_name(name, err) < 0 || user_lock(&user, err) < 0 || check_free(&user, name, err) < 0)
        return -1;
    registration->name = strdup(name);
    if (!registration->name)
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    return make(&user, name, json, registration, err);
}

int registry_write(const struct registration *registration, const char *json, msb_error **err)
{
    return write_state(registration->directory, json, err);
}

/* A socket's address has room for 107 bytes of path; a descriptor stands in for the directory. */
static struct sockaddr_un address_of(int directory, const char *name)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", directory, name);
    return address;
}

int registry_listen(const struct registration *registration, const char *name, msb_error **err)
{
    struct sockaddr_un address = address_of(registration->directory, name);
    _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, BACKLOG) < 0)
        return fail_errno(err, "listen on the socket `%s` of the sandbox \"%s\"", name, registration->name);
    return steal_fd(&fd);
}

void registry_release(struct registration *registration, bool keep)
{
    _cleanup_user_ struct user user = { -1, -1 };

    if (!registration->name)
        return;
    if (user_lock(&user, NULL) == 0 && registration->directory >= 0) {
        if (keep)
            unlink_sockets(registration->directory);
        else
            remove_directory(&user, registration->name, registration->directory);
    }
    cleanup_fd(&registration->lock);
    cleanup_fd(&registration->directory);
    free(registration->name);
    *registration = REGISTRATION_NONE;
}

/* ---- For others ------------------------------------------------------------------------------------------------------------- */

int registry_open(const char *name, msb_error **err)
{
    _cleanup_fd_ int runtime = -1;
    int fd;

    if (config_check_name(name, err) < 0)
        return -1;
    runtime = open_runtime(err);
    if (runtime < 0)
        return -1;
    fd = openat(runtime, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? fail_not_found(name, err) : fail_errno(err, "open the directory of the sandbox \"%s\"", name);
    return fd;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int add_name(char ***names, size_t *count, const char *name)
{
    char **more = realloc(*names, (*count + 2) * sizeof(*more));

    if (!more)
        return -1;
    *names = more;
    more[*count] = strdup(name);
    if (!more[*count])
        return -1;
    more[++*count] = NULL;
    return 0;
}

char **registry_names(size_t *count, msb_error **err)
{
    int runtime = open_runtime(err);
    DIR *directory = runtime >= 0 ? fdopendir(runtime) : NULL;
    char **names = directory ? calloc(1, sizeof(*names)) : NULL;
    const struct dirent *entry;
    bool ok = names != NULL;

    *count = 0;
    if (!directory) {
        cleanup_fd(&runtime);
        return runtime < 0 ? NULL : FAIL_NULL(fail_errno(err, "read the directory of the sandboxes"));
    }
    while (ok && (entry = readdir(directory)))
        if (config_check_name(entry->d_name, NULL) == 0)
            ok = add_name(&names, count, entry->d_name) == 0;
    closedir(directory);
    if (!ok) {
        free_strings(names, *count);
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    }
    qsort(names, *count, sizeof(*names), compare_names);
    return names;
}

int registry_look(const char *name, int directory, char **json, msb_error **err)
{
    _cleanup_user_ struct user user = { -1, -1 };
    msb_error *error = NULL;

    *json = NULL;
    if (user_lock(&user, err) < 0)
        return -1;
    *json = judge(&user, name, directory, &error);
    if (error)
        return fail_with(err, error);
    return *json ? 0 : fail_not_found(name, err);
}

int registry_connect(const char *name, int directory, int timeout_ms, msb_error **err)
{
    struct sockaddr_un address = address_of(directory, "control");
    struct timeval timeout = { .tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000 };
    _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (timeout_ms == 0 ? SOCK_NONBLOCK : 0), 0);

    if (fd < 0)
        return fail_errno(err, "make a socket");
    if (timeout_ms > 0 && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)
        return fail_errno(err, "set a timeout");
    while (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        if (errno == EINTR)
            continue;
        if (errno == ENOENT || errno == ECONNREFUSED)
            return fail(err, MSB_ERR_STATE, "the sandbox \"%s\" has ended", name);
        if (errno == EAGAIN)
            return fail(err, MSB_ERR_TIMEOUT, "the monitor of the sandbox \"%s\" does not answer", name);
        return fail_errno(err, "connect to the monitor of the sandbox \"%s\"", name);
    }
    return steal_fd(&fd);
}

int registry_remove(const char *name, int directory, msb_error **err)
{
    _cleanup_user_ struct user user = { -1, -1 };
    _cleanup_free_ char *log = log_directory(name, err);

    if (!log || user_lock(&user, err) < 0)
        return -1;
    if (has_monitor(directory))
        return fail(err, MSB_ERR_STATE, "the sandbox \"%s\" runs; stop it first", name);
    if (!same_file(directory, user.runtime, name))
        return fail_not_found(name, err);
    /* The log goes first: while the directory is there, nobody else can have the name, and the log. */
    if (log_remove(log, err) < 0)
        return -1;
    remove_directory(&user, name, directory);
    return 0;
}
