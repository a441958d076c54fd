/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control protocol as clients speak it, well and badly, against the monitor's real half that serves it, and a guest that this test
 * plays: what is wrong ends the connection that it came on, and no other, and no descriptor is lost on the way.
 */
#include "fake.h"

#include "sandbox/client.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct fake fake;
static struct message_input heard; /* from the monitor, by PID 1 */
static const struct patience forever = { -1, -1 };

/* ---- Helpers ---------------------------------------------------------------------------------------------------------------- */

static int count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;

    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static void tell(struct client *client, struct request *request, const int *fds, size_t num_fds)
{
    assert_int_equal(client_send(client, request, fds, num_fds, &forever, NULL), 0);
    fake_run(&fake);
}

static void greet(struct client *client)
{
    struct request request = { 0 };

    request_begin(&request, CONTROL_HELLO, 0);
    put_u32(&request.writer, CONTROL_VERSION);
    tell(client, &request, NULL, 0);
}

static struct client connect_client(void)
{
    struct client client;

    client_init(&client, fake_connect(&fake));
    greet(&client);
    return client;
}

/* The next answer; -1: the monitor has hung up; 0: there is none. */
static int answer(struct client *client, uint16_t *type, struct reader *body)
{
    fake_run(&fake);
    return client_next(client, type, body, NULL);
}

static void assert_cut_off(struct client *client)
{
    struct reader body;
    uint16_t type;

    assert_int_equal(answer(client, &type, &body), -1);
    client_close(client);
    assert_false(fake.monitor.over);
}

static void assert_answer(struct client *client, enum control wanted)
{
    struct reader body;
    uint16_t type = 0;

    assert_int_equal(answer(client, &type, &body), 1);
    assert_int_equal(type, wanted);
}

/* The next message that PID 1 gets of this type; others are passed over. */
static bool guest_hears(enum message wanted, struct reader *body)
{
    uint16_t type;

    fake_run(&fake);
    for (;;) {
        int found = message_input_next(&heard, &type, body);

        assert_true(found >= 0);
        if (found && type == wanted)
            return true;
        if (!found && message_input_fill(&heard, fake.guest) <= 0)
            return false;
    }
}

static void guest_says(struct writer *w)
{
    assert_int_equal(write(fake.guest, w->data, w->size), w->size);
    free(w->data);
    fake_run(&fake);
}

static void guest_begins(void)
{
    struct writer w = { 0 };
    size_t begin = message_begin(&w, MESSAGE_HELLO);

    put_u32(&w, PROTOCOL_VERSION);
    put_string(&w, "6.12");
    message_end(&w, begin);
    message_end(&w, message_begin(&w, MESSAGE_READY));
    guest_says(&w);
}

static void guest_exits(uint32_t id, uint8_t kind, uint8_t status)
{
    struct writer w = { 0 };
    size_t begin = message_begin(&w, MESSAGE_EXITED);

    put_u32(&w, id);
    put_u8(&w, kind);
    put_u8(&w, status);
    put_u8(&w, 0);
    message_end(&w, begin);
    guest_says(&w);
}

static int guest_stream(uint32_t id, enum stream stream)
{
    int fd = fake_stream(&fake);
    struct writer w = { 0 };

    put_u32(&w, id);
    put_u8(&w, (uint8_t)stream);
    assert_int_equal(write(fd, w.data, w.size), w.size);
    free(w.data);
    fake_run(&fake);
    return fd;
}

static void begin_exec(struct request *request, uint64_t timeout, bool stays)
{
    struct process process = { .exec_path = (char *)"/bin/x", .workdir = (char *)"" };

    request_begin(request, CONTROL_EXEC, 7);
    put_u64(&request->writer, timeout);
    put_bool(&request->writer, stays);
    process_encode(&request->writer, &process);
}

static int begin(void **state)
{
    (void)state;
    fake_begin(&fake, false);
    heard = (struct message_input){ .max = MESSAGE_TO_GUEST_MAX };
    guest_begins();
    return 0;
}

