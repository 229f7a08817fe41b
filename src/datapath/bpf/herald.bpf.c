// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The load balancer of one node, on its uplinks only, so that netfilter and every policy of the CNI see client and
 * pod in both directions.
 *
 *     ingress:  addresses -miss-> pass                 egress:  flow (out) ---> source becomes VIP:port
 *                 |     |-the node's own, not a node port (node.h)-> pass
 *                 |     '-a backend's own-> direct.h              | miss
 *                 | a VIP                                       sources -miss-> pass
 *               flow (in) -miss-> frontends -miss-> refuse        |
 *                 |                  '-> Maglev table -> flow   the other half of a flow of one of its VIPs
 *                 |                      |                        '-none-> drop: the pod's address never leaks
 *                 |                      '-> elsewhere: encapsulated, to the node of that backend (way.h, tunnel.h)
 *                 '-> destination becomes the backend -> stack
 */
#include "answer.h"
#include "backend.h"
#include "direct.h"
#include "events.h"
#include "flow.h"
#include "fragments.h"
#include "hairpin.h"
#include "icmp.h"
#include "mss.h"
#include "node.h"
#include "opening.h"
#include "outcome.h"
#include "packet.h"
#include "ranges.h"
#include "redirect.h"
#include "rewrite.h"
#include "snat.h"
#include "tunnel.h"
#include "unkept.h"
#include "way.h"

/* The packet in the map to the pod of the half in the passage. A function of its own to the verifier, as those of
 * ranges.h. */
__noinline int deliver(struct __sk_buff *skb, __u32 is_new)
{
	const struct packet *packet = packet_at(SCRATCH_PACKET);
	const struct passage *passage = passage_here();
	const struct flow *flow;

	if (!packet || !passage)
		return drop(REASON_REWRITE_FAILED);
	flow = &passage->half;
	count_in(skb, flow, is_new);
	if (is_hairpin(flow) ? rewrite_hairpin(skb, DESTINATION) : rewrite(skb, packet, DESTINATION, flow))
		return drop(REASON_REWRITE_FAILED);
	if (!is_redirected(flow->flags) || (!is_new && starts_connection(packet) && turn_flow(TURN_UNANSWERED)))
		return PASS;
	return TO_POD;
}

/* A flow of which nothing is known, or whose tuple is free again. A RST opens nothing. */
static __noinline int serve_first(struct __sk_buff *skb, const struct packet *packet)
{
	bool is_syn = starts_connection(packet), is_unkept = false;
	bool is_known = !(packet->tcp_flags & TCP_RST) && skb->mark != PROBE_MARK;
	struct passage *passage = passage_here();
	const struct backend *backend;
	int way = find_way(skb, SCRATCH_PACKET);
	struct flow *flow;

	if (way || !passage)
		return way;
	backend = backend_of(&passage->backend);
	if (!backend)
		return REFUSE + REASON_NO_BACKEND;
	flow = &passage->half;
	__builtin_memset(flow, 0, sizeof(*flow));
	flow->address = backend->address;
	flow->port = backend->port;
	flow->client_port = packet->source_port;
	flow->backend = passage->backend;
	flow->service = passage->service;
	flow->flags = passage->flags | (is_syn ? FLOW_OPENED_BY_SYN : 0) | (packet->tunnelled ? FLOW_TUNNELLED : 0) |
		      hairpin_flag(&packet->source, backend);
	if (is_known && ((is_hairpin(flow) && is_forged_hairpin(packet)) || is_from_node_port(skb)))
		return drop(REASON_BAD_HEADER);
	if (packet->protocol == IPPROTO_TCP && !(packet->tcp_flags & TCP_RST))
		flow->flags |= FLOW_NEXT_KNOWN;
	flow->next = packet->end;
	if (is_known && !is_opening_due(packet, is_hairpin(flow) ? OPENING_HAIRPIN : opening_kind(packet))) {
		/* Anybody can send as a client that is here, and shall evict nothing that is known of others. */
		if (is_hairpin(flow))
			return drop(REASON_FLOWS_FULL);
		is_unkept = is_answered_by_uplink(skb) && leave_unkept();
	}
	/* Of a reply of one without state nobody could say that it goes past netfilter. */
	if (is_redirecting && !is_unkept && may_redirect(skb))
		flow->flags |= FLOW_REDIRECTED;
	if (is_known && !is_unkept && !open_flow())
		return drop(REASON_FLOWS_FULL);
	if (is_known)
		tell_first(&passage->key, flow, packet);
	return deliver(skb, begins(packet));
}

