/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process msb-kvm as a whole, started as the monitor does it, with guests of a few instructions as kernels, and the platform
 * process behind its virtio devices: how it ends, what it may not do, and that kicks, queues and interrupts reach the real device.
 */
#include "engine/kvm/engine.h"
#include "engine/kvm/layout.h"
#include "engine/kvm/vm.h"
#include "guest.h"
#include "platform/platform.h"
#include "sandbox/spawn.h"
#include "util/cleanup.h"
#include "util/device.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmocka.h>

enum {
    MEMORY_MIB = 16,
    TIMEOUT_MS = 20000,
    /* descriptors of msb-kvm */
    REPORT = 3,
    CONSOLE = 4,
    INITRD = 5,
    PROGRAM = 6,
    KERNEL = 7,
    ENTROPY = 8,
    BALLOON = 9,
};

/* Where a guest that drives the entropy device has its queue. */
#define QUEUE_DESC UINT64_C(0x1a0000)
#define QUEUE_AVAIL UINT64_C(0x1a1000)
#define QUEUE_USED UINT64_C(0x1a2000)
#define QUEUE_BUFFER UINT64_C(0x1a3000)
#define DEVICE(offset) (LAYOUT_MMIO + (offset)) /* the entropy device is the first */

struct engine_process {
    struct child child;
    int report, console;
    struct child platform;
    int platform_monitor;
    char said[1024]; /* on the report */
    char log[4096];  /* on the console */
    size_t log_size;
    siginfo_t end;
};

struct start {
    const struct guest *guest; /* written as an ELF file, unless: */
    const char *kernel;
    uint32_t num_vcpus;
    bool with_platform;
    int *silent_devices; /* becomes the other ends of two devices' sockets; NULL: no such devices */
};

static void assert_ok(int result, msb_error *error)
{
    if (result < 0)
        fail_msg("%s", msb_error_message(error));
}

static void need_kvm(void)
{
    _cleanup_fd_ int kvm = vm_open_kvm(NULL);

    if (kvm < 0)
        skip();
}

/* ---- The two processes ------------------------------------------------------------------------------------------------------------------ */

static int open_program(const char *variable)
{
    const char *path = getenv(variable);
    int fd;

    assert_non_null(path);
    fd = open(path, O_PATH | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* Starts the platform process; sockets becomes our ends of its two devices. */
static void start_platform(struct engine_process *process, int sockets[2])
{
    char *argv[] = { (char *)"msb-platform", NULL };
    int monitor[2], entropy[2], balloon[2];
    const uint8_t log_level = MSB_LOG_ERROR;
    msb_error *error = NULL;

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, monitor), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, entropy), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, balloon), 0);
    struct spawn spawn = {
        .user = SPAWN_NOBODY,
        .fds = (const int[]){ -1, -1, STDERR_FILENO, monitor[1], entropy[1], balloon[1] },
        .num_fds = 6,
        .report = DEVICE_FD_MONITOR,
        .program = open_program("MSB_PLATFORM"),
        .argv = argv,
    };
    assert_ok(process_spawn(&spawn, &process->platform, &error), error);
    assert_int_equal(send(monitor[0], &log_level, 1, 0), 1);
    close(spawn.program);
    close(monitor[1]);
    close(entropy[1]);
    close(balloon[1]);
    process->platform_monitor = monitor[0];
    sockets[0] = entropy[0];
    sockets[1] = balloon[0];
}

/* In the new process. */
static int run_engine(void *data)
{
    msb_error *error = NULL;
    const char *message;

    kvm_execute(PROGRAM, data, &error);
    message = msb_error_message(error);
    return write(REPORT, message, strlen(message)) < 0 ? 2 : 3;
}

static int write_kernel(const struct guest *guest)
{
    static uint8_t bytes[GUEST_CODE_MAX + 4096];
    size_t size = guest_write_elf(guest, bytes);
    int fd = memfd_create("kernel", MFD_CLOEXEC);

    assert_int_equal(pwrite(fd, bytes, size, 0), size);
    return fd;
}

