// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What the maps of the socket programs hold. socket-layout.ts writes the same octets; a test compares both through the
 * object's BTF. Addresses are those of layout.h: one of IPv4 is mapped, so that an IPv6 socket that asks for it
 * (RFC 4291 2.5.5.2) finds what an IPv4 socket finds. */
#ifndef HERALD_SOCKET_H
#define HERALD_SOCKET_H

#include <bpf/bpf_helpers.h>
#include "layout.h"

/* Replaced as a whole. From Linux 6.1 on the memory of the old record may serve another frontend at once, also while a
 * program that has looked it up still reads it: what a record names counts only when the members say so. */
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

/* A backend of a frontend, whatever list it is in. Both are in the key, and a key that is found is the one that was
 * asked for: so nothing that was read elsewhere, of whatever record, leads to a backend of another frontend. */
struct socket_member {
	struct frontend_key frontend;
	struct endpoint backend;
};

enum socket_state {
	SOCKET_ACTIVE = 1,
	SOCKET_RESTING = 2, /* takes nothing new; datagrams of a socket that has it go on */
};

struct socket_standing {
	__u32 state; /* enum socket_state */
	__u32 reserved;
	__u64 chosen; /* how often for a connection, or for the datagrams of a socket without one */
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

/* What a socket keeps for itself goes with it, and no other socket can push it out. Threads may share it. */

/* The frontend that a connected socket asked for, and the backend that it has. */
struct socket_connected {
	struct bpf_spin_lock lock;
	__u32 reserved;
	struct endpoint frontend;
	struct endpoint backend;
};

/* The backend to which a socket without a connection sends behind a frontend, as conntrack would keep it, and by which
 * it knows of whom an answer is. A backend that was asked for itself is its own frontend. */
struct socket_pair {
	struct endpoint frontend;
	struct endpoint backend;
	__u64 used; /* by the count of what the socket has sent; 0: never */
};

/* Of more frontends than that at a time a socket forgets the one that it asked for longest ago. A power of two. */
#define SOCKET_PAIRS 16

struct socket_sent {
	struct bpf_spin_lock lock;
	__u32 reserved;
	__u64 count;
	struct socket_pair pairs[SOCKET_PAIRS];
};

/* What is told to whoever looks: whom a socket was led to, or that nobody is there. Its names are those of
 * socket-events.ts. */
enum socket_event_type {
	SOCKET_EVENT_CONNECT,
	SOCKET_EVENT_SEND, /* of a socket without a connection, to a backend that it did not have */
	SOCKET_EVENT_REFUSED,
	SOCKET_EVENT_TYPE_COUNT,
};

struct socket_event {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u64 cookie;  /* of the socket */
	__u64 cgroup;  /* the group of whose process asked; of cgroup v2 the inode of its folder */
	struct endpoint frontend; /* as it was asked for */
	struct endpoint backend;  /* zero: none */
	__u32 process; /* its id on the host */
	__u8 type;
	__u8 protocol;
	__u16 reserved;
	char command[16]; /* the name of its thread, with a zero behind it */
};

/* What led.bpf.c tells of a connected UDP socket: struct inet_diag_sockid, by which it may be ended, and the pair. */
struct socket_led {
	__be16 own_port;
	__be16 peer_port;
	__be32 own[4]; /* of IPv4 the first word alone */
	__be32 peer[4];
	__u32 device; /* interface that it is bound to; 0: none */
	__u32 cookie[2];
	__u32 family;
	struct endpoint frontend;
	struct endpoint backend;
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
	__type(value, struct socket_standing);
} socket_members SEC(".maps");

/* Addresses of other nodes, at which frontends of any address of a node (0.0.0.0, ::) are asked for. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 14);
	__type(key, struct ip_address);
	__type(value, __u32); /* 1 */
} socket_nodes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 16);
	__type(key, struct socket_client);
	__type(value, struct socket_choice);
} socket_affinity SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct socket_connected);
} sockets_connected SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct socket_sent);
} sockets_sent SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SOCKET_COUNTS);
	__type(key, __u32); /* enum socket_count */
	__type(value, __u64);
} socket_counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} socket_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct observation);
} socket_observation SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SOCKET_EVENT_TYPE_COUNT);
	__type(key, __u32); /* enum socket_event_type */
	__type(value, struct event_limit);
} socket_event_limits SEC(".maps");

#endif
