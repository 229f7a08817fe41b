// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Fragments in any order. Only the first one has ports, so that a later one which comes before it is of no flow yet:
 *
 *     later, of no first that is known --> a copy of it is held, by datagram and offset
 *     any that is served               --> the next one behind it is held: this one comes in once more, then that one
 *
 * "Comes in once more": by the backlog of its interface, where both keep their order, as if they had arrived now. So
 * everything else is done once for all fragments, and a datagram in any order unfolds one by one. The room is fixed,
 * one sender has a part of it, and what is held and never asked for makes room for others. */
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

/* How many octets of a fragment are in a piece of it. */
static __always_inline __u32 piece_length(__u32 length, __u32 piece)
{
	__u32 left = length - (piece - 1) * HELD_OCTETS;

	return left < HELD_OCTETS ? left : HELD_OCTETS;
}

/* The parts of a length that are powers of two, the largest first: lengths that helpers take are constants, as
 * verifiers before 5.16 need. Where such a part begins is what the larger ones add up to. */
#define EACH_PART(part) _Pragma("unroll") for (__u32 part = HELD_OCTETS / 2; part > 0; part /= 2)
#define START_OF(part, length) ((length) & (HELD_OCTETS - 1) & ~(2 * (part) - 1))

static __always_inline bool copy_out(struct __sk_buff *skb, __u32 at, __u32 length, struct held_fragment *held)
{
	if (length == HELD_OCTETS)
		return !bpf_skb_load_bytes(skb, at, held->octets, HELD_OCTETS);
	EACH_PART (part) {
		if (length & part &&
		    bpf_skb_load_bytes(skb, at + START_OF(part, length), held->octets + START_OF(part, length), part))
			return false;
	}
	return true;
}

static __always_inline bool copy_in(struct __sk_buff *skb, __u32 at, __u32 length, const struct held_fragment *held)
{
	if (length == HELD_OCTETS)
		return !bpf_skb_store_bytes(skb, at, held->octets, HELD_OCTETS, BPF_F_RECOMPUTE_CSUM);
	EACH_PART (part) {
		if (length & part && bpf_skb_store_bytes(skb, at + START_OF(part, length),
							 held->octets + START_OF(part, length), part,
							 BPF_F_RECOMPUTE_CSUM))
			return false;
	}
	return true;
}

/* Where the first piece is of the fragment that begins at an offset; the others are behind it. */
static __always_inline __u32 first_place(__u32 offset)
{
	return (offset & ~7) + 1;
}

static __always_inline __u32 pieces_of(__u32 length)
{
	return (length + HELD_OCTETS - 1) / HELD_OCTETS;
}

static __always_inline bool is_piece_of(const struct held_fragment *held_piece, __u32 length, __u32 seen)
{
	return held_piece && held_piece->length == length && held_piece->seen == seen;
}

/* Holds the piece of the packet in the map that belongs there. A function of its own to the verifier, which walks it
 * once for all pieces, as the next one. */
__noinline int hold_piece(struct __sk_buff *skb, __u32 place, __u32 seen)
{
	const struct packet *packet = packet_at(SCRATCH_PACKET);
	__u32 first = 0, piece = place & 7;
	struct held_fragment *draft = bpf_map_lookup_elem(&held_draft, &first);
	struct held_key key = { .place = place };

	if (!packet || !draft || piece == 0)
		return false;
	key.datagram = fragment_key(packet);
	draft->length = packet->total_length;
	draft->seen = seen;
	return copy_out(skb, packet->l3 + (piece - 1) * HELD_OCTETS, piece_length(packet->total_length, piece), draft) &&
	       !bpf_map_update_elem(&held, &key, draft, BPF_ANY);
}

/* The packet gets the piece from there, which is held no more. False: it is not what it was when it was asked for,
 * having made room for another one; only what is still there was copied whole. */
__noinline int take_piece(struct __sk_buff *skb, __u32 place, __u32 length, __u32 seen)
{
	const struct packet *packet = packet_at(SCRATCH_PACKET);
	struct held_key key = { .place = place };
	const struct held_fragment *held_piece;
	__u32 piece = place & 7;

	if (!packet || piece == 0)
		return false;
	key.datagram = fragment_key(packet);
	held_piece = bpf_map_lookup_elem(&held, &key);
	return is_piece_of(held_piece, length, seen) &&
	       copy_in(skb, packet->l3 + (piece - 1) * HELD_OCTETS, piece_length(length, piece), held_piece) &&
	       !bpf_map_delete_elem(&held, &key);
}

/* Whether it is held in whole. The first piece is written last, and so there are all of them unless some made room for
 * others. */
static __noinline bool has_pieces(struct held_key *key, __u32 length, __u32 seen)
{
	__u32 place = key->place;
	bool is_whole = length > 0 && pieces_of(length) <= HELD_PIECES;

	UNROLLED
	for (__u32 piece = 2; piece <= HELD_PIECES; piece++) {
		if (piece <= pieces_of(length)) {
			key->place = place + piece - 1;
			if (!is_piece_of(bpf_map_lookup_elem(&held, key), length, seen))
				is_whole = false;
		}
	}
	key->place = place;
	return is_whole;
}