static int end(void **state)
{
    (void)state;
    fake_end(&fake);
    message_input_clear(&heard);
    return 0;
}

/* ---- What is wrong ---------------------------------------------------------------------------------------------------------- */

static void the_first_message_is_a_hello(void **state)
{
    struct client client, other = connect_client();
    struct request request = { 0 };

    (void)state;
    client_init(&client, fake_connect(&fake));
    request_begin(&request, CONTROL_STOP, 1);
    put_u32(&request.writer, 0);
    tell(&client, &request, NULL, 0);
    assert_cut_off(&client);
    assert_false(fake.monitor.stopping);
    /* Nor is there another one. */
    client = connect_client();
    greet(&client);
    assert_cut_off(&client);
    request_begin(&request, CONTROL_STOP, 1);
    put_u32(&request.writer, 0);
    tell(&other, &request, NULL, 0);
    assert_answer(&other, CONTROL_DONE);
    client_close(&other);
}

static void another_version_is_told(void **state)
{
    struct request request = { 0 };
    struct client client;

    (void)state;
    client_init(&client, fake_connect(&fake));
    request_begin(&request, CONTROL_HELLO, 0);
    put_u32(&request.writer, CONTROL_VERSION + 1);
    tell(&client, &request, NULL, 0);
    assert_answer(&client, CONTROL_ERROR);
    assert_cut_off(&client);
}

static void assert_refused_bytes(const void *bytes, size_t size)
{
    struct client client = connect_client();

    assert_int_equal(write(client.socket, bytes, size), size);
    assert_cut_off(&client);
}

static void assert_refused_message(uint16_t type, const void *body, uint32_t size)
{
    struct writer w = { 0 };

    put_u32(&w, size);
    put_u16(&w, type);
    put_u16(&w, 0);
    put_raw(&w, body, size);
    assert_refused_bytes(w.data, w.size);
    free(w.data);
}

static void malformed_messages_end_their_connection(void **state)
{
    static const uint8_t too_large[] = { 1, 0, 0x80, 0, CONTROL_EXEC, 0, 0, 0 },
                         not_zero[] = { 4, 0, 0, 0, CONTROL_KILL, 0, 1, 0 };
    static const uint8_t zeros[64];

    (void)state;
    assert_refused_bytes(too_large, sizeof(too_large));
    assert_refused_bytes(not_zero, sizeof(not_zero));
    for (uint16_t type = 0; type < 40; type++) {
        assert_refused_message(type, zeros, 3);  /* no request */
        assert_refused_message(type, zeros, 60); /* too long, or no process */
    }
    assert_refused_message(CONTROL_DONE, zeros, 4);
    assert_refused_message(999, zeros, 4);
    assert_refused_message(CONTROL_DETACH, zeros, 4);       /* not the caller */
    assert_refused_message(CONTROL_SIGNAL, zeros, 5);       /* signal 0 */
    assert_refused_message(CONTROL_SIGNAL, "\0\0\0\0A", 5); /* signal 65 */
    assert_refused_message(CONTROL_ATTACH, "\0\0\0\0\x08", 5);
    assert_false(guest_hears(MESSAGE_SIGNAL, &(struct reader){ 0 }));
    assert_false(fake.monitor.over);
}

