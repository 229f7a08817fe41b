// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Connections: an entry per direction in one LRU map. Either half may be evicted alone; a packet from the client
 * restores the reply half, and a lost forward half is chosen again from the same table. */
#ifndef HERALD_CONNECTION_H
#define HERALD_CONNECTION_H

#include "packet.h"

/* Two hooks of stacked devices (a VLAN and its parent) see one SYN within this time. */
#define SAME_PACKET_NS 1000000

#define CLIENT_PORT_TRIALS 4
#define FIRST_CLIENT_PORT 1024

enum backend_state {
	BACKEND_GONE,
	BACKEND_DRAINING,
	BACKEND_ACTIVE,
};

static __always_inline struct connection_key connection_key(const struct packet *packet, enum direction direction)
{
	struct connection_key key = {
		.source = packet->source,
		.destination = packet->destination,
		.source_port = packet->source_port,
		.destination_port = packet->destination_port,
		.protocol = packet->protocol,
		.direction = direction,
	};
	return key;
}

/* The key of a packet that goes the other way. */
static __always_inline struct connection_key reversed_key(const struct packet *packet, enum direction direction)
{
	struct connection_key key = {
		.source = packet->destination,
		.destination = packet->source,
		.source_port = packet->destination_port,
		.destination_port = packet->source_port,
		.protocol = packet->protocol,
		.direction = direction,
	};
	return key;
}

static __always_inline struct connection_key reply_key_of(const struct connection_key *forward,
		const struct connection *connection)
{
	struct connection_key key = {
		.source = connection->address,
		.destination = forward->source,
		.source_port = connection->port,
		.destination_port = connection->client_port,
		.protocol = forward->protocol,
		.direction = DIRECTION_OUT,
	};
	return key;
}

static __always_inline struct connection_key forward_key_of(const struct connection_key *reply_key,
		const struct connection *reply)
{
	struct connection_key key = {
		.source = reply_key->destination,
		.destination = reply->address,
		.source_port = reply->client_port,
		.destination_port = reply->port,
		.protocol = reply_key->protocol,
		.direction = DIRECTION_IN,
	};
	return key;
}

/* About a second; exactness does not matter and this clock is nearly free. */
static __always_inline __u32 coarse_clock(void)
{
	return bpf_jiffies64() >> 8;
}

static __always_inline enum backend_state backend_state(const struct backend_ref *ref)
{
	__u32 id = ref->id;
	const struct backend *backend = bpf_map_lookup_elem(&backends, &id);

	if (!backend || backend->generation != ref->generation)
		return BACKEND_GONE;
	if (backend->drain_until_ns == 0)
		return BACKEND_ACTIVE;
	return bpf_ktime_get_ns() < backend->drain_until_ns ? BACKEND_DRAINING : BACKEND_GONE;
}

static __always_inline void count_in(struct __sk_buff *skb, __u32 service, bool is_new)
{
	struct counters *total = bpf_map_lookup_elem(&counters, &service);

	if (!total)
		return;
	total->packets_in += skb->gso_segs > 1 ? skb->gso_segs : 1;
	total->bytes_in += skb->len;
	total->new_connections += is_new;
}

static __always_inline void count_out(struct __sk_buff *skb, __u32 service)
{
	struct counters *total = bpf_map_lookup_elem(&counters, &service);

	if (!total)
		return;
	total->packets_out += skb->gso_segs > 1 ? skb->gso_segs : 1;
	total->bytes_out += skb->len;
}

static __always_inline __u32 mix(__u32 hash, __u32 word)
{
	hash = (hash ^ word) * 0x9e3779b1;
	return hash ^ (hash >> 15);
}

/* The same on every node: with one table everywhere, every node chooses the same backend for a flow. */
static __always_inline __u32 flow_hash(const struct packet *packet)
{
	__u32 hash = mix(0x48455241, packet->source);

	hash = mix(hash, (__u32)packet->source_port << 16 | packet->destination_port);
	hash = mix(hash, packet->destination);
	hash = mix(hash, packet->protocol);
	return hash ^ (hash >> 13);
}

/* False when the frontend has no backend. */
static __always_inline bool choose_backend(const struct frontend *frontend, const struct packet *packet,
		struct backend_ref *chosen)
{
	const struct backend_ref *slot = &frontend->only;
	__u32 index;

	if (frontend->backends == 0)
		return false;
	if (frontend->backends > 1) {
		if (frontend->table_length == 0)
			return false;
		index = frontend->table_offset + flow_hash(packet) % frontend->table_length;
		slot = bpf_map_lookup_elem(&tables, &index);
		if (!slot)
			return false;
	}
	*chosen = *slot;
	return true;
}

/* The reply half as it follows from the forward half. */
static __always_inline struct connection reply_half(const struct connection_key *forward,
		const struct connection *connection)
{
	struct connection reply = *connection;

	reply.address = forward->destination;
	reply.port = forward->destination_port;
	reply.client_port = forward->source_port;
	return reply;
}

static __always_inline bool is_same_reply(const struct connection *a, const struct connection *b)
{
	return a->address == b->address && a->port == b->port && a->client_port == b->client_port;
}

/* Two connections of one client, to two VIPs or ports with the same backend, may use the same client port: the backend
 * must see two. The later one gets another port, found by trial. False when every trial met a connection. */
static __always_inline bool choose_client_port(const struct connection_key *forward, struct connection *connection)
{
	struct connection reply = reply_half(forward, connection);
	const struct connection *other;
	struct connection_key key;
	__u32 hash = mix(forward->destination, (__u32)forward->source_port << 16 | forward->destination_port);

	connection->client_port = forward->source_port;
	for (int trial = 0; trial < CLIENT_PORT_TRIALS; trial++) {
		key = reply_key_of(forward, connection);
		other = bpf_map_lookup_elem(&connections, &key);
		if (!other || is_same_reply(other, &reply))
			return true;
		hash = mix(hash, trial);
		connection->client_port = bpf_htons(FIRST_CLIENT_PORT + hash % (65536 - FIRST_CLIENT_PORT));
	}
	return false;
}

/* Once a second: writes the reply half again when it was evicted, but never over the entry of another connection. */
static __always_inline void keep_reply_half(const struct connection_key *forward, struct connection *connection)
{
	__u32 now = coarse_clock();
	struct connection_key key;
	struct connection reply;

	if (connection->seen == now)
		return;
	connection->seen = now;
	key = reply_key_of(forward, connection);
	if (bpf_map_lookup_elem(&connections, &key))
		return;
	reply = reply_half(forward, connection);
	bpf_map_update_elem(&connections, &key, &reply, BPF_NOEXIST);
}

/* A SYN that is not of a VIP connection, on a tuple that looks like one: the client has closed that connection and now
 * talks to the pod directly (or the pod to it), from the same ports. Its packets must not be translated. */
static __noinline void forget_replaced(const struct connection_key *reply_key)
{
	const struct connection *reply = bpf_map_lookup_elem(&connections, reply_key);
	struct connection_key forward_key;

	if (!reply || bpf_ktime_get_ns() - reply->syn_ns < SAME_PACKET_NS)
		return;
	forward_key = forward_key_of(reply_key, reply);
	bpf_map_delete_elem(&connections, &forward_key);
	bpf_map_delete_elem(&connections, reply_key);
}

#endif
