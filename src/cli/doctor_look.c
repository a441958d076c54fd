/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a sandbox needs of its host, tried rather than asked for wherever that can be done.
 */
#include "cli/doctor.h"

#include "config/text.h"
#include "sandbox/caller.h"
#include "sandbox/choose.h"
#include "util/cleanup.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>

enum {
    DEFAULT_MEMORY_MIB = 1024,
    FILES_WANTED = 1024, /* the fs device holds many files open for its guest */
    LINE_MAX_SIZE = 256,
    RECORD_MAX = 4096,
};

void findings_clear(struct findings *findings)
{
    for (size_t i = 0; i < findings->count; i++) {
        free(findings->items[i].detail);
        free(findings->items[i].mend);
    }
    free(findings->items);
    *findings = (struct findings){ 0 };
}

enum need { REQUIRED, OPTIONAL };

/* Adds what was found. mend is NULL, or for something that is not ok what would mend it. */
static int add(struct findings *findings, const char *what, enum need need, bool ok, const char *mend, const char *format, ...)
    __attribute__((format(printf, 6, 7)));

static int add(struct findings *findings, const char *what, enum need need, bool ok, const char *mend, const char *format, ...)
{
    struct finding *items = realloc(findings->items, (findings->count + 1) * sizeof(*items)), *f;
    va_list args;

    if (!items)
        return -1;
    findings->items = items;
    f = &items[findings->count];
    *f = (struct finding){ .what = what, .required = need == REQUIRED, .ok = ok, .mend = mend && !ok ? strdup(mend) : NULL };
    va_start(args, format);
    if (vasprintf(&f->detail, format, args) < 0)
        f->detail = NULL;
    va_end(args);
    if (!f->detail || (mend && !ok && !f->mend)) {
        free(f->detail);
        free(f->mend);
        return -1;
    }
    findings->count++;
    return 0;
}

/* Adds the text of an error, and frees it. */
static int add_error(struct findings *findings, const char *what, enum need need, const char *mend, msb_error *error)
{
    int result = add(findings, what, need, false, mend, "%s", msb_error_message(error));

    msb_error_free(error);
    return result;
}

/* The beginning of a file, as far as it fits, as a string; empty when the file cannot be read. */
static void read_start(const char *path, char *text, size_t size)
{
    _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, size - 1);

    text[length < 0 ? 0 : length] = '\0';
}

/* ---- Engines ----------------------------------------------------------------------------------------------------------------- */

/* Each engine, tried with a VM of one processor, and the one that --engine auto takes, whose kernel *kernel is then. */
static int look_at_engine(struct findings *findings, const struct files *files, const char *what, enum msb_engine name)
{
    struct engine_vm vm = { .num_vcpus = 1, .memory_mib = DEFAULT_MEMORY_MIB };
    msb_error *error = NULL;

    const struct engine *engine = engine_named(name);

    if (engine->probe(&error) < 0 || !choose_engine(files, name, NULL, &vm, &error))
        return add_error(findings, what, OPTIONAL, NULL, error);
    free((char *)vm.kernel);
    return add(findings, what, OPTIONAL, true, NULL, "works%s%s", engine->measured ? ": " : "",
               engine->measured ? engine->measured() : "");
}

static int look_at_engines(struct findings *findings, const struct files *files, char **kernel)
{
    struct engine_vm vm = { .num_vcpus = 1, .memory_mib = DEFAULT_MEMORY_MIB };
    const struct engine *chosen = choose_engine(files, MSB_ENGINE_AUTO, NULL, &vm, NULL);

    *kernel = (char *)vm.kernel;
    findings->engine = chosen ? chosen->name : NULL;
    if (look_at_engine(findings, files, "engine kvm", MSB_ENGINE_KVM) < 0 ||
        look_at_engine(findings, files, "engine uml", MSB_ENGINE_UML) < 0 ||
        look_at_engine(findings, files, "engine qemu", MSB_ENGINE_QEMU) < 0)
        return -1;
    return add(findings, "engine", REQUIRED, chosen != NULL, "One of the engines above must work.",
               chosen ? "%s is what --engine auto takes: the best that works here" : "none works", findings->engine);
}

