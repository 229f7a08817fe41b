// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Whom sockets are led to, and where nobody is, for whoever looks (src/flows). Mostly nobody does: then a connection
 * pays a look-up of an array, and a datagram that goes where those before it went not even that. */
#ifndef HERALD_SOCKET_EVENTS_H
#define HERALD_SOCKET_EVENTS_H

#include "event-limit.h"
#include "socket.h"

/* Whoever makes the call. A function of its own, by which the types that a debugger knows have the struct. */
static __noinline void write_client(struct socket_event *event)
{
	event->cgroup = bpf_get_current_cgroup_id();
	event->process = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(event->command, sizeof(event->command));
}

/* `backend`: zero where nobody is behind the frontend. The reader looks by itself: nobody is woken. */
static __always_inline void tell_socket(struct bpf_sock_addr *ctx, __u32 type, const struct endpoint *frontend,
		const struct endpoint *backend)
{
	__u32 first = 0;
	const struct observation *observed = bpf_map_lookup_elem(&socket_observation, &first);
	struct socket_event *event;
	struct event_limit *limit;
	__u64 now;

	if (!observed || !observed->until_ns)
		return;
	now = bpf_ktime_get_ns();
	limit = bpf_map_lookup_elem(&socket_event_limits, &type);
	/* Who looks says so again and again: one that was killed is forgotten. */
	if (!limit || observed->until_ns <= now || !is_event_due(observed, limit, now))
		return;
	event = bpf_ringbuf_reserve(&socket_events, sizeof(*event), 0);
	if (!event) {
		limit->full += 1;
		return;
	}
	event->time_ns = now;
	event->cookie = bpf_get_socket_cookie(ctx);
	event->frontend = *frontend;
	event->backend = *backend;
	event->type = type;
	event->protocol = ctx->protocol;
	event->reserved = 0;
	write_client(event);
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

#endif
