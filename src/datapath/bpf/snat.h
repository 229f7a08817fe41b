// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Backends on nodes that take no packets from others: where a Service asks for it, and only there, a packet for one
 * leaves with this node's own address and a port of a range that nobody else here has, by the routing table.
 *
 *     client:p --> VIP:80            this node:q --> pod:8080       in
 *     client:p <-- VIP:80            this node:q <-- pod:8080       out
 *
 * The pod sees this node in place of the client, and this node alone has the state: a router that moves the flow to
 * another one ends it. Both halves are in `snat_openings`, and in `snat` once both ends took part, so that no flood
 * evicts what is established; either half brings back the other one. Neither direction meets netfilter. All of it is in
 * programs of their own, with which herald_ingress goes on. */
#ifndef HERALD_SNAT_H
#define HERALD_SNAT_H

#include "direct.h"
#include "icmp.h"
#include "node.h"
#include "outcome.h"
#include "redirect.h"
#include "rewrite.h"
#include "snat-flow.h"
#include "tunnel.h"
#include "way.h"

/* What is a program of its own, so that packets which need none of it cost no verifier anything. */
enum stage {
	STAGE_SNAT,
	STAGE_SNAT_REPLY,
	STAGE_COUNT,
};

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, STAGE_COUNT);
	__type(key, __u32);
	__type(value, __u32);
} stages SEC(".maps");

/* What a packet of the client says about its flow, whose half is in the draft. False: another one has its port. */
static __noinline bool follow_client(const struct packet *packet, struct snat_draft *draft, struct translation *in,
		bool is_opening)
{
	bool is_end = packet->tcp_flags & (TCP_FIN | TCP_RST), is_out_opening;
	__u32 now = snat_clock();
	struct translation *out;
	struct flow_key shown;

	if (packet->protocol == IPPROTO_TCP && packet->position != LATER_FRAGMENT && packet->seq == in->flow.next)
		in->flow.next = packet->end;
	if (in->flow.seen == now && !is_end && !is_opening)
		return true;
	in->flow.seen = now;
	draft->out_key = translation_out_key(&draft->in_key, &draft->in);
	out = find_translation(&draft->out_key, &is_out_opening);
	if (!out) {
		draft_out(draft);
		draft->out.flow.seen = now;
		if (is_opening)
			return !bpf_map_update_elem(&snat_openings, &draft->out_key, &draft->out, BPF_NOEXIST);
		return !bpf_map_update_elem(&snat, &draft->out_key, &draft->out, BPF_NOEXIST);
	}
	if (!is_half_of_draft(out, &draft->in_key))
		return false;
	out->flow.seen = now;
	if (is_end) {
		shown = shown_key(&draft->out_key, out);
		note_end_of_client(&shown, &out->flow, &in->flow, packet);
	}
	if (is_opening && is_proved_by(packet, &out->flow))
		promote_translation(draft);
	return true;
}

/* The half of a client's packets was evicted; the other one has one of the ports that the flow tried first. */
static __noinline bool repair_in(const struct packet *packet, struct snat_draft *draft, const struct passage *passage)
{
	const struct backend *backend = backend_of(&passage->backend);
	const struct tunnel *own = own_tunnel();
	__u32 hash = snat_hash(packet);
	const struct translation *out;
	bool is_opening;

	if (!backend || !own || !own->snat_ports)
		return false;
	draft_first(draft, packet, backend, passage, own);
	UNROLLED
	for (__u32 trial = 0; trial < SNAT_REPAIRS; trial++) {
		draft->out_key.destination_port = bpf_htons(snat_port(own, hash, trial));
		out = find_translation(&draft->out_key, &is_opening);
		if (!out || !is_half_of_draft(out, &draft->in_key))
			continue;
		draft->out = *out;
		draft_in(draft);
		if (is_opening)
			return !bpf_map_update_elem(&snat_openings, &draft->in_key, &draft->in, BPF_ANY);
		return !bpf_map_update_elem(&snat, &draft->in_key, &draft->in, BPF_ANY);
	}
	return false;
}