static void descriptors_are_counted(void **state)
{
    int fds[5], before;

    (void)state;
    for (int i = 0; i < 5; i++)
        fds[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
    fake_run(&fake);
    before = count_descriptors();
    for (size_t num = 0; num <= 4; num++) {
        struct client client = connect_client();
        struct request request = { 0 };

        if (num == 3)
            request_begin(&request, CONTROL_STATS, 1); /* which takes none */
        else
            begin_exec(&request, 0, false);
        tell(&client, &request, fds, num);
        assert_cut_off(&client);
        fake_run(&fake);
        if (num != 4)
            assert_int_equal(count_descriptors(), before);
    }
    /* With one too many the command had begun, and ends. */
    assert_true(guest_hears(MESSAGE_SIGNAL, &(struct reader){ 0 }));
    guest_exits(1, EXIT_SIGNAL, SIGKILL);
    assert_int_equal(count_descriptors(), before);
    for (int i = 0; i < 5; i++)
        close(fds[i]);
}

static void more_descriptors_than_any_message_has(void **state)
{
    struct client client = connect_client();
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(5 * sizeof(int))];
    } control = { 0 };
    struct iovec iov = { .iov_base = (char[]){ 4 }, .iov_len = 1 };
    struct msghdr message = { &(int){ 0 }, 0, &iov, 1, control.bytes, sizeof(control.bytes), 0 };
    int before, fds[5] = { 0, 0, 0, 0, 0 };

    (void)state;
    message.msg_name = NULL;
    before = count_descriptors();
    *CMSG_FIRSTHDR(&message) = (struct cmsghdr){ CMSG_LEN(sizeof(fds)), SOL_SOCKET, SCM_RIGHTS };
    memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), fds, sizeof(fds));
    assert_int_equal(sendmsg(client.socket, &message, 0), 1);
    assert_cut_off(&client);
    assert_int_equal(count_descriptors(), before - 2);
}

static void another_user_is_hung_up_on(void **state)
{
    char directory[] = "/tmp/msb-control-XXXXXX";
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), fd, status;
    pid_t child;
    char byte;

    (void)state;
    if (geteuid() != 0) {
        close(listener);
        skip();
    }
    /* Even where the directory lets them in, which that of a sandbox does not. */
    assert_non_null(mkdtemp(directory));
    assert_int_equal(chmod(directory, 0755), 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/control", directory);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(chmod(address.sun_path, 0666), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(server_listen(fake.monitor.server, listener, NULL), 0);
    child = fork();
    if (child == 0) {
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (setgid(65534) < 0 || setuid(65534) < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
            _exit(2);
        _exit(poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 3000) == 1 && read(fd, &byte, 1) == 0 ? 0 : 1);
    }
    while (waitpid(child, &status, WNOHANG) == 0)
        fake_run(&fake);
    assert_int_equal(status, 0);
    /* Ourselves it takes. */
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    fake_run(&fake);
    assert_int_equal(read(fd, &byte, 1), -1);
    close(fd);
    unlink(address.sun_path);
    rmdir(directory);
}

/* ---- Commands --------------------------------------------------------------------------------------------------------------- */

/* Begins a command; returns this side of its standard output. */
static int begin_command(struct client *client, uint64_t timeout, bool stays)
{
    struct request request = { 0 };
    int pair[2], null = open("/dev/null", O_RDWR | O_CLOEXEC);

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    begin_exec(&request, timeout, stays);
    tell(client, &request, (const int[]){ null, pair[1], null }, 3);
    close(pair[1]);
    close(null);
    return pair[0];
}

static void a_command_from_its_beginning_to_its_end(void **state)
{
    struct client client = connect_client();
    int out = begin_command(&client, 0, false), stdio, error;
    struct process process;
    struct reader body;
    char bytes[8];
    uint16_t type;

    (void)state;
    assert_true(guest_hears(MESSAGE_RUN, &body));
    assert_int_equal(get_u32(&body), 1);
    assert_int_equal(get_u8(&body), 0);
    assert_true(process_decode(&body, &process) && reader_done(&body));
    /* What it did not set is the sandbox's. */
    assert_string_equal(process.exec_path, "/bin/x");
    assert_string_equal(process.workdir, "/work");
    assert_int_equal(process.num_env, 1);
    assert_string_equal(process.env[0], "OWN=1");
    process_clear(&process);
    stdio = guest_stream(1, STREAM_STDIO);
    error = guest_stream(1, STREAM_STDERR);
    assert_int_equal(write(stdio, "hello", 5), 5);
    fake_run(&fake);
    assert_int_equal(read(out, bytes, sizeof(bytes)), 5);
    guest_exits(1, EXIT_STATUS, 42);
    assert_int_equal(answer(&client, &type, &body), 0); /* not before its streams have ended */
    close(stdio);
    close(error);
    assert_int_equal(answer(&client, &type, &body), 1);
    assert_int_equal(type, CONTROL_EXITED);
    assert_int_equal(get_u8(&body), 42);
    assert_int_equal(get_u8(&body), 0);
    assert_int_equal(read(out, bytes, sizeof(bytes)), 0);
    assert_cut_off(&client);
    close(out);
}

