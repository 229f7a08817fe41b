// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* New flows, and such as have lost their state: which ports they get, where they belong. */
#ifndef HERALD_OPENING_H
#define HERALD_OPENING_H

#include "backend.h"
#include "flow.h"
#include "ranges.h"

#define CLIENT_PORTS 4
#define CLIENT_PORT_STEP 0x3a5d
#define FIRST_CLIENT_PORT 1024

/* The client's port as the pod may see it, in the order of trial; 0 when this one is none to use. Undone by
 * {@link client_port_before}, so that a reply alone says which flow it is of. */
static __always_inline __be16 client_port_after(__be16 port, __u32 trial)
{
	__u16 moved = bpf_ntohs(port) + trial * CLIENT_PORT_STEP;

	return trial == 0 || moved >= FIRST_CLIENT_PORT ? bpf_htons(moved) : 0;
}

static __always_inline __be16 client_port_before(__be16 port, __u32 trial)
{
	return bpf_htons(bpf_ntohs(port) - trial * CLIENT_PORT_STEP);
}

enum trial {
	TRIAL_FREE,
	TRIAL_UNPROVED, /* of a flow of which only one end is known */
	TRIAL_TAKEN,
};

/* Whether the port that the client of the passage is to have at the pod is one of a frontend at the same address. */
static __always_inline bool is_frontend_beside(const struct passage *passage)
{
	const struct packet *packet = packet_at(SCRATCH_PACKET);
	struct frontend_key key = {};

	if (!packet)
		return true;
	key.address = frontend_address(packet);
	key.port = passage->half.client_port;
	key.protocol = passage->key.protocol;
	return bpf_map_lookup_elem(&frontends, &key);
}

/* Whether the flow of the passage may have this port of its client at the pod; it is left in the passage. */
__noinline int try_client_port(__u32 trial)
{
	struct passage *passage = passage_here();
	enum trial found = TRIAL_TAKEN;
	const struct flow *other;
	struct flow_key *out_key;

	if (!passage)
		return TRIAL_TAKEN;
	out_key = &passage->out_key;
	passage->half.client_port = client_port_after(passage->key.source_port, trial);
	if (!passage->half.client_port)
		return TRIAL_TAKEN;
	/* What the pod asks a Service there would look like what it answers, where it asks from the port of the backend. */
	if (is_hairpin(&passage->half) && is_frontend_beside(passage))
		return TRIAL_TAKEN;
	out_key->destination_port = passage->half.client_port;
	other = find_proved(out_key);
	if (!other) {
		other = find_opening(out_key);
		found = TRIAL_UNPROVED;
	}
	if (!other || is_half_of(other, &passage->key, passage->half.flags))
		return TRIAL_FREE;
	if (!is_over(out_key, other))
		return found;
	forget_flow(out_key, other);
	return TRIAL_FREE;
}

/* Two flows of one client port with one pod, by two VIPs or by one and directly: the pod must see two, so the later one
 * gets another port. A flow that is over makes room, and when every port is taken one of which only one end is known:
 * whoever forges the client's address could take them all. False when every trial met one that both ends know of. */
static __always_inline bool choose_client_port(struct passage *passage)
{
	struct flow_key *out_key = &passage->out_key;
	__u32 unproved = CLIENT_PORTS;
	const struct flow *other;
	enum trial found;

	*out_key = out_key_of(&passage->key, &passage->half);
	UNROLLED
	for (__u32 trial = 0; trial < CLIENT_PORTS; trial++) {
		/* Of SCTP no port can be another one. */
		if (trial && passage->key.protocol == IPPROTO_SCTP)
			break;
		found = try_client_port(trial);
		if (found == TRIAL_FREE)
			return true;
		if (found == TRIAL_UNPROVED && unproved == CLIENT_PORTS)
			unproved = trial;
	}
	if (unproved == CLIENT_PORTS)
		return false;
	passage->half.client_port = client_port_after(passage->key.source_port, unproved);
	out_key->destination_port = passage->half.client_port;
	other = find_opening(out_key);
	if (other)
		forget_flow(out_key, other);
	return true;
}

/* Both halves of the flow in the passage; the one of the replies first, and as it was when it is still there. False
 * when there is no room. This and the next one are walked by the verifier once, and not in every state of their
 * callers: that is why what they work on lies in a map. */