/* Whether what begins now is another flow than the one that had this tuple. */
static __noinline bool is_translation_free(const struct packet *packet, const struct flow_key *in_key,
		const struct translation *in)
{
	enum backend_state state = backend_state(&in->flow.backend);
	struct flow_key out_key = translation_out_key(in_key, in);
	const struct translation *out;
	bool is_opening;

	if (!begins(packet))
		return false;
	if (state == BACKEND_GONE)
		return true;
	if (packet->protocol != IPPROTO_TCP)
		return state == BACKEND_DRAINING;
	out = find_translation(&out_key, &is_opening);
	return out && (is_ended(out->flow.flags) || is_translation_over(packet->protocol, out, is_opening));
}

/* Whether the packet in the map may begin a flow: HERE, and whom its frontend names in `choices`; or an outcome. What
 * goes where a flow before it on its tuple was handed on is judged by nobody else: here no node comes behind. */
static __noinline int judge_first(struct __sk_buff *skb, const struct packet *packet)
{
	enum choice choice;

	/* Past the stack, which takes no packet from such a source (RFC 1812 5.3.7). */
	if (packet->position != LATER_FRAGMENT && !is_answerable(packet))
		return drop(REASON_NOT_ANSWERABLE);
	if (is_from_node_port(skb))
		return drop(REASON_BAD_HEADER);
	choice = choose_anew(SCRATCH_PACKET, true);
	if (choice == CHOICE_NOT_LET_IN)
		return drop(REASON_SOURCE_NOT_ALLOWED);
	return choice == CHOICE_NO_FRONTEND ? REFUSE + REASON_UNOWNED_PORT : HERE;
}

/* By the same Service; and a connection by the table in force. */
static __always_inline bool is_chosen(const struct packet *packet, const struct passage *passage)
{
	const struct choices *choices = choices_here();

	return choices && choices->frontend.service == passage->service &&
	       (packet->protocol == IPPROTO_UDP || is_same_ref(&choices->current, &passage->backend));
}

/* HERE, with the flow of the packet in the draft; or an outcome. */
static __noinline int find_or_open(struct __sk_buff *skb, const struct packet *packet, struct snat_draft *draft,
		struct passage *passage)
{
	const struct backend *backend;
	struct translation *in;
	bool is_opening;
	int answer;

	draft->in_key = flow_key(packet, DIRECTION_IN);
	in = find_translation(&draft->in_key, &is_opening);
	if (!in && !begins(packet) && repair_in(packet, draft, passage))
		in = find_translation(&draft->in_key, &is_opening);
	if (in && is_translation_free(packet, &draft->in_key, in)) {
		/* Its port stays its own until the pod has forgotten it. */
		forget_translation(&draft->in_key);
		in = 0;
	}
	if (in) {
		if (backend_state(&in->flow.backend) == BACKEND_GONE)
			return REFUSE + REASON_BACKEND_GONE;
		draft->in = *in;
		if (follow_client(packet, draft, in, is_opening))
			return HERE;
		forget_translation(&draft->in_key);
		return REFUSE + REASON_SNAT_UNKNOWN;
	}
	backend = backend_of(&passage->backend);
	/* Its node takes packets by now. */
	if (backend && !is_behind_translation(backend)) {
		passage->flags = 0;
		return hand_on(skb);
	}
	if (!begins(packet))
		return REFUSE + REASON_SNAT_UNKNOWN;
	answer = judge_first(skb, packet);
	if (answer)
		return answer;
	/* What was known of the tuple was of a flow that is over: the next one of these goes where new flows go. */
	if (backend_state(&passage->backend) != BACKEND_ACTIVE || !is_chosen(packet, passage)) {
		bpf_map_delete_elem(&forwards, &draft->in_key);
		bpf_map_delete_elem(&openings, &draft->in_key);
		return drop(REASON_NO_BACKEND);
	}
	return open_translation(skb, packet, draft, passage);
}

