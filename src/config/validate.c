/* SPDX-License-Identifier: Apache-2.0 */
#include "config/validate.h"

#include "util/cleanup.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>

/* What uname(2) has room for: __NEW_UTS_LEN. */
enum { HOSTNAME_LENGTH_MAX = 64, LABEL_LENGTH_MAX = 63 };

static struct text text_of_string(const char *string)
{
    return text_of(string, MSB_LENGTH_UNKNOWN);
}

/* Appends each component of path, but empty and "." ones, with a '/' before it. A ".." stays: on the host it may follow a symbolic
   link, and then means another place than the text shows. Returns the new length. */
static size_t append_components(char *out, size_t length, const char *path)
{
    struct text component, rest = text_of_string(path);

    while (rest.length) {
        if (!text_cut_first(rest, '/', &component, &rest)) {
            component = rest;
            rest.length = 0;
        }
        if (component.length == 0 || text_equal(component, "."))
            continue;
        out[length++] = '/';
        memcpy(out + length, component.bytes, component.length);
        length += component.length;
    }
    return length;
}

static char *make_absolute(struct validation *v, const char *option, const char *path)
{
    bool relative = path[0] != '/';
    _cleanup_free_ char *cwd = relative ? getcwd(NULL, 0) : NULL;
    const char *base = cwd ? cwd : "";
    char *absolute;
    size_t length;

    if (relative && !cwd)
        return FAIL_NULL(refuse_as(v->err, MSB_ERR_SYSTEM, option, text_of_string(path),
                                   "is relative, and the working directory cannot be found: %s", strerror(errno)));
    absolute = malloc(strlen(base) + strlen(path) + 3);
    if (!absolute)
        return FAIL_NULL(fail_no_memory(v->err));
    length = append_components(absolute, append_components(absolute, 0, base), path);
    if (length == 0)
        absolute[length++] = '/';
    absolute[length] = '\0';
    return absolute;
}

char *host_path(struct validation *v, const char *option, const char *path, unsigned *mode)
{
    struct stat st;

    if (!*path)
        return FAIL_NULL(refuse(v->err, option, text_of_string(path), "is empty; name a path on this machine"));
    if (stat(path, &st) < 0) {
        enum msb_error_code code = errno == ENOENT || errno == ENOTDIR ? MSB_ERR_NOT_FOUND : MSB_ERR_SYSTEM;

        return FAIL_NULL(refuse_as(v->err, code, option, text_of_string(path), "cannot be used: %s", strerror(errno)));
    }
    *mode = st.st_mode;
    return make_absolute(v, option, path);
}

static char *refuse_directory(struct validation *v, const char *option, const char *path, const char *directory)
{
    char *quoted = string_quote(directory);

    if (quoted)
        refuse_as(v->err, MSB_ERR_NOT_FOUND, option, text_of_string(path),
                  "cannot be made: its directory %s is not there; make it first", quoted);
    else
        fail_no_memory(v->err);
    free(quoted);
    return NULL;
}

char *host_path_to_be(struct validation *v, const char *option, const char *path)
{
    _cleanup_free_ char *directory = NULL;
    const char *slash = strrchr(path, '/');
    struct stat st;

    if (!*path || (slash && !slash[1]))
        return FAIL_NULL(refuse(v->err, option, text_of_string(path), "names no file"));
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return FAIL_NULL(refuse(v->err, option, text_of_string(path), "is a directory; name a file"));
    directory = text_copy(slash ? text_of(path, (size_t)(slash - path) + 1) : text_of(".", 1));
    if (!directory)
        return FAIL_NULL(fail_no_memory(v->err));
    if (stat(directory, &st) < 0 || !S_ISDIR(st.st_mode))
        return refuse_directory(v, option, path, directory);
    return make_absolute(v, option, path);
}

char *guest_path(struct validation *v, const char *option, const char *path)
{
    msb_error *error = NULL;
    char *normalized = msb_path_normalize(path, MSB_LENGTH_UNKNOWN, MSB_PATH_ABSOLUTE, &error);

    if (normalized)
        return normalized;
    fail_prefix(&error, "%s", option);
    fail_with(v->err, error);
    return NULL;
}

bool path_is_within(const char *inner, const char *outer)
{
    size_t length = strlen(outer);

    if (!strcmp(outer, "/"))
        return true;
    return !strncmp(inner, outer, length) && (inner[length] == '/' || !inner[length]);
}

int validate_list(struct validation *v, const char *option, const struct string_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        if (!list->items[i])
            return fail(v->err, MSB_ERR_INVALID, "%s has NULL as item %zu of %zu; every item must be a string", option, i + 1,
                        list->count);
    return 0;
}

static int refuse_number(struct validation *v, const char *option, uint32_t value, const char *why)
{
    return fail(v->err, MSB_ERR_INVALID, "%s \"%u\" %s", option, value, why);
}

