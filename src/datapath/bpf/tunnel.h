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
#include "outer.h"
#include "packet.h"
#include "way.h"

/* RFC 8200 5: every link of IPv6 has at least that. Before Linux 5.12 a look-up of routes does not tell the MTU. */
#define LEAST_MTU 1280
/* RFC 791 3.1: what every host takes. Linux sends no smaller segments than of 552 for a router that asks for less. */
#define LEAST_MTU_IPV4 576
/* BPF_F_ADJ_ROOM_DECAP_L3_*, since Linux 6.3: of which family the packet is that comes out, where the outer one is of
 * the other. */
#define DECAP_IPV4 (1ULL << 7)
#define DECAP_IPV6 (1ULL << 8)

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
	__u32 overhead = outer_length(backend), length = wire_length(skb, packet) + overhead;
	struct bpf_fib_lookup route = { .ifindex = skb->ifindex };
	long answer;

	put_route(&route, backend, own, length);
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
	struct outer outer = outer_of(skb, packet, backend, passage, own);

	return make_room(skb, packet, sizeof(outer), BPF_F_ADJ_ROOM_ENCAP_L3_IPV4) &&
	       !bpf_skb_store_bytes(skb, ETH_HLEN, &outer, sizeof(outer), 0);
}

static __noinline bool put_outer6(struct __sk_buff *skb, const struct packet *packet, const struct backend *backend,
		const struct passage *passage, const struct tunnel *own)
{
	struct outer6 outer = outer6_of(skb, packet, backend, passage, own);

	return make_room(skb, packet, sizeof(outer), BPF_F_ADJ_ROOM_ENCAP_L3_IPV6) &&
	       !bpf_skb_store_bytes(skb, ETH_HLEN, &outer, sizeof(outer), 0);
}

/* To the node of the backend in the passage: FORWARDED with the interface in the passage, or an outcome. */
__noinline int hand_on(struct __sk_buff *skb)
{
	struct packet *packet = packet_at(SCRATCH_PACKET);
	struct passage *passage = passage_here();
	const struct tunnel *own = own_tunnel();
	const struct backend *backend;
	int answer;

	if (!packet || !passage || !own)
		return drop(REASON_NODE_UNREACHABLE);
	backend = backend_of(&passage->backend);
	if (!backend)
		return drop(REASON_NODE_UNREACHABLE);
	/* A flow goes on as it began, whatever its node takes by now. */
	if (is_translating && (is_behind_translation(backend) || passage->flags & FLOW_TRANSLATED))
		return TRANSLATE;
	if (!has_own_end(own, backend))
		return drop(REASON_NODE_UNREACHABLE);
	answer = find_route(skb, packet, backend, passage, own);
	if (answer != FORWARDED)
		return answer;
	count_forwarded(passage, wire_packets(skb), untagged_length(skb, packet));
	if (!pop_tags(skb, packet))
		return drop(REASON_REWRITE_FAILED);
	if (is_over_ipv6(backend) ? !put_outer6(skb, packet, backend, passage, own) :
				    !put_outer(skb, packet, backend, passage, own))
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
