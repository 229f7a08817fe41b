// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Choosing a backend, and what became of one that was chosen. */
#ifndef HERALD_BACKEND_H
#define HERALD_BACKEND_H

#include "affinity.h"
#include "packet.h"

/* A table that was read just before it was replaced may name a backend that is gone by now: then the new one is
 * read. */
#define CHOICES 8

/* An id that none has. */
#define NO_BACKEND (~0U)

enum backend_state {
	BACKEND_GONE,
	BACKEND_DRAINING, /* gone from every slice: what is established has a while */
	BACKEND_RESTING,  /* not ready: what is established goes on */
	BACKEND_ACTIVE,
};

static __always_inline enum backend_state backend_state(const struct backend_ref *ref)
{
	__u32 id = ref->id;
	const struct backend *backend = bpf_map_lookup_elem(&backends, &id);
	__u64 until;

	if (!backend || backend->generation != ref->generation)
		return BACKEND_GONE;
	until = backend->drain_until_ns;
	if (until == 0)
		return BACKEND_ACTIVE;
	if (until == RESTING)
		return BACKEND_RESTING;
	return bpf_ktime_get_ns() < until ? BACKEND_DRAINING : BACKEND_GONE;
}

static __always_inline bool is_same_ref(const struct backend_ref *a, const struct backend_ref *b)
{
	return a->id == b->id && a->generation == b->generation;
}

/* Whether it is the backend of this place. What names it may have become another record while it was read: see
 * layout.h, struct frontend. */
static __always_inline bool is_backend_at(const struct backend_ref *ref, const struct frontend_key *place)
{
	__u32 id = ref->id;
	const struct backend *backend = bpf_map_lookup_elem(&backends, &id);

	return backend && backend->generation == ref->generation && backend->port == place->port &&
	       backend->protocol == place->protocol && is_same_address(&backend->address, &place->address);
}

static __always_inline __u32 mix(__u32 hash, __u32 word)
{
	hash = (hash ^ word) * 0x9e3779b1;
	return hash ^ (hash >> 15);
}

static __always_inline __u32 mix_address(__u32 hash, bool is_ipv6, const struct ip_address *address)
{
	if (is_ipv6)
		hash = mix(mix(mix(hash, address->high[0]), address->high[1]), address->high[2]);
	return mix(hash, address->low);
}

/* The same on every node: with one table everywhere, every node chooses the same backend for a flow. */
static __always_inline __u32 flow_hash(const struct packet *packet)
{
	__u32 hash = mix_address(0x48455241, is_ipv6(packet), &packet->source);

	hash = mix(hash, (__u32)packet->source_port << 16 | packet->destination_port);
	hash = mix_address(hash, is_ipv6(packet), &packet->destination);
	hash = mix(hash, packet->protocol);
	return hash ^ (hash >> 13);
}

/* Where in a table a packet goes. With affinity by the client alone: all its flows meet one slot, also in tables of the
 * same length of other ports. A function of its own to the verifier, as those of ranges.h. */
__noinline __u32 choice_hash(__u32 which, __u32 affinity_sec)
{
	const struct packet *packet = bpf_map_lookup_elem(&scratch, &which);
	__u32 hash;

	if (!packet)
		return 0;
	if (!affinity_sec)
		return flow_hash(packet);
	hash = mix_address(0x48455241, is_ipv6(packet), &packet->source);
	return hash ^ (hash >> 13);
}

static __always_inline bool read_table(const struct frontend *frontend, __u32 offset, __u32 length, enum scratch which,
		struct backend_ref *chosen)
{
	__u32 index = offset + choice_hash(which, frontend->affinity_sec) % length;
	const struct backend_ref *slot = bpf_map_lookup_elem(&tables, &index);

	if (slot)
		*chosen = *slot;
	return slot;
}

static __always_inline bool choose_current(const struct frontend *frontend, enum scratch which,
		struct backend_ref *chosen)
{
	if (frontend->backends > 1)
		return frontend->table_length != 0 &&
		       read_table(frontend, frontend->table_offset, frontend->table_length, which, chosen);
	*chosen = frontend->only;
	return frontend->backends == 1;
}

static __always_inline bool choose_previous(const struct frontend *frontend, enum scratch which,
		struct backend_ref *chosen)
{
	if (bpf_ktime_get_ns() >= frontend->previous_until_ns)
		return false;
	if (frontend->previous_length)
		return read_table(frontend, frontend->previous_offset, frontend->previous_length, which, chosen);
	*chosen = frontend->previous_only;
	return chosen->generation != 0;
}

