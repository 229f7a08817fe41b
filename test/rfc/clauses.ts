/**
 * What the RFCs ask of a node speaker, clause by clause: the rows of docs/rfc.md. Code and tests are found by the
 * mentions `RFC <number> <clause>` in comments of src and in titles of tests; a row without either fails page.test.ts.
 */

export interface Clause {
  readonly rfc: number
  /** Empty: the RFC as a whole. */
  readonly clause: string
  readonly what: string
}

export const titles: Readonly<Record<number, string>> = {
  1997: 'BGP communities',
  2385: 'TCP MD5 signature',
  2545: 'IPv6 with multiprotocol BGP',
  2918: 'Route refresh',
  4271: 'BGP-4',
  4360: 'Extended communities',
  4456: 'Route reflection, checks of a client',
  4486: 'Cease subcodes',
  4724: 'Graceful restart',
  4760: 'Multiprotocol BGP',
  4861: 'Router discovery, for unnumbered neighbors',
  5082: 'GTSM',
  5880: 'BFD',
  5881: 'BFD over one hop',
  5882: 'BFD and the protocols above it',
  5883: 'BFD over several hops',
  5482: 'TCP user timeout',
  5492: 'Capabilities',
  6286: 'AS-wide BGP Identifier',
  6608: 'FSM error subcodes',
  6793: 'Four-octet AS numbers',
  7313: 'Enhanced route refresh',
  7606: 'Revised error handling',
  7607: 'AS 0',
  7705: 'Local AS',
  7911: 'Additional paths, receiving',
  8092: 'Large communities',
  8212: 'Default policy of eBGP',
  8326: 'Graceful shutdown',
  8538: 'Graceful restart and NOTIFICATION',
  8654: 'Extended messages',
  8950: 'IPv4 routes with an IPv6 next hop',
  9003: 'Shutdown communication',
  9072: 'Extended optional parameters',
  9234: 'Roles and OTC',
  9384: 'Cease subcode of BFD',
  9687: 'Send hold timer',
  9774: 'AS_SET deprecated',
}

