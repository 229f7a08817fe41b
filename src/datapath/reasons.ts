/**
 * Why the kernel did not pass a packet on: the closed list, in the order of `enum reason` in bpf/layout.h.
 * docs/operate.md has a row for each, compared by a test. Pure.
 */

/**
 * `answered`: as it should be. `refused`: nobody serves it, and the sender is told. `dropped`: without a word. `held`:
 * as it should be, too: a copy waits for others, or goes on. `served`: passed on, and counted all the same.
 */
type Fate = 'answered' | 'refused' | 'dropped' | 'held' | 'served'

interface Reason {
  readonly fate: Fate
  readonly meaning: string
  /** What to look at, or to change. */
  readonly remedy: string
}

const table = {
  echo_answered: { fate: 'answered', meaning: 'a ping of a VIP', remedy: 'nothing' },
  unowned_port: {
    fate: 'refused',
    meaning: 'no Service has this port of the VIP: RST, or ICMP port unreachable',
    remedy: '`herald lb list` has the ports; else it is a scan',
  },
  unowned_protocol: {
    fate: 'refused',
    meaning: 'neither TCP, UDP nor ICMP: ICMP protocol unreachable, over IPv6 a parameter problem',
    remedy: 'nothing: no Service has such a protocol here',
  },
  no_backend: {
    fate: 'refused',
    meaning: 'the Service has no ready backend that this node reaches: RST, or ICMP port unreachable',
    remedy: 'readiness of its pods; the route should be withdrawn, `herald explain service` says whether it is',
  },
  backend_gone: {
    fate: 'refused',
    meaning: 'the pod left every slice and its while is over: RST, so that the client reconnects at once',
    remedy: 'nothing after a rollout; else why the pod went',
  },
  answer_limited: {
    fate: 'dropped',
    meaning: 'beyond 1000 answers a second of one kind for one VIP on a CPU (burst 256)',
    remedy: 'who sends so much: `herald observe --type drop`',
  },
  not_answerable: {
    fate: 'dropped',
    meaning: 'no answer is due: a RST, a source that is no host, another ICMP message',
    remedy: 'nothing; if it is much, who sends it',
  },
  bad_header: {
    fate: 'dropped',
    meaning:
      'a truncated or contradictory header, a packet from where it goes to, a forged datagram from a port that ' +
      'would answer, or an IPv4 address mapped into one of IPv6',
    remedy: 'who sends it; the driver of the interface when there are many sources',
  },
  fragment: {
    fate: 'dropped',
    meaning:
      'a later fragment whose first one was not seen here, and which cannot be held: of a sender who has his part of ' +
      'the room already, of something else than TCP, UDP or SCTP, handed on by a node, or of more than 14336 octets; ' +
      'or a ping in fragments',
    remedy:
      'who sends so many (`herald observe --type drop`); the hash of the router should leave ports out for fragments',
  },
  icmp_unmatched: {
    fate: 'dropped',
    meaning: 'an ICMP error about a packet of no flow that is known',
    remedy: 'after routers changed their choice of nodes: nothing; else who forges it',
  },
  flows_full: {
    fate: 'dropped',
    meaning:
      'no room for the state of a new flow, or every client port that may stand for this one is in use, or it begins ' +
      'one as from this node or from its pod beyond those for which a CPU makes state',
    remedy: 'the fill of `openings` in `herald status`; who sends with an address of the node or of a pod',
  },
  rewrite_failed: {
    fate: 'dropped',
    meaning: 'the kernel refused the change of a packet',
    remedy: 'the memory of the node; report it with `herald observe -o json`',
  },
  reply_unmatched: {
    fate: 'dropped',
    meaning:
      'a pod of a Service spoke on no flow that is known, and must not leave with its own address: both halves of a ' +
      'flow were evicted, or a connection to the pod came in over an interface that is no uplink',
    remedy: 'the fill of `connections` in `herald status`; `--interfaces`',
  },
  source_not_allowed: {
    fate: 'dropped',
    meaning: 'a client outside the source ranges of the Service begins a flow, or asks a VIP that it may not reach',
    remedy: '`spec.loadBalancerSourceRanges` of the Service; `herald explain service` says whom it lets in',
  },
  too_big: {
    fate: 'refused',
    meaning:
      'with its encapsulation it does not fit into the way to the node of its backend: ICMP fragmentation needed, ' +
      'over IPv6 packet too big, with what fits',
    remedy: 'nothing: the client sends smaller ones; a larger MTU between the nodes spares it that',
  },
  node_unreachable: {
    fate: 'dropped',
    meaning: 'no route to the node of its backend, or this node has no address of that family to hand it on from',
    remedy: '`ip route get` of that node; forwarding has to be on',
  },
  unknown_sender: {
    fate: 'dropped',
    meaning: 'handed on by a host that is no node of the cluster',
    remedy: 'who sends it: `herald observe --type drop`; addresses of nodes in the API',
  },
  bad_tunnel: {
    fate: 'dropped',
    meaning: 'handed on by a node, and no packet for a VIP in the version that is spoken here',
    remedy: 'versions of the agents; which Services that node has and this one does not',
  },
  congested: {
    fate: 'dropped',
    meaning:
      'handed on by a node over a way that marked congestion (CE), and of a flow that takes no such mark: a drop is ' +
      'what it hears',
    remedy: 'the load of the links between the nodes',
  },
  fragment_held: {
    fate: 'held',
    meaning: 'a later fragment that came before its first one: a copy of it waits for that one',
    remedy:
      'nothing while `fragment_released` grows with it; what is not released is of datagrams whose first fragment ' +
      'did not come here: the hash of the router should leave ports out for fragments',
  },
  fragment_released: {
    fate: 'held',
    meaning: 'a fragment that was held goes on behind the one in front of it',
    remedy: 'nothing',
  },
  snat_ports: {
    fate: 'dropped',
    meaning:
      'a new flow to a pod by SNAT (`herald.dev/remote-backends`), and every port of this node that was tried has ' +
      'one to it',
    remedy: 'more pods, or an agent on their nodes',
  },
  snat_unknown: {
    fate: 'refused',
    meaning: 'of a connection by SNAT that began by another node, or was forgotten: RST',
    remedy: 'nothing after routers changed their choice of nodes; else the fill of `snat` in `herald status`',
  },
  flow_limited: {
    fate: 'served',
    meaning:
      'it begins a flow beyond those for which a CPU makes state, as a flood does: it goes where the table says, and ' +
      'a later packet of the flow makes the state',
    remedy:
      'who opens so many flows: `herald observe --type new`. Each second all CPUs together make state for an eighth ' +
      'of what `openings` takes (each for a thousand at least), of SYNs, of other segments, of datagrams and of what ' +
      'comes as from this node or from its pod each',
  },
} as const satisfies Readonly<Record<string, Reason>>

export type ReasonName = keyof typeof table

export const reasonTable: Readonly<Record<ReasonName, Reason>> = table

export const reasonNames = Object.keys(table) as readonly ReasonName[]

/** In the order of `enum family`. */
export const familyNames = ['ipv4', 'ipv6'] as const
