// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The programs with which herald_ingress goes on, see enum stage. Part of herald.bpf.c, whose answers they send. */
#ifndef HERALD_STAGES_H
#define HERALD_STAGES_H

#include "direct.h"
#include "snat.h"

/* A packet of a client, and its backend in the passage: see snat.h. */
SEC("tc")
int herald_snat(struct __sk_buff *skb)
{
	struct packet *packet = packet_at(SCRATCH_PACKET);

	if (!packet)
		return PASS;
	return finish_answered(skb, packet, send_from_here(skb));
}

/* What may be a reply to such a packet, and is for this node itself otherwise. */
SEC("tc")
int herald_snat_reply(struct __sk_buff *skb)
{
	struct packet *packet = packet_at(SCRATCH_PACKET);
	int answer;

	if (!packet)
		return PASS;
	answer = receive_translated(skb);
	if (answer == NOT_TUNNELLED)
		answer = receive_direct(skb);
	if (answer == BESIDE)
		answer = receive_beside(skb);
	return finish_answered(skb, packet, answer);
}

#endif
