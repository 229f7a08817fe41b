// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What happens to flows, for whoever looks (src/flows): 64 octets in a ring buffer per new flow, close, repair, drop.
 * Mostly nobody looks: then a hook is one look-up of an array and a comparison, and none lies on the path of a packet
 * of an established flow. What is beyond the limit, or finds the ring full, is counted and not told. */
#ifndef HERALD_EVENTS_H
#define HERALD_EVENTS_H

#include "event-limit.h"
#include "hairpin-flow.h"
#include "packet.h"

/* Tells the event that was drafted. Whoever looks says so again and again: one that was killed is forgotten. A function
 * of its own to the verifier, which walks it once and not in every state of its callers. The reader looks by itself:
 * nobody is woken. */
__noinline int tell(__u32 kind)
{
	__u32 first = 0;
	const struct observation *observed = bpf_map_lookup_elem(&observation, &first);
	struct event_limit *limit = bpf_map_lookup_elem(&event_limits, &kind);
	struct event *event = bpf_map_lookup_elem(&event_draft, &first);
	__u64 now = bpf_ktime_get_ns();

	if (!observed || !limit || !event || observed->until_ns <= now)
		return 0;
	if (!is_event_due(observed, limit, now))
		return 0;
	event->time = now >> EVENT_TIME_SHIFT;
	if (bpf_ringbuf_output(&events, event, sizeof(*event), BPF_RB_NO_WAKEUP))
		limit->full += 1;
	return 0;
}

/* Zero while nobody looks; else this CPU's draft, which {@link tell} sends. */
static __always_inline struct event *draft_event(void)
{
	__u32 first = 0;
	const struct observation *observed = bpf_map_lookup_elem(&observation, &first);

	if (!observed || !observed->until_ns)
		return 0;
	return bpf_map_lookup_elem(&event_draft, &first);
}

static __noinline void write_packet(struct event *event, const struct packet *packet)
{
	event->length = packet->total_length;
	event->protocol = packet->protocol;
	event->tcp_flags = packet->tcp_flags;
}

static __always_inline void draft_flow(struct event *event, const struct flow_key *in_key, const struct flow *in,
		const struct packet *packet)
{
	event->source = in_key->source;
	event->destination = in_key->destination;
	event->backend = in->address;
	event->source_port = in_key->source_port;
	event->destination_port = in_key->destination_port;
	event->backend_port = in->port;
	write_packet(event, packet);
}

/* By the half of the client's packets. */
static __noinline void tell_flow(enum event_type type, __u32 detail, const struct flow_key *in_key,
		const struct flow *in, const struct packet *packet)
{
	struct event *event = draft_event();

	if (!event)
		return;
	draft_flow(event, in_key, in, packet);
	event->type = type;
	event->detail = detail;
	tell(type);
}

/* What the first packet here of a flow is, by the flow's flags in place of the time: a function of its own, so that the
 * verifier does not follow what the flags were made of. */
__noinline int tell_by_flags(__u32 place)
{
	struct event *event = bpf_map_lookup_elem(&event_draft, &place);
	__u32 flags;

	if (!event)
		return 0;
	flags = event->time;
	event->type = EVENT_REHASH;
	if (flags & FLOW_OF_FORMER) {
		event->detail = DETAIL_PREVIOUS_TABLE;
	} else if (event->protocol != IPPROTO_UDP && !(flags & FLOW_OPENED_BY_SYN)) {
		event->detail = DETAIL_CURRENT_TABLE;
	} else {
		event->type = EVENT_NEW;
		event->detail = DETAIL_BY_CLIENT;
	}
	return tell(event->type);
}

static __noinline void tell_first(const struct flow_key *in_key, const struct flow *in, const struct packet *packet)
{
	struct event *event = draft_event();

	if (!event)
		return;
	draft_flow(event, in_key, in, packet);
	event->time = in->flags;
	tell_by_flags(0);
}

/* By the half of the pod's packets. */
static __noinline void tell_reply(enum event_type type, __u32 detail, const struct flow_key *out_key,
		const struct flow *out, const struct packet *packet)
{
	struct event *event = draft_event();

	if (!event || out->flags & FLOW_DIRECT)
		return;
	event->source = *(is_hairpin(out) ? &out->address : &out_key->destination);
	event->destination = *(is_hairpin(out) ? &out_key->destination : &out->address);
	event->backend = out_key->source;
	event->source_port = out->client_port;
	event->destination_port = out->port;
	event->backend_port = out_key->source_port;
	event->type = type;
	event->detail = detail;
	write_packet(event, packet);
	tell(type);
}

/* As the packet came. */
static __noinline void tell_drop(enum reason reason, const struct packet *packet)
{
	struct event *event = draft_event();

	if (!event)
		return;
	event->source = packet->source;
	event->destination = packet->destination;
	__builtin_memset(&event->backend, 0, sizeof(event->backend));
	event->source_port = packet->source_port;
	event->destination_port = packet->destination_port;
	event->backend_port = 0;
	event->type = EVENT_DROP;
	event->detail = reason;
	write_packet(event, packet);
	tell(EVENT_TYPE_COUNT + reason);
}

#endif