static int validate_resources(struct validation *v)
{
    int host_cpus = get_nprocs();
    uint64_t host_mib;
    struct sysinfo info;

    if (v->config->num_vcpus == 0)
        return refuse_number(v, "num_vcpus", 0, "is too few; the least is 1");
    if (v->config->memory_mib == 0)
        return refuse_number(v, "memory_mib", 0, "is too little; the least is 1");
    v->spec->num_vcpus = v->config->num_vcpus;
    v->spec->memory_mib = v->config->memory_mib;

    if (v->config->num_vcpus > (unsigned)host_cpus &&
        warnings_add(v->warnings, v->err,
                     "num_vcpus \"%u\" is more than this machine's %d processors; the VM will be slower for it",
                     v->config->num_vcpus, host_cpus) < 0)
        return -1;
    if (sysinfo(&info) < 0)
        return fail_errno(v->err, "ask how much memory this machine has");
    host_mib = ((uint64_t)info.totalram * info.mem_unit) >> 20;
    if (v->config->memory_mib > host_mib)
        return warnings_add(v->warnings, v->err,
                            "memory_mib \"%u\" is more than this machine's %llu MiB; the VM will be killed if it uses that much",
                            v->config->memory_mib, (unsigned long long)host_mib);
    return 0;
}

static int validate_names(struct validation *v)
{
    if (!msb_log_level_name(v->config->log_level))
        return refuse_number(v, "log_level", (uint32_t)v->config->log_level, "is no value of enum msb_log_level");
    if (!msb_engine_name(v->config->engine))
        return refuse_number(v, "engine", (uint32_t)v->config->engine, "is no value of enum msb_engine");
    v->spec->log_level = v->config->log_level;
    v->spec->engine = v->config->engine;
    return 0;
}

static int validate_files(struct validation *v)
{
    unsigned mode;

    if (v->config->console_output) {
        v->spec->console_output = host_path_to_be(v, "console_output", v->config->console_output);
        if (!v->spec->console_output)
            return -1;
    }
    if (v->config->kernel) {
        v->spec->kernel = host_path(v, "kernel", v->config->kernel, &mode);
        if (!v->spec->kernel)
            return -1;
        if (!S_ISREG(mode))
            return refuse(v->err, "kernel", text_of_string(v->config->kernel), "is no regular file; name a kernel image");
    }
    return 0;
}

/* RFC 1123, section 2.1. */
static bool is_label(struct text label)
{
    if (label.length == 0 || label.length > LABEL_LENGTH_MAX || label.bytes[0] == '-' || label.bytes[label.length - 1] == '-')
        return false;
    for (size_t i = 0; i < label.length; i++) {
        unsigned char byte = (unsigned char)label.bytes[i];

        if (byte > 0x7f || (!isalnum(byte) && byte != '-'))
            return false;
    }
    return true;
}

static bool is_hostname(struct text name)
{
    struct text label;

    while (text_cut_first(name, '.', &label, &name))
        if (!is_label(label))
            return false;
    return is_label(name);
}

static int validate_hostname(struct validation *v)
{
    struct text name = text_of(v->config->hostname, MSB_LENGTH_UNKNOWN);

    if (!v->config->hostname)
        return 0;
    if (name.length > HOSTNAME_LENGTH_MAX)
        return refuse(v->err, "hostname", name, "is longer than Linux's limit of %d bytes", HOSTNAME_LENGTH_MAX);
    if (!is_hostname(name))
        return refuse(v->err, "hostname", name,
                      "is no host name; write letters, digits and inner hyphens, at most 63 between two dots (RFC 1123)");
    v->spec->hostname = strdup(v->config->hostname);
    return v->spec->hostname ? 0 : fail_no_memory(v->err);
}

int config_check_name(const char *name, msb_error **err)
{
    struct text text = text_of(name, MSB_LENGTH_UNKNOWN);

    if (is_label(text))
        return 0;
    return refuse(err, "name", text, "is no name for a sandbox; write letters, digits and inner hyphens, at most %d",
                  LABEL_LENGTH_MAX);
}

static int validate_name(struct validation *v)
{
    if (v->config->keep && !v->config->name)
        return fail(v->err, MSB_ERR_INVALID, "keep: a VM without a name cannot be kept; give it one");
    v->spec->keep = v->config->keep;
    v->spec->timeout_ms = v->config->timeout_ms;
    v->spec->idle_timeout_ms = v->config->idle_timeout_ms;
    if (!v->config->name)
        return 0;
    v->spec->name = strdup(v->config->name);
    return v->spec->name ? config_check_name(v->config->name, v->err) : fail_no_memory(v->err);
}

static int validate_nested(struct validation *v)
{
    enum msb_engine engine = v->config->engine;

    if (v->config->nested && engine != MSB_ENGINE_AUTO && engine != MSB_ENGINE_QEMU)
        return fail(v->err, MSB_ERR_INVALID,
                    "nested: the engine \"%s\" cannot give its guest hardware virtualization; \"qemu\" can",
                    msb_engine_name(engine));
    v->spec->nested = v->config->nested;
    return 0;
}

int config_validate(const struct msb_config *config, struct spec *spec, struct warnings *warnings, msb_error **err)
{
    struct validation v = { config, spec, warnings, err };

    *spec = (struct spec){ 0 };
    *warnings = (struct warnings){ 0 };
    if (config->no_memory)
        return fail_no_memory(err);
    if (validate_names(&v) < 0 || validate_rootfs(&v) < 0 || validate_resources(&v) < 0 || validate_shares(&v) < 0 ||
        validate_network(&v) < 0 || validate_process(&v) < 0 || validate_files(&v) < 0 || validate_hostname(&v) < 0 ||
        validate_nested(&v) < 0 || validate_name(&v) < 0) {
        spec_clear(spec);
        warnings_clear(warnings);
        return -1;
    }
    return 0;
}
