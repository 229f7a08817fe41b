// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* ICMP for a VIP, and ICMP errors about packets that were translated. An error quotes the packet it is about; that
 * quote finds the flow, and outer and inner addresses are translated together (RFC 5508 section 4). */
#ifndef HERALD_ICMP_H
#define HERALD_ICMP_H

#include "answer.h"
#include "answer6.h"
#include "flow.h"
#include "hairpin.h"
#include "ranges.h"
#include "rewrite.h"
#include "way.h"

/* The packet that an ICMP error quotes; false when it is no first part of TCP, UDP or SCTP. */
static __always_inline bool parse_quote(struct __sk_buff *skb, const struct packet *packet, struct packet *quote)
{
	struct ports ports;

	quote->l3 = packet->l4 + sizeof(struct icmp);
	if (is_ipv6(packet)) {
		if (!parse_ipv6(skb, quote) || is_mapped(&quote->source) || is_mapped(&quote->destination) ||
		    !walk_extensions(skb, SCRATCH_QUOTE))
			return false;
	} else if (!parse_ipv4(skb, quote) || quote->header_length < sizeof(struct iphdr)) {
		return false;
	}
	if (quote->position == LATER_FRAGMENT || !has_ports(quote))
		return false;
	if (bpf_skb_load_bytes(skb, quote->l4, &ports, sizeof(ports)))
		return false;
	quote->source_port = ports.source;
	quote->destination_port = ports.destination;
	return true;
}

/* The outer address of an ICMP error, which only IPv6 has in the checksum of the message too. */
static __always_inline long rewrite_outer_address(struct __sk_buff *skb, const struct packet *packet, enum side side,
		const struct ip_address *to)
{
	__u32 checksum = packet->l4 + offsetof(struct icmp, checksum);
	long failed = 0;

	if (is_ipv6(packet))
		failed = rewrite_pseudo_header(skb, packet, checksum, 0, side, to);
	return failed ?: rewrite_address(skb, packet, side, to);
}

/* As what it answers came. */
static __always_inline void turn_around(struct packet *quote)
{
	struct ip_address address = quote->source;
	__be16 port = quote->source_port;

	quote->source = quote->destination;
	quote->source_port = quote->destination_port;
	quote->destination = address;
	quote->destination_port = port;
}

/* Whether what an error quotes may be of an older flow than the one that is known here: where anybody's SYN has made
 * that one, and its pod has sent no such number, or a datagram by another node. */
static __noinline bool is_of_older(struct __sk_buff *skb, const struct packet *quote, const struct flow_key *key,
		const struct flow *flow)
{
	struct flow_key out_key = out_key_of(key, flow);
	const struct flow *out;
	__be32 seq;

	if (key->protocol != IPPROTO_TCP)
		return flow->flags & FLOW_TUNNELLED;
	if (!(flow->flags & FLOW_OPENED_BY_SYN))
		return false;
	out = find_flow(&out_key);
	if (!out || !(out->flags & FLOW_NEXT_KNOWN) ||
	    bpf_skb_load_bytes(skb, quote->l4 + offsetof(struct tcphdr, seq), &seq, sizeof(seq)))
		return true;
	return out->next - bpf_ntohl(seq) > MAX_IN_FLIGHT;
}

/* The error in the map, about the packet of a client that is here (hairpin.h), by the half of the replies in the
 * passage: a verdict, or an outcome. */
__noinline int return_hairpin_error(struct __sk_buff *skb)
{
	const struct packet *packet = packet_at(SCRATCH_PACKET);
	const struct passage *passage = passage_here();

	if (!packet || !passage || rewrite_hairpin_quote(skb, DESTINATION) ||
	    rewrite_outer_address(skb, packet, SOURCE, &packet->destination) ||
	    rewrite_outer_address(skb, packet, DESTINATION, &passage->half.address))
		return drop(REASON_REWRITE_FAILED);
	return turn_back(skb);
}

/* The error in the map, about a reply to such a client, by the half of its packets in the passage. The client itself,
 * or this node as a router, is none from whom the stack takes it. */
__noinline int receive_hairpin_error(struct __sk_buff *skb)
{
	const struct packet *packet = packet_at(SCRATCH_PACKET), *quote = packet_at(SCRATCH_QUOTE);
	const struct passage *passage = passage_here();

	if (!packet || !quote || !passage || rewrite_hairpin_quote(skb, SOURCE))
		return drop(REASON_REWRITE_FAILED);
	if ((is_same_address(&packet->source, &quote->destination) || is_of_this_node(&packet->source)) &&
	    rewrite_outer_address(skb, packet, SOURCE, &packet->destination))
		return drop(REASON_REWRITE_FAILED);
	if (rewrite_outer_address(skb, packet, DESTINATION, &passage->half.address))
		return drop(REASON_REWRITE_FAILED);
	return is_redirected(passage->half.flags) ? TO_POD : PASS;
}

