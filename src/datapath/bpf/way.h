// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Where a packet goes of which no flow is known here: to a backend on this node, or to the node of another one. Every
 * node has the same tables, so all of them choose the same backend for a flow, whichever of them its router asks.
 *
 *     from outside:          forwards -> table -> here, or on to the node of that backend, with its name
 *     handed on by a node:   the backend that it names, if it is here, and the packet begins a flow or its state is
 *                            here; else once more, to where this node has handed the flow on, or to the node of the
 *                            table before this one, or back to that of the table in force: three times more at most
 *
 * So a flow goes on whose table has changed and whose router has moved it to a node without state: its backend's node
 * has its state, and the two tables name that node as long as no two changes have moved its place.
 *
 * Functions to be walked by the verifier once, and not in every state of their callers: they find the packet in the
 * map, and leave there what they found. */
#ifndef HERALD_WAY_H
#define HERALD_WAY_H

#include "backend.h"
#include "flow.h"
#include "opening.h"
#include "unkept.h"

static __always_inline bool is_elsewhere(const struct backend *backend)
{
	return backend->node.low || backend->node.high[0];
}

/* Its node takes no packets from this one. */
static __always_inline bool is_behind_translation(const struct backend *backend)
{
	const struct ip_address *node = &backend->node;

	/* One branch for a verifier. */
	return !((node->low ^ bpf_htonl(1)) | node->high[0] | node->high[2]);
}

static __always_inline const struct backend *backend_of(const struct backend_ref *ref)
{
	__u32 id = ref->id;
	const struct backend *backend = bpf_map_lookup_elem(&backends, &id);

	return backend && backend->generation == ref->generation ? backend : 0;
}

enum place {
	PLACE_NONE, /* nobody is named, or who is named is gone */
	PLACE_HERE,
	PLACE_ELSEWHERE,
};

__noinline int find_place(__u32 id, __u32 generation)
{
	struct backend_ref ref = { .id = id, .generation = generation };
	const struct backend *backend = backend_of(&ref);

	if (!backend || backend_state(&ref) == BACKEND_GONE)
		return PLACE_NONE;
	return is_elsewhere(backend) ? PLACE_ELSEWHERE : PLACE_HERE;
}

static __always_inline enum place place_of(const struct backend_ref *ref)
{
	return find_place(ref->id, ref->generation);
}

static __always_inline int go(struct passage *passage, const struct backend_ref *ref, enum place place)
{
	passage->backend = *ref;
	return place == PLACE_ELSEWHERE ? FORWARD : HERE;
}

/* A flow that was handed on before goes where it went, also to a backend that takes no new ones: its node knows whether
 * the flow is over, and hands on what is none. */
static __always_inline bool is_followed(__u32 protocol, const struct backend_ref *ref)
{
	enum backend_state state = backend_state(ref);

	if (protocol == IPPROTO_UDP)
		return state == BACKEND_ACTIVE || state == BACKEND_RESTING;
	return state != BACKEND_GONE;
}

/* A flow in which the client went on moves where a flood of first packets does not reach. */
static __noinline void keep_forward(const struct flow_key *key, const struct flow *opening)
{
	struct forward forward = {
		.backend = opening->backend,
		.service = opening->service,
		.flags = opening->flags & FLOW_TRANSLATED,
	};

	if (!bpf_map_update_elem(&forwards, key, &forward, BPF_ANY))
		bpf_map_delete_elem(&openings, key);
}

/* Where it goes by the record of one in which the client went on; false: nowhere any more. */
static __always_inline bool follow_forward(__u32 protocol, const struct forward *forward, struct passage *passage)
{
	if (!is_followed(protocol, &forward->backend))
		return false;
	passage->backend = forward->backend;
	passage->service = forward->service;
	passage->flags = forward->flags;
	return true;
}

