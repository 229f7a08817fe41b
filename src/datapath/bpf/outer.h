// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What lies around a packet on its way to another node (see tunnel.h), and the route that it takes: the same for a
 * packet of TC and for a frame of XDP. */
#ifndef HERALD_OUTER_H
#define HERALD_OUTER_H

#include "backend.h"
#include "outcome.h"
#include "packet.h"

#define TUNNEL_TTL 64
/* Source ports, of which one flow has one: routers and receive queues tell flows by it. */
#define FIRST_TUNNEL_PORT 49152
#define TUNNEL_PORTS 16384

struct outer {
	struct iphdr ip;
	struct udphdr udp;
	struct tunnel_header tunnel;
} __attribute__((packed, aligned(4)));

struct outer6 {
	struct ipv6hdr ip;
	struct udphdr udp;
	struct tunnel_header tunnel;
} __attribute__((packed, aligned(4)));

static __always_inline const struct tunnel *own_tunnel(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&tunnels, &first);
}

static __always_inline bool is_over_ipv6(const struct backend *backend)
{
	return !is_mapped(&backend->node);
}

static __always_inline __u32 outer_length(const struct backend *backend)
{
	return is_over_ipv6(backend) ? sizeof(struct outer6) : sizeof(struct outer);
}

/* Whether this node has an address from which packets go to that one. */
static __always_inline bool has_own_end(const struct tunnel *own, const struct backend *backend)
{
	return own->port && (is_over_ipv6(backend) ? own->ipv6.high[0] : own->ipv4.low);
}

/* Of what goes on the wire in one piece: of a merged packet one segment. */
static __noinline __u32 wire_length(frame *skb, const struct packet *packet)
{
	__u32 header = sizeof(struct udphdr), merged = segment_length(skb);
	__u8 offset;

	if (!merged)
		return packet->total_length;
	if (packet->protocol == IPPROTO_TCP) {
		if (load_octets(skb, packet->l4 + 12, &offset, sizeof(offset)))
			return packet->total_length;
		header = offset >> 4 << 2;
	}
	return packet->header_length + header + merged;
}

/* What to ask the kernel for the way to the node of a backend, all zeros before. */
static __always_inline void put_route(struct bpf_fib_lookup *route, const struct backend *backend,
		const struct tunnel *own, __u32 length)
{
	route->l4_protocol = IPPROTO_UDP;
	route->dport = own->port;
	route->tot_len = length < 0xffff ? length : 0xffff;
	if (is_over_ipv6(backend))
		put_addresses(route, true, &own->ipv6, &backend->node);
	else
		put_addresses(route, false, &own->ipv4, &backend->node);
}

/* A merged packet beyond 64 KiB (BIG TCP) says 0. What a link has added behind the packet is not of it. */
static __always_inline __u32 inner_length(frame *skb, const struct packet *packet)
{
	return packet->total_length ?: frame_length(skb) - packet->l3;
}

static __always_inline __be16 length_field(__u32 length)
{
	return length > 0xffff ? 0 : bpf_htons(length);
}

static __always_inline struct udphdr outer_udp(const struct packet *packet, const struct tunnel *own, __u32 length)
{
	/* No checksum: the packet has its own (RFC 6935 for IPv6). */
	struct udphdr udp = {
		.source = bpf_htons(FIRST_TUNNEL_PORT + flow_hash(packet) % TUNNEL_PORTS),
		.dest = own->port,
		.len = length_field(length),
	};
	return udp;
}

static __always_inline struct tunnel_header tunnel_header(const struct backend *backend, const struct passage *passage)
{
	struct tunnel_header header = {
		.version = TUNNEL_VERSION,
		.flags = passage->handed_on < TUNNELLED_BEFORE_LAST ? passage->handed_on << TUNNEL_TIMES_SHIFT : TUNNEL_FINAL,
		.port = backend->port,
		.backend = backend->address,
	};
	return header;
}

static __always_inline struct outer outer_of(frame *skb, const struct packet *packet, const struct backend *backend,
		const struct passage *passage, const struct tunnel *own)
{
	__u32 length = inner_length(skb, packet) + sizeof(struct outer);
	struct outer outer = {
		.ip = {
			.version = 4,
			.ihl = 5,
			.tos = traffic_class(skb, packet),
			.tot_len = length_field(length),
			.frag_off = bpf_htons(IP_DONT_FRAGMENT),
			.ttl = TUNNEL_TTL,
			.protocol = IPPROTO_UDP,
			.saddr = own->ipv4.low,
			.daddr = backend->node.low,
		},
		.udp = outer_udp(packet, own, length - sizeof(outer.ip)),
		.tunnel = tunnel_header(backend, passage),
	};

	outer.ip.check = ~fold(bpf_csum_diff(NULL, 0, (__be32 *)&outer.ip, sizeof(outer.ip), 0));
	return outer;
}

static __always_inline struct outer6 outer6_of(frame *skb, const struct packet *packet, const struct backend *backend,
		const struct passage *passage, const struct tunnel *own)
{
	__u32 payload = inner_length(skb, packet) + sizeof(struct outer6) - sizeof(struct ipv6hdr);
	__u8 class = traffic_class(skb, packet);
	struct outer6 outer = {
		.ip = {
			.version = 6,
			.priority = class >> 4,
			.flow_lbl = { class << 4 },
			.payload_len = length_field(payload),
			.nexthdr = IPPROTO_UDP,
			.hop_limit = TUNNEL_TTL,
		},
		.udp = outer_udp(packet, own, payload),
		.tunnel = tunnel_header(backend, passage),
	};

	__builtin_memcpy(&outer.ip.saddr, &own->ipv6, sizeof(outer.ip.saddr));
	__builtin_memcpy(&outer.ip.daddr, &backend->node, sizeof(outer.ip.daddr));
	return outer;
}

/* Tags do not go along, and are not counted. */
static __always_inline __u32 untagged_length(frame *skb, const struct packet *packet)
{
	return frame_length(skb) - (packet->l3 - ETH_HLEN);
}

static __always_inline void add_forwarded(struct counters *total, __u32 packets, __u32 octets)
{
	total->packets_forwarded += packets;
	total->bytes_forwarded += octets;
}

static __always_inline void count_forwarded(const struct passage *passage, __u32 packets, __u32 octets)
{
	__u32 service = passage->service;
	struct counters *total = bpf_map_lookup_elem(&counters, &service);

	if (!total)
		return;
	add_forwarded(total, packets, octets);
	total = counters_of(&passage->backend);
	if (total)
		add_forwarded(total, packets, octets);
}

#endif