/* An error about our reply VIP -> client belongs to the pod that sent it: PMTU discovery depends on this. */
static __always_inline int receive_icmp_error(struct __sk_buff *skb, const struct packet *packet)
{
	const struct flow *flow;
	struct flow_key key;
	struct packet *quote = blank_packet(SCRATCH_QUOTE);
	int older;
	bool is_past;

	if (!quote || !parse_quote(skb, packet, quote) || !is_same_address(&quote->source, &packet->destination))
		return drop(REASON_ICMP_UNMATCHED);
	quote->at_node = packet->at_node;
	key = reversed_key(quote, DIRECTION_IN);
	flow = find_flow(&key);
	if (!flow || flow->flags & FLOW_FORWARDED)
		return ELSEWHERE;
	if (is_of_older(skb, quote, &key, flow)) {
		turn_around(quote);
		older = find_older(skb, SCRATCH_QUOTE);
		turn_around(quote);
		if (older == FORWARD)
			return FORWARD;
	}
	if (backend_state(&flow->backend) == BACKEND_GONE)
		return drop(REASON_ICMP_UNMATCHED);
	if (is_hairpin(flow))
		return keep_half(flow) ? receive_hairpin_error(skb) : drop(REASON_REWRITE_FAILED);
	is_past = is_redirected(flow->flags);
	if (rewrite_quote(skb, packet, quote, SOURCE, flow) ||
	    rewrite_outer_address(skb, packet, DESTINATION, &flow->address))
		return drop(REASON_REWRITE_FAILED);
	return is_past ? TO_POD : PASS;
}

/* The packet in the map. */
__noinline int receive_icmp(struct __sk_buff *skb)
{
	const struct packet *packet = packet_at(SCRATCH_PACKET);
	struct icmp icmp;

	if (!packet)
		return drop(REASON_NOT_ANSWERABLE);
	if (packet->position == LATER_FRAGMENT)
		return drop(REASON_FRAGMENT);
	if (packet->total_length < packet->header_length + sizeof(icmp) ||
	    bpf_skb_load_bytes(skb, packet->l4, &icmp, sizeof(icmp)))
		return drop(REASON_BAD_HEADER);
	if (is_ipv6(packet) && !packet->tunnelled && is_neighbor_discovery(icmp.type) &&
	    hop_limit(skb, packet) == IP6_MAX_HOP_LIMIT)
		return PASS;
	if (is_icmp_error(packet, icmp.type))
		return receive_icmp_error(skb, packet);
	if (icmp.type != (is_ipv6(packet) ? ICMP6_ECHO_REQUEST : ICMP_ECHO) || icmp.code != 0)
		return drop(REASON_NOT_ANSWERABLE);
	/* Routers on the way may be anywhere; who asks is a client. */
	if (!is_answered(SCRATCH_PACKET))
		return drop(REASON_SOURCE_NOT_ALLOWED);
	return is_ipv6(packet) ? answer_echo6(skb, packet) : answer_echo(skb, packet);
}

/* An error, whose quote is in the map, of no flow that is known here: the node that owns the backend may have it. */
static __noinline int find_elsewhere(struct __sk_buff *skb)
{
	struct packet *quote = packet_at(SCRATCH_QUOTE);
	int way;

	if (!quote)
		return drop(REASON_ICMP_UNMATCHED);
	turn_around(quote);
	way = find_way(skb, SCRATCH_QUOTE);
	return way == FORWARD ? way : drop(REASON_ICMP_UNMATCHED);
}

/* The flow client -> pod that an error is about, whose quote lies in the map then. */
static __noinline const struct flow *flow_of_error(struct __sk_buff *skb, const struct packet *packet)
{
	struct packet *quote = blank_packet(SCRATCH_QUOTE);
	struct flow_key key;
	__u8 type;

	if (packet->position != WHOLE || bpf_skb_load_bytes(skb, packet->l4, &type, sizeof(type)))
		return 0;
	if (!is_icmp_error(packet, type) || !quote || !parse_quote(skb, packet, quote))
		return 0;
	key = reversed_key(quote, DIRECTION_OUT);
	return find_flow(&key);
}

/* An error about client -> pod, from the pod or from this node: the client only knows the VIP. */
static __noinline int send_icmp(struct __sk_buff *skb, const struct packet *packet)
{
	const struct flow *flow = flow_of_error(skb, packet);
	const struct packet *quote = packet_at(SCRATCH_QUOTE);

	if (!flow || !quote)
		return PASS;
	if (is_hairpin(flow))
		return keep_half(flow) ? return_hairpin_error(skb) : drop(REASON_REWRITE_FAILED);
	if (rewrite_quote(skb, packet, quote, DESTINATION, flow))
		return drop(REASON_REWRITE_FAILED);
	/* A router's own error keeps the router's address, as on any path. */
	if (is_same_address(&packet->source, &quote->destination) &&
	    rewrite_outer_address(skb, packet, SOURCE, &flow->address))
		return drop(REASON_REWRITE_FAILED);
	return PASS;
}

#endif
