// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Changing addresses and ports. The kernel's checksum calls are incremental, so odd lengths and fragments need no
 * care, and they know about checksums that the hardware will finish (CHECKSUM_PARTIAL).
 *
 * Of IPv6 they do not know that no checksum of its header makes up for the address: where the hardware has summed up
 * the whole packet (CHECKSUM_COMPLETE) a change by BPF_F_PSEUDO_HDR leaves that sum wrong by the address. The flag
 * that says so, BPF_F_IPV6, is of Linux 6.16; BPF_F_RECOMPUTE_CSUM when the address is written makes up for it on
 * every kernel, and for a later fragment, which has no other checksum, it is right by itself. */
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

/* IPv4: the address in the IP header at `l3`, and that header's checksum: together they leave its sum unchanged. */
static __always_inline long rewrite_ipv4_address(struct __sk_buff *skb, __u32 l3, enum side side, __be32 from,
		__be32 to)
{
	__u32 offset = side == SOURCE ? offsetof(struct iphdr, saddr) : offsetof(struct iphdr, daddr);

	return bpf_l3_csum_replace(skb, l3 + offsetof(struct iphdr, check), from, to, sizeof(to)) ?:
	       bpf_skb_store_bytes(skb, l3 + offset, &to, sizeof(to), 0);
}

/* IPv6: the address in the IP header at `l3`, as it is. */
static __always_inline long store_ipv6_address(struct __sk_buff *skb, __u32 l3, enum side side,
		const struct ip_address *to, __u64 flags)
{
	__u32 offset = side == SOURCE ? offsetof(struct ipv6hdr, saddr) : offsetof(struct ipv6hdr, daddr);
	long failed = bpf_skb_store_bytes(skb, l3 + offset, to, sizeof(*to), flags);

	/* The compiler would make one call of this one and that of IPv4, with a length that varies. */
	asm volatile("" : "+r"(failed));
	return failed;
}

