// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Flows of which the VIP stands for the client at the pod, and whose these are: see hairpin.h. */
#ifndef HERALD_HAIRPIN_FLOW_H
#define HERALD_HAIRPIN_FLOW_H

#include "packet.h"

static __always_inline bool is_hairpin(const struct flow *flow)
{
	return flow->flags & FLOW_HAIRPIN;
}

static __always_inline bool is_vip(const struct ip_address *place)
{
	const struct address *address = bpf_map_lookup_elem(&addresses, place);

	return address && address->frontends;
}

/* An address of this node at which others know it. */
static __noinline bool is_of_this_node(const struct ip_address *client)
{
	const struct address *own = bpf_map_lookup_elem(&addresses, client);

	return own && (own->tunnel || own->node_ports);
}

/* FLOW_HAIRPIN or none, of a flow of the client with the backend. */
static __always_inline __u32 hairpin_flag(const struct ip_address *client, const struct backend *backend)
{
	return is_same_address(client, &backend->address) || is_of_this_node(client) ? FLOW_HAIRPIN : 0;
}

#endif
