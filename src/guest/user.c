/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/user.h"

#include "util/cleanup.h"

#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static void cleanup_file(FILE **file)
{
    if (*file)
        fclose(*file);
}

#define _cleanup_file_ __attribute__((cleanup(cleanup_file)))

/* (uid_t)-1 means "unchanged" to the kernel and is nobody's. */
static bool parse_id(const char *text, unsigned *id)
{
    char *end;
    unsigned long value;

    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    value = strtoul(text, &end, 10);
    if (*end || errno || value >= UINT32_MAX)
        return false;
    *id = (unsigned)value;
    return true;
}

/* Fills uid, gid and home, and *name with the entry's name when there is an entry. */
static int find_user(const char *wanted, struct user *user, char **name, msb_error **err)
{
    _cleanup_file_ FILE *file = fopen("/etc/passwd", "re");
    const struct passwd *entry = NULL;
    unsigned id = 0;
    bool is_number = parse_id(wanted, &id);

    while (file && (entry = fgetpwent(file))) {
        if (strcmp(entry->pw_name, wanted) == 0 || (is_number && entry->pw_uid == id))
            break;
    }
    if (!entry && !is_number)
        return fail(err, MSB_ERR_NOT_FOUND, "user `%s` is not in the guest's /etc/passwd", wanted);
    *name = entry ? strdup(entry->pw_name) : NULL;
    user->uid = entry ? entry->pw_uid : id;
    user->gid = entry ? entry->pw_gid : 0;
    user->home = strdup(entry && entry->pw_dir && entry->pw_dir[0] ? entry->pw_dir : "/");
    if (!user->home || (entry && !*name))
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    return 0;
}

static int find_group(const char *wanted, gid_t *gid, msb_error **err)
{
    _cleanup_file_ FILE *file = fopen("/etc/group", "re");
    const struct group *entry;
    unsigned id = 0;
    bool is_number = parse_id(wanted, &id);

    while (file && (entry = fgetgrent(file))) {
        if (strcmp(entry->gr_name, wanted) == 0 || (is_number && entry->gr_gid == id)) {
            *gid = entry->gr_gid;
            return 0;
        }
    }
    if (!is_number)
        return fail(err, MSB_ERR_NOT_FOUND, "group `%s` is not in the guest's /etc/group", wanted);
    *gid = id;
    return 0;
}

static bool has_member(const struct group *group, const char *name)
{
    for (char **member = group->gr_mem; *member; member++) {
        if (strcmp(*member, name) == 0)
            return true;
    }
    return false;
}

static int find_memberships(const char *name, struct user *user, msb_error **err)
{
    _cleanup_file_ FILE *file = fopen("/etc/group", "re");
    const struct group *entry;

    while (file && (entry = fgetgrent(file))) {
        gid_t *groups;

        if (!has_member(entry, name))
            continue;
        groups = reallocarray(user->groups, user->num_groups + 1, sizeof(*groups));
        if (!groups)
            return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
        user->groups = groups;
        user->groups[user->num_groups++] = entry->gr_gid;
    }
    return 0;
}

int user_lookup(const char *spec, struct user *user, msb_error **err)
{
    _cleanup_free_ char *wanted = strdup(spec ? spec : "0");
    _cleanup_free_ char *name = NULL;
    char *group;

    *user = (struct user){ 0 };
    if (!wanted)
        return fail(err, MSB_ERR_NO_MEMORY, "out of memory");
    group = strchr(wanted, ':');
    if (group)
        *group++ = '\0';
    if (find_user(wanted[0] ? wanted : "0", user, &name, err) < 0)
        return -1;
    if (group && group[0])
        return find_group(group, &user->gid, err);
    return name ? find_memberships(name, user, err) : 0;
}

void user_clear(struct user *user)
{
    free(user->home);
    free(user->groups);
    *user = (struct user){ 0 };
}