static void start_engine(struct engine_process *process, const struct start *start)
{
    const struct engine_device devices[] = { { .kind = DEVICE_ENTROPY, .socket = ENTROPY },
                                             { .kind = DEVICE_BALLOON, .socket = BALLOON } };
    _cleanup_fd_ int kernel = start->guest ? write_kernel(start->guest) : -1;
    _cleanup_fd_ int initrd = memfd_create("initrd", MFD_CLOEXEC);
    _cleanup_fd_ int program = open_program("MSB_KVM");
    char path[32];
    struct engine_vm vm = {
        .num_vcpus = start->num_vcpus ? start->num_vcpus : 1,
        .memory_mib = MEMORY_MIB,
        .kernel = start->guest ? path : start->kernel,
        .initrd = INITRD,
        .console = CONSOLE,
        .report = REPORT,
        .devices = devices,
        .num_devices = start->with_platform || start->silent_devices ? 2 : 0,
    };
    int report[2], console[2], sockets[2] = { -1, -1 };
    msb_error *error = NULL;

    *process = (struct engine_process){ .platform_monitor = -1 };
    snprintf(path, sizeof(path), "/proc/self/fd/%d", KERNEL);
    if (start->with_platform)
        start_platform(process, sockets);
    for (int i = 0; start->silent_devices && i < 2; i++) {
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        start->silent_devices[i] = pair[1];
        sockets[i] = pair[0];
    }
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, report), 0);
    assert_int_equal(pipe2(console, O_CLOEXEC), 0);
    struct spawn spawn = {
        .user = SPAWN_NOBODY,
        .fds = (const int[]){ -1, -1, STDERR_FILENO, report[1], console[1], initrd, program, kernel, sockets[0], sockets[1] },
        .num_fds = vm.num_devices ? 10 : 8,
        .report = REPORT,
        .run = run_engine,
        .data = &vm,
    };
    assert_ok(process_spawn(&spawn, &process->child, &error), error);
    close(report[1]);
    close(console[1]);
    cleanup_fd(&sockets[0]);
    cleanup_fd(&sockets[1]);
    process->report = report[0];
    process->console = console[0];
}

/* All that comes until the other end is closed. */
static size_t read_all(int fd, char *text, size_t size)
{
    size_t length = 0;
    ssize_t n;

    while (length < size - 1 && (n = read(fd, text + length, size - 1 - length)) > 0)
        length += (size_t)n;
    text[length] = '\0';
    return length;
}

static bool has_ended(const struct child *child, int timeout_ms)
{
    struct pollfd end = { .fd = child->pidfd, .events = POLLIN };

    return poll(&end, 1, timeout_ms) == 1;
}

static void end_platform(struct engine_process *process)
{
    siginfo_t end;

    if (process->platform_monitor < 0)
        return;
    close(process->platform_monitor);
    process->platform_monitor = -1;
    assert_true(has_ended(&process->platform, TIMEOUT_MS));
    assert_int_equal(waitid((idtype_t)P_PIDFD, (id_t)process->platform.pidfd, &end, WEXITED), 0);
    assert_int_equal(end.si_code, CLD_EXITED);
    close(process->platform.pidfd);
}

/* Waits for the end, and takes what was said. */
static void wait_for_end(struct engine_process *process)
{
    assert_true(has_ended(&process->child, TIMEOUT_MS));
    assert_int_equal(waitid((idtype_t)P_PIDFD, (id_t)process->child.pidfd, &process->end, WEXITED), 0);
    if (process->report >= 0) {
        read_all(process->report, process->said, sizeof(process->said));
        close(process->report);
    }
    process->log_size = read_all(process->console, process->log, sizeof(process->log));
    close(process->console);
    close(process->child.pidfd);
    end_platform(process);
}