/* IPv6: how the sum of a packet changes when one address takes the place of another. */
static __always_inline __s64 address_difference(const struct ip_address *from, const struct ip_address *to)
{
	return bpf_csum_diff((__be32 *)from, sizeof(*from), (__be32 *)to, sizeof(*to), 0);
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

static __always_inline const struct ip_address *address_of(const struct packet *packet, enum side side)
{
	return side == SOURCE ? &packet->source : &packet->destination;
}

static __always_inline __be16 port_of(const struct packet *packet, enum side side)
{
	return side == SOURCE ? packet->source_port : packet->destination_port;
}

/* The checksum at an offset covers the address in its pseudo header. */
static __always_inline long rewrite_pseudo_header(struct __sk_buff *skb, const struct packet *packet, __u32 checksum,
		__u64 flags, enum side side, const struct ip_address *to)
{
	const struct ip_address *from = address_of(packet, side);

	if (is_ipv6(packet))
		return bpf_l4_csum_replace(skb, checksum, 0, address_difference(from, to), BPF_F_PSEUDO_HDR | flags);
	return bpf_l4_csum_replace(skb, checksum, from->low, to->low, sizeof(to->low) | BPF_F_PSEUDO_HDR | flags);
}

static __always_inline __u32 ports_in_one(__be16 source, __be16 destination)
{
	return (__u32)source << 16 | destination;
}

/* What covers addresses and ports, for those that will be written: that of the side, or the one that is `replaced`. */
static __always_inline long rewrite_checksum(struct __sk_buff *skb, const struct packet *packet, enum side side,
		enum side replaced, const struct flow *to)
{
	/* A UDP checksum of zero means none (RFC 768): it stays zero, and a sum that becomes zero is written as ones. */
	__u64 flags = packet->protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
	__u32 checksum = l4_checksum_offset(packet);
	/* In whatever order: a sum knows none. */
	__u32 from = ports_in_one(port_of(packet, side), port_of(packet, other(side)));
	__u32 ports = ports_in_one(to->port, to->client_port);
	long failed;

	/* That of SCTP covers no address (RFC 9260 6.8), and a port that changes would change all of it. */
	if (packet->protocol == IPPROTO_SCTP)
		return from != ports;
	failed = rewrite_pseudo_header(skb, packet, checksum, flags, replaced, &to->address);
	if (failed || from == ports)
		return failed;
	return bpf_l4_csum_replace(skb, checksum, from, ports, sizeof(ports) | flags);
}

static __always_inline long store_ports(struct __sk_buff *skb, const struct packet *packet, enum side side,
		const struct flow *to)
{
	bool is_source = side == SOURCE;
	struct ports ports = {
		.source = is_source ? to->port : to->client_port,
		.destination = is_source ? to->client_port : to->port,
	};

	return bpf_skb_store_bytes(skb, packet->l4, &ports, sizeof(ports), 0);
}

static __always_inline __u32 tuple_hash(bool is_ipv6, const struct ip_address *source, __be16 source_port,
		const struct ip_address *destination, __be16 destination_port)
{
	__u32 hash = mix_address(0x7472616e, is_ipv6, source);

	hash = mix_address(hash, is_ipv6, destination);
	/* 0 would mean that there is none. */
	return mix(hash, (__u32)source_port << 16 | destination_port) | 1;
}

/* The flow hash of a packet that was translated into this one. */
static __always_inline __u32 translated_hash(const struct packet *packet)
{
	return tuple_hash(is_ipv6(packet), &packet->source, packet->source_port, &packet->destination,
			packet->destination_port);
}

/* The address in the IP header of the packet; what covers it in a pseudo header was changed before. */
static __always_inline long rewrite_address(struct __sk_buff *skb, const struct packet *packet, enum side side,
		const struct ip_address *to)
{
	if (is_ipv6(packet))
		return store_ipv6_address(skb, packet->l3, side, to, BPF_F_RECOMPUTE_CSUM);
	return rewrite_ipv4_address(skb, packet->l3, side, address_of(packet, side)->low, to->low);
}

/* The same in a packet that an ICMP error quotes, whose checksum is at an offset. */
static __always_inline long rewrite_quoted_address(struct __sk_buff *skb, const struct packet *quote, __u32 checksum,
		enum side side, const struct ip_address *to)
{
	if (!is_ipv6(quote))
		return rewrite_ipv4_address(skb, quote->l3, side, address_of(quote, side)->low, to->low);
	return bpf_l4_csum_replace(skb, checksum, 0, address_difference(address_of(quote, side), to), 0) ?:
	       store_ipv6_address(skb, quote->l3, side, to, 0);
}

/* The checksum of an IPv4 header in which one address takes the place of another (RFC 1624 3). */
static __always_inline __sum16 checksum_after(__sum16 check, __be32 from, __be32 to)
{
	__u32 sum = (__u16)~check + (__u16)~from + (__u16)(~from >> 16) + (__u16)to + (to >> 16);

	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

/* What lies in a row at the end of an IPv4 header without options and the beginning of the transport header. */
struct row {
	__sum16 check;
	__be16 source[2];
	__be16 destination[2];
	__be16 source_port;
	__be16 destination_port;
};

/* Addresses, ports and the checksum of the header in one call; the one that covers them all was changed before. */
static __always_inline long rewrite_row(struct __sk_buff *skb, const struct packet *packet, enum side side,
		const struct flow *to)
{
	const struct ip_address *from = address_of(packet, side);
	bool is_source = side == SOURCE;
	struct row row = {
		.check = checksum_after(packet->check, from->low, to->address.low),
		.source_port = is_source ? to->port : to->client_port,
		.destination_port = is_source ? to->client_port : to->port,
	};
	long failed;

	__builtin_memcpy(row.source, is_source ? &to->address.low : &packet->source.low, sizeof(row.source));
	__builtin_memcpy(row.destination, is_source ? &packet->destination.low : &to->address.low,
			sizeof(row.destination));
	failed = bpf_skb_store_bytes(skb, packet->l3 + offsetof(struct iphdr, check), &row, sizeof(row), 0);
	/* As in {@link store_ipv6_address}. */
	asm volatile("" : "+r"(failed));
	return failed;
}

/* Whether {@link rewrite_row} is all that is to be written. What another node handed on may have been marked since its
 * header was read. */
static __always_inline bool is_in_a_row(const struct packet *packet)
{
	return !is_ipv6(packet) && packet->header_length == sizeof(struct iphdr) && !packet->tunnelled &&
	       packet->position != LATER_FRAGMENT;
}

/* One side of a TCP, UDP or SCTP packet becomes address:port of the flow, the other gets its client port. */
static __noinline long rewrite(struct __sk_buff *skb, const struct packet *packet, enum side side,
		const struct flow *to)
{
	long failed = 0;

	if (packet->position != LATER_FRAGMENT)
		failed = rewrite_checksum(skb, packet, side, side, to);
	/* The flow hash of the receive queue belongs to the old tuple. A request gets one that says that it was
	 * translated: stacked devices (a VLAN and its parent, a bridge and its port) show it twice, and a mark would be
	 * somebody's. */
	if (side == DESTINATION)
		bpf_set_hash(skb, tuple_hash(is_ipv6(packet), &packet->source, to->client_port, &to->address, to->port));
	else
		bpf_set_hash_invalid(skb);
	if (failed)
		return failed;
	if (is_in_a_row(packet))
		return rewrite_row(skb, packet, side, to);
	if (packet->position != LATER_FRAGMENT)
		failed = store_ports(skb, packet, side, to);
	return failed ?: rewrite_address(skb, packet, side, &to->address);
}

/* The same inside the quoted packet of an ICMP error at packet->l4. The quoted transport checksum is mostly cut
 * off and nobody verifies it; the ICMP checksum covers the quote, in which the header of IPv4 keeps its own sum. */
static __always_inline long rewrite_quote(struct __sk_buff *skb, const struct packet *packet,
		const struct packet *quote, enum side side,
					  const struct flow *to)
{
	__u32 checksum = packet->l4 + offsetof(struct icmp, checksum);
	enum side client = other(side);

	return rewrite_quoted_address(skb, quote, checksum, side, &to->address) ?:
	       rewrite_port(skb, checksum, 0, quote->l4, side, port_of(quote, side), to->port) ?:
	       rewrite_port(skb, checksum, 0, quote->l4, client, port_of(quote, client), to->client_port);
}

#endif
