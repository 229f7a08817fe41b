// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* New flows beyond those for which a CPU makes state. They are served all the same, by the table alone, while a reply
 * alone tells whose it is; so a flood neither evicts every handshake under way nor is refused.
 *
 *     client -> VIP:    no entry, when of all VIPs before the chosen pod this one's table alone names it for the client
 *     pod -> client:    of no flow that is known, at an uplink: of the VIP that is found so
 *
 * The next packet that finds room makes state. Functions of their own to the verifier, as in way.h. */
#ifndef HERALD_UNKEPT_H
#define HERALD_UNKEPT_H

#include "backend.h"
#include "opening.h"
#include "outcome.h"

/* Of flows that begin, a burst is as much as comes on average in that time. */
#define OPENING_BURST_NS 1000000000ULL
/* How long a reply may be one of a flow without state. */
#define UNKEPT_NS (60 * 1000000000ULL)

/* Between two new flows of one kind on one CPU, on average; 0: as many as come. Set before loading. */
const volatile __u64 opening_interval_ns SEC(".rodata.openings") = 0;

/* A flood of one kind hides no other: who has got through with a SYN is known by the segment after it. */
enum opening_kind {
	OPENING_SYN,
	OPENING_SEGMENT,
	OPENING_DATAGRAM,
	OPENING_HAIRPIN, /* of whatever protocol: its replies are told by state alone (hairpin.h) */
};

static __always_inline enum opening_kind opening_kind(const struct packet *packet)
{
	if (packet->protocol == IPPROTO_UDP)
		return OPENING_DATAGRAM;
	return starts_connection(packet) ? OPENING_SYN : OPENING_SEGMENT;
}

static __always_inline bool is_opening_due(const struct packet *packet, enum opening_kind kind)
{
	__u32 key = LIMIT_OPENING * VIPS_PER_LIMIT + kind;
	__u64 now, start, *debt_until;

	/* Of SCTP a reply tells less: it always has state. */
	if (!opening_interval_ns || packet->protocol == IPPROTO_SCTP)
		return true;
	debt_until = bpf_map_lookup_elem(&limits, &key);
	now = start = bpf_ktime_get_ns();
	if (!debt_until || *debt_until > now + OPENING_BURST_NS)
		return false;
	if (*debt_until > start)
		start = *debt_until;
	*debt_until = start + opening_interval_ns;
	return true;
}

/* Whether the VIP of the tuple that is being looked at names this backend for its client. */
__noinline int is_named(__u32 id, __u32 generation)
{
	struct backend_ref ref = { .id = id, .generation = generation };
	const struct choices *choices = choices_here();
	enum choice choice;

	if (!choices)
		return false;
	choice = choose_anew(SCRATCH_QUOTE, false);
	return choice != CHOICE_NO_FRONTEND && ((choice == CHOICE_MADE && is_same_ref(&choices->current, &ref)) ||
						is_same_ref(&choices->previous, &ref));
}

/* Of which flow a reply is that has the key in the passage, by the tables alone; its half is left in the passage. False
 * where two VIPs may be meant, or a flow with the pod itself that is older than the backend. */
__noinline int find_unkept(void)
{
	struct packet *tuple = blank_packet(SCRATCH_QUOTE);
	struct passage *passage = passage_here();
	struct frontend_key key = {};
	const struct choices *choices = choices_here();
	const struct source *source;
	const struct endpoint *vip;
	__u32 found = 0;

	if (!tuple || !passage || !choices)
		return false;
	key.address = passage->out_key.source;
	key.port = passage->out_key.source_port;
	key.protocol = passage->out_key.protocol;
	source = bpf_map_lookup_elem(&sources, &key);
	if (!source || source->count > VIPS_PER_SOURCE || bpf_ktime_get_ns() < source->settled_ns)
		return false;
	tuple->family = is_mapped(&key.address) ? FAMILY_IPV4 : FAMILY_IPV6;
	tuple->protocol = key.protocol;
	tuple->source = passage->out_key.destination;
	tuple->source_port = passage->out_key.destination_port;
	__builtin_memset(&passage->out, 0, sizeof(passage->out));
	passage->out.client_port = passage->out_key.destination_port;
	/* Nobody knows whether another node handed it on, so that the MSS of the pod has to be a smaller one. */
	passage->out.flags = FLOW_TUNNELLED;
	UNROLLED
	for (__u32 i = 0; i < VIPS_PER_SOURCE; i++) {
		if (i >= source->count)
			break;
		vip = &source->vips[i];
		/* Flows of node ports always have state: which address of the node was meant no reply tells. */
		if (is_any_node(&vip->address))
			continue;
		tuple->destination = vip->address;
		tuple->destination_port = vip->port;
		if (!is_named(source->backend.id, source->backend.generation))
			continue;
		passage->out.address = vip->address;
		passage->out.port = vip->port;
		passage->out.service = choices->frontend.service;
		found++;
	}
	/* Read last: of another record it would be another's. */
	passage->out.backend = source->backend;
	return found == 1 && is_backend_at(&passage->out.backend, &key);
}

/* Whether the flow of the passage goes on without state; counted so. */
__noinline int leave_unkept(void)
{
	const struct packet *packet = packet_at(SCRATCH_PACKET);
	struct passage *passage = passage_here();
	__u64 now = bpf_ktime_get_ns(), *until;
	__u32 kind;

	if (!packet || !passage)
		return false;
	kind = opening_kind(packet);
	passage->out_key = out_key_of(&passage->key, &passage->half);
	/* What is left of it says more, and of two flows that would look the same to the pod one needs another port. */
	if (find_flow(&passage->out_key) || was_served_by(passage->backend.id, passage->backend.generation))
		return false;
	until = bpf_map_lookup_elem(&unkept, &kind);
	if (!until || !find_unkept() || !is_half_of(&passage->out, &passage->key, passage->half.flags))
		return false;
	if (*until < now + UNKEPT_NS - OPENING_BURST_NS)
		*until = now + UNKEPT_NS;
	count_drop(REASON_FLOW_LIMITED, packet->family);
	return true;
}

static __always_inline bool may_be_unkept(enum opening_kind kind)
{
	__u32 key = kind;
	const __u64 *until = bpf_map_lookup_elem(&unkept, &key);

	return until && *until > bpf_ktime_get_ns();
}

/* Of a reply of no flow that is known: whether it is one of a flow without state. Its half lies in the passage then. A
 * SYN alone is answered by a SYN or a RST: what else a pod sends is of connections, perhaps with itself, that a flood
 * of SYNs shall not make the VIP's. */
static __always_inline bool is_of_unkept(const struct flow_key *out_key, const struct packet *packet)
{
	struct passage *passage = passage_here();

	if (!opening_interval_ns || !passage)
		return false;
	if (!may_be_unkept(packet->protocol == IPPROTO_UDP ? OPENING_DATAGRAM : OPENING_SEGMENT) &&
	    !(packet->tcp_flags & (TCP_SYN | TCP_RST) && may_be_unkept(OPENING_SYN)))
		return false;
	passage->out_key = *out_key;
	return find_unkept();
}

#endif
