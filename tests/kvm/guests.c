/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The KVM engine's machine with guests of a few instructions, on the real /dev/kvm: every way to leave the guest, and what the guest
 * finds behind every port and register. Works on a /dev/kvm that emulates, too. Without one, the tests are skipped.
 */
#include "engine/kvm/acpi.h"
#include "engine/kvm/machine.h"
#include "engine/kvm/vcpu.h"
#include "engine/memory_file.h"
#include "guest.h"
#include "util/cleanup.h"

#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { NUM_DEVICES = 2, NUM_QUEUES = 3, QUEUE_SIZE = 256, MAX_VCPUS = 2, MAX_EXITS = 10000 };

#define DEVICE_FEATURES (UINT64_C(1) << VIRTIO_F_VERSION_1 | 0x5)
#define DEVICE(index, offset) (LAYOUT_MMIO + (index) * (uint64_t)LAYOUT_MMIO_SIZE + (offset))

/* The machine, and what its devices were asked. */
struct bench {
    int kvm;
    struct vm vm;
    struct machine machine;
    struct vcpu vcpus[MAX_VCPUS];
    uint8_t *pages;
    int log[2]; /* a pipe: what the UART says */
    int kick, acknowledge, interrupt;
    unsigned starts, stops;
    struct virtio_mmio_queue queues[NUM_QUEUES]; /* at the last start */
    uint64_t features;
    bool refuse;
    unsigned exits; /* to us, in the last run */
    msb_error *error;
};

static int bench_start(void *data, const struct virtio_mmio *mmio)
{
    struct bench *bench = data;

    bench->starts++;
    bench->features = mmio->driver_features;
    memcpy(bench->queues, mmio->queues, sizeof(bench->queues));
    return bench->refuse ? -1 : 0;
}

static void bench_stop(void *data)
{
    ((struct bench *)data)->stops++;
}

static const struct virtio_mmio_ops bench_ops = { .start = bench_start, .stop = bench_stop };

static void assert_ok(int result, msb_error *error)
{
    if (result < 0)
        fail_msg("%s", msb_error_message(error));
}

