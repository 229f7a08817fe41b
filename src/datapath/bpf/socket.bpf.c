// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The load balancer of clients on this node, in sockets instead of packets: whoever asks for a frontend is connected to
 * a backend, and never learns of it. Nothing is left to do for a packet.
 *
 *     connect, sendmsg:      frontend -> the backend kept, or one at random -> peer of the socket
 *                                '-none behind it-> refused
 *     recvmsg, getpeername:  backend -> the frontend that the socket meant
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>
#include "socket.h"

/* What connect(2) and send(2) answer where nobody is behind a frontend: as with kube-proxy's REJECT. */
#define ECONNREFUSED 111
#define ENOBUFS 105

/* Before 6.1 these programs cannot say why: then it is EPERM. */
const volatile __u32 may_say_why SEC(".rodata.say_why") = 1;

enum fate {
	NOT_OURS,
	TRANSLATED,
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

static __always_inline bool is_state(__u32 service, const struct endpoint *backend, __u32 most)
{
	struct socket_member key = { .endpoint = *backend, .service = service };
	const __u32 *state = bpf_map_lookup_elem(&socket_members, &key);

	return state && *state <= most;
}

/* With whom the namespace of a socket stays. */
static __always_inline bool choose_kept(const struct socket_frontend *frontend, const struct socket_client *client,
		struct endpoint *backend)
{
	const struct socket_choice *kept = bpf_map_lookup_elem(&socket_affinity, client);

	if (!kept || bpf_ktime_get_ns() - kept->begun_ns >= frontend->affinity_sec * 1000000000ULL)
		return false;
	*backend = kept->backend;
	return is_state(frontend->service, backend, SOCKET_ACTIVE);
}

static __always_inline void keep(const struct socket_client *client, const struct endpoint *backend)
{
	struct socket_choice choice = { .begun_ns = bpf_ktime_get_ns(), .backend = *backend };

	bpf_map_update_elem(&socket_affinity, client, &choice, BPF_ANY);
}

/* A list that is replaced in this moment may be gone: then the frontend names another one. */
#define MOST_LOOKS 4

static __always_inline enum fate choose(const struct frontend_key *key, const struct socket_peer *sent, __u64 netns,
		struct endpoint *backend)
{
	const struct socket_frontend *frontend = bpf_map_lookup_elem(&socket_frontends, key);
	struct socket_client client = { .netns = netns };
	const struct endpoint *found;

	if (!frontend)
		return NOT_OURS;
	client.service = frontend->service;
	if (frontend->backends && frontend->affinity_sec && choose_kept(frontend, &client, backend)) {
		keep(&client, backend);
		return TRANSLATED;
	}
	/* A socket that sends without a connection goes on with whom it sent to. */
	found = sent ? bpf_map_lookup_elem(&socket_sent, sent) : 0;
	if (found) {
		*backend = *found;
		if (is_state(frontend->service, backend, SOCKET_RESTING))
			return TRANSLATED;
	}
	for (int look = 0; look < MOST_LOOKS; look++) {
		struct socket_place place = {};

		if (!frontend->backends)
			return REFUSED;
		place.service = frontend->service;
		place.table = frontend->table;
		place.index = bpf_get_prandom_u32() % frontend->backends;
		found = bpf_map_lookup_elem(&socket_backends, &place);
		if (found) {
			*backend = *found;
			if (frontend->affinity_sec)
				keep(&client, backend);
			return TRANSLATED;
		}
		frontend = bpf_map_lookup_elem(&socket_frontends, key);
		if (!frontend)
			return NOT_OURS;
	}
	return REFUSED;
}

/* An IPv6 socket that is connected to an IPv4 address: the kernel fills in whom it sends to. */
static __always_inline bool is_connected(const struct bpf_sock_addr *ctx)
{
	const struct bpf_sock *socket = ctx->sk;

	return socket && socket->state == BPF_TCP_ESTABLISHED;
}

/* The peer that a socket asks for becomes a backend where it is a frontend. 1: the call goes on; else what it
 * answers. */
static __always_inline int to_backend(struct bpf_sock_addr *ctx, struct endpoint *peer, bool is_connecting)
{
	struct frontend_key key = { .address = peer->address, .port = peer->port, .protocol = ctx->protocol };
	bool is_tcp = ctx->protocol == IPPROTO_TCP;
	struct socket_peer meant = {}, sent = {};
	struct endpoint backend = {};
	enum fate fate;

	if (!is_tcp && ctx->protocol != IPPROTO_UDP)
		return 1;
	meant.cookie = sent.cookie = bpf_get_socket_cookie(ctx);
	sent.endpoint = *peer;
	fate = choose(&key, is_connecting ? 0 : &sent, bpf_get_netns_cookie(ctx), &backend);
	if (fate == REFUSED) {
		count(SOCKET_REFUSED);
		return refuse(ECONNREFUSED);
	}
	if (fate == NOT_OURS) {
		/* It means the backend itself from now on. */
		meant.endpoint = *peer;
		if (is_connecting || !is_connected(ctx))
			bpf_map_delete_elem(&socket_meant, &meant);
		return 1;
	}
	meant.endpoint = backend;
	if (bpf_map_update_elem(&socket_meant, &meant, peer, BPF_ANY)) {
		count(SOCKET_UNRECORDED);
		/* The answer to a datagram would come from a stranger. */
		if (!is_tcp)
			return refuse(ENOBUFS);
	}
	if (!is_connecting)
		bpf_map_update_elem(&socket_sent, &sent, &backend, BPF_ANY);
	*peer = backend;
	count(SOCKET_TRANSLATED);
	return 1;
}

/* The peer that a socket is told of becomes the frontend that it meant. */
static __always_inline void to_frontend(struct bpf_sock_addr *ctx, struct endpoint *peer)
{
	struct socket_peer meant = { .cookie = bpf_get_socket_cookie(ctx), .endpoint = *peer };
	const struct endpoint *frontend = bpf_map_lookup_elem(&socket_meant, &meant);

	if (frontend)
		*peer = *frontend;
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
