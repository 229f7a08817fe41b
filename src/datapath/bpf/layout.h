// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What the maps hold. layout.ts writes the same octets; a test compares both through the object's BTF. */
#ifndef HERALD_LAYOUT_H
#define HERALD_LAYOUT_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>

/* A backend is an address, port and protocol, whatever frontends it has. An id is only reused with the next
 * generation, so whoever still holds the old pair (a flow, a table) finds a mismatch instead of another pod. */
struct backend_ref {
	__u32 id;
	__u32 generation;
};

/* Of either family: one of IPv4 is mapped (RFC 4291 2.5.5.2), and `low` is all of it. */
struct ip_address {
	__be32 high[3];
	__be32 low;
};

struct backend {
	struct ip_address address;
	__be16 port;
	__u8 protocol;
	__u8 reserved;
	/* Where it lives: the tunnel address of another node, which serves it. All zeros: here. ::1: on a node that takes no
	 * packets from others, see snat.h. */
	struct ip_address node;
	__u32 generation;
	/* 0: takes new flows. RESTING: it is still there, and only what is established goes on, for however long. Else
	 * that goes on until then (CLOCK_MONOTONIC). */
	__u64 drain_until_ns;
};

#define RESTING (~0ULL)

/* An address whose packets are looked at: a VIP, that of a backend, or one of this node. Everything else leaves after
 * this look-up. */
struct address {
	__u32 frontends; /* a VIP while there is one */
	__u32 sources;   /* backend endpoints on it */
	__u32 ranges;    /* whom the VIP itself answers, see struct range_key: whomever one of its frontends lets in */
	__u16 tunnel;    /* this node's own, to which other nodes hand packets on */
	__u16 node_ports; /* this node's own, where ports of Services are served and all others are the node's */
};

/* To where packets come that other nodes hand on, and from where this one hands them on. */
struct tunnel {
	struct ip_address ipv4; /* all zeros: it has none of this family */
	struct ip_address ipv6;
	__be16 port; /* of UDP */
	/* Of these addresses, for flows to pods on nodes that take none: see snat.h. No port: it is not done. */
	__u16 snat_first;
	__u16 snat_ports;
	__u16 reserved;
};

/* What lies between the UDP header and the packet that is handed on. */
struct tunnel_header {
	__u8 version;
	__u8 flags; /* enum tunnel_flags, and above it how often it was handed on before */
	__be16 port;
	struct ip_address backend; /* that it is for, with this port */
};

#define TUNNEL_VERSION 1

enum tunnel_flags {
	TUNNEL_FINAL = 1, /* whoever gets it serves it, or nobody does */
};

#define TUNNEL_TIMES_SHIFT 1
#define TUNNEL_TIMES_MASK 3

/* Another node of the cluster: what it hands on is believed. */
struct node {
	__u32 flags; /* none yet */
};

struct frontend_key {
	struct ip_address address;
	__be16 port;
	__u8 protocol;
	__u8 reserved;
};

/* Replaced as a whole: who looks it up sees the old backends or the new ones. From Linux 6.1 on the memory of the old
 * record may serve another one while a program that has looked it up still reads it. */
struct frontend {
	__u32 service;
	__u32 backends;
	struct backend_ref only;   /* with exactly one backend there is no table */
	__u32 table_offset;        /* first slot of the Maglev table in the map of all tables */
	__u32 table_length;
	/* The table before, for packets of flows whose state is not here, until previous_until_ns. It is written over by the
	 * next change. */
	__u32 previous_offset;
	__u32 previous_length;
	struct backend_ref previous_only;
	__u32 resting_offset;      /* backends that rest, in the map of all tables; for the agent alone */
	__u32 resting;
	__u32 ranges;              /* who may open flows, see struct range_key; 0: anybody */
	/* A client stays with its backend for so long after its last flow began; 0: every flow is for itself. */
	__u32 affinity_sec;
	/* The backends by their ids (see affinity.h), in the map of all tables: which a client may stay with. */
	__u32 members_offset;
	__u32 members_length;
	__u64 affinity_since_ns;   /* CLOCK_MONOTONIC: what clients chose before does not count */
	__u64 previous_until_ns;   /* CLOCK_MONOTONIC */
};

/* A set of source ranges is written once and never changed: a frontend that is to have other ones names another set.
 * The longest range decides; where there is none, nobody comes in. */
struct range_key {
	__u32 prefix_length; /* in bits, with the 32 of the set */
	__u32 set;
	struct ip_address source;
};

