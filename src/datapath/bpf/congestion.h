// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Congestion on the way between two nodes (RFC 6040): the outer header has the ECN of the packet, so that routers may
 * mark it, and what they marked goes on with the packet. DSCP is that of the packet on the way; what the way makes of
 * it stays there (RFC 2983 3.1). */
#ifndef HERALD_CONGESTION_H
#define HERALD_CONGESTION_H

#include <stddef.h>
#include "packet.h"

/* RFC 3168 5. */
enum ecn {
	ECN_NOT_CAPABLE,
	ECN_CAPABLE_1,
	ECN_CAPABLE_0,
	ECN_CONGESTED,
};

#define ECN_MASK 3

static __noinline bool write_ecn(struct __sk_buff *skb, const struct packet *packet, enum ecn ecn)
{
	union {
		__u8 octets[2];
		__be16 word;
	} before = {}, after;
	__u32 shift = is_ipv6(packet) ? 4 : 0;

	if (bpf_skb_load_bytes(skb, packet->l3, &before, sizeof(before)))
		return false;
	after = before;
	after.octets[1] = (before.octets[1] & ~(ECN_MASK << shift)) | ecn << shift;
	/* Of IPv4 the header's sum stays what it is. */
	if (!is_ipv6(packet) && bpf_l3_csum_replace(skb, packet->l3 + offsetof(struct iphdr, check), before.word,
						after.word, sizeof(after.word)))
		return false;
	return !bpf_skb_store_bytes(skb, packet->l3, &after, sizeof(after), is_ipv6(packet) ? BPF_F_RECOMPUTE_CSUM : 0);
}

/* What came out of a tunnel whose header had this ECN (RFC 6040 4.2). False: it is to be dropped, since its transport
 * hears of congestion by no other way. */
__noinline int carry_congestion(struct __sk_buff *skb, __u32 outer)
{
	const struct packet *packet = packet_at(SCRATCH_PACKET);
	enum ecn inner;

	if (!packet)
		return false;
	inner = traffic_class(skb, packet) & ECN_MASK;
	if (inner == ECN_NOT_CAPABLE)
		return outer != ECN_CONGESTED;
	if (inner == outer || inner == ECN_CONGESTED)
		return true;
	if (outer == ECN_CONGESTED || outer == ECN_CAPABLE_1)
		write_ecn(skb, packet, outer);
	return true;
}

#endif
