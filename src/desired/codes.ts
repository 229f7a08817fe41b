/**
 * Every reason code, once: the problems of objects and the answers on the chain of a Service. docs/configure.md lists
 * the same codes, compared by a test.
 */

/**
 * What a problem costs. `part`: the object, or a part of it, may not be in force although it was before a restart, so
 * that End-of-RIB and removals wait for it (RFC 4724 4.1). `nothing`: everything else that was written is in force.
 */
export type Cost = 'part' | 'nothing'

export const problemCodes = {
  InvalidYaml: 'part',
  NoObject: 'part',
  Unreadable: 'part',
  InvalidEncoding: 'part',
  InvalidName: 'part',
  LimitExceeded: 'part',
  DuplicateKey: 'nothing',
  DuplicateObject: 'nothing',
  InvalidField: 'part',
  UnknownField: 'nothing',
  InvalidAnnotation: 'part',
  InvalidAddress: 'part',
  InvalidPrefix: 'part',
  InvalidPeerAddress: 'part',
  InvalidPeerMask: 'part',
  LoopbackPeer: 'nothing',
  NoSuchNeighbor: 'nothing',
  KeepaliveAboveHold: 'part',
  NoFamily: 'part',
  HostBits: 'nothing',
  InvalidTimestamp: 'nothing',
  InvalidKey: 'part',
  KeyTooLong: 'part',
  OddKey: 'nothing',
  SecretGone: 'nothing',
  DuplicateNeighbor: 'nothing',
  NoPassword: 'part',
  NoInterface: 'part',
  DuplicateRouter: 'part',
  NoNeighborLeft: 'part',
  InvalidBlock: 'part',
  MixedFamilies: 'part',
  ReversedRange: 'part',
  PolicyConflict: 'nothing',
  PoolConflict: 'nothing',
  NoNodeSelector: 'nothing',
  NoServiceSelector: 'nothing',
  SelectorUnderNeighbor: 'nothing',
  NoAdvertisements: 'nothing',
  NoPeerConfig: 'part',
  PeerConfigGone: 'nothing',
  NoLocalAsn: 'part',
  NoGateway: 'part',
  NoSourceAddress: 'part',
  NoSuchPart: 'nothing',
  DuplicateEntry: 'part',
  DuplicateAlias: 'nothing',
  UnknownCommunity: 'part',
  UnknownName: 'nothing',
  InvalidAggregation: 'nothing',
  ConflictingRequest: 'nothing',
  DeprecatedAnnotation: 'nothing',
  NoBlocks: 'nothing',
  OverlappingBlocks: 'nothing',
  ReservedAddresses: 'nothing',
  FamiliesTrimmed: 'nothing',
  DuplicatePort: 'part',
  NoPodCidr: 'nothing',
  PodCidrsKept: 'nothing',
  NoNode: 'part',
  DerivedRouterId: 'nothing',
  InvalidRouterId: 'part',
  InvalidLocalPort: 'part',
  PreferenceConflict: 'nothing',
  SelfNeighbor: 'nothing',
  NotOwnAddress: 'nothing',
  TunnelRefused: 'nothing',
  KindNotServed: 'nothing',
  FamilyNotServed: 'nothing',
  NotServed: 'nothing',
  RecordElsewhere: 'nothing',
  RecordDamaged: 'nothing',
  RecordBusy: 'part',
  NotRecorded: 'part',
  NobodyAllowed: 'nothing',
} as const satisfies Readonly<Record<string, Cost>>

export type ProblemCode = keyof typeof problemCodes

/** By the step of the chain that they answer. */
export const verdictCodes = {
  /** No: also the code of a problem. */
  valid: { yes: [], no: ['NotFound'] },
  class: { yes: ['ClassServed', 'NoClassNeeded'], no: ['OtherClass'] },
  allocated: {
    yes: ['Allocated', 'RequestRefused', 'SomePortsTaken', 'AddressLeftOut', 'OwnAddress'],
    no: [
      'NoPool',
      'PoolSelectorMismatch',
      'OutOfAddresses',
      'AlreadyAllocated',
      'IncompatibleService',
      'InvalidRequest',
      'FamilyMismatch',
      'ReservedAddress',
      'NotInPool',
      'NotInStatus',
      'StatusOwned',
      'PortTaken',
      'RecordBusy',
      'NotRecorded',
      'RecordDamaged',
    ],
  },
  selected: {
    yes: ['PolicySelects', 'ExportPodCIDR', 'Configured', 'PathWatched', 'WaitsForNextSession', 'Imported'],
    no: ['NoPolicy', 'NotSelected', 'NotAdvertised', 'FamilyNotSpoken', 'AddressNotAsked', 'NotImported'],
  },
  supported: {
    yes: ['Supported', 'ServedElsewhere'],
    no: ['SctpPortChanged'],
  },
  proxied: { yes: ['Proxied', 'ProxiedInPart'], no: ['NotProxied'] },
  eligible: {
    yes: ['HasLocalBackends', 'HasBackends', 'HasEndpoints', 'SomePortsWithoutBackend', 'SomeBackendsLeftOut'],
    no: [
      'NoBackends',
      'NoLocalBackends',
      'NoReachableBackends',
      'EndpointsWithoutNode',
      'NoEndpointOfFamily',
      'NoMatchingPort',
      'NodeExcluded',
      'NetworkUnavailable',
      'NodeWithdrawn',
    ],
  },
  programmed: {
    yes: ['NotGated', 'Programmed'],
    no: ['ProgrammingFailed', 'Programming', 'FrontendTaken', 'NoUplink'],
  },
  announced: {
    yes: ['Announced', 'Established', 'ForeignNextHop'],
    no: [
      'NoNeighbor',
      'NotAnnounced',
      'AnnouncedToSome',
      'NotConfigured',
      'NotEstablished',
      'Drained',
      'FamilyNotConfigured',
      'FamilyNotSent',
      'AtPrefixLimit',
      'Sending',
      'IdleHold',
      'StateIdle',
      'StateConnect',
      'StateActive',
      'StateOpenSent',
      'StateOpenConfirm',
    ],
  },
} as const satisfies Readonly<Record<string, { readonly yes: readonly string[]; readonly no: readonly string[] }>>

type Steps = typeof verdictCodes
export type VerdictStep = keyof Steps
export type CodeOf<Step extends VerdictStep> = Steps[Step]['yes' | 'no'][number]
export type VerdictCode = CodeOf<VerdictStep> | ProblemCode
