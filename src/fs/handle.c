/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/handle.h"

#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

struct handle_slot {
    struct handle *handle; /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
};

enum { READINGS_MAX = 32 };

struct reading {
    uint64_t id; /* of the handle; 0: none */
    const struct node *node;
    int64_t position;
    uint64_t used; /* when, as a number that grows */
};

struct handles {
    pthread_mutex_t lock;
    struct nodes *nodes;
    struct handle_slot *slots;
    uint32_t num_slots, first_free;
    unsigned num_handles, max;
    struct reading readings[READINGS_MAX];
    uint64_t num_uses;
};

struct handles *handles_new(struct nodes *nodes, unsigned max)
{
    struct handles *handles = calloc(1, sizeof(*handles));

    if (!handles)
        return NULL;
    pthread_mutex_init(&handles->lock, NULL);
    handles->nodes = nodes;
    handles->max = max;
    return handles;
}

static void free_handle(struct handles *handles, struct handle *handle)
{
    node_put(handles->nodes, handle->node);
    pthread_mutex_destroy(&handle->lock);
    close(handle->fd);
    free(handle->entries);
    free(handle);
}

/* Locked: takes the handle out of the table. True when nobody uses it. */
static bool remove_locked(struct handles *handles, uint32_t index)
{
    struct handle_slot *slot = &handles->slots[index];
    struct handle *handle = slot->handle;

    slot->handle = NULL;
    slot->generation++;
    slot->next_free = handles->first_free;
    handles->first_free = index;
    handles->num_handles--;
    return --handle->refs == 0;
}

void handles_reset(struct handles *handles)
{
    for (uint32_t i = 1; i < handles->num_slots; i++) {
        struct handle *handle;
        bool unused;

        pthread_mutex_lock(&handles->lock);
        handle = handles->slots[i].handle;
        unused = handle && remove_locked(handles, i);
        pthread_mutex_unlock(&handles->lock);
        if (unused)
            free_handle(handles, handle);
    }
    pthread_mutex_lock(&handles->lock);
    memset(handles->readings, 0, sizeof(handles->readings));
    pthread_mutex_unlock(&handles->lock);
}

void handles_free(struct handles *handles)
{
    if (!handles)
        return;
    handles_reset(handles);
    pthread_mutex_destroy(&handles->lock);
    free(handles->slots);
    free(handles);
}

/* Locked. Index 0 stays unused: no handle has the id 0. */
static int grow(struct handles *handles)
{
    uint32_t count = handles->num_slots ? handles->num_slots * 2 : 64;
    struct handle_slot *slots = reallocarray(handles->slots, count, sizeof(*slots));

    if (!slots)
        return -ENOMEM;
    for (uint32_t i = handles->num_slots; i < count; i++)
        slots[i] = (struct handle_slot){ .next_free = i + 1 < count ? i + 1 : 0 };
    handles->first_free = handles->num_slots ? handles->num_slots : 1;
    handles->slots = slots;
    handles->num_slots = count;
    return 0;
}

/* Locked. */
static int add(struct handles *handles, struct handle *handle)
{
    uint32_t index;

    if (handles->num_handles >= handles->max)
        return -ENFILE;
    if (!handles->first_free && grow(handles) < 0)
        return -ENOMEM;
    index = handles->first_free;
    handles->first_free = handles->slots[index].next_free;
    handles->slots[index].handle = handle;
    handles->num_handles++;
    handle->id = (uint64_t)handles->slots[index].generation << 32 | index;
    return 0;
}

int handle_new(struct handles *handles, struct node *node, int fd, int flags, uint64_t *id)
{
    struct handle *handle = calloc(1, sizeof(*handle));
    int error;

    if (!handle) {
        close(fd);
        return -ENOMEM;
    }
    *handle = (struct handle){ .refs = 1, .fd = fd, .flags = flags };
    pthread_mutex_init(&handle->lock, NULL);
    handle->node = node_ref(handles->nodes, node);
    pthread_mutex_lock(&handles->lock);
    error = add(handles, handle);
    *id = handle->id;
    pthread_mutex_unlock(&handles->lock);
    if (error < 0)
        free_handle(handles, handle);
    return error;
}

