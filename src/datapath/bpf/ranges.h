// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Who may open flows. Functions of their own to the verifier, which walks them once and not in every state of their
 * callers; they take numbers alone, as verifiers before 5.12 ask. */
#ifndef HERALD_RANGES_H
#define HERALD_RANGES_H

#include "packet.h"

#define RANGE_KEY_BITS (8 * (sizeof(struct range_key) - sizeof(__u32)))

/* Whether a packet comes from one of a set of ranges. */
__noinline int is_let_in(__u32 which, __u32 set)
{
	const struct packet *packet = bpf_map_lookup_elem(&scratch, &which);
	struct range_key key = { .prefix_length = RANGE_KEY_BITS, .set = set };
	const __u32 *is_allowed;

	if (!packet)
		return 0;
	key.source = packet->source;
	is_allowed = bpf_map_lookup_elem(&ranges, &key);
	return is_allowed && *is_allowed;
}

/* Whether the VIP itself says anything to the sender of a packet. */
__noinline int is_answered(__u32 which)
{
	const struct packet *packet = bpf_map_lookup_elem(&scratch, &which);
	const struct address *address;

	if (!packet)
		return 0;
	address = bpf_map_lookup_elem(&addresses, &packet->destination);
	if (!address || !address->ranges)
		return 1;
	return is_let_in(which, address->ranges);
}

#endif
