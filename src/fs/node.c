/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of inodes.
 *
 * Theory of operation
 *
 * A guest holds references ("lookups") to inodes by node ids, any number of them: a find(1) over a large tree leaves millions. So an
 * inode that is only known costs some memory and no descriptor. It is remembered by where it was seen, a directory and a name in
 * it, and by what tells it apart: mount, inode number and time of birth. Who needs a descriptor gets it through node_file(), which
 * opens the name with O_PATH, checks that it is still the same inode, and keeps the descriptor while there is room; the least
 * recently used are closed (node_file.c). An id is an index with a generation and never a pointer; a wrong one finds nothing.
 *
 * Names change. What the guest changes is followed here: node_moved() after a rename, and node_pin() before the last known name
 * goes away, which opens the inode and keeps it open until the guest forgets it, so that unlinked files stay usable. Both happen
 * under the names lock, together with the system call. Whoever looks for an inode at its name does so without the lock at first,
 * and only when it is not there takes the lock and looks again: then no change is half done. What others change in a share is not
 * followed: an inode that is not where it was seen is ESTALE, upon which the guest's kernel looks the path up again.
 *
 * References to a node are held by requests in progress, by its children's places and, as one, by the guest's lookups. Everything
 * is under one lock, which is held for a few instructions and never during a system call, but for close(2) of nothing.
 */
#include "fs/node.h"

#include "fs/node_private.h"
#include "util/cleanup.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS_MIN = 1 << 10 };

int statx_at(int dir, const char *name, struct statx *st)
{
    return statx(dir, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH), NODE_STATX, st) < 0 ? -errno : 0;
}

static int64_t birth_time(const struct statx *st)
{
    if (!(st->stx_mask & STATX_BTIME))
        return 0;
    return (int64_t)((uint64_t)st->stx_btime.tv_sec * 1000000000U + st->stx_btime.tv_nsec);
}

static size_t bucket_of(const struct nodes *nodes, uint64_t ino, uint32_t mount)
{
    /* Fibonacci hashing; the upper half of the product is well mixed. */
    return ((ino + ((uint64_t)mount << 40)) * 0x9e3779b97f4a7c15ULL >> 32) & (nodes->num_buckets - 1);
}

/* ---- Mounts ------------------------------------------------------------------------------------------------------------------ */

static bool mount_is(const struct mount *mount, const struct statx *st)
{
    return mount->id == st->stx_mnt_id && mount->minor == st->stx_dev_minor && mount->major == st->stx_dev_major;
}

/* The device's number in the mounts seen so far, or a new one. */
static uint64_t device_number(const struct nodes *nodes, const struct statx *st)
{
    uint64_t next = 0;

    for (uint32_t i = 0; i < nodes->num_mounts; i++) {
        if (nodes->mounts[i].minor == st->stx_dev_minor && nodes->mounts[i].major == st->stx_dev_major)
            return nodes->mounts[i].device;
        if (nodes->mounts[i].device >= next)
            next = nodes->mounts[i].device + 1;
    }
    return next;
}

/* Locked: the index of the mount that st lies in; hint is tried first. MOUNTS_MAX when there are too many. */
static uint32_t mount_index(struct nodes *nodes, const struct statx *st, uint32_t hint)
{
    struct mount *mount;

    if (hint < nodes->num_mounts && mount_is(&nodes->mounts[hint], st))
        return hint;
    for (uint32_t i = 0; i < nodes->num_mounts; i++)
        if (mount_is(&nodes->mounts[i], st))
            return i;
    if (nodes->num_mounts == MOUNTS_MAX)
        return MOUNTS_MAX;
    mount = &nodes->mounts[nodes->num_mounts];
    *mount = (struct mount){
        .id = st->stx_mnt_id,
        .major = st->stx_dev_major,
        .minor = st->stx_dev_minor,
        .device = device_number(nodes, st),
    };
    for (size_t i = 0; i < nodes->num_presented; i++)
        if (nodes->presented[i].id == mount->id)
            mount->oci_whiteouts = nodes->presented[i].oci_whiteouts;
    return nodes->num_mounts++;
}