/* ---- Our own files ------------------------------------------------------------------------------------------------------------ */

static int add_kernel(struct findings *findings, const char *kernel)
{
    char release[RECORD_MAX], package[RECORD_MAX], version[RECORD_MAX];

    files_kernel_record(kernel, "release", release, sizeof(release));
    files_kernel_record(kernel, "package", package, sizeof(package));
    files_kernel_record(kernel, "version", version, sizeof(version));
    if (!release[0])
        return add(findings, "guest kernel", REQUIRED, true, NULL, "%s, of an unknown release", kernel);
    return add(findings, "guest kernel", REQUIRED, true, NULL, "Linux %s%s%s %s (%s)", release, package[0] ? ", " : "", package,
               version, kernel);
}

static int look_at_kernel(struct findings *findings, const struct files *files, const char *kernel)
{
    _cleanup_free_ char *real = realpath(kernel, NULL); /* as a reader likes it */
    msb_error *error = NULL;
    int initrd;

    if (add_kernel(findings, real ? real : kernel) < 0)
        return -1;
    initrd = files_initrd(files, kernel, false, &error);
    if (initrd < 0)
        return add_error(findings, "guest's PID 1", REQUIRED, "Build it with ninja, or install it with meson install.", error);
    close(initrd);
    return add(findings, "guest's PID 1", REQUIRED, true, NULL, "is there");
}

static int look_at_programs(struct findings *findings, const struct files *files)
{
    static const char *const roles[] = { "fs", "vsock", "net" };

    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        msb_error *error = NULL;
        int fd = files_program(files, roles[i], &error);

        if (fd < 0)
            return add_error(findings, "programs", REQUIRED, "Build them with ninja, or install them with meson install.", error);
        close(fd);
    }
    return add(findings, "programs", REQUIRED, true, NULL, "the monitor and the devices are in %s", files->programs);
}

static int look_at_files(struct findings *findings)
{
    msb_error *error = NULL;
    _cleanup_free_ char *monitor = monitor_find(&error), *kernel = NULL;
    struct files files;
    int result;

    if (!monitor)
        return add_error(findings, "programs", REQUIRED, "Build them with ninja, or install them with meson install.", error);
    if (files_init(&files, monitor, &error) < 0)
        return add_error(findings, "programs", REQUIRED, NULL, error);
    result = look_at_programs(findings, &files);
    if (result == 0)
        result = look_at_engines(findings, &files, &kernel);
    if (result == 0 && kernel)
        result = look_at_kernel(findings, &files, kernel);
    files_clear(&files);
    return result;
}

/* ---- Packages ------------------------------------------------------------------------------------------------------------------ */

/* The one library that msb has not been started with itself. QEMU is the qemu engine's to find. */
static int look_at_packages(struct findings *findings)
{
    static const char slirp[] = "libslirp.so.0";
    void *library = dlopen(slirp, RTLD_LAZY);

    if (library)
        dlclose(library);
    return add(findings, "packages", REQUIRED, library != NULL, "Install the package libslirp0.",
               library ? "all libraries are there" : "the library %s is missing", slirp);
}

/* ---- The host's kernel --------------------------------------------------------------------------------------------------------- */

/* The cells of our processes: namespaces of their own, and the right to mount in them. Returns errno. */
static int try_namespaces(void)
{
    pid_t pid = fork();
    int status = 0;

    if (pid < 0)
        return errno;
    if (pid == 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP) <
                0 ||
            mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
            _exit(errno);
        _exit(0);
    }
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : ECHILD;
}

/* A number in a file of /proc or /sys; -1 when there is none. */
static int64_t read_number(const char *path)
{
    char line[LINE_MAX_SIZE];
    uint64_t number;

    read_start(path, line, sizeof(line));
    return text_number(text_of(line, strcspn(line, "\n")), INT64_MAX, &number) ? (int64_t)number : -1;
}