static void add_devices(struct bench *bench)
{
    static const uint8_t config[16] = "configuration";
    const struct virtio_mmio_description description = {
        .device_id = 26,
        .features = DEVICE_FEATURES,
        .num_queues = NUM_QUEUES,
        .queue_size_max = QUEUE_SIZE,
        .config = config,
        .config_size = sizeof(config),
    };
    const uint32_t queue = 1;

    bench->pages = mmap(NULL, (size_t)NUM_DEVICES * LAYOUT_MMIO_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(bench->pages, MAP_FAILED);
    for (unsigned i = 0; i < NUM_DEVICES; i++)
        virtio_mmio_init(&bench->machine.devices[i], bench->pages + (size_t)i * LAYOUT_MMIO_SIZE, &description, &bench_ops,
                         bench);
    machine_attach(&bench->machine, bench->pages, NUM_DEVICES);
    assert_ok(vm_add_read_only(&bench->vm, (gpa_t){ LAYOUT_MMIO }, bench->pages, (uint64_t)NUM_DEVICES * LAYOUT_MMIO_SIZE,
                               &bench->error),
              bench->error);
    assert_ok(vm_connect_write(&bench->vm, (gpa_t){ DEVICE(0, VIRTIO_MMIO_QUEUE_NOTIFY) }, &queue, bench->kick, &bench->error),
              bench->error);
    assert_ok(
        vm_connect_write(&bench->vm, (gpa_t){ DEVICE(0, VIRTIO_MMIO_INTERRUPT_ACK) }, NULL, bench->acknowledge, &bench->error),
        bench->error);
    assert_ok(vm_connect_interrupt(&bench->vm, LAYOUT_FIRST_GSI, bench->interrupt, &bench->error), bench->error);
}

static int make_event(void)
{
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    assert_true(event >= 0);
    return event;
}

static void bench_create(struct bench *bench, uint64_t memory, unsigned num_vcpus)
{
    static struct cpuid cpuid;

    *bench = (struct bench){ .machine = MACHINE_INITIALIZER };
    bench->kvm = vm_open_kvm(&bench->error);
    if (bench->kvm < 0) {
        msb_error_free(bench->error);
        skip();
    }
    assert_int_equal(pipe2(bench->log, O_CLOEXEC | O_NONBLOCK), 0);
    bench->machine.uart.fd = bench->log[1];
    bench->kick = make_event();
    bench->acknowledge = make_event();
    bench->interrupt = make_event();
    assert_ok(vm_create(&bench->vm, bench->kvm, memory_file_create(memory, MEMORY_FILE_HUGE, NULL), memory, &bench->error),
              bench->error);
    add_devices(bench);
    assert_ok(vcpu_prepare_cpuid(&bench->vm, &cpuid, &bench->error), bench->error);
    for (unsigned i = 0; i < num_vcpus; i++)
        assert_ok(vcpu_create(&bench->vcpus[i], &bench->vm, &cpuid, i, num_vcpus, &bench->error), bench->error);
}

static void bench_destroy(struct bench *bench)
{
    for (unsigned i = 0; i < MAX_VCPUS; i++)
        if (bench->vcpus[i].run)
            vcpu_destroy(&bench->vcpus[i]);
    vm_destroy(&bench->vm);
    munmap(bench->pages, (size_t)NUM_DEVICES * LAYOUT_MMIO_SIZE);
    close(bench->kvm);
    close(bench->log[0]);
    close(bench->log[1]);
    close(bench->kick);
    close(bench->acknowledge);
    close(bench->interrupt);
    msb_error_free(bench->error);
}

static uint32_t result(const struct bench *bench, unsigned index)
{
    uint32_t value;

    memcpy(&value, memory_at(&bench->vm.memory, (gpa_t){ GUEST_RESULTS + 4 * index }, 4), 4);
    return value;
}

/* Puts the guest into memory, with its page tables, and the first vCPU before its first instruction. */
static void bench_load(struct bench *bench, const struct guest *guest)
{
    uint8_t *memory = memory_at(&bench->vm.memory, (gpa_t){ 0 }, GUEST_END);
    uint64_t *tables = memory_at(&bench->vm.memory, (gpa_t){ LAYOUT_PAGE_TABLES }, 4096);

    guest_write_page_tables(memory);
    tables[0] = *(uint64_t *)(void *)(memory + GUEST_PAGE_TABLES);
    memcpy(memory + GUEST_CODE, guest->code, guest->size);
    assert_ok(vcpu_set_entry(&bench->vcpus[0], &bench->vm, (gpa_t){ GUEST_CODE }, &bench->error), bench->error);
}

/* Runs the first vCPU to its end. MACHINE_CONTINUES: a signal came meanwhile. */
static enum machine_outcome bench_run(struct bench *bench)
{
    enum machine_outcome outcome = MACHINE_CONTINUES;

    for (bench->exits = 0; bench->exits < MAX_EXITS && outcome == MACHINE_CONTINUES; bench->exits++) {
        if (ioctl(bench->vcpus[0].fd, KVM_RUN, 0) < 0) {
            assert_int_equal(errno, EINTR);
            return MACHINE_CONTINUES;
        }
        outcome = machine_exit(&bench->machine, bench->vcpus[0].run, &bench->error);
    }
    assert_true(bench->exits < MAX_EXITS);
    return outcome;
}

/* The usual test: one vCPU, 2 MiB. */
static enum machine_outcome run_guest(struct bench *bench, const struct guest *guest)
{
    bench_create(bench, GUEST_END, 1);
    bench_load(bench, guest);
    return bench_run(bench);
}

static void read_log(const struct bench *bench, char *text, size_t size)
{
    ssize_t length = read(bench->log[0], text, size - 1);

    text[length < 0 ? 0 : length] = '\0';
}

static uint64_t event_count(int event)
{
    uint64_t count = 0;

    return read(event, &count, sizeof(count)) == (ssize_t)sizeof(count) ? count : 0;
}

/* ---- Memory ------------------------------------------------------------------------------------------------------------------------- */

/* Whether huge pages of the mapping at address are mapped. */
static bool has_huge(const void *address)
{
    char line[256], begin[32];
    FILE *file = fopen("/proc/self/smaps", "re");
    bool here = false;
    unsigned kib = 0;

    assert_non_null(file);
    snprintf(begin, sizeof(begin), "%lx-", (unsigned long)(uintptr_t)address);
    while (kib == 0 && fgets(line, sizeof(line), file)) {
        if (strchr(line, '-') && line[0] >= '0' && line[0] <= 'f')
            here = strncmp(line, begin, strlen(begin)) == 0;
        if (here)
            sscanf(line, "ShmemPmdMapped: %u kB", &kib);
    }
    fclose(file);
    return kib > 0;
}

/* All zero, of the size that was asked for, without a name; and whoever may mount has huge pages, where the kernel knows any. */
static void test_memory_file(void **state)
{
    enum { SIZE = 33 << 20, HUGE_PAGE = 2 << 20 };
    msb_error *error = NULL;
    struct stat st;
    uint8_t *memory;
    int fd;

    (void)state;
    fd = memory_file_create(SIZE, MEMORY_FILE_HUGE, &error);
    assert_ok(fd, error);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, SIZE);
    assert_int_equal(st.st_nlink, 0);
    memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    assert_int_equal(memory[0], 0);
    assert_int_equal(memory[SIZE - 1], 0);
    /* One of them there should be, however scattered this machine's free memory is. */
    for (unsigned at = 0; at < SIZE; at += HUGE_PAGE)
        memory[at] = 1;
    if (geteuid() == 0 && access("/sys/kernel/mm/transparent_hugepage", F_OK) == 0)
        assert_true(has_huge(memory));
    munmap(memory, SIZE);
    close(fd);
}