/* Where it goes on, by addresses that it will have; what is too big for the way is refused. HERE, or an outcome. */
static __noinline int find_exit(struct __sk_buff *skb, struct packet *packet, const struct ip_address *source,
		const struct ip_address *destination, struct hop *hop)
{
	struct bpf_fib_lookup route = { .l4_protocol = packet->protocol, .ifindex = skb->ifindex };
	__u32 length = wire_length(skb, packet);
	long answer;

	route.tot_len = length < 0xffff ? length : 0xffff;
	put_addresses(&route, is_ipv6(packet), source, destination);
	answer = bpf_fib_lookup(skb, &route, sizeof(route), 0);
	if (answer == BPF_FIB_LKUP_RET_FRAG_NEEDED) {
		packet->mtu = told_mtu(packet, route.mtu_result < length ? route.mtu_result : LEAST_MTU, 0);
		if (length > packet->mtu)
			return is_icmp(packet) ? drop(REASON_NOT_ANSWERABLE) : REFUSE + REASON_TOO_BIG;
		route.tot_len = 0;
		/* The answer before this one left a metric here. */
		route.flowinfo = 0;
		answer = bpf_fib_lookup(skb, &route, sizeof(route), 0);
	}
	if (answer != BPF_FIB_LKUP_RET_SUCCESS && answer != BPF_FIB_LKUP_RET_NO_NEIGH)
		return drop(REASON_NODE_UNREACHABLE);
	hop->ifindex = route.ifindex;
	hop->family = route.family;
	__builtin_memcpy(hop->next, route.ipv6_dst, sizeof(hop->next));
	return HERE;
}

/* Whether a router would hand it on. */
static __always_inline bool is_to_live_on(struct __sk_buff *skb, const struct packet *packet)
{
	struct lifetime lifetime;

	return !bpf_skb_load_bytes(skb, lifetime_at(packet), &lifetime, sizeof(lifetime)) &&
	       (is_ipv6(packet) ? lifetime.octets[1] : lifetime.octets[0]) > 1;
}

/* The packet becomes what the half of the draft says, and leaves. */
__noinline int leave_translated(struct __sk_buff *skb, __u32 is_reply)
{
	struct packet *packet = packet_at(SCRATCH_PACKET);
	struct snat_draft *draft = snat_draft();
	const struct translation *to;
	enum side side = is_reply ? SOURCE : DESTINATION;
	struct hop hop = {};
	long failed = 0;
	int answer;

	if (!packet || !draft)
		return drop(REASON_REWRITE_FAILED);
	/* The stack says so to a client; to itself it would say that no socket is there. */
	if (!is_to_live_on(skb, packet))
		return is_reply || packet->at_node ? drop(REASON_NOT_ANSWERABLE) : PASS;
	to = is_reply ? &draft->out : &draft->in;
	answer = is_reply ? find_exit(skb, packet, &to->flow.address, &to->other, &hop) :
			    find_exit(skb, packet, &to->other, &to->flow.address, &hop);
	if (answer)
		return answer;
	if (is_reply)
		count_out(skb, &to->flow);
	else
		count_in(skb, &to->flow, draft->is_new);
	if (!pop_tags(skb, packet) || rewrite(skb, packet, side, &to->flow))
		return drop(REASON_REWRITE_FAILED);
	if (packet->position != LATER_FRAGMENT)
		failed = rewrite_pseudo_header(skb, packet, l4_checksum_offset(packet),
				packet->protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0, other(side), &to->other);
	if (failed || rewrite_address(skb, packet, other(side), &to->other) || !shorten_lifetime(skb, packet))
		return drop(REASON_REWRITE_FAILED);
	return leave_by(&hop);
}

/* An ICMP error leaves, with both of its addresses as they are to be. */
static __noinline int leave_as_error(struct __sk_buff *skb, struct packet *packet, const struct ip_address *source,
		const struct ip_address *destination)
{
	struct hop hop = {};
	int answer;

	if (!is_to_live_on(skb, packet))
		return drop(REASON_NOT_ANSWERABLE);
	answer = find_exit(skb, packet, source, destination, &hop);
	if (answer)
		return answer;
	if (!is_same_address(source, &packet->source) && rewrite_outer_address(skb, packet, SOURCE, source))
		return drop(REASON_REWRITE_FAILED);
	if (rewrite_outer_address(skb, packet, DESTINATION, destination) || !shorten_lifetime(skb, packet))
		return drop(REASON_REWRITE_FAILED);
	return leave_by(&hop);
}