static void expect_status(const struct engine_process *process, int status)
{
    if (process->end.si_code != CLD_EXITED || process->end.si_status != status)
        fail_msg("ended with code %d and status %d, and said \"%s\"", process->end.si_code, process->end.si_status,
                 process->said);
}

/* Runs a guest that ends its VM. */
static void run_guest(struct engine_process *process, const struct start *start)
{
    need_kvm();
    start_engine(process, start);
    wait_for_end(process);
}

static void say(struct guest *guest, const char *text)
{
    for (; *text; text++)
        guest_out(guest, PORT_UART, (uint8_t)*text, 1);
}

/* ---- How it ends -------------------------------------------------------------------------------------------------------------------------- */

static void test_reset(void **state)
{
    struct engine_process process;
    struct guest guest = { 0 };

    (void)state;
    say(&guest, "a line\nand a half");
    guest_reset(&guest);
    run_guest(&process, &(struct start){ .guest = &guest });
    expect_status(&process, 0);
    assert_string_equal(process.said, "");
    assert_string_equal(process.log, "a line\nand a half");
}

static void test_power_off(void **state)
{
    struct engine_process process;
    struct guest guest = { 0 };

    (void)state;
    guest_out(&guest, PORT_SLEEP_CONTROL, 1 << 5 | SLEEP_TYPE_S5 << 2, 1);
    guest_halt_forever(&guest);
    run_guest(&process, &(struct start){ .guest = &guest });
    expect_status(&process, 0);
}

static void test_triple_fault(void **state)
{
    struct engine_process process;
    struct guest guest = { 0 };

    (void)state;
    guest_triple_fault(&guest);
    run_guest(&process, &(struct start){ .guest = &guest });
    expect_status(&process, 0);
    assert_string_equal(process.said, "");
}

/* KVM cannot go on: an instruction that it would have to emulate, and does not know, on memory that is not there. */
static void test_failure(void **state)
{
    struct engine_process process;
    struct guest guest = { 0 };

    (void)state;
    guest_bytes(&guest, "\xb8\x00\x00\x00\x30\xff\xe0", 7); /* mov eax, 0x30000000; jmp rax */
    run_guest(&process, &(struct start){ .guest = &guest });
    expect_status(&process, 1);
    assert_non_null(strstr(process.said, "KVM"));
}

static void test_bad_kernel(void **state)
{
    struct engine_process process;

    (void)state;
    run_guest(&process, &(struct start){ .kernel = "/etc/passwd" });
    expect_status(&process, 1);
    assert_non_null(strstr(process.said, "`/etc/passwd` is not a kernel"));
    run_guest(&process, &(struct start){ .kernel = "/nowhere/vmlinux" });
    expect_status(&process, 3); /* before it was msb-kvm */
    assert_non_null(strstr(process.said, "open kernel `/nowhere/vmlinux`: No such file"));
}

/* A guest that never ends is ended with the monitor. */
static void test_monitor_gone(void **state)
{
    struct engine_process process;
    struct guest guest = { 0 };
    char line[8];

    (void)state;
    need_kvm();
    say(&guest, "up\n");
    guest_halt_forever(&guest);
    start_engine(&process, &(struct start){ .guest = &guest, .num_vcpus = 2 });
    assert_int_equal(read(process.console, line, sizeof(line)), 3);
    assert_false(has_ended(&process.child, 50));
    close(process.report);
    process.report = -1;
    wait_for_end(&process);
    expect_status(&process, 1);
}

/* ---- The cell ------------------------------------------------------------------------------------------------------------------------------ */

static void expect_thread(const char *path)
{
    static const char *const lines[] = { "NoNewPrivs:\t1\n",
                                         "Seccomp:\t2\n",
                                         "CapInh:\t0000000000000000\n",
                                         "CapPrm:\t0000000000000000\n",
                                         "CapEff:\t0000000000000000\n",
                                         "CapBnd:\t0000000000000000\n",
                                         "CapAmb:\t0000000000000000\n" };
    _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    char text[4096];

    assert_true(fd >= 0);
    read_all(fd, text, sizeof(text));
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        if (!strstr(text, lines[i]))
            fail_msg("%s does not say %s", path, lines[i]);
}

