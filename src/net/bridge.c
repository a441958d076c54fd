/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The net process's centre; bridge.h has the contract.
 *
 *     guest <-> nic <-> bridge <-> filter         decides
 *                              <-> outside        TCP and UDP, by libslirp; published TCP ports
 *                              <-> ping           echo requests
 *                              <-> udp_ports      published UDP ports
 *                              <-> members        the group
 *                               -> names, reply   answers of our own
 */
#include "net/bridge.h"

#include "net/checksum.h"
#include "net/filter.h"
#include "net/flows.h"
#include "net/members.h"
#include "net/names.h"
#include "net/nic.h"
#include "net/outside.h"
#include "net/ping.h"
#include "net/reassembly.h"
#include "net/refusals.h"
#include "net/reply.h"
#include "net/udp_ports.h"
#include "util/cleanup.h"
#include "util/log.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <netinet/if_ether.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct bridge {
    struct loop *loop;
    struct filter filter;
    struct names names;
    struct nic *nic;
    struct outside *outside; /* NULL where nothing leads outside */
    struct ping *ping;       /* the same */
    struct flows *flows;     /* NULL when no port is published */
    struct udp_ports *udp_ports;
    struct members *members; /* NULL when in no group */
    struct reassembly *reassembly;
    struct refusals refusals;
    bool ports_are_open;
};

/* ---- To the guest -------------------------------------------------------------------------------------------------------- */

static void count(struct bridge *b, const struct packet *p, enum reason reason)
{
    refusals_count(&b->refusals, p, reason);
}

/* Connections that come in by a published port show by their first segment: nothing else from outside has SYN alone. */
static void track_incoming(struct bridge *b, const struct packet *p)
{
    struct flow_key key = { p->source, p->source_port, p->destination_port, IPPROTO_TCP };
    struct flow *flow;

    if (!b->flows || p->protocol != IPPROTO_TCP || !p->has_ports)
        return;
    if ((p->tcp_flags & (TH_SYN | TH_ACK)) == TH_SYN) {
        flows_add(b->flows, &key);
        return;
    }
    flow = (p->tcp_flags & (TH_FIN | TH_RST)) ? flows_find(b->flows, &key) : NULL;
    if (flow)
        flows_end(b->flows, flow);
}

/* From libslirp, ping and the UDP ports. libslirp's own questions for neighbours are not the guest's to answer. */
static void frame_from_outside(void *data, const uint8_t *frame, size_t size)
{
    struct bridge *b = data;
    struct packet p;
    enum reason reason = packet_parse(frame, size, &p);

    if (reason || p.kind != PACKET_IP) {
        count(b, NULL, reason ? reason : REASON_UNWANTED);
        return;
    }
    track_incoming(b, &p);
    nic_deliver(b->nic, frame, size);
}

static void frame_from_member(void *data, struct in_addr member, const uint8_t *frame, size_t size)
{
    struct bridge *b = data;
    struct packet p;
    enum reason reason = packet_parse(frame, size, &p);
    struct decision decision;

    if (reason) {
        count(b, NULL, reason);
        return;
    }
    decision = filter_incoming(&b->filter, &p, member);
    if (decision.verdict == VERDICT_GUEST)
        nic_deliver(b->nic, frame, size);
    else
        count(b, &p, decision.reason);
}

static void flush(void *data)
{
    struct bridge *b = data;

    nic_flush(b->nic);
}

static bool guest_is_congested(void *data)
{
    const struct bridge *b = data;

    return !b->nic || nic_is_congested(b->nic);
}

static const struct outside_handler outside_handler = { frame_from_outside, flush, guest_is_congested };
static const struct members_handler members_handler = { frame_from_member, flush };

/* ---- From the guest ------------------------------------------------------------------------------------------------------ */

static void reply(struct bridge *b, size_t size, const uint8_t *frame)
{
    if (size)
        nic_deliver(b->nic, frame, size);
}