/* With one backend there is nothing to stay away from. */
static __always_inline bool choose_kept(const struct frontend *frontend, enum scratch which,
		struct backend_ref *chosen)
{
	__u64 kept;

	if (!frontend->affinity_sec || frontend->backends < 2)
		return false;
	kept = kept_backend(which, frontend->service, frontend->affinity_sec, frontend->affinity_since_ns,
			(__u64)frontend->members_offset << 32 | frontend->members_length);
	chosen->id = kept;
	chosen->generation = kept >> 32;
	return kept;
}

/* The address of frontends at whichever address of a node: all zeros of its family. */
static __always_inline struct ip_address any_node_address(bool is_ipv6)
{
	return (struct ip_address){ .high = { 0, 0, is_ipv6 ? 0 : bpf_htonl(0xffff) } };
}

static __always_inline struct ip_address frontend_address(const struct packet *packet)
{
	return packet->at_node ? any_node_address(is_ipv6(packet)) : packet->destination;
}

static __always_inline const struct frontend *frontend_of(const struct packet *packet)
{
	struct frontend_key key = {
		.address = frontend_address(packet),
		.port = packet->destination_port,
		.protocol = packet->protocol,
	};
	return bpf_map_lookup_elem(&frontends, &key);
}

/* The backend that is here, or was. */
static __always_inline const struct source *source_at(const struct ip_address *address, __be16 port, __u8 protocol)
{
	struct frontend_key key = { .address = *address, .port = port, .protocol = protocol };

	return bpf_map_lookup_elem(&sources, &key);
}

static __always_inline struct choices *choices_here(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&choices, &first);
}

static __always_inline bool copy_frontend(const struct packet *packet, struct choices *choices)
{
	const struct frontend *frontend = frontend_of(packet);

	if (!frontend)
		return false;
	choices->frontend = *frontend;
	return true;
}

typedef __u64 __attribute__((may_alias)) word;

/* Whether the record that was copied is the one in force: then it was nobody else's, and what it names is its own. */
static __always_inline bool is_in_force(const struct packet *packet, const struct choices *choices)
{
	const word *read = (const void *)&choices->frontend, *now = (const void *)frontend_of(packet);
	__u64 difference = 0;

	if (!now)
		return false;
	UNROLLED
	for (__u32 i = 0; i < sizeof(choices->frontend) / sizeof(*read); i++)
		difference |= read[i] ^ now[i];
	return !difference;
}

/* The agent's own first packet to a frontend: it leaves no flow and is not counted. No packet comes in with a mark. */
#define PROBE_MARK 0x48455052

/* The flow is the pod's own: counted for no Service, since the counters have no such place. */
#define NO_SERVICE (~0U)

static __always_inline __u32 wire_packets(struct __sk_buff *skb)
{
	return skb->gso_segs > 1 ? skb->gso_segs : 1;
}

/* Zero for one that has no place there, and while another one has it. */
static __always_inline struct counters *counters_of(const struct backend_ref *ref)
{
	__u32 id = ref->id;
	struct backend_counters *held = bpf_map_lookup_elem(&backend_counts, &id);

	return held && held->generation == ref->generation ? &held->counters : 0;
}

static __always_inline void add_in(struct counters *total, struct __sk_buff *skb, bool is_new)
{
	total->packets_in += wire_packets(skb);
	total->bytes_in += skb->len;
	total->new_connections += is_new;
}

static __always_inline void count_in(struct __sk_buff *skb, const struct flow *flow, bool is_new)
{
	__u32 service = flow->service;
	struct counters *total = bpf_map_lookup_elem(&counters, &service);

	if (!total || skb->mark == PROBE_MARK)
		return;
	add_in(total, skb, is_new);
	total = counters_of(&flow->backend);
	if (total)
		add_in(total, skb, is_new);
}

static __always_inline void add_out(struct counters *total, struct __sk_buff *skb)
{
	total->packets_out += wire_packets(skb);
	total->bytes_out += skb->len;
}

static __always_inline void count_out(struct __sk_buff *skb, const struct flow *flow)
{
	__u32 service = flow->service;
	struct counters *total = bpf_map_lookup_elem(&counters, &service);

	/* A flow with the pod itself is of no Service, and names no backend. */
	if (!total)
		return;
	add_out(total, skb);
	total = counters_of(&flow->backend);
	if (total)
		add_out(total, skb);
}

#endif