/* Where the flow of the passage was handed on before; by what its packet is of. */
__noinline int find_followed(__u32 protocol, __u32 is_syn)
{
	struct passage *passage = passage_here();
	const struct forward *forward;
	const struct flow *opening;
	const struct flow_key *key;

	if (!passage)
		return false;
	key = &passage->key;
	forward = bpf_map_lookup_elem(&forwards, key);
	if (forward && follow_forward(protocol, forward, passage))
		return true;
	if (forward)
		bpf_map_delete_elem(&forwards, key);
	opening = bpf_map_lookup_elem(&openings, key);
	if (!opening || !(opening->flags & FLOW_FORWARDED) || !is_followed(protocol, &opening->backend))
		return false;
	passage->backend = opening->backend;
	passage->service = opening->service;
	passage->flags = opening->flags & FLOW_TRANSLATED;
	if (!is_syn)
		keep_forward(key, opening);
	return true;
}

static __always_inline bool follow_forwarded(const struct packet *tuple)
{
	return find_followed(tuple->protocol, starts_connection(tuple));
}

static __always_inline bool make_half(const struct packet *tuple, struct passage *passage)
{
	const struct backend *backend = backend_of(&passage->backend);
	struct flow *in = &passage->half;

	__builtin_memset(in, 0, sizeof(*in));
	in->client_port = tuple->source_port;
	in->backend = passage->backend;
	in->service = passage->service;
	in->seen = coarse_clock();
	in->flags = FLOW_FORWARDED;
	if (!backend)
		return false;
	if (is_behind_translation(backend))
		in->flags |= FLOW_TRANSLATED;
	in->address = backend->address;
	in->port = backend->port;
	return true;
}

/* Of a packet that begins a flow, or of which both tables say the same. */
static __noinline void open_forward(const struct packet *tuple, struct passage *passage)
{
	if (tuple->tcp_flags & TCP_RST || !make_half(tuple, passage))
		return;
	if (is_opening_due(tuple, opening_kind(tuple)))
		put_opening(&passage->key, &passage->half);
	else
		count_drop(REASON_FLOW_LIMITED, tuple->family);
	if (begins(tuple))
		tell_flow(EVENT_NEW, DETAIL_FORWARDED, &passage->key, &passage->half, tuple);
}

static __noinline void tell_second_chance(const struct packet *tuple, struct passage *passage)
{
	if (make_half(tuple, passage))
		tell_flow(EVENT_REHASH, DETAIL_SECOND_CHANCE, &passage->key, &passage->half, tuple);
}

/* Whether its state is here, by the table before this one. */
static __always_inline bool is_formerly_here(const struct packet *tuple, const struct choices *choices)
{
	return !starts_connection(tuple) && choices->before == PLACE_HERE &&
	       was_served_by(choices->previous.id, choices->previous.generation);
}

/* What came from outside; `is_own`: the tuple is that of the packet itself. */
static __always_inline int way_from_outside(const struct packet *tuple, struct passage *passage,
		const struct choices *choices, bool is_own)
{
	bool may_differ = choices->before != PLACE_NONE && !is_same_ref(&choices->current, &choices->previous);

	/* Its state may be where it was before; what begins nothing begins nothing here. */
	if (!begins(tuple) && may_differ && choices->before == PLACE_ELSEWHERE && choices->at != PLACE_ELSEWHERE &&
	    !(choices->at == PLACE_HERE && was_served_by(choices->current.id, choices->current.generation))) {
		passage->handed_on = TUNNELLED;
		return go(passage, &choices->previous, PLACE_ELSEWHERE);
	}
	if (choices->at == PLACE_NONE)
		return REFUSE + REASON_NO_BACKEND;
	go(passage, &choices->current, choices->at);
	if (choices->at == PLACE_HERE)
		return HERE;
	if (is_own && (begins(tuple) || !may_differ))
		open_forward(tuple, passage);
	return FORWARD;
}

/* Whether a client of the packet's frontend may stay with a backend. */
__noinline int is_among_members(__u32 which, __u32 id, __u32 generation)
{
	const struct packet *tuple = packet_at(which);
	struct backend_ref ref = { .id = id, .generation = generation };
	const struct frontend *frontend = tuple ? frontend_of(tuple) : 0;

	return frontend && frontend->affinity_sec && frontend->members_length &&
	       is_member(frontend->members_offset, frontend->members_length, &ref);
}

/* The place of the backend that another node chose, when it is here and stands behind this VIP. Of more VIPs than are
 * listed the flow is asked: a table names that backend for it, the client stays with it, or its state is here. */