bool node_in_layer(const struct nodes *nodes, const struct node *node)
{
    return nodes->mounts[node->mount].oci_whiteouts;
}

uint64_t node_ino(const struct nodes *nodes, const struct node *node, uint64_t ino)
{
    /* The first device's numbers are as they are. Others' get the device's number into the upper bits, which hosts hardly use. */
    return ino ^ nodes->mounts[node->mount].device << 48;
}

/* ---- Making and freeing -------------------------------------------------------------------------------------------------------- */

static int init_root(struct nodes *nodes, int fd)
{
    struct statx st;
    struct file *file;
    int error = statx_at(fd, "", &st);

    if (error < 0)
        return error;
    if (!S_ISDIR(st.stx_mode))
        return -ENOTDIR;
    file = calloc(1, sizeof(*file));
    if (!file)
        return -ENOMEM;
    *file = (struct file){
        .fd = fd,
        .access = fcntl(fd, F_GETFL) & O_PATH ? ACCESS_PATH : ACCESS_READ,
        .refs = 1,
        .node = &nodes->root,
    };
    nodes->num_files++;
    nodes->root = (struct node){
        .id = NODE_ROOT_ID,
        .ino = st.stx_ino,
        .btime = birth_time(&st),
        .mount = mount_index(nodes, &st, 0),
        .refs = 1,
        .file = file,
        .type = S_IFDIR,
    };
    return 0;
}

struct nodes *nodes_new(const struct fs_options *options, msb_error **err)
{
    struct nodes *nodes = calloc(1, sizeof(*nodes));
    int error;

    if (!nodes)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    pthread_mutex_init(&nodes->lock, NULL);
    pthread_mutex_init(&nodes->names, NULL);
    pthread_cond_init(&nodes->closed, NULL);
    nodes->guest_is_only_user = options->guest_is_only_user;
    nodes->own_fds = options->own_fds;
    nodes->max_files = options->max_files / 2; /* the other half is for handles */
    nodes->num_buckets = BUCKETS_MIN;
    nodes->buckets = calloc(nodes->num_buckets, sizeof(struct node *));
    nodes->num_presented = options->num_mounts;
    nodes->presented = calloc(options->num_mounts + 1, sizeof(*nodes->presented));
    if (nodes->presented && options->num_mounts)
        memcpy(nodes->presented, options->mounts, options->num_mounts * sizeof(*nodes->presented));
    error = nodes->buckets && nodes->presented ? init_root(nodes, options->root) : -ENOMEM;
    if (error < 0) {
        errno = -error;
        fail_errno(err, "look at the root of the tree");
        free(nodes->buckets);
        free(nodes->presented);
        free(nodes);
        return NULL;
    }
    return nodes;
}

static void keep_owner(struct nodes *nodes, struct node *node, bool keep, struct file **closed);

/* Locked: every node that the guest knows is forgotten, whatever it counted. */
static void forget_all_locked(struct nodes *nodes, struct file **closed)
{
    for (uint32_t i = 0; i < nodes->num_slots; i++) {
        struct node *node = nodes->slots[i].node;

        if (!node)
            continue;
        node->refs++;
        keep_owner(nodes, node, false, closed);
        if (node->lookups)
            node->refs--;
        node->lookups = 0;
        node_put_locked(nodes, node, closed);
    }
}

void nodes_reset(struct nodes *nodes)
{
    struct file *closed = NULL;

    pthread_mutex_lock(&nodes->lock);
    forget_all_locked(nodes, &closed);
    pthread_mutex_unlock(&nodes->lock);
    files_close(nodes, closed);
}