/* ---- How a VM ends ------------------------------------------------------------------------------------------------------------------ */

static void expect_end(struct guest *guest, enum machine_outcome outcome)
{
    struct bench bench;

    assert_int_equal(run_guest(&bench, guest), outcome);
    bench_destroy(&bench);
}

static void test_reset_register(void **state)
{
    struct guest guest = { 0 };

    (void)state;
    guest_out(&guest, PORT_RESET, 0, 1); /* not the value */
    guest_out(&guest, PORT_SLEEP_STATUS, 0xff, 1);
    guest_reset(&guest);
    expect_end(&guest, MACHINE_RESET);
}

static void test_keyboard_controller_reset(void **state)
{
    struct guest guest = { 0 };

    (void)state;
    guest_out(&guest, PORT_I8042, 0x60, 1); /* another command: nothing */
    guest_out(&guest, PORT_I8042, 0xfe, 1);
    guest_triple_fault(&guest);
    expect_end(&guest, MACHINE_RESET);
}

static void test_power_off(void **state)
{
    struct guest guest = { 0 };

    (void)state;
    guest_out(&guest, PORT_SLEEP_CONTROL, 5 << 2, 1);          /* not enabled */
    guest_out(&guest, PORT_SLEEP_CONTROL, 1 << 5 | 3 << 2, 1); /* another state: there is none */
    guest_out(&guest, PORT_SLEEP_CONTROL, 1 << 5 | 5 << 2, 1);
    guest_triple_fault(&guest);
    expect_end(&guest, MACHINE_POWER_OFF);
}

static void test_triple_fault(void **state)
{
    struct guest guest = { 0 };

    (void)state;
    guest_triple_fault(&guest);
    expect_end(&guest, MACHINE_SHUTDOWN);
}

/* A model-specific register that does not exist is an exception in the guest, and none of our business. */
static void test_unknown_msr(void **state)
{
    struct guest guest = { 0 };

    (void)state;
    guest_bytes(&guest, "\xb9\xef\xbe\xad\xde\x0f\x32", 7); /* mov ecx, 0xdeadbeef; rdmsr */
    guest_reset(&guest);
    expect_end(&guest, MACHINE_SHUTDOWN);
}

/* Code in the middle of nothing: KVM cannot fetch it, and says so instead of hanging. */
static void test_execution_of_registers(void **state)
{
    struct guest guest = { 0 };
    struct bench bench;
    enum machine_outcome outcome;

    (void)state;
    guest_bytes(&guest, "\xb8\x00\x00\x00\xc0\xff\xe0", 7); /* mov eax, 0xc0000000; jmp rax */
    outcome = run_guest(&bench, &guest);
    assert_true(outcome == MACHINE_FAILED || outcome == MACHINE_SHUTDOWN);
    if (outcome == MACHINE_FAILED)
        assert_non_null(strstr(msb_error_message(bench.error), "KVM"));
    bench_destroy(&bench);
}

static void on_alarm(int number)
{
    (void)number;
}

/* The processor sleeps inside KVM, without using any time, until somebody else ends the process. */
static void test_halt_without_interrupts(void **state)
{
    const struct sigaction action = { .sa_handler = on_alarm };
    const struct itimerspec after = { .it_value.tv_nsec = 100000000 };
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM };
    struct guest guest = { 0 };
    struct timespec begin, end;
    struct bench bench;
    timer_t timer;

    (void)state;
    guest_halt_forever(&guest);
    bench_create(&bench, GUEST_END, 1);
    bench_load(&bench, &guest);
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    assert_int_equal(timer_settime(timer, 0, &after, NULL), 0);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
    assert_int_equal(bench_run(&bench), MACHINE_CONTINUES);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    assert_int_equal(bench.exits, 0);
    assert_true((end.tv_sec - begin.tv_sec) * 1000000000 + end.tv_nsec - begin.tv_nsec < 50000000);
    timer_delete(timer);
    bench_destroy(&bench);
}

/* ---- Ports ---------------------------------------------------------------------------------------------------------------------------- */

static void test_uart(void **state)
{
    static const char text[] = "Hello\nworld";
    struct guest guest = { 0 };
    struct bench bench;
    char said[64];

    (void)state;
    guest_out(&guest, PORT_UART + 3, 0x83, 1); /* the divisor is not text */
    guest_out(&guest, PORT_UART, 'X', 1);
    guest_out(&guest, PORT_UART + 1, 'X', 1);
    guest_out(&guest, PORT_UART + 3, 0x03, 1);
    for (size_t i = 0; i < sizeof(text) - 1; i++)
        guest_out(&guest, PORT_UART, (uint8_t)text[i], 1);
    guest_in(&guest, PORT_UART + 5, 1);
    guest_keep(&guest, 0);
    guest_in(&guest, PORT_UART + 3, 1);
    guest_keep(&guest, 1);
    guest_in(&guest, PORT_UART + 1, 1);
    guest_keep(&guest, 2);
    guest_reset(&guest);
    assert_int_equal(run_guest(&bench, &guest), MACHINE_RESET);
    read_log(&bench, said, sizeof(said));
    assert_string_equal(said, "Hello\n"); /* a line at a time */
    uart_flush(&bench.machine.uart);
    read_log(&bench, said, sizeof(said));
    assert_string_equal(said, "world");
    assert_int_equal(result(&bench, 0), 0x60);
    assert_int_equal(result(&bench, 1), 0x03);
    assert_int_equal(result(&bench, 2), 0);
    bench_destroy(&bench);
}

