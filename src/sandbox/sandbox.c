/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sandbox as the library's user holds it: a descriptor of its directory, which stands for this one sandbox and no later one of the
 * same name. Each request has a connection of its own, so that threads need not wait for one another. One connection stays: the one on
 * which the monitor tells the end. Its peer is watched by a pidfd too, for a monitor that is killed does not tell.
 */
#include "sandbox/sandbox.h"

#include "config/port.h"
#include "sandbox/record.h"
#include "sandbox/registry.h"
#include "sandbox/stats.h"
#include "util/cleanup.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>

enum { STATUS_FAILED = 125 };

struct msb_sandbox {
    char *name;
    int directory; /* -1: it had ended before it was opened */
    pthread_mutex_t lock;
    /* What the lock guards. It is not held while something blocks. */
    struct client watch;
    int monitor;          /* the watched monitor's pidfd; -1: none, or not known */
    struct result result; /* once it is known */
    char *last;           /* its state.json when it had ended */
};

int check_signal(int signal, msb_error **err)
{
    if (signal < 1 || signal > 64)
        return fail(err, MSB_ERR_INVALID, "signal \"%d\" is none of Linux's, which are 1 to 64", signal);
    return 0;
}

/* ---- Names ------------------------------------------------------------------------------------------------------------------ */

char *msb_sandbox_make_name(msb_error **err)
{
    static const char *const adjectives[] = { "able",  "amber", "brave",  "brisk", "calm",  "clear", "deft",  "eager",
                                              "early", "fair",  "fleet",  "fond",  "fresh", "glad",  "grand", "happy",
                                              "keen",  "kind",  "lively", "lucid", "merry", "mild",  "neat",  "noble",
                                              "proud", "quick", "quiet",  "rapid", "sunny", "swift", "vivid", "witty" };
    static const char *const nouns[] = { "badger", "bison", "crane",  "dingo",  "eagle", "egret", "falcon", "ferret",
                                         "finch",  "fox",   "gecko",  "heron",  "ibex",  "ibis",  "jackal", "koala",
                                         "lemur",  "lynx",  "magpie", "marten", "mole",  "moose", "newt",   "otter",
                                         "owl",    "panda", "puffin", "raven",  "robin", "seal",  "stoat",  "wren" };
    uint32_t random[2];
    char *name;

    if (getrandom(random, sizeof(random), 0) != sizeof(random))
        return FAIL_NULL(fail_errno(err, "get random bytes for a name"));
    if (asprintf(&name, "%s-%s-%08x", adjectives[random[0] % 32], nouns[random[0] / 32 % 32], random[1]) < 0)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    return name;
}

/* ---- Handles ---------------------------------------------------------------------------------------------------------------- */

/* Takes the directory. */
static msb_sandbox *make(const char *name, int directory, msb_error **err)
{
    msb_sandbox *sandbox = calloc(1, sizeof(*sandbox));
    char *copy = strdup(name);

    if (!sandbox || !copy) {
        free(sandbox);
        free(copy);
        cleanup_fd(&directory);
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    }
    *sandbox = (msb_sandbox){
        .name = copy, .directory = directory, .lock = PTHREAD_MUTEX_INITIALIZER, .watch.socket = -1, .monitor = -1
    };
    return sandbox;
}

/* The process at the other end of a connection to a listening socket, as a pidfd; -1 when it is not to be had. */
static int peer_of(int socket)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);

    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || peer.pid <= 0)
        return -1;
    return (int)syscall(SYS_pidfd_open, peer.pid, 0);
}

msb_sandbox *sandbox_launched(const char *name, struct client *client, msb_error **err)
{
    msb_sandbox *sandbox = make(name, registry_open(name, NULL), err);
    int socket;

    if (!sandbox) {
        client_close(client);
        return NULL;
    }
    sandbox->watch = *client;
    /* The connection is a socket pair of ours, which does not name its other end. */
    socket = sandbox->directory >= 0 ? registry_connect(name, sandbox->directory, 0, NULL) : -1;
    if (socket >= 0) {
        sandbox->monitor = peer_of(socket);
        close(socket);
    }
    return sandbox;
}

msb_sandbox *msb_sandbox_open(const char *name, msb_error **err)
{
    int directory = registry_open(name, err);
    msb_sandbox *sandbox = directory >= 0 ? make(name, directory, err) : NULL;

    /* One whose monitor died early, or was not to be kept, is cleaned up by this. */
    if (sandbox && msb_sandbox_state(sandbox, err) < 0) {
        msb_sandbox_free(sandbox);
        return NULL;
    }
    return sandbox;
}

