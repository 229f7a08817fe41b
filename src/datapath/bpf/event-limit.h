// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* How many events a CPU tells of one kind: so many a second on average, and a burst at once. */
#ifndef HERALD_EVENT_LIMIT_H
#define HERALD_EVENT_LIMIT_H

#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include "layout.h"

#define EVENT_BURST 256

/* Per CPU and kind, so that a flood of one kind hides no other. Token bucket as in answer.h. */
static __always_inline bool is_event_due(const struct observation *observed, struct event_limit *limit, __u64 now)
{
	__u64 start = now;

	if (limit->debt_until_ns > now + EVENT_BURST * observed->interval_ns) {
		limit->limited += 1;
		return false;
	}
	if (limit->debt_until_ns > start)
		start = limit->debt_until_ns;
	limit->debt_until_ns = start + observed->interval_ns;
	return true;
}

#endif
