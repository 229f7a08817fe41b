// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What the maps hold. layout.ts writes the same octets; a test compares both through the object's BTF. */
#ifndef HERALD_LAYOUT_H
#define HERALD_LAYOUT_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* One backend of one frontend. An id is only reused with the next generation, so whoever still holds the old pair
 * (a connection, a table) finds a mismatch instead of another pod. */
struct backend_ref {
	__u32 id;
	__u32 generation;
};

struct backend {
	__be32 address;
	__be16 port;
	__u16 reserved;
	__u32 generation;
	__u32 service;
	/* 0: takes new connections. Else, until then (CLOCK_MONOTONIC), only what is established goes on. */
	__u64 drain_until_ns;
};

struct vip {
	__u32 frontends;
};

struct frontend_key {
	__be32 address;
	__be16 port;
	__u8 protocol;
	__u8 reserved;
};

/* Replaced as a whole under RCU: a packet sees the old backends or the new ones. */
struct frontend {
	__u32 service;
	__u32 backends;
	struct backend_ref only;   /* with exactly one backend there is no table */
	__u32 table_offset;        /* first slot of the Maglev table in the map of all tables */
	__u32 table_length;
};

enum direction {
	DIRECTION_IN = 0,  /* client -> VIP; the value is the backend */
	DIRECTION_OUT = 1, /* backend -> client; the value is the VIP */
};

struct connection_key {
	__be32 source;
	__be32 destination;
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 direction;
	__u16 reserved;
};

struct connection {
	__be32 address;
	__be16 port;
	/* The client's port: as the backend sees it (in), as it really is (out). They differ only when two connections
	 * of one client would look the same to the backend. */
	__be16 client_port;
	struct backend_ref backend;
	__u32 service;
	__u32 seen;     /* coarse clock of the last check that the other half exists */
	__u64 syn_ns;   /* when the last SYN to the VIP passed */
};

/* The ports of a datagram whose first fragment has passed. */
struct fragment_key {
	__be32 source;
	__be32 destination;
	__be16 identification;
	__u8 protocol;
	__u8 reserved;
};

struct fragment {
	__be16 source_port;
	__be16 destination_port;
};

struct counters {
	__u64 packets_in;
	__u64 bytes_in;
	__u64 packets_out;
	__u64 bytes_out;
	__u64 new_connections;
};

/* Why a packet for a VIP was answered in place or dropped: exactly one per such packet. */
enum reason {
	REASON_ECHO_ANSWERED,
	REASON_UNOWNED_PORT,
	REASON_UNOWNED_PROTOCOL,
	REASON_NO_BACKEND,
	REASON_BACKEND_GONE,
	REASON_ANSWER_LIMITED,
	REASON_NOT_ANSWERABLE,
	REASON_BAD_HEADER,
	REASON_FRAGMENT,
	REASON_ICMP_UNMATCHED,
	REASON_CONNECTIONS_FULL,
	REASON_REWRITE_FAILED,
	REASON_COUNT,
};

/* Answers are limited by kind and VIP: VIPs that share a place by their hash share a bucket of each kind. */
enum limit {
	LIMIT_ECHO,
	LIMIT_UNOWNED_PORT,
	LIMIT_UNOWNED_PROTOCOL,
	LIMIT_NO_BACKEND,
	LIMIT_BACKEND_GONE,
	LIMIT_COUNT,
};

#define VIPS_PER_LIMIT_BITS 8
#define VIPS_PER_LIMIT (1 << VIPS_PER_LIMIT_BITS)

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __be32);
	__type(value, struct vip);
} vips SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 32768);
	__type(key, struct frontend_key);
	__type(value, struct frontend);
} frontends SEC(".maps");

/* Both are mapped into the agent: writing a table is a copy, not a system call per slot. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct backend);
} backends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1 << 22);
	__type(key, __u32);
	__type(value, struct backend_ref);
} tables SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 19);
	__type(key, struct connection_key);
	__type(value, struct connection);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct fragment_key);
	__type(value, struct fragment);
} fragments SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 32768);
	__type(key, __u32);
	__type(value, struct counters);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASON_COUNT);
	__type(key, __u32); /* enum reason */
	__type(value, __u64);
} reasons SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LIMIT_COUNT << VIPS_PER_LIMIT_BITS);
	__type(key, __u32); /* enum limit, then the place of the VIP */
	__type(value, __u64);
} limits SEC(".maps");

#endif
