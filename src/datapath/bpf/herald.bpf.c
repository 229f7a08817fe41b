// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The load balancer of one node, on its uplinks only, so that netfilter and every policy of the CNI see client and pod
 * in both directions.
 *
 *     ingress:  vips -miss-> pass                      egress:  connections (out) -miss-> pass
 *                 |                                                |
 *               frontends -miss-> refuse                           '-> source becomes VIP:port
 *                 |
 *               connections (in) -miss-> Maglev table -> connections (in and out)
 *                 |
 *                 '-> destination becomes the backend -> stack
 */
#include "answer.h"
#include "connection.h"
#include "icmp.h"
#include "packet.h"
#include "rewrite.h"

/* Both halves of a new connection. A bare FIN or RST opens nothing. */
static __always_inline bool open_connection(const struct connection_key *key, const struct packet *packet,
		const struct frontend *frontend,
					    struct connection *connection)
{
	__u32 id = connection->backend.id;
	const struct backend *backend = bpf_map_lookup_elem(&backends, &id);
	struct connection_key reply_key;
	struct connection reply;

	if (!backend)
		return false;
	connection->address = backend->address;
	connection->port = backend->port;
	connection->service = frontend->service;
	connection->client_port = key->source_port;
	connection->seen = coarse_clock();
	connection->syn_ns = bpf_ktime_get_ns();
	if (packet->tcp_flags & (TCP_FIN | TCP_RST))
		return true;
	if (!choose_client_port(key, connection))
		return false;
	reply_key = reply_key_of(key, connection);
	reply = reply_half(key, connection);
	return !bpf_map_update_elem(&connections, &reply_key, &reply, BPF_ANY) &&
	       !bpf_map_update_elem(&connections, key, connection, BPF_ANY);
}

static __always_inline int deliver(struct __sk_buff *skb, const struct packet *packet,
		const struct connection *connection, bool is_new)
{
	count_in(skb, connection->service, is_new);
	if (rewrite(skb, packet, DESTINATION, connection))
		return drop(REASON_REWRITE_FAILED);
	return PASS;
}

/* The first packet of a connection to this backend, or a SYN on the ports of a former one. */
static __always_inline int serve_first(struct __sk_buff *skb, const struct packet *packet,
		const struct frontend *frontend,
				       const struct connection_key *key, const struct backend_ref *backend)
{
	struct connection connection = { .backend = *backend };

	if (!open_connection(key, packet, frontend, &connection))
		return drop(REASON_CONNECTIONS_FULL);
	return deliver(skb, packet, &connection, packet->protocol != IPPROTO_TCP || is_new_tcp(packet));
}

static __always_inline int serve(struct __sk_buff *skb, const struct packet *packet, const struct frontend *frontend)
{
	struct connection_key key = connection_key(packet, DIRECTION_IN);
	struct connection *connection = bpf_map_lookup_elem(&connections, &key);
	bool is_established = packet->protocol == IPPROTO_TCP && !is_new_tcp(packet);
	enum backend_state state = connection ? backend_state(&connection->backend) : BACKEND_GONE;
	struct backend_ref backend;

	if (connection && !is_new_tcp(packet) && (state == BACKEND_ACTIVE || (state == BACKEND_DRAINING && is_established))) {
		keep_reply_half(&key, connection);
		return deliver(skb, packet, connection, false);
	}
	/* The pod is gone: a client that hears so at once reconnects at once. */
	if (connection && is_established)
		return refuse(skb, packet, REASON_BACKEND_GONE);
	if (state == BACKEND_ACTIVE)
		backend = connection->backend;
	else if (!choose_backend(frontend, packet, &backend) || backend_state(&backend) != BACKEND_ACTIVE)
		return refuse(skb, packet, REASON_NO_BACKEND);
	return serve_first(skb, packet, frontend, &key, &backend);
}

/* A packet for an address that is ours: from here on it is served, answered or dropped, never forwarded. */
static __always_inline int receive(struct __sk_buff *skb, struct packet *packet)
{
	struct frontend_key key = {};
	const struct frontend *frontend;

	if (!is_header_sound(skb, packet))
		return drop(REASON_BAD_HEADER);
	if (packet->protocol == IPPROTO_ICMP)
		return receive_icmp(skb, packet);
	if (packet->protocol != IPPROTO_TCP && packet->protocol != IPPROTO_UDP)
		return refuse(skb, packet, REASON_UNOWNED_PROTOCOL);
	if (!parse_ports(skb, packet))
		return drop(packet->position == LATER_FRAGMENT ? REASON_FRAGMENT : REASON_BAD_HEADER);
	key.address = packet->destination;
	key.port = packet->destination_port;
	key.protocol = packet->protocol;
	frontend = bpf_map_lookup_elem(&frontends, &key);
	if (!frontend)
		return refuse(skb, packet, REASON_UNOWNED_PORT);
	return serve(skb, packet, frontend);
}

SEC("tc")
int herald_ingress(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct connection_key reply_key;

	/* What a bridge or a promiscuous port shows us is addressed to another machine. */
	if (skb->pkt_type != 0 /* PACKET_HOST */ || !parse_ipv4(skb, &packet))
		return PASS;
	if (bpf_map_lookup_elem(&vips, &packet.destination))
		return receive(skb, &packet);
	if (packet.protocol == IPPROTO_TCP && packet.position == WHOLE && parse_ports(skb, &packet) && is_new_tcp(&packet)) {
		reply_key = reversed_key(&packet, DIRECTION_OUT);
		forget_replaced(&reply_key);
	}
	return PASS;
}

SEC("tc")
int herald_egress(struct __sk_buff *skb)
{
	const struct connection *connection;
	struct packet packet = {};
	struct connection_key key;

	if (!parse_ipv4(skb, &packet) || !is_header_sound(skb, &packet))
		return PASS;
	if (packet.protocol == IPPROTO_ICMP)
		return send_icmp(skb, &packet);
	if (packet.protocol != IPPROTO_TCP && packet.protocol != IPPROTO_UDP)
		return PASS;
	if (!parse_ports(skb, &packet))
		return PASS;
	key = connection_key(&packet, DIRECTION_OUT);
	if (is_new_tcp(&packet)) {
		forget_replaced(&key);
		return PASS;
	}
	connection = bpf_map_lookup_elem(&connections, &key);
	if (!connection)
		return PASS;
	count_out(skb, connection->service);
	if (rewrite(skb, &packet, SOURCE, connection))
		return drop(REASON_REWRITE_FAILED);
	return PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