static void refuse(struct bridge *b, const struct packet *p, enum reason reason)
{
    uint8_t frame[REPLY_SIZE_MAX];

    count(b, p, reason);
    reply(b, reply_refused(&b->filter.own, p, frame), frame);
}

static void send_outside(struct bridge *b, uint8_t *frame, const struct packet *p)
{
    if (b->outside)
        outside_send(b->outside, frame, p);
    else
        refuse(b, p, REASON_SCOPE);
}

/* The flow of a published port that the packet belongs to. The guest answers: it begins nothing. */
static struct flow *published_flow(struct bridge *b, const struct packet *p)
{
    struct flow_key key = { p->destination, p->destination_port, p->source_port, p->protocol };
    struct flow *flow;

    if (!b->flows || !p->has_ports || (p->protocol == IPPROTO_TCP && (p->tcp_flags & (TH_SYN | TH_ACK)) == TH_SYN))
        return NULL;
    flow = flows_find(b->flows, &key);
    if (flow && p->protocol == IPPROTO_TCP && (p->tcp_flags & (TH_FIN | TH_RST)))
        flows_end(b->flows, flow);
    return flow;
}

static void pass_outside(struct bridge *b, uint8_t *frame, const struct packet *p, const struct flow *flow)
{
    if (flow && p->protocol == IPPROTO_UDP)
        udp_ports_send(flow, p);
    else if (p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_UDP)
        send_outside(b, frame, p);
    else if (!b->ping || !ping_send(b->ping, p))
        refuse(b, p, REASON_PROTOCOL);
}

static void answer_query(struct bridge *b, uint8_t *frame, const struct packet *p)
{
    uint8_t answer[ETH_HLEN + 40 + sizeof(struct udphdr) + ANSWER_SIZE_MAX];
    struct udphdr udp;
    size_t query = p->upper + sizeof(udp), size, at;
    uint64_t sum;

    memcpy(&udp, p->frame + p->upper, sizeof(udp));
    at = p->source.version == 4 ? ETH_HLEN + 20 : ETH_HLEN + 40;
    size = names_answer(&b->names, p->frame + query, ntohs(udp.uh_ulen) - sizeof(udp), answer + at + sizeof(udp));
    if (size == 0) {
        send_outside(b, frame, p);
        return;
    }
    size += sizeof(udp);
    udp = (struct udphdr){ 0 };
    udp.uh_sport = htons(p->destination_port);
    udp.uh_dport = htons(p->source_port);
    udp.uh_ulen = htons((uint16_t)size);
    write_headers(&b->filter.own, &p->destination, &p->source, IPPROTO_UDP, size, answer);
    memcpy(answer + at, &udp, sizeof(udp));
    sum = checksum_add_pseudo(0, &p->destination, &p->source, IPPROTO_UDP, size);
    udp.uh_sum = checksum_finish(checksum_add(sum, answer + at, size));
    memcpy(answer + at, &udp, sizeof(udp));
    nic_deliver(b->nic, answer, at + size);
}

static void answer_neighbour(struct bridge *b, const struct packet *p)
{
    uint8_t frame[REPLY_SIZE_MAX];

    reply(b, reply_neighbour(&b->filter.own, p, frame), frame);
}

static void reassemble(struct bridge *b, const struct packet *p);

static void handle(struct bridge *b, uint8_t *frame, const struct packet *p, bool whole)
{
    const struct flow *flow = published_flow(b, p);
    struct decision decision = filter_outgoing(&b->filter, p, flow);

    switch (decision.verdict) {
    case VERDICT_DROP:
    case VERDICT_GUEST:
        count(b, p, decision.reason);
        break;
    case VERDICT_REFUSE:
        refuse(b, p, decision.reason);
        break;
    case VERDICT_REASSEMBLE:
        /* A packet put together that is a fragment again was made to confuse. */
        if (whole)
            count(b, p, REASON_REASSEMBLY);
        else
            reassemble(b, p);
        break;
    case VERDICT_OUTSIDE:
        pass_outside(b, frame, p, flow);
        break;
    case VERDICT_RESOLVER:
        answer_query(b, frame, p);
        break;
    case VERDICT_NEIGHBOUR:
        answer_neighbour(b, p);
        break;
    case VERDICT_MEMBER:
        members_send(b->members, decision.member, frame, p->end);
        break;
    case VERDICT_MEMBERS:
        members_send_all(b->members, frame, p->end);
        break;
    }
}

