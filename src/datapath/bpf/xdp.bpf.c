// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* In front of herald_ingress, where a driver hands a frame over before the kernel makes a packet of it: what that
 * program would drop, answer or hand on by what stands in the maps alone is dropped, answered or handed on here, for
 * less; with the same octets, counted for the same reasons, by the same limits. Everything else passes, unchanged, and
 * nothing is changed in the maps but counters and limits: so who takes this program off, or cannot have it, misses
 * nothing but the speed.
 *
 *     for a VIP -no-> pass
 *       and for this station -no-> pass
 *         headers of no sense -> drop              a fragment -> pass
 *         echo request -> answer                   any other ICMP -> pass
 *         a flow that goes to another node, and went on -> there (onward.h)
 *         a flow of the tuple, or a frontend that lets everybody in -> pass
 *         a source that is not let in -> drop      nobody's port, and enough answers were given -> drop
 */
#define HERALD_XDP

/* The headers are those of all programs, which need more of them. */
#pragma clang diagnostic ignored "-Wunused-function"

#include "backend.h"
#include "echo.h"
#include "flow.h"
#include "limit.h"
#include "onward.h"
#include "opening.h"
#include "outcome.h"
#include "packet.h"
#include "ranges.h"

/* What has not been decided yet: herald_ingress does so, as if this program were not there. */
#define UNDECIDED HERE

struct hardware_address {
	__be16 words[ETH_ALEN / 2];
};

/* The address of an interface: what is for another station is nothing of ours, as TC knows by the type of a packet. One
 * that has changed meanwhile costs the speed until the agent has seen it. */
struct station {
	struct hardware_address address;
	__u16 flags;
};

enum station_flags {
	STATION_ANSWERS = 1, /* what came with the tag of a VLAN has it in the frame, so that the answer has it too */
	STATION_HANDS_ON = 2, /* what is sent from here reaches the network as it is */
};

/* By the index of the interface, of a bond by those of its members, which alone a program is told. Of this object
 * alone: a program has its own. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 12);
	__type(key, __u32);
	__type(value, struct station);
} stations SEC(".maps");

/* What was done at an interface, for the eyes alone. */
enum done {
	DONE_HANDED_ON,
	DONE_ANSWERED,
	DONE_DROPPED,
	DONE_COUNT,
};

struct done_counts {
	__u64 packets[DONE_COUNT];
};

/* By the index of the interface, where the agent has put it. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 12);
	__type(key, __u32);
	__type(value, struct done_counts);
} done_at SEC(".maps");

static __always_inline void count_done(const struct xdp_md *xdp, enum done done)
{
	__u32 ifindex = xdp->ingress_ifindex;
	struct done_counts *counts = bpf_map_lookup_elem(&done_at, &ifindex);

	if (counts)
		counts->packets[done]++;
}

static __always_inline const struct station *station_of(const struct xdp_md *xdp)
{
	__u32 ifindex = xdp->ingress_ifindex;

	return bpf_map_lookup_elem(&stations, &ifindex);
}

static __always_inline bool is_for(const struct station *station, struct xdp_md *xdp)
{
	struct hardware_address to;

	return read_header(xdp, 0, &to) &&
	       !((station->address.words[0] ^ to.words[0]) | (station->address.words[1] ^ to.words[1]) |
		 (station->address.words[2] ^ to.words[2]));
}

/* What nobody serves: whoever is answered is so by herald_ingress, up to the limit. */
static __always_inline int refuse_early(const struct packet *packet, enum reason reason)
{
	if (!is_answered(SCRATCH_PACKET))
		return drop(REASON_SOURCE_NOT_ALLOWED);
	if (!is_refusable(packet))
		return drop(REASON_NOT_ANSWERABLE);
	return is_beyond_limit(reason, packet) ? drop(REASON_ANSWER_LIMITED) : UNDECIDED;
}

static __always_inline bool has_frontend(const struct packet *packet)
{
	UNROLLED
	for (int look = 0; look < LOOKS; look++)
		if (frontend_of(packet))
			return true;
	return false;
}

/* Whether a packet, of no flow that is known by its tuple, may go on whoever is let in: by the table before this one
 * its state is here. */
__noinline int is_of_former(void)
{
	const struct packet *packet = packet_at(SCRATCH_PACKET);
	struct passage *passage = passage_here();
	struct choices *choices = choices_here();

	if (!packet || !passage || !choices || starts_connection(packet))
		return false;
	passage->key = flow_key(packet, DIRECTION_IN);
	return choose_previous(&choices->frontend, SCRATCH_PACKET, &choices->previous) &&
	       was_served_by(choices->previous.id, choices->previous.generation);
}

/* A packet with ports. */
static __always_inline int judge(const struct packet *packet)
{
	const struct frontend *frontend = frontend_of(packet);
	struct choices *choices = choices_here();
	struct flow_key key;

	/* Most packets. A record that became another one's while it was read says so wrongly, and TC reads it anew. */
	if (!choices || (frontend && !frontend->ranges))
		return UNDECIDED;
	key = flow_key(packet, DIRECTION_IN);
	if (find_flow(&key) || bpf_map_lookup_elem(&forwards, &key))
		return UNDECIDED;
	if (!frontend)
		return has_frontend(packet) ? UNDECIDED : refuse_early(packet, REASON_UNOWNED_PORT);
	if (!copy_frontend(packet, choices) || !choices->frontend.ranges ||
	    is_let_in(SCRATCH_PACKET, choices->frontend.ranges) || is_of_former() || !is_in_force(packet, choices))
		return UNDECIDED;
	return drop(REASON_SOURCE_NOT_ALLOWED);
}

static __always_inline int receive_early(struct xdp_md *xdp, struct packet *packet, __u32 flags)
{
	if (!is_header_sound(xdp, packet))
		return drop(REASON_BAD_HEADER);
	if (packet->position != WHOLE)
		return UNDECIDED;
	if (is_icmp(packet))
		return receive_echo(xdp, packet, flags & STATION_ANSWERS);
	if (!has_ports(packet))
		return refuse_early(packet, REASON_UNOWNED_PROTOCOL);
	if (!parse_transport(xdp, packet) || is_from_itself(packet))
		return drop(REASON_BAD_HEADER);
	if (flags & STATION_HANDS_ON && hand_on_early(xdp) == FORWARDED)
		return FORWARDED;
	return judge(packet);
}

/* "frags": also of frames that are longer than a page, where a driver has them. */
SEC("xdp.frags")
int herald_xdp(struct xdp_md *xdp)
{
	struct packet *packet = blank_packet(SCRATCH_PACKET);
	const struct station *station;
	const struct address *address;
	int outcome;

	if (!packet || !parse(xdp, packet))
		return XDP_PASS;
	address = bpf_map_lookup_elem(&addresses, &packet->destination);
	if (!address || !address->frontends)
		return XDP_PASS;
	station = station_of(xdp);
	if (!station || !is_for(station, xdp))
		return XDP_PASS;
	outcome = receive_early(xdp, packet, station->flags);
	if (outcome == FORWARDED) {
		count_done(xdp, DONE_HANDED_ON);
		return XDP_TX;
	}
	if (outcome < DROPPED)
		return XDP_PASS;
	account(outcome & REASON_MASK, packet);
	count_done(xdp, outcome >= ANSWERED ? DONE_ANSWERED : DONE_DROPPED);
	return outcome >= ANSWERED ? XDP_TX : XDP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
