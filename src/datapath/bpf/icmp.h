// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* ICMP for a VIP, and ICMP errors about packets that were translated. An error quotes the packet it is about; that
 * quote finds the flow, and outer and inner addresses are translated together (RFC 5508 section 4). */
#ifndef HERALD_ICMP_H
#define HERALD_ICMP_H

#include "answer.h"
#include "flow.h"
#include "rewrite.h"

static __always_inline bool is_icmp_error(__u8 type)
{
	return type == ICMP_UNREACHABLE || type == ICMP_SOURCE_QUENCH || type == ICMP_TIME_EXCEEDED ||
			type == ICMP_PARAMETER_PROBLEM;
}

/* The packet that an ICMP error quotes; false when it is no first part of TCP or UDP. */
static __always_inline bool parse_quote(struct __sk_buff *skb, const struct packet *packet, struct packet *quote)
{
	struct fragment ports;
	struct iphdr ip;

	quote->l3 = packet->l4 + sizeof(struct icmp);
	if (bpf_skb_load_bytes(skb, quote->l3, &ip, sizeof(ip)))
		return false;
	if (ip.version != 4 || ip.ihl < 5 || bpf_ntohs(ip.frag_off) & IP_OFFSET_MASK)
		return false;
	if (ip.protocol != IPPROTO_TCP && ip.protocol != IPPROTO_UDP)
		return false;
	quote->l4 = quote->l3 + ip.ihl * 4;
	quote->protocol = ip.protocol;
	quote->source = ip.saddr;
	quote->destination = ip.daddr;
	if (bpf_skb_load_bytes(skb, quote->l4, &ports, sizeof(ports)))
		return false;
	quote->source_port = ports.source_port;
	quote->destination_port = ports.destination_port;
	return true;
}

/* An error about our reply VIP -> client belongs to the pod that sent it: PMTU discovery depends on this. */
static __always_inline int receive_icmp_error(struct __sk_buff *skb, const struct packet *packet)
{
	const struct flow *flow;
	struct flow_key key;
	struct packet quote = {};

	if (!parse_quote(skb, packet, &quote) || quote.source != packet->destination)
		return drop(REASON_ICMP_UNMATCHED);
	key = reversed_key(&quote, DIRECTION_IN);
	flow = find_flow(&key);
	if (!flow || backend_state(&flow->backend) == BACKEND_GONE)
		return drop(REASON_ICMP_UNMATCHED);
	if (rewrite_quote(skb, packet, &quote, SOURCE, flow) ||
	    rewrite_address(skb, packet->l3, DESTINATION, packet->destination, flow->address))
		return drop(REASON_REWRITE_FAILED);
	return PASS;
}

static __noinline int receive_icmp(struct __sk_buff *skb, const struct packet *packet)
{
	struct icmp icmp;

	if (packet->position == LATER_FRAGMENT)
		return drop(REASON_FRAGMENT);
	if (bpf_skb_load_bytes(skb, packet->l4, &icmp, sizeof(icmp)))
		return drop(REASON_BAD_HEADER);
	if (icmp.type == ICMP_ECHO && icmp.code == 0)
		return answer_echo(skb, packet);
	if (is_icmp_error(icmp.type))
		return receive_icmp_error(skb, packet);
	return drop(REASON_NOT_ANSWERABLE);
}

/* An error about client -> pod, from the pod or from this node: the client only knows the VIP. */
static __noinline int send_icmp(struct __sk_buff *skb, const struct packet *packet)
{
	const struct flow *flow;
	struct flow_key key;
	struct packet quote = {};
	__u8 type;

	if (packet->position != WHOLE || bpf_skb_load_bytes(skb, packet->l4, &type, sizeof(type)) || !is_icmp_error(type))
		return PASS;
	if (!parse_quote(skb, packet, &quote))
		return PASS;
	key = reversed_key(&quote, DIRECTION_OUT);
	flow = find_flow(&key);
	if (!flow)
		return PASS;
	if (rewrite_quote(skb, packet, &quote, DESTINATION, flow))
		return drop(REASON_REWRITE_FAILED);
	/* A router's own error keeps the router's address, as on any path. */
	if (packet->source == quote.destination && rewrite_address(skb, packet->l3, SOURCE, packet->source,
			flow->address))
		return drop(REASON_REWRITE_FAILED);
	return PASS;
}

#endif
