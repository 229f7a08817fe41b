// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The way between nodes. A packet is handed on as it came, with the VIP as its destination, in UDP:
 *
 *     IP (node -> node, don't fragment) | UDP (hash of the flow -> port) | struct tunnel_header | IP (client -> VIP)
 *
 * Every packet of a flow carries all that its node needs, so nothing depends on a first one. The outer header is of the
 * family of the nodes, whatever that of the packet is. Whoever takes one believes nobody but a node of the cluster. */
#ifndef HERALD_TUNNEL_H
#define HERALD_TUNNEL_H

#include "answer.h"
#include "backend.h"
#include "congestion.h"
#include "packet.h"
#include "way.h"

#define TUNNEL_TTL 64
/* Source ports, of which one flow has one: routers and receive queues tell flows by it. */
#define FIRST_TUNNEL_PORT 49152
#define TUNNEL_PORTS 16384
/* RFC 8200 5: every link of IPv6 has at least that. Before Linux 5.12 a look-up of routes does not tell the MTU. */
#define LEAST_MTU 1280
/* RFC 791 3.1: what every host takes. Linux sends no smaller segments than of 552 for a router that asks for less. */
#define LEAST_MTU_IPV4 576
/* BPF_F_ADJ_ROOM_DECAP_L3_*, since Linux 6.3: of which family the packet is that comes out, where the outer one is of
 * the other. */
#define DECAP_IPV4 (1ULL << 7)
#define DECAP_IPV6 (1ULL << 8)

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

/* Of what goes on the wire in one piece: of a merged packet one segment. */
static __noinline __u32 wire_length(struct __sk_buff *skb, const struct packet *packet)
{
	__u32 header = sizeof(struct udphdr);
	__u8 offset;

	if (!skb->gso_size)
		return packet->total_length;
	if (packet->protocol == IPPROTO_TCP) {
		if (bpf_skb_load_bytes(skb, packet->l4 + 12, &offset, sizeof(offset)))
			return packet->total_length;
		header = offset >> 4 << 2;
	}
	return packet->header_length + header + skb->gso_size;
}

/* What fits, for whoever sends. The kernel believes an ICMP error about a ping that it answered, whoever sent it: so
 * the MTU to a node may be as small as anybody likes, and below this one the client could do nothing about it. */
static __always_inline __u16 told_mtu(const struct packet *packet, __u32 mtu, __u32 overhead)
{
	__u32 least = is_ipv6(packet) ? LEAST_MTU : LEAST_MTU_IPV4;

	return mtu > least + overhead ? mtu - overhead : least;
}

/* The interface by which the node is reached, in the passage; what is too big for the way there is refused. */
static __noinline int find_route(struct __sk_buff *skb, struct packet *packet, const struct backend *backend,
		struct passage *passage, const struct tunnel *own)
{
	bool is_over_ipv6 = !is_mapped(&backend->node);
	__u32 overhead = is_over_ipv6 ? sizeof(struct outer6) : sizeof(struct outer);
	struct bpf_fib_lookup route = {
		.family = is_over_ipv6 ? ADDRESSES_IPV6 : ADDRESSES_IPV4,
		.l4_protocol = IPPROTO_UDP,
		.dport = own->port,
		.ifindex = skb->ifindex,
	};
	__u32 length = wire_length(skb, packet) + overhead;
	long answer;

	route.tot_len = length < 0xffff ? length : 0xffff;
	if (is_over_ipv6) {
		__builtin_memcpy(route.ipv6_src, &own->ipv6, sizeof(route.ipv6_src));
		__builtin_memcpy(route.ipv6_dst, &backend->node, sizeof(route.ipv6_dst));
	} else {
		route.ipv4_src = own->ipv4.low;
		route.ipv4_dst = backend->node.low;
	}
	answer = bpf_fib_lookup(skb, &route, sizeof(route), 0);
	if (answer == BPF_FIB_LKUP_RET_FRAG_NEEDED) {
		packet->mtu = told_mtu(packet, route.mtu_result < length ? route.mtu_result : LEAST_MTU, overhead);
		/* An error is never answered by one (RFC 1122 3.2.2, RFC 4443 2.4 (e)). */
		if (length > packet->mtu + overhead)
			return is_icmp(packet) ? drop(REASON_NOT_ANSWERABLE) : REFUSE + REASON_TOO_BIG;
		/* Without a length the MTU of the interface alone counts. */
		route.tot_len = 0;
		answer = bpf_fib_lookup(skb, &route, sizeof(route), 0);
	}
	if (answer != BPF_FIB_LKUP_RET_SUCCESS && answer != BPF_FIB_LKUP_RET_NO_NEIGH)
		return drop(REASON_NODE_UNREACHABLE);
	passage->ifindex = route.ifindex;
	return FORWARDED;
}

/* A merged packet beyond 64 KiB (BIG TCP) says 0. What a link has added behind the packet is not of it. */
static __always_inline __u32 inner_length(struct __sk_buff *skb, const struct packet *packet)
{
	return packet->total_length ?: skb->len - packet->l3;
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

/* Room in front of the packet. Where a driver leaves a packet that came by a tunnel marked so, it cannot be marked
 * anew, and need not be. */
static __always_inline bool make_room(struct __sk_buff *skb, const struct packet *packet, __u32 octets, __u64 family)
{
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L4_UDP | family;

	if (!bpf_skb_adjust_room(skb, octets, BPF_ADJ_ROOM_MAC, flags))
		return true;
	return packet->tunnelled && !bpf_skb_adjust_room(skb, octets, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO);
}

/* Tags are of the link that it came by: one beside the packet, and one inside it, which takes the place of the first
 * when that one goes. What is quoted moves along. False: one is there still. */
static __noinline bool pop_tags(struct __sk_buff *skb, struct packet *packet)
{
	struct packet *quote = packet_at(SCRATCH_QUOTE);
	__u32 octets;

	UNROLLED
	for (__u32 tag = 0; tag < 2; tag++) {
		octets = packet->l3 - ETH_HLEN;
		if (!octets && !skb->vlan_present)
			return true;
		if (!quote || bpf_skb_vlan_pop(skb))
			return false;
		packet->l3 -= octets;
		packet->l4 -= octets;
		quote->l3 -= octets;
		quote->l4 -= octets;
	}
	return !skb->vlan_present;
}

static __noinline bool put_outer(struct __sk_buff *skb, const struct packet *packet, const struct backend *backend,
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
	return make_room(skb, packet, sizeof(outer), BPF_F_ADJ_ROOM_ENCAP_L3_IPV4) &&
	       !bpf_skb_store_bytes(skb, ETH_HLEN, &outer, sizeof(outer), 0);
}

static __noinline bool put_outer6(struct __sk_buff *skb, const struct packet *packet, const struct backend *backend,
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
	return make_room(skb, packet, sizeof(outer), BPF_F_ADJ_ROOM_ENCAP_L3_IPV6) &&
	       !bpf_skb_store_bytes(skb, ETH_HLEN, &outer, sizeof(outer), 0);
}

static __always_inline void add_forwarded(struct counters *total, struct __sk_buff *skb)
{
	total->packets_forwarded += wire_packets(skb);
	total->bytes_forwarded += skb->len;
}

static __always_inline void count_forwarded(struct __sk_buff *skb, const struct passage *passage)
{
	__u32 service = passage->service;
	struct counters *total = bpf_map_lookup_elem(&counters, &service);

	if (!total)
		return;
	add_forwarded(total, skb);
	total = counters_of(&passage->backend);
	if (total)
		add_forwarded(total, skb);
}

/* To the node of the backend in the passage: FORWARDED with the interface in the passage, or an outcome. */
__noinline int hand_on(struct __sk_buff *skb)
{
	struct packet *packet = packet_at(SCRATCH_PACKET);
	struct passage *passage = passage_here();
	const struct tunnel *own = own_tunnel();
	const struct backend *backend;
	bool is_over_ipv6;
	int answer;

	if (!packet || !passage || !own)
		return drop(REASON_NODE_UNREACHABLE);
	backend = backend_of(&passage->backend);
	if (!backend)
		return drop(REASON_NODE_UNREACHABLE);
	/* A flow goes on as it began, whatever its node takes by now. */
	if (is_translating && (is_behind_translation(backend) || passage->flags & FLOW_TRANSLATED))
		return TRANSLATE;
	is_over_ipv6 = !is_mapped(&backend->node);
	if (!own->port || (is_over_ipv6 ? !own->ipv6.high[0] : !own->ipv4.low))
		return drop(REASON_NODE_UNREACHABLE);
	answer = find_route(skb, packet, backend, passage, own);
	if (answer != FORWARDED)
		return answer;
	count_forwarded(skb, passage);
	if (!pop_tags(skb, packet))
		return drop(REASON_REWRITE_FAILED);
	if (is_over_ipv6 ? !put_outer6(skb, packet, backend, passage, own) : !put_outer(skb, packet, backend, passage, own))
		return drop(REASON_REWRITE_FAILED);
	return FORWARDED;
}

static __always_inline bool shorten(struct __sk_buff *skb, __u32 octets, __u64 family)
{
	return !bpf_skb_adjust_room(skb, -(__s32)octets, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO | family);
}

/* Takes the outer headers off; the packet in the map is the inner one then. */
static __noinline bool take_off(struct __sk_buff *skb, struct packet *packet, __u32 octets, bool is_ipv6_inside)
{
	__be16 ether_type = bpf_htons(is_ipv6_inside ? ETH_P_IPV6 : ETH_P_IP);
	__u32 longer = sizeof(struct ipv6hdr) - sizeof(struct iphdr);

	if (is_ipv6_inside == is_ipv6(packet)) {
		if (!shorten(skb, octets, 0))
			return false;
	} else if (!shorten(skb, octets, is_ipv6_inside ? DECAP_IPV6 : DECAP_IPV4)) {
		/* Linux before 6.3: the outer header becomes one of the other family, as long as that one's. */
		if (bpf_skb_change_proto(skb, ether_type, 0) ||
		    !shorten(skb, is_ipv6_inside ? octets + longer : octets - longer, 0))
			return false;
	}
	return !bpf_skb_store_bytes(skb, 2 * ETH_ALEN, &ether_type, sizeof(ether_type), 0);
}

static __always_inline enum tunnelled times_of(__u8 flags)
{
	__u8 before = flags >> TUNNEL_TIMES_SHIFT & TUNNEL_TIMES_MASK;

	return flags & TUNNEL_FINAL || before >= TUNNELLED_BEFORE_LAST ? TUNNELLED_FINAL : TUNNELLED + before;
}

/* What came to this node's own address by UDP: TUNNELLED when a node handed on what is for a VIP, which lies in the map
 * then; NOT_TUNNELLED when it is something else; or an outcome. */
__noinline int open_tunnel(struct __sk_buff *skb)
{
	struct packet *packet = packet_at(SCRATCH_PACKET);
	struct passage *passage = passage_here();
	const struct tunnel *own = own_tunnel();
	const struct address *address;
	struct tunnel_header header;
	struct udphdr udp;
	__u32 at, least;
	__u8 version, last, ecn;

	if (!packet || !passage || !own || packet->position != WHOLE || packet->header_length < sizeof(struct iphdr))
		return NOT_TUNNELLED;
	at = packet->l3 + packet->header_length;
	if (bpf_skb_load_bytes(skb, at, &udp, sizeof(udp)) || udp.dest != own->port)
		return NOT_TUNNELLED;
	packet->source_port = udp.source;
	packet->destination_port = udp.dest;
	/* Of IPv6 nobody has a mapped address on the wire, and here those are the nodes of IPv4. */
	if ((is_ipv6(packet) && is_mapped(&packet->source)) || !bpf_map_lookup_elem(&nodes, &packet->source))
		return drop(REASON_UNKNOWN_SENDER);
	if (bpf_skb_load_bytes(skb, at + sizeof(udp), &header, sizeof(header)) || header.version != TUNNEL_VERSION ||
	    bpf_skb_load_bytes(skb, at + sizeof(udp) + sizeof(header), &version, sizeof(version)))
		return drop(REASON_BAD_TUNNEL);
	version >>= 4;
	if ((version != 4 && version != 6) || packet->l3 != ETH_HLEN)
		return drop(REASON_BAD_TUNNEL);
	/* Its header is whole. */
	least = version == 6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	if (bpf_skb_load_bytes(skb, at + sizeof(udp) + sizeof(header) + least - 1, &last, sizeof(last)))
		return drop(REASON_BAD_TUNNEL);
	ecn = traffic_class(skb, packet) & ECN_MASK;
	if (!take_off(skb, packet, at - packet->l3 + sizeof(udp) + sizeof(header), version == 6))
		return drop(REASON_REWRITE_FAILED);
	__builtin_memset(packet, 0, sizeof(*packet));
	if (!parse(skb, packet))
		return drop(REASON_BAD_TUNNEL);
	/* The addresses of a node are known there alone: of what is neither a VIP nor anybody's here the port decides. */
	address = bpf_map_lookup_elem(&addresses, &packet->destination);
	if (address && !address->frontends)
		return drop(REASON_BAD_TUNNEL);
	packet->at_node = !address;
	if (!carry_congestion(skb, ecn))
		return drop(REASON_CONGESTED);
	packet->tunnelled = times_of(header.flags);
	passage->named = header.backend;
	passage->named_port = header.port;
	return TUNNELLED;
}

#endif
