/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Joining and leaving a group; group.h has the layout. Everything here happens under one lock per user, so that no two monitors see
 * each other half-way; the lock is held for a few file operations only.
 */
#include "net/group.h"

#include "net/address.h"
#include "util/cleanup.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

static const char *const subdirectories[] = { "members", "sockets", "names" };
enum { MEMBERS, SOCKETS, NAMES, NUM_SUBDIRECTORIES };

struct group {
    int lock; /* RUNTIME/.net/lock, locked */
    int directory[NUM_SUBDIRECTORIES];
};

static void group_close(struct group *group)
{
    cleanup_fd(&group->lock);
    for (int i = 0; i < NUM_SUBDIRECTORIES; i++)
        cleanup_fd(&group->directory[i]);
}

#define _cleanup_group_ __attribute__((cleanup(group_close)))

static void print_ip(struct in_addr ip, char text[INET_ADDRSTRLEN])
{
    inet_ntop(AF_INET, &ip, text, INET_ADDRSTRLEN);
}

static char *join_path(const char *directory, const char *name, msb_error **err)
{
    char *path;

    if (asprintf(&path, "%s/%s", directory, name) < 0)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    return path;
}

static int make_directory(const char *path, msb_error **err)
{
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return fail_errno(err, "make the directory `%s`", path);
    return 0;
}

static int open_lock(const char *net, msb_error **err)
{
    _cleanup_free_ char *path = join_path(net, "lock", err);
    _cleanup_fd_ int fd = -1;

    if (!path)
        return -1;
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fail_errno(err, "open `%s`", path);
    while (flock(fd, LOCK_EX) < 0)
        if (errno != EINTR)
            return fail_errno(err, "lock `%s`", path);
    return steal_fd(&fd);
}

static int open_subdirectories(struct group *group, const char *directory, msb_error **err)
{
    for (int i = 0; i < NUM_SUBDIRECTORIES; i++) {
        _cleanup_free_ char *path = join_path(directory, subdirectories[i], err);

        if (!path || make_directory(path, err) < 0)
            return -1;
        group->directory[i] = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (group->directory[i] < 0)
            return fail_errno(err, "open `%s`", path);
    }
    return 0;
}

static int open_group(const struct group_member *member, struct group *group, msb_error **err)
{
    *group = (struct group){ -1, { -1, -1, -1 } };
    if (make_directory(member->net, err) < 0)
        return -1;
    group->lock = open_lock(member->net, err);
    if (group->lock < 0 || make_directory(member->directory, err) < 0 || open_subdirectories(group, member->directory, err) < 0) {
        group_close(group);
        return -1;
    }
    return 0;
}

static int set_paths(const char *runtime, const struct group_request *request, struct group_member *member, msb_error **err)
{
    char subnet[INET_ADDRSTRLEN], name[INET_ADDRSTRLEN + 4];

    print_ip(request->subnet, subnet);
    snprintf(name, sizeof(name), "%s-%u", subnet, request->subnet_bits);
    /* Not a name that a sandbox could have (sandbox/registry.h). */
    member->net = join_path(runtime, ".net", err);
    member->directory = member->net ? join_path(member->net, name, err) : NULL;
    return member->directory ? 0 : -1;
}