void nodes_free(struct nodes *nodes)
{
    struct file *closed = NULL;

    if (!nodes)
        return;
    forget_all_locked(nodes, &closed);
    node_drop_file_locked(nodes, &nodes->root, &closed);
    files_close(nodes, closed);
    free(nodes->slots);
    free(nodes->buckets);
    free(nodes->presented);
    pthread_mutex_destroy(&nodes->lock);
    pthread_mutex_destroy(&nodes->names);
    pthread_cond_destroy(&nodes->closed);
    free(nodes);
}

/* ---- Ids ------------------------------------------------------------------------------------------------------------------------ */

/* Locked: more slots, all free. Index 0 is no node and 1 the root, which has no slot. */
static bool grow_slots(struct nodes *nodes)
{
    uint32_t count = nodes->num_slots ? nodes->num_slots * 2 : 1024;
    struct slot *slots = reallocarray(nodes->slots, count, sizeof(*slots));

    if (!slots)
        return false;
    for (uint32_t i = nodes->num_slots; i < count; i++)
        slots[i] = (struct slot){ .next_free = i + 1 < count ? i + 1 : 0 };
    nodes->first_free = nodes->num_slots ? nodes->num_slots : NODE_ROOT_ID + 1;
    nodes->slots = slots;
    nodes->num_slots = count;
    return true;
}

/* Locked: gives the node an id. */
static int take_slot(struct nodes *nodes, struct node *node)
{
    struct slot *slot;
    uint32_t index;

    if (nodes->num_nodes >= NODES_MAX)
        return -ENFILE;
    if (!nodes->first_free && !grow_slots(nodes))
        return -ENOMEM;
    index = nodes->first_free;
    slot = &nodes->slots[index];
    nodes->first_free = slot->next_free;
    slot->node = node;
    node->id = (uint64_t)slot->generation << 32 | index;
    nodes->num_nodes++;
    return 0;
}

static void free_slot(struct nodes *nodes, const struct node *node)
{
    uint32_t index = (uint32_t)node->id;
    struct slot *slot = &nodes->slots[index];

    slot->node = NULL;
    slot->generation++;
    slot->next_free = nodes->first_free;
    nodes->first_free = index;
    nodes->num_nodes--;
}

/* Locked. */
static struct node *find_id(struct nodes *nodes, uint64_t id)
{
    uint32_t index = (uint32_t)id;

    if (id == NODE_ROOT_ID)
        return &nodes->root;
    if (index >= nodes->num_slots || !nodes->slots[index].node || nodes->slots[index].node->id != id)
        return NULL;
    return nodes->slots[index].node;
}

struct node *node_get(struct nodes *nodes, uint64_t id)
{
    struct node *node;

    pthread_mutex_lock(&nodes->lock);
    node = find_id(nodes, id);
    if (node)
        node->refs++;
    pthread_mutex_unlock(&nodes->lock);
    return node;
}

struct node *node_ref(struct nodes *nodes, struct node *node)
{
    pthread_mutex_lock(&nodes->lock);
    node->refs++;
    pthread_mutex_unlock(&nodes->lock);
    return node;
}

void node_put(struct nodes *nodes, struct node *node)
{
    struct file *closed = NULL;

    if (!node)
        return;
    pthread_mutex_lock(&nodes->lock);
    node_put_locked(nodes, node, &closed);
    pthread_mutex_unlock(&nodes->lock);
    files_close(nodes, closed);
}

/* ---- The table by inode ---------------------------------------------------------------------------------------------------------- */

static void unhash(struct nodes *nodes, struct node *node)
{
    struct node **p;

    if (!node->hashed)
        return;
    for (p = &nodes->buckets[bucket_of(nodes, node->ino, node->mount)]; *p != node; p = &(*p)->next_in_bucket)
        ;
    *p = node->next_in_bucket;
    node->hashed = false;
}

static void hash(struct nodes *nodes, struct node *node)
{
    struct node **bucket = &nodes->buckets[bucket_of(nodes, node->ino, node->mount)];

    node->next_in_bucket = *bucket;
    *bucket = node;
    node->hashed = true;
}