/* So many places somebody may have in `held`, a quarter of them, and within the time after which fragments are none of
 * a datagram any more as many again: whoever completes no datagram leaves room for the others. */
#define PLACES_OF_ONE 512
#define PLACE_INTERVAL_NS 60000000ULL

/* A host of IPv4; of IPv6 a network of 64 bits, in which a host has any address. */
static __always_inline struct ip_address holder_of(const struct packet *packet)
{
	struct ip_address holder = packet->source;

	if (is_ipv6(packet))
		holder.high[2] = holder.low = 0;
	return holder;
}

/* False: there are as many already. Two CPUs at once may count a few too little. */
static __noinline bool take_places(const struct packet *packet, __u32 places)
{
	struct ip_address holder = holder_of(packet);
	__u64 *until = bpf_map_lookup_elem(&holders, &holder), now = bpf_ktime_get_ns();
	__u64 fresh = now + places * PLACE_INTERVAL_NS;

	if (!until)
		return !bpf_map_update_elem(&holders, &holder, &fresh, BPF_ANY);
	if (*until < now)
		*until = now;
	if (*until + places * PLACE_INTERVAL_NS > now + PLACES_OF_ONE * PLACE_INTERVAL_NS)
		return false;
	__sync_fetch_and_add(until, places * PLACE_INTERVAL_NS);
	return true;
}

static __noinline void give_places(const struct packet *packet, __u32 places)
{
	struct ip_address holder = holder_of(packet);
	__u64 *until = bpf_map_lookup_elem(&holders, &holder), given = places * PLACE_INTERVAL_NS;

	if (until && *until > given)
		__sync_fetch_and_add(until, -given);
}

/* False: somebody else has taken it meanwhile. */
static __noinline bool forget_held(struct held_key *key, __u32 pieces)
{
	if (bpf_map_delete_elem(&held, key))
		return false;
	UNROLLED
	for (__u32 piece = 2; piece <= HELD_PIECES; piece++) {
		if (piece <= pieces) {
			key->place++;
			bpf_map_delete_elem(&held, key);
		}
	}
	return true;
}

/* A later fragment: HERE when its first is known, whose ports it has then; or an outcome. What another node handed on
 * came in the order in which that one had it. */
__noinline int follow_or_hold(struct __sk_buff *skb)
{
	struct packet *packet = packet_at(SCRATCH_PACKET);
	struct held_key key = {};
	struct span span = {};
	__u32 pieces, seen;

	if (!packet)
		return drop(REASON_FRAGMENT);
	if (follow_first(packet))
		return HERE;
	pieces = pieces_of(packet->total_length);
	if (packet->tunnelled || !has_ports(packet) || pieces == 0 || pieces > HELD_PIECES ||
	    !read_span(skb, packet, &span) || !take_places(packet, pieces))
		return drop(REASON_FRAGMENT);
	key.place = first_place(span.offset);
	seen = fragment_clock();
	UNROLLED
	for (__u32 piece = HELD_PIECES; piece > 0; piece--) {
		if (piece <= pieces && !hold_piece(skb, key.place + piece - 1, seen))
			return drop(REASON_FRAGMENT);
	}
	key.datagram = fragment_key(packet);
	/* Its first may have come meanwhile on another CPU, and found nothing held. */
	if (!follow_first(packet) || !forget_held(&key, pieces))
		return drop(REASON_FRAGMENT_HELD);
	give_places(packet, pieces);
	return HERE;
}

/* A fragment that is served now, of a first that is known: HERE; or an outcome when the one behind it was held, and
 * both come in once more. */
__noinline int release_next(struct __sk_buff *skb)
{
	const struct packet *packet = packet_at(SCRATCH_PACKET);
	const struct held_fragment *next;
	struct held_key key = {};
	struct span span = {};
	__u32 length, seen;
	bool is_taken;

	if (!packet || packet->tunnelled || !read_span(skb, packet, &span) || !span.end)
		return HERE;
	key.datagram = fragment_key(packet);
	key.place = first_place(span.end);
	next = bpf_map_lookup_elem(&held, &key);
	if (!next)
		return HERE;
	length = next->length;
	seen = next->seen;
	if (is_of_another_time(packet, seen) || !has_pieces(&key, length, seen) ||
	    bpf_clone_redirect(skb, skb->ifindex, BPF_F_INGRESS))
		return HERE;
	/* Where a sender or a router has left a mark behind the end, the kernel does not cut there: what is left behind it is
	 * none of the packet's. */
	is_taken = !bpf_skb_change_tail(skb, packet->l3 + length, 0) || packet->l3 + length <= skb->len;
	UNROLLED
	for (__u32 piece = 1; piece <= HELD_PIECES; piece++) {
		if (piece <= pieces_of(length) && is_taken)
			is_taken = take_piece(skb, key.place + piece - 1, length, seen);
	}
	give_places(packet, pieces_of(length));
	if (is_taken)
		return RELEASED;
	/* This one comes in once more, and would find again, for as long as it is there, what could not be taken. */
	forget_held(&key, pieces_of(length));
	return drop(REASON_FRAGMENT);
}

#endif
