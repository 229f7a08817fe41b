// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Past netfilter: a packet goes straight on to the interface behind which the pod is, and the reply from there to the
 * uplink, as a router would hand them on.
 *
 *     uplink ingress: destination becomes the backend -> TTL - 1 -> out of the pod's interface
 *     pod's interface ingress (herald_pod): source becomes VIP:port -> TTL - 1 -> out of the uplink
 *
 * Netfilter must see both directions of a flow or none: of half a connection it says INVALID. So a flow is of one kind
 * from its first packet on (FLOW_REDIRECTED), and only where both ways are found. A packet of it for which there is no
 * such way now, or that a router would answer or take apart, goes through the stack as any other; of a connection that
 * it has not seen begin, netfilter believes what it sees.
 *
 * Where rules have come that must be met, flows leave for the stack, the client's side first: netfilter takes the side
 * that it sees first for the one that has begun, and a rule that masquerades what pods begin would meet a reply. */
#ifndef HERALD_REDIRECT_H
#define HERALD_REDIRECT_H

#include "icmp.h"
#include "outcome.h"
#include "packet.h"
#include "rewrite.h"
#include "tunnel.h"
#include "way.h"

/* Of the IPv4 header: its TTL and protocol; of that of IPv6: what comes next, and its hop limit. */
struct lifetime {
	__u8 octets[2];
};

static __always_inline __u32 lifetime_at(const struct packet *packet)
{
	return packet->l3 + (is_ipv6(packet) ? offsetof(struct ipv6hdr, nexthdr) : offsetof(struct iphdr, ttl));
}

/* Whether a router hands it on without an answer, and without a look at options. A tag is of the link that it came
 * by. */
static __noinline bool is_forwardable(struct __sk_buff *skb, const struct packet *packet)
{
	struct lifetime lifetime;

	if (skb->vlan_present || packet->l3 != ETH_HLEN ||
	    bpf_skb_load_bytes(skb, lifetime_at(packet), &lifetime, sizeof(lifetime)))
		return false;
	if (is_ipv6(packet))
		return lifetime.octets[0] != IPPROTO_HOPOPTS && lifetime.octets[1] > 1;
	return packet->header_length == sizeof(struct iphdr) && lifetime.octets[0] > 1;
}

static __always_inline long shorten_ipv4(struct __sk_buff *skb, const struct packet *packet)
{
	__u32 at = lifetime_at(packet);
	__be16 before, after;

	if (bpf_skb_load_bytes(skb, at, &before, sizeof(before)))
		return -1;
	after = before - bpf_htons(1 << 8);
	return bpf_l3_csum_replace(skb, packet->l3 + offsetof(struct iphdr, check), before, after, sizeof(after)) ?:
	       bpf_skb_store_bytes(skb, at, &after, sizeof(after), 0);
}

static __always_inline long shorten_ipv6(struct __sk_buff *skb, const struct packet *packet)
{
	__u32 at = packet->l3 + offsetof(struct ipv6hdr, hop_limit);
	__u8 limit;
	long failed;

	if (bpf_skb_load_bytes(skb, at, &limit, sizeof(limit)))
		return -1;
	limit--;
	failed = bpf_skb_store_bytes(skb, at, &limit, sizeof(limit), BPF_F_RECOMPUTE_CSUM);
	/* The compiler would make one call of this one and that of IPv4, with a length that varies. */
	asm volatile("" : "+r"(failed));
	return failed;
}

/* One hop further (RFC 1812 5.3.1, RFC 8200 3). */
static __noinline bool shorten_lifetime(struct __sk_buff *skb, const struct packet *packet)
{
	return !(is_ipv6(packet) ? shorten_ipv6(skb, packet) : shorten_ipv4(skb, packet));
}

/* Where a packet of this length and with these addresses goes on: enum link_flags of the interface, 0 when it is none
 * of ours, or it does not fit, or there is no way but through the stack. */
