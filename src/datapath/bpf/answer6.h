// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The answers of answer.h over IPv6. */
#ifndef HERALD_ANSWER6_H
#define HERALD_ANSWER6_H

#include "answer.h"
#include "rewrite.h"

/* RFC 4443 2.4 (c): an error has as much of the packet as fits into this. */
#define IP6_MIN_MTU 1280
/* What a sum is taken of at a time. */
#define SUMMED_OCTETS 64

static __always_inline __u8 hop_limit(struct __sk_buff *skb, const struct packet *packet)
{
	__u8 hops = 0;

	bpf_skb_load_bytes(skb, packet->l3 + offsetof(struct ipv6hdr, hop_limit), &hops, sizeof(hops));
	return hops;
}

static __always_inline struct ipv6hdr answer_header6(const struct packet *packet, __u8 protocol, __u16 payload)
{
	struct ipv6hdr ip = {
		.version = 6,
		.payload_len = bpf_htons(payload),
		.nexthdr = protocol,
		.hop_limit = ANSWER_TTL,
	};

	__builtin_memcpy(&ip.saddr, &packet->destination, sizeof(ip.saddr));
	__builtin_memcpy(&ip.daddr, &packet->source, sizeof(ip.daddr));
	return ip;
}

/* The sum of the pseudo header (RFC 8200 8.1) of an answer. */
static __always_inline __s64 pseudo_sum6(const struct ipv6hdr *ip, __u32 length)
{
	__be32 rest[2] = { bpf_htonl(length), bpf_htonl(ip->nexthdr) };
	__s64 sum = bpf_csum_diff(NULL, 0, (__be32 *)&ip->saddr, sizeof(ip->saddr) + sizeof(ip->daddr), 0);

	return bpf_csum_diff(NULL, 0, rest, sizeof(rest), sum);
}

struct reset6 {
	struct ipv6hdr ip;
	struct tcphdr tcp;
} __attribute__((packed, aligned(4)));

static __noinline int answer_reset6(struct __sk_buff *skb, const struct packet *packet, enum reason reason)
{
	struct reset6 out;
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
	/* The hardware would write the sum where the old TCP header was, behind the headers that we leave out. */
	if (partial && packet->header_length != sizeof(struct ipv6hdr))
		return drop(REASON_NOT_ANSWERABLE);
	out.ip = answer_header6(packet, IPPROTO_TCP, sizeof(out.tcp));
	out.tcp = reset_header(&in, packet->total_length - headers);
	sum = pseudo_sum6(&out.ip, sizeof(out.tcp));
	out.tcp.check = partial ? fold(sum) : ~fold(bpf_csum_diff(NULL, 0, (__be32 *)&out.tcp, sizeof(out.tcp), sum));
	if (bpf_skb_change_tail(skb, packet->l3 + sizeof(out), 0) ||
	    bpf_skb_store_bytes(skb, packet->l3, &out, sizeof(out), 0))
		return drop(REASON_REWRITE_FAILED);
	return send_back(skb, reason);
}

/* The sum of `length` octets at an offset. In pieces of constant length: see struct quote. The verifier walks every
 * length, so it shall do so once. */
__noinline __u64 sum_of(struct __sk_buff *skb, __u32 offset, __u32 length)
{
	__u8 octets[SUMMED_OCTETS] = {};
	__u32 end = offset + length;
	__s64 sum = 0;
	__u64 rest = 0;
	__u32 word;
	__u8 octet;

	for (__u32 i = 0; i < IP6_MIN_MTU / SUMMED_OCTETS; i++, offset += SUMMED_OCTETS) {
		if (offset + SUMMED_OCTETS > end || bpf_skb_load_bytes(skb, offset, octets, sizeof(octets)))
			break;
		sum = bpf_csum_diff(NULL, 0, (__be32 *)octets, sizeof(octets), sum);
	}
	for (__u32 i = 0; i < SUMMED_OCTETS / sizeof(word); i++, offset += sizeof(word)) {
		if (offset + sizeof(word) > end || bpf_skb_load_bytes(skb, offset, &word, sizeof(word)))
			break;
		rest += word;
	}
	for (__u32 i = 0; i < sizeof(word) - 1 && offset < end; i++, offset++) {
		if (bpf_skb_load_bytes(skb, offset, &octet, sizeof(octet)))
			break;
		rest += bpf_htons(i & 1 ? octet : octet << 8);
	}
	return sum + rest;
}

/* The sum of what an error quotes. Where the hardware is to finish the checksum of a datagram (a local sender) it will
 * do so inside the quote: then all of it that is quoted comes to the negation of what its checksum field has now. */
static __always_inline __u64 quoted_sum(struct __sk_buff *skb, const struct packet *packet, __u32 quoted)
{
	__u32 offset = l4_checksum_offset(packet);
	__u16 check, finished = 0;

	if ((packet->protocol == IPPROTO_UDP || packet->protocol == IPPROTO_TCP) &&
	    !bpf_skb_load_bytes(skb, offset, &check, sizeof(check))) {
		if (is_checksum_partial(skb, offset)) {
			quoted = packet->header_length;
			finished = ~check;
		}
		bpf_skb_store_bytes(skb, offset, &check, sizeof(check), 0);
	}
	return sum_of(skb, packet->l3, quoted) + finished;
}

