// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Reading a packet. Everything is copied out, by load_octets (frame.h) where it is not near the start: that is bounded,
 * also reads what a driver left in page fragments, and nothing has to be checked again after a rewrite. Two parsers,
 * one for each family, and one path behind them. */
#ifndef HERALD_PACKET_H
#define HERALD_PACKET_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stdbool.h>
#include "frame.h"
#include "icmp-types.h"
#include "layout.h"
#include "maps.h"

/* Goes on to the next program, filter and the stack. TC_ACT_OK from TCX would skip the clsact filters of others. */
#define PASS TC_ACT_UNSPEC

/* Before a loop of few rounds. Linux 6.1 takes none whose beginning is come to from the instruction in front of it when
 * it was entered behind that one, and so the compiler lays them out as it likes. */
#define UNROLLED _Pragma("unroll")

#define IP_DONT_FRAGMENT 0x4000
#define IP_MORE_FRAGMENTS 0x2000
#define IP_OFFSET_MASK 0x1fff
#define IP6_MORE_FRAGMENTS 0x0001
#define IP6_OFFSET_MASK 0xfff8

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define IP6_MAX_HOP_LIMIT 255

enum position {
	WHOLE,
	FIRST_FRAGMENT,
	LATER_FRAGMENT, /* carries no L4 header */
};

struct vlan {
	__be16 tci;
	__be16 protocol;
};

/* What a function answers with in place of a verdict: the fate of a packet that is not passed on, and its reason. Only
 * outcome.h makes a verdict of it, so that nothing is dropped or answered uncounted. */
#define REASON_MASK 0xff
#define HERE 0         /* a backend on this node serves it */
#define FORWARDED 0x80 /* it is encapsulated, and leaves for another node */
#define RELEASED 0x81  /* it has become a fragment that was held, and comes in by its interface */
#define DROPPED 0x100
#define ANSWERED 0x200 /* it has become the answer */
#define REFUSE 0x400   /* nobody serves it: it is to be answered so */
#define ELSEWHERE 0x4000 /* an ICMP error of no flow that is known here */
#define TO_POD 0x8000    /* translated, and for the pod past netfilter: see redirect.h */
#define TO_STACK 0x10000 /* from a pod: nothing that goes past netfilter */
#define FORWARD 0x1000 /* it is to be encapsulated for the node of its backend */
#define TRANSLATE 0x20000 /* or rather to be sent to the backend from this node's own address: see snat.h */

/* The packet at hand, or what it quotes. A program runs to its end before another one begins on its CPU. */
static __always_inline struct packet *blank_packet(enum scratch which)
{
	__u32 key = which;
	struct packet *packet = bpf_map_lookup_elem(&scratch, &key);

	if (packet)
		__builtin_memset(packet, 0, sizeof(*packet));
	return packet;
}

/* The one that lies there, for functions that the verifier walks by themselves. */
static __always_inline struct packet *packet_at(__u32 which)
{
	return bpf_map_lookup_elem(&scratch, &which);
}

static __always_inline struct passage *passage_here(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&passages, &first);
}

static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static __always_inline int drop(enum reason reason)
{
	return DROPPED + reason;
}

static __always_inline bool is_ipv6(const struct packet *packet)
{
	return packet->family == FAMILY_IPV6;
}

static __always_inline bool is_same_address(const struct ip_address *a, const struct ip_address *b)
{
	return a->low == b->low && a->high[2] == b->high[2] && a->high[1] == b->high[1] && a->high[0] == b->high[0];
}

static __always_inline bool is_mapped(const struct ip_address *address)
{
	return address->high[0] == 0 && address->high[1] == 0 && address->high[2] == bpf_htonl(0xffff);
}