/* rep outsb, and what comes of more than one byte at once. */
static void test_uart_string(void **state)
{
    struct guest guest = { 0 };
    struct bench bench;
    char said[64];

    (void)state;
    guest_store(&guest, GUEST_RESULTS, 0x0a636261);                 /* "abc\n" */
    guest_bytes(&guest, "\xbe\x00\x00\x18\x00", 5);                 /* mov esi, GUEST_RESULTS */
    guest_bytes(&guest, "\xb9\x04\x00\x00\x00\x66\xba\xf8\x03", 9); /* mov ecx, 4; mov dx, PORT_UART */
    guest_bytes(&guest, "\xf3\x6e", 2);                             /* rep outsb */
    guest_out(&guest, PORT_UART, 0x44434241, 4);                    /* the port is a byte wide */
    guest_out(&guest, PORT_UART, '\n', 2);
    guest_reset(&guest);
    assert_int_equal(run_guest(&bench, &guest), MACHINE_RESET);
    read_log(&bench, said, sizeof(said));
    assert_string_equal(said, "abc\nA\n");
    bench_destroy(&bench);
}

/* What nobody can take any more is lost, and the guest goes on. */
static void test_uart_without_reader(void **state)
{
    struct guest guest = { 0 };
    struct bench bench;

    (void)state;
    for (unsigned i = 0; i < 2 * UART_LINE_MAX; i++)
        guest_out(&guest, PORT_UART, 'x', 1);
    guest_reset(&guest);
    bench_create(&bench, GUEST_END, 1);
    bench_load(&bench, &guest);
    while (write(bench.log[1], "full", 4) > 0)
        ;
    assert_int_equal(bench_run(&bench), MACHINE_RESET);
    bench_destroy(&bench);
}

static void test_ports_of_nobody(void **state)
{
    static const uint16_t ports[] = { 0x0, 0x60, 0x70, 0x80, 0x2f8, 0x3f7, 0x400, 0x5ff, 0x603, 0xcf8, 0xcfc, 0xffff };
    struct guest guest = { 0 };
    struct bench bench;
    unsigned n = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
        for (unsigned width = 1; width <= 4; width *= 2) {
            guest_out(&guest, ports[i], 0xfefefefe, width);
            guest_in(&guest, ports[i], width);
            guest_keep(&guest, n++);
        }
    }
    guest_reset(&guest);
    assert_int_equal(run_guest(&bench, &guest), MACHINE_RESET);
    for (unsigned i = 0; i < n; i += 3) {
        assert_int_equal(result(&bench, i), 0xff);
        assert_int_equal(result(&bench, i + 1), 0xffff);
        assert_int_equal(result(&bench, i + 2), 0xffffffff);
    }
    bench_destroy(&bench);
}

/* ---- Registers -------------------------------------------------------------------------------------------------------------------------- */

static void test_reads_do_not_exit(void **state)
{
    static const struct {
        uint64_t offset;
        uint32_t value;
    } registers[] = {
        { VIRTIO_MMIO_MAGIC_VALUE, 0x74726976 },
        { VIRTIO_MMIO_VERSION, 2 },
        { VIRTIO_MMIO_DEVICE_ID, 26 },
        { VIRTIO_MMIO_DEVICE_FEATURES, 5 },
        { VIRTIO_MMIO_QUEUE_NUM_MAX, QUEUE_SIZE },
        { VIRTIO_MMIO_QUEUE_READY, 0 },
        { VIRTIO_MMIO_INTERRUPT_STATUS, 0 },
        { VIRTIO_MMIO_STATUS, 0 },
        { VIRTIO_MMIO_SHM_LEN_LOW, 0xffffffff },
        { VIRTIO_MMIO_SHM_LEN_HIGH, 0xffffffff },
        { VIRTIO_MMIO_CONFIG_GENERATION, 0 },
        { VIRTIO_MMIO_CONFIG, 0x666e6f63 },
        { 0x800, 0 },
        { 0xffc, 0 },
    };
    const unsigned num = sizeof(registers) / sizeof(registers[0]);
    struct guest guest = { 0 };
    struct bench bench;

    (void)state;
    for (unsigned i = 0; i < num; i++) {
        guest_load(&guest, DEVICE(1, registers[i].offset));
        guest_keep(&guest, i);
    }
    guest_reset(&guest);
    assert_int_equal(run_guest(&bench, &guest), MACHINE_RESET);
    for (unsigned i = 0; i < num; i++)
        assert_int_equal(result(&bench, i), registers[i].value);
    assert_int_equal(bench.exits, 1); /* the reset */
    bench_destroy(&bench);
}

