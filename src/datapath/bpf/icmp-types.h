// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* ICMP as it is sent, of both families: linux/icmp.h needs the C library's socket headers. */
#ifndef HERALD_ICMP_TYPES_H
#define HERALD_ICMP_TYPES_H

#include <linux/types.h>

/* The fixed part of a message. */
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
#define ICMP_FRAGMENTATION_NEEDED 4

#define ICMP6_UNREACHABLE 1
#define ICMP6_PACKET_TOO_BIG 2
#define ICMP6_PARAMETER_PROBLEM 4
#define ICMP6_FIRST_INFORMATIONAL 128
#define ICMP6_ECHO_REQUEST 128
#define ICMP6_ECHO_REPLY 129
#define ICMP6_ROUTER_SOLICITATION 133
#define ICMP6_REDIRECT 137
#define ICMP6_PORT_UNREACHABLE 4
#define ICMP6_UNRECOGNIZED_NEXT_HEADER 1

#endif