/* Doubles the buckets when there are more nodes; without memory for it the table is only slower. */
static void grow_buckets(struct nodes *nodes)
{
    struct node **old = nodes->buckets;
    size_t num_old = nodes->num_buckets;

    if (nodes->num_nodes <= num_old)
        return;
    nodes->buckets = calloc(num_old * 2, sizeof(struct node *));
    if (!nodes->buckets) {
        nodes->buckets = old;
        return;
    }
    nodes->num_buckets = num_old * 2;
    for (size_t i = 0; i < num_old; i++) {
        struct node *next;

        for (struct node *node = old[i]; node; node = next) {
            next = node->next_in_bucket;
            hash(nodes, node);
        }
    }
    free(old);
}

static struct node *find_inode(struct nodes *nodes, const struct statx *st, uint32_t mount)
{
    struct node *node = nodes->buckets[bucket_of(nodes, st->stx_ino, mount)];

    while (node && (node->ino != st->stx_ino || node->mount != mount))
        node = node->next_in_bucket;
    if (!node)
        return NULL;
    if (node->btime == birth_time(st) && node->type == (st->stx_mode & S_IFMT))
        return node;
    /* The number belongs to another inode by now. */
    unhash(nodes, node);
    return NULL;
}

bool node_is(const struct nodes *nodes, const struct node *node, const struct statx *st)
{
    return node->ino == st->stx_ino && mount_is(&nodes->mounts[node->mount], st) && node->btime == birth_time(st) &&
           node->type == (st->stx_mode & S_IFMT);
}

void node_put_locked(struct nodes *nodes, struct node *node, struct file **closed)
{
    /* A child holds its parent: a chain of them may go. */
    while (node && --node->refs == 0) {
        struct node *parent = node->parent;

        unhash(nodes, node);
        node_set_pinned_locked(nodes, node, false);
        node_drop_file_locked(nodes, node, closed);
        free_slot(nodes, node);
        free(node->name);
        free(node);
        node = parent;
    }
}

/* ---- Places ------------------------------------------------------------------------------------------------------------------------ */

bool node_place(struct nodes *nodes, struct node *node, struct node **parent, char name[NAME_MAX + 1])
{
    bool known;

    pthread_mutex_lock(&nodes->lock);
    known = node->parent;
    if (known) {
        *parent = node->parent;
        node->parent->refs++;
        strcpy(name, node->name);
    }
    pthread_mutex_unlock(&nodes->lock);
    return known;
}

static void clear_place(struct nodes *nodes, struct node *node, struct file **closed)
{
    struct node *parent = node->parent;

    free(node->name);
    node->name = NULL;
    node->parent = NULL;
    node_put_locked(nodes, parent, closed);
}

/* Others may have moved directories about, so that places known here are not all of one time: a directory must not become its own
   ancestor. The place that would close the circle is out of date, and forgotten. */
static void break_circle(struct nodes *nodes, struct node *node, struct node *parent, struct file **closed)
{
    while (parent && parent->parent != node)
        parent = parent->parent;
    if (parent)
        clear_place(nodes, parent, closed);
}

/* Locked: node is called name in parent. Without memory its place is unknown. */
static void set_place(struct nodes *nodes, struct node *node, struct node *parent, const char *name, struct file **closed)
{
    char *copy;

    if (node->parent == parent && strcmp(node->name, name) == 0)
        return;
    copy = strdup(name);
    if (node->parent)
        clear_place(nodes, node, closed);
    if (!copy || !parent || node == parent) {
        free(copy);
        return;
    }
    if (node->type == S_IFDIR)
        break_circle(nodes, node, parent, closed);
    node->parent = parent;
    node->name = copy;
    parent->refs++;
    node_set_pinned_locked(nodes, node, false);
}

/* Locked. */
static struct node *new_node(struct nodes *nodes, const struct statx *st, uint32_t mount, int *error)
{
    struct node *node = calloc(1, sizeof(*node));