/* Linux's own order: what a driver does from the first look at a device to its last. */
static void test_life_of_a_driver(void **state)
{
    enum { FIRST = 1 | 2, FEATURES_OK = FIRST | 8, DRIVER_OK = FEATURES_OK | 4 };
    struct guest guest = { 0 };
    struct bench bench;

    (void)state;
    guest_store(&guest, DEVICE(0, VIRTIO_MMIO_STATUS), 0);
    guest_store(&guest, DEVICE(0, VIRTIO_MMIO_STATUS), FIRST);
    guest_store(&guest, DEVICE(0, VIRTIO_MMIO_DEVICE_FEATURES_SEL), 1);
    guest_load(&guest, DEVICE(0, VIRTIO_MMIO_DEVICE_FEATURES));
    guest_keep(&guest, 0);
    guest_store(&guest, DEVICE(0, VIRTIO_MMIO_DRIVER_FEATURES_SEL), 1);
    guest_store(&guest, DEVICE(0, VIRTIO_MMIO_DRIVER_FEATURES), 1);
    guest_store(&guest, DEVICE(0, VIRTIO_MMIO_DRIVER_FEATURES_SEL), 0);
    guest_store(&guest, DEVICE(0, VIRTIO_MMIO_DRIVER_FEATURES), 4);
    guest_store(&guest, DEVICE(0, VIRTIO_MMIO_STATUS), FEATURES_OK);
    guest_load(&guest, DEVICE(0, VIRTIO_MMIO_STATUS));
    guest_keep(&guest, 1);
    guest_store(&guest, DEVICE(0, VIRTIO_MMIO_QUEUE_SEL), 2);
    guest_store(&guest, DEVICE(0, VIRTIO_MMIO_QUEUE_NUM), 64);
    guest_store(&guest, DEVICE(0, VIRTIO_MMIO_QUEUE_DESC_LOW), 0x1000);
    guest_store(&guest, DEVICE(0, VIRTIO_MMIO_QUEUE_DESC_HIGH), 1);
    guest_store(&guest, DEVICE(0, VIRTIO_MMIO_QUEUE_AVAIL_LOW), 0x2000);
    guest_store(&guest, DEVICE(0, VIRTIO_MMIO_QUEUE_AVAIL_HIGH), 2);
    guest_store(&guest, DEVICE(0, VIRTIO_MMIO_QUEUE_USED_LOW), 0x3000);
    guest_store(&guest, DEVICE(0, VIRTIO_MMIO_QUEUE_USED_HIGH), 3);
    guest_store(&guest, DEVICE(0, VIRTIO_MMIO_QUEUE_READY), 1);
    guest_load(&guest, DEVICE(0, VIRTIO_MMIO_QUEUE_READY));
    guest_keep(&guest, 2);
    guest_store(&guest, DEVICE(0, VIRTIO_MMIO_STATUS), DRIVER_OK);
    guest_load(&guest, DEVICE(0, VIRTIO_MMIO_STATUS));
    guest_keep(&guest, 3);
    guest_load(&guest, DEVICE(0, VIRTIO_MMIO_INTERRUPT_STATUS));
    guest_keep(&guest, 4);
    guest_store(&guest, DEVICE(0, VIRTIO_MMIO_STATUS), 0);
    guest_load(&guest, DEVICE(0, VIRTIO_MMIO_STATUS));
    guest_keep(&guest, 5);
    guest_load(&guest, DEVICE(0, VIRTIO_MMIO_INTERRUPT_STATUS));
    guest_keep(&guest, 6);
    guest_reset(&guest);
    assert_int_equal(run_guest(&bench, &guest), MACHINE_RESET);
    assert_int_equal(result(&bench, 0), 1);
    assert_int_equal(result(&bench, 1), FEATURES_OK);
    assert_int_equal(result(&bench, 2), 1);
    assert_int_equal(result(&bench, 3), DRIVER_OK);
    assert_int_equal(result(&bench, 4), 1);
    assert_int_equal(result(&bench, 5), 0);
    assert_int_equal(result(&bench, 6), 0);
    assert_int_equal(bench.starts, 1);
    assert_int_equal(bench.stops, 1);
    assert_int_equal(bench.features, UINT64_C(1) << VIRTIO_F_VERSION_1 | 4);
    assert_false(bench.queues[0].ready);
    assert_true(bench.queues[2].ready);
    assert_int_equal(bench.queues[2].size, 64);
    assert_int_equal(bench.queues[2].desc, 0x100001000);
    assert_int_equal(bench.queues[2].avail, 0x200002000);
    assert_int_equal(bench.queues[2].used, 0x300003000);
    bench_destroy(&bench);
}