struct affinity_key {
	struct ip_address client;
	__u32 service;
};

struct affinity {
	struct backend_ref backend;
	__u64 begun_ns; /* CLOCK_MONOTONIC: when its last flow began */
};

struct endpoint {
	struct ip_address address;
	__be16 port;
	__u16 reserved;
};

#define VIPS_PER_SOURCE 4

/* The VIPs behind which a backend stands: where a reply that has no flow may belong to. */
struct source {
	struct endpoint vips[VIPS_PER_SOURCE];
	__u32 count; /* may be more than are listed */
	struct backend_ref backend;
	__u32 reserved;
	/* Until then (CLOCK_MONOTONIC) what is unknown is a flow to the pod itself that is older than the backend. */
	__u64 settled_ns;
};

enum direction {
	DIRECTION_IN = 0,  /* client -> VIP, or to a pod with another client port; the value is the backend */
	DIRECTION_OUT = 1, /* backend -> client; the value is the VIP, or the pod itself */
};

struct flow_key {
	struct ip_address source;
	struct ip_address destination;
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 direction;
	__u16 reserved;
};

enum flow_flags {
	FLOW_DIRECT = 1,             /* with the pod's own address; of both halves */
	FLOW_OPENED_BY_SYN = 2,      /* nothing says that the handshake went on */
	FLOW_NEXT_KNOWN = 4,
	FLOW_ACKED_KNOWN = 8,        /* out */
	FLOW_REPLIED = 16,           /* out */
	FLOW_POD_FIN = 32,           /* out */
	FLOW_CLIENT_FIN = 64,        /* out: one was seen, whoever sent it */
	FLOW_CLIENT_FIN_ACKED = 128, /* out: the pod has acknowledged it */
	FLOW_RESET = 256,            /* out: by the pod, or by the client with a number that the pod takes */
	FLOW_OF_FORMER = 512,        /* in: its state was not here, and the table before this one knew its backend */
	FLOW_FORWARDED = 1024,       /* in: its backend is on another node, and there is no other half */
	FLOW_TUNNELLED = 2048,       /* it began by a packet that another node handed on */
	FLOW_REDIRECTED = 4096,      /* it goes past netfilter, in both directions */
	FLOW_LEAVING = 8192,         /* in: netfilter sees what the client sends, and the pod's too in a while */
	FLOW_TRANSLATED = 16384,     /* FLOW_FORWARDED, and with an address of this node: see snat.h */
	FLOW_POD_FIRST = 32768,      /* a translation, out: the pod has closed first, or at once with the client */
	FLOW_HAIRPIN = 65536,        /* the VIP stands for the client at the pod, see hairpin.h */
	FLOW_POD_BEGAN = 131072,     /* FLOW_DIRECT, out: nothing had come to the pod before */
};

/* What both halves of a flow have. */
#define FLOW_OF_BOTH (FLOW_DIRECT | FLOW_TUNNELLED | FLOW_REDIRECTED | FLOW_HAIRPIN)

/* One half. What ends a flow stands in the half of the pod's packets, which nobody else can send. */
struct flow {
	/* In: the backend; out: the VIP, or the client for which it stands. */
	struct ip_address address;
	__be16 port;
	/* The client's port: as the backend sees it (in), as it really is (out). They differ only when two flows of one
	 * client would look the same to the backend. */
	__be16 client_port;
	struct backend_ref backend;
	__u32 service;
	__u32 seen;       /* coarse clock of the last packet, roughly */
	__u32 next;       /* TCP: after the last octet in order, of the client (in), of the pod (out) */
	__u32 acked;      /* TCP, out: what the pod has acknowledged */
	__u32 client_end; /* TCP, out: after the client's FIN; of one that leaves, in: coarse clock when it began to */
	__u32 flags;
};

/* A flow whose backend is on another node, in which the client went on. */
struct forward {
	struct backend_ref backend;
	__u32 service;
	__u32 flags; /* FLOW_TRANSLATED, or none */
};

/* One half of a flow of which both ends change, see snat.h. */
struct translation {
	/* In: the pod, and as the client's port one of this node; out: the VIP, and the client's port as it really is. `seen`
	 * is in units of SNAT_SECOND. */
	struct flow flow;
	/* In: this node's own; out: the client. */
	struct ip_address other;
};

