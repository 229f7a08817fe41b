// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Clients that stay with their backend (sessionAffinity: ClientIP). Where nothing is known of a client the hash of its
 * address alone chooses, so that all nodes with one table agree; what was chosen is kept, so that the client stays when
 * the backends change. Functions of their own to the verifier, as in ranges.h. */
#ifndef HERALD_AFFINITY_H
#define HERALD_AFFINITY_H

#include "packet.h"

/* The backends of a frontend by their ids: open addressing, a power of two of slots, each at most so far from where it
 * belongs. tables/members.ts writes them. */
#define MEMBER_PROBES 16

static __always_inline bool is_member(__u32 offset, __u32 length, const struct backend_ref *ref)
{
	const struct backend_ref *slot;
	__u32 place = ref->id * 0x9e3779b1, index;

	place ^= place >> 15;
	for (__u32 i = 0; i < MEMBER_PROBES; i++) {
		index = offset + ((place + i) & (length - 1));
		slot = bpf_map_lookup_elem(&tables, &index);
		if (!slot || !slot->generation)
			return false;
		if (slot->id == ref->id)
			return slot->generation == ref->generation;
	}
	return false;
}

/* The backend with which the client of a packet stays, its generation in the upper half; 0: none. `members`: where
 * they are, in the upper half, and how many slots. */
__noinline __u64 kept_backend(__u32 which, __u32 service, __u32 affinity_sec, __u64 since_ns, __u64 members)
{
	const struct packet *packet = bpf_map_lookup_elem(&scratch, &which);
	struct affinity_key key = { .service = service };
	const struct affinity *known;
	struct backend_ref backend;
	__u64 begun_ns;

	if (!packet || !(__u32)members)
		return 0;
	key.client = packet->source;
	known = bpf_map_lookup_elem(&affinity, &key);
	if (!known)
		return 0;
	backend = known->backend;
	begun_ns = known->begun_ns;
	if (begun_ns < since_ns || bpf_ktime_get_ns() - begun_ns >= affinity_sec * 1000000000ULL)
		return 0;
	if (!is_member(members >> 32, members, &backend))
		return 0;
	return (__u64)backend.generation << 32 | backend.id;
}

/* A flow of this client begins. */
__noinline int keep_backend(__u32 which, __u32 service, __u32 id, __u32 generation)
{
	const struct packet *packet = bpf_map_lookup_elem(&scratch, &which);
	struct affinity_key key = { .service = service };
	struct affinity now = { .backend = { .id = id, .generation = generation } };
	struct affinity *known;

	if (!packet)
		return 0;
	key.client = packet->source;
	now.begun_ns = bpf_ktime_get_ns();
	known = bpf_map_lookup_elem(&affinity, &key);
	if (known && known->backend.id == id && known->backend.generation == generation) {
		known->begun_ns = now.begun_ns;
		return 0;
	}
	return bpf_map_update_elem(&affinity, &key, &now, BPF_ANY);
}

#endif