static void test_kicks_do_not_exit(void **state)
{
    struct guest guest = { 0 };
    struct bench bench;

    (void)state;
    for (unsigned i = 0; i < 20; i++)
        guest_store(&guest, DEVICE(0, VIRTIO_MMIO_QUEUE_NOTIFY), 1);
    for (unsigned i = 0; i < 7; i++)
        guest_store(&guest, DEVICE(0, VIRTIO_MMIO_INTERRUPT_ACK), i);
    guest_store(&guest, DEVICE(0, VIRTIO_MMIO_QUEUE_NOTIFY), 2);          /* a queue that is not connected, */
    guest_store(&guest, DEVICE(0, VIRTIO_MMIO_QUEUE_NOTIFY), 0xffff0001); /* queues that are not there, */
    guest_store_wide(&guest, DEVICE(0, VIRTIO_MMIO_QUEUE_NOTIFY), 1, 2);  /* and the wrong width: to us, and ignored */
    guest_store(&guest, DEVICE(1, VIRTIO_MMIO_QUEUE_NOTIFY), 1);
    guest_reset(&guest);
    assert_int_equal(run_guest(&bench, &guest), MACHINE_RESET);
    assert_int_equal(event_count(bench.kick), 20);
    assert_int_equal(event_count(bench.acknowledge), 7);
    assert_int_equal(bench.exits, 5);
    bench_destroy(&bench);
}

/* Nothing that a guest stores changes what it reads, but through the registers. */
static void test_bad_stores(void **state)
{
    struct guest guest = { 0 };
    struct bench bench;
    uint8_t before[LAYOUT_MMIO_SIZE];

    (void)state;
    for (unsigned width = 1; width <= 8; width *= 2) {
        if (width != 4)
            guest_store_wide(&guest, DEVICE(0, VIRTIO_MMIO_STATUS), 0x0f0f0f0f0f0f0f0f, width);
        guest_store_wide(&guest, DEVICE(0, VIRTIO_MMIO_STATUS + 1), 0x0f0f0f0f0f0f0f0f, width);
        guest_store_wide(&guest, DEVICE(0, VIRTIO_MMIO_CONFIG), UINT64_MAX, width);
        guest_store_wide(&guest, DEVICE(0, VIRTIO_MMIO_MAGIC_VALUE), UINT64_MAX, width);
        guest_store_wide(&guest, DEVICE(0, LAYOUT_MMIO_SIZE - 1), UINT64_MAX, width); /* across the pages */
        guest_store_wide(&guest, DEVICE(NUM_DEVICES, VIRTIO_MMIO_STATUS), UINT64_MAX, width);
        guest_store_wide(&guest, LAYOUT_MMIO - 1, UINT64_MAX, width);
        guest_store_wide(&guest, LAYOUT_HOLE, UINT64_MAX, width);
    }
    guest_reset(&guest);
    bench_create(&bench, GUEST_END, 1);
    memcpy(before, bench.pages, sizeof(before));
    bench_load(&bench, &guest);
    assert_int_equal(bench_run(&bench), MACHINE_RESET);
    assert_memory_equal(bench.pages, before, sizeof(before));
    assert_memory_equal(bench.pages + LAYOUT_MMIO_SIZE, before, sizeof(before));
    assert_int_equal(bench.starts, 0);
    bench_destroy(&bench);
}

static void test_memory_of_nobody(void **state)
{
    static const uint64_t addresses[] = {
        GUEST_END,  LAYOUT_HOLE - 4, LAYOUT_HOLE,     LAYOUT_MMIO - 4, DEVICE(NUM_DEVICES, 0),
        0xfed00000, 0xfffffffc,      LAYOUT_ABOVE_4G, 0x17ffffffc,
    };
    const unsigned num = sizeof(addresses) / sizeof(addresses[0]);
    struct guest guest = { 0 };
    struct bench bench;

    (void)state;
    for (unsigned i = 0; i < num; i++) {
        guest_store(&guest, addresses[i], 0x12345678);
        guest_load(&guest, addresses[i]);
        guest_keep(&guest, i);
    }
    guest_reset(&guest);
    assert_int_equal(run_guest(&bench, &guest), MACHINE_RESET);
    for (unsigned i = 0; i < num; i++)
        assert_int_equal(result(&bench, i), 0xffffffff);
    bench_destroy(&bench);
}

/* ---- Memory, interrupts, processors --------------------------------------------------------------------------------------------------- */