/* Host names are compared without regard to case (RFC 4343). */
static int set_name(const char *name, struct group_member *member, msb_error **err)
{
    if (!name)
        return 0;
    member->name = strdup(name);
    if (!member->name)
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    for (char *c = member->name; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    if (strchr(member->name, '/') || member->name[0] == '.' || strlen(member->name) > NAME_MAX)
        return fail(err, MSB_ERR_INVALID, "\"%s\" is no name for a sandbox", name);
    return 0;
}

static void member_free(struct group_member *member)
{
    cleanup_fd(&member->lock);
    free(member->net);
    free(member->directory);
    free(member->name);
    *member = (struct group_member){ .lock = -1 };
}

/* ---- Who is alive -------------------------------------------------------------------------------------------------------- */

static bool is_alive(const struct group *group, const char *ip)
{
    _cleanup_fd_ int fd = openat(group->directory[MEMBERS], ip, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0;
}

/* Calls remove_dead for every entry of a subdirectory; it may unlink what it is given. */
static void for_each(const struct group *group, int subdirectory, void (*visit)(const struct group *group, const char *name))
{
    int fd = openat(group->directory[subdirectory], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;

    if (!directory) {
        cleanup_fd(&fd);
        return;
    }
    while ((entry = readdir(directory)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            visit(group, entry->d_name);
    closedir(directory);
}

static void sweep_member(const struct group *group, const char *ip)
{
    if (is_alive(group, ip))
        return;
    unlinkat(group->directory[SOCKETS], ip, 0);
    unlinkat(group->directory[MEMBERS], ip, 0);
}

/* Whose name it is; false when nobody's. */
static bool name_owner(const struct group *group, const char *name, char ip[INET_ADDRSTRLEN])
{
    ssize_t length = readlinkat(group->directory[NAMES], name, ip, INET_ADDRSTRLEN - 1);

    if (length < 0)
        return false;
    ip[length] = '\0';
    return true;
}

static void sweep_name(const struct group *group, const char *name)
{
    char ip[INET_ADDRSTRLEN];

    if (!name_owner(group, name, ip) || !is_alive(group, ip))
        unlinkat(group->directory[NAMES], name, 0);
}

static void sweep(const struct group *group)
{
    for_each(group, MEMBERS, sweep_member);
    for_each(group, NAMES, sweep_name);
}

/* ---- Addresses ----------------------------------------------------------------------------------------------------------- */

/* The first free address from the subnet's second on, and its first at last: people expect gateways there. */
static int find_free(const struct group *group, const struct group_request *request, struct in_addr *ip, msb_error **err)
{
    uint32_t hosts = (UINT32_MAX >> request->subnet_bits) - 1;
    char text[INET_ADDRSTRLEN];

    for (uint32_t i = 0; i < hosts; i++) {
        ip->s_addr = request->subnet.s_addr | htonl(1 + (i + 1) % hosts);
        print_ip(*ip, text);
        if (!is_alive(group, text))
            return 0;
    }
    print_ip(request->subnet, text);
    return fail(err, MSB_ERR_IN_USE, "subnet \"%s/%u\": every address is taken; use another subnet", text, request->subnet_bits);
}

static int choose(const struct group *group, const struct group_request *request, struct in_addr *ip, msb_error **err)
{
    char text[INET_ADDRSTRLEN];

    if (!request->has_ip)
        return find_free(group, request, ip, err);
    *ip = request->ip;
    print_ip(*ip, text);
    if (is_alive(group, text))
        return fail(err, MSB_ERR_IN_USE, "ip \"%s\" is taken by another sandbox of this subnet; choose another, or none", text);
    return 0;
}

static int take_address(const struct group *group, struct group_member *member, msb_error **err)
{
    char ip[INET_ADDRSTRLEN];

    print_ip(member->ip, ip);
    member->lock = openat(group->directory[MEMBERS], ip, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (member->lock < 0 || flock(member->lock, LOCK_EX | LOCK_NB) < 0)
        return fail_errno(err, "lock `%s/members/%s`", member->directory, ip);
    return 0;
}

static int take_name(const struct group *group, const struct group_member *member, msb_error **err)
{
    char ip[INET_ADDRSTRLEN], owner[INET_ADDRSTRLEN];

    if (!member->name)
        return 0;
    /* After the sweep, every name left is a living member's. */
    if (name_owner(group, member->name, owner))
        return fail(err, MSB_ERR_IN_USE, "name \"%s\" is taken by the sandbox %s of this subnet; choose another", member->name,
                    owner);
    print_ip(member->ip, ip);
    if (symlinkat(ip, group->directory[NAMES], member->name) < 0)
        return fail_errno(err, "make `%s/names/%s`", member->directory, member->name);
    return 0;
}

/* ---- Joining and leaving ------------------------------------------------------------------------------------------------- */

static int join_locked(const struct group *group, const struct group_request *request, struct group_member *member,
                       msb_error **err)
{
    sweep(group);
    if (choose(group, request, &member->ip, err) < 0 || take_address(group, member, err) < 0)
        return -1;
    return take_name(group, member, err);
}

static int try_join(const char *runtime, const struct group_request *request, struct group_member *member, msb_error **err)
{
    _cleanup_group_ struct group group = { -1, { -1, -1, -1 } };

    if (set_paths(runtime, request, member, err) < 0 || set_name(request->name, member, err) < 0)
        return -1;
    if (open_group(member, &group, err) < 0)
        return -1;
    return join_locked(&group, request, member, err);
}

int group_join(const char *runtime, const struct group_request *request, struct group_member *member, msb_error **err)
{
    *member = (struct group_member){ .lock = -1 };
    if (try_join(runtime, request, member, err) == 0)
        return 0;
    member_free(member);
    return -1;
}

/* Fails where others are left, which is what is wanted. */
static void remove_empty(const char *directory)
{
    for (int i = 0; i < NUM_SUBDIRECTORIES; i++) {
        _cleanup_free_ char *path = join_path(directory, subdirectories[i], NULL);

        if (path)
            rmdir(path);
    }
    rmdir(directory);
}

void group_leave(struct group_member *member)
{
    struct group group;

    if (!member->net)
        return;
    if (open_group(member, &group, NULL) == 0) {
        /* Once the lock is given up we are dead like any other. */
        cleanup_fd(&member->lock);
        member->lock = -1;
        sweep(&group);
        remove_empty(member->directory);
        group_close(&group);
    }
    member_free(member);
}

int group_preview(const char *runtime, const struct group_request *request, struct in_addr *ip, msb_error **err)
{
    struct group_member nobody = { .lock = -1 };
    struct group group;
    int result = -1;

    if (set_paths(runtime, request, &nobody, err) == 0 && open_group(&nobody, &group, err) == 0) {
        result = choose(&group, request, ip, err);
        remove_empty(nobody.directory);
        group_close(&group);
    }
    member_free(&nobody);
    return result;
}