void msb_sandbox_free(msb_sandbox *sandbox)
{
    if (!sandbox)
        return;
    client_close(&sandbox->watch);
    cleanup_fd(&sandbox->monitor);
    cleanup_fd(&sandbox->directory);
    result_clear(&sandbox->result);
    pthread_mutex_destroy(&sandbox->lock);
    free(sandbox->last);
    free(sandbox->name);
    free(sandbox);
}

/* Opens each; those that are gone meanwhile are left out. */
static int open_all(msb_sandbox **list, size_t *count, char *const *names, size_t num_names, msb_error **err)
{
    for (size_t i = 0; i < num_names; i++) {
        msb_error *error = NULL;
        msb_sandbox *sandbox = msb_sandbox_open(names[i], &error);

        if (sandbox)
            list[(*count)++] = sandbox;
        else if (msb_error_code(error) == MSB_ERR_NOT_FOUND)
            msb_error_free(error);
        else
            return fail_with(err, error);
    }
    return 0;
}

msb_sandbox **msb_sandbox_list(size_t *count, msb_error **err)
{
    size_t num_names;
    char **names = registry_names(&num_names, err);
    msb_sandbox **list = names ? calloc(num_names + 1, sizeof(msb_sandbox *)) : NULL;

    *count = 0;
    if (names && !list)
        fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    if (list && open_all(list, count, names, num_names, err) < 0) {
        msb_sandbox_list_free(list, *count);
        list = NULL;
        *count = 0;
    }
    free_strings(names, num_names);
    return list;
}

void msb_sandbox_list_free(msb_sandbox **list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        msb_sandbox_free(list[i]);
    free(list);
}

const char *msb_sandbox_name(const msb_sandbox *sandbox)
{
    return sandbox->name;
}

/* ---- What is known of it ---------------------------------------------------------------------------------------------------- */

/* With the lock held: from a state.json that tells the end. */
static void remember(msb_sandbox *sandbox, const char *json, struct record_view *view)
{
    if (!sandbox->last)
        sandbox->last = strdup(json);
    if (sandbox->result.known)
        return;
    sandbox->result = (struct result){
        .known = true,
        .status = view->exit_status >= 0 ? view->exit_status : STATUS_FAILED,
        .code = view->code,
        .message = steal_pointer(&view->error),
        .kernel_log = steal_pointer(&view->kernel_log),
    };
}

/* state.json as it is now, or was when the sandbox had ended. */
static char *look(msb_sandbox *sandbox, msb_error **err)
{
    msb_error *error = NULL;
    struct record_view view;
    char *json = NULL;

    if (sandbox->directory < 0)
        fail(&error, MSB_ERR_NOT_FOUND, "there is no sandbox \"%s\"", sandbox->name);
    else
        registry_look(sandbox->name, sandbox->directory, &json, &error);
    pthread_mutex_lock(&sandbox->lock);
    if (json && record_view(json, &view, NULL) == 0) {
        if (view.state >= MSB_SANDBOX_EXITED)
            remember(sandbox, json, &view);
        record_view_clear(&view);
    } else if (!json && sandbox->last && msb_error_code(error) == MSB_ERR_NOT_FOUND) {
        json = strdup(sandbox->last);
    }
    pthread_mutex_unlock(&sandbox->lock);
    if (json)
        msb_error_free(error);
    else
        fail_with(err, error);
    return json;
}

char *msb_sandbox_inspect(msb_sandbox *sandbox, msb_error **err)
{
    return look(sandbox, err);
}

/* With the lock held: takes in what has come. 1: the end is told; 0: nothing yet; -1: the monitor hung up without. */
static int hear(msb_sandbox *sandbox)
{
    struct reader body;
    uint16_t type;
    int found = 1;

    while (!sandbox->result.known && (found = client_next(&sandbox->watch, &type, &body, NULL)) > 0)
        if (type == CONTROL_RESULT)
            result_decode(&body, &sandbox->result);
    return sandbox->result.known ? 1 : found;
}

/* Of one that is gone without a trace but for the end that the handle was told. */
static int state_of_result(msb_sandbox *sandbox)
{
    int state = -1;

    pthread_mutex_lock(&sandbox->lock);
    if (sandbox->result.known || (sandbox->watch.socket >= 0 && hear(sandbox) > 0))
        state = sandbox->result.code == MSB_OK ? MSB_SANDBOX_EXITED : MSB_SANDBOX_FAILED;
    pthread_mutex_unlock(&sandbox->lock);
    return state;
}

int msb_sandbox_state(msb_sandbox *sandbox, msb_error **err)
{
    msb_error *error = NULL;
    _cleanup_free_ char *json = look(sandbox, &error);
    struct record_view view;
    int state;

    if (!json) {
        state = msb_error_code(error) == MSB_ERR_NOT_FOUND ? state_of_result(sandbox) : -1;
        if (state < 0)
            return fail_with(err, error);
        msb_error_free(error);
        return state;
    }
    if (record_view(json, &view, err) < 0)
        return -1;
    state = (int)view.state;
    record_view_clear(&view);
    return state;
}