/* A SYN, an INIT or a datagram may belong to another flow than the one before it on this tuple. */
static __noinline bool is_free(const struct flow_key *key, const struct flow *flow, bool is_opening,
		enum backend_state state)
{
	struct flow_key out_key = out_key_of(key, flow);
	const struct flow *out;

	if (state == BACKEND_GONE)
		return true;
	if (key->protocol == IPPROTO_UDP)
		return state == BACKEND_DRAINING || (is_opening && state != BACKEND_ACTIVE);
	if (is_opening && flow->flags & FLOW_OPENED_BY_SYN)
		return state != BACKEND_ACTIVE;
	out = find_flow(&out_key);
	/* Anybody can have sent what opened it, and of the pod nothing was heard. */
	if (out && is_opening && state != BACKEND_ACTIVE && !(out->flags & FLOW_REPLIED))
		return true;
	return out && is_over(&out_key, out);
}

static __noinline void forget_both(const struct flow_key *key, const struct flow *flow)
{
	struct flow_key out_key = out_key_of(key, flow);

	forget_half(&out_key);
	forget_half(key);
}

static __noinline void prove(const struct flow_key *key, const struct flow *flow, const struct packet *packet)
{
	struct flow_key out_key = out_key_of(key, flow);
	const struct flow *out = find_flow(&out_key);

	if (out && is_proved_by(packet, out))
		promote(key, &out_key);
}

static __always_inline void track_client(const struct flow_key *key, struct flow *flow, const struct packet *packet,
		struct passage *passage)
{
	if (packet->tcp_flags & (TCP_FIN | TCP_RST)) {
		passage->out_key = out_key_of(key, flow);
		note_client_end(flow->next, flow->flags);
	}
	if (packet->seq == flow->next)
		flow->next = packet->end;
}

static __always_inline int serve(struct __sk_buff *skb, const struct packet *packet)
{
	struct flow_key key = flow_key(packet, DIRECTION_IN);
	struct flow *flow = find_proved(&key);
	bool is_opening = !flow, is_tcp = packet->protocol == IPPROTO_TCP, is_udp = packet->protocol == IPPROTO_UDP;
	enum backend_state state;
	struct passage *passage = passage_here();
	struct flow *copy;

	if (!passage)
		return drop(REASON_REWRITE_FAILED);
	if (!flow)
		flow = find_opening(&key);
	if (!flow || (is_opening && flow->flags & FLOW_FORWARDED))
		return serve_first(skb, packet);
	/* What comes from outside goes on where this node hands it on, whoever began another flow of it elsewhere. */
	if (!is_tcp && flow->flags & FLOW_TUNNELLED && find_older(skb, SCRATCH_PACKET) == FORWARD)
		return FORWARD;
	state = backend_state(&flow->backend);
	if ((is_udp && state != BACKEND_ACTIVE) || starts_connection(packet)) {
		if (is_free(&key, flow, is_opening, state)) {
			forget_both(&key, flow);
			return serve_first(skb, packet);
		}
	} else if (state == BACKEND_GONE) {
		/* A client that hears so at once reconnects at once. */
		return REFUSE + REASON_BACKEND_GONE;
	} else if (is_tcp && packet->position != LATER_FRAGMENT) {
		if (is_opening && is_behind_syn(&key, flow, packet) && find_older(skb, SCRATCH_PACKET) == FORWARD)
			return FORWARD;
		track_client(&key, flow, packet, passage);
	}
	if (flow->seen != coarse_clock() && !starts_connection(packet))
		keep_out_half(&key, flow, is_opening, packet);
	copy = &passage->half;
	*copy = *flow;
	if (is_opening && !starts_connection(packet))
		prove(&key, copy, packet);
	return deliver(skb, false);
}