struct error6 {
	struct ipv6hdr ip;
	struct icmp icmp;
} __attribute__((packed, aligned(4)));

/* Room for an answer's headers is made in front of the packet, which becomes what the answer quotes. Ethernet with one
 * tag at most lies at the front, and is copied there. */
static __always_inline bool put_before(struct __sk_buff *skb, const struct packet *packet, const struct error6 *out)
{
	__u8 ethernet[ETH_HLEN];
	struct vlan tag = {};
	bool is_tagged = packet->l3 != ETH_HLEN;

	if (bpf_skb_load_bytes(skb, 0, ethernet, sizeof(ethernet)))
		return false;
	if (is_tagged && bpf_skb_load_bytes(skb, ETH_HLEN, &tag, sizeof(tag)))
		return false;
	if (bpf_skb_change_head(skb, sizeof(*out), 0) || bpf_skb_store_bytes(skb, 0, ethernet, sizeof(ethernet), 0))
		return false;
	if (is_tagged && bpf_skb_store_bytes(skb, ETH_HLEN, &tag, sizeof(tag), 0))
		return false;
	return !bpf_skb_store_bytes(skb, packet->l3, out, sizeof(*out), 0);
}

/* RFC 4443 3.1, 3.2, 3.4. */
static __noinline int answer_error6(struct __sk_buff *skb, const struct packet *packet, enum reason reason)
{
	struct error6 out = {};
	__u32 quoted = IP6_MIN_MTU - sizeof(out);
	__s64 sum;

	if (packet->total_length < quoted)
		quoted = packet->total_length;
	out.ip = answer_header6(packet, IPPROTO_ICMPV6, sizeof(out.icmp) + quoted);
	if (reason == REASON_TOO_BIG) {
		out.icmp.type = ICMP6_PACKET_TOO_BIG;
		out.icmp.rest = bpf_htonl(packet->mtu);
	} else if (packet->protocol == IPPROTO_UDP) {
		out.icmp.type = ICMP6_UNREACHABLE;
		out.icmp.code = ICMP6_PORT_UNREACHABLE;
	} else {
		out.icmp.type = ICMP6_PARAMETER_PROBLEM;
		out.icmp.code = ICMP6_UNRECOGNIZED_NEXT_HEADER;
		out.icmp.rest = bpf_htonl(packet->next_at);
	}
	sum = pseudo_sum6(&out.ip, sizeof(out.icmp) + quoted) + quoted_sum(skb, packet, quoted);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	out.icmp.checksum = ~fold(bpf_csum_diff(NULL, 0, (__be32 *)&out.icmp, sizeof(out.icmp), sum));
	if (bpf_skb_change_tail(skb, packet->l3 + quoted, 0) || !put_before(skb, packet, &out))
		return drop(REASON_REWRITE_FAILED);
	return send_back(skb, reason);
}

static __noinline int answer_echo6(struct __sk_buff *skb, const struct packet *packet)
{
	struct ip_address addresses[2] = { packet->destination, packet->source };
	__be16 request = bpf_htons(ICMP6_ECHO_REQUEST << 8), reply = bpf_htons(ICMP6_ECHO_REPLY << 8);
	__u8 hops = ANSWER_TTL;
	int why = take_echo(packet);

	if (why)
		return why;
	/* Addresses change places: the sum of the pseudo header stays. */
	if (bpf_skb_store_bytes(skb, packet->l3 + offsetof(struct ipv6hdr, saddr), addresses, sizeof(addresses), 0) ||
	    bpf_skb_store_bytes(skb, packet->l3 + offsetof(struct ipv6hdr, hop_limit), &hops, sizeof(hops), 0) ||
	    bpf_l4_csum_replace(skb, packet->l4 + offsetof(struct icmp, checksum), request, reply, sizeof(reply)) ||
	    bpf_skb_store_bytes(skb, packet->l4, &reply, sizeof(reply), 0))
		return drop(REASON_REWRITE_FAILED);
	return send_back(skb, REASON_ECHO_ANSWERED);
}

/* Nobody serves the packet in the map, or it does not fit: say so at once instead of letting the client wait. */
__noinline int refuse(struct __sk_buff *skb)
{
	const struct packet *packet = packet_at(SCRATCH_PACKET);
	enum reason reason;
	bool is_reset;
	__u8 code;

	if (!packet)
		return drop(REASON_NOT_ANSWERABLE);
	reason = packet->refusal;
	is_reset = packet->protocol == IPPROTO_TCP && reason != REASON_TOO_BIG;
	if (!is_refusable(packet))
		return drop(REASON_NOT_ANSWERABLE);
	if (!is_within_limit(reason, packet))
		return drop(REASON_ANSWER_LIMITED);
	if (is_ipv6(packet))
		return is_reset ? answer_reset6(skb, packet, reason) : answer_error6(skb, packet, reason);
	if (is_reset)
		return answer_reset(skb, packet, reason);
	code = packet->protocol == IPPROTO_UDP ? ICMP_PORT_UNREACHABLE : ICMP_PROTOCOL_UNREACHABLE;
	return answer_unreachable(skb, packet, reason == REASON_TOO_BIG ? ICMP_FRAGMENTATION_NEEDED : code, reason);
}

#endif
