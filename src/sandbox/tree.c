/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/tree.h"
#include "util/cleanup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a program installed on this machine needs. */
static const char *const host_directories[] = { "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc" };

/* The device that serves /etc can read what its user can: for root that is nobody, and otherwise the caller, who may be in a group that
   is let in. So what is secret in it is masked as well. */
static const char *const host_secrets[] = {
    "/etc/shadow",  "/etc/shadow-",          "/etc/gshadow",   "/etc/gshadow-",    "/etc/sudoers",
    "/etc/opasswd", "/etc/security/opasswd", "/etc/sudoers.d", "/etc/ssl/private", "/etc/krb5.keytab",
};

static int no_memory(msb_error **err)
{
    return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
}

static int setup_init(struct fs_setup *setup, const struct spec *spec, const char *tag, bool only_user, size_t max,
                      msb_error **err)
{
    *setup = (struct fs_setup){
        .log_level = (uint8_t)spec->log_level,
        .tag = strdup(tag),
        .guest_is_only_user = only_user,
        .num_queues = 1,
        .exports = calloc(max, sizeof(struct fs_export)),
    };
    return setup->tag && setup->exports ? 0 : no_memory(err);
}

/* Takes target, which may be NULL for lack of memory. */
static int add(struct fs_setup *setup, const char *host, char *target, bool read_only, bool oci_whiteouts, msb_error **err)
{
    struct fs_export *export = &setup->exports[setup->num_exports++];

    *export = (struct fs_export){
        .host = strdup(host),
        .target = target,
        .read_only = read_only,
        .oci_whiteouts = oci_whiteouts,
    };
    return export->host && export->target ? 0 : no_memory(err);
}

static char *numbered(const char *prefix, size_t number)
{
    char *text = NULL;

    return asprintf(&text, "%s%zu", prefix, number) < 0 ? NULL : text;
}

/* A mask costs a mount: there is none over what nobody can read anyway. */
static int mask_secrets(struct fs_setup *setup, msb_error **err)
{
    for (size_t i = 0; i < sizeof(host_secrets) / sizeof(host_secrets[0]); i++) {
        char *target = NULL;

        if (access(host_secrets[i], R_OK) < 0)
            continue;
        if (asprintf(&target, "layers/0%s", host_secrets[i]) < 0)
            return no_memory(err);
        if (add(setup, "", target, true, false, err) < 0)
            return -1;
        setup->exports[setup->num_exports - 1].masked = true;
    }
    return 0;
}

static int add_host(struct fs_setup *setup, msb_error **err)
{
    for (size_t i = 0; i < sizeof(host_directories) / sizeof(host_directories[0]); i++) {
        const char *path = host_directories[i];
        char *target = NULL;

        if (access(path, F_OK) < 0)
            continue;
        if (asprintf(&target, "layers/0%s", path) < 0)
            return no_memory(err);
        if (add(setup, path, target, true, false, err) < 0)
            return -1;
    }
    return mask_secrets(setup, err);
}

/* overlayfs moves files from its work directory to its upper one, so that both have to lie in one mount: the directory that the user
   named holds the two. */
static int add_upper(const char *directory, struct fs_setup *setup, msb_error **err)
{
    static const char *const parts[] = { "upper", "work" };

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        _cleanup_free_ char *path = NULL;

        if (asprintf(&path, "%s/%s", directory, parts[i]) < 0) {
            path = NULL;
            return no_memory(err);
        }
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            return fail_errno(err, "make `%s` for the overlay's upper layer", path);
    }
    return add(setup, directory, strdup("state"), false, false, err);
}

static int add_overlay(const struct spec *spec, struct fs_setup *setup, msb_error **err)
{
    if (spec->rootfs_upper && add_upper(spec->rootfs_upper, setup, err) < 0)
        return -1;
    for (size_t i = 0; i < spec->num_rootfs_layers; i++)
        if (add(setup, spec->rootfs_layers[i], numbered("layers/", i), true, true, err) < 0)
            return -1;
    return 0;
}

int tree_root(const struct spec *spec, struct fs_setup *setup, struct guest_config *config, msb_error **err)
{
    size_t max = sizeof(host_directories) / sizeof(host_directories[0]) + sizeof(host_secrets) / sizeof(host_secrets[0]) +
                 spec->num_rootfs_layers + 1;

    if (setup_init(setup, spec, "root", true, max, err) < 0)
        return -1;
    switch (spec->rootfs_kind) {
    case ROOTFS_NATIVE:
        return add(setup, spec->rootfs_layers[0], strdup(""), false, false, err);
    case ROOTFS_OVERLAY:
        config->num_layers = (uint32_t)spec->num_rootfs_layers;
        config->has_upper = spec->rootfs_upper != NULL;
        return add_overlay(spec, setup, err);
    case ROOTFS_HOST:
        config->num_layers = 1;
        config->host_root = true;
        return add_host(setup, err);
    }
    return fail(err, MSB_ERR_INVALID, "rootfs is of no known kind");
}

int tree_shares(const struct spec *spec, struct fs_setup *setup, struct guest_config *config, msb_error **err)
{
    if (setup_init(setup, spec, "shares", false, spec->num_shares, err) < 0)
        return -1;
    config->shares = calloc(spec->num_shares, sizeof(*config->shares));
    if (!config->shares)
        return no_memory(err);
    for (size_t i = 0; i < spec->num_shares; i++) {
        const struct spec_share *share = &spec->shares[i];
        struct guest_share *guest = &config->shares[config->num_shares++];
        struct stat st;

        if (stat(share->host, &st) < 0)
            return fail_errno(err, "mapped_dirs \"%s\" cannot be used", share->host);
        if (add(setup, share->host, numbered("", i), share->read_only, false, err) < 0)
            return -1;
        *guest = (struct guest_share){
            .name = numbered("", i),
            .guest = strdup(share->guest),
            .is_file = !S_ISDIR(st.st_mode),
            .read_only = share->read_only,
        };
        if (!guest->name || !guest->guest)
            return no_memory(err);
    }
    return 0;
}