msb_port *msb_sandbox_port(msb_sandbox *sandbox, size_t index, msb_error **err)
{
    _cleanup_free_ char *json = look(sandbox, err), *text = NULL;

    if (!json)
        return NULL;
    text = record_port(json, index, err);
    return text ? msb_port_parse(text, MSB_LENGTH_UNKNOWN, err) : NULL;
}

int msb_sandbox_remove(msb_sandbox *sandbox, msb_error **err)
{
    if (sandbox->directory < 0)
        return fail(err, MSB_ERR_NOT_FOUND, "there is no sandbox \"%s\"", sandbox->name);
    return registry_remove(sandbox->name, sandbox->directory, err);
}

/* ---- Requests --------------------------------------------------------------------------------------------------------------- */

int sandbox_connect(msb_sandbox *sandbox, struct client *client, const struct patience *patience, msb_error **err)
{
    int left = patience_left(patience), socket;

    client_init(client, -1);
    if (sandbox->directory < 0)
        return fail(err, MSB_ERR_STATE, "the sandbox \"%s\" has ended", sandbox->name);
    socket = registry_connect(sandbox->name, sandbox->directory, left, err);
    if (socket < 0)
        return -1;
    client_init(client, socket);
    return 0;
}

int sandbox_ask(msb_sandbox *sandbox, struct request *request, struct client *client, enum control wanted, struct reader *body,
                const struct patience *patience, msb_error **err)
{
    uint16_t type;

    if (sandbox_connect(sandbox, client, patience, err) < 0) {
        free(request->writer.data);
        return -1;
    }
    if (client_send(client, request, NULL, 0, patience, err) < 0 || client_receive(client, &type, body, patience, err) < 0)
        return -1;
    if (type == CONTROL_ERROR)
        return client_fail(body, err);
    return type == (uint16_t)wanted ? 0 : fail(err, MSB_ERR_PROTOCOL, "the sandbox's monitor sent a bad answer");
}

static int ask_for_done(msb_sandbox *sandbox, struct request *request, int timeout_ms, int cancel_fd, msb_error **err)
{
    const struct patience patience = patience_of(timeout_ms, cancel_fd);
    struct client client;
    struct reader body;
    int result = sandbox_ask(sandbox, request, &client, CONTROL_DONE, &body, &patience, err);

    client_close(&client);
    return result;
}

int msb_sandbox_stop(msb_sandbox *sandbox, unsigned grace_ms, int timeout_ms, int cancel_fd, msb_error **err)
{
    struct request request = { 0 };

    request_hello(&request);
    request_begin(&request, CONTROL_STOP, 1);
    put_u32(&request.writer, grace_ms);
    return ask_for_done(sandbox, &request, timeout_ms, cancel_fd, err);
}

int msb_sandbox_kill(msb_sandbox *sandbox, int timeout_ms, int cancel_fd, msb_error **err)
{
    struct request request = { 0 };

    request_hello(&request);
    request_begin(&request, CONTROL_KILL, 1);
    return ask_for_done(sandbox, &request, timeout_ms, cancel_fd, err);
}

int msb_sandbox_signal(msb_sandbox *sandbox, int signal, int timeout_ms, int cancel_fd, msb_error **err)
{
    struct request request = { 0 };

    if (check_signal(signal, err) < 0)
        return -1;
    request_hello(&request);
    request_begin(&request, CONTROL_SIGNAL, 1);
    put_u8(&request.writer, (uint8_t)signal);
    return ask_for_done(sandbox, &request, timeout_ms, cancel_fd, err);
}

int msb_sandbox_resize(msb_sandbox *sandbox, uint16_t rows, uint16_t columns, int timeout_ms, int cancel_fd, msb_error **err)
{
    struct request request = { 0 };

    request_hello(&request);
    request_begin(&request, CONTROL_RESIZE, 1);
    put_u16(&request.writer, rows);
    put_u16(&request.writer, columns);
    return ask_for_done(sandbox, &request, timeout_ms, cancel_fd, err);
}

int msb_sandbox_stats(msb_sandbox *sandbox, struct msb_stats *stats, int timeout_ms, int cancel_fd, msb_error **err)
{
    const struct patience patience = patience_of(timeout_ms, cancel_fd);
    struct request request = { 0 };
    struct client client;
    struct reader body;
    int result;

    request_hello(&request);
    request_begin(&request, CONTROL_STATS, 1);
    result = sandbox_ask(sandbox, &request, &client, CONTROL_STATISTICS, &body, &patience, err);
    if (result == 0 && !stats_decode(&body, stats))
        result = fail(err, MSB_ERR_PROTOCOL, "the sandbox's monitor sent a bad answer");
    client_close(&client);
    return result;
}