/* A packet for an address that is ours: from here on it is served, answered or dropped, never forwarded. Answers
 * with a verdict, or with the reason to refuse it. */
static __always_inline int receive(struct __sk_buff *skb, struct packet *packet)
{
	int answer;

	if (!is_header_sound(skb, packet))
		return drop(REASON_BAD_HEADER);
	if (packet->position == LATER_FRAGMENT) {
		answer = follow_or_hold(skb);
		if (answer != HERE)
			return answer;
	}
	if (is_icmp(packet))
		return receive_icmp(skb);
	if (!has_ports(packet))
		return REFUSE + REASON_UNOWNED_PROTOCOL;
	if (!parse_transport(skb, packet) || is_from_itself(packet))
		return drop(REASON_BAD_HEADER);
	if (packet->position != WHOLE) {
		answer = release_next(skb);
		if (answer != HERE)
			return answer;
	}
	return serve(skb, packet);
}

/* What nobody serves is answered, and all of it is counted. */
static __always_inline int finish_answered(struct __sk_buff *skb, struct packet *packet, int answer)
{
	if (answer >= REFUSE) {
		packet->refusal = answer - REFUSE;
		answer = is_answered(SCRATCH_PACKET) ? refuse(skb) : drop(REASON_SOURCE_NOT_ALLOWED);
	}
	return finish_received(skb, packet, answer);
}

SEC("tc")
int herald_ingress(struct __sk_buff *skb)
{
	struct packet *packet = blank_packet(SCRATCH_PACKET);
	const struct address *address;
	int answer;

	/* What a bridge or a promiscuous port shows us is addressed to another machine. */
	if (skb->pkt_type != 0 /* PACKET_HOST */ || !packet || !parse(skb, packet))
		return PASS;
	address = bpf_map_lookup_elem(&addresses, &packet->destination);
	if (!address)
		return PASS;
	if (!address->frontends) {
		answer = address->tunnel && packet->protocol == IPPROTO_UDP ? open_tunnel(skb) : NOT_TUNNELLED;
		if (answer == NOT_TUNNELLED ? address->node_ports : answer == TUNNELLED && packet->at_node)
			answer = receive_at_node(skb);
		if (answer == NOT_TUNNELLED) {
			if (is_translating && may_be_translated(skb))
				bpf_tail_call(skb, &stages, STAGE_SNAT_REPLY);
			answer = receive_direct(skb);
		}
		if (answer == BESIDE)
			answer = receive_beside(skb);
		if (answer != TUNNELLED && answer != AT_NODE_PORT)
			return finish(skb, packet, answer);
	}
	answer = receive(skb, packet);
	if (answer == ELSEWHERE)
		answer = find_elsewhere(skb);
	if (answer == FORWARD) {
		answer = hand_on(skb);
		if (is_translating && answer == TRANSLATE) {
			bpf_tail_call(skb, &stages, STAGE_SNAT);
			return finish(skb, packet, drop(REASON_NODE_UNREACHABLE));
		}
	}
	if (is_redirecting && answer == TO_POD)
		answer = go_to_pod(skb);
	return finish_answered(skb, packet, answer);
}

/* What this node hands on leaves by the same hooks as replies, from ports that a backend on the node may have. */
static __always_inline bool is_handed_on(const struct packet *packet)
{
	const struct tunnel *own = packet->protocol == IPPROTO_UDP ? own_tunnel() : 0;

	return own && own->port && packet->destination_port == own->port &&
	       is_same_address(&packet->source, is_ipv6(packet) ? &own->ipv6 : &own->ipv4) &&
	       bpf_map_lookup_elem(&nodes, &packet->destination);
}

static __always_inline int send_translated(struct __sk_buff *skb, const struct packet *packet, const struct flow *flow)
{
	/* Of the pod's own, with the ports that it has. */
	if (flow->flags & FLOW_DIRECT && flow->client_port == packet->destination_port)
		return PASS;
	if (packet->protocol == IPPROTO_TCP && packet->tcp_flags & TCP_SYN && flow->flags & FLOW_TUNNELLED)
		clamp_mss(skb, packet);
	count_out(skb, flow);
	if (is_hairpin(flow))
		return keep_half(flow) ? return_hairpin(skb) : drop(REASON_REWRITE_FAILED);
	if (rewrite(skb, packet, SOURCE, flow))
		return drop(REASON_REWRITE_FAILED);
	return PASS;
}

