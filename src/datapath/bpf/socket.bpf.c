// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The load balancer of clients on this node, in sockets instead of packets: whoever asks for a frontend is connected to
 * a backend, and never learns of it. Nothing is left to do for a packet.
 *
 *     connect, sendmsg:      frontend, or that of any node -> the backend kept, or one at random -> peer of the socket
 *                                '-none behind it-> refused
 *     recvmsg, getpeername:  backend -> the frontend that the socket meant
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>
#include "socket-events.h"
#include "socket-own.h"

/* What connect(2) and send(2) answer where nobody is behind a frontend: as with kube-proxy's REJECT. */
#define ECONNREFUSED 111
#define ENOBUFS 105

/* Before 6.1 these programs cannot say why: then it is EPERM. */
const volatile __u32 may_say_why SEC(".rodata.say_why") = 1;

enum fate {
	NOT_OURS,
	TRANSLATED,
	GOES_ON, /* a datagram to whom those before it went */
	REFUSED,
};

static __always_inline void count(__u32 what)
{
	__u64 *value = bpf_map_lookup_elem(&socket_counts, &what);

	if (value)
		(*value)++;
}

static __always_inline int refuse(int error)
{
	if (may_say_why)
		bpf_set_retval(-error);
	return 0;
}

/* Whether it is a backend of this frontend in such a state: then it is counted. In this moment it may cease to be one,
 * and what was found be another's; that costs a count. */
static __always_inline bool is_taken(const struct frontend_key *frontend, const struct endpoint *backend, __u32 most,
		bool is_new)
{
	struct socket_member key = { .frontend = *frontend, .backend = *backend };
	struct socket_standing *standing = bpf_map_lookup_elem(&socket_members, &key);

	if (!standing || standing->state > most)
		return false;
	if (is_new)
		__sync_fetch_and_add(&standing->chosen, 1);
	return true;
}

/* With whom the namespace of a socket stays. */
static __always_inline bool choose_kept(const struct frontend_key *key, __u32 affinity_sec,
		const struct socket_client *client, struct endpoint *backend)
{
	const struct socket_choice *kept = bpf_map_lookup_elem(&socket_affinity, client);

	if (!kept || bpf_ktime_get_ns() - kept->begun_ns >= affinity_sec * 1000000000ULL)
		return false;
	*backend = kept->backend;
	return is_taken(key, backend, SOCKET_ACTIVE, true);
}

static __always_inline void keep(const struct socket_client *client, const struct endpoint *backend)
{
	struct socket_choice choice = { .begun_ns = bpf_ktime_get_ns(), .backend = *backend };

	bpf_map_update_elem(&socket_affinity, client, &choice, BPF_ANY);
}

/* Who rests is in the list before this one, which may be in force for this socket still. */
static __always_inline bool choose_listed(const struct frontend_key *key, const struct socket_frontend *frontend,
		struct endpoint *backend)
{
	struct socket_place place = {
		.service = frontend->service,
		.table = frontend->table,
		.index = bpf_get_prandom_u32() % frontend->backends,
	};
	const struct endpoint *found = bpf_map_lookup_elem(&socket_backends, &place);

	if (!found)
		return false;
	*backend = *found;
	return is_taken(key, backend, SOCKET_RESTING, true);
}

/* Read twice as the same it was nobody else's. */
static __always_inline bool is_in_force(const struct frontend_key *key, const struct socket_frontend *read)
{
	const struct socket_frontend *now = bpf_map_lookup_elem(&socket_frontends, key);

	return now && now->service == read->service && now->table == read->table && now->backends == read->backends;
}

/* A list that is replaced in this moment may be gone, and what was read be of another frontend: then it is looked up
 * anew. */
#define MOST_LOOKS 16

/* `backend`: with whom a socket without a connection goes on, where `has_sent`. */
static __always_inline enum fate choose(const struct frontend_key *key, bool has_sent, __u64 netns,
		struct endpoint *backend)
{
	struct socket_client client = { .netns = netns };
	const struct socket_frontend *found;
	struct socket_frontend frontend;

