// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Changing addresses and ports. The kernel's checksum calls are incremental, so odd lengths and fragments need no
 * care, and they know about checksums that the hardware will finish (CHECKSUM_PARTIAL). */
#ifndef HERALD_REWRITE_H
#define HERALD_REWRITE_H

#include <stddef.h>
#include "backend.h"
#include "flow.h"
#include "packet.h"

enum side {
	SOURCE,
	DESTINATION,
};

static __always_inline __u32 l4_checksum_offset(const struct packet *packet)
{
	if (packet->protocol == IPPROTO_TCP)
		return packet->l4 + offsetof(struct tcphdr, check);
	return packet->l4 + offsetof(struct udphdr, check);
}

/* The address in the IP header at `l3`, and that header's checksum: together they leave its sum unchanged. */
static __always_inline long rewrite_address(struct __sk_buff *skb, __u32 l3, enum side side, __be32 from, __be32 to)
{
	__u32 offset = side == SOURCE ? offsetof(struct iphdr, saddr) : offsetof(struct iphdr, daddr);

	return bpf_l3_csum_replace(skb, l3 + offsetof(struct iphdr, check), from, to, sizeof(to)) ?:
	       bpf_skb_store_bytes(skb, l3 + offset, &to, sizeof(to), 0);
}

/* A port in the transport header at `l4`, and the checksum that covers it. */
static __always_inline long rewrite_port(struct __sk_buff *skb, __u32 checksum, __u64 flags, __u32 l4, enum side side,
		__be16 from, __be16 to)
{
	if (from == to)
		return 0;
	return bpf_l4_csum_replace(skb, checksum, from, to, sizeof(to) | flags) ?:
	       bpf_skb_store_bytes(skb, l4 + (side == SOURCE ? 0 : sizeof(to)), &to, sizeof(to), 0);
}

static __always_inline enum side other(enum side side)
{
	return side == SOURCE ? DESTINATION : SOURCE;
}

static __always_inline __be32 address_of(const struct packet *packet, enum side side)
{
	return side == SOURCE ? packet->source : packet->destination;
}

static __always_inline __be16 port_of(const struct packet *packet, enum side side)
{
	return side == SOURCE ? packet->source_port : packet->destination_port;
}

static __always_inline long rewrite_transport(struct __sk_buff *skb, const struct packet *packet, enum side side,
		const struct flow *to)
{
	/* A UDP checksum of zero means none (RFC 768): it stays zero, and a sum that becomes zero is written as ones. */
	__u64 flags = packet->protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
	__u32 checksum = l4_checksum_offset(packet);
	enum side client = other(side);

	return bpf_l4_csum_replace(skb, checksum, address_of(packet, side), to->address,
			sizeof(to->address) | BPF_F_PSEUDO_HDR | flags) ?:
	       rewrite_port(skb, checksum, flags, packet->l4, side, port_of(packet, side), to->port) ?:
	       rewrite_port(skb, checksum, flags, packet->l4, client, port_of(packet, client), to->client_port);
}

static __always_inline __u32 tuple_hash(__be32 source, __be16 source_port, __be32 destination, __be16 destination_port)
{
	__u32 hash = mix(0x7472616e, source);

	hash = mix(hash, destination);
	/* 0 would mean that there is none. */
	return mix(hash, (__u32)source_port << 16 | destination_port) | 1;
}

/* The flow hash of a packet that was translated into this one. */
static __always_inline __u32 translated_hash(const struct packet *packet)
{
	return tuple_hash(packet->source, packet->source_port, packet->destination, packet->destination_port);
}

/* One side of a TCP or UDP packet becomes address:port of the flow, the other gets its client port. */
static __always_inline long rewrite(struct __sk_buff *skb, const struct packet *packet, enum side side,
		const struct flow *to)
{
	long failed = 0;

	if (packet->position != LATER_FRAGMENT)
		failed = rewrite_transport(skb, packet, side, to);
	/* The flow hash of the receive queue belongs to the old tuple. A request gets one that says that it was
	 * translated: stacked devices (a VLAN and its parent, a bridge and its port) show it twice, and a mark would be
	 * somebody's. */
	if (side == DESTINATION)
		bpf_set_hash(skb, tuple_hash(packet->source, to->client_port, to->address, to->port));
	else
		bpf_set_hash_invalid(skb);
	return failed ?: rewrite_address(skb, packet->l3, side, address_of(packet, side), to->address);
}

/* The same inside the quoted packet of an ICMP error at packet->l4. The quoted transport checksum is mostly cut
 * off and nobody verifies it; the ICMP checksum covers the quote, but the rewritten IP header keeps its own sum. */
static __always_inline long rewrite_quote(struct __sk_buff *skb, const struct packet *packet,
		const struct packet *quote, enum side side,
					  const struct flow *to)
{
	__u32 checksum = packet->l4 + offsetof(struct icmp, checksum);
	enum side client = other(side);

	return rewrite_address(skb, quote->l3, side, address_of(quote, side), to->address) ?:
	       rewrite_port(skb, checksum, 0, quote->l4, side, port_of(quote, side), to->port) ?:
	       rewrite_port(skb, checksum, 0, quote->l4, client, port_of(quote, client), to->client_port);
}

#endif