static __noinline __u32 find_link(struct __sk_buff *skb, const struct packet *packet, struct bpf_fib_lookup *route)
{
	__u32 length = wire_length(skb, packet), ifindex;
	const __u32 *flags;
	long answer;

	route->family = is_ipv6(packet) ? ADDRESSES_IPV6 : ADDRESSES_IPV4;
	/* The answer before this one left a metric here. */
	route->flowinfo = 0;
	route->l4_protocol = packet->protocol;
	route->tot_len = length < 0xffff ? length : 0xffff;
	answer = bpf_fib_lookup(skb, route, sizeof(*route), 0);
	if (answer != BPF_FIB_LKUP_RET_SUCCESS && answer != BPF_FIB_LKUP_RET_NO_NEIGH) {
		route->ifindex = 0;
		return 0;
	}
	ifindex = route->ifindex;
	flags = bpf_map_lookup_elem(&links, &ifindex);
	return flags ? *flags : 0;
}

/* The addresses as they stand in the packet, translated or not. */
static __always_inline bool read_addresses(struct __sk_buff *skb, const struct packet *packet,
		struct bpf_fib_lookup *route)
{
	if (is_ipv6(packet))
		return !bpf_skb_load_bytes(skb, packet->l3 + offsetof(struct ipv6hdr, saddr), route->ipv6_src,
				2 * sizeof(struct ip_address));
	return !bpf_skb_load_bytes(skb, packet->l3 + offsetof(struct iphdr, saddr), &route->ipv4_src,
				sizeof(route->ipv4_src)) &&
	       !bpf_skb_load_bytes(skb, packet->l3 + offsetof(struct iphdr, daddr), &route->ipv4_dst,
				sizeof(route->ipv4_dst));
}

/* By an interface of this kind, whose flags these are; 0: through the stack. */
static __noinline __u32 find_hop(struct __sk_buff *skb, const struct packet *packet, __u32 kind, struct hop *hop)
{
	struct bpf_fib_lookup route = { .ifindex = skb->ifindex };
	__u32 flags;

	if (!is_forwardable(skb, packet) || !read_addresses(skb, packet, &route))
		return 0;
	flags = find_link(skb, packet, &route);
	if (!(flags & kind))
		return 0;
	hop->ifindex = route.ifindex;
	hop->family = route.family;
	__builtin_memcpy(hop->next, route.ipv6_dst, sizeof(hop->next));
	return flags;
}

enum turn {
	TURN_CLOSED,     /* the packet goes through the stack, and the pod's in a while */
	TURN_OPEN,       /* what was in the way is gone before the flow had left */
	TURN_UNANSWERED, /* a SYN again: the pod may answer by another way than the one that was found */
};

/* The flow of the packet in the map leaves for the stack. Once netfilter has known it for a while, and not before it
 * has passed all rules, the pod's own packets follow: one that overtook would be the first of the flow. True when both
 * sides go through the stack from here on. A function of its own to the verifier, as those of ranges.h. */
__noinline int turn_flow(__u32 turn)
{
	const struct packet *packet = packet_at(SCRATCH_PACKET);
	struct flow_key key, out_key;
	struct flow *in, *out;

	if (!packet)
		return false;
	key = flow_key(packet, DIRECTION_IN);
	in = find_flow(&key);
	if (!in)
		return false;
	if (turn == TURN_OPEN) {
		in->flags &= ~FLOW_LEAVING;
		return false;
	}
	if (turn == TURN_CLOSED && !(in->flags & FLOW_LEAVING)) {
		in->flags |= FLOW_LEAVING;
		in->client_end = coarse_clock();
		return false;
	}
	if (turn == TURN_CLOSED && in->client_end == coarse_clock())
		return false;
	out_key = out_key_of(&key, in);
	out = find_flow(&out_key);
	if (turn == TURN_UNANSWERED && (!out || out->flags & FLOW_REPLIED))
		return false;
	in->flags &= ~(FLOW_REDIRECTED | FLOW_LEAVING);
	if (out)
		out->flags &= ~FLOW_REDIRECTED;
	return true;
}

