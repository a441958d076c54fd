/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio-net device; nic.h has the contract, section numbers are those of virtio 1.2.
 *
 * Theory of operation
 *
 * Transmission: each chain is copied out of guest memory once, into one buffer; what the driver left to be done for the checksum is
 * done there, and everybody behind sees only the copy.
 *
 * The driver hears late of what was sent, since hearing of it costs it an interrupt: it looks itself when it is interrupted for something
 * that it receives, which is soon in most conversations. So the interrupt waits for a millisecond, and for longer when there was something to receive meanwhile;
 * unless much was sent, which counts against what a sender may have on its way.
 *
 * Reception: a frame is written into as many chains as it takes (5.1.6.4), which the driver sees all at once. When chains run out, the
 * frame waits in the backlog, half-written as it may be, and goes on when the driver kicks.
 */
#include "net/nic.h"

#include "net/checksum.h"
#include "net/net.h"
#include "util/cleanup.h"
#include "util/log.h"
#include "virtio/vhost_user.h"

#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
    QUEUE_RECEIVE = 0, /* the guest's view */
    QUEUE_TRANSMIT = 1,
    HEADER_SIZE = 12, /* struct virtio_net_hdr_v1, as without legacy it always is */
    BATCH_MAX = 128,  /* chains taken before the loop gets to see other events */
    BACKLOG_BYTES_MAX = 4 << 20,
    TELL_AFTER_NS = 1000000,
    TELL_ANYWAY_NS = 10000000, /* should the driver not have looked after all */
    UNMENTIONED_BYTES_MAX = 96 << 10,
};

_Static_assert(sizeof(struct virtio_net_hdr_v1) == HEADER_SIZE, "virtio 1.2, section 5.1.6");

/* What libslirp and the members' guests take as it comes: large segments as if the wire were that wide. */
#define DEVICE_FEATURES                                                                                                          \
    (1ULL << VIRTIO_NET_F_MAC | 1ULL << VIRTIO_NET_F_MTU | 1ULL << VIRTIO_NET_F_MRG_RXBUF | 1ULL << VIRTIO_NET_F_CSUM |          \
     1ULL << VIRTIO_NET_F_GUEST_CSUM | 1ULL << VIRTIO_NET_F_HOST_TSO4 | 1ULL << VIRTIO_NET_F_HOST_TSO6 |                         \
     1ULL << VIRTIO_NET_F_HOST_ECN)

struct waiting {
    struct waiting *next;
    size_t size;
    uint8_t frame[];
};

/* A frame on its way into chains. */
struct filling {
    size_t done; /* bytes written, the header included */
    unsigned num_chains;
    struct {
        uint16_t head;
        uint32_t bytes;
    } chains[VIRTQUEUE_MAX_SIZE];
    struct iovec header[HEADER_SIZE]; /* where the header lies: at worst one byte in each buffer */
    unsigned num_header;
};

struct nic {
    struct vhost_user *vhost_user;
    const struct nic_handler *handler;
    void *data;
    uint64_t features;
    struct virtio_net_config config;
    struct nic_counters counters;

    int timer;
    struct loop_source *timer_source;
    bool timer_runs;
    /* What was sent and the driver has not been told of. */
    unsigned unmentioned_chains;
    size_t unmentioned_bytes;
    bool told_by_frames; /* only that it has received something since then */
    bool delivered;      /* since the last nic_flush() */

    struct filling filling;
    struct waiting *backlog, **backlog_end;
    size_t backlog_bytes;

    struct chain chain;
    uint8_t frame[FRAME_SIZE_MAX];
};

static bool has_feature(const struct nic *nic, unsigned bit)
{
    return nic->features & (1ULL << bit);
}

/* ---- From the guest (5.1.6.2) -------------------------------------------------------------------------------------------- */

/* The driver left the sum over everything from `start` on to the device; what it wrote into the field is the pseudo-header's. */
static bool complete_checksum(uint8_t *frame, size_t size, size_t start, size_t offset)
{
    uint16_t checksum;

    if (start > size || offset > size - start || size - start - offset < sizeof(checksum))
        return false;
    checksum = checksum_finish(checksum_add(0, frame + start, size - start));
    /* For UDP, zero means that there is none (RFC 768); for TCP both are the same. */
    if (checksum == 0)
        checksum = 0xffff;
    memcpy(frame + start + offset, &checksum, sizeof(checksum));
    return true;
}

