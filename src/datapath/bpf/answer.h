// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Answers made in place and sent back to where the packet came from: a VIP is owned by no interface, so without them a
 * packet that nobody serves would circle between this node and its router until its TTL ends. */
#ifndef HERALD_ANSWER_H
#define HERALD_ANSWER_H

#include <stddef.h>
#include "backend.h"
#include "limit.h"
#include "packet.h"

#define MAX_IP_OPTIONS 40
#define QUOTED_PAYLOAD 8

static __always_inline int send_back(struct __sk_buff *skb, enum reason reason)
{
	__u8 from[2 * ETH_ALEN], to[2 * ETH_ALEN];

	if (bpf_skb_load_bytes(skb, 0, from, sizeof(from)))
		return drop(REASON_BAD_HEADER);
	__builtin_memcpy(to, from + ETH_ALEN, ETH_ALEN);
	__builtin_memcpy(to + ETH_ALEN, from, ETH_ALEN);
	if (bpf_skb_store_bytes(skb, 0, to, sizeof(to), 0))
		return drop(REASON_REWRITE_FAILED);
	return ANSWERED + reason;
}

static __always_inline struct iphdr answer_header(const struct packet *packet, __u8 protocol, __u16 total_length)
{
	struct iphdr ip = {
		.version = 4,
		.ihl = 5,
		.tot_len = bpf_htons(total_length),
		.frag_off = bpf_htons(IP_DONT_FRAGMENT),
		.ttl = ANSWER_TTL,
		.protocol = protocol,
		.saddr = packet->destination.low,
		.daddr = packet->source.low,
	};

	ip.check = ~fold(bpf_csum_diff(NULL, 0, (__be32 *)&ip, sizeof(ip), 0));
	return ip;
}

/* True when the hardware is to finish the checksum of this packet (a local sender). An incremental change then leaves
 * the field alone, which is the one way to see it from here. Destroys the field, which is written anew afterwards. */
static __always_inline bool is_checksum_partial(struct __sk_buff *skb, __u32 offset)
{
	__u16 before = 0, after = 0;

	bpf_skb_store_bytes(skb, offset, &before, sizeof(before), 0);
	bpf_l4_csum_replace(skb, offset, 0, bpf_htons(1), sizeof(before));
	bpf_skb_load_bytes(skb, offset, &after, sizeof(after));
	return after == before;
}

struct pseudo_header {
	__be32 source;
	__be32 destination;
	__u8 zero;
	__u8 protocol;
	__be16 length;
};

struct reset {
	struct iphdr ip;
	struct tcphdr tcp;
} __attribute__((packed, aligned(4)));

/* RFC 9293 3.10.7.1 (CLOSED): sequence number from the acknowledgment, else 0 and everything received acknowledged. */
static __always_inline struct tcphdr reset_header(const struct tcphdr *in, __u32 payload)
{
	struct tcphdr out = {
		.source = in->dest,
		.dest = in->source,
		.doff = sizeof(struct tcphdr) / 4,
		.rst = 1,
	};

	if (in->ack) {
		out.seq = in->ack_seq;
	} else {
		out.ack = 1;
		out.ack_seq = bpf_htonl(bpf_ntohl(in->seq) + payload + in->syn + in->fin);
	}
	return out;
}

static __noinline int answer_reset(struct __sk_buff *skb, const struct packet *packet, enum reason reason)
{
	struct pseudo_header pseudo = {
		.source = packet->destination.low,
		.destination = packet->source.low,
		.protocol = IPPROTO_TCP,
		.length = bpf_htons(sizeof(struct tcphdr)),
	};
	struct reset out;
	struct tcphdr in;
	__u32 headers;
	bool partial;
	__s64 sum;

	if (bpf_skb_load_bytes(skb, packet->l4, &in, sizeof(in)))
		return drop(REASON_BAD_HEADER);
	headers = packet->header_length + in.doff * 4;
	if (in.doff * 4 < sizeof(in) || packet->total_length < headers)
		return drop(REASON_BAD_HEADER);
	if (in.rst)
		return drop(REASON_NOT_ANSWERABLE);
	partial = is_checksum_partial(skb, packet->l4 + offsetof(struct tcphdr, check));
	/* The hardware would write the sum where the old TCP header was, behind the IP options that we leave out. */
	if (partial && packet->header_length != sizeof(struct iphdr))
		return drop(REASON_NOT_ANSWERABLE);
	out.ip = answer_header(packet, IPPROTO_TCP, sizeof(out));
	out.tcp = reset_header(&in, packet->total_length - headers);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&pseudo, sizeof(pseudo), 0);
	out.tcp.check = partial ? fold(sum) : ~fold(bpf_csum_diff(NULL, 0, (__be32 *)&out.tcp, sizeof(out.tcp), sum));
	if (bpf_skb_change_tail(skb, packet->l3 + sizeof(out), 0) ||
	    bpf_skb_store_bytes(skb, packet->l3, &out, sizeof(out), 0))
		return drop(REASON_REWRITE_FAILED);
	return send_back(skb, reason);
}

struct unreachable {
	struct iphdr ip;
	struct icmp icmp;
} __attribute__((packed, aligned(4)));

/* What an ICMP error quotes. Read and written in pieces of constant length: verifiers before 5.16 lose the bounds of
 * a length that was kept on the stack, and those before 5.12 take no write to the stack at an offset that varies. */