/* In place of a verdict: the packet is translated, and goes past netfilter if it can. */
__noinline int go_to_pod(struct __sk_buff *skb)
{
	const struct packet *packet = packet_at(SCRATCH_PACKET);
	const struct passage *passage = passage_here();
	struct hop hop = {};
	__u32 link;

	if (!is_redirecting || !packet)
		return PASS;
	link = find_hop(skb, packet, LINK_TO_PODS, &hop);
	if (!link)
		return PASS;
	if (link & LINK_CLOSED) {
		turn_flow(TURN_CLOSED);
		return PASS;
	}
	if (passage && passage->half.flags & FLOW_LEAVING)
		turn_flow(TURN_OPEN);
	if (!shorten_lifetime(skb, packet))
		return drop(REASON_REWRITE_FAILED);
	return leave_by(&hop);
}

static __always_inline bool is_permitted(void)
{
	__u32 first = 0;
	const __u64 *until_ns = bpf_map_lookup_elem(&permit, &first);

	return until_ns && *until_ns > bpf_ktime_get_ns();
}

/* Rules about sources that no client behind a router has (rule-walk.ts) are in nobody's way: of the node itself, of a
 * link, of groups and none. Who comes with one meets them. */
static __always_inline bool is_from_nowhere(const struct packet *packet)
{
	__u32 first = bpf_ntohl(is_ipv6(packet) ? packet->source.high[0] : packet->source.low);

	if (is_ipv6(packet))
		return is_link_local(&packet->source) || first >> 24 == 0xff;
	return first >> 24 == 127 || first >> 16 == 0xa9fe || first >> 29 == 7;
}

/* Whether the flow that begins with the packet in the map, to the backend in the passage, goes past netfilter: both of
 * its directions do, and new flows may. A client on this node is behind no uplink. Rules may ask for whatever mark is
 * on it, of a bridge or of a device below the uplink. */
__noinline int may_redirect(struct __sk_buff *skb)
{
	const struct packet *packet = packet_at(SCRATCH_PACKET);
	struct passage *passage = passage_here();
	struct bpf_fib_lookup route = { .ifindex = skb->ifindex };
	const struct backend *backend;

	if (!is_redirecting || !is_permitted())
		return false;
	if (!packet || !passage || skb->mark || is_from_nowhere(packet) || !is_forwardable(skb, packet))
		return false;
	backend = backend_of(&passage->backend);
	if (!backend)
		return false;
	put_addresses(&route, is_ipv6(packet), &packet->source, &backend->address);
	if (~find_link(skb, packet, &route) & (LINK_TO_PODS | LINK_OPENS))
		return false;
	/* Back in by the interface of the pod, which is the one that was found. */
	put_addresses(&route, is_ipv6(packet), &backend->address,
			hairpin_flag(&packet->source, backend) ? &packet->destination : &packet->source);
	return !!(find_link(skb, packet, &route) & LINK_UPLINK);
}

/* Whether replies of the flow that begins with the packet in the map, to the backend in the passage, leave by the
 * interface by which it came, or by another one that is known for an uplink. By all others what is of no flow that is
 * known is the pod's own. */
__noinline int is_answered_by_uplink(struct __sk_buff *skb)
{
	const struct packet *packet = packet_at(SCRATCH_PACKET);
	struct passage *passage = passage_here();
	struct bpf_fib_lookup route = { .ifindex = skb->ifindex };

	if (!packet || !passage)
		return false;
	put_addresses(&route, is_ipv6(packet), &passage->half.address, &packet->source);
	return find_link(skb, packet, &route) & LINK_UPLINK || route.ifindex == skb->ifindex;
}

#endif