static __noinline int send_known(struct __sk_buff *skb, const struct packet *packet, const struct flow_key *key,
		struct flow *flow, bool is_opening)
{
	struct flow copy;
	struct flow_key in_key;
	bool is_proof = false;

	/* The pod begins a connection of its own on the ports of one that is over. */
	if (starts_connection(packet) && is_over(key, flow)) {
		forget_flow(key, flow);
		open_direct(key, packet, FLOW_POD_BEGAN);
		return PASS;
	}
	if (packet->protocol != IPPROTO_TCP) {
		if (!(flow->flags & FLOW_REPLIED))
			flow->flags |= FLOW_REPLIED;
	} else if (packet->position != LATER_FRAGMENT) {
		is_proof = track_pod(key, flow, packet);
	}
	if (flow->seen != coarse_clock())
		keep_in_half(key, flow, is_opening, packet);
	copy = *flow;
	if (is_opening && is_proof) {
		in_key = in_key_of(key, &copy);
		promote(&in_key, key);
	}
	return send_translated(skb, packet, &copy);
}

/* UDP that a backend of one VIP sends unasked is that VIP's: an answer comes back to the same pod. */
static __noinline bool open_from_pod(const struct flow_key *out_key, const struct source *source, struct flow *out)
{
	struct frontend_key key = {
		.address = source->vips[0].address,
		.port = source->vips[0].port,
		.protocol = out_key->protocol,
	};
	struct frontend_key place = {
		.address = out_key->source,
		.port = out_key->source_port,
		.protocol = out_key->protocol,
	};
	const struct frontend *frontend = bpf_map_lookup_elem(&frontends, &key);
	struct flow_key in_key;
	struct flow in;

	out->backend = source->backend;
	if (!frontend || !is_backend_at(&out->backend, &place))
		return false;
	out->address = key.address;
	out->port = key.port;
	out->client_port = out_key->destination_port;
	out->service = frontend->service;
	out->seen = coarse_clock();
	out->flags = FLOW_REPLIED;
	in_key = in_key_of(out_key, out);
	in = in_half(out_key, out);
	return !put_opening(out_key, out) && !put_opening(&in_key, &in);
}

/* Besides node ports, which are listed behind all others. */
static __always_inline bool has_one_vip(const struct source *source)
{
	return source->count == 1 || is_any_node(&source->vips[1].address);
}

static __noinline int send_unkept(struct __sk_buff *skb, const struct packet *packet)
{
	const struct passage *passage = passage_here();

	return passage ? send_translated(skb, packet, &passage->out) : drop(REASON_REPLY_UNMATCHED);
}

/* From a backend, and of no flow that is known: the address of the pod must not leave in place of a VIP. */
static __noinline int send_unknown(struct __sk_buff *skb, const struct packet *packet, const struct flow_key *key,
		const struct source *source)
{
	struct flow flow = {};

	if (starts_connection(packet)) {
		open_direct(key, packet, FLOW_POD_BEGAN);
		return PASS;
	}
	/* It was a backend, and may be one again. */
	if (source->count == 0)
		return PASS;
	if (restore_out_half(key, source, &flow)) {
		tell_reply(EVENT_REHASH, DETAIL_HALF_RESTORED, key, &flow, packet);
		return send_translated(skb, packet, &flow);
	}
	if (is_of_unkept(key, packet))
		return send_unkept(skb, packet);
	/* Flows to the pod are older than it is a backend; what the VIPs have is too young to have been evicted. */
	if (bpf_ktime_get_ns() < source->settled_ns) {
		open_direct(key, packet, FLOW_POD_BEGAN);
		return PASS;
	}
	/* A node port is an address for others to come by: what the pod sends unasked is its own, as what it asks a VIP. */
	if (packet->protocol == IPPROTO_UDP &&
	    (is_any_node(&source->vips[0].address) || is_vip(&packet->destination))) {
		open_direct(key, packet, FLOW_POD_BEGAN);
		return PASS;
	}
	if (packet->protocol == IPPROTO_UDP && has_one_vip(source) && open_from_pod(key, source, &flow)) {
		tell_reply(EVENT_NEW, DETAIL_BY_POD, key, &flow, packet);
		return send_translated(skb, packet, &flow);
	}
	return drop(REASON_REPLY_UNMATCHED);
}

