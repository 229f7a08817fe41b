// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Reading a packet. Everything is copied out by bpf_skb_load_bytes: it is bounded, it also reads what a driver left
 * in page fragments, and nothing has to be checked again after a rewrite. */
#ifndef HERALD_PACKET_H
#define HERALD_PACKET_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stdbool.h>
#include "layout.h"

/* Goes on to the next program, filter and the stack. TC_ACT_OK from TCX would skip the clsact filters of others. */
#define PASS TC_ACT_UNSPEC

#define IP_MORE_FRAGMENTS 0x2000
#define IP_OFFSET_MASK 0x1fff

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

/* linux/icmp.h needs the C library's socket headers. */
struct icmp {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 rest;
};

#define ICMP_ECHO_REPLY 0
#define ICMP_UNREACHABLE 3
#define ICMP_SOURCE_QUENCH 4
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12
#define ICMP_PROTOCOL_UNREACHABLE 2
#define ICMP_PORT_UNREACHABLE 3

enum position {
	WHOLE,
	FIRST_FRAGMENT,
	LATER_FRAGMENT, /* carries no L4 header */
};

struct packet {
	__u32 l3;
	__u32 l4;
	__u32 header_length;
	__u32 total_length;
	__be32 source;
	__be32 destination;
	__be16 source_port;
	__be16 destination_port;
	__be16 identification;
	__u8 protocol;
	__u8 tcp_flags;
	__u8 position;
	__u8 family; /* enum family */
	/* TCP: sequence and acknowledgment number, and the number after the last octet (SYN and FIN count as one). */
	__u32 seq;
	__u32 ack;
	__u32 end;
};

struct vlan {
	__be16 tci;
	__be16 protocol;
};

/* What a function answers with in place of a verdict: the fate of a packet that is not passed on, and its reason. Only
 * outcome.h makes a verdict of it, so that nothing is dropped or answered uncounted. */
#define REASON_MASK 0xff
#define DROPPED 0x100
#define ANSWERED 0x200 /* it has become the answer */
#define REFUSE 0x400   /* nobody serves it: it is to be answered so */

static __always_inline int drop(enum reason reason)
{
	return DROPPED + reason;
}

/* False when this is no IPv4 at all, or too short to tell: then it is nothing of ours. */
static __always_inline bool parse_ipv4(struct __sk_buff *skb, struct packet *packet)
{
	__u32 protocol = skb->protocol;
	struct vlan tag;
	struct iphdr ip;
	__u16 fragment;

	packet->l3 = ETH_HLEN;
	/* A tag that the driver stripped lies beside the packet and stays with it; this is one inside the packet. */
	if (protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD)) {
		if (bpf_skb_load_bytes(skb, ETH_HLEN, &tag, sizeof(tag)))
			return false;
		protocol = tag.protocol;
		packet->l3 += sizeof(tag);
	}
	if (protocol != bpf_htons(ETH_P_IP) || bpf_skb_load_bytes(skb, packet->l3, &ip, sizeof(ip)))
		return false;
	if (ip.version != 4)
		return false;
	fragment = bpf_ntohs(ip.frag_off);
	packet->header_length = ip.ihl * 4;
	packet->total_length = bpf_ntohs(ip.tot_len);
	packet->l4 = packet->l3 + packet->header_length;
	packet->source = ip.saddr;
	packet->destination = ip.daddr;
	packet->identification = ip.id;
	packet->family = FAMILY_IPV4;
	packet->protocol = ip.protocol;
	packet->position = fragment & IP_OFFSET_MASK ? LATER_FRAGMENT : fragment & IP_MORE_FRAGMENTS ? FIRST_FRAGMENT : WHOLE;
	return true;
}

static __always_inline bool is_header_sound(struct __sk_buff *skb, const struct packet *packet)
{
	/* A merged packet beyond 64 KiB (BIG TCP) says 0. */
	if (packet->total_length == 0)
		return packet->header_length >= sizeof(struct iphdr);
	return packet->header_length >= sizeof(struct iphdr) && packet->total_length >= packet->header_length &&
	       packet->l3 + packet->total_length <= skb->len;
}

static __always_inline struct fragment_key fragment_key(const struct packet *packet)
{
	struct fragment_key key = {
		.source = packet->source,
		.destination = packet->destination,
		.identification = packet->identification,
		.protocol = packet->protocol,
	};
	return key;
}

static __always_inline bool parse_tcp(struct __sk_buff *skb, struct packet *packet)
{
	struct tcphdr tcp;
	__u32 length;

	if (bpf_skb_load_bytes(skb, packet->l4, &tcp, sizeof(tcp)))
		return false;
	packet->source_port = tcp.source;
	packet->destination_port = tcp.dest;
	packet->tcp_flags = ((__u8 *)&tcp)[13];
	packet->seq = bpf_ntohl(tcp.seq);
	packet->ack = bpf_ntohl(tcp.ack_seq);
	/* A merged packet beyond 64 KiB (BIG TCP) says 0. */
	length = packet->total_length ? packet->total_length - packet->header_length : skb->len - packet->l4;
	packet->end = packet->seq + length - tcp.doff * 4 + tcp.syn + tcp.fin;
	return true;
}

/* Ports of TCP or UDP, and what else tells of TCP; a later fragment has the ports that its first had. */
static __always_inline bool parse_transport(struct __sk_buff *skb, struct packet *packet)
{
	struct fragment_key key = fragment_key(packet);
	struct fragment ports, *known;

	packet->tcp_flags = 0;
	if (packet->position == LATER_FRAGMENT) {
		known = bpf_map_lookup_elem(&fragments, &key);
		if (!known)
			return false;
		packet->source_port = known->source_port;
		packet->destination_port = known->destination_port;
		return true;
	}
	if (packet->protocol == IPPROTO_TCP) {
		if (!parse_tcp(skb, packet))
			return false;
	} else {
		if (bpf_skb_load_bytes(skb, packet->l4, &ports, sizeof(ports)))
			return false;
		packet->source_port = ports.source_port;
		packet->destination_port = ports.destination_port;
	}
	if (packet->position == FIRST_FRAGMENT) {
		ports.source_port = packet->source_port;
		ports.destination_port = packet->destination_port;
		bpf_map_update_elem(&fragments, &key, &ports, BPF_ANY);
	}
	return true;
}

static __always_inline bool is_new_tcp(const struct packet *packet)
{
	return packet->protocol == IPPROTO_TCP && (packet->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
}

/* A segment that belongs to a connection which is open, or claims so. */
static __always_inline bool is_ack(const struct packet *packet)
{
	return (packet->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_ACK;
}

#endif
