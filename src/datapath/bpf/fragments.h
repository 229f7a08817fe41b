// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Fragments in any order. Only the first one has ports, so that a later one which comes before it is of no flow yet:
 *
 *     later, of no first that is known --> a copy of it is held, by datagram and offset
 *     any that is served               --> the next one behind it is held: this one comes in once more, then that one
 *
 * "Comes in once more": by the backlog of its interface, where both keep their order, as if they had arrived now. So
 * everything else is done once for all fragments, and a datagram in any order unfolds one by one. The room is fixed;
 * what is held and never asked for makes room for others. */
#ifndef HERALD_FRAGMENTS_H
#define HERALD_FRAGMENTS_H

#include <stddef.h>
#include "packet.h"

/* Where the octets of a fragment are in their datagram; the end is 0 when nothing follows. False: its headers are in
 * no order that is followed here. */
struct span {
	__u32 offset;
	__u32 end;
};

static __always_inline bool read_span(struct __sk_buff *skb, const struct packet *packet, struct span *span)
{
	__u32 length = packet->total_length - packet->header_length;
	__be16 field = 0;
	__u16 word;

	if (is_ipv6(packet)) {
		/* Only where nothing comes between the fragment header and what is in fragments. */
		if (packet->next_at + sizeof(struct extension) != packet->header_length ||
		    bpf_skb_load_bytes(skb, packet->l4 - sizeof(struct extension) + offsetof(struct extension, offset),
				       &field, sizeof(field)))
			return false;
		word = bpf_ntohs(field);
		span->offset = word & IP6_OFFSET_MASK;
		span->end = word & IP6_MORE_FRAGMENTS ? span->offset + length : 0;
		return true;
	}
	if (bpf_skb_load_bytes(skb, packet->l3 + offsetof(struct iphdr, frag_off), &field, sizeof(field)))
		return false;
	word = bpf_ntohs(field);
	span->offset = (word & IP_OFFSET_MASK) * 8;
	span->end = word & IP_MORE_FRAGMENTS ? span->offset + length : 0;
	return true;
}

/* The parts of a length that are powers of two, the largest first: lengths that helpers take are constants, as
 * verifiers before 5.16 need. Where such a part begins is what the larger ones add up to. */
#define EACH_PART(part) _Pragma("unroll") for (__u32 part = HELD_OCTETS / 2; part > 0; part /= 2)
#define START_OF(part, length) ((length) & (HELD_OCTETS - 1) & ~(2 * (part) - 1))

static __always_inline bool copy_out(struct __sk_buff *skb, const struct packet *packet, struct held_fragment *held)
{
	__u32 length = held->length;

	EACH_PART (part) {
		if (length & part && bpf_skb_load_bytes(skb, packet->l3 + START_OF(part, length),
							held->octets + START_OF(part, length), part))
			return false;
	}
	return true;
}

static __always_inline bool copy_in(struct __sk_buff *skb, const struct packet *packet,
		const struct held_fragment *held)
{
	__u32 length = held->length;

	EACH_PART (part) {
		if (length & part && bpf_skb_store_bytes(skb, packet->l3 + START_OF(part, length),
							 held->octets + START_OF(part, length), part,
							 BPF_F_RECOMPUTE_CSUM))
			return false;
	}
	return true;
}

/* A later fragment: HERE when its first is known, whose ports it has then; or an outcome. What another node handed on
 * came in the order in which that one had it. */
__noinline int follow_or_hold(struct __sk_buff *skb)
{
	struct packet *packet = packet_at(SCRATCH_PACKET);
	struct held_fragment *draft;
	struct held_key key = {};
	struct span span = {};
	__u32 first = 0;

	if (!packet)
		return drop(REASON_FRAGMENT);
	if (follow_first(packet))
		return HERE;
	draft = bpf_map_lookup_elem(&held_draft, &first);
	if (!draft || packet->tunnelled || !has_ports(packet) ||
	    packet->total_length == 0 || packet->total_length >= HELD_OCTETS || !read_span(skb, packet, &span))
		return drop(REASON_FRAGMENT);
	key.datagram = fragment_key(packet);
	key.offset = span.offset;
	draft->length = packet->total_length;
	if (!copy_out(skb, packet, draft) || bpf_map_update_elem(&held, &key, draft, BPF_ANY))
		return drop(REASON_FRAGMENT);
	/* Its first may have come meanwhile on another CPU, and found nothing held. */
	if (follow_first(packet) && !bpf_map_delete_elem(&held, &key))
		return HERE;
	return drop(REASON_FRAGMENT_HELD);
}

/* A fragment that is served now, of a first that is known: HERE; or an outcome when the one behind it was held, and
 * both come in once more. */
__noinline int release_next(struct __sk_buff *skb)
{
	const struct packet *packet = packet_at(SCRATCH_PACKET);
	const struct held_fragment *next;
	struct held_key key = {};
	struct span span = {};

	if (!packet || packet->tunnelled || !read_span(skb, packet, &span) || !span.end)
		return HERE;
	key.datagram = fragment_key(packet);
	key.offset = span.end;
	next = bpf_map_lookup_elem(&held, &key);
	if (!next || bpf_clone_redirect(skb, skb->ifindex, BPF_F_INGRESS))
		return HERE;
	if (bpf_skb_change_tail(skb, packet->l3 + next->length, 0) || !copy_in(skb, packet, next))
		return drop(REASON_REWRITE_FAILED);
	/* Only what is still there was copied whole: it may have made room for another one meanwhile. */
	return bpf_map_delete_elem(&held, &key) ? drop(REASON_FRAGMENT) : RELEASED;
}

#endif