    if (!node) {
        *error = -ENOMEM;
        return NULL;
    }
    *node = (struct node){
        .ino = st->stx_ino,
        .btime = birth_time(st),
        .mount = mount,
        .type = st->stx_mode & S_IFMT,
    };
    *error = take_slot(nodes, node);
    if (*error < 0) {
        free(node);
        return NULL;
    }
    hash(nodes, node);
    grow_buckets(nodes);
    return node;
}

uint64_t names_version(const struct nodes *nodes)
{
    return __atomic_load_n(&nodes->names_version, __ATOMIC_ACQUIRE);
}

/* Locked. */
static int found_locked(struct nodes *nodes, const struct found *found, const struct statx *st, struct node **result,
                        struct file **closed)
{
    uint32_t mount = mount_index(nodes, st, found->parent ? found->parent->mount : 0);
    struct node *node;
    int error = 0;

    if (mount == MOUNTS_MAX)
        return -ENFILE;
    node = find_inode(nodes, st, mount);
    if (!node)
        node = new_node(nodes, st, mount, &error);
    if (!node)
        return error;
    if (node->lookups++ == 0)
        node->refs++;
    node->refs++;
    node->whiteout = found->whiteout;
    /* A name that changed since it was looked at must not replace what is known by now. */
    if (found->parent && (!node->parent || found->version == nodes->names_version))
        set_place(nodes, node, found->parent, found->name, closed);
    *result = node;
    return 0;
}

int node_found(struct nodes *nodes, const struct found *found, const struct statx *st, struct node **node)
{
    struct file *closed = NULL;
    int error;

    pthread_mutex_lock(&nodes->lock);
    error = found_locked(nodes, found, st, node, &closed);
    pthread_mutex_unlock(&nodes->lock);
    files_close(nodes, closed);
    return error;
}

void node_forget(struct nodes *nodes, uint64_t id, uint64_t lookups)
{
    struct file *closed = NULL;
    struct node *node;

    pthread_mutex_lock(&nodes->lock);
    node = id == NODE_ROOT_ID ? NULL : find_id(nodes, id);
    if (node && node->lookups) {
        node->lookups -= lookups < node->lookups ? lookups : node->lookups;
        if (!node->lookups) {
            /* Held for its owner only, it needs no descriptor: it is found by the next name that is looked up. */
            if (node->owner_holds)
                node_set_pinned_locked(nodes, node, false);
            node_put_locked(nodes, node, &closed);
        }
    }
    pthread_mutex_unlock(&nodes->lock);
    files_close(nodes, closed);
}

/* ---- Changes of names ---------------------------------------------------------------------------------------------------------------- */

void names_lock(struct nodes *nodes)
{
    pthread_mutex_lock(&nodes->names);
    __atomic_add_fetch(&nodes->names_version, 1, __ATOMIC_RELEASE);
}

void names_unlock(struct nodes *nodes)
{
    __atomic_add_fetch(&nodes->names_version, 1, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&nodes->names);
}

/* The node of an inode that the guest knows, with one more reference. */
static struct node *known_node(struct nodes *nodes, const struct statx *st)
{
    struct node *node = NULL;

    pthread_mutex_lock(&nodes->lock);
    for (uint32_t i = 0; i < nodes->num_mounts && !node; i++)
        if (mount_is(&nodes->mounts[i], st))
            node = find_inode(nodes, st, i);
    if (node)
        node->refs++;
    pthread_mutex_unlock(&nodes->lock);
    return node;
}

static bool has_place(struct nodes *nodes, struct node *node, const struct node *parent, const char *name)
{
    bool has;

    pthread_mutex_lock(&nodes->lock);
    has = node->parent == parent && strcmp(node->name, name) == 0;
    pthread_mutex_unlock(&nodes->lock);
    return has;
}

struct node *node_at(struct nodes *nodes, int dir, const char *name)
{
    struct statx st;

    return statx_at(dir, name, &st) < 0 ? NULL : known_node(nodes, &st);
}