/* The one at hand. */
struct snat_draft {
	struct flow_key in_key;
	struct translation in;
	struct flow_key out_key;
	struct translation out;
	__u32 is_new;
};

/* The ports of a datagram whose first fragment has passed. */
struct fragment_key {
	struct ip_address source;
	struct ip_address destination;
	__be32 identification;
	__u32 protocol; /* IPv4 only: the fragments of IPv6 may name different ones (RFC 8200 4.5) */
};

struct fragment {
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 reserved;
	__u16 seen; /* as fragment_clock of packet.h says; 0: not told, by a version before this one */
};

/* A later fragment that came before its first, by where its octets belong, in pieces: one of Ethernet is one, one of
 * jumbo frames some. An offset is of eight octets, so that its lowest bits are free for the number of the piece, from
 * 1 on; 0 was that of a version that held no more than one. */
struct held_key {
	struct fragment_key datagram;
	__u32 place;
};

/* More than Ethernet carries; a power of two. */
#define HELD_OCTETS 2048
/* 14 336 octets: more than any jumbo frame. */
#define HELD_PIECES 7

struct held_fragment {
	__u16 length; /* of the whole fragment, from the IP header on */
	__u16 seen;
	__u8 octets[HELD_OCTETS];
};

/* What is read of a packet. It lies in a map and not on the stack, of which the programs have 512 octets in all; and of
 * what lies there a verifier remembers nothing, so that the paths by which it was read are one path behind. */
struct packet {
	struct ip_address source;
	struct ip_address destination;
	__be32 identification;
	__u32 total_length;
	__u16 l3;
	__u16 l4;
	/* IPv6: its extension headers belong to it. */
	__u16 header_length;
	union {
		/* IPv6: where the number of what the headers carry stands, from their start. */
		__u16 next_at;
		/* IPv4: the checksum of the header, as it was read. */
		__sum16 check;
	};
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 tcp_flags;
	__u8 position;
	__u8 family; /* enum family */
	__u8 refusal; /* enum reason: why nobody serves it */
	__u8 tunnelled : 4; /* enum tunnelled */
	__u8 at_node : 4; /* it is for a node port: frontends of any address of the node are its */
	/* What fits on the way to its node, where it does not. */
	__u16 mtu;
	/* TCP: sequence and acknowledgment number, and the number after the last octet (SYN and FIN count as one). */
	__u32 seq;
	__u32 ack;
	__u32 end;
};

/* How often nodes have handed a packet on, which goes by so many of them at most. */
enum tunnelled {
	NOT_TUNNELLED,
	TUNNELLED,
	TUNNELLED_AGAIN,
	TUNNELLED_BEFORE_LAST, /* once more, and for the last time, to where the table in force says */
	TUNNELLED_FINAL,
};

/* Where the packet at hand goes, as far as it was found out. */
struct passage {
	/* The backend that another node chose. */
	struct ip_address named;
	__be16 named_port;
	__u8 handed_on; /* enum tunnelled: how often before this time */
	__u8 reserved;
	/* The one that is chosen here, and of which Service. */
	struct backend_ref backend;
	__u32 service;
	__u32 flags; /* enum flow_flags */
	/* The interface by which it leaves for another node. */
	__u32 ifindex;
	/* Of the flow that is found out about; here for the reason for which packets are. */
	struct flow_key key;
	struct flow half;
	/* The half of the replies. */
	struct flow_key out_key;
	struct flow out;
};

/* Whom the frontend of a packet names. Here for the reason for which packets are, and the record as a copy: while it is
 * read its memory may become another frontend's. */
struct choices {
	struct frontend frontend;
	struct backend_ref current;
	struct backend_ref previous;
	struct backend_ref named; /* by the node that handed the packet on */
	__u32 at;                 /* enum place of `current` */
	__u32 before;             /* of `previous` */
};

/* What an interface is, where flows go past netfilter. */
enum link_flags {
	LINK_UPLINK = 1,
	LINK_TO_PODS = 2, /* pods are behind it, and herald_pod meets what they send */
	LINK_OPENS = 4,   /* new flows to these pods go past netfilter too */
	LINK_CLOSED = 8,  /* flows leave for the stack, the client's side first */
};

enum scratch {
	SCRATCH_PACKET,
	SCRATCH_QUOTE,
	SCRATCH_COUNT,
};

struct counters {
	__u64 packets_in;
	__u64 bytes_in;
	__u64 packets_out;
	__u64 bytes_out;
	__u64 new_connections;
	__u64 packets_forwarded; /* to other nodes, where they are counted as packets in */
	__u64 bytes_forwarded;
};