/** `clause | what`, by RFC. */
const rows: Readonly<Record<number, string>> = {
  4271: `
    3.2 | Adj-RIB-In, Loc-RIB and Adj-RIB-Out are kept apart; what was sent to whom is known
    4.1 | a message has a marker of ones, a length within bounds for its type, and a known type
    4.2 | OPEN carries version 4, AS, hold time (0 or at least 3 s), BGP Identifier and parameters
    4.3 | UPDATE carries withdrawn routes, attributes and NLRI; a prefix in both places is announced
    4.4 | KEEPALIVE is the header alone, sent at most a third of the hold time apart
    4.5 | NOTIFICATION carries code, subcode and data, and the connection closes behind it
    5 | attributes go out in ascending order of their type
    5.1.1 | ORIGIN is set by the originator
    5.1.2 | AS_PATH gets our AS towards other ASes, a new segment beyond 255, and stays empty inside
    5.1.3 | NEXT_HOP is the session's own address unless configured, and never one that no host has
    5.1.4 | MULTI_EXIT_DISC goes out as configured
    5.1.5 | LOCAL_PREF goes out inside the AS only
    5.1.6 | ATOMIC_AGGREGATE is read and written as an empty attribute
    6.1 | header errors are answered 1/1, 1/2 with the length, 1/3 with the type
    6.2 | OPEN errors are answered 2/1 to 2/7 with their data
    6.3 | UPDATE errors that reset are answered 3/x; the rest is RFC 7606
    6.4 | a NOTIFICATION is never answered
    6.5 | nothing heard for the hold time ends the session with 4/0
    6.8 | of two connections the one that the larger BGP Identifier opened is kept, the other ends with 6/7
    8.1.1 | optional session attributes: DelayOpen, PassiveTcpEstablishment, DampPeerOscillations
    8.1.2 | start and stop by the operator; start skips the idle hold
    8.1.3 | timers come back as events
    8.1.4 | connections come up and fail as events
    8.1.5 | messages and their errors are events
    8.2.2 | every state has an answer to every event
    9.1.1 | a missing LOCAL_PREF counts as 100
    9.1.2 | a path with our own AS is not eligible, and what it replaced is gone
    9.1.2.2 a | the shorter AS_PATH wins; a set counts one
    9.1.2.2 b | the lower ORIGIN wins
    9.1.2.2 c | the lower MED of one neighbor AS wins
    9.1.2.2 d | eBGP wins over iBGP
    9.1.2.2 f | the lower BGP Identifier wins
    9.1.2.2 g | the lower peer address wins
    9.2 | what does not fit a message is withdrawn; the newest state of a prefix is the one that is sent
    10 | timers have jitter`,
  1997: ` | standard communities are sent as configured, well-known ones by name`,
  2385: ` | sessions with a key sign every segment, dialling and listening; a wrong key never gets through`,
  2545: `3 | IPv6 routes have a global next hop, with the link-local one where the peer sends both`,
  2918: `
    3 | ROUTE-REFRESH is read and written
    4 | a refresh sends the family again from Adj-RIB-Out, once however often it is asked for`,
  4360: `
    3 | extended communities are lists of eight octets, written as rt:65000:100`,
  4456: `
    8 | a client drops what has its BGP Identifier as ORIGINATOR_ID or in CLUSTER_LIST, and neither leaves the AS
    9 | ORIGINATOR_ID takes the place of the BGP Identifier, the shorter CLUSTER_LIST wins`,
  4486: `
    4 | too many prefixes end the session with 6/1, family and limit; each other end has its subcode`,
  4724: `
    2 | End-of-RIB is an UPDATE without content, per family; it goes out when everything wanted was sent
    3 | capability 64: R for one restart time after a restart, F only where forwarding survived
    4 | a restart says no Cease, a stop does
    4.1 | the restarting speaker waits for nobody's End-of-RIB
    4.2 | the helper keeps stale routes for the restart time, drops families without F, and sweeps in the end`,
  4760: `
    3 | MP_REACH_NLRI carries routes of any family
    4 | MP_UNREACH_NLRI withdraws them
    8 | families are what both sides announce`,
  4861: `
    4.2 | an unnumbered neighbor is found by its Router Advertisement
    6.1.2 | an advertisement that a router may have forwarded is dropped`,
  5082: `
    3 | packets of a neighbor with ttlSecurity leave with TTL 255 and are dropped below the bound`,
  5482: ` | a peer that does not acknowledge is noticed by TCP within tcpUserTimeout`,
  5492: `
    4 | capabilities come in any order and grouping; unknown ones are ignored
    5 | a missing capability is named in 2/7`,
  6286: `
    2.1 | the BGP Identifier is any number but 0
    2.2 | equal identifiers are an error inside one AS only
    2.3 | with equal identifiers the larger AS decides a collision`,
  6608: `
    4 | a message that does not fit the state is 5/1, 5/2 or 5/3 with its type`,
  6793: `
    3 | AS4_PATH and AS4_AGGREGATOR have four-octet ASes and no confederations
    4.1 | with the capability of both, ASes have four octets
    4.2.2 | an old speaker gets AS_TRANS and, where needed, AS4_PATH and AS4_AGGREGATOR
    4.2.3 | what an old speaker sends is merged; a longer AS4_PATH is ignored
    6 | a malformed AS4_PATH is discarded, as is one of a new speaker`,
  7313: `
    3.2 | BoRR and EoRR are subtypes 1 and 2
    4 | an answer to a refresh is framed; what was not sent again between BoRR and EoRR is gone
    5 | a BoRR or EoRR of a wrong length is 7/1, other subtypes are ignored`,
  7606: `
    2 | the session survives, the routes of a malformed UPDATE are withdrawn, or the attribute is dropped
    3 c | wrong flags withdraw
    3 d | missing mandatory attributes withdraw
    3 g | of a repeated attribute the first counts; a repeated MP attribute resets
    3 h | several errors have the strongest outcome
    3 j | where the prefixes cannot be found, the session is reset
    4 | the length of all attributes rules
    5.2 | an error without announced routes resets
    5.3 | prefixes that cannot be read reset
    7.1 | ORIGIN
    7.2 | AS_PATH
    7.3 | NEXT_HOP
    7.4 | MULTI_EXIT_DISC
    7.5 | LOCAL_PREF
    7.6 | ATOMIC_AGGREGATE
    7.7 | AGGREGATOR
    7.8 | COMMUNITIES
    7.9 | ORIGINATOR_ID
    7.10 | CLUSTER_LIST
    7.11 | MP_REACH_NLRI
    7.12 | MP_UNREACH_NLRI
    7.14 | EXTENDED COMMUNITIES
    7.15 | IPv6 EXTENDED COMMUNITIES`,
  7607: `2 | AS 0 in OPEN, AS_PATH or AGGREGATOR is an error`,
  7705: `4 | the AS shown to a neighbor is that of OPEN and stands first in AS_PATH`,
  7911: `
    3 | received prefixes carry a path identifier where it was negotiated
    4 | we offer to receive, and take it where the peer sends`,
  8092: `
    3 | large communities are lists of twelve octets
    5 | written as global:local1:local2; repeats are removed`,
  8212: `2 | without importPrefixes nothing is imported`,
  8326: `
    4 | a drained node announces GRACEFUL_SHUTDOWN, then withdraws; the session stays
    4.3 | a route with GRACEFUL_SHUTDOWN is the last choice`,
  5880: `
    4.1 | the Control packet: version 1, 24 octets, no authentication section
    6.3 | a packet is of the session that its discriminator names, or of the path that it came from where that is 0
    6.5 | a Poll Sequence tells other timers, one at a time; P and F never go together
    6.6 | a peer in Demand mode is sent no periodic packets; Demand mode is never asked for
    6.8.1 | the variables of a session; its discriminator is random, and silence makes them forget the other side
    6.8.2 | no faster than the other side takes
    6.8.3 | slower than once a second until Up; slower sending and faster detection only when they are confirmed
    6.8.4 | the detection time, of the multiplier of the other side
    6.8.6 | what a received packet has to be, and the states that it leads to
    6.8.7 | jitter; what is different is told at once; the passive role
    6.8.16 | taken down on purpose: AdminDown, said for a detection time`,
  5881: `
    2 | a peer on the link is watched over one hop
    3 | one session between two systems on an interface
    4 | port 3784, a source port of its own from 49152 on, a link-local address with its interface
    5 | TTL 255 is sent and asked for, in the kernel`,
  5882: `
    3.2 | AdminDown, and a session that never was Up, are no failure of the path
    4.2 | a path that is lost ends the session that depends on it
    4.3 | with graceful restart as without: who is lost is not waited for
    10.2 | BFD Down ends the BGP session; that never waits for BFD`,
  5883: `
    3 | a peer over several hops, also of our own AS beyond a router
    5 | port 4784 and a limit of the TTL that is of each session`,
  8538: `
    2 | the N bit is offered only where configured
    3 | a Hard Reset carries the real reason
    3.1 | a real end is a Hard Reset where both set the N bit
    4 | with the N bit of both, routes outlive a NOTIFICATION that is no Hard Reset`,
  8654: `
    3 | the capability is offered and empty
    4 | messages up to 65535 octets where both offer it; OPEN and KEEPALIVE stay at 4096`,
  8950: `
    4 | IPv4 routes carry an IPv6 next hop where both offer it`,
  9003: `
    2 | Administrative Shutdown and Reset carry a text, shown and made safe to show`,
  9072: `
    2 | parameters of more than 255 octets use the extended form, which is read in any case`,
  9234: `
    4.1 | the role is offered where configured
    4.2 | roles that do not fit are 2/11
    5 | OTC: leaks are refused, marks are added on the way in and out`,
  9384: ` | a session that BFD ends ends with Cease/BFD Down (6/10)`,
  9687: ` | a peer that does not read for the send hold time is let go with 8/0; with hold time 0 there is none`,
  9774: `3 | a path with AS_SET counts as withdrawn`,
}

export const clauses: readonly Clause[] = Object.entries(rows).flatMap(([rfc, text]) =>
  text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => {
      const [clause = '', what = ''] = line.split('|').map((part) => part.trim())
      return { rfc: Number(rfc), clause, what }
    }),
)