struct node *node_pin(struct nodes *nodes, struct node *parent, int dir, const char *name)
{
    struct node *node = node_at(nodes, dir, name);
    struct file *file;

    /* One that is known by another name is found there. */
    if (!node || !has_place(nodes, node, parent, name))
        return node;
    /* What cannot be opened cannot be kept: later uses fail with ESTALE, and the removal goes on. */
    if (node_file_names_locked(nodes, node, ACCESS_PATH, &file) < 0)
        return node;
    pthread_mutex_lock(&nodes->lock);
    if (node->file == file)
        node_set_pinned_locked(nodes, node, true);
    pthread_mutex_unlock(&nodes->lock);
    file_put(nodes, file);
    return node;
}

void node_unpin(struct nodes *nodes, struct node *node)
{
    pthread_mutex_lock(&nodes->lock);
    node_set_pinned_locked(nodes, node, false);
    pthread_mutex_unlock(&nodes->lock);
}

/* Locked: an owner that is kept only here holds its node, though the guest forget it. */
static void keep_owner(struct nodes *nodes, struct node *node, bool keep, struct file **closed)
{
    if (node->owner_holds == keep || (keep && nodes->num_kept == KEPT_MAX))
        return;
    node->owner_holds = keep;
    if (keep) {
        nodes->num_kept++;
        node->refs++;
    } else {
        nodes->num_kept--;
        node_put_locked(nodes, node, closed);
    }
}

/* Whether an inode that lost a name has others, which the guest may not know now. */
static bool has_names(struct nodes *nodes, struct node *node)
{
    struct statx st;
    struct file *file;
    bool has;

    if (!node->pinned || !node->owner_holds || node_file_names_locked(nodes, node, ACCESS_PATH, &file) < 0)
        return false;
    has = statx_at(file->fd, "", &st) == 0 && st.stx_nlink > 0;
    file_put(nodes, file);
    return has;
}

void node_removed(struct nodes *nodes, struct node *node)
{
    struct file *closed = NULL;
    bool others = has_names(nodes, node);

    pthread_mutex_lock(&nodes->lock);
    if (node->pinned && node->parent) {
        if (node->file)
            node->file->removed_from = node->parent->id;
        clear_place(nodes, node, &closed);
    }
    if (!node->parent && !others)
        keep_owner(nodes, node, false, &closed);
    pthread_mutex_unlock(&nodes->lock);
    files_close(nodes, closed);
}

void node_moved(struct nodes *nodes, struct node *node, struct node *parent, const char *name)
{
    struct file *closed = NULL;

    pthread_mutex_lock(&nodes->lock);
    set_place(nodes, node, parent, name, &closed);
    pthread_mutex_unlock(&nodes->lock);
    files_close(nodes, closed);
}

/* ---- Ownership -------------------------------------------------------------------------------------------------------------------------- */

bool node_owner(struct nodes *nodes, struct node *node, struct owner *owner)
{
    bool known;

    pthread_mutex_lock(&nodes->lock);
    known = node->owner_known && (nodes->guest_is_only_user || node->owner_kept);
    if (known)
        *owner = node->owner;
    pthread_mutex_unlock(&nodes->lock);
    return known;
}

void node_learn_owner(struct nodes *nodes, struct node *node, struct owner *owner)
{
    if (!nodes->guest_is_only_user)
        return;
    pthread_mutex_lock(&nodes->lock);
    if (node->owner_known)
        *owner = node->owner;
    node->owner = *owner;
    node->owner_known = true;
    pthread_mutex_unlock(&nodes->lock);
}

void node_set_owner(struct nodes *nodes, struct node *node, const struct owner *owner, bool kept)
{
    struct file *closed = NULL;

    pthread_mutex_lock(&nodes->lock);
    node->owner = *owner;
    node->owner_known = true;
    node->owner_kept = kept;
    keep_owner(nodes, node, kept, &closed);
    pthread_mutex_unlock(&nodes->lock);
    files_close(nodes, closed);
}
