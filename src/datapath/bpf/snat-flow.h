// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The flows of snat.h, and the ports that they have. A port is of one flow to one pod. It is another one's when that
 * one is over and the pod has forgotten it: when the pod has closed first, not before its TIME-WAIT. */
#ifndef HERALD_SNAT_FLOW_H
#define HERALD_SNAT_FLOW_H

#include "flow.h"
#include "node.h"
#include "opening.h"
#include "tunnel.h"
#include "way.h"

/* 2^30 ns. */
#define SNAT_SECOND_BITS 30
/* Of silence, until a port is free. RFC 5382 5 (2 h 4 min, 4 min), RFC 4787 4.3 (5 min; 2 min), RFC 9293 3.4.2. */
#define SNAT_CONNECTION 7200
#define SNAT_TRANSITORY 240
#define SNAT_DATAGRAMS 300
#define SNAT_DATAGRAM 120
#define SNAT_TIME_WAIT 128
#define SNAT_LINGER 10
/* Before a datagram without more than an answer makes room. */
#define SNAT_LEAST_SILENCE 2

#define SNAT_TRIALS 64
#define SNAT_STEP 1117
/* In which of them a half that was evicted is looked for. */
#define SNAT_REPAIRS 8

#define PORT_FREE 0x7fffffff
#define PORT_TAKEN 0

static __always_inline __u32 snat_clock(void)
{
	return bpf_ktime_get_ns() >> SNAT_SECOND_BITS;
}

static __always_inline struct snat_draft *snat_draft(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&snat_drafts, &first);
}

static __always_inline struct flow_key translation_out_key(const struct flow_key *in_key, const struct translation *in)
{
	struct flow_key key = {
		.source = in->flow.address,
		.destination = in->other,
		.source_port = in->flow.port,
		.destination_port = in->flow.client_port,
		.protocol = in_key->protocol,
		.direction = DIRECTION_OUT,
	};
	return key;
}

static __always_inline struct flow_key translation_in_key(const struct flow_key *out_key,
		const struct translation *out)
{
	struct flow_key key = {
		.source = out->other,
		.destination = out->flow.address,
		.source_port = out->flow.client_port,
		.destination_port = out->flow.port,
		.protocol = out_key->protocol,
		.direction = DIRECTION_IN,
	};
	return key;
}

/* Each half as it follows from the other one. */
static __always_inline void draft_out(struct snat_draft *draft)
{
	draft->out_key = translation_out_key(&draft->in_key, &draft->in);
	draft->out.flow = out_half(&draft->in_key, &draft->in.flow);
	draft->out.other = draft->in_key.source;
}

static __always_inline void draft_in(struct snat_draft *draft)
{
	draft->in_key = translation_in_key(&draft->out_key, &draft->out);
	draft->in.flow = in_half(&draft->out_key, &draft->out.flow);
	draft->in.other = draft->out_key.destination;
}

static __always_inline struct translation *find_translation(const struct flow_key *key, bool *is_opening)
{
	struct translation *found = bpf_map_lookup_elem(&snat, key);

	*is_opening = !found;
	return found ?: bpf_map_lookup_elem(&snat_openings, key);
}

static __always_inline void forget_translation(const struct flow_key *key)
{
	bpf_map_delete_elem(&snat_openings, key);
	bpf_map_delete_elem(&snat, key);
}

static __always_inline bool is_half_of_draft(const struct translation *out, const struct flow_key *in_key)
{
	return is_same_address(&out->other, &in_key->source) && is_half_of(&out->flow, in_key, 0);
}

/* So long nothing is heard of a flow before its port may be another one's. That a client has closed anybody can say. */
static __always_inline __u32 least_silence(__u8 protocol, __u32 flags, bool is_opening)
{
	if (protocol != IPPROTO_TCP)
		return is_opening ? SNAT_DATAGRAM : SNAT_DATAGRAMS;
	if (is_ended(flags))
		return flags & FLOW_POD_FIRST ? SNAT_TIME_WAIT : SNAT_LINGER;
	return is_opening || flags & FLOW_POD_FIN ? SNAT_TRANSITORY : SNAT_CONNECTION;
}