/* Size of the frame in nic->frame; 0: not what a driver may send. */
static size_t copy_frame(struct nic *nic)
{
    const struct chain *chain = &nic->chain;
    struct virtio_net_hdr_v1 header;
    size_t size;

    if (chain->readable_bytes <= HEADER_SIZE || chain->readable_bytes - HEADER_SIZE > sizeof(nic->frame))
        return 0;
    iov_read(chain->readable, chain->num_readable, 0, &header, sizeof(header));
    size = iov_read(chain->readable, chain->num_readable, HEADER_SIZE, nic->frame, sizeof(nic->frame));
    if ((header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) &&
        !complete_checksum(nic->frame, size, header.csum_start, header.csum_offset))
        return 0;
    return size;
}

static void transmit(struct nic *nic, struct virtqueue *queue)
{
    size_t size = copy_frame(nic);

    virtqueue_push(queue, nic->chain.head, 0);
    nic->unmentioned_chains++;
    nic->unmentioned_bytes += size;
    if (size == 0) {
        nic->counters.bad_frames++;
        return;
    }
    nic->counters.received_frames++;
    nic->counters.received_bytes += size;
    nic->handler->frame(nic->data, nic->frame, size);
}

/* Comes back for the rest by way of the loop. */
static void kick_myself(const struct virtqueue *queue)
{
    const uint64_t one = 1;

    (void)!write(queue->kick_fd, &one, sizeof(one));
}

static void tell_of_sent(struct nic *nic, struct virtqueue *queue)
{
    nic->unmentioned_chains = 0;
    nic->unmentioned_bytes = 0;
    nic->told_by_frames = false;
    virtqueue_notify(queue);
}

static void start_timer(struct nic *nic, long nanoseconds)
{
    const struct itimerspec when = { .it_value = { .tv_nsec = nanoseconds } };

    if (!nic->timer_runs && timerfd_settime(nic->timer, 0, &when, NULL) < 0)
        log_error("set the network card's timer: %m");
    nic->timer_runs = true;
}

static void timer_fired(struct loop_source *source, int fd, uint32_t events, void *data)
{
    struct nic *nic = data;
    struct virtqueue *queue = vhost_user_queue(nic->vhost_user, QUEUE_TRANSMIT);
    uint64_t count;

    (void)source, (void)events;
    if (read(fd, &count, sizeof(count)) != sizeof(count))
        return;
    nic->timer_runs = false;
    if (!queue || queue->broken)
        return;
    if (!nic->told_by_frames) {
        tell_of_sent(nic, queue);
        return;
    }
    /* If nothing more is sent until then. */
    nic->told_by_frames = false;
    start_timer(nic, TELL_ANYWAY_NS);
}

static void transmit_ready(struct nic *nic, struct virtqueue *queue)
{
    unsigned count = 0;
    bool more = true;

    virtqueue_enable_kicks(queue, false);
    while (more) {
        while (count < BATCH_MAX && virtqueue_pop(queue, &nic->chain) > 0) {
            transmit(nic, queue);
            count++;
        }
        if (count == BATCH_MAX) {
            kick_myself(queue);
            break;
        }
        more = virtqueue_enable_kicks(queue, true);
    }
    nic->handler->batch(nic->data);
    if (nic->unmentioned_chains >= queue->size / 4 || nic->unmentioned_bytes >= UNMENTIONED_BYTES_MAX)
        tell_of_sent(nic, queue);
    else if (count > 0)
        start_timer(nic, TELL_AFTER_NS);
}

/* ---- To the guest (5.1.6.3, 5.1.6.4) ------------------------------------------------------------------------------------- */

static void begin_filling(struct nic *nic)
{
    nic->filling.done = 0;
    nic->filling.num_chains = 0;
    nic->filling.num_header = 0;
}

/* Remembers where the header is: how many chains there are is known only at the end. */
static void remember_header(struct nic *nic)
{
    const struct chain *chain = &nic->chain;
    struct filling *filling = &nic->filling;

    for (unsigned i = 0; i < chain->num_writable && filling->num_header < HEADER_SIZE; i++)
        filling->header[filling->num_header++] = chain->writable[i];
}

