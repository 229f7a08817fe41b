// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What XDP hands on to other nodes: packets of flows that herald_ingress has handed on before, and in which the client
 * went on, which stands in `forwards`. Whatever may have to be written for it, told of it or asked about it, and so the
 * first packets of a flow, is for herald_ingress; so is what does not fit, and what leaves by another interface.
 *
 *     forwards -hit-> no entry of a flow here, as find_way has it
 *       -> a way out of this interface, with a hardware address -> outer.h -> back out of it
 */
#ifndef HERALD_ONWARD_H
#define HERALD_ONWARD_H

#include "outer.h"
#include "way.h"

/* When packets for a node were left to TC, in units of STACK_TURN. An LRU map: who is evicted is left to it again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 13);
	__type(key, struct ip_address);
	__type(value, __u32);
} turns SEC(".maps");

/* Of jiffies: 1 to 10 seconds by the kernel's HZ. */
#define STACK_TURN 10

/* Now and then one for each node goes by the stack: that asks anew for the hardware address of a neighbor of which
 * nothing was heard for long (RFC 4861 7.3.3), and nobody else does so for what leaves here. */
static __always_inline bool is_turn_of_stack(const struct ip_address *node)
{
	__u32 now = bpf_jiffies64() >> STACK_TURN, *last = bpf_map_lookup_elem(&turns, node);

	if (!last)
		bpf_map_update_elem(&turns, node, &now, BPF_ANY);
	else if (*last == now)
		return false;
	else
		*last = now;
	return true;
}

/* The sum over the pseudo header of TCP and UDP (RFC 9293 3.1), as far as 16 bits have it. What makes an address of
 * IPv4 a mapped one is zero to it. */
static __always_inline __sum16 pseudo_sum(const struct packet *packet)
{
	const __be32 *words = (const void *)&packet->source;
	__u64 sum = bpf_htons(packet->total_length - packet->header_length) + bpf_htons(packet->protocol);

	UNROLLED
	for (__u32 i = 0; i < 2 * sizeof(struct ip_address) / sizeof(*words); i++)
		sum += words[i];
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	return fold(sum);
}

/* Of a sender on this machine that has left the checksum to a card: so far it is the sum over the pseudo header alone
 * (CHECKSUM_PARTIAL). The kernel knows that beside its packet, and forgets it with what XDP sends. */
static __always_inline bool is_unfinished(struct xdp_md *xdp, const struct packet *packet)
{
	__u32 at = packet->l4 + (packet->protocol == IPPROTO_TCP ? offsetof(struct tcphdr, check) :
								     offsetof(struct udphdr, check));
	__sum16 check;

	return packet->protocol == IPPROTO_SCTP || !read_header(xdp, at, &check) || check == pseudo_sum(packet);
}

/* Whose packets herald_ingress would hand on to the backend that is left in the passage, and do nothing besides. */
static __always_inline bool is_handed_on_before(const struct packet *packet, struct passage *passage)
{
	const struct forward *forward;
	const struct flow *opening;

	passage->key = flow_key(packet, DIRECTION_IN);
	passage->handed_on = NOT_TUNNELLED;
	forward = bpf_map_lookup_elem(&forwards, &passage->key);
	if (!forward || !follow_forward(packet->protocol, forward, passage) || passage->flags & FLOW_TRANSLATED ||
	    find_proved(&passage->key))
		return false;
	opening = find_opening(&passage->key);
	return !opening || opening->flags & FLOW_FORWARDED;
}

/* A new Ethernet header and room for an outer one, in place of what was in front of the packet; where that room is. */
static __always_inline void *make_early_room(struct xdp_md *xdp, const struct packet *packet, __u32 octets,
		const struct bpf_fib_lookup *route, __u16 ether_type)
{
	struct ethhdr *ethernet;

	if (bpf_xdp_adjust_head(xdp, (int)packet->l3 - (int)(ETH_HLEN + octets)))
		return 0;
	ethernet = (void *)(long)xdp->data;
	if ((void *)(ethernet + 1) + octets > (void *)(long)xdp->data_end)
		return 0;
	__builtin_memcpy(ethernet->h_dest, route->dmac, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, route->smac, ETH_ALEN);
	ethernet->h_proto = bpf_htons(ether_type);
	return ethernet + 1;
}

static __noinline bool put_early(struct xdp_md *xdp, const struct packet *packet, const struct backend *backend,
		const struct passage *passage, const struct bpf_fib_lookup *route)
{
	const struct tunnel *own = own_tunnel();
	struct outer outer, *room;

	if (!own)
		return false;
	outer = outer_of(xdp, packet, backend, passage, own);
	room = make_early_room(xdp, packet, sizeof(outer), route, ETH_P_IP);
	if (room)
		*room = outer;
	return room;
}

static __noinline bool put_early6(struct xdp_md *xdp, const struct packet *packet, const struct backend *backend,
		const struct passage *passage, const struct bpf_fib_lookup *route)
{
	const struct tunnel *own = own_tunnel();
	struct outer6 outer, *room;

	if (!own)
		return false;
	outer = outer6_of(xdp, packet, backend, passage, own);
	room = make_early_room(xdp, packet, sizeof(outer), route, ETH_P_IPV6);
	if (room)
		*room = outer;
	return room;
}

/* The packet in the map: FORWARDED, or HERE, where it is as it was. A driver that gives no room in front refuses it
 * before anything is written. A function of its own to the verifier, as those of ranges.h. */
__noinline int hand_on_early(struct xdp_md *xdp)
{
	const struct packet *packet = packet_at(SCRATCH_PACKET);
	struct passage *passage = passage_here();
	const struct tunnel *own = own_tunnel();
	struct bpf_fib_lookup route = { .ifindex = xdp->ingress_ifindex };
	const struct backend *backend;
	__u32 octets;

	if (!packet || !passage || !own || !own->port || !packet->total_length || !is_handed_on_before(packet, passage))
		return HERE;
	backend = backend_of(&passage->backend);
	if (!backend || is_behind_translation(backend) || !has_own_end(own, backend) || is_unfinished(xdp, packet))
		return HERE;
	put_route(&route, backend, own, wire_length(xdp, packet) + outer_length(backend));
	if (bpf_fib_lookup(xdp, &route, sizeof(route), 0) != BPF_FIB_LKUP_RET_SUCCESS ||
	    route.ifindex != xdp->ingress_ifindex || is_turn_of_stack(&backend->node))
		return HERE;
	octets = untagged_length(xdp, packet);
	if (is_over_ipv6(backend) ? !put_early6(xdp, packet, backend, passage, &route) :
				    !put_early(xdp, packet, backend, passage, &route))
		return HERE;
	count_forwarded(passage, 1, octets);
	return FORWARDED;
}

#endif
