// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The end of every packet that our programs do not pass on: counted by its reason and family, then its verdict. */
#ifndef HERALD_OUTCOME_H
#define HERALD_OUTCOME_H

#include "events.h"
#include "packet.h"

static __always_inline void count_drop(enum reason reason, enum family family)
{
	__u32 key = reason * FAMILY_COUNT + family;
	__u64 *packets = bpf_map_lookup_elem(&drops, &key);

	if (packets)
		*packets += 1;
}

/* The end of one: counted, and told unless it is no loss. */
static __always_inline void account(enum reason reason, const struct packet *packet)
{
	count_drop(reason, packet->family);
	if (reason != REASON_ECHO_ANSWERED && reason != REASON_FRAGMENT_HELD)
		tell_drop(reason, packet);
}

/* The verdict of a program. What is passed on costs one comparison here. */
static __always_inline int finish(struct __sk_buff *skb, const struct packet *packet, int outcome)
{
	enum reason reason = outcome & REASON_MASK;

	if (outcome < DROPPED)
		return outcome;
	account(reason, packet);
	return outcome >= ANSWERED ? bpf_redirect(skb->ifindex, 0) : TC_ACT_SHOT;
}

struct link_addresses {
	__u8 to[ETH_ALEN];
	__u8 from[ETH_ALEN];
};

/* A packet that leaves comes in by the same interface, as from whom it was for. */
static __always_inline int turn_back(struct __sk_buff *skb)
{
	struct link_addresses before, after;

	if (bpf_skb_load_bytes(skb, 0, &before, sizeof(before)))
		return drop(REASON_REWRITE_FAILED);
	__builtin_memcpy(after.to, before.from, ETH_ALEN);
	__builtin_memcpy(after.from, before.to, ETH_ALEN);
	if (bpf_skb_store_bytes(skb, 0, &after, sizeof(after), 0))
		return drop(REASON_REWRITE_FAILED);
	return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
}

/* The interface, and whom to ask for there. */
struct hop {
	__u32 ifindex;
	__u32 family;
	__u32 next[4];
};

static __always_inline int leave_by(const struct hop *hop)
{
	struct bpf_redir_neigh next = { .nh_family = hop->family };

	__builtin_memcpy(next.ipv6_nh, hop->next, sizeof(next.ipv6_nh));
	return bpf_redirect_neigh(hop->ifindex, &next, sizeof(next), 0);
}

/* AF_INET and AF_INET6, whose header is one of the C library. */
#define ADDRESSES_IPV4 2
#define ADDRESSES_IPV6 10

/* Of a route that is to be looked up, with its family. */
static __always_inline void put_addresses(struct bpf_fib_lookup *route, bool is_ipv6,
		const struct ip_address *source, const struct ip_address *destination)
{
	route->family = is_ipv6 ? ADDRESSES_IPV6 : ADDRESSES_IPV4;
	if (is_ipv6) {
		__builtin_memcpy(route->ipv6_src, source, sizeof(route->ipv6_src));
		__builtin_memcpy(route->ipv6_dst, destination, sizeof(route->ipv6_dst));
	} else {
		route->ipv4_src = source->low;
		route->ipv4_dst = destination->low;
	}
}

/* The same of what leaves past netfilter, by the hop that was found before. */
static __always_inline int finish_past(struct __sk_buff *skb, const struct packet *packet, int outcome,
		const struct hop *hop)
{
	return outcome == PASS ? leave_by(hop) : finish(skb, packet, outcome);
}

/* The interface by which the sender of a packet is reached; 0: by none. */
static __noinline __u32 way_back(struct __sk_buff *skb, const struct packet *packet)
{
	struct bpf_fib_lookup route = { .l4_protocol = packet->protocol, .ifindex = skb->ifindex };
	long answer;

	put_addresses(&route, is_ipv6(packet), &packet->destination, &packet->source);
	answer = bpf_fib_lookup(skb, &route, sizeof(route), 0);
	return answer == BPF_FIB_LKUP_RET_SUCCESS || answer == BPF_FIB_LKUP_RET_NO_NEIGH ? route.ifindex : 0;
}

/* At ingress, where packets leave for other nodes. What one of these handed on is answered to the client by its route,
 * and not to that node; but an error of IPv6 begins where the kernel knows of no header. */
static __always_inline int finish_received(struct __sk_buff *skb, const struct packet *packet, int outcome)
{
	const struct passage *passage;
	__u32 first = 0;
	int verdict;

	if (outcome == FORWARDED) {
		passage = bpf_map_lookup_elem(&passages, &first);
		return bpf_redirect_neigh(passage ? passage->ifindex : 0, 0, 0, 0);
	}
	if (outcome == RELEASED) {
		count_drop(REASON_FRAGMENT_RELEASED, packet->family);
		return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
	}
	verdict = finish(skb, packet, outcome);
	if (outcome < ANSWERED || !packet->tunnelled || (is_ipv6(packet) && packet->protocol != IPPROTO_TCP))
		return verdict;
	/* A tag is of the link that it came by. */
	if (skb->vlan_present && bpf_skb_vlan_pop(skb))
		return finish(skb, packet, drop(REASON_REWRITE_FAILED));
	/* Nodes may reach each other by another interface than the client. */
	return bpf_redirect_neigh(way_back(skb, packet) ?: skb->ifindex, 0, 0, 0);
}

#endif
