// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What the maps of the socket programs hold. socket-layout.ts writes the same octets; a test compares both through the
 * object's BTF. Addresses are those of layout.h: one of IPv4 is mapped, so that an IPv6 socket that asks for it
 * (RFC 4291 2.5.5.2) finds what an IPv4 socket finds. */
#ifndef HERALD_SOCKET_H
#define HERALD_SOCKET_H

#include <bpf/bpf_helpers.h>
#include "layout.h"

/* Replaced as a whole: who looks it up sees the old backends or the new ones (but see layout.h, struct frontend). */
struct socket_frontend {
	__u32 service;
	__u32 table; /* which list of its backends is in force */
	__u32 backends;
	/* A network namespace stays with its backend for so long after its last connection began; 0: not at all. */
	__u32 affinity_sec;
};

/* A list is written whole before a frontend names it, and never changed. */
struct socket_place {
	__u32 service;
	__u32 table;
	__u32 index;
};

/* A backend of a frontend, whatever list it is in. */
struct socket_member {
	struct endpoint endpoint;
	__u32 service;
};

enum socket_state {
	SOCKET_ACTIVE = 1,
	SOCKET_RESTING = 2, /* takes nothing new; datagrams of a socket that has it go on */
};

struct socket_client {
	__u64 netns; /* bpf_get_netns_cookie: who a client is before it has an address */
	__u32 service;
	__u32 reserved;
};

struct socket_choice {
	__u64 begun_ns; /* CLOCK_MONOTONIC: when its last connection began */
	struct endpoint backend;
	__u32 reserved;
};

/* A socket and whom it speaks to. */
struct socket_peer {
	__u64 cookie;
	struct endpoint endpoint;
	__u32 reserved;
};

enum socket_count {
	SOCKET_TRANSLATED, /* connections, and datagrams of sockets without one */
	SOCKET_REFUSED,    /* nobody is behind the frontend */
	SOCKET_UNRECORDED, /* the kernel had no room for what the way back needs */
	SOCKET_COUNTS,
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 18);
	__type(key, struct frontend_key);
	__type(value, struct socket_frontend);
} socket_frontends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, struct socket_place);
	__type(value, struct endpoint);
} socket_backends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, struct socket_member);
	__type(value, __u32); /* enum socket_state */
} socket_members SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 16);
	__type(key, struct socket_client);
	__type(value, struct socket_choice);
} socket_affinity SEC(".maps");

/* Which frontend a socket meant by a backend. An entry that is evicted costs the name of the peer, and of a datagram
 * its sender. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 16);
	__type(key, struct socket_peer);
	__type(value, struct endpoint);
} socket_meant SEC(".maps");

/* Which backend a socket without a connection sends to behind a frontend: as conntrack would keep it. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 16);
	__type(key, struct socket_peer);
	__type(value, struct endpoint);
} socket_sent SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SOCKET_COUNTS);
	__type(key, __u32); /* enum socket_count */
	__type(value, __u64);
} socket_counts SEC(".maps");

#endif