/* Locked. */
static struct handle *find(const struct handles *handles, uint64_t id, const struct node *node)
{
    uint32_t index = (uint32_t)id;
    struct handle *handle = index < handles->num_slots ? handles->slots[index].handle : NULL;

    return handle && handle->id == id && handle->node == node ? handle : NULL;
}

struct handle *handle_get(struct handles *handles, uint64_t id, const struct node *node)
{
    struct handle *handle;

    pthread_mutex_lock(&handles->lock);
    handle = find(handles, id, node);
    if (handle)
        handle->refs++;
    pthread_mutex_unlock(&handles->lock);
    return handle;
}

void handle_put(struct handles *handles, struct handle *handle)
{
    bool unused;

    pthread_mutex_lock(&handles->lock);
    unused = --handle->refs == 0;
    pthread_mutex_unlock(&handles->lock);
    if (unused)
        free_handle(handles, handle);
}

void handle_release(struct handles *handles, uint64_t id, const struct node *node)
{
    struct handle *handle;
    bool unused;

    pthread_mutex_lock(&handles->lock);
    handle = find(handles, id, node);
    unused = handle && remove_locked(handles, (uint32_t)id);
    pthread_mutex_unlock(&handles->lock);
    if (unused)
        free_handle(handles, handle);
}

/* ---- Readings of directories -------------------------------------------------------------------------------------------------------- */

struct handle *handle_reading(struct handles *handles, const struct node *node, int64_t position)
{
    struct reading *best = NULL;
    struct handle *handle = NULL;

    pthread_mutex_lock(&handles->lock);
    for (struct reading *reading = handles->readings; reading < handles->readings + READINGS_MAX; reading++)
        if (reading->id && reading->node == node && (!best || reading->position == position))
            best = reading;
    if (best) {
        handle = find(handles, best->id, node);
        best->used = ++handles->num_uses;
        if (handle)
            handle->refs++;
    }
    pthread_mutex_unlock(&handles->lock);
    return handle;
}

/* Locked: an entry for one more reading, and the handle whose entry it was. */
static struct reading *take_reading(struct handles *handles, struct handle **unused)
{
    struct reading *oldest = handles->readings;
    struct handle *handle;

    for (struct reading *reading = handles->readings; reading < handles->readings + READINGS_MAX; reading++)
        if (reading->used < oldest->used)
            oldest = reading;
    handle = oldest->id ? find(handles, oldest->id, oldest->node) : NULL;
    *unused = handle && remove_locked(handles, (uint32_t)oldest->id) ? handle : NULL;
    return oldest;
}

int handle_reading_new(struct handles *handles, struct node *node, int fd, struct handle **handle)
{
    struct handle *unused = NULL;
    uint64_t id;
    int error = handle_new(handles, node, fd, O_RDONLY, &id);

    if (error < 0)
        return error;
    pthread_mutex_lock(&handles->lock);
    *handle = find(handles, id, node);
    if (*handle) {
        struct reading *reading = take_reading(handles, &unused);

        *reading = (struct reading){ .id = id, .node = node, .used = ++handles->num_uses };
        (*handle)->refs++;
    }
    pthread_mutex_unlock(&handles->lock);
    if (unused)
        free_handle(handles, unused);
    return *handle ? 0 : -EIO;
}

void handle_reading_at(struct handles *handles, const struct handle *handle, int64_t position, bool ended)
{
    uint64_t id = 0;

    pthread_mutex_lock(&handles->lock);
    for (struct reading *reading = handles->readings; reading < handles->readings + READINGS_MAX; reading++) {
        if (reading->id != handle->id)
            continue;
        reading->position = position;
        if (ended) {
            id = reading->id;
            *reading = (struct reading){ 0 };
        }
    }
    pthread_mutex_unlock(&handles->lock);
    if (id)
        handle_release(handles, id, handle->node);
}
