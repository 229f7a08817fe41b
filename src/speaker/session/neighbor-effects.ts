/**
 * What a change of each field of a neighbor does, and when: one row per field, so that a new field without an effect
 * does not compile.
 *
 *     configure --changes--> effects --> Peers (a new session) / Session / Importer / update group / listener
 */
import type { Neighbor } from '../../desired/model.ts'

export type Effect =
  /** Names only: what is shown is another. */
  | 'shown'
  /** What a session is made of: Cease/Other Configuration Change, and a new one. */
  | 'newSession'
  /** Only an OPEN can carry it and no RFC ties it to the life of the session: in force with the next one. */
  | 'nextOpen'
  /** The session takes it as it is, in whatever state. */
  | 'session'
  /** Another set of UPDATEs. */
  | 'view'
  /** Other received routes are taken into the Loc-RIB. */
  | 'importList'
  /** Other received routes count; what did not count is not there any more, so the peer has to send again. */
  | 'importChecks'
  /** What was received is counted again. */
  | 'limit'
  /** Where the peer is awaited. */
  | 'listener'

export const effects: Readonly<Record<keyof Neighbor, Effect>> = {
  id: 'shown',
  source: 'shown',
  virtualRouter: 'shown',
  peerName: 'shown',
  localAsn: 'newSession',
  localAs: 'newSession',
  peerAsn: 'newSession',
  refusesOwnAs: 'newSession',
  peerAddress: 'newSession',
  peerPort: 'newSession',
  listenPort: 'listener',
  routerId: 'newSession',
  families: 'newSession',
  holdTimeSec: 'nextOpen',
  // No OPEN carries it.
  keepaliveSec: 'session',
  connectRetrySec: 'session',
  multihopTtl: 'newSession',
  passive: 'session',
  password: 'newSession',
  gracefulRestart: 'nextOpen',
  bfd: 'session',
  ttlSecurityHops: 'newSession',
  sourceAddress: 'newSession',
  nextHops: 'view',
  nodeAddresses: 'view',
  interface: 'newSession',
  delayOpenSec: 'session',
  tcpUserTimeoutSec: 'session',
  role: 'newSession',
  addPathReceive: 'newSession',
  maxPrefixes: 'limit',
  maxPrefixesOut: 'view',
  importPrefixes: 'importList',
  enforceFirstAs: 'importChecks',
  rejectAsSets: 'importChecks',
  allowAsIn: 'importChecks',
}

/** What a field means when it is absent, where that is a value like another. */
const absent: Partial<Neighbor> = {
  refusesOwnAs: false,
  delayOpenSec: 0,
  addPathReceive: false,
  nextHops: {},
  nodeAddresses: {},
  importPrefixes: [],
  enforceFirstAs: true,
  rejectAsSets: true,
  allowAsIn: 0,
}

const fields = Object.keys(effects) as (keyof Neighbor)[]

/** Lists of families are sets, and objects have no order. */
function canonical(neighbor: Neighbor, field: keyof Neighbor): string {
  const value = neighbor[field] ?? absent[field]
  if (field === 'families') return [...neighbor.families].sort().join()
  const isPlain = typeof value === 'object' && value !== null && !Array.isArray(value)
  return JSON.stringify(isPlain ? Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)) : value) ?? ''
}

/** The fields that are not the same in both. */
export function changedFields(before: Neighbor, after: Neighbor): readonly (keyof Neighbor)[] {
  return fields.filter((field) => canonical(before, field) !== canonical(after, field))
}

export function effectsOf(changed: readonly (keyof Neighbor)[]): ReadonlySet<Effect> {
  return new Set(changed.map((field) => effects[field]))
}

/** What a connection's state machine looks at. */
export function configuredFacts({ passive, connectRetrySec, delayOpenSec = 0 }: Neighbor): {
  passive: boolean
  connectRetrySec: number
  delayOpenSec: number
} {
  return { passive, connectRetrySec, delayOpenSec }
}

/** What was said in an OPEN and is configured otherwise now, in words: `hold time 90 s -> 30 s`. */
export function pendingChanges(said: Neighbor, now: Neighbor): readonly string[] {
  return changedFields(said, now)
    .filter((field) => effects[field] === 'nextOpen')
    .map((field) => (field === 'holdTimeSec' ? holdTime(said, now) : gracefulRestart(said, now)))
}

const holdTime = (said: Neighbor, now: Neighbor): string => `hold time ${said.holdTimeSec} s -> ${now.holdTimeSec} s`

const gracefulRestart = (said: Neighbor, now: Neighbor): string =>
  `graceful restart ${restart(said)} -> ${restart(now)}`

const restart = ({ gracefulRestart: config }: Neighbor): string =>
  config === undefined ? 'off' : `${config.restartTimeSec} s${config.notification ? ' with notification' : ''}`