__noinline int open_flow(void)
{
	struct passage *passage = passage_here();
	struct flow_key *out_key;
	const struct flow *known;
	struct flow *in;

	if (!passage)
		return false;
	in = &passage->half;
	out_key = &passage->out_key;
	in->seen = coarse_clock();
	if (!choose_client_port(passage))
		return false;
	known = find_flow(out_key);
	/* Netfilter sees both directions or none. */
	if (known)
		in->flags = (in->flags & ~FLOW_REDIRECTED) | (known->flags & FLOW_REDIRECTED);
	passage->out = out_half(&passage->key, in);
	/* Its silence is that of an opening until it is proved. */
	passage->out.flags |= in->flags & FLOW_OPENED_BY_SYN;
	if (!known && put_opening(out_key, &passage->out))
		return false;
	return !put_opening(&passage->key, in);
}

/* Whether the pod's half of the passage's flow with this backend is known: then that is where it was. */
__noinline int was_served_by(__u32 id, __u32 generation)
{
	const struct backend *backend = bpf_map_lookup_elem(&backends, &id);
	const struct passage *passage = passage_here();
	const struct flow *out;
	struct flow_key key;
	struct flow in = {};

	if (!passage || !backend || backend->generation != generation)
		return false;
	in.address = backend->address;
	in.port = backend->port;
	in.flags = hairpin_flag(&passage->key.source, backend);
	key = out_key_of(&passage->key, &in);
	UNROLLED
	for (__u32 trial = 0; trial < CLIENT_PORTS; trial++) {
		key.destination_port = client_port_after(passage->key.source_port, trial);
		out = find_flow(&key);
		if (out && is_half_of(out, &passage->key, in.flags))
			return true;
	}
	return false;
}

enum choice {
	CHOICE_TORN, /* it was replaced in this moment: once more */
	CHOICE_NO_FRONTEND,
	CHOICE_NO_BACKEND,
	CHOICE_NOT_LET_IN,
	CHOICE_MADE,
};

static __always_inline enum choice choice_of(const struct frontend *frontend, __u32 which, bool is_own,
		struct backend_ref *chosen)
{
	if (frontend->ranges && is_own && !is_let_in(which, frontend->ranges))
		return CHOICE_NOT_LET_IN;
	if (!choose_kept(frontend, which, chosen) && !choose_current(frontend, which, chosen))
		return CHOICE_NO_BACKEND;
	return backend_state(chosen) == BACKEND_GONE ? CHOICE_TORN : CHOICE_MADE;
}

/* Whom the frontend of the packet in the map names, in `choices`. */
__noinline int try_choice(__u32 which, __u32 is_own)
{
	const struct packet *packet = packet_at(which);
	struct choices *choices = choices_here();
	enum choice choice;

	if (!packet || !choices || !copy_frontend(packet, choices))
		return CHOICE_NO_FRONTEND;
	if (!choose_previous(&choices->frontend, which, &choices->previous))
		choices->previous.id = NO_BACKEND;
	choice = choice_of(&choices->frontend, which, is_own, &choices->current);
	return is_in_force(packet, choices) ? choice : CHOICE_TORN;
}

/* Who walks a hash while a record is replaced may miss it: none is believed to be absent by one look. */
#define LOOKS 3

/* `is_own`: it is the client's own packet, which begins something: not what an ICMP error quotes, nor the agent's. */
static __always_inline enum choice choose_anew(__u32 which, __u32 is_own)
{
	enum choice choice;

	UNROLLED
	for (int attempt = 0; attempt < CHOICES; attempt++) {
		choice = try_choice(which, is_own);
		if (choice != CHOICE_TORN && (choice != CHOICE_NO_FRONTEND || attempt >= LOOKS - 1))
			return choice;
	}
	return CHOICE_NO_BACKEND;
}

/* Once in a unit of the coarse clock: writes the half of the replies again when it was evicted, but never over
 * the entry of another flow, and says that it is in use. */
static __noinline void keep_out_half(const struct flow_key *in_key, struct flow *in, bool is_opening,
		const struct packet *packet)
{
	struct flow_key key = out_key_of(in_key, in);
	struct flow *out = find_flow(&key);
	struct flow restored;

	in->seen = coarse_clock();
	if (out) {
		out->seen = in->seen;
		return;
	}
	restored = out_half(in_key, in);
	if (!(in->flags & FLOW_DIRECT))
		tell_flow(EVENT_REHASH, DETAIL_HALF_RESTORED, in_key, in, packet);
	if (is_opening)
		put_opening(&key, &restored);
	else
		put_proved(&key, &restored);
}