static void reassemble(struct bridge *b, const struct packet *p)
{
    struct timespec now;
    struct packet packet;
    enum reason reason;
    uint8_t *frame;
    size_t size;

    clock_gettime(CLOCK_MONOTONIC, &now);
    frame = reassembly_add(b->reassembly, p, (uint64_t)now.tv_sec, &size, &reason);
    if (!frame) {
        if (reason)
            count(b, p, reason);
        return;
    }
    reason = packet_parse(frame, size, &packet);
    if (reason)
        count(b, NULL, reason);
    else
        handle(b, frame, &packet, true);
}

static void frame_from_guest(void *data, uint8_t *frame, size_t size)
{
    struct bridge *b = data;
    struct packet p;
    enum reason reason = packet_parse(frame, size, &p);

    if (reason)
        count(b, NULL, reason);
    else
        handle(b, frame, &p, false);
}

static void end_of_batch(void *data)
{
    struct bridge *b = data;

    if (b->outside)
        outside_update(b->outside);
    nic_flush(b->nic);
    if (b->udp_ports && b->ports_are_open)
        udp_ports_listen(b->udp_ports, !nic_is_congested(b->nic));
}

static const struct nic_handler nic_handler = { frame_from_guest, end_of_batch, end_of_batch };

/* ---- Beginning and end --------------------------------------------------------------------------------------------------- */

struct making {
    struct bridge *bridge;
    const struct net_setup *setup;
    msb_error *error;
    int result;
};

static int publish(struct bridge *b, const struct net_setup *setup, msb_error **err)
{
    for (size_t i = 0; i < setup->num_ports; i++) {
        int fd = NET_FD_FIRST_PORT + (int)i;
        int result = setup->ports[i].protocol == IPPROTO_TCP ? outside_publish(b->outside, fd, setup->ports[i].guest, err)
                                                             : udp_ports_add(b->udp_ports, fd, setup->ports[i].guest, err);

        if (result < 0)
            return -1;
    }
    return 0;
}

static int join_group(struct bridge *b, const struct net_setup *setup, msb_error **err)
{
    char sockets[PATH_MAX];

    if (!setup->group)
        return 0;
    if (snprintf(sockets, sizeof(sockets), "%s/sockets", setup->group) >= (int)sizeof(sockets))
        return fail(err, MSB_ERR_SYSTEM, "the path `%s` is too long", setup->group);
    b->members = members_new(b->loop, &b->filter.own, sockets, &members_handler, b, err);
    return b->members ? 0 : -1;
}

/* Sockets keep the network namespace that they were made in. In this one there is nothing: no address that libslirp's short-lived
   listening sockets could be reached at, and no abstract address of a Unix socket that the group's could be turned to. */
static void *make_sockets(void *data)
{
    struct making *making = data;
    msb_error **err = &making->error;

    making->result = unshare(CLONE_NEWNET) < 0 ? fail_errno(err, "make a network namespace") : 0;
    if (making->result == 0)
        making->result = publish(making->bridge, making->setup, err);
    if (making->result == 0)
        making->result = join_group(making->bridge, making->setup, err);
    return NULL;
}

static int make_sockets_apart(struct bridge *b, const struct net_setup *setup, msb_error **err)
{
    struct making making = { .bridge = b, .setup = setup };
    pthread_t thread;
    int error = pthread_create(&thread, NULL, make_sockets, &making);

    if (error) {
        errno = error;
        return fail_errno(err, "start a thread");
    }
    pthread_join(thread, NULL);
    return making.result < 0 ? fail_with(err, making.error) : 0;
}