static void await_start(struct client *client)
{
    struct request request = { 0 };

    request_begin(&request, CONTROL_AWAIT_START, 4);
    tell(client, &request, NULL, 0);
}

static void guest_starts(uint32_t id)
{
    struct writer w = { 0 };
    size_t begin = message_begin(&w, MESSAGE_STARTED);

    put_u32(&w, id);
    put_u32(&w, 100);
    message_end(&w, begin);
    guest_says(&w);
}

static void guest_does_not_start(uint32_t id)
{
    struct writer w = { 0 };
    size_t begin = message_begin(&w, MESSAGE_NOT_STARTED);

    put_u32(&w, id);
    put_u8(&w, 127);
    put_string(&w, "not found");
    message_end(&w, begin);
    guest_says(&w);
}

static void a_start_is_waited_for(void **state)
{
    struct client client = connect_client(), other = connect_client();
    int out = begin_command(&client, 0, false), lost = begin_command(&other, 0, true);
    struct reader body;
    uint16_t type;

    (void)state;
    await_start(&client);
    await_start(&other);
    assert_int_equal(answer(&client, &type, &body), 0);
    guest_starts(1);
    assert_answer(&client, CONTROL_DONE);
    /* Once is enough, whatever the guest says. */
    guest_starts(1);
    assert_int_equal(answer(&client, &type, &body), 0);
    await_start(&client);
    assert_answer(&client, CONTROL_DONE);
    guest_does_not_start(2);
    assert_int_equal(answer(&other, &type, &body), 1);
    assert_int_equal(type, CONTROL_EXITED);
    assert_int_equal(get_u8(&body), 127);
    assert_int_equal(get_u8(&body), CONTROL_EXIT_NOT_STARTED);
    assert_cut_off(&other);
    client_close(&client);
    close(out);
    close(lost);
    /* Two at once are one too many; and where there is no command, there is no start. */
    client = connect_client();
    out = begin_command(&client, 0, false);
    await_start(&client);
    await_start(&client);
    assert_cut_off(&client);
    close(out);
    client = connect_client();
    await_start(&client);
    assert_answer(&client, CONTROL_ERROR);
    client_close(&client);
}

static void a_message_may_come_in_pieces(void **state)
{
    struct client client = connect_client();
    struct request request = { 0 };

    (void)state;
    request_begin(&request, CONTROL_STOP, 1);
    put_u32(&request.writer, 0);
    message_end(&request.writer, request.begin);
    for (size_t i = 0; i < request.writer.size; i++) {
        assert_false(fake.monitor.stopping);
        assert_int_equal(write(client.socket, request.writer.data + i, 1), 1);
        fake_run(&fake);
    }
    assert_true(fake.monitor.stopping);
    free(request.writer.data);
    client_close(&client);
}

static void a_client_that_hangs_up_takes_its_command_along(void **state)
{
    struct client client = connect_client(), other = connect_client();
    int out = begin_command(&client, 0, false), kept = begin_command(&other, 0, true);
    struct reader body;
    char byte;

    (void)state;
    client_close(&client);
    client_close(&other);
    assert_true(guest_hears(MESSAGE_SIGNAL, &body));
    assert_int_equal(get_u32(&body), 1);
    assert_int_equal(get_u8(&body), SIGKILL);
    assert_int_equal(read(out, &byte, 1), 0);
    /* One that was detached goes on. */
    assert_false(guest_hears(MESSAGE_SIGNAL, &body));
    assert_int_equal(read(kept, &byte, 1), -1);
    assert_int_equal(fake.monitor.num_served, 2);
    guest_exits(1, EXIT_SIGNAL, SIGKILL);
    assert_int_equal(fake.monitor.num_served, 1);
    close(out);
    close(kept);
}