/* Writes what the chain takes of the header's room and the frame behind it. */
static void fill_chain(struct nic *nic, const uint8_t *frame, size_t size)
{
    const struct chain *chain = &nic->chain;
    struct filling *filling = &nic->filling;
    size_t skip = 0, bytes;

    if (filling->done == 0) {
        remember_header(nic);
        skip = HEADER_SIZE;
        filling->done = HEADER_SIZE;
    }
    bytes = iov_write(chain->writable, chain->num_writable, skip, frame + filling->done - HEADER_SIZE,
                      HEADER_SIZE + size - filling->done);
    filling->done += bytes;
    filling->chains[filling->num_chains].head = chain->head;
    filling->chains[filling->num_chains].bytes = (uint32_t)(skip + bytes);
    filling->num_chains++;
}

static void finish_filling(struct nic *nic, struct virtqueue *queue)
{
    struct filling *filling = &nic->filling;
    struct virtio_net_hdr_v1 header = {
        /* The sum was made or checked on this side of the wire. */
        .flags = has_feature(nic, VIRTIO_NET_F_GUEST_CSUM) ? VIRTIO_NET_HDR_F_DATA_VALID : 0,
        .gso_type = VIRTIO_NET_HDR_GSO_NONE,
        .num_buffers = (uint16_t)filling->num_chains,
    };

    iov_write(filling->header, filling->num_header, 0, &header, sizeof(header));
    for (unsigned i = 0; i < filling->num_chains; i++)
        virtqueue_fill(queue, filling->chains[i].head, filling->chains[i].bytes);
    virtqueue_show(queue);
    begin_filling(nic);
}

/* Gives the chains taken so far back empty. */
static void give_up_filling(struct nic *nic, struct virtqueue *queue)
{
    for (unsigned i = 0; i < nic->filling.num_chains; i++)
        virtqueue_fill(queue, nic->filling.chains[i].head, 0);
    virtqueue_show(queue);
    begin_filling(nic);
}

/* Whether the next chain can be used: it has room for the header, when it is the first, and for the whole frame, when chains cannot
   be merged. */
static bool chain_is_usable(const struct nic *nic, size_t size)
{
    size_t room = nic->chain.writable_bytes;

    if (!has_feature(nic, VIRTIO_NET_F_MRG_RXBUF))
        return room >= HEADER_SIZE + size;
    if (nic->filling.num_chains == 0)
        return room >= HEADER_SIZE;
    return room > 0 && nic->filling.num_chains < VIRTQUEUE_MAX_SIZE;
}

/* True when the frame is done with, false when it must wait for more chains. */
static bool fill(struct nic *nic, struct virtqueue *queue, const uint8_t *frame, size_t size)
{
    while (nic->filling.done < HEADER_SIZE + size) {
        if (virtqueue_pop(queue, &nic->chain) <= 0)
            return false;
        if (!chain_is_usable(nic, size)) {
            virtqueue_push(queue, nic->chain.head, 0);
            give_up_filling(nic, queue);
            nic->counters.bad_frames++;
            return true;
        }
        fill_chain(nic, frame, size);
    }
    finish_filling(nic, queue);
    nic->delivered = true;
    nic->counters.sent_frames++;
    nic->counters.sent_bytes += size;
    return true;
}

static void drop_backlog(struct nic *nic)
{
    while (nic->backlog) {
        struct waiting *first = nic->backlog;

        nic->backlog = first->next;
        free(first);
    }
    nic->backlog_end = &nic->backlog;
    nic->backlog_bytes = 0;
    begin_filling(nic);
}

/* False when the frame is lost. */
static bool wait_in_backlog(struct nic *nic, const uint8_t *frame, size_t size)
{
    struct waiting *waiting = NULL;

    if (nic->backlog_bytes + size <= BACKLOG_BYTES_MAX)
        waiting = malloc(sizeof(*waiting) + size);
    if (!waiting) {
        nic->counters.lost_frames++;
        return false;
    }
    waiting->next = NULL;
    waiting->size = size;
    memcpy(waiting->frame, frame, size);
    *nic->backlog_end = waiting;
    nic->backlog_end = &waiting->next;
    nic->backlog_bytes += size;
    return true;
}

