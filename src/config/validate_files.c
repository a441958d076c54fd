/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guest sees of the host's files: its root, and the mapped directories.
 */
#include "config/validate.h"

#include "util/cleanup.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

static char *host_directory(struct validation *v, const char *option, const char *path)
{
    _cleanup_free_ char *absolute = NULL;
    unsigned mode;

    absolute = host_path(v, option, path, &mode);
    if (absolute && !S_ISDIR(mode))
        return FAIL_NULL(refuse(v->err, option, text_of(path, MSB_LENGTH_UNKNOWN), "is no directory; name one"));
    return steal_pointer(&absolute);
}

/* Whether the guest's ownership has no place there. */
static bool lacks_user_xattrs(const char *path)
{
    return getxattr(path, "user.containers.override_stat", NULL, 0) < 0 && errno == EOPNOTSUPP;
}

static int warn_of_lost_ownership(struct validation *v, const char *option, const char *path)
{
    _cleanup_free_ char *quoted = string_quote(path);

    if (!quoted)
        return fail_no_memory(v->err);
    return warnings_add(v->warnings, v->err,
                        "%s %s is on a file system without user xattrs; owners, set-id bits, devices and the like that the guest "
                        "makes there last only as long as the VM",
                        option, quoted);
}

/* A layer that is there twice counts where it is highest: what is above the lower one hides or repeats all of it. */
static bool is_repeated_above(const struct string_list *layers, size_t index)
{
    struct stat layer, above;

    if (stat(layers->items[index], &layer) < 0)
        return false;
    for (size_t i = index + 1; i < layers->count; i++)
        if (stat(layers->items[i], &above) == 0 && above.st_dev == layer.st_dev && above.st_ino == layer.st_ino)
            return true;
    return false;
}

static int warn_of_repetition(struct validation *v, const char *layer)
{
    _cleanup_free_ char *quoted = string_quote(layer);

    if (!quoted)
        return fail_no_memory(v->err);
    return warnings_add(v->warnings, v->err, "rootfs layer %s is named twice; only the higher one counts", quoted);
}

static int validate_layers(struct validation *v, const struct string_list *layers)
{
    if (layers->count == 0)
        return fail(v->err, MSB_ERR_INVALID, "rootfs \"\" is an overlay without layers; name at least one directory");
    if (layers->count > ROOTFS_LAYERS_MAX)
        return fail(v->err, MSB_ERR_INVALID, "rootfs has \"%zu\" layers; the most is %d", layers->count, ROOTFS_LAYERS_MAX);
    if (validate_list(v, "rootfs", layers) < 0)
        return -1;
    v->spec->rootfs_layers = calloc(layers->count, sizeof(*v->spec->rootfs_layers));
    if (!v->spec->rootfs_layers)
        return fail_no_memory(v->err);
    for (size_t i = 0; i < layers->count; i++) {
        _cleanup_free_ char *layer = host_directory(v, "rootfs layer", layers->items[i]);

        if (!layer)
            return -1;
        if (!is_repeated_above(layers, i))
            v->spec->rootfs_layers[v->spec->num_rootfs_layers++] = steal_pointer(&layer);
        else if (warn_of_repetition(v, layer) < 0)
            return -1;
    }
    return 0;
}

static char *real_path(struct validation *v, const char *option, const char *path)
{
    char *real = realpath(path, NULL);

    if (real)
        return real;
    return FAIL_NULL(
        refuse_as(v->err, MSB_ERR_SYSTEM, option, text_of(path, MSB_LENGTH_UNKNOWN), "cannot be resolved: %s", strerror(errno)));
}

/* Writes to an upper directory that is a layer, or in one, or around one, would be writes to the layer. */
static int validate_upper_apart(struct validation *v, const char *upper)
{
    _cleanup_free_ char *real_upper = real_path(v, "rootfs upper", upper);

    if (!real_upper)
        return -1;
    for (size_t i = 0; i < v->spec->num_rootfs_layers; i++) {
        _cleanup_free_ char *real_layer = real_path(v, "rootfs layer", v->spec->rootfs_layers[i]);
        _cleanup_free_ char *quoted = string_quote(v->spec->rootfs_layers[i]);

        if (!real_layer)
            return -1;
        if (!quoted)
            return fail_no_memory(v->err);
        if (path_is_within(real_upper, real_layer) || path_is_within(real_layer, real_upper))
            return refuse(v->err, "rootfs upper", text_of(upper, MSB_LENGTH_UNKNOWN),
                          "overlaps the layer %s, which is never written; name a directory apart from it", quoted);
    }
    return 0;
}