/* Of a backend, whatever frontends it has. Another generation than the one of a packet: what it counted is
 * another's. */
struct backend_counters {
	__u32 generation;
	__u32 reserved;
	struct counters counters;
};

/* Why a packet was answered in place or dropped: exactly one per such packet. In the order of reasons.ts. */
enum reason {
	REASON_ECHO_ANSWERED,
	REASON_UNOWNED_PORT,
	REASON_UNOWNED_PROTOCOL,
	REASON_NO_BACKEND,
	REASON_BACKEND_GONE,
	REASON_ANSWER_LIMITED,
	REASON_NOT_ANSWERABLE,
	REASON_BAD_HEADER,
	REASON_FRAGMENT,
	REASON_ICMP_UNMATCHED,
	REASON_FLOWS_FULL,
	REASON_REWRITE_FAILED,
	REASON_REPLY_UNMATCHED,
	REASON_SOURCE_NOT_ALLOWED,
	REASON_TOO_BIG,
	REASON_NODE_UNREACHABLE,
	REASON_UNKNOWN_SENDER,
	REASON_BAD_TUNNEL,
	REASON_CONGESTED,
	REASON_FRAGMENT_HELD,
	REASON_FRAGMENT_RELEASED,
	REASON_SNAT_PORTS,
	REASON_SNAT_UNKNOWN,
	REASON_FLOW_LIMITED,
	REASON_COUNT,
};

enum family {
	FAMILY_IPV4,
	FAMILY_IPV6,
	FAMILY_COUNT,
};

/* What is told of a flow, in the order of events.ts. */
enum event_type {
	EVENT_NEW,
	EVENT_CLOSE,
	EVENT_REHASH, /* what a flow belongs to was found anew */
	EVENT_DROP,
	EVENT_TYPE_COUNT,
};

/* Of EVENT_NEW, EVENT_CLOSE and EVENT_REHASH; that of EVENT_DROP is its reason. */
enum event_detail {
	DETAIL_BY_CLIENT,
	DETAIL_BY_POD,
	DETAIL_FIN,
	DETAIL_RESET_BY_CLIENT,
	DETAIL_RESET_BY_POD,
	DETAIL_PREVIOUS_TABLE, /* it goes where the table before this one and the other half say */
	DETAIL_CURRENT_TABLE,  /* nothing says where it was: it goes where a new flow would */
	DETAIL_HALF_RESTORED,  /* one half was evicted, and follows from the other */
	DETAIL_FORWARDED,      /* its backend is on another node, which gets its packets */
	DETAIL_SECOND_CHANCE,  /* handed on to here, where nobody knows it: the node of the table before this one may */
	DETAIL_COUNT,
};

/* Units of the time of an event: 1024 ns of CLOCK_MONOTONIC, so that 32 bits are more than an hour. */
#define EVENT_TIME_SHIFT 10

struct event {
	struct ip_address source; /* the client; of a dropped reply the pod */
	struct ip_address destination;
	struct ip_address backend; /* zero: none */
	__u32 time;
	__be16 source_port;
	__be16 destination_port;
	__be16 backend_port;
	__u16 length;          /* of the packet with its IP header; 0: not known */
	__u8 type;
	__u8 detail;
	__u8 protocol;
	__u8 tcp_flags;
};

/* Whether anybody looks. */
struct observation {
	__u64 until_ns;    /* CLOCK_MONOTONIC; 0: nobody */
	__u64 interval_ns; /* between two events of one kind on one CPU, on average */
};

struct event_limit {
	__u64 debt_until_ns;
	__u64 limited; /* events that were too many */
	__u64 full;    /* events for which the ring had no room */
};

/* Answers are limited by kind and VIP: VIPs that share a place by their hash share a bucket of each kind. */
enum limit {
	LIMIT_ECHO,
	LIMIT_UNOWNED_PORT,
	LIMIT_UNOWNED_PROTOCOL,
	LIMIT_NO_BACKEND,
	LIMIT_BACKEND_GONE,
	LIMIT_TOO_BIG,
	LIMIT_OPENING, /* of flows that begin, by their kind: see unkept.h */
	LIMIT_COUNT,
};

#define VIPS_PER_LIMIT_BITS 8
#define VIPS_PER_LIMIT (1 << VIPS_PER_LIMIT_BITS)

#endif