/* ---- The end ---------------------------------------------------------------------------------------------------------------- */

/* With the lock held: a connection on which the end is told. 0 also when there is no monitor (any more). */
static int ensure_watched(msb_sandbox *sandbox, msb_error **err)
{
    const struct patience patience = patience_of(0, -1);
    struct request request = { 0 };
    msb_error *error = NULL;
    struct client client;

    if (sandbox->watch.socket >= 0 || sandbox->result.known)
        return 0;
    request_hello(&request);
    request_begin(&request, CONTROL_WATCH, 1);
    if (sandbox_connect(sandbox, &client, &patience, &error) < 0) {
        free(request.writer.data);
        if (msb_error_code(error) != MSB_ERR_STATE)
            return fail_with(err, error);
        msb_error_free(error);
        return 0;
    }
    /* A few bytes into an empty socket: this does not block. */
    if (client_send(&client, &request, NULL, 0, &patience, err) < 0) {
        client_close(&client);
        return -1;
    }
    sandbox->watch = client;
    sandbox->monitor = peer_of(client.socket);
    return 0;
}

/* With the lock held: in place of a connection, what is at its end already. */
static int watch_nothing(msb_sandbox *sandbox, msb_error **err)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return fail_errno(err, "make a socket pair");
    close(pair[1]);
    client_init(&sandbox->watch, pair[0]);
    return 0;
}

int msb_sandbox_fd(msb_sandbox *sandbox, msb_error **err)
{
    int result, fd;

    pthread_mutex_lock(&sandbox->lock);
    result = ensure_watched(sandbox, err);
    if (result == 0 && sandbox->watch.socket < 0)
        result = watch_nothing(sandbox, err);
    fd = result < 0 ? -1 : sandbox->watch.socket;
    pthread_mutex_unlock(&sandbox->lock);
    return fd;
}

/* Its monitor told nothing: what state.json says then. A monitor that is being killed lets go of its lock and its connections in any
   order; when the pidfd is readable, it has let go of both. */
static int learn(msb_sandbox *sandbox, const struct patience *patience, msb_error **err)
{
    int monitor, known;
    _cleanup_free_ char *json = NULL;

    pthread_mutex_lock(&sandbox->lock);
    monitor = sandbox->monitor;
    pthread_mutex_unlock(&sandbox->lock);
    if (monitor >= 0 && patience_wait(patience, monitor, POLLIN, err) < 0)
        return -1;
    json = look(sandbox, err);
    if (!json)
        return -1;
    pthread_mutex_lock(&sandbox->lock);
    known = sandbox->result.known;
    pthread_mutex_unlock(&sandbox->lock);
    return known ? 0 : fail(err, MSB_ERR_PROTOCOL, "the monitor of the sandbox \"%s\" hung up", sandbox->name);
}

static int await_end(msb_sandbox *sandbox, const struct patience *patience, msb_error **err)
{
    for (;;) {
        int heard, socket, result;

        pthread_mutex_lock(&sandbox->lock);
        result = ensure_watched(sandbox, err);
        socket = sandbox->watch.socket;
        heard = sandbox->result.known ? 1 : socket >= 0 ? hear(sandbox) : -1;
        pthread_mutex_unlock(&sandbox->lock);
        if (result < 0 || heard > 0)
            return result;
        if (heard < 0)
            return learn(sandbox, patience, err);
        if (patience_wait(patience, socket, POLLIN, err) < 0)
            return -1;
    }
}

int msb_sandbox_wait(msb_sandbox *sandbox, int timeout_ms, int cancel_fd, msb_error **err)
{
    const struct patience patience = patience_of(timeout_ms, cancel_fd);
    int status;

    if (await_end(sandbox, &patience, err) < 0)
        return -1;
    pthread_mutex_lock(&sandbox->lock);
    status = sandbox->result.status;
    if (sandbox->result.code != MSB_OK)
        status = fail(err, sandbox->result.code, "%s", sandbox->result.message ? sandbox->result.message : "it failed");
    pthread_mutex_unlock(&sandbox->lock);
    return status;
}

int msb_sandbox_exit_status(const msb_sandbox *sandbox)
{
    msb_sandbox *locked = (msb_sandbox *)sandbox;
    int status;

    pthread_mutex_lock(&locked->lock);
    status = sandbox->result.known ? sandbox->result.status : -1;
    pthread_mutex_unlock(&locked->lock);
    return status;
}