static void a_timeout_is_kept_and_told(void **state)
{
    struct client client = connect_client();
    int out = begin_command(&client, 1, false), stdio = guest_stream(1, STREAM_STDIO), error = guest_stream(1, STREAM_STDERR);
    struct reader body;
    uint16_t type;

    (void)state;
    while (!guest_hears(MESSAGE_SIGNAL, &body))
        continue;
    guest_exits(1, EXIT_SIGNAL, SIGKILL);
    close(stdio);
    close(error);
    assert_int_equal(answer(&client, &type, &body), 1);
    assert_int_equal(get_u8(&body), 128 + SIGKILL);
    assert_int_equal(get_u8(&body), CONTROL_EXIT_TIMED_OUT);
    client_close(&client);
    close(out);
}

static void signals_are_for_the_connection_s_own(void **state)
{
    struct client client = connect_client();
    int out = begin_command(&client, 0, false);
    struct request request = { 0 };
    struct reader body;

    (void)state;
    request_begin(&request, CONTROL_SIGNAL, 3);
    put_u8(&request.writer, SIGUSR1);
    tell(&client, &request, NULL, 0);
    assert_answer(&client, CONTROL_DONE);
    assert_true(guest_hears(MESSAGE_SIGNAL, &body));
    assert_int_equal(get_u32(&body), 1);
    assert_int_equal(get_u8(&body), SIGUSR1);
    client_close(&client);
    /* And on others for a workload that this sandbox does not have. */
    client = connect_client();
    request_begin(&request, CONTROL_SIGNAL, 3);
    put_u8(&request.writer, SIGUSR1);
    tell(&client, &request, NULL, 0);
    assert_answer(&client, CONTROL_ERROR);
    client_close(&client);
    close(out);
}

static void there_is_a_most_of_commands(void **state)
{
    enum { MOST = 256 };
    static struct client clients[MOST];
    struct client client;

    (void)state;
    for (int i = 0; i < MOST; i++) {
        clients[i] = connect_client();
        close(begin_command(&clients[i], 0, false));
    }
    client = connect_client();
    close(begin_command(&client, 0, false));
    assert_answer(&client, CONTROL_ERROR);
    client_close(&client);
    for (int i = 0; i < MOST; i++)
        client_close(&clients[i]);
    fake_run(&fake);
}

/* ---- Copies ----------------------------------------------------------------------------------------------------------------- */

static int begin_copy(struct client *client, int cancel)
{
    struct request request = { 0 };
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    request_begin(&request, CONTROL_COPY, 5);
    put_u8(&request.writer, COPY_OUT);
    put_u64(&request.writer, 0);
    put_string(&request.writer, "/file");
    tell(client, &request, (const int[]){ pair[1], cancel }, cancel >= 0 ? 2 : 1);
    close(pair[1]);
    return pair[0];
}

static void what_a_copy_says_is_told(void **state)
{
    struct client client = connect_client();
    int archive = begin_copy(&client, -1), stdio = guest_stream(1, STREAM_STDIO), error = guest_stream(1, STREAM_STDERR);
    struct reader body;
    char bytes[8], *why;
    uint16_t type;

    (void)state;
    assert_int_equal(write(stdio, "tar", 3), 3);
    assert_int_equal(write(error, "one\x1b\ntwo\n", 9), 9);
    fake_run(&fake);
    guest_exits(1, EXIT_STATUS, 1);
    close(stdio);
    close(error);
    assert_int_equal(answer(&client, &type, &body), 1);
    assert_int_equal(type, CONTROL_EXITED);
    assert_int_equal(get_u8(&body), 1);
    get_u8(&body);
    why = get_string(&body);
    assert_string_equal(why, "one?;two");
    free(why);
    assert_int_equal(read(archive, bytes, sizeof(bytes)), 3);
    assert_int_equal(read(archive, bytes, sizeof(bytes)), 0);
    client_close(&client);
    close(archive);
}