/* Ours; a recent KVM has one of its own in each process. */
static bool is_our_thread(const char *directory)
{
    char path[96], name[32];
    int fd;

    snprintf(path, sizeof(path), "%s/comm", directory);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    read_all(fd, name, sizeof(name));
    close(fd);
    return strcmp(name, "msb-kvm\n") == 0;
}

static unsigned count_entries(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    unsigned count = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir)))
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

/* Checks each thread of ours, and counts them. */
static unsigned check_threads(int pid)
{
    char path[64];
    struct dirent *entry;
    unsigned threads = 0;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/task", pid);
    dir = opendir(path);
    assert_non_null(dir);
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "/proc/%d/task/%.16s", pid, entry->d_name);
        if (!is_our_thread(path))
            continue;
        strcat(path, "/status");
        expect_thread(path);
        threads++;
    }
    closedir(dir);
    return threads;
}

static void test_cell(void **state)
{
    struct engine_process process;
    struct guest guest = { 0 };
    char path[64], line[8];

    (void)state;
    need_kvm();
    if (getuid() != 0)
        skip(); /* nobody else may look */
    say(&guest, "up\n");
    guest_halt_forever(&guest);
    start_engine(&process, &(struct start){ .guest = &guest, .num_vcpus = 3 });
    assert_int_equal(read(process.console, line, sizeof(line)), 3);
    /* The first vCPU may have run before there is a thread for the last. */
    for (unsigned tries = 0; tries < 5000 && check_threads(process.child.pid) < 4; tries++)
        usleep(1000);
    assert_int_equal(check_threads(process.child.pid), 4);
    snprintf(path, sizeof(path), "/proc/%d/root", process.child.pid);
    assert_int_equal(count_entries(path), 0);
    syscall(SYS_pidfd_send_signal, process.child.pidfd, SIGKILL, NULL, 0);
    wait_for_end(&process);
}

/* ---- A real device ---------------------------------------------------------------------------------------------------------------------------- */

struct driver_plan {
    uint64_t desc;    /* where the driver says that its rings are */
    uint32_t size;    /* of the queue */
    unsigned kicks;   /* how many more than needed */
    bool wait_for_it; /* until the device has used the buffer */
};

static void set_up_queue(struct guest *guest, const struct driver_plan *plan)
{
    guest_store(guest, DEVICE(VIRTIO_MMIO_QUEUE_SEL), 0);
    guest_store(guest, DEVICE(VIRTIO_MMIO_QUEUE_NUM), plan->size);
    guest_store(guest, DEVICE(VIRTIO_MMIO_QUEUE_DESC_LOW), (uint32_t)plan->desc);
    guest_store(guest, DEVICE(VIRTIO_MMIO_QUEUE_DESC_HIGH), (uint32_t)(plan->desc >> 32));
    guest_store(guest, DEVICE(VIRTIO_MMIO_QUEUE_AVAIL_LOW), QUEUE_AVAIL);
    guest_store(guest, DEVICE(VIRTIO_MMIO_QUEUE_USED_LOW), QUEUE_USED);
    guest_store(guest, DEVICE(VIRTIO_MMIO_QUEUE_READY), 1);
}

/* What the guest says at the end, a byte each. */
enum { SAID_STATUS, SAID_USED, SAID_BYTES, SAID_SIZE = SAID_BYTES + 4 };

static void say_eax(struct guest *guest, unsigned bytes)
{
    guest_bytes(guest, "\x66\xba\xf8\x03", 4); /* mov dx, PORT_UART */
    for (unsigned i = 0; i < bytes; i++)
        guest_bytes(guest, "\xee\xc1\xe8\x08", 4); /* out dx, al; shr eax, 8 */
}