static __always_inline bool is_translation_over(__u8 protocol, const struct translation *out, bool is_opening)
{
	return snat_clock() - out->flow.seen > least_silence(protocol, out->flow.flags, is_opening);
}

/* How well a port does for the flow in the draft: PORT_FREE, PORT_TAKEN, or what makes room when none is free: the
 * longer nothing was heard of a flow that only one end knows of, the better. */
__noinline int weigh_port(struct __sk_buff *skb, __u32 port)
{
	struct snat_draft *draft = snat_draft();
	struct frontend_key frontend = {};
	const struct translation *other;
	struct packet *tuple;
	bool is_opening;
	__u32 silence;

	if (!draft)
		return PORT_TAKEN;
	draft->out_key.destination_port = bpf_htons(port);
	other = find_translation(&draft->out_key, &is_opening);
	if (other && !is_translation_over(draft->out_key.protocol, other, is_opening)) {
		/* Its own, of which the half of the client's packets was evicted. */
		if (!is_ended(other->flow.flags) && is_half_of_draft(other, &draft->in_key))
			return PORT_FREE;
		silence = snat_clock() - other->flow.seen;
		if (!is_opening || is_ended(other->flow.flags) || silence >= PORT_FREE - 1)
			return PORT_TAKEN;
		if (draft->out_key.protocol == IPPROTO_TCP)
			return silence + 1;
		return silence < SNAT_LEAST_SILENCE ? PORT_TAKEN : silence + 1;
	}
	frontend.address = any_node_address(!is_mapped(&draft->out_key.source));
	frontend.port = bpf_htons(port);
	frontend.protocol = draft->out_key.protocol;
	if (bpf_map_lookup_elem(&frontends, &frontend))
		return PORT_TAKEN;
	/* Not of a connection of the node itself, where its own range has these ports all the same. */
	tuple = blank_packet(SCRATCH_QUOTE);
	if (!tuple)
		return PORT_TAKEN;
	tuple->source = draft->out_key.source;
	tuple->destination = draft->out_key.destination;
	tuple->source_port = draft->out_key.source_port;
	tuple->destination_port = bpf_htons(port);
	tuple->protocol = draft->out_key.protocol;
	tuple->family = is_mapped(&tuple->source) ? FAMILY_IPV4 : FAMILY_IPV6;
	return has_socket(skb, tuple) ? PORT_TAKEN : PORT_FREE;
}

/* The ports that a flow tries, in their order. */
static __always_inline __u32 snat_port(const struct tunnel *own, __u32 hash, __u32 trial)
{
	return own->snat_first + (hash + trial * SNAT_STEP) % own->snat_ports;
}

static __noinline __u32 snat_hash(const struct packet *packet)
{
	return mix(flow_hash(packet), 0x736e6174) >> 8;
}

/* 0: every one that was tried is taken. */
__noinline int choose_port(struct __sk_buff *skb, __u32 hash)
{
	const struct tunnel *own = own_tunnel();
	int weight, best = PORT_TAKEN, chosen = 0;

	if (!own || !own->snat_ports)
		return 0;
	for (__u32 trial = 0; trial < SNAT_TRIALS; trial++) {
		__u32 port = snat_port(own, hash, trial);

		weight = weigh_port(skb, port);
		if (weight == PORT_FREE)
			return port;
		if (weight > best) {
			best = weight;
			chosen = port;
		}
	}
	return chosen;
}

/* Both halves of the flow in the draft, whose port is free or makes room. False: another one has it by now. */
static __noinline bool put_translation(struct snat_draft *draft, __u32 port)
{
	const struct translation *other;
	struct flow_key in_key;
	bool is_opening;

	draft->in.flow.client_port = bpf_htons(port);
	draft_out(draft);
	draft->out.flow.flags |= draft->in.flow.flags & FLOW_OPENED_BY_SYN;
	other = find_translation(&draft->out_key, &is_opening);
	if (other) {
		in_key = translation_in_key(&draft->out_key, other);
		/* Its client may have begun anew meanwhile, by another port. */
		other = find_translation(&in_key, &is_opening);
		if (other && other->flow.client_port == draft->in.flow.client_port &&
		    is_same_address(&other->flow.address, &draft->in.flow.address))
			forget_translation(&in_key);
		forget_translation(&draft->out_key);
	}
	return !bpf_map_update_elem(&snat_openings, &draft->out_key, &draft->out, BPF_NOEXIST) &&
	       !bpf_map_update_elem(&snat_openings, &draft->in_key, &draft->in, BPF_ANY);
}