/* Though the guest does not answer at all. */
static void a_copy_is_cancelled_at_once(void **state)
{
    struct client client = connect_client();
    int cancel = eventfd(0, EFD_CLOEXEC), archive = begin_copy(&client, cancel);
    struct reader body;
    uint16_t type;
    char byte;

    (void)state;
    assert_int_equal(answer(&client, &type, &body), 0);
    eventfd_write(cancel, 1);
    assert_int_equal(answer(&client, &type, &body), 1);
    assert_int_equal(type, CONTROL_EXITED);
    get_u8(&body);
    assert_int_equal(get_u8(&body), CONTROL_EXIT_CANCELLED);
    assert_int_equal(read(archive, &byte, 1), 0);
    client_close(&client);
    close(archive);
    close(cancel);
    assert_int_equal(fake.monitor.num_served, 1);
    guest_exits(1, EXIT_SIGNAL, SIGKILL);
    assert_int_equal(fake.monitor.num_served, 0);
}

/* ---- Figures, and the caller ------------------------------------------------------------------------------------------------ */

static void who_asks_for_figures_may_be_gone(void **state)
{
    struct client client = connect_client(), other = connect_client();
    struct guest_stats stats = { .num_processes = 3, .network_sent = 9 };
    struct request request = { 0 };
    uint32_t ids[2];
    struct reader body;

    (void)state;
    for (int i = 0; i < 2; i++) {
        request_begin(&request, CONTROL_STATS, 1);
        tell(i ? &other : &client, &request, NULL, 0);
        assert_true(guest_hears(MESSAGE_GET_STATS, &body));
        ids[i] = get_u32(&body);
    }
    client_close(&client);
    for (int i = 0; i < 2; i++) {
        struct writer w = { 0 };
        size_t begun = message_begin(&w, MESSAGE_STATS);

        put_u32(&w, ids[i]);
        guest_stats_encode(&w, &stats);
        message_end(&w, begun);
        guest_says(&w);
    }
    assert_answer(&other, CONTROL_STATISTICS);
    client_close(&other);
    assert_false(fake.monitor.over);
}

static void the_caller_s_end_is_the_end(void **state)
{
    (void)state;
    close(fake.caller);
    fake.caller = -1;
    fake_run(&fake);
    assert_true(fake.monitor.over);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_first_message_is_a_hello, begin, end),
        cmocka_unit_test_setup_teardown(another_version_is_told, begin, end),
        cmocka_unit_test_setup_teardown(malformed_messages_end_their_connection, begin, end),
        cmocka_unit_test_setup_teardown(descriptors_are_counted, begin, end),
        cmocka_unit_test_setup_teardown(more_descriptors_than_any_message_has, begin, end),
        cmocka_unit_test_setup_teardown(another_user_is_hung_up_on, begin, end),
        cmocka_unit_test_setup_teardown(a_command_from_its_beginning_to_its_end, begin, end),
        cmocka_unit_test_setup_teardown(a_start_is_waited_for, begin, end),
        cmocka_unit_test_setup_teardown(a_message_may_come_in_pieces, begin, end),
        cmocka_unit_test_setup_teardown(a_client_that_hangs_up_takes_its_command_along, begin, end),
        cmocka_unit_test_setup_teardown(a_timeout_is_kept_and_told, begin, end),
        cmocka_unit_test_setup_teardown(signals_are_for_the_connection_s_own, begin, end),
        cmocka_unit_test_setup_teardown(there_is_a_most_of_commands, begin, end),
        cmocka_unit_test_setup_teardown(what_a_copy_says_is_told, begin, end),
        cmocka_unit_test_setup_teardown(a_copy_is_cancelled_at_once, begin, end),
        cmocka_unit_test_setup_teardown(who_asks_for_figures_may_be_gone, begin, end),
        cmocka_unit_test_setup_teardown(the_caller_s_end_is_the_end, begin, end),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