static int validate_upper(struct validation *v, const char *upper)
{
    struct text value = text_of(upper, MSB_LENGTH_UNKNOWN);

    if (v->spec->rootfs_kind == ROOTFS_NATIVE)
        return refuse(v->err, "rootfs upper", value,
                      "needs an overlay root, but rootfs is one directory, which is written in place");
    if (v->spec->rootfs_kind == ROOTFS_HOST)
        return refuse(v->err, "rootfs upper", value,
                      "cannot be used with this machine as the root, whose changes are always discarded");
    v->spec->rootfs_upper = host_directory(v, "rootfs upper", upper);
    if (!v->spec->rootfs_upper)
        return -1;
    /* Overlayfs marks directories there with xattrs of its own. */
    if (lacks_user_xattrs(v->spec->rootfs_upper))
        return refuse(v->err, "rootfs upper", value,
                      "is on a file system without user xattrs, which an upper directory needs; name a directory on another one");
    return validate_upper_apart(v, upper);
}

static int validate_native(struct validation *v)
{
    v->spec->rootfs_layers = calloc(1, sizeof(*v->spec->rootfs_layers));
    if (!v->spec->rootfs_layers)
        return fail_no_memory(v->err);
    v->spec->rootfs_layers[0] = host_directory(v, "rootfs", v->config->rootfs);
    v->spec->num_rootfs_layers = 1;
    if (!v->spec->rootfs_layers[0])
        return -1;
    return lacks_user_xattrs(v->spec->rootfs_layers[0]) ? warn_of_lost_ownership(v, "rootfs", v->spec->rootfs_layers[0]) : 0;
}

int validate_rootfs(struct validation *v)
{
    switch (v->config->root) {
    case ROOT_NATIVE:
        v->spec->rootfs_kind = ROOTFS_NATIVE;
        if (validate_native(v) < 0)
            return -1;
        break;
    case ROOT_OVERLAY:
        v->spec->rootfs_kind = ROOTFS_OVERLAY;
        if (validate_layers(v, &v->config->layers) < 0)
            return -1;
        break;
    case ROOT_HOST:
        v->spec->rootfs_kind = ROOTFS_HOST;
        break;
    case ROOT_NOT_SET:
        return fail(v->err, MSB_ERR_INVALID, "rootfs is not set; name the directory that the guest sees as its root");
    }
    return v->config->upper ? validate_upper(v, v->config->upper) : 0;
}

static int validate_share(struct validation *v, const char *text, struct spec_share *share)
{
    static const char option[] = "mapped_dirs";
    msb_error *error = NULL;
    msb_mapped_dir *dir = msb_mapped_dir_parse(text, MSB_LENGTH_UNKNOWN, &error);
    unsigned mode = 0;

    if (!dir) {
        fail_prefix(&error, "%s", option);
        return fail_with(v->err, error);
    }
    share->read_only = msb_mapped_dir_read_only(dir);
    share->guest = guest_path(v, option, msb_mapped_dir_guest(dir));
    if (share->guest)
        share->host = host_path(v, option, msb_mapped_dir_host(dir), &mode);
    msb_mapped_dir_free(dir);
    if (!share->guest || !share->host)
        return -1;
    if (!S_ISDIR(mode) && !S_ISREG(mode))
        return refuse(v->err, option, text_of(text, MSB_LENGTH_UNKNOWN), "maps neither a directory nor a regular file");
    if (!strcmp(share->guest, "/"))
        return refuse(v->err, option, text_of(text, MSB_LENGTH_UNKNOWN),
                      "would hide the guest's whole root; use rootfs for that");
    return !share->read_only && lacks_user_xattrs(share->host) ? warn_of_lost_ownership(v, option, share->host) : 0;
}

static int refuse_overlap(struct validation *v, size_t index, size_t other)
{
    char *const *dirs = v->config->mapped_dirs.items;
    _cleanup_free_ char *quoted = string_quote(dirs[other]);

    if (!quoted)
        return fail_no_memory(v->err);
    return refuse(v->err, "mapped_dirs", text_of(dirs[index], MSB_LENGTH_UNKNOWN),
                  "overlaps %s in the guest; choose guest paths apart from one another", quoted);
}

static int refuse_overlaps(struct validation *v, size_t last)
{
    const struct spec_share *shares = v->spec->shares;

    for (size_t i = 0; i < last; i++)
        if (path_is_within(shares[i].guest, shares[last].guest) || path_is_within(shares[last].guest, shares[i].guest))
            return refuse_overlap(v, last, i);
    return 0;
}

int validate_shares(struct validation *v)
{
    const struct string_list *dirs = &v->config->mapped_dirs;

    if (dirs->count == 0)
        return 0;
    if (validate_list(v, "mapped_dirs", dirs) < 0)
        return -1;
    v->spec->shares = calloc(dirs->count, sizeof(*v->spec->shares));
    if (!v->spec->shares)
        return fail_no_memory(v->err);
    for (size_t i = 0; i < dirs->count; i++) {
        v->spec->num_shares++;
        if (validate_share(v, dirs->items[i], &v->spec->shares[i]) < 0 || refuse_overlaps(v, i) < 0)
            return -1;
    }
    return 0;
}
