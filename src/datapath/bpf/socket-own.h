// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What a socket keeps of whom it asked for. Its locks are held over reads and writes of memory alone. */
#ifndef HERALD_SOCKET_OWN_H
#define HERALD_SOCKET_OWN_H

#include <stdbool.h>
#include "socket.h"

#define EACH_PAIR _Pragma("unroll")

/* Hidden from the compiler, which would make a branch of it: in loops without one a verifier has one path to walk. */
#define KEPT_AS_NUMBER(value) asm volatile("" : "+r"(value))

/* All ones where they are the same, else zero. */
static __always_inline __u64 when_same(const struct endpoint *a, const struct endpoint *b)
{
	__u64 difference = (a->address.low ^ b->address.low) | (a->address.high[0] ^ b->address.high[0]) |
			   (a->address.high[1] ^ b->address.high[1]) | (a->address.high[2] ^ b->address.high[2]) |
			   (a->port ^ b->port);

	KEPT_AS_NUMBER(difference);
	return (__u64)((__s64)(difference - 1) >> 63);
}

/* All ones where the first is less, of numbers below 2^63. */
static __always_inline __u64 when_less(__u64 a, __u64 b)
{
	__u64 difference = a - b;

	KEPT_AS_NUMBER(difference);
	return (__u64)((__s64)difference >> 63);
}

static __always_inline __u64 either(__u64 when, __u64 yes, __u64 no)
{
	return (yes & when) | (no & ~when);
}

/* Whether it keeps anything. */
static __always_inline bool has_asked(struct bpf_sock *socket)
{
	return bpf_sk_storage_get(&sockets_connected, socket, 0, 0) || bpf_sk_storage_get(&sockets_sent, socket, 0, 0);
}

/* False: there was no room. */
static __always_inline bool note_connected(struct bpf_sock *socket, const struct endpoint *frontend,
		const struct endpoint *backend)
{
	struct socket_connected *own = bpf_sk_storage_get(&sockets_connected, socket, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (!own)
		return false;
	bpf_spin_lock(&own->lock);
	own->frontend = *frontend;
	own->backend = *backend;
	bpf_spin_unlock(&own->lock);
	return true;
}

/* Whether this is the backend to which the socket was connected; then the frontend that it asked for. */
static __always_inline bool find_connected(struct bpf_sock *socket, const struct endpoint *backend,
		struct endpoint *frontend)
{
	struct socket_connected *own = bpf_sk_storage_get(&sockets_connected, socket, 0, 0);
	bool is_it;

	if (!own)
		return false;
	bpf_spin_lock(&own->lock);
	is_it = when_same(&own->backend, backend);
	*frontend = own->frontend;
	bpf_spin_unlock(&own->lock);
	return is_it;
}

/* The lock is held. In the place of the pair that has this frontend, or of the one that was asked for longest ago. */
static __always_inline void put_pair(struct socket_sent *own, const struct endpoint *frontend,
		const struct endpoint *backend)
{
	__u64 least = ~0ULL >> 1, place = 0, used, is_less;

	EACH_PAIR
	for (__u64 i = 0; i < SOCKET_PAIRS; i++) {
		used = (own->pairs[i].used + 1) & ~when_same(&own->pairs[i].frontend, frontend);
		is_less = when_less(used, least);
		least = either(is_less, used, least);
		place = either(is_less, i, place);
	}
	KEPT_AS_NUMBER(place);
	place &= SOCKET_PAIRS - 1;
	own->pairs[place].frontend = *frontend;
	own->pairs[place].backend = *backend;
	own->pairs[place].used = ++own->count;
}

/* False: there was no room. */
static __always_inline bool note_sent(struct bpf_sock *socket, const struct endpoint *frontend,
		const struct endpoint *backend)
{
	struct socket_sent *own = bpf_sk_storage_get(&sockets_sent, socket, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (!own)
		return false;
	bpf_spin_lock(&own->lock);
	put_pair(own, frontend, backend);
	bpf_spin_unlock(&own->lock);
	return true;
}

/* The lock is held. The pair that was used last of those with this backend or, where `by_frontend`, this frontend;
 * SOCKET_PAIRS: there is none. */
static __always_inline __u64 find_pair(const struct socket_sent *own, const struct endpoint *endpoint, bool by_frontend)
{
	__u64 last = 0, place = SOCKET_PAIRS, used, is_later;

	EACH_PAIR
	for (__u64 i = 0; i < SOCKET_PAIRS; i++) {
		used = own->pairs[i].used &
		       when_same(by_frontend ? &own->pairs[i].frontend : &own->pairs[i].backend, endpoint);
		is_later = when_less(last, used);
		last = either(is_later, used, last);
		place = either(is_later, i, place);
	}
	KEPT_AS_NUMBER(place);
	return place;
}

/* Whom the socket sent to behind this frontend. */
static __always_inline bool find_sent(struct bpf_sock *socket, const struct endpoint *frontend,
		struct endpoint *backend)
{
	struct socket_sent *own = bpf_sk_storage_get(&sockets_sent, socket, 0, 0);
	__u64 place;

	if (!own)
		return false;
	bpf_spin_lock(&own->lock);
	place = find_pair(own, frontend, true);
	*backend = own->pairs[place & (SOCKET_PAIRS - 1)].backend;
	bpf_spin_unlock(&own->lock);
	return place < SOCKET_PAIRS;
}

/* The frontend by which the socket asked for this backend last. */
static __always_inline bool find_meant(struct bpf_sock *socket, const struct endpoint *backend,
		struct endpoint *frontend)
{
	struct socket_sent *own = bpf_sk_storage_get(&sockets_sent, socket, 0, 0);
	__u64 place;

	if (!own)
		return false;
	bpf_spin_lock(&own->lock);
	place = find_pair(own, backend, false);
	*frontend = own->pairs[place & (SOCKET_PAIRS - 1)].frontend;
	bpf_spin_unlock(&own->lock);
	return place < SOCKET_PAIRS;
}

/* It sends to this place by its own address: so it means it from now on, if it was a backend to it before. */
static __always_inline void note_direct(struct bpf_sock *socket, const struct endpoint *place)
{
	struct socket_sent *own = bpf_sk_storage_get(&sockets_sent, socket, 0, 0);

	if (!own)
		return;
	bpf_spin_lock(&own->lock);
	if (find_pair(own, place, false) < SOCKET_PAIRS)
		put_pair(own, place, place);
	bpf_spin_unlock(&own->lock);
}

#endif