static __always_inline void draft_first(struct snat_draft *draft, const struct packet *packet,
		const struct backend *backend, const struct passage *passage, const struct tunnel *own)
{
	struct flow *in = &draft->in.flow;

	__builtin_memset(&draft->in, 0, sizeof(draft->in));
	in->address = backend->address;
	in->port = backend->port;
	in->backend = passage->backend;
	in->service = passage->service;
	in->seen = snat_clock();
	in->next = packet->end;
	in->flags = packet->protocol == IPPROTO_TCP ? FLOW_OPENED_BY_SYN | FLOW_NEXT_KNOWN : 0;
	draft->in.other = is_ipv6(packet) ? own->ipv6 : own->ipv4;
	draft->out_key = translation_out_key(&draft->in_key, &draft->in);
}

/* HERE, with the new flow in the draft; or an outcome. */
static __noinline int open_translation(struct __sk_buff *skb, const struct packet *packet, struct snat_draft *draft,
		const struct passage *passage)
{
	const struct backend *backend = backend_of(&passage->backend);
	const struct tunnel *own = own_tunnel();
	__u32 hash = snat_hash(packet);

	if (!backend || !own || !own->snat_ports || is_any_node(is_ipv6(packet) ? &own->ipv6 : &own->ipv4))
		return drop(REASON_NODE_UNREACHABLE);
	draft_first(draft, packet, backend, passage, own);
	UNROLLED
	for (__u32 attempt = 0; attempt < 2; attempt++) {
		__u32 port = choose_port(skb, hash);

		if (!port)
			return drop(REASON_SNAT_PORTS);
		if (put_translation(draft, port)) {
			draft->is_new = true;
			return HERE;
		}
	}
	return drop(REASON_FLOWS_FULL);
}

static __noinline void promote_translation(struct snat_draft *draft)
{
	const struct translation *half = bpf_map_lookup_elem(&snat_openings, &draft->out_key);

	if (half) {
		draft->out = *half;
		draft->out.flow.flags &= ~FLOW_OPENED_BY_SYN;
		if (!bpf_map_update_elem(&snat, &draft->out_key, &draft->out, BPF_ANY))
			bpf_map_delete_elem(&snat_openings, &draft->out_key);
	}
	half = bpf_map_lookup_elem(&snat_openings, &draft->in_key);
	if (half) {
		draft->in = *half;
		draft->in.flow.flags &= ~FLOW_OPENED_BY_SYN;
		if (!bpf_map_update_elem(&snat, &draft->in_key, &draft->in, BPF_ANY))
			bpf_map_delete_elem(&snat_openings, &draft->in_key);
	}
}

/* A FIN or RST of the client, as in {@link note_client_end}. */
static __noinline void note_end_of_client(const struct flow_key *shown, struct flow *out, const struct flow *in,
		const struct packet *packet)
{
	__u32 ahead = packet->seq - out->acked, in_flight = in->next - out->acked;

	if (packet->tcp_flags & TCP_RST) {
		if (out->flags & FLOW_ACKED_KNOWN && (ahead == 0 || (in_flight < MAX_IN_FLIGHT && ahead <= in_flight)))
			note_reset(DETAIL_RESET_BY_CLIENT, shown, out, packet);
	} else if (!(out->flags & FLOW_CLIENT_FIN_ACKED)) {
		out->client_end = packet->end;
		out->flags |= FLOW_CLIENT_FIN;
	}
}

/* Its half of the replies, as events name it: by the client. */
static __always_inline struct flow_key shown_key(const struct flow_key *out_key, const struct translation *out)
{
	struct flow_key key = *out_key;

	key.destination = out->other;
	return key;
}

#endif