static void send_backlog(struct nic *nic, struct virtqueue *queue)
{
    while (nic->backlog && fill(nic, queue, nic->backlog->frame, nic->backlog->size)) {
        struct waiting *first = nic->backlog;

        nic->backlog = first->next;
        if (!nic->backlog)
            nic->backlog_end = &nic->backlog;
        nic->backlog_bytes -= first->size;
        free(first);
    }
}

/* Sends what it can; while something is left, the driver will kick when it has more chains. */
static void drain(struct nic *nic, struct virtqueue *queue)
{
    do
        send_backlog(nic, queue);
    while (nic->backlog && virtqueue_enable_kicks(queue, true));
}

void nic_deliver(struct nic *nic, const uint8_t *frame, size_t size)
{
    struct virtqueue *queue = vhost_user_queue(nic->vhost_user, QUEUE_RECEIVE);

    if (!queue || queue->broken)
        return;
    if (nic->backlog) {
        wait_in_backlog(nic, frame, size);
        return;
    }
    if (fill(nic, queue, frame, size))
        return;
    if (wait_in_backlog(nic, frame, size))
        drain(nic, queue);
    else
        give_up_filling(nic, queue);
}

void nic_flush(struct nic *nic)
{
    struct virtqueue *queue = vhost_user_queue(nic->vhost_user, QUEUE_RECEIVE);

    if (nic->delivered) {
        nic->told_by_frames = true;
        nic->unmentioned_chains = 0;
        nic->unmentioned_bytes = 0;
    }
    nic->delivered = false;
    if (queue)
        virtqueue_notify(queue);
}

static void receive_ready(struct nic *nic, struct virtqueue *queue)
{
    bool congested = nic->backlog;

    virtqueue_enable_kicks(queue, false);
    if (!congested)
        return;
    drain(nic, queue);
    virtqueue_notify(queue);
    if (!nic->backlog)
        nic->handler->drained(nic->data);
}

/* ---- The device ---------------------------------------------------------------------------------------------------------- */

static void queue_ready(void *device, unsigned index, struct virtqueue *queue)
{
    if (index == QUEUE_TRANSMIT)
        transmit_ready(device, queue);
    else
        receive_ready(device, queue);
}

static void queue_stopped(void *device, unsigned index, struct virtqueue *queue)
{
    struct nic *nic = device;
    bool congested = nic->backlog;

    if (index != QUEUE_RECEIVE)
        return;
    if (!queue->broken)
        give_up_filling(nic, queue);
    drop_backlog(nic);
    if (congested)
        nic->handler->drained(nic->data);
}

static void features_set(void *device, uint64_t features)
{
    struct nic *nic = device;

    nic->features = features;
}

struct nic *nic_new(struct loop *loop, int socket, const struct addresses *own, const struct nic_handler *handler, void *data,
                    msb_error **err)
{
    struct nic *nic = calloc(1, sizeof(*nic));
    struct vhost_user_device device = {
        .name = "net",
        .features = DEVICE_FEATURES,
        .num_queues = 2,
        .queue_size_max = VIRTQUEUE_MAX_SIZE,
        .config_size = sizeof(nic->config),
        .queue_ready = queue_ready,
        .queue_stopped = queue_stopped,
        .features_set = features_set,
    };

    if (!nic)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    nic->handler = handler;
    nic->data = data;
    nic->backlog_end = &nic->backlog;
    nic->config = (struct virtio_net_config){ .max_virtqueue_pairs = 1, .mtu = NET_MTU };
    memcpy(nic->config.mac, &own->mac, sizeof(nic->config.mac));
    device.config = &nic->config;
    nic->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (nic->timer < 0)
        fail_errno(err, "make a timer");
    else
        nic->timer_source = loop_add(loop, nic->timer, EPOLLIN, timer_fired, nic, err);
    if (nic->timer_source)
        nic->vhost_user = vhost_user_new(loop, socket, &device, nic, err);
    if (!nic->vhost_user) {
        nic_free(nic);
        return NULL;
    }
    return nic;
}

void nic_free(struct nic *nic)
{
    if (!nic)
        return;
    if (nic->vhost_user)
        vhost_user_free(nic->vhost_user);
    drop_backlog(nic);
    loop_remove(nic->timer_source);
    cleanup_fd(&nic->timer);
    free(nic);
}

bool nic_is_congested(const struct nic *nic)
{
    return nic->backlog;
}

const struct nic_counters *nic_counters(const struct nic *nic)
{
    return &nic->counters;
}
