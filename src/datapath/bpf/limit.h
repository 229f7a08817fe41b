// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Who is answered, and how often. */
#ifndef HERALD_LIMIT_H
#define HERALD_LIMIT_H

#include "backend.h"
#include "packet.h"

/* Per CPU, kind of answer and VIP: a burst of 256, then one per millisecond. */
#define ANSWER_INTERVAL_NS 1000000ULL
#define ANSWER_BURST 256

#define ANSWER_TTL 64

/* No next header (RFC 8200 4.7): whatever follows is to be ignored. */
#define NO_NEXT_HEADER 59

/* Whoever makes one VIP answer in one way takes nothing from another VIP, nor from the other ways of this one. */
static __always_inline enum limit limit_of(enum reason reason)
{
	switch (reason) {
	case REASON_ECHO_ANSWERED:
		return LIMIT_ECHO;
	case REASON_UNOWNED_PORT:
		return LIMIT_UNOWNED_PORT;
	case REASON_UNOWNED_PROTOCOL:
		return LIMIT_UNOWNED_PROTOCOL;
	case REASON_NO_BACKEND:
		return LIMIT_NO_BACKEND;
	case REASON_TOO_BIG:
		return LIMIT_TOO_BIG;
	default:
		return LIMIT_BACKEND_GONE;
	}
}

/* Token bucket as one number: the time at which the bucket is full of debt. */
static __always_inline __u64 *debt_of(enum reason reason, const struct packet *packet)
{
	__u32 place = is_ipv6(packet) ? mix_address(0, true, &packet->destination) : bpf_ntohl(packet->destination.low);
	__u32 key = limit_of(reason) * VIPS_PER_LIMIT + ((place * 0x9e3779b1) >> (32 - VIPS_PER_LIMIT_BITS));

	return bpf_map_lookup_elem(&limits, &key);
}

static __always_inline bool is_spent(__u64 debt_until, __u64 now)
{
	return debt_until > now + ANSWER_BURST * ANSWER_INTERVAL_NS;
}

static __always_inline bool is_within_limit(enum reason reason, const struct packet *packet)
{
	__u64 now = bpf_ktime_get_ns();
	__u64 *debt_until = debt_of(reason, packet);
	__u64 start = now;

	if (!debt_until)
		return false;
	if (is_spent(*debt_until, now))
		return false;
	if (*debt_until > start)
		start = *debt_until;
	*debt_until = start + ANSWER_INTERVAL_NS;
	return true;
}

/* Whether the next answer of its kind would be one too many: looked at, not taken. */
static __always_inline bool is_beyond_limit(enum reason reason, const struct packet *packet)
{
	const __u64 *debt_until = debt_of(reason, packet);

	return debt_until && is_spent(*debt_until, bpf_ktime_get_ns());
}

/* RFC 1122 3.2.2, RFC 4443 2.4 (e): nothing is answered to a source that is not one host. */
static __always_inline bool is_answerable(const struct packet *packet)
{
	__u32 source = bpf_ntohl(packet->source.low);

	if (packet->position == LATER_FRAGMENT || is_same_address(&packet->source, &packet->destination))
		return false;
	if (is_ipv6(packet))
		return !is_multicast(&packet->source) && !is_unspecified_or_loopback(&packet->source);
	return source >> 24 != 0 && source >> 24 != 127 && source < 0xe0000000;
}

/* Whether whoever sent what nobody serves is told so. */
static __always_inline bool is_refusable(const struct packet *packet)
{
	return is_answerable(packet) && !(is_ipv6(packet) && packet->protocol == NO_NEXT_HEADER);
}

/* Why an echo request is never answered; 0: it may be. What the extension headers of IPv6 ask for is nothing to send
 * back. */
static __always_inline int why_no_echo(const struct packet *packet)
{
	if (packet->position != WHOLE)
		return drop(REASON_FRAGMENT);
	if (!is_answerable(packet) || (is_ipv6(packet) && packet->header_length != sizeof(struct ipv6hdr)))
		return drop(REASON_NOT_ANSWERABLE);
	return 0;
}

/* Why it is not answered now; 0: it is to be, and counts. */
static __always_inline int take_echo(const struct packet *packet)
{
	int why = why_no_echo(packet);

	if (why)
		return why;
	return is_within_limit(REASON_ECHO_ANSWERED, packet) ? 0 : drop(REASON_ANSWER_LIMITED);
}

#endif