/* The quote in the map as whoever sent it has it: one of its sides becomes address:port of the half, the other one the
 * other end. */
static __noinline bool rewrite_both_in_quote(struct __sk_buff *skb, const struct packet *packet,
		const struct packet *quote, enum side side, const struct translation *to)
{
	__u32 checksum = packet->l4 + offsetof(struct icmp, checksum);

	return !rewrite_quote(skb, packet, quote, side, &to->flow) &&
	       !rewrite_quoted_address(skb, quote, checksum, other(side), &to->other);
}

/* An error about VIP -> client, whose quote in the map is turned around. */
__noinline int send_error_from_here(struct __sk_buff *skb)
{
	struct packet *packet = packet_at(SCRATCH_PACKET), *quote = packet_at(SCRATCH_QUOTE);
	struct snat_draft *draft = snat_draft();
	const struct translation *in;
	bool is_opening;

	if (!packet || !quote || !draft)
		return drop(REASON_ICMP_UNMATCHED);
	draft->in_key = flow_key(quote, DIRECTION_IN);
	in = find_translation(&draft->in_key, &is_opening);
	if (!in || backend_state(&in->flow.backend) == BACKEND_GONE)
		return drop(REASON_ICMP_UNMATCHED);
	draft->in = *in;
	turn_around(quote);
	if (!pop_tags(skb, packet) || !rewrite_both_in_quote(skb, packet, quote, SOURCE, &draft->in))
		return drop(REASON_REWRITE_FAILED);
	return leave_as_error(skb, packet, &packet->source, &draft->in.flow.address);
}

/* A packet of a client, in the map, to its backend, in the passage: a verdict, or an outcome. */
static __always_inline int send_from_here(struct __sk_buff *skb)
{
	struct packet *packet = packet_at(SCRATCH_PACKET);
	struct passage *passage = passage_here();
	struct snat_draft *draft = snat_draft();
	int answer;

	if (!packet || !passage || !draft)
		return drop(REASON_NODE_UNREACHABLE);
	if (is_icmp(packet))
		return send_error_from_here(skb);
	/* Of SCTP no port can be another one. */
	if (packet->protocol != IPPROTO_TCP && packet->protocol != IPPROTO_UDP)
		return drop(REASON_NODE_UNREACHABLE);
	draft->is_new = false;
	answer = find_or_open(skb, packet, draft, passage);
	return answer ?: leave_translated(skb, false);
}

/* What came to this node's own address. Whatever the headers do not tell at once is looked at. */
__noinline int may_be_translated(struct __sk_buff *skb)
{
	const struct packet *packet = packet_at(SCRATCH_PACKET);
	const struct tunnel *own = own_tunnel();
	__be16 port;

	if (!packet || !own || !own->snat_ports ||
	    !is_same_address(&packet->destination, is_ipv6(packet) ? &own->ipv6 : &own->ipv4))
		return false;
	if ((packet->protocol != IPPROTO_TCP && packet->protocol != IPPROTO_UDP) || packet->position == LATER_FRAGMENT)
		return true;
	if (bpf_skb_load_bytes(skb, packet->l3 + packet->header_length + sizeof(port), &port, sizeof(port)))
		return false;
	return (__u16)(bpf_ntohs(port) - own->snat_first) < own->snat_ports;
}

/* An error about a packet that left from here; from the pod, or a router before it. */
__noinline int receive_translated_error(struct __sk_buff *skb)
{
	struct packet *packet = packet_at(SCRATCH_PACKET), *quote = blank_packet(SCRATCH_QUOTE);
	struct snat_draft *draft = snat_draft();
	const struct translation *out;
	bool is_opening;
	__u8 type;

	if (!packet || !quote || !draft || packet->position != WHOLE ||
	    bpf_skb_load_bytes(skb, packet->l4, &type, sizeof(type)) || !is_icmp_error(packet, type) ||
	    !parse_quote(skb, packet, quote) || !is_same_address(&quote->source, &packet->destination))
		return NOT_TUNNELLED;
	draft->out_key = reversed_key(quote, DIRECTION_OUT);
	out = find_translation(&draft->out_key, &is_opening);
	if (!out)
		return NOT_TUNNELLED;
	draft->out = *out;
	if (!pop_tags(skb, packet) || !rewrite_both_in_quote(skb, packet, quote, DESTINATION, &draft->out))
		return drop(REASON_REWRITE_FAILED);
	/* A router's own error keeps the router's address, as on any path. */
	if (is_same_address(&packet->source, &quote->destination))
		return leave_as_error(skb, packet, &draft->out.flow.address, &draft->out.other);
	return leave_as_error(skb, packet, &packet->source, &draft->out.other);
}