static __always_inline bool is_link_local(const struct ip_address *address)
{
	return (address->high[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

/* :: and ::1. */
static __always_inline bool is_unspecified_or_loopback(const struct ip_address *address)
{
	return address->high[0] == 0 && address->high[1] == 0 && address->high[2] == 0 &&
	       bpf_ntohl(address->low) <= 1;
}

static __always_inline bool is_multicast(const struct ip_address *address)
{
	return (address->high[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000);
}

/* Behind it no header is looked for where it lies. */
#define NEAR 256

/* A header from an offset on: from where it lies when the driver left it in one piece with the rest, as nearly all do,
 * which costs no call. False when the packet ends before. The offset is kept in one register, so that a verifier knows
 * its bound. */
#define read_header(skb, at, header)                                                                             \
	({                                                                                                       \
		const void *start = (const void *)(long)(skb)->data, *end = (const void *)(long)(skb)->data_end; \
		__u64 from = (at);                                                                               \
		bool is_read = true;                                                                             \
                                                                                                                 \
		asm volatile("" : "+r"(from));                                                                   \
		if (from < NEAR && start + from + sizeof(*(header)) <= end)                                      \
			*(header) = *(const typeof(*(header)) *)(start + from);                                  \
		else                                                                                             \
			is_read = !load_octets(skb, from, header, sizeof(*(header)));                     \
		is_read;                                                                                         \
	})

static __always_inline bool parse_ipv4(frame *skb, struct packet *packet)
{
	struct iphdr ip;
	__u16 fragment;

	if (!read_header(skb, packet->l3, &ip) || ip.version != 4)
		return false;
	fragment = bpf_ntohs(ip.frag_off);
	packet->header_length = ip.ihl * 4;
	packet->total_length = bpf_ntohs(ip.tot_len);
	packet->l4 = packet->l3 + packet->header_length;
	packet->source.high[2] = packet->destination.high[2] = bpf_htonl(0xffff);
	packet->source.low = ip.saddr;
	packet->destination.low = ip.daddr;
	packet->identification = ip.id;
	packet->check = ip.check;
	packet->family = FAMILY_IPV4;
	packet->protocol = ip.protocol;
	packet->position = fragment & IP_OFFSET_MASK ? LATER_FRAGMENT : fragment & IP_MORE_FRAGMENTS ? FIRST_FRAGMENT : WHOLE;
	return true;
}

/* The fixed header; {@link walk_extensions} reads on. What is of a link alone, or of many hosts, is nothing of ours:
 * neighbor discovery above all. */
static __always_inline bool parse_ipv6(frame *skb, struct packet *packet)
{
	struct ipv6hdr ip;

	if (!read_header(skb, packet->l3, &ip) || ip.version != 6)
		return false;
	__builtin_memcpy(&packet->source, &ip.saddr, sizeof(packet->source));
	__builtin_memcpy(&packet->destination, &ip.daddr, sizeof(packet->destination));
	if (is_multicast(&packet->destination) || is_link_local(&packet->destination) || is_link_local(&packet->source))
		return false;
	packet->family = FAMILY_IPV6;
	packet->header_length = sizeof(ip);
	packet->total_length = sizeof(ip) + bpf_ntohs(ip.payload_len);
	/* A merged packet beyond 64 KiB (BIG TCP) says 0. */
	if (ip.payload_len == 0 && frame_length(skb) > packet->l3 + sizeof(ip) + 0xffff)
		packet->total_length = 0;
	packet->next_at = offsetof(struct ipv6hdr, nexthdr);
	packet->protocol = ip.nexthdr;
	return true;
}

/* Type of service of IPv4, traffic class of IPv6: DSCP and ECN. */
static __always_inline __u8 traffic_class(frame *skb, const struct packet *packet)
{
	__u8 octets[2] = {};

	load_octets(skb, packet->l3, octets, sizeof(octets));
	return is_ipv6(packet) ? octets[0] << 4 | octets[1] >> 4 : octets[1];
}

/* False when this is no IP at all, or too short to tell: then it is nothing of ours. */
static __always_inline bool parse(frame *skb, struct packet *packet)
{
	__u32 protocol = frame_protocol(skb);
	struct vlan tag;

	packet->l3 = ETH_HLEN;
	/* A tag that the driver stripped lies beside the packet and stays with it; this is one inside the packet. */
	if (protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD)) {
		if (load_octets(skb, ETH_HLEN, &tag, sizeof(tag)))
			return false;
		protocol = tag.protocol;
		packet->l3 += sizeof(tag);
	}
	if (protocol == bpf_htons(ETH_P_IP))
		return parse_ipv4(skb, packet);
	return protocol == bpf_htons(ETH_P_IPV6) && parse_ipv6(skb, packet);
}

/* More than a packet that anybody sends has (RFC 8504 5.3 asks for a limit). */
#define MAX_EXTENSIONS 6

/* What every extension header begins with; the rest is that of a fragment (RFC 8200 4.5). */
struct extension {
	__u8 next;
	__u8 length; /* in units of 8 octets, without the first */
	__be16 offset;
	__be32 identification;
};

static __always_inline bool is_extension(__u8 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING || protocol == IPPROTO_DSTOPTS ||
	       protocol == IPPROTO_FRAGMENT;
}

/* Over the extension headers of IPv6 to what they carry; false when they are cut off, or too many, or name another
 * destination that comes after this one. A function of its own to the verifier, as those of ranges.h. */
__noinline int walk_extensions(frame *skb, __u32 which)
{
	struct packet *packet = packet_at(which);
	struct extension extension;
	__u8 next, position = WHOLE;
	bool is_fragment = false;
	__u16 offset;
	__u32 at;

	if (!packet)
		return false;
	/* They were walked before: what is known of them stays. */
	if (packet->header_length > sizeof(struct ipv6hdr))
		return packet->position == LATER_FRAGMENT || !is_extension(packet->protocol);
	at = packet->header_length;
	next = packet->protocol;
	for (__u32 i = 0; i < MAX_EXTENSIONS && is_extension(next) && position != LATER_FRAGMENT; i++) {
		if (load_octets(skb, packet->l3 + at, &extension, sizeof(extension)))
			return false;
		offset = bpf_ntohs(extension.offset);
		/* There the second octet is that of the segments left. */
		if (next == IPPROTO_ROUTING && offset & 0xff)
			return false;
		packet->next_at = at;
		if (next == IPPROTO_FRAGMENT) {
			/* A second one would tell of another datagram than whoever puts this one together sees. */
			if (is_fragment)
				return false;
			is_fragment = true;
			packet->identification = extension.identification;
			position = offset & IP6_OFFSET_MASK ? LATER_FRAGMENT :
				   offset & IP6_MORE_FRAGMENTS ? FIRST_FRAGMENT : WHOLE;
			extension.length = 0;
		}
		at += (extension.length + 1) * 8;
		next = extension.next;
	}
	packet->protocol = next;
	packet->position = position;
	packet->header_length = at;
	packet->l4 = packet->l3 + at;
	return position == LATER_FRAGMENT || !is_extension(next);
}

/* Reads on to what the IP header carries; false when the headers contradict each other or the packet. */
static __always_inline bool is_header_sound(frame *skb, struct packet *packet)
{
	if (is_ipv6(packet)) {
		/* Nobody has such an address on the wire (RFC 4291 2.5.5.2), and here they stand for those of IPv4. */
		if (is_mapped(&packet->source) || is_mapped(&packet->destination) || !walk_extensions(skb, SCRATCH_PACKET))
			return false;
	} else if (packet->header_length < sizeof(struct iphdr)) {
		return false;
	}
	/* A merged packet beyond 64 KiB (BIG TCP) says 0, and no other one. */
	if (packet->total_length == 0)
		return frame_length(skb) > packet->l3 + 0xffff;
	return packet->total_length >= packet->header_length && packet->l3 + packet->total_length <= frame_length(skb);
}

static __always_inline struct fragment_key fragment_key(const struct packet *packet)
{
	struct fragment_key key = {
		.source = packet->source,
		.destination = packet->destination,
		.identification = packet->identification,
		.protocol = is_ipv6(packet) ? 0 : packet->protocol,
	};
	return key;
}

/* In units of 1.07 s, and never 0. */
static __always_inline __u16 fragment_clock(void)
{
	return (__u16)(bpf_ktime_get_ns() >> 30) ?: 1;
}

/* How long fragments of one datagram may be apart, in these units: as long as the kernel has them wait (RFC 8200 4.5:
 * 60 s). Later the identification is that of another datagram. */
#define FRAGMENTS_APART_IPV4 28
#define FRAGMENTS_APART_IPV6 56

static __always_inline bool is_of_another_time(const struct packet *packet, __u16 seen)
{
	__u16 apart = fragment_clock() - seen;

	return seen && apart > (is_ipv6(packet) ? FRAGMENTS_APART_IPV6 : FRAGMENTS_APART_IPV4);
}

/* A later fragment is of the flow of which its first was; false when that one is not known. */
static __noinline bool follow_first(struct packet *packet)
{
	struct fragment_key key = fragment_key(packet);
	const struct fragment *first = bpf_map_lookup_elem(&fragments, &key);

	if (!first || is_of_another_time(packet, first->seen))
		return false;
	packet->protocol = first->protocol;
	packet->source_port = first->source_port;
	packet->destination_port = first->destination_port;
	return true;
}

static __noinline void remember_first(const struct packet *packet)
{
	struct fragment_key key = fragment_key(packet);
	struct fragment first = {
		.source_port = packet->source_port,
		.destination_port = packet->destination_port,
		.protocol = packet->protocol,
		.seen = fragment_clock(),
	};

	bpf_map_update_elem(&fragments, &key, &first, BPF_ANY);
}

static __always_inline bool parse_tcp(frame *skb, struct packet *packet)
{
	struct tcphdr tcp;
	__u32 length;

	if (!read_header(skb, packet->l4, &tcp))
		return false;
	packet->source_port = tcp.source;
	packet->destination_port = tcp.dest;
	packet->tcp_flags = ((__u8 *)&tcp)[13];
	packet->seq = bpf_ntohl(tcp.seq);
	packet->ack = bpf_ntohl(tcp.ack_seq);
	/* A merged packet beyond 64 KiB (BIG TCP) says 0. */
	length = packet->total_length ? packet->total_length - packet->header_length : frame_length(skb) - packet->l4;
	packet->end = packet->seq + length - tcp.doff * 4 + tcp.syn + tcp.fin;
	/* A pod takes no such segment, so it says nothing about its connection. */
	return tcp.doff * 4 >= sizeof(tcp) && tcp.doff * 4 <= length;
}

/* The ports of TCP, UDP and SCTP. */
struct ports {
	__be16 source;
	__be16 destination;
};

/* What SCTP (RFC 9260 3.1) and UDP begin with. */
struct common_header {
	struct ports ports;
	__be32 tag; /* UDP: length and checksum */
};

#define SCTP_HEADER 12

static __always_inline bool has_ports(const struct packet *packet)
{
	return packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP || packet->protocol == IPPROTO_SCTP;
}

/* The ports, and what else tells of TCP or SCTP; a later fragment has those of its first. */
static __always_inline bool parse_transport(frame *skb, struct packet *packet)
{
	struct common_header header;
	__u32 least;

	packet->tcp_flags = 0;
	if (packet->position == LATER_FRAGMENT)
		return true;
	least = packet->protocol == IPPROTO_TCP	 ? sizeof(struct tcphdr) :
		packet->protocol == IPPROTO_SCTP ? SCTP_HEADER :
						   sizeof(struct udphdr);
	if (packet->total_length && packet->total_length < packet->header_length + least)
		return false;
	if (packet->protocol == IPPROTO_TCP) {
		if (!parse_tcp(skb, packet))
			return false;
	} else {
		if (!read_header(skb, packet->l4, &header))
			return false;
		packet->source_port = header.ports.source;
		packet->destination_port = header.ports.destination;
		/* An INIT alone has no tag (RFC 9260 8.5.1): it begins an association, as a SYN does a connection. */
		if (packet->protocol == IPPROTO_SCTP)
			packet->tcp_flags = header.tag ? TCP_ACK : TCP_SYN;
	}
	if (packet->position == FIRST_FRAGMENT)
		remember_first(packet);
	return true;
}

static __always_inline bool is_icmp(const struct packet *packet)
{
	return packet->protocol == (is_ipv6(packet) ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

static __always_inline bool is_neighbor_discovery(__u8 type)
{
	return type >= ICMP6_ROUTER_SOLICITATION && type <= ICMP6_REDIRECT;
}

static __always_inline bool is_icmp_error(const struct packet *packet, __u8 type)
{
	/* RFC 4443 2.1: the highest bit of the type tells. */
	if (is_ipv6(packet))
		return type < ICMP6_FIRST_INFORMATIONAL;
	return type == ICMP_UNREACHABLE || type == ICMP_SOURCE_QUENCH || type == ICMP_TIME_EXCEEDED ||
			type == ICMP_PARAMETER_PROBLEM;
}

/* The answer would come back as the next request, for ever (LAND), also where the ports are of two Services. The stack
 * takes no packet from an address of its own, and a VIP is none to it. */
static __always_inline bool is_from_itself(const struct packet *packet)
{
	return is_same_address(&packet->source, &packet->destination);
}

/* A SYN, or an INIT. */
static __always_inline bool starts_connection(const struct packet *packet)
{
	return packet->protocol != IPPROTO_UDP && (packet->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
}

/* What somebody begins with, whatever was there before. */
static __always_inline bool begins(const struct packet *tuple)
{
	return tuple->protocol == IPPROTO_UDP || starts_connection(tuple);
}

/* A segment that belongs to a connection which is open, or claims so. */
static __always_inline bool is_ack(const struct packet *packet)
{
	return (packet->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_ACK;
}

#endif
