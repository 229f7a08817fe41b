// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Drives a program for bench/kernel.ts. BPF_PROG_TEST_RUN with a repeat feeds a program its own output; this one writes
 * the headers of the next flow over whatever the last run left, then calls the program under measurement.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

/* Ethernet, IP, TCP without options: what is written, and where the end of the client's address and its port are in
 * it. */
#define IPV4_BYTES 54
#define IPV4_SOURCE_LOW 28
#define IPV4_DESTINATION_LOW 32
#define IPV4_TCP 34
#define IPV6_BYTES 74
#define IPV6_SOURCE_LOW 36
#define IPV6_DESTINATION_LOW 52
#define IPV6_TCP 54

/* Odd, so that each of a power of two of flows has its turn once; far from the one before it. */
#define STRIDE 0x9e3779b1

struct job {
	__u32 flow_mask; /* number of flows - 1, a power of two - 1 */
	__u32 next;
	__u32 is_ipv6;
	__u8 header[IPV6_BYTES];
	__u8 is_reply; /* the client is the destination */
	__u8 is_scattered; /* not in the order of their numbers */
};

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} target SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct job);
} jobs SEC(".maps");

static __always_inline void place(struct job *job, int address_at, __be16 low, int port_at, __be16 port)
{
	*(__be16 *)(job->header + address_at) = low;
	*(__be16 *)(job->header + port_at) = port;
}

SEC("tc")
int driver(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct job *job = bpf_map_lookup_elem(&jobs, &zero);
	if (!job)
		return -1;
	__u32 flow = job->next++;
	if (job->is_scattered)
		flow *= STRIDE;
	flow &= job->flow_mask;
	__be16 low = bpf_htons(flow & 0xffff), port = bpf_htons(40000 + (flow >> 16));
	if (job->is_ipv6) {
		if (job->is_reply)
			place(job, IPV6_DESTINATION_LOW, low, IPV6_TCP + 2, port);
		else
			place(job, IPV6_SOURCE_LOW, low, IPV6_TCP, port);
		if (bpf_skb_store_bytes(skb, 0, job->header, IPV6_BYTES, 0))
			return -1;
	} else {
		if (job->is_reply)
			place(job, IPV4_DESTINATION_LOW, low, IPV4_TCP + 2, port);
		else
			place(job, IPV4_SOURCE_LOW, low, IPV4_TCP, port);
		if (bpf_skb_store_bytes(skb, 0, job->header, IPV4_BYTES, 0))
			return -1;
	}
	bpf_tail_call(skb, &target, 0);
	return -1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
