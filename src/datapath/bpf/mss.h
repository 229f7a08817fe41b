// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The largest segment that a pod lets its client send (RFC 9293 3.7.1), where the client's come in a tunnel. */
#ifndef HERALD_MSS_H
#define HERALD_MSS_H

#include "rewrite.h"
#include "tunnel.h"

#define TCP_OPTION_MSS 2
#define LEAST_MSS 536

struct mss {
	__u8 kind;
	__u8 length;
	__be16 octets;
};

/* What the client sends comes by way of another node, with as much around it: then nothing has to be refused for its
 * size. Of the options the first one is looked at, which is that of every sender known. */
static __noinline void clamp_mss(struct __sk_buff *skb, const struct packet *packet)
{
	__u32 at = packet->l4 + sizeof(struct tcphdr);
	struct mss option;
	__be16 before;

	if (packet->total_length < packet->header_length + sizeof(struct tcphdr) + sizeof(option) ||
	    bpf_skb_load_bytes(skb, at, &option, sizeof(option)))
		return;
	before = option.octets;
	if (option.kind != TCP_OPTION_MSS || option.length != sizeof(option) ||
	    bpf_ntohs(before) < LEAST_MSS + sizeof(struct outer6))
		return;
	option.octets = bpf_htons(bpf_ntohs(before) - sizeof(struct outer6));
	if (!bpf_l4_csum_replace(skb, l4_checksum_offset(packet), before, option.octets, sizeof(before)))
		bpf_skb_store_bytes(skb, at, &option, sizeof(option), 0);
}

#endif