__noinline int find_named(__u32 which)
{
	const struct packet *tuple = packet_at(which);
	const struct passage *passage = passage_here();
	struct choices *choices = choices_here();
	struct frontend_key key = {};
	const struct source *source;
	struct backend_ref *named;
	struct ip_address vip;
	bool is_behind = false;

	if (!tuple || !passage || !choices)
		return PLACE_NONE;
	key.address = passage->named;
	key.port = passage->named_port;
	key.protocol = tuple->protocol;
	source = bpf_map_lookup_elem(&sources, &key);
	if (!source)
		return PLACE_NONE;
	vip = frontend_address(tuple);
	UNROLLED
	for (__u32 i = 0; i < VIPS_PER_SOURCE; i++)
		is_behind |= i < source->count && source->vips[i].port == tuple->destination_port &&
			     is_same_address(&source->vips[i].address, &vip);
	named = &choices->named;
	*named = source->backend;
	if (!is_backend_at(named, &key))
		return PLACE_NONE;
	if (!is_behind && source->count > VIPS_PER_SOURCE)
		is_behind = is_same_ref(named, &choices->current) || is_same_ref(named, &choices->previous) ||
			    is_among_members(which, named->id, named->generation) ||
			    was_served_by(named->id, named->generation);
	return is_behind ? place_of(named) : PLACE_NONE;
}

/* What another node handed on. Its own tables may be younger than that node's, or older. */
static __always_inline int way_from_node(const struct packet *tuple, __u32 which, struct passage *passage,
		const struct choices *choices, enum tunnelled tunnelled)
{
	bool may_go_on = tunnelled != TUNNELLED_FINAL;
	struct backend_ref named;
	enum place at = find_named(which);
	bool is_own = which == SCRATCH_PACKET;
	__u32 service = passage->service;

	named = choices->named;
	passage->handed_on = tunnelled;
	/* Nothing in a datagram tells whether it is of the flow that this node hands on as well: so it goes where that one
	 * goes, and whoever sends it by another node opens none here that would be in its way. */
	if (tuple->protocol == IPPROTO_UDP && follow_forwarded(tuple)) {
		if (may_go_on)
			return FORWARD;
		passage->service = service;
	}
	if (at == PLACE_HERE && (begins(tuple) ? backend_state(&named) == BACKEND_ACTIVE :
						 was_served_by(named.id, named.generation))) {
		if (choices->frontend.affinity_sec && is_own && begins(tuple))
			keep_backend(SCRATCH_PACKET, passage->service, named.id, named.generation);
		return go(passage, &named, PLACE_HERE);
	}
	if (may_go_on && !begins(tuple) && follow_forwarded(tuple))
		return FORWARD;
	if (tunnelled < TUNNELLED_BEFORE_LAST && !begins(tuple) && choices->before == PLACE_ELSEWHERE)
		return go(passage, &choices->previous, PLACE_ELSEWHERE);
	if (may_go_on && choices->at == PLACE_ELSEWHERE) {
		passage->backend = choices->current;
		/* What follows is named as this one was, and goes where this one goes. */
		if (is_own && starts_connection(tuple) && make_half(tuple, passage))
			put_opening(&passage->key, &passage->half);
		return FORWARD;
	}
	if (begins(tuple) && choices->at == PLACE_HERE)
		return go(passage, &choices->current, PLACE_HERE);
	if (at == PLACE_HERE && (!begins(tuple) || choices->at == PLACE_ELSEWHERE))
		return go(passage, &named, PLACE_HERE);
	if (choices->at == PLACE_HERE)
		return go(passage, &choices->current, PLACE_HERE);
	return REFUSE + REASON_NO_BACKEND;
}

/* HERE or FORWARD, with the backend in the passage; or an outcome. `which`: the packet in the map whose tuple decides;
 * that of an ICMP error is what it quotes, turned around. */
