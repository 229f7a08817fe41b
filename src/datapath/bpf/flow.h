// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Flows: an entry per direction. Whoever sends a packet makes an entry in `openings` at most; an entry moves on to
 * `connections` or `datagrams` once the other end was heard to take part, so that no flood evicts what is
 * established.
 *
 *     client SYN --> openings --(the pod's data, or the client's ACK of the pod's SYN)--> connections
 *     client UDP --> openings --(a reply, then a packet of the client)------------------> datagrams
 *
 * No packet ends a flow. That it is over is read from the half of the pod's packets: the pod has sent a RST, or
 * has taken one, or has sent its FIN and acknowledged the client's, or nobody was heard for long. Only then the
 * tuple is free for another flow. Either half may be evicted alone: the other one says what it was. */
#ifndef HERALD_FLOW_H
#define HERALD_FLOW_H

#include "events.h"
#include "hairpin-flow.h"
#include "packet.h"

/* Units of the coarse clock, which are 4 to 41 seconds by the kernel's HZ: three days or more, and four minutes or
 * more. */
#define CONNECTION_SILENCE 63000
#define OPENING_SILENCE 62
/* More than this is not in flight between two ends. */
#define MAX_IN_FLIGHT (1 << 20)
/* Behind what it sent last a pod may still send a RST: as the client's acknowledgment says. */
#define MAX_UNACKNOWLEDGED (1 << 16)

/* Whether flows may go past netfilter, see redirect.h. Set before loading: where it is 0 no kernel sees the rest. */
const volatile __u32 is_redirecting SEC(".rodata.redirect") = 0;

static __always_inline bool is_redirected(__u32 flow_flags)
{
	return is_redirecting && flow_flags & FLOW_REDIRECTED;
}

/* Whether packets may leave with an address of this node, see snat.h. Unset before loading where a kernel takes no call
 * from program to program. */
const volatile __u32 is_translating SEC(".rodata.snat") = 1;

/* Exactness does not matter and this clock is nearly free. */
static __always_inline __u32 coarse_clock(void)
{
	return bpf_jiffies64() >> 12;
}

static __always_inline struct flow_key flow_key(const struct packet *packet, enum direction direction)
{
	struct flow_key key = {
		.source = packet->source,
		.destination = packet->destination,
		.source_port = packet->source_port,
		.destination_port = packet->destination_port,
		.protocol = packet->protocol,
		.direction = direction,
	};
	return key;
}

/* The key of a packet that goes the other way. */
static __always_inline struct flow_key reversed_key(const struct packet *packet, enum direction direction)
{
	struct flow_key key = {
		.source = packet->destination,
		.destination = packet->source,
		.source_port = packet->destination_port,
		.destination_port = packet->source_port,
		.protocol = packet->protocol,
		.direction = direction,
	};
	return key;
}

static __always_inline struct flow_key out_key_of(const struct flow_key *in_key, const struct flow *in)
{
	struct flow_key key = {
		.source = in->address,
		.destination = *(is_hairpin(in) ? &in_key->destination : &in_key->source),
		.source_port = in->port,
		.destination_port = in->client_port,
		.protocol = in_key->protocol,
		.direction = DIRECTION_OUT,
	};
	return key;
}

static __always_inline struct flow_key in_key_of(const struct flow_key *out_key, const struct flow *out)
{
	struct flow_key key = {
		.source = *(is_hairpin(out) ? &out->address : &out_key->destination),
		.destination = *(is_hairpin(out) ? &out_key->destination : &out->address),
		.source_port = out->client_port,
		.destination_port = out->port,
		.protocol = out_key->protocol,
		.direction = DIRECTION_IN,
	};
	return key;
}

/* The half of the pod's packets as it follows from the other one; what it knows of TCP comes with the pod's next
 * one. */
static __always_inline struct flow out_half(const struct flow_key *in_key, const struct flow *in)
{
	struct flow out = {
		.address = *(is_hairpin(in) ? &in_key->source : &in_key->destination),
		.port = in_key->destination_port,
		.client_port = in_key->source_port,
		.backend = in->backend,
		.service = in->service,
		.seen = in->seen,
		.flags = in->flags & FLOW_OF_BOTH,
	};
	return out;
}

static __always_inline struct flow in_half(const struct flow_key *out_key, const struct flow *out)
{
	struct flow in = {
		.address = out_key->source,
		.port = out_key->source_port,
		.client_port = out_key->destination_port,
		.backend = out->backend,
		.service = out->service,
		.seen = out->seen,
		.flags = out->flags & FLOW_OF_BOTH,
	};
	return in;
}

/* Whether a half of the pod's packets belongs to the flow that comes in by this key, with these flags: to the pod a
 * client that sends as the VIP looks like one for which the VIP stands. */
static __always_inline bool is_half_of(const struct flow *out, const struct flow_key *in_key, __u32 in_flags)
{
	return !((out->flags ^ in_flags) & FLOW_HAIRPIN) &&
	       is_same_address(&out->address, is_hairpin(out) ? &in_key->source : &in_key->destination) &&
	       out->port == in_key->destination_port && out->client_port == in_key->source_port;
}

static __always_inline struct flow *find_proved(const struct flow_key *key)
{
	if (key->protocol == IPPROTO_TCP)
		return bpf_map_lookup_elem(&connections, key);
	return bpf_map_lookup_elem(&datagrams, key);
}

static __noinline struct flow *find_opening(const struct flow_key *key)
{
	return bpf_map_lookup_elem(&openings, key);
}

static __always_inline struct flow *find_flow(const struct flow_key *key)
{
	return find_proved(key) ?: bpf_map_lookup_elem(&openings, key);
}

static __always_inline long put_opening(const struct flow_key *key, const struct flow *flow)
{
	return bpf_map_update_elem(&openings, key, flow, BPF_ANY);
}

static __always_inline long put_proved(const struct flow_key *key, const struct flow *flow)
{
	if (key->protocol == IPPROTO_TCP)
		return bpf_map_update_elem(&connections, key, flow, BPF_ANY);
	return bpf_map_update_elem(&datagrams, key, flow, BPF_ANY);
}

static __always_inline void forget_half(const struct flow_key *key)
{
	bpf_map_delete_elem(&openings, key);
	if (key->protocol == IPPROTO_TCP)
		bpf_map_delete_elem(&connections, key);
	else
		bpf_map_delete_elem(&datagrams, key);
}

/* Both halves of a flow that is over, by the one of the pod's packets. */
static __noinline void forget_flow(const struct flow_key *out_key, const struct flow *out)
{
	struct flow_key in_key = in_key_of(out_key, out);

	forget_half(&in_key);
	forget_half(out_key);
}

/* To the table of those that both ends know of. What was evicted meanwhile is not missed: the other half brings
 * it. */
static __noinline void promote(const struct flow_key *in_key, const struct flow_key *out_key)
{
	const struct flow *in = bpf_map_lookup_elem(&openings, in_key);
	const struct flow *out = bpf_map_lookup_elem(&openings, out_key);
	struct flow copy;

	if (out) {
		copy = *out;
		copy.flags &= ~FLOW_OPENED_BY_SYN;
		if (!put_proved(out_key, &copy))
			bpf_map_delete_elem(&openings, out_key);
	}
	if (in) {
		copy = *in;
		copy.flags &= ~FLOW_OPENED_BY_SYN;
		if (!put_proved(in_key, &copy))
			bpf_map_delete_elem(&openings, in_key);
	}
}

/* Both ends have said goodbye, or one of them has given up. */
static __always_inline bool is_ended(__u32 flags)
{
	return flags & FLOW_RESET || (flags & FLOW_POD_FIN && flags & FLOW_CLIENT_FIN_ACKED);
}

/* By the half of the pod's packets: whether the tuple is free for another flow. */
static __always_inline bool is_over(const struct flow_key *out_key, const struct flow *out)
{
	__u32 silence = out_key->protocol == IPPROTO_TCP && !(out->flags & FLOW_OPENED_BY_SYN) ? CONNECTION_SILENCE :
										    OPENING_SILENCE;

	if (is_ended(out->flags))
		return true;
	return coarse_clock() - out->seen > silence;
}

/* Both ends take part: the client acknowledges what the pod sent last, or went on after a reply. */
static __always_inline bool is_proved_by(const struct packet *packet, const struct flow *out)
{
	if (packet->protocol == IPPROTO_TCP)
		return is_ack(packet) && out->flags & FLOW_NEXT_KNOWN && packet->ack == out->next;
	return out->flags & FLOW_REPLIED;
}

static __noinline void note_reset(enum event_detail detail, const struct flow_key *out_key, struct flow *out,
		const struct packet *packet)
{
	if (!is_ended(out->flags))
		tell_reply(EVENT_CLOSE, detail, out_key, out, packet);
	out->flags |= FLOW_RESET;
}

/* A FIN or RST of the client: the packet in the map, of the flow whose half of the pod's packets has the key in the
 * passage. Anybody can have sent it: a FIN counts once the pod has acknowledged its number, a RST when the pod takes
 * its number, which is what the pod has acknowledged or, with data in flight, what the client sent last: `next`, where
 * `in_flags` say that it is known. A function of its own to the verifier, as those of ranges.h. */
__noinline int note_client_end(__u32 next, __u32 in_flags)
{
	const struct packet *packet = packet_at(SCRATCH_PACKET);
	const struct passage *passage = passage_here();
	const struct flow_key *out_key;
	__u32 ahead, in_flight = 0;
	struct flow *out;

	if (!packet || !passage)
		return 0;
	out_key = &passage->out_key;
	out = find_flow(out_key);
	if (!out)
		return 0;
	if (packet->tcp_flags & TCP_RST) {
		ahead = packet->seq - out->acked;
		if (in_flags & FLOW_NEXT_KNOWN)
			in_flight = next - out->acked;
		if (out->flags & FLOW_ACKED_KNOWN && (ahead == 0 || (in_flight < MAX_IN_FLIGHT && ahead <= in_flight)))
			note_reset(DETAIL_RESET_BY_CLIENT, out_key, out, packet);
	} else if (!(out->flags & FLOW_CLIENT_FIN_ACKED)) {
		out->client_end = packet->end;
		out->flags |= FLOW_CLIENT_FIN;
	}
	return 0;
}

/* What the pod's segment says about its connection. True when only an established one sends it. */
static __always_inline bool track_pod(const struct flow_key *out_key, struct flow *out, const struct packet *packet)
{
	bool is_syn = packet->tcp_flags & TCP_SYN;
	__u32 flags = out->flags;

	if (packet->tcp_flags & TCP_RST) {
		if (!(flags & FLOW_NEXT_KNOWN) || out->next - packet->seq < MAX_UNACKNOWLEDGED)
			note_reset(DETAIL_RESET_BY_POD, out_key, out, packet);
		return false;
	}
	/* A pod that goes on was not reset. A SYN begins anew. */
	flags &= is_syn ? FLOW_OF_BOTH | FLOW_OPENED_BY_SYN : ~(__u32)FLOW_RESET;
	if (!(flags & FLOW_NEXT_KNOWN) || (__s32)(packet->end - out->next) > 0)
		out->next = packet->end;
	flags |= FLOW_NEXT_KNOWN | FLOW_REPLIED;
	if (packet->tcp_flags & TCP_ACK) {
		if (!(flags & FLOW_ACKED_KNOWN) || (__s32)(packet->ack - out->acked) > 0)
			out->acked = packet->ack;
		flags |= FLOW_ACKED_KNOWN;
		if (flags & FLOW_CLIENT_FIN && out->client_end == packet->ack)
			flags |= FLOW_CLIENT_FIN_ACKED;
	}
	if (packet->tcp_flags & TCP_FIN)
		flags |= FLOW_POD_FIN;
	if (flags != out->flags) {
		if (is_ended(flags) && !is_ended(out->flags))
			tell_reply(EVENT_CLOSE, DETAIL_FIN, out_key, out, packet);
		out->flags = flags;
	}
	return !is_syn && packet->end != packet->seq;
}

#endif
