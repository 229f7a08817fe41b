// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Connected UDP sockets that were led to a backend, of the network namespace of who asks: sock_diag(7), which says of
 * TCP sockets what is kept for them, does not of these. */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>
#include "socket.h"

#define AF_INET 2

/* What is read of the kernel's own; where it lies there the loader finds out. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct in6_addr {
	union {
		__be32 u6_addr32[4];
	} in6_u;
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	int skc_bound_dev_if;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};

struct sock {
	struct sock_common __sk_common;
};

struct udp_sock;
struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__udp {
	struct bpf_iter_meta *meta;
	struct udp_sock *udp_sk;
};

#pragma clang attribute pop

static __always_inline void set_ipv6(__be32 to[4], const struct in6_addr *address)
{
	to[0] = address->in6_u.u6_addr32[0];
	to[1] = address->in6_u.u6_addr32[1];
	to[2] = address->in6_u.u6_addr32[2];
	to[3] = address->in6_u.u6_addr32[3];
}

SEC("iter/udp")
int herald_led(struct bpf_iter__udp *ctx)
{
	struct udp_sock *socket = ctx->udp_sk;
	struct socket_connected *kept;
	const struct sock_common *own;
	struct socket_led led = {};
	__u64 cookie;

	if (!socket)
		return 0;
	own = &((const struct sock *)socket)->__sk_common;
	if (own->skc_state != BPF_TCP_ESTABLISHED)
		return 0;
	kept = bpf_sk_storage_get(&sockets_connected, socket, 0, 0);
	if (!kept)
		return 0;
	bpf_spin_lock(&kept->lock);
	led.frontend = kept->frontend;
	led.backend = kept->backend;
	bpf_spin_unlock(&kept->lock);
	cookie = bpf_get_socket_cookie(socket);
	led.cookie[0] = cookie;
	led.cookie[1] = cookie >> 32;
	led.device = own->skc_bound_dev_if;
	led.own_port = bpf_htons(own->skc_num);
	led.peer_port = own->skc_dport;
	led.family = own->skc_family;
	if (led.family == AF_INET) {
		led.own[0] = own->skc_rcv_saddr;
		led.peer[0] = own->skc_daddr;
	} else {
		set_ipv6(led.own, &own->skc_v6_rcv_saddr);
		set_ipv6(led.peer, &own->skc_v6_daddr);
	}
	bpf_seq_write(ctx->meta->seq, &led, sizeof(led));
	return 0;
}

/* As herald.bpf.c, see LICENSE. */
char _license[] SEC("license") = "Dual BSD/GPL";