__noinline int find_way(struct __sk_buff *skb, __u32 which)
{
	struct packet *tuple = packet_at(which), *packet = packet_at(SCRATCH_PACKET);
	struct passage *passage = passage_here();
	struct choices *choices = choices_here();
	bool is_own = which == SCRATCH_PACKET, is_own_packet;
	enum choice choice;
	int way;

	if (!tuple || !packet || !passage || !choices)
		return drop(REASON_BAD_HEADER);
	passage->key = flow_key(tuple, DIRECTION_IN);
	passage->handed_on = NOT_TUNNELLED;
	passage->flags = 0;
	if (packet->tunnelled == NOT_TUNNELLED && skb->mark != PROBE_MARK && follow_forwarded(tuple))
		return FORWARD;
	is_own_packet = is_own && skb->mark != PROBE_MARK;
	choice = choose_anew(which, is_own_packet);
	if (choice == CHOICE_NO_FRONTEND)
		return REFUSE + REASON_UNOWNED_PORT;
	passage->service = choices->frontend.service;
	choices->before = place_of(&choices->previous);
	choices->at = choice == CHOICE_MADE ? place_of(&choices->current) : PLACE_NONE;
	if (is_formerly_here(tuple, choices)) {
		passage->flags = FLOW_OF_FORMER;
		return go(passage, &choices->previous, PLACE_HERE);
	}
	if (choice == CHOICE_NOT_LET_IN)
		return drop(REASON_SOURCE_NOT_ALLOWED);
	if (choice == CHOICE_MADE && choices->frontend.affinity_sec && is_own_packet && !packet->tunnelled &&
	    begins(tuple))
		keep_backend(which, passage->service, choices->current.id, choices->current.generation);
	/* The agent's own: whether there is a way to another node is not asked. */
	if (skb->mark == PROBE_MARK)
		return choices->at == PLACE_NONE ? REFUSE + REASON_NO_BACKEND : go(passage, &choices->current, PLACE_HERE);
	if (!packet->tunnelled)
		return way_from_outside(tuple, passage, choices, is_own);
	way = way_from_node(tuple, which, passage, choices, packet->tunnelled);
	if (way == FORWARD && is_own)
		tell_second_chance(tuple, passage);
	return way;
}

/* A segment for which only a SYN has made an entry here, and which does not follow on it: anybody can have sent that
 * SYN, and the flow may be older than the table in force. Until the pod hears more its window is at most 64 KiB
 * (RFC 7323 2.2); a keep-alive is one octet behind (RFC 9293 3.8.4). */
static __noinline bool is_behind_syn(const struct flow_key *key, const struct flow *opening,
		const struct packet *packet)
{
	struct flow_key out_key = out_key_of(key, opening);
	const struct flow *out;
	__u32 next = opening->next;

	if (!(opening->flags & FLOW_OPENED_BY_SYN) || !(opening->flags & FLOW_NEXT_KNOWN))
		return false;
	/* Of several SYNs it is the one that the pod has answered. */
	out = find_flow(&out_key);
	if (out && out->flags & FLOW_ACKED_KNOWN)
		next = out->acked;
	return packet->seq - (next - 1) > MAX_UNACKNOWLEDGED;
}

/* Where it goes without what anybody may have begun by a node that knew nothing of the flow, with a SYN or a datagram:
 * FORWARD to where this node has handed the flow on before, or a segment for its second chance; or HERE. `which`: the
 * packet in the map whose tuple decides. */
__noinline int find_older(struct __sk_buff *skb, __u32 which)
{
	struct packet *tuple = packet_at(which), *packet = packet_at(SCRATCH_PACKET);
	struct passage *passage = passage_here();
	struct choices *choices = choices_here();

	if (!tuple || !packet || !passage || !choices || packet->tunnelled == TUNNELLED_FINAL || skb->mark == PROBE_MARK)
		return HERE;
	passage->key = flow_key(tuple, DIRECTION_IN);
	passage->handed_on = packet->tunnelled;
	passage->flags = 0;
	if (packet->tunnelled == NOT_TUNNELLED && follow_forwarded(tuple))
		return FORWARD;
	if (tuple->protocol != IPPROTO_TCP || choose_anew(which, false) == CHOICE_NO_FRONTEND ||
	    place_of(&choices->previous) != PLACE_ELSEWHERE)
		return HERE;
	passage->service = choices->frontend.service;
	if (packet->tunnelled == NOT_TUNNELLED)
		passage->handed_on = TUNNELLED;
	go(passage, &choices->previous, PLACE_ELSEWHERE);
	if (which == SCRATCH_PACKET)
		tell_second_chance(tuple, passage);
	return FORWARD;
}

#endif