static void test_memory_above_4_gib(void **state)
{
    static const uint64_t addresses[] = { LAYOUT_HOLE - 4, LAYOUT_ABOVE_4G, LAYOUT_ABOVE_4G + (1 << 20) - 4 };
    struct guest guest = { 0 };
    struct bench bench;

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        guest_store(&guest, addresses[i], 0x1000 + i);
        guest_load(&guest, addresses[i]);
        guest_keep(&guest, i);
    }
    guest_load(&guest, LAYOUT_ABOVE_4G + (1 << 20));
    guest_keep(&guest, 3);
    guest_reset(&guest);
    bench_create(&bench, LAYOUT_HOLE + (1 << 20), 1);
    bench_load(&bench, &guest);
    assert_int_equal(bench_run(&bench), MACHINE_RESET);
    for (unsigned i = 0; i < 3; i++) {
        uint32_t value;

        assert_int_equal(result(&bench, i), 0x1000 + i);
        memcpy(&value, memory_at(&bench.vm.memory, (gpa_t){ addresses[i] }, 4), 4);
        assert_int_equal(value, 0x1000 + i);
    }
    assert_int_equal(result(&bench, 3), 0xffffffff);
    /* The devices find it in one file: what is above the hole follows what is below. */
    uint32_t value;
    assert_int_equal(pread(bench.vm.memory_fd, &value, 4, (off_t)LAYOUT_HOLE), 4);
    assert_int_equal(value, 0x1001);
    bench_destroy(&bench);
}

/* An event becomes an interrupt: I/O APIC input 16 to vector 0x40 of the sleeping processor. */
static void test_interrupt(void **state)
{
    enum { VECTOR = 0x40, TABLE = 0x181000, HANDLER = 0x182000, POINTER = 0x183000, STACK = 0x188000 };
    struct guest guest = { 0 }, handler = { 0 };
    struct bench bench;
    uint64_t one = 1;
    uint8_t *memory;

    (void)state;
    guest_bytes(&guest, "\xbc\x00\x80\x18\x00", 5);             /* mov esp, STACK */
    guest_bytes(&guest, "\x0f\x01\x1c\x25\x00\x30\x18\x00", 8); /* lidt [POINTER] */
    guest_store(&guest, LAYOUT_LOCAL_APIC + 0xf0, 0x1ff);       /* enable the local APIC */
    guest_store(&guest, LAYOUT_IO_APIC, 0x10 + 2 * LAYOUT_FIRST_GSI);
    guest_store(&guest, LAYOUT_IO_APIC + 0x10, VECTOR); /* edge, active high, unmasked */
    guest_store(&guest, GUEST_RESULTS, 1);              /* ready */
    guest_bytes(&guest, "\xfb\xf4\xeb\xfd", 4);         /* sti; again: hlt; jmp again */
    guest_load(&handler, DEVICE(0, VIRTIO_MMIO_MAGIC_VALUE));
    guest_keep(&handler, 1);
    guest_reset(&handler);
    bench_create(&bench, GUEST_END, 1);
    bench_load(&bench, &guest);
    memory = memory_at(&bench.vm.memory, (gpa_t){ 0 }, GUEST_END);
    memcpy(memory + HANDLER, handler.code, handler.size);
    /* A 64-bit interrupt gate to the code segment 0x10. */
    memcpy(memory + TABLE + VECTOR * 16,
           &(uint64_t){ (HANDLER & 0xffff) | 0x10 << 16 | 0x8e00ULL << 32 | (HANDLER >> 16 & 0xffffULL) << 48 }, 8);
    memcpy(memory + POINTER, &(uint16_t){ 0xfff }, 2);
    memcpy(memory + POINTER + 2, &(uint64_t){ TABLE }, 8);
    assert_int_equal(write(bench.interrupt, &one, 8), 8); /* before the guest can take it: kept by nobody, so twice */
    assert_int_equal(event_count(bench.interrupt), 0);    /* KVM took it */
    /* The guest has no way to say that it sleeps, so the event is sent again and again by a timer's signal handler. */
    const struct sigaction action = { .sa_handler = on_alarm };
    const struct itimerspec interval = { .it_value.tv_nsec = 10000000, .it_interval.tv_nsec = 10000000 };
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM };
    enum machine_outcome outcome = MACHINE_CONTINUES;
    timer_t timer;
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    assert_int_equal(timer_settime(timer, 0, &interval, NULL), 0);
    for (unsigned i = 0; i < 300 && outcome == MACHINE_CONTINUES; i++) {
        outcome = bench_run(&bench);
        if (outcome == MACHINE_CONTINUES && result(&bench, 0) == 1)
            assert_int_equal(write(bench.interrupt, &one, 8), 8);
    }
    timer_delete(timer);
    assert_int_equal(outcome, MACHINE_RESET);
    assert_int_equal(result(&bench, 1), 0x74726976);
    bench_destroy(&bench);
}

static void *run_second(void *data)
{
    struct bench *bench = data;

    /* EAGAIN: started. It halts for good afterwards, and a signal ends that. */
    while (ioctl(bench->vcpus[1].fd, KVM_RUN, 0) == 0 || errno == EAGAIN)
        ;
    return NULL;
}