static const char *mend_namespaces(void)
{
    if (read_number("/proc/sys/kernel/unprivileged_userns_clone") == 0)
        return "As root: sysctl kernel.unprivileged_userns_clone=1";
    if (read_number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1)
        return "As root: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or give msb's programs an AppArmor profile with "
               "userns.";
    if (read_number("/proc/sys/user/max_user_namespaces") == 0)
        return "As root: sysctl user.max_user_namespaces=10000";
    return "A container that this runs in must be allowed to make user namespaces, and to mount in them.";
}

static int look_at_namespaces(struct findings *findings)
{
    int error = try_namespaces();

    if (error)
        return add(findings, "user namespaces", REQUIRED, false, mend_namespaces(), "cannot be made: %s", strerror(error));
    return add(findings, "user namespaces", REQUIRED, true, NULL, "can be made, with mounts of their own");
}

static int look_at_seccomp(struct findings *findings)
{
    static const char path[] = "/proc/sys/kernel/seccomp/actions_avail";
    char line[LINE_MAX_SIZE];

    read_start(path, line, sizeof(line));
    return add(findings, "seccomp", REQUIRED, strstr(line, "kill_process") != NULL,
               "The host's kernel needs CONFIG_SECCOMP_FILTER.", *line ? "filters can kill a process" : "there is no %s", path);
}

static int look_at_memfd(struct findings *findings)
{
    struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
    int fd = memfd_create("doctor", MFD_CLOEXEC);

    if (fd < 0)
        return add(findings, "guest memory", REQUIRED, false, NULL, "cannot be made: memfd_create: %s", strerror(errno));
    close(fd);
    getrlimit(RLIMIT_FSIZE, &limit);
    if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur >> 20 < DEFAULT_MEMORY_MIB)
        return add(findings, "guest memory", REQUIRED, false, "Raise the limit (ulimit -f unlimited), or use --memory with less.",
                   "is a file to the host, and files have at most %" PRIu64 " MiB", (uint64_t)limit.rlim_cur >> 20);
    return add(findings, "guest memory", REQUIRED, true, NULL, "can be shared with the devices");
}

/* ---- Limits ---------------------------------------------------------------------------------------------------------------------- */

static int look_at_descriptors(struct findings *findings)
{
    struct rlimit limit = { 0, 0 };

    getrlimit(RLIMIT_NOFILE, &limit);
    return add(findings, "open files", OPTIONAL, limit.rlim_max >= FILES_WANTED,
               "Raise the hard limit (ulimit -Hn): a guest that opens many files may see errors.",
               "%" PRIu64 " for a process, and %" PRIu64 " at most", (uint64_t)limit.rlim_cur, (uint64_t)limit.rlim_max);
}

static int look_at_processors(struct findings *findings)
{
    return add(findings, "processors", OPTIONAL, true, NULL, "%d", get_nprocs());
}

/* MemAvailable of /proc/meminfo in MiB: what can be had without swapping. */
static int64_t available_mib(void)
{
    static const char key[] = "MemAvailable:";
    char record[RECORD_MAX];
    uint64_t kib;
    char *line;

    read_start("/proc/meminfo", record, sizeof(record));
    line = strstr(record, key);
    if (!line)
        return -1;
    line += strlen(key);
    line += strspn(line, " ");
    return text_number(text_of(line, strcspn(line, " ")), INT64_MAX, &kib) ? (int64_t)(kib >> 10) : -1;
}

static int look_at_memory(struct findings *findings)
{
    int64_t mib = available_mib();

    return add(findings, "memory", OPTIONAL, mib >= DEFAULT_MEMORY_MIB, "Use --memory with less, or end other programs.",
               "%" PRId64 " MiB available; a guest has %d unless --memory says otherwise", mib, DEFAULT_MEMORY_MIB);
}

int doctor_look(struct findings *findings, msb_error **err)
{
    static int (*const looks[])(struct findings *) = {
        look_at_files, look_at_packages,    look_at_namespaces, look_at_seccomp,
        look_at_memfd, look_at_descriptors, look_at_processors, look_at_memory,
    };

    for (size_t i = 0; i < sizeof(looks) / sizeof(looks[0]); i++)
        if (looks[i](findings) < 0)
            return fail_no_memory(err);
    return 0;
}