/* A driver of the entropy device that asks for 16 bytes. */
static void drive(struct guest *guest, const struct driver_plan *plan)
{
    guest_map_registers(guest);
    guest_store(guest, DEVICE(VIRTIO_MMIO_STATUS), VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    guest_store(guest, DEVICE(VIRTIO_MMIO_DRIVER_FEATURES_SEL), 1);
    guest_store(guest, DEVICE(VIRTIO_MMIO_DRIVER_FEATURES), 1);
    guest_store(guest, DEVICE(VIRTIO_MMIO_STATUS), VIRTIO_CONFIG_S_FEATURES_OK);
    set_up_queue(guest, plan);
    guest_store(guest, QUEUE_DESC, QUEUE_BUFFER); /* struct vring_desc */
    guest_store(guest, QUEUE_DESC + 8, 16);
    guest_store(guest, QUEUE_DESC + 12, VRING_DESC_F_WRITE);
    guest_store(guest, QUEUE_AVAIL, 1 << 16); /* the first entry is head 0 */
    guest_store(guest, DEVICE(VIRTIO_MMIO_STATUS), VIRTIO_CONFIG_S_DRIVER_OK);
    for (unsigned i = 0; i < plan->kicks + 1; i++)
        guest_store(guest, DEVICE(VIRTIO_MMIO_QUEUE_NOTIFY), 0);
    if (plan->wait_for_it)
        guest_bytes(guest, "\x66\x83\x3c\x25\x02\x20\x1a\x00\x00\x74\xf5",
                    11); /* again: cmp word [QUEUE_USED + 2], 0; je again */
    guest_load(guest, DEVICE(VIRTIO_MMIO_STATUS));
    say_eax(guest, 1);
    guest_load(guest, QUEUE_USED + 8); /* the first entry's length */
    say_eax(guest, 1);
    guest_load(guest, QUEUE_BUFFER);
    say_eax(guest, 4);
    guest_reset(guest);
}

static void run_driver(struct engine_process *process, const struct driver_plan *plan)
{
    struct guest guest = { 0 };

    drive(&guest, plan);
    run_guest(process, &(struct start){ .guest = &guest, .with_platform = true });
    expect_status(process, 0);
    assert_int_equal(process->log_size, SAID_SIZE);
}

static void expect_random(const struct engine_process *process)
{
    static const char zeros[4];

    assert_int_equal(process->log[SAID_STATUS], 15); /* the device works */
    assert_int_equal(process->log[SAID_USED], 16);
    assert_memory_not_equal(process->log + SAID_BYTES, zeros, sizeof(zeros));
}

static void test_entropy(void **state)
{
    struct engine_process process;

    (void)state;
    run_driver(&process, &(struct driver_plan){ .desc = QUEUE_DESC, .size = 4, .wait_for_it = true });
    expect_random(&process);
}

static void test_storm_of_kicks(void **state)
{
    struct engine_process process;

    (void)state;
    run_driver(&process, &(struct driver_plan){ .desc = QUEUE_DESC, .size = 4, .kicks = 500, .wait_for_it = true });
    expect_random(&process);
}

/* Rings outside of guest memory, or half outside, or askew: the device refuses them, the guest sees it, and both processes live. */
static void test_bad_rings(void **state)
{
    static const uint64_t addresses[] = {
        UINT64_MAX - 15, 0xffffffff00000000, LAYOUT_MMIO, (uint64_t)MEMORY_MIB << 20, ((uint64_t)MEMORY_MIB << 20) - 16,
        QUEUE_DESC + 1,
    };
    struct engine_process process;

    (void)state;
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        run_driver(&process, &(struct driver_plan){ .desc = addresses[i], .size = 4, .kicks = 3 });
        assert_true(process.log[SAID_STATUS] & VIRTIO_CONFIG_S_NEEDS_RESET);
        assert_int_equal(process.log[SAID_USED], 0);
    }
}

