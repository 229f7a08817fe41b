// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The program where packets come in from pods, for flows that go past netfilter: see redirect.h. What it leaves alone
 * is for the stack, and for the programs at egress of where it leaves. Part of herald.bpf.c, whose replies it sends. */
#ifndef HERALD_POD_H
#define HERALD_POD_H

#include "direct.h"
#include "redirect.h"

/* Whether the way to its sender is the one that it came by (RFC 3704 2.3). What a pod sends as another one, or by a
 * second interface of its own, is the stack's to judge. */
static __always_inline bool is_by_its_way(struct __sk_buff *skb, const struct packet *packet)
{
	return way_back(skb, packet) == skb->ifindex;
}

/* An error of the pod, about a packet that it got past netfilter. */
static __noinline int redirect_error(struct __sk_buff *skb, const struct packet *packet, struct hop *hop)
{
	const struct flow *flow = flow_of_error(skb, packet);
	__u32 link;

	if (!flow || !is_redirected(flow->flags) || !is_by_its_way(skb, packet))
		return TO_STACK;
	link = find_hop(skb, packet, LINK_UPLINK, hop);
	if (!link || link & LINK_CLOSED)
		return TO_STACK;
	return is_hairpin(flow) ? PASS : send_icmp(skb, packet);
}

static __always_inline int redirect_reply(struct __sk_buff *skb, struct packet *packet, struct hop *hop)
{
	struct flow_key key;
	struct flow *flow;
	bool is_opening;
	__u32 link;

	if (!has_ports(packet) || !parse_transport(skb, packet) ||
	    starts_connection(packet))
		return TO_STACK;
	key = flow_key(packet, DIRECTION_OUT);
	flow = find_proved(&key);
	is_opening = !flow;
	if (!flow && source_at(&packet->source, packet->source_port, packet->protocol))
		flow = find_opening(&key);
	if (!flow || !is_redirected(flow->flags) || !is_by_its_way(skb, packet))
		return TO_STACK;
	link = find_hop(skb, packet, LINK_UPLINK, hop);
	/* A pod sends no more of a connection than its client acknowledges, and netfilter sees what does. */
	if (!link || (link & LINK_CLOSED && packet->protocol != IPPROTO_TCP))
		return TO_STACK;
	/* It comes back by that interface, whose program translates it. */
	if (is_hairpin(flow))
		return PASS;
	return send_known(skb, packet, &key, flow, is_opening);
}

SEC("tc")
int herald_pod(struct __sk_buff *skb)
{
	struct packet *packet;
	struct hop hop = {};
	int answer;

	if (!is_redirecting || skb->pkt_type != 0 /* PACKET_HOST */)
		return PASS;
	packet = blank_packet(SCRATCH_PACKET);
	if (!packet || !parse(skb, packet) || !is_header_sound(skb, packet))
		return PASS;
	if (packet->position == LATER_FRAGMENT && !follow_first(packet))
		return PASS;
	answer = is_icmp(packet) ? redirect_error(skb, packet, &hop) : redirect_reply(skb, packet, &hop);
	if (answer == TO_STACK)
		return PASS;
	if (answer == PASS && !shorten_lifetime(skb, packet))
		answer = drop(REASON_REWRITE_FAILED);
	return finish_past(skb, packet, answer, &hop);
}

#endif
