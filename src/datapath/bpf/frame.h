// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A frame as a program is given it: by TC, or by XDP, before there is anything of the stack's around it. What reads
 * packets is the same for both (packet.h). */
#ifndef HERALD_FRAME_H
#define HERALD_FRAME_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#ifdef HERALD_XDP

typedef struct xdp_md frame;
#define load_octets bpf_xdp_load_bytes

static __always_inline __u32 frame_length(frame *xdp)
{
	return bpf_xdp_get_buff_len(xdp);
}

/* Nothing is merged yet. */
static __always_inline __u32 segment_length(const frame *xdp __attribute__((unused)))
{
	return 0;
}

/* 0: a driver that leaves not even that in one piece with the start of the frame. */
static __always_inline __u32 frame_protocol(const frame *xdp)
{
	const struct ethhdr *ethernet = (const void *)(long)xdp->data;

	return (const void *)(ethernet + 1) <= (const void *)(long)xdp->data_end ? ethernet->h_proto : 0;
}

#else

typedef struct __sk_buff frame;
#define load_octets bpf_skb_load_bytes

static __always_inline __u32 frame_length(const frame *skb)
{
	return skb->len;
}

/* Of what is merged the payload of one segment; else 0. */
static __always_inline __u32 segment_length(const frame *skb)
{
	return skb->gso_size;
}

static __always_inline __u32 frame_protocol(const frame *skb)
{
	return skb->protocol;
}

#endif

#endif
