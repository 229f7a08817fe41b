// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Node ports: an address of this node is no VIP. Of it Services have some ports, and everything else is the node's:
 * what it serves itself, and what comes for connections that it has begun, from whatever port.
 *
 *     frontends of any address of the node -miss-> the node
 *         | a flow of which both ends are known -> that Service
 *       a socket of the node has the ports -> the node
 *         | none
 *       the Service
 */
#ifndef HERALD_NODE_H
#define HERALD_NODE_H

#include "backend.h"
#include "direct.h"
#include "flow.h"
#include "icmp.h"

/* In place of a verdict: the packet in the map is for a node port. */
#define AT_NODE_PORT 0x801

/* Whether a socket of the node would take a packet with this tuple: one that is connected to its sender, or one that
 * listens. */
static __noinline bool has_socket(struct __sk_buff *skb, const struct packet *tuple)
{
	struct bpf_sock_tuple place = {};
	bool is_tcp = tuple->protocol == IPPROTO_TCP;
	struct bpf_sock *socket;

	if (is_ipv6(tuple)) {
		__builtin_memcpy(place.ipv6.saddr, &tuple->source, sizeof(place.ipv6.saddr));
		__builtin_memcpy(place.ipv6.daddr, &tuple->destination, sizeof(place.ipv6.daddr));
		place.ipv6.sport = tuple->source_port;
		place.ipv6.dport = tuple->destination_port;
		socket = is_tcp ? bpf_skc_lookup_tcp(skb, &place, sizeof(place.ipv6), BPF_F_CURRENT_NETNS, 0) :
				  bpf_sk_lookup_udp(skb, &place, sizeof(place.ipv6), BPF_F_CURRENT_NETNS, 0);
	} else {
		place.ipv4.saddr = tuple->source.low;
		place.ipv4.daddr = tuple->destination.low;
		place.ipv4.sport = tuple->source_port;
		place.ipv4.dport = tuple->destination_port;
		socket = is_tcp ? bpf_skc_lookup_tcp(skb, &place, sizeof(place.ipv4), BPF_F_CURRENT_NETNS, 0) :
				  bpf_sk_lookup_udp(skb, &place, sizeof(place.ipv4), BPF_F_CURRENT_NETNS, 0);
	}
	if (!socket)
		return false;
	bpf_sk_release(socket);
	return true;
}

/* Whether a packet with this tuple, for an address of a node, is for a Service. `is_ours`: of this node, so that its
 * sockets are asked. */
static __noinline bool is_at_node_port(struct __sk_buff *skb, struct packet *tuple, bool is_ours)
{
	struct flow_key key;

	tuple->at_node = true;
	if (frontend_of(tuple)) {
		key = flow_key(tuple, DIRECTION_IN);
		/* What anybody has begun alone is not asked: he may have forged who the node speaks to. */
		if (!is_ours || find_proved(&key) || !has_socket(skb, tuple))
			return true;
	}
	tuple->at_node = false;
	return false;
}

/* Whether the datagram in the map comes from a node port: its answer would be the next request there, and that one's
 * answer here, for ever. Of this node a socket may have the port all the same. A function of its own to the verifier,
 * as those of ranges.h. */
__noinline int is_from_node_port(struct __sk_buff *skb)
{
	struct packet *packet = packet_at(SCRATCH_PACKET), *answer;
	struct frontend_key key = {};

	if (!packet || packet->protocol != IPPROTO_UDP)
		return false;
	key.address = any_node_address(is_ipv6(packet));
	key.port = packet->source_port;
	key.protocol = IPPROTO_UDP;
	if (!bpf_map_lookup_elem(&frontends, &key))
		return false;
	if (bpf_map_lookup_elem(&nodes, &packet->source))
		return true;
	answer = is_of_this_node(&packet->source) ? blank_packet(SCRATCH_QUOTE) : 0;
	if (!answer)
		return false;
	answer->family = packet->family;
	answer->protocol = IPPROTO_UDP;
	answer->source = packet->destination;
	answer->source_port = packet->destination_port;
	answer->destination = packet->source;
	answer->destination_port = packet->source_port;
	return !has_socket(skb, answer);
}

/* An error about what a pod has sent from a node port. */
static __noinline bool is_error_at_node_port(struct __sk_buff *skb, const struct packet *packet, bool is_ours)
{
	struct packet *quote = blank_packet(SCRATCH_QUOTE);
	__u8 type;

	if (!quote || packet->position != WHOLE || bpf_skb_load_bytes(skb, packet->l4, &type, sizeof(type)) ||
	    !is_icmp_error(packet, type) || !parse_quote(skb, packet, quote) ||
	    !is_same_address(&quote->source, &packet->destination))
		return false;
	turn_around(quote);
	return is_at_node_port(skb, quote, is_ours);
}

/* The packet in the map, which is for an address of this node, or of another one that has handed it on: AT_NODE_PORT,
 * or NOT_TUNNELLED when it is for the node itself, or an outcome. A later fragment is so when nothing is known of its
 * first. */
__noinline int receive_at_node(struct __sk_buff *skb)
{
	struct packet *packet = packet_at(SCRATCH_PACKET);
	int other = NOT_TUNNELLED;
	bool is_ours;

	if (!packet)
		return NOT_TUNNELLED;
	if (packet->tunnelled)
		other = drop(REASON_BAD_TUNNEL);
	is_ours = !packet->tunnelled && skb->mark != PROBE_MARK;
	if (!is_header_sound(skb, packet) || (packet->position == LATER_FRAGMENT && !follow_first(packet)))
		return other;
	if (is_icmp(packet)) {
		if (!is_error_at_node_port(skb, packet, is_ours))
			return other;
		packet->at_node = true;
		return AT_NODE_PORT;
	}
	if (!has_ports(packet) || !parse_transport(skb, packet) ||
	    is_from_itself(packet) || !is_at_node_port(skb, packet, is_ours))
		return other;
	return AT_NODE_PORT;
}

#endif
