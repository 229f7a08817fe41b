/** Every code point of BGP that Herald names, once, as IANA has it (bgp-parameters, capability-codes, AFI, SAFI). */

/** RFC 4271 4.1, RFC 2918. */
export const MessageType = { open: 1, update: 2, notification: 3, keepalive: 4, routeRefresh: 5 } as const

/** RFC 7313 3.2: a request, and the begin and the end of its answer. */
export const RefreshSubtype = { request: 0, begin: 1, end: 2 } as const

/** RFC 5492 and the RFC of each. */
export const CapabilityCode = {
  multiprotocol: 1,
  routeRefresh: 2,
  extendedNextHop: 5,
  extendedMessage: 6,
  role: 9,
  gracefulRestart: 64,
  fourOctetAs: 65,
  addPath: 69,
  enhancedRouteRefresh: 70,
} as const

/** RFC 5492 4, RFC 9072 2. */
export const OpenParameter = { capabilities: 2, extendedLength: 255 } as const

/** RFC 7911 4. */
export const AddPath = { receive: 1, send: 2, both: 3 } as const

/** RFC 6793: stands in the two-octet field for an AS that does not fit. */
export const asTrans = 23456

/** Path attributes (RFC 4271 4.3 and the RFC of each). */
export const AttributeType = {
  origin: 1,
  asPath: 2,
  nextHop: 3,
  multiExitDisc: 4,
  localPref: 5,
  atomicAggregate: 6,
  aggregator: 7,
  communities: 8,
  originatorId: 9,
  clusterList: 10,
  mpReachNlri: 14,
  mpUnreachNlri: 15,
  extendedCommunities: 16,
  as4Path: 17,
  as4Aggregator: 18,
  tunnelEncapsulation: 23,
  ipv6ExtendedCommunities: 25,
  aigp: 26,
  bgpLs: 29,
  largeCommunities: 32,
  onlyToCustomer: 35,
  nextHopDependentCharacteristics: 39,
  prefixSid: 40,
} as const

/** RFC 4271 4.3, RFC 5065 3. */
export const SegmentType = { asSet: 1, asSequence: 2, confederationSequence: 3, confederationSet: 4 } as const

/** Codes of a NOTIFICATION (RFC 4271 4.5, RFC 7313 5, RFC 9687). */
export const ErrorCode = {
  messageHeader: 1,
  open: 2,
  update: 3,
  holdTimerExpired: 4,
  finiteStateMachine: 5,
  cease: 6,
  routeRefresh: 7,
  sendHoldTimerExpired: 8,
} as const

/** Subcodes of Cease (RFC 4486, RFC 8538 3, RFC 9384 3). */
export const Cease = {
  maximumPrefixes: 1,
  administrativeShutdown: 2,
  peerDeconfigured: 3,
  administrativeReset: 4,
  connectionRejected: 5,
  otherConfigurationChange: 6,
  connectionCollision: 7,
  outOfResources: 8,
  hardReset: 9,
  bfdDown: 10,
} as const

/** Names of codes and their subcodes (RFC 4271 4.5, 4486, 5492, 6608, 7313, 8538, 9234, 9384, 9687). */
export const errorNames: Readonly<Record<number, readonly [string, Readonly<Record<number, string>>]>> = {
  [ErrorCode.messageHeader]: [
    'Message Header Error',
    { 1: 'Connection Not Synchronized', 2: 'Bad Message Length', 3: 'Bad Message Type' },
  ],
  [ErrorCode.open]: [
    'OPEN Message Error',
    {
      1: 'Unsupported Version Number',
      2: 'Bad Peer AS',
      3: 'Bad BGP Identifier',
      4: 'Unsupported Optional Parameter',
      6: 'Unacceptable Hold Time',
      7: 'Unsupported Capability',
      11: 'Role Mismatch',
    },
  ],
  [ErrorCode.update]: [
    'UPDATE Message Error',
    {
      1: 'Malformed Attribute List',
      2: 'Unrecognized Well-known Attribute',
      3: 'Missing Well-known Attribute',
      4: 'Attribute Flags Error',
      5: 'Attribute Length Error',
      6: 'Invalid ORIGIN Attribute',
      8: 'Invalid NEXT_HOP Attribute',
      9: 'Optional Attribute Error',
      10: 'Invalid Network Field',
      11: 'Malformed AS_PATH',
    },
  ],
  [ErrorCode.holdTimerExpired]: ['Hold Timer Expired', {}],
  [ErrorCode.finiteStateMachine]: [
    'Finite State Machine Error',
    {
      1: 'Unexpected Message in OpenSent',
      2: 'Unexpected Message in OpenConfirm',
      3: 'Unexpected Message in Established',
    },
  ],
  [ErrorCode.cease]: [
    'Cease',
    {
      [Cease.maximumPrefixes]: 'Maximum Number of Prefixes Reached',
      [Cease.administrativeShutdown]: 'Administrative Shutdown',
      [Cease.peerDeconfigured]: 'Peer De-configured',
      [Cease.administrativeReset]: 'Administrative Reset',
      [Cease.connectionRejected]: 'Connection Rejected',
      [Cease.otherConfigurationChange]: 'Other Configuration Change',
      [Cease.connectionCollision]: 'Connection Collision Resolution',
      [Cease.outOfResources]: 'Out of Resources',
      [Cease.hardReset]: 'Hard Reset',
      [Cease.bfdDown]: 'BFD Down',
    },
  ],
  [ErrorCode.routeRefresh]: ['ROUTE-REFRESH Message Error', { 1: 'Invalid Message Length' }],
  [ErrorCode.sendHoldTimerExpired]: ['Send Hold Timer Expired', {}],
}

/** Communities that IANA names (RFC 1997, 3765, 7999, 8326, 9494). */
export const wellKnownCommunities: Readonly<Record<number, string>> = {
  0xffff0000: 'graceful-shutdown',
  0xffff0006: 'llgr-stale',
  0xffff0007: 'no-llgr',
  0xffff029a: 'blackhole',
  0xffffff01: 'no-export',
  0xffffff02: 'no-advertise',
  0xffffff03: 'no-export-subconfed',
  0xffffff04: 'no-peer',
}