static int make_parts(struct bridge *b, const struct net_setup *setup, unsigned max_fds, msb_error **err)
{
    bool leads_outside = setup->scope == MSB_SCOPE_PUBLIC || setup->scope == MSB_SCOPE_ANY;
    const struct addresses *own = &b->filter.own;

    b->reassembly = reassembly_new(err);
    if (!b->reassembly)
        return -1;
    if (setup->num_ports) {
        b->flows = flows_new(err);
        b->udp_ports = b->flows ? udp_ports_new(b->loop, own, b->flows, &outside_handler, b, err) : NULL;
        if (!b->udp_ports)
            return -1;
    }
    if (leads_outside) {
        b->ping = ping_new(b->loop, own, &outside_handler, b, err);
        if (!b->ping)
            return -1;
    }
    if (leads_outside || setup->num_ports) {
        b->outside = outside_new(b->loop, own, max_fds, &outside_handler, b, err);
        if (!b->outside)
            return -1;
    }
    return setup->num_ports || setup->group ? make_sockets_apart(b, setup, err) : 0;
}

struct bridge *bridge_new(struct loop *loop, const struct net_setup *setup, unsigned max_fds, msb_error **err)
{
    struct bridge *b = calloc(1, sizeof(*b));

    if (!b)
        return FAIL_NULL(fail(err, MSB_ERR_NO_MEMORY, "out of memory"));
    b->loop = loop;
    b->filter.own = addresses_of(setup->ip, setup->subnet, setup->subnet_bits);
    b->filter.scope = (enum msb_scope)setup->scope;
    b->filter.has_group = setup->group;
    b->names = (struct names){ .filter = &b->filter, .directory = -1 };
    if (make_parts(b, setup, max_fds, err) < 0) {
        bridge_free(b);
        return NULL;
    }
    return b;
}

int bridge_enter_cell(struct bridge *b, const char *group, msb_error **err)
{
    _cleanup_fd_ int directory = -1;

    if (!b->members)
        return 0;
    directory = open(group, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory >= 0)
        b->names.directory = openat(directory, "names", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (b->names.directory < 0 || fchdir(directory) < 0 || chdir("sockets") < 0)
        return fail_errno(err, "enter the group's directory");
    return 0;
}

int bridge_start(struct bridge *b, int frontend, msb_error **err)
{
    b->nic = nic_new(b->loop, frontend, &b->filter.own, &nic_handler, b, err);
    if (!b->nic)
        return -1;
    if (b->members && members_start(b->members, err) < 0)
        return -1;
    if (b->outside)
        outside_update(b->outside);
    return 0;
}

void bridge_open_ports(struct bridge *b)
{
    b->ports_are_open = true;
    if (b->outside)
        outside_accept(b->outside);
    if (b->udp_ports)
        udp_ports_listen(b->udp_ports, !nic_is_congested(b->nic));
}

void bridge_log_counters(const struct bridge *b)
{
    const struct nic_counters *nic;

    if (!log_enabled(MSB_LOG_DEBUG))
        return;
    if (b->nic) {
        nic = nic_counters(b->nic);
        log_debug("from the guest %" PRIu64 " frames, %" PRIu64 " bytes; to the guest %" PRIu64 " frames, %" PRIu64
                  " bytes; lost %" PRIu64 ", malformed %" PRIu64,
                  nic->received_frames, nic->received_bytes, nic->sent_frames, nic->sent_bytes, nic->lost_frames,
                  nic->bad_frames);
    }
    if (b->members) {
        const struct members_counters *members = members_counters(b->members);

        log_debug("to members %" PRIu64 " frames, from members %" PRIu64 ", lost %" PRIu64 ", malformed %" PRIu64,
                  members->sent_frames, members->received_frames, members->lost_frames, members->bad_frames);
    }
    refusals_log(&b->refusals);
}

void bridge_free(struct bridge *b)
{
    if (!b)
        return;
    nic_free(b->nic);
    outside_free(b->outside);
    ping_free(b->ping);
    udp_ports_free(b->udp_ports);
    flows_free(b->flows);
    members_free(b->members);
    reassembly_free(b->reassembly);
    cleanup_fd(&b->names.directory);
    free(b);
}
