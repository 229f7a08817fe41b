// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Echo replies in the place of their requests, in a frame that no kernel has seen yet: what answer.h and answer6.h do
 * by calls that only TC has. */
#ifndef HERALD_ECHO_H
#define HERALD_ECHO_H

#include <stddef.h>
#include "limit.h"
#include "packet.h"
#include "ranges.h"

/* The kernel's own sums for programs of TC (csum_replace2, csum_replace4): of the two forms that zero has in such a sum
 * the same one comes out. */
static __always_inline __u16 header_sum(__u16 sum, __u16 from, __u16 to)
{
	__u16 without = ~sum + (__u16)~from, with;

	without += without < (__u16)~from;
	with = without + to;
	return ~(with + (with < to));
}

static __always_inline __u16 message_sum(__u16 sum, __u16 from, __u16 to)
{
	__u32 without = ~(__u32)sum + ~(__u32)from, with;

	without += without < ~(__u32)from;
	with = without + to;
	return ~fold(with + (with < to));
}

static __always_inline bool turn_ethernet(struct xdp_md *xdp)
{
	struct ethhdr from, to;

	if (bpf_xdp_load_bytes(xdp, 0, &from, sizeof(from)))
		return false;
	__builtin_memcpy(to.h_dest, from.h_source, ETH_ALEN);
	__builtin_memcpy(to.h_source, from.h_dest, ETH_ALEN);
	to.h_proto = from.h_proto;
	return !bpf_xdp_store_bytes(xdp, 0, &to, sizeof(to));
}

/* From the TTL on. */
struct ipv4_rest {
	__be16 ttl_protocol;
	__sum16 check;
	__be32 source;
	__be32 destination;
};

static __always_inline bool turn_ipv4(struct xdp_md *xdp, const struct packet *packet)
{
	__u32 at = packet->l3 + offsetof(struct iphdr, ttl);
	__be16 answered = bpf_htons(ANSWER_TTL << 8 | IPPROTO_ICMP);
	struct ipv4_rest rest;

	if (bpf_xdp_load_bytes(xdp, at, &rest, sizeof(rest)))
		return false;
	/* Addresses change places: their sum, and with it the header's, stays. */
	rest.check = header_sum(rest.check, rest.ttl_protocol, answered);
	rest.ttl_protocol = answered;
	rest.source = packet->destination.low;
	rest.destination = packet->source.low;
	return !bpf_xdp_store_bytes(xdp, at, &rest, sizeof(rest));
}

/* From the hop limit on, with the octet before it. */
struct ipv6_rest {
	__u8 next;
	__u8 hop_limit;
	struct ip_address source;
	struct ip_address destination;
} __attribute__((packed));

static __always_inline bool turn_ipv6(struct xdp_md *xdp, const struct packet *packet)
{
	struct ipv6_rest rest = {
		.next = IPPROTO_ICMPV6,
		.hop_limit = ANSWER_TTL,
		.source = packet->destination,
		.destination = packet->source,
	};

	return !bpf_xdp_store_bytes(xdp, packet->l3 + offsetof(struct ipv6hdr, nexthdr), &rest, sizeof(rest));
}

/* Type, code and checksum. */
static __always_inline int answer_early(struct xdp_md *xdp, const struct packet *packet, __be16 from, __u16 sum)
{
	bool is_v6 = is_ipv6(packet);
	__be16 reply[2] = { bpf_htons((is_v6 ? ICMP6_ECHO_REPLY : ICMP_ECHO_REPLY) << 8) };

	reply[1] = message_sum(sum, from, reply[0]);
	/* A reply of nothing but zeros needs a sum of ones, which the increment alone does not give (RFC 1624 section 3). */
	if (!is_v6 && !reply[1])
		reply[1] = 0xffff;
	if (!(is_v6 ? turn_ipv6(xdp, packet) : turn_ipv4(xdp, packet)) ||
	    bpf_xdp_store_bytes(xdp, packet->l4, reply, sizeof(reply)) || !turn_ethernet(xdp))
		return drop(REASON_REWRITE_FAILED);
	return ANSWERED + REASON_ECHO_ANSWERED;
}

/* The packet in the map, whole and of ICMP: as receive_icmp of icmp.h, but what is about flows is left to that one; and
 * the answer, where this program may give none. */
static __noinline int receive_echo(struct xdp_md *xdp, const struct packet *packet, bool may_answer)
{
	struct icmp icmp;
	int why;

	if (packet->total_length < packet->header_length + sizeof(icmp) ||
	    bpf_xdp_load_bytes(xdp, packet->l4, &icmp, sizeof(icmp)))
		return drop(REASON_BAD_HEADER);
	if (is_icmp_error(packet, icmp.type) || (is_ipv6(packet) && is_neighbor_discovery(icmp.type)))
		return HERE;
	if (icmp.type != (is_ipv6(packet) ? ICMP6_ECHO_REQUEST : ICMP_ECHO) || icmp.code != 0)
		return drop(REASON_NOT_ANSWERABLE);
	if (!is_answered(SCRATCH_PACKET))
		return drop(REASON_SOURCE_NOT_ALLOWED);
	if (!may_answer) {
		why = why_no_echo(packet);
		if (!why && is_beyond_limit(REASON_ECHO_ANSWERED, packet))
			why = drop(REASON_ANSWER_LIMITED);
		return why;
	}
	why = take_echo(packet);
	return why ?: answer_early(xdp, packet, bpf_htons(icmp.type << 8), icmp.checksum);
}

#endif