	for (int look = 0; look < MOST_LOOKS; look++) {
		found = bpf_map_lookup_elem(&socket_frontends, key);
		if (!found)
			return NOT_OURS;
		frontend = *found;
		client.service = frontend.service;
		if (has_sent && is_taken(key, backend, SOCKET_RESTING, false))
			return GOES_ON;
		if (frontend.affinity_sec && choose_kept(key, frontend.affinity_sec, &client, backend)) {
			keep(&client, backend);
			return TRANSLATED;
		}
		if (!frontend.backends) {
			if (is_in_force(key, &frontend))
				return REFUSED;
			continue;
		}
		if (!choose_listed(key, &frontend, backend))
			continue;
		if (frontend.affinity_sec)
			keep(&client, backend);
		return TRANSLATED;
	}
	return REFUSED;
}

/* A node port may be asked for at an address of whatever node: then the frontend of any of them is meant. Who names no
 * address himself means his own host (connect(2)): no frontend has the key that is left then. */
static __always_inline void mean_any_node(struct frontend_key *key)
{
	__u64 named = key->address.low | key->address.high[0] | key->address.high[1] |
		      (key->address.high[2] & ~bpf_htonl(0xffff));
	__u32 is_elsewhere, keep;

	KEPT_AS_NUMBER(named);
	key->reserved = (named - 1) >> 63;
	is_elsewhere = !bpf_map_lookup_elem(&socket_frontends, key) && bpf_map_lookup_elem(&socket_nodes, &key->address);
	/* No branch, and nothing that is known of the address afterwards: the verifier would walk all that follows twice. */
	KEPT_AS_NUMBER(is_elsewhere);
	keep = is_elsewhere - 1;
	/* What is not of IPv4 becomes ::, what is 0.0.0.0. */
	key->address.low &= keep;
	keep |= -(__u32)(!(key->address.high[0] | key->address.high[1]) && key->address.high[2] == bpf_htonl(0xffff));
	KEPT_AS_NUMBER(keep);
	key->address.high[0] &= keep;
	key->address.high[1] &= keep;
	key->address.high[2] &= keep;
}

/* An IPv6 socket that is connected to an IPv4 address: the kernel fills in whom it sends to. */
static __always_inline bool is_connected(const struct bpf_sock *socket)
{
	return socket->state == BPF_TCP_ESTABLISHED;
}

/* It asks for the place itself. */
static __always_inline void go_direct(struct bpf_sock *socket, const struct endpoint *place, bool is_connecting)
{
	struct endpoint frontend;

	if (is_connecting) {
		if (has_asked(socket))
			note_connected(socket, place, place);
		return;
	}
	if (is_connected(socket))
		return;
	if (find_connected(socket, place, &frontend))
		bpf_sk_storage_delete(&sockets_connected, socket);
	note_direct(socket, place);
}

/* The peer that a socket asks for becomes a backend where it is a frontend. 1: the call goes on; else what it
 * answers. */
static __always_inline int to_backend(struct bpf_sock_addr *ctx, struct endpoint *peer, bool is_connecting)
{
	struct frontend_key key = { .address = peer->address, .port = peer->port, .protocol = ctx->protocol };
	bool is_tcp = ctx->protocol == IPPROTO_TCP;
	struct bpf_sock *socket = ctx->sk;
	struct endpoint backend = {};
	bool has_sent, is_noted;
	enum fate fate;

	if (!socket || (!is_tcp && ctx->protocol != IPPROTO_UDP))
		return 1;
	mean_any_node(&key);
	has_sent = !is_connecting && find_sent(socket, peer, &backend);
	fate = choose(&key, has_sent, bpf_get_netns_cookie(ctx), &backend);
	if (fate == REFUSED) {
		count(SOCKET_REFUSED);
		backend = (struct endpoint){};
		tell_socket(ctx, SOCKET_EVENT_REFUSED, peer, &backend);
		return refuse(ECONNREFUSED);
	}
	if (fate == NOT_OURS) {
		go_direct(socket, peer, is_connecting);
		return 1;
	}
	is_noted = is_connecting ? note_connected(socket, peer, &backend) : note_sent(socket, peer, &backend);
	if (!is_noted) {
		count(SOCKET_UNRECORDED);
		/* The answer to a datagram would come from a stranger. */
		if (!is_tcp)
			return refuse(ENOBUFS);
	}
	if (fate == TRANSLATED)
		tell_socket(ctx, is_connecting ? SOCKET_EVENT_CONNECT : SOCKET_EVENT_SEND, peer, &backend);
	*peer = backend;
	count(SOCKET_TRANSLATED);
	return 1;
}