static __noinline void keep_in_half(const struct flow_key *out_key, struct flow *out, bool is_opening,
		const struct packet *packet)
{
	struct flow_key key = in_key_of(out_key, out);
	struct flow *in;
	struct flow restored;

	out->seen = coarse_clock();
	/* A flow to the pod with its own port needs no half for what comes in. */
	if (out->flags & FLOW_DIRECT && out->client_port == out_key->destination_port)
		return;
	in = find_flow(&key);
	if (in) {
		in->seen = out->seen;
		return;
	}
	restored = in_half(out_key, out);
	tell_reply(EVENT_REHASH, DETAIL_HALF_RESTORED, out_key, out, packet);
	if (is_opening)
		put_opening(&key, &restored);
	else
		put_proved(&key, &restored);
}

/* Whether the reply that has the key in the passage is of a flow that comes in by the other key there, but for the
 * client's port; then its half is left in the passage. A function of its own to the verifier, as those of ranges.h. */
__noinline int find_former(void)
{
	struct passage *passage = passage_here();
	const struct flow_key *out_key;
	struct flow_key key;
	const struct flow *in;
	bool is_opening;

	if (!passage)
		return false;
	out_key = &passage->out_key;
	key = passage->key;
	UNROLLED
	for (__u32 trial = 0; trial < CLIENT_PORTS; trial++) {
		key.source_port = client_port_before(out_key->destination_port, trial);
		in = find_proved(&key);
		is_opening = !in;
		if (!in)
			in = find_opening(&key);
		if (!in || !is_same_address(&in->address, &out_key->source) || in->port != out_key->source_port ||
		    in->client_port != out_key->destination_port)
			continue;
		passage->out = out_half(&key, in);
		if (is_opening)
			put_opening(out_key, &passage->out);
		else
			put_proved(out_key, &passage->out);
		return true;
	}
	return false;
}

static __always_inline bool is_any_node(const struct ip_address *address)
{
	return !address->low && !address->high[0] && !address->high[1] &&
	       (!address->high[2] || address->high[2] == bpf_htonl(0xffff));
}

/* Of the addresses of this node the one at which it is known to others, in place of any; false: there is none. */
static __always_inline bool own_address(struct ip_address *any)
{
	__u32 first = 0;
	const struct tunnel *own = bpf_map_lookup_elem(&tunnels, &first);

	if (!own)
		return false;
	*any = any->high[2] ? own->ipv4 : own->ipv6;
	return !is_any_node(any);
}

/* The flow of the client, or of whom the place may stand for (hairpin.h), to this place. */
static __always_inline bool find_former_at(struct passage *passage, const struct endpoint *place)
{
	passage->key.source = passage->out_key.destination;
	passage->key.destination = place->address;
	passage->key.destination_port = place->port;
	if (!is_same_address(&place->address, &passage->out_key.destination))
		return find_former();
	passage->key.source = passage->out_key.source;
	if (find_former())
		return true;
	passage->key.source = any_node_address(!is_mapped(&place->address));
	return own_address(&passage->key.source) && find_former();
}

/* The half of the replies was evicted: the other half of one of the VIPs behind which the pod stands brings it
 * back. */
static __noinline bool restore_out_half(const struct flow_key *out_key, const struct source *source,
		struct flow *found)
{
	struct endpoint place = { .address = out_key->source, .port = out_key->source_port };
	struct passage *passage = passage_here();

	if (!passage)
		return false;
	passage->out_key = *out_key;
	__builtin_memset(&passage->key, 0, sizeof(passage->key));
	passage->key.protocol = out_key->protocol;
	passage->key.direction = DIRECTION_IN;
	if (find_former_at(passage, &place)) {
		*found = passage->out;
		return true;
	}
	for (__u32 i = 0; i < VIPS_PER_SOURCE; i++) {
		if (i >= source->count)
			break;
		place = source->vips[i];
		if (is_any_node(&place.address) && !own_address(&place.address))
			continue;
		if (find_former_at(passage, &place)) {
			*found = passage->out;
			return true;
		}
	}
	return false;
}

#endif
