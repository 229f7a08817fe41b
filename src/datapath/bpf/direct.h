// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Flows to a backend's own address, and those that it begins itself. They are known so that a reply of theirs is
 * told from one of a VIP's flow, and so that both may use one client port:
 *
 *     client:p --> VIP:80   --> pod:8080  the pod sees client:p
 *     client:p --> pod:8080 --> pod:8080  it came later: the pod sees client:p'
 */
#ifndef HERALD_DIRECT_H
#define HERALD_DIRECT_H

#include "icmp.h"
#include "opening.h"

/* With the ports that it has: one half tells all. */
static __noinline void open_direct(const struct flow_key *out_key, const struct packet *packet, __u32 flags)
{
	struct flow out = {
		.address = out_key->source,
		.port = out_key->source_port,
		.client_port = out_key->destination_port,
		.service = NO_SERVICE,
		.seen = coarse_clock(),
		.flags = FLOW_DIRECT | flags | (starts_connection(packet) ? FLOW_OPENED_BY_SYN : 0),
	};

	put_opening(out_key, &out);
}

/* A packet of a flow that the pod sees with the client's own port. */
static __noinline void follow_direct(const struct flow_key *out_key, struct flow *out, bool is_opening,
		const struct packet *packet)
{
	struct flow_key in_key = in_key_of(out_key, out);
	struct passage *passage = passage_here();

	if (starts_connection(packet) && is_over(out_key, out)) {
		forget_flow(out_key, out);
		return open_direct(out_key, packet, 0);
	}
	if (out->seen != coarse_clock())
		out->seen = coarse_clock();
	if (passage && packet->tcp_flags & (TCP_FIN | TCP_RST)) {
		passage->out_key = *out_key;
		note_client_end(0, 0);
	}
	if (is_opening && is_proved_by(packet, out))
		promote(&in_key, out_key);
}

/* A packet of a flow that the pod sees with another port. */
static __noinline void follow_beside(struct passage *passage, struct flow *in, bool is_opening,
		const struct packet *packet)
{
	const struct flow_key *key = &passage->key;
	struct flow_key *out_key = &passage->out_key;
	const struct flow *out;

	*out_key = out_key_of(key, in);

	if (in->seen != coarse_clock())
		keep_out_half(key, in, is_opening, packet);
	if (packet->tcp_flags & (TCP_FIN | TCP_RST))
		note_client_end(in->next, in->flags);
	out = is_opening ? find_opening(out_key) : 0;
	if (out && is_proved_by(packet, out))
		promote(key, out_key);
}

/* The packet in the map, beside a flow of a VIP that has these ports at the pod. */
__noinline int receive_beside(struct __sk_buff *skb)
{
	const struct packet *packet = packet_at(SCRATCH_PACKET);
	struct passage *passage = passage_here();
	bool is_opening = false;
	struct flow_key *key;
	struct flow *opened;
	struct flow *in;

	if (!packet || !passage)
		return drop(REASON_FLOWS_FULL);
	key = &passage->key;
	opened = &passage->half;
	*key = flow_key(packet, DIRECTION_IN);
	in = find_proved(key);
	if (!in) {
		in = find_opening(key);
		is_opening = true;
	}
	if (!in) {
		__builtin_memset(opened, 0, sizeof(*opened));
		opened->address = packet->destination;
		opened->port = packet->destination_port;
		opened->service = NO_SERVICE;
		opened->flags = FLOW_DIRECT | (starts_connection(packet) ? FLOW_OPENED_BY_SYN : 0);
		if (!open_flow())
			return drop(REASON_FLOWS_FULL);
	} else {
		*opened = *in;
		follow_beside(passage, in, is_opening, packet);
	}
	if (rewrite(skb, packet, DESTINATION, opened))
		return drop(REASON_REWRITE_FAILED);
	return PASS;
}

/* In place of a verdict: the packet is of a flow beside another one, see {@link receive_beside}. */
#define BESIDE 0x800

static __noinline bool is_flow_known(const struct packet *packet)
{
	struct flow_key in_key = flow_key(packet, DIRECTION_IN);

	return find_flow(&in_key);
}

/* The packet in the map, which is for an address that has backends and is no VIP: a verdict, or BESIDE. */
__noinline int receive_direct(struct __sk_buff *skb)
{
	struct packet *packet = packet_at(SCRATCH_PACKET);
	struct flow_key out_key;
	bool is_opening;
	struct flow *out;

	if (!packet || !is_header_sound(skb, packet) || packet->position == LATER_FRAGMENT)
		return PASS;
	if (!has_ports(packet) || !parse_transport(skb, packet))
		return PASS;
	if (!source_at(&packet->destination, packet->destination_port, packet->protocol))
		return PASS;
	/* Translated by the hook of a device below this one. */
	if (bpf_get_hash_recalc(skb) == translated_hash(packet))
		return PASS;
	out_key = reversed_key(packet, DIRECTION_OUT);
	out = find_proved(&out_key);
	is_opening = !out;
	if (!out)
		out = find_opening(&out_key);
	if (out && out->flags & FLOW_DIRECT && out->client_port == packet->source_port) {
		follow_direct(&out_key, out, is_opening, packet);
		return PASS;
	}
	if (is_flow_known(packet) || (out && !is_over(&out_key, out)))
		return BESIDE;
	if (out)
		forget_flow(&out_key, out);
	if (!(packet->tcp_flags & TCP_RST))
		open_direct(&out_key, packet, 0);
	return PASS;
}

#endif