/* The peer that a socket is told of becomes the frontend that it meant. */
static __always_inline void to_frontend(struct bpf_sock_addr *ctx, struct endpoint *peer)
{
	struct bpf_sock *socket = ctx->sk;
	struct endpoint frontend = {};

	if (!socket)
		return;
	if (is_connected(socket) && find_connected(socket, peer, &frontend))
		*peer = frontend;
	else if (find_meant(socket, peer, &frontend))
		*peer = frontend;
	/* It was connected, and this is of then; or its connection is not made yet, or over. */
	else if (find_connected(socket, peer, &frontend))
		*peer = frontend;
}

static __always_inline struct endpoint peer4(const struct bpf_sock_addr *ctx)
{
	return (struct endpoint){
		.address = { .high = { 0, 0, bpf_htonl(0xffff) }, .low = ctx->user_ip4 },
		.port = ctx->user_port,
	};
}

static __always_inline void set_peer4(struct bpf_sock_addr *ctx, const struct endpoint *peer)
{
	ctx->user_ip4 = peer->address.low;
	ctx->user_port = peer->port;
}

static __always_inline struct endpoint peer6(const struct bpf_sock_addr *ctx)
{
	return (struct endpoint){
		.address = {
			.high = { ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2] },
			.low = ctx->user_ip6[3],
		},
		.port = ctx->user_port,
	};
}

static __always_inline void set_peer6(struct bpf_sock_addr *ctx, const struct endpoint *peer)
{
	ctx->user_ip6[0] = peer->address.high[0];
	ctx->user_ip6[1] = peer->address.high[1];
	ctx->user_ip6[2] = peer->address.high[2];
	ctx->user_ip6[3] = peer->address.low;
	ctx->user_port = peer->port;
}

static __always_inline int ask4(struct bpf_sock_addr *ctx, bool is_connecting)
{
	struct endpoint peer = peer4(ctx);
	int answer = to_backend(ctx, &peer, is_connecting);

	set_peer4(ctx, &peer);
	return answer;
}

static __always_inline int ask6(struct bpf_sock_addr *ctx, bool is_connecting)
{
	struct endpoint peer = peer6(ctx);
	int answer = to_backend(ctx, &peer, is_connecting);

	set_peer6(ctx, &peer);
	return answer;
}

static __always_inline int tell4(struct bpf_sock_addr *ctx)
{
	struct endpoint peer = peer4(ctx);

	to_frontend(ctx, &peer);
	set_peer4(ctx, &peer);
	return 1;
}

static __always_inline int tell6(struct bpf_sock_addr *ctx)
{
	struct endpoint peer = peer6(ctx);

	to_frontend(ctx, &peer);
	set_peer6(ctx, &peer);
	return 1;
}

SEC("cgroup/connect4")
int herald_connect4(struct bpf_sock_addr *ctx)
{
	return ask4(ctx, true);
}

SEC("cgroup/connect6")
int herald_connect6(struct bpf_sock_addr *ctx)
{
	return ask6(ctx, true);
}

SEC("cgroup/sendmsg4")
int herald_sendmsg4(struct bpf_sock_addr *ctx)
{
	return ask4(ctx, false);
}

SEC("cgroup/sendmsg6")
int herald_sendmsg6(struct bpf_sock_addr *ctx)
{
	return ask6(ctx, false);
}

SEC("cgroup/recvmsg4")
int herald_recvmsg4(struct bpf_sock_addr *ctx)
{
	return tell4(ctx);
}

SEC("cgroup/recvmsg6")
int herald_recvmsg6(struct bpf_sock_addr *ctx)
{
	return tell6(ctx);
}

SEC("cgroup/getpeername4")
int herald_getpeername4(struct bpf_sock_addr *ctx)
{
	return tell4(ctx);
}

SEC("cgroup/getpeername6")
int herald_getpeername6(struct bpf_sock_addr *ctx)
{
	return tell6(ctx);
}

/* As herald.bpf.c, see LICENSE. */
char _license[] SEC("license") = "Dual BSD/GPL";
