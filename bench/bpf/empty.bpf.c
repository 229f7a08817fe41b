// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
// The least a tc program can be: what bench/kernel.ts measures ours against.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("tc")
int empty(struct __sk_buff *skb)
{
	(void)skb;
	return -1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