/* The first processor starts the second as the specification says (INIT, SIPI), and waits for its sign of life. */
static void test_second_processor(void **state)
{
    /* Real mode, at 0x8000: mov byte [0x9000 of segment 0x800 + ...]; the result is at 0x8100. */
    static const uint8_t second[] = { 0x8c, 0xc8, 0x8e, 0xd8, 0xc6, 0x06, 0x00, 0x01, 0x55, 0xfa, 0xf4, 0xeb, 0xfd };
    const struct sigaction action = { .sa_handler = on_alarm };
    struct guest guest = { 0 };
    struct bench bench;
    pthread_t thread;

    (void)state;
    guest_store(&guest, LAYOUT_LOCAL_APIC + 0xf0, 0x1ff);
    guest_store(&guest, LAYOUT_LOCAL_APIC + 0x310, 1 << 24);
    guest_store(&guest, LAYOUT_LOCAL_APIC + 0x300, 0x4500); /* INIT */
    guest_store(&guest, LAYOUT_LOCAL_APIC + 0x310, 1 << 24);
    guest_store(&guest, LAYOUT_LOCAL_APIC + 0x300, 0x4608);     /* SIPI: begin at 0x8000 */
    guest_bytes(&guest, "\x80\x3c\x25\x00\x81\x00\x00\x55", 8); /* again: cmp byte [0x8100], 0x55 */
    guest_bytes(&guest, "\x75\xf6", 2);                         /* jne again */
    guest_reset(&guest);
    bench_create(&bench, GUEST_END, 2);
    bench_load(&bench, &guest);
    memcpy(memory_at(&bench.vm.memory, (gpa_t){ 0x8000 }, sizeof(second)), second, sizeof(second));
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, run_second, &bench), 0);
    assert_int_equal(bench_run(&bench), MACHINE_RESET);
    bench.vcpus[1].run->immediate_exit = 1; /* for a signal that comes before KVM_RUN */
    assert_int_equal(pthread_kill(thread, SIGALRM), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    bench_destroy(&bench);
}

static void guest_cpuid(struct guest *guest, uint32_t leaf, uint32_t index)
{
    guest_bytes(guest, "\xb8", 1);
    guest_bytes(guest, &leaf, 4);
    guest_bytes(guest, "\xb9", 1);
    guest_bytes(guest, &index, 4);
    guest_bytes(guest, "\x0f\xa2", 2);
}

/* What a guest sees of its processor, on the real thing: tests/kvm/cpuid.c has the rules. */
static void test_cpuid(void **state)
{
    struct guest guest = { 0 };
    struct bench bench;

    (void)state;
    guest_cpuid(&guest, 0x40000000, 0);
    guest_bytes(&guest, "\x89\xd8", 2); /* mov eax, ebx */
    guest_keep(&guest, 0);
    guest_cpuid(&guest, 1, 0);
    guest_bytes(&guest, "\x89\xc8", 2); /* mov eax, ecx */
    guest_keep(&guest, 1);
    guest_cpuid(&guest, 0x40000001, 0);
    guest_keep(&guest, 2);
    guest_cpuid(&guest, 0xb, 1);
    guest_bytes(&guest, "\x89\xd8", 2);
    guest_keep(&guest, 3);
    guest_reset(&guest);
    bench_create(&bench, GUEST_END, 2);
    bench_load(&bench, &guest);
    assert_int_equal(bench_run(&bench), MACHINE_RESET);
    assert_int_equal(result(&bench, 0), 0x4b4d564b);  /* "KVMK" */
    assert_int_equal(result(&bench, 1) >> 31 & 1, 1); /* hypervisor */
    assert_int_equal(result(&bench, 1) >> 21 & 1, 1); /* x2APIC */
    assert_int_equal(result(&bench, 1) >> 5 & 1, 0);  /* VMX */
    assert_int_equal(result(&bench, 2) >> 3 & 1, 1);  /* kvmclock */
    assert_int_equal(result(&bench, 3), 2);           /* processors */
    bench_destroy(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_file),
        cmocka_unit_test(test_reset_register),
        cmocka_unit_test(test_keyboard_controller_reset),
        cmocka_unit_test(test_power_off),
        cmocka_unit_test(test_triple_fault),
        cmocka_unit_test(test_unknown_msr),
        cmocka_unit_test(test_execution_of_registers),
        cmocka_unit_test(test_halt_without_interrupts),
        cmocka_unit_test(test_uart),
        cmocka_unit_test(test_uart_string),
        cmocka_unit_test(test_uart_without_reader),
        cmocka_unit_test(test_ports_of_nobody),
        cmocka_unit_test(test_reads_do_not_exit),
        cmocka_unit_test(test_life_of_a_driver),
        cmocka_unit_test(test_kicks_do_not_exit),
        cmocka_unit_test(test_bad_stores),
        cmocka_unit_test(test_memory_of_nobody),
        cmocka_unit_test(test_memory_above_4_gib),
        cmocka_unit_test(test_interrupt),
        cmocka_unit_test(test_second_processor),
        cmocka_unit_test(test_cpuid),
    };

    return cmocka_run_group_tests_name("kvm guests", tests, NULL, NULL);
}