/* While this version takes over from another one, or from smaller maps: the programs for replies that were before,
 * whose maps may hold a flow that is not copied yet. Emptied as soon as all are. */
enum former {
	FORMER_EGRESS,
	FORMER_REPLY,
	FORMER_COUNT,
};

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, FORMER_COUNT);
	__type(key, __u32);
	__type(value, __u32);
} formers SEC(".maps");

/* Set before loading, and for a hand-over only: otherwise no kernel sees a call from program to program. */
const volatile __u32 is_handed_over SEC(".rodata.hand_over") = 0;

static __always_inline void ask_former(struct __sk_buff *skb, const struct packet *packet, enum former former)
{
	if (is_handed_over && !starts_connection(packet))
		bpf_tail_call(skb, &formers, former);
}

SEC("tc")
int herald_egress(struct __sk_buff *skb)
{
	const struct source *source;
	struct packet *packet = blank_packet(SCRATCH_PACKET);
	struct flow_key key;
	struct flow *flow;

	if (!packet || !parse(skb, packet) || !is_header_sound(skb, packet))
		return PASS;
	if (packet->position == LATER_FRAGMENT && !follow_first(packet))
		return PASS;
	if (is_icmp(packet))
		return finish(skb, packet, send_icmp(skb, packet));
	if (!has_ports(packet))
		return PASS;
	if (!parse_transport(skb, packet) || is_handed_on(packet))
		return PASS;
	key = flow_key(packet, DIRECTION_OUT);
	flow = find_proved(&key);
	if (flow)
		return finish(skb, packet, send_known(skb, packet, &key, flow, false));
	source = source_at(&packet->source, packet->source_port, packet->protocol);
	if (!source)
		return PASS;
	flow = find_opening(&key);
	if (flow)
		return finish(skb, packet, send_known(skb, packet, &key, flow, true));
	ask_former(skb, packet, FORMER_EGRESS);
	return finish(skb, packet, send_unknown(skb, packet, &key, source));
}

/* On interfaces that are no uplinks and by which pods may be left all the same: a reply of a known flow of a VIP leaves
 * with the VIP's address by any of them, and everything else is nothing of ours. */
SEC("tc")
int herald_reply(struct __sk_buff *skb)
{
	struct packet *packet = blank_packet(SCRATCH_PACKET);
	const struct source *source;
	struct flow restored = {};
	struct flow_key key;
	struct flow *flow;

	if (!packet || !parse(skb, packet) || !is_header_sound(skb, packet))
		return PASS;
	if (packet->position == LATER_FRAGMENT && !follow_first(packet))
		return PASS;
	if (is_icmp(packet))
		return finish(skb, packet, send_icmp(skb, packet));
	if (!has_ports(packet) || !parse_transport(skb, packet) ||
	    is_handed_on(packet))
		return PASS;
	key = flow_key(packet, DIRECTION_OUT);
	flow = find_proved(&key);
	if (flow)
		return finish(skb, packet, send_known(skb, packet, &key, flow, false));
	source = source_at(&packet->source, packet->source_port, packet->protocol);
	if (!source)
		return PASS;
	flow = find_opening(&key);
	if (flow)
		return finish(skb, packet, send_known(skb, packet, &key, flow, true));
	ask_former(skb, packet, FORMER_REPLY);
	if (!starts_connection(packet) && source->count > 0 && restore_out_half(&key, source, &restored))
		return finish(skb, packet, send_translated(skb, packet, &restored));
	return PASS;
}

#include "pod.h"
#include "stages.h"

char _license[] SEC("license") = "Dual BSD/GPL";
