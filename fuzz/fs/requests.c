/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzzer over FUSE requests as they come out of descriptor chains: any bytes, in any number of buffers, with any room for the
 * answer, against a server with a small tree of its own. The input is a list of requests:
 *
 *     u8 opcode, u8 which node, u8 shape, u8 room, u16 bytes of arguments, the arguments
 *
 * So that inputs get somewhere, a node is one of those that earlier answers told of, and the shape can put such a node or a handle at
 * the beginning of the arguments. Lengths in the header lie when the shape says so.
 */
#include "served.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    REQUESTS_MAX = 64,
    ARGUMENTS_MAX = 70000,
    KNOWN_MAX = 16,
    SHAPE_FH = 1,        /* the arguments begin with a handle */
    SHAPE_NODE = 2,      /* the arguments begin with a node id */
    SHAPE_SPLIT = 4,     /* in small buffers */
    SHAPE_LONGER = 8,    /* the header says that there is more than there is */
    SHAPE_SHORTER = 16,  /* or less */
    SHAPE_RAW_NODE = 32, /* the node's number is that byte */
};

static struct fs *fs;
static uint64_t nodes[KNOWN_MAX], handles[KNOWN_MAX];
static unsigned num_nodes, num_handles;
static struct request request;

static void serve(const struct fuse_in_header *in, const uint8_t *arguments, size_t size, unsigned shape, size_t room)
{
    static uint8_t sent[sizeof(*in) + ARGUMENTS_MAX], answer[1 << 16];
    static const struct memory elsewhere;
    static const bool no_waits = true;
    struct iovec readable[8], writable[2];
    unsigned count = 0;
    size_t total = sizeof(*in) + size, at = 0, written;

    memcpy(sent, in, sizeof(*in));
    memcpy(sent + sizeof(*in), arguments, size);
    while (at < total) {
        size_t piece = shape & SHAPE_SPLIT && count < 7 && total - at > 13 ? 13 : total - at;

        readable[count++] = (struct iovec){ sent + at, piece };
        at += piece;
    }
    writable[0] = (struct iovec){ answer, room < 11 ? room : 11 };
    writable[1] = (struct iovec){ answer + writable[0].iov_len, room - writable[0].iov_len };
    request.fs = fs;
    request.memory = &elsewhere;
    request.readable = readable;
    request.num_readable = count;
    request.readable_bytes = total;
    request.writable = writable;
    request.num_writable = 2;
    request.writable_bytes = room;
    request.no_waits = &no_waits;
    /* What would wait for another, or for all of the host's disks, is only tried. */
    request.may_block = in->opcode != FUSE_SETLKW && in->opcode != FUSE_SYNCFS;
    if (request_serve(&request, &written) != 0)
        return;
    if (written > room)
        abort();
    if (written >= sizeof(struct fuse_out_header) + sizeof(struct fuse_entry_out)) {
        struct fuse_entry_out entry;
        struct fuse_open_out open;

        memcpy(&entry, answer + sizeof(struct fuse_out_header), sizeof(entry));
        nodes[num_nodes++ % KNOWN_MAX] = entry.nodeid;
        if (in->opcode == FUSE_CREATE && written >= sizeof(struct fuse_out_header) + sizeof(entry) + sizeof(open)) {
            memcpy(&open, answer + sizeof(struct fuse_out_header) + sizeof(entry), sizeof(open));
            handles[num_handles++ % KNOWN_MAX] = open.fh;
        }
    } else if ((in->opcode == FUSE_OPEN || in->opcode == FUSE_OPENDIR) &&
               written >= sizeof(struct fuse_out_header) + sizeof(struct fuse_open_out)) {
        memcpy(&handles[num_handles++ % KNOWN_MAX], answer + sizeof(struct fuse_out_header), sizeof(uint64_t));
    }
}

static void initialize(void)
{
    struct fuse_init_in init = { .major = 7, .minor = 41 };
    struct fuse_in_header in = { .len = sizeof(in) + sizeof(init), .opcode = FUSE_INIT, .unique = 1 };

    serve(&in, (const uint8_t *)&init, sizeof(init), 0, 4096);
    num_nodes = num_handles = 0;
    nodes[num_nodes++] = NODE_ROOT_ID;
}

static uint64_t known(const uint64_t *list, unsigned count, unsigned which)
{
    unsigned size = count < KNOWN_MAX ? count : KNOWN_MAX;

    return size ? list[which % size] : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t arguments[ARGUMENTS_MAX];

    if (!fs)
        fs = served_begin();
    initialize();
    for (unsigned i = 0; i < REQUESTS_MAX && size >= 6; i++) {
        unsigned which = data[1], shape = data[2];
        size_t room = data[3] < 128 ? data[3] : (data[3] - 127U) * 500U, length = data[4] | (size_t)data[5] << 8;
        struct fuse_in_header in = { .opcode = data[0], .unique = i + 2, .uid = which & 1, .gid = which & 2 };
        uint64_t id = shape & SHAPE_FH ? known(handles, num_handles, which) : known(nodes, num_nodes, which / 16);

        data += 6;
        size -= 6;
        if (length > size)
            length = size;
        memcpy(arguments, data, length);
        data += length;
        size -= length;
        if ((shape & (SHAPE_FH | SHAPE_NODE)) && length >= sizeof(id))
            memcpy(arguments, &id, sizeof(id));
        in.nodeid = shape & SHAPE_RAW_NODE ? which : known(nodes, num_nodes, which);
        in.len = (uint32_t)(sizeof(in) + length);
        if (shape & SHAPE_LONGER)
            in.len += which;
        if (shape & SHAPE_SHORTER)
            in.len -= which;
        serve(&in, arguments, length, shape, room);
    }
    initialize();
    served_empty();
    return 0;
}