struct quote {
	struct iphdr ip;
	__u32 options[MAX_IP_OPTIONS / 4];
	__u8 payload[QUOTED_PAYLOAD];
};

static __always_inline bool load_quote(struct __sk_buff *skb, const struct packet *packet, struct quote *quote)
{
	if (bpf_skb_load_bytes(skb, packet->l3, &quote->ip, sizeof(quote->ip)))
		return false;
#pragma unroll
	for (__u32 i = 0; i < MAX_IP_OPTIONS / 4; i++) {
		if (sizeof(quote->ip) + i * 4 < packet->header_length &&
		    bpf_skb_load_bytes(skb, packet->l3 + sizeof(quote->ip) + i * 4, &quote->options[i], 4))
			return false;
	}
#pragma unroll
	for (__u32 i = 0; i < QUOTED_PAYLOAD; i++) {
		if (packet->header_length + i < packet->total_length &&
		    bpf_skb_load_bytes(skb, packet->l4 + i, &quote->payload[i], 1))
			return false;
	}
	return true;
}

static __always_inline bool store_quote(struct __sk_buff *skb, const struct packet *packet, const struct quote *quote,
		__u32 at)
{
	if (bpf_skb_store_bytes(skb, at, &quote->ip, sizeof(quote->ip), 0))
		return false;
#pragma unroll
	for (__u32 i = 0; i < MAX_IP_OPTIONS / 4; i++) {
		if (sizeof(quote->ip) + i * 4 < packet->header_length &&
		    bpf_skb_store_bytes(skb, at + sizeof(quote->ip) + i * 4, &quote->options[i], 4, 0))
			return false;
	}
#pragma unroll
	for (__u32 i = 0; i < QUOTED_PAYLOAD; i++) {
		if (packet->header_length + i < packet->total_length &&
		    bpf_skb_store_bytes(skb, at + packet->header_length + i, &quote->payload[i], 1, 0))
			return false;
	}
	return true;
}

/* RFC 792: the IP header and eight octets of what it carried. The message keeps the place of the old transport header:
 * should the hardware finish a checksum there, it meets a message whose sum is right, and writes zero's other form. */
static __noinline int answer_unreachable(struct __sk_buff *skb, const struct packet *packet, __u8 code,
		enum reason reason)
{
	struct unreachable out = {};
	struct quote quote = {};
	__u32 quoted = packet->header_length + QUOTED_PAYLOAD;
	__s64 sum;

	if (packet->total_length < quoted)
		quoted = packet->total_length;
	if (!load_quote(skb, packet, &quote))
		return drop(REASON_BAD_HEADER);
	out.ip = answer_header(packet, IPPROTO_ICMP, sizeof(out) + quoted);
	out.icmp.type = ICMP_UNREACHABLE;
	out.icmp.code = code;
	/* RFC 1191 4. */
	out.icmp.rest = bpf_htonl(packet->mtu);
	/* Options that are not there are zero and add nothing; nor does the rest of a short payload. */
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&quote, sizeof(quote), 0);
	out.icmp.checksum = ~fold(bpf_csum_diff(NULL, 0, (__be32 *)&out.icmp, sizeof(out.icmp), sum));
	if (bpf_skb_change_tail(skb, packet->l3 + sizeof(out) + quoted, 0) ||
	    bpf_skb_store_bytes(skb, packet->l3, &out, sizeof(out), 0) ||
	    !store_quote(skb, packet, &quote, packet->l3 + sizeof(out)))
		return drop(REASON_REWRITE_FAILED);
	return send_back(skb, reason);
}

static __always_inline int answer_echo(struct __sk_buff *skb, const struct packet *packet)
{
	__be32 addresses[2] = { packet->destination.low, packet->source.low };
	__u16 ttl_protocol, answered = bpf_htons(ANSWER_TTL << 8 | IPPROTO_ICMP);
	__u32 ttl_offset = packet->l3 + offsetof(struct iphdr, ttl);
	__be16 request = bpf_htons(ICMP_ECHO << 8), reply = bpf_htons(ICMP_ECHO_REPLY << 8);
	/* A reply of nothing but zeros needs a sum of ones, which the increment alone does not give (RFC 1624 section 3). */
	__u64 ones_for_zero = BPF_F_MARK_MANGLED_0 | BPF_F_MARK_ENFORCE;
	int why = take_echo(packet);

	if (why)
		return why;
	if (bpf_skb_load_bytes(skb, ttl_offset, &ttl_protocol, sizeof(ttl_protocol)))
		return drop(REASON_BAD_HEADER);
	/* Addresses change places: their sum, and with it the header's, stays. */
	if (bpf_skb_store_bytes(skb, packet->l3 + offsetof(struct iphdr, saddr), addresses, sizeof(addresses), 0) ||
	    bpf_l3_csum_replace(skb, packet->l3 + offsetof(struct iphdr, check), ttl_protocol, answered, sizeof(answered)) ||
	    bpf_skb_store_bytes(skb, ttl_offset, &answered, sizeof(answered), 0) ||
	    bpf_l4_csum_replace(skb, packet->l4 + offsetof(struct icmp, checksum), request, reply,
				sizeof(reply) | ones_for_zero) ||
	    bpf_skb_store_bytes(skb, packet->l4, &reply, sizeof(reply), 0))
		return drop(REASON_REWRITE_FAILED);
	return send_back(skb, REASON_ECHO_ANSWERED);
}

#endif