/* Any value in any register of both devices, in any order, kicks among them: what the device process makes of it is its affair, and the
   engine goes on to the guest's reset. */
static void test_any_registers(void **state)
{
    enum { ROUNDS = 6, STORES = 700 };
    static const uint32_t values[] = { 0,  1,   2,   3,      4,          8,           11,         15,
                                       64, 128, 256, 0x1000, QUEUE_DESC, QUEUE_AVAIL, QUEUE_USED, UINT32_MAX };
    unsigned random = 1;

    (void)state;
    need_kvm();
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct engine_process process;
        struct guest guest = { 0 };

        guest_map_registers(&guest);
        for (unsigned i = 0; i < STORES; i++) {
            uint64_t address = LAYOUT_MMIO;
            uint32_t value;

            random = random * 1103515245 + 12345;
            /* The registers that do something lie below 0xb0. */
            address += (random >> 30 & 1) * LAYOUT_MMIO_SIZE + (random >> 16) % (0xb0 / 4) * 4;
            random = random * 1103515245 + 12345;
            value = random >> 31 ? random : values[(random >> 16) % (sizeof(values) / sizeof(values[0]))];
            guest_store(&guest, address, value);
        }
        guest_reset(&guest);
        run_guest(&process, &(struct start){ .guest = &guest, .with_platform = true });
        expect_status(&process, 0);
    }
}

/* Takes what the guest says first, once it does. */
static void expect_up(struct engine_process *process)
{
    struct pollfd console = { .fd = process->console, .events = POLLIN };
    char line[8];

    assert_int_equal(poll(&console, 1, TIMEOUT_MS), 1);
    assert_int_equal(read(process->console, line, sizeof(line)), 3);
}

/* The device process ends under a running guest: that is for the monitor to see. The guest goes on. */
static void test_device_gone(void **state)
{
    struct engine_process process;
    struct guest guest = { 0 };

    (void)state;
    need_kvm();
    guest_map_registers(&guest);
    guest_load(&guest, DEVICE(VIRTIO_MMIO_STATUS)); /* waits until the devices are there */
    say(&guest, "up\n");
    guest_halt_forever(&guest);
    start_engine(&process, &(struct start){ .guest = &guest, .with_platform = true });
    expect_up(&process);
    end_platform(&process);
    assert_false(has_ended(&process.child, 50));
    close(process.report);
    process.report = -1;
    wait_for_end(&process);
    expect_status(&process, 1);
}

/* The guest runs before its devices have said what they are, and waits where it needs one. */
static void test_device_late(void **state)
{
    struct engine_process process;
    struct guest guest = { 0 };
    int devices[2];

    (void)state;
    need_kvm();
    guest_map_registers(&guest);
    say(&guest, "up\n");
    guest_load(&guest, DEVICE(VIRTIO_MMIO_STATUS));
    guest_reset(&guest);
    start_engine(&process, &(struct start){ .guest = &guest, .silent_devices = devices });
    expect_up(&process);
    assert_false(has_ended(&process.child, 50));
    close(devices[0]);
    close(devices[1]);
    wait_for_end(&process);
    expect_status(&process, 1);
    assert_non_null(strstr(process.said, "virtio device 4: "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reset),          cmocka_unit_test(test_power_off),   cmocka_unit_test(test_triple_fault),
        cmocka_unit_test(test_failure),        cmocka_unit_test(test_bad_kernel),  cmocka_unit_test(test_monitor_gone),
        cmocka_unit_test(test_cell),           cmocka_unit_test(test_entropy),     cmocka_unit_test(test_bad_rings),
        cmocka_unit_test(test_storm_of_kicks), cmocka_unit_test(test_device_gone), cmocka_unit_test(test_device_late),
        cmocka_unit_test(test_any_registers),
    };

    return cmocka_run_group_tests_name("kvm process", tests, NULL, NULL);
}