/* Whether the pod has sent it, as far as numbers tell: what comes in by an uplink may be of anybody. It goes on to the
 * client either way. Of a half that was restored nothing is known. */
static __always_inline bool is_of_pod(const struct packet *packet, const struct flow *out)
{
	__u32 flags = packet->tcp_flags & (TCP_SYN | TCP_RST | TCP_ACK);

	if (~out->flags & (FLOW_NEXT_KNOWN | FLOW_ACKED_KNOWN))
		return true;
	if (flags & TCP_RST)
		return packet->seq == out->next;
	/* Where a hole is filled all behind it is acknowledged at once. */
	return flags == TCP_ACK && packet->seq - (out->next - MAX_IN_FLIGHT) < 2 * MAX_IN_FLIGHT &&
	       packet->ack - (out->acked - MAX_IN_FLIGHT) < 16 * MAX_IN_FLIGHT;
}

/* What the pod's packet says about its flow, whose half is this. */
static __noinline void follow_pod(const struct packet *packet, struct snat_draft *draft, struct translation *out,
		bool is_opening)
{
	struct flow_key shown = shown_key(&draft->out_key, out);
	__u32 now = snat_clock();
	bool is_proof = false, is_in_opening;
	struct translation *in;

	if (packet->protocol != IPPROTO_TCP) {
		out->flow.flags |= FLOW_REPLIED;
	} else if (packet->position != LATER_FRAGMENT && (is_opening || is_of_pod(packet, &out->flow))) {
		is_proof = track_pod(&shown, &out->flow, packet);
		if (packet->tcp_flags & TCP_FIN && !(out->flow.flags & FLOW_CLIENT_FIN_ACKED))
			out->flow.flags |= FLOW_POD_FIRST;
	}
	draft->out = *out;
	if (out->flow.seen == now && !(is_opening && is_proof))
		return;
	out->flow.seen = now;
	draft->out.flow.seen = now;
	draft_in(draft);
	in = find_translation(&draft->in_key, &is_in_opening);
	if (in && in->flow.client_port == draft->in.flow.client_port)
		in->flow.seen = now;
	else if (!in && is_opening)
		bpf_map_update_elem(&snat_openings, &draft->in_key, &draft->in, BPF_NOEXIST);
	else if (!in)
		bpf_map_update_elem(&snat, &draft->in_key, &draft->in, BPF_NOEXIST);
	if (is_opening && is_proof)
		promote_translation(draft);
}

/* A packet for this node's own address: a verdict, or an outcome; NOT_TUNNELLED when it is of no flow of these. */
__noinline int receive_translated(struct __sk_buff *skb)
{
	struct packet *packet = packet_at(SCRATCH_PACKET);
	struct snat_draft *draft = snat_draft();
	struct translation *out;
	bool is_opening;

	if (!packet || !draft || !is_header_sound(skb, packet))
		return NOT_TUNNELLED;
	if (packet->position == LATER_FRAGMENT && !follow_first(packet))
		return NOT_TUNNELLED;
	if (is_icmp(packet))
		return receive_translated_error(skb);
	if ((packet->protocol != IPPROTO_TCP && packet->protocol != IPPROTO_UDP) || !parse_transport(skb, packet))
		return NOT_TUNNELLED;
	draft->out_key = flow_key(packet, DIRECTION_OUT);
	out = find_translation(&draft->out_key, &is_opening);
	/* The node's own, or of what netfilter masquerades with it. */
	if (!out)
		return NOT_TUNNELLED;
	follow_pod(packet, draft, out, is_opening);
	return leave_translated(skb, true);
}

#endif
