// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Clients that are where their backend is: a pod whose packet for a VIP a router brings back to it, and whoever has
 * left with an address of this node, as what a CNI masquerades has. Of such a packet the stack says that it is its own,
 * and drops it. So the VIP, which nobody here has, stands for the client at the pod, and the client at the VIP:
 *
 *     in:   client:p --> VIP:80     becomes  VIP:p --> pod:8080
 *     out:  VIP:p <-- pod:8080      becomes  client:p <-- VIP:80, and comes in again by the uplink, as a router would
 *                                            bring it: it is for this node
 *
 * Both ways what a packet is for becomes what it comes from. So keys and records have room for all of it: the half of
 * the replies has the VIP in its key, and the client in the place of the VIP. */
#ifndef HERALD_HAIRPIN_H
#define HERALD_HAIRPIN_H

#include "flow.h"
#include "hairpin-flow.h"
#include "outcome.h"
#include "rewrite.h"

/* A datagram of a client that is here from a port on which a backend answers, which that one has not begun: forged, it
 * would be answered for ever, each answer being the next request (as is_from_itself of packet.h). That something has
 * left here by that tuple tells nothing: it may answer what was forged as from the VIP. */
static __noinline bool is_forged_hairpin(const struct packet *packet)
{
	struct flow_key key = flow_key(packet, DIRECTION_OUT);
	const struct source *source = source_at(&packet->source, packet->source_port, packet->protocol);
	const struct flow *sent;

	if (packet->protocol != IPPROTO_UDP || !source || source->count == 0)
		return false;
	sent = find_flow(&key);
	return !sent || !(sent->flags & FLOW_POD_BEGAN);
}

/* In the passage, for what is to be done by it. */
static __always_inline bool keep_half(const struct flow *flow)
{
	struct passage *passage = passage_here();

	if (passage)
		passage->half = *flow;
	return passage;
}

/* As {@link rewrite} of the packet in the map, for the flow in the passage: what the packet is for becomes what it
 * comes from, and of both addresses the one that it came from is there no more. A function of its own to the verifier,
 * as those of ranges.h. */
__noinline int rewrite_hairpin(struct __sk_buff *skb, __u32 side)
{
	const struct packet *packet = packet_at(SCRATCH_PACKET);
	const struct passage *passage = passage_here();
	const struct flow *to;

	if (!packet || !passage)
		return -1;
	to = &passage->half;
	bpf_set_hash_invalid(skb);
	if (side == DESTINATION)
		bpf_set_hash(skb, tuple_hash(is_ipv6(packet), &packet->destination, to->client_port, &to->address, to->port));
	if (packet->position != LATER_FRAGMENT &&
	    (rewrite_checksum(skb, packet, side, SOURCE, to) || store_ports(skb, packet, side, to)))
		return -1;
	return rewrite_address(skb, packet, SOURCE, &packet->destination) ||
	       rewrite_address(skb, packet, DESTINATION, &to->address);
}

/* As {@link rewrite_quote}, of such a flow: of what is quoted the way is walked back. */
__noinline int rewrite_hairpin_quote(struct __sk_buff *skb, __u32 side)
{
	const struct packet *packet = packet_at(SCRATCH_PACKET), *quote = packet_at(SCRATCH_QUOTE);
	const struct passage *passage = passage_here();
	const struct flow *to;
	__u32 checksum;

	if (!packet || !quote || !passage)
		return -1;
	to = &passage->half;
	checksum = packet->l4 + offsetof(struct icmp, checksum);
	return rewrite_quoted_address(skb, quote, checksum, DESTINATION, &quote->source) ||
	       rewrite_quoted_address(skb, quote, checksum, SOURCE, &to->address) ||
	       rewrite_port(skb, checksum, 0, quote->l4, SOURCE, quote->source_port,
			       side == SOURCE ? to->port : to->client_port) ||
	       rewrite_port(skb, checksum, 0, quote->l4, DESTINATION, quote->destination_port,
			       side == SOURCE ? to->client_port : to->port);
}

/* The reply in the map, of such a flow, in the passage: a verdict, or an outcome. */
__noinline int return_hairpin(struct __sk_buff *skb)
{
	return rewrite_hairpin(skb, SOURCE) ? drop(REASON_REWRITE_FAILED) : turn_back(skb);
}

#endif
