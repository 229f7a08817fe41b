// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * The least that a stateful load balancer can do with a packet of an established flow: one look-up of its tuple, the
 * destination written, two counters. No VIP, no backend that may be gone, no fragments, options, VLANs or TCP state.
 * What bench/kernel.ts measures the datapath against.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct tuple {
	__be32 source;
	__be32 destination;
	__be16 source_port;
	__be16 destination_port;
	__u32 protocol;
};

struct backend {
	__be32 address;
	__be16 port;
	__u16 reserved;
};

/* Of IPv6. */
struct wide_tuple {
	struct in6_addr source;
	struct in6_addr destination;
	__be16 source_port;
	__be16 destination_port;
	__u32 protocol;
};

struct wide_backend {
	struct in6_addr address;
	__be16 port;
	__u16 reserved;
};

struct counters {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 19);
	__type(key, struct tuple);
	__type(value, struct backend);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 19);
	__type(key, struct wide_tuple);
	__type(value, struct wide_backend);
} wide_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} totals SEC(".maps");

SEC("tc")
int least(struct __sk_buff *skb)
{
	struct backend chosen = { .address = bpf_htonl(0x0a010201), .port = bpf_htons(8080) };
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + ETH_HLEN;
	struct tcphdr *tcp = (void *)(ip + 1);
	struct counters *total;
	struct backend *known;
	struct tuple tuple;
	__u32 zero = 0;
	__be32 address;
	__be16 port;

	if ((void *)(tcp + 1) > end || ip->ihl != 5 || ip->protocol != IPPROTO_TCP)
		return -1;
	tuple.source = ip->saddr;
	tuple.destination = address = ip->daddr;
	tuple.source_port = tcp->source;
	tuple.destination_port = port = tcp->dest;
	tuple.protocol = IPPROTO_TCP;
	known = bpf_map_lookup_elem(&flows, &tuple);
	if (known)
		chosen = *known;
	else if (bpf_map_update_elem(&flows, &tuple, &chosen, BPF_ANY))
		return -1;
	total = bpf_map_lookup_elem(&totals, &zero);
	if (!total)
		return -1;
	total->packets += 1;
	total->bytes += skb->len;
	bpf_l3_csum_replace(skb, ETH_HLEN + offsetof(struct iphdr, check), address, chosen.address, 4);
	bpf_l4_csum_replace(skb, ETH_HLEN + sizeof(*ip) + offsetof(struct tcphdr, check), address, chosen.address,
			BPF_F_PSEUDO_HDR | 4);
	bpf_l4_csum_replace(skb, ETH_HLEN + sizeof(*ip) + offsetof(struct tcphdr, check), port, chosen.port, 2);
	bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct iphdr, daddr), &chosen.address, 4, 0);
	bpf_skb_store_bytes(skb, ETH_HLEN + sizeof(*ip) + offsetof(struct tcphdr, dest), &chosen.port, 2, 0);
	return -1;
}

SEC("tc")
int least_wide(struct __sk_buff *skb)
{
	struct wide_backend chosen = { .port = bpf_htons(8080) };
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ipv6hdr *ip = data + ETH_HLEN;
	struct tcphdr *tcp = (void *)(ip + 1);
	struct counters *total;
	struct wide_backend *known;
	struct wide_tuple tuple;
	__u32 zero = 0;
	__s64 difference;
	__be16 port;

	if ((void *)(tcp + 1) > end || ip->nexthdr != IPPROTO_TCP)
		return -1;
	chosen.address.s6_addr32[0] = bpf_htonl(0xfd000001);
	chosen.address.s6_addr32[3] = bpf_htonl(1);
	tuple.source = ip->saddr;
	tuple.destination = ip->daddr;
	tuple.source_port = tcp->source;
	tuple.destination_port = port = tcp->dest;
	tuple.protocol = IPPROTO_TCP;
	known = bpf_map_lookup_elem(&wide_flows, &tuple);
	if (known)
		chosen = *known;
	else if (bpf_map_update_elem(&wide_flows, &tuple, &chosen, BPF_ANY))
		return -1;
	total = bpf_map_lookup_elem(&totals, &zero);
	if (!total)
		return -1;
	total->packets += 1;
	total->bytes += skb->len;
	difference = bpf_csum_diff((__be32 *)&tuple.destination, sizeof(tuple.destination), (__be32 *)&chosen.address,
			sizeof(chosen.address), 0);
	bpf_l4_csum_replace(skb, ETH_HLEN + sizeof(*ip) + offsetof(struct tcphdr, check), 0, difference,
			BPF_F_PSEUDO_HDR);
	bpf_l4_csum_replace(skb, ETH_HLEN + sizeof(*ip) + offsetof(struct tcphdr, check), port, chosen.port, 2);
	bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, daddr), &chosen.address, sizeof(chosen.address), 0);
	bpf_skb_store_bytes(skb, ETH_HLEN + sizeof(*ip) + offsetof(struct tcphdr, dest), &chosen.port, 2, 0);
	return -1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
