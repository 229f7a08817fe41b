/**
 * BFD Control packets (RFC 5880 4.1): what is checked of one by itself (6.8.6). Intervals are microseconds.
 *
 *     |Vers |  Diag   |Sta|P|F|C|A|D|M|  Detect Mult  |    Length     |
 *     |                       My Discriminator                       |
 *     |                      Your Discriminator                      |
 *     |  Desired Min TX, Required Min RX, Required Min Echo RX Interval, four octets each
 */

/** In the order of their numbers on the wire. */
const bfdStates = ['AdminDown', 'Down', 'Init', 'Up'] as const
export type BfdState = (typeof bfdStates)[number]

/** RFC 5880 4.1, by number. */
export const Diagnostic = {
  none: 0,
  detectionTimeExpired: 1,
  neighborSignaledDown: 3,
  administrativelyDown: 7,
} as const

const diagnosticTexts = [
  'no diagnostic',
  'control detection time expired',
  'echo function failed',
  'neighbor signaled session down',
  'forwarding plane reset',
  'path down',
  'concatenated path down',
  'administratively down',
  'reverse concatenated path down',
] as const

export function diagnosticText(diagnostic: number): string {
  return diagnosticTexts[diagnostic] ?? `diagnostic ${diagnostic}`
}

export interface ControlPacket {
  readonly diagnostic: number
  readonly state: BfdState
  readonly poll: boolean
  readonly final: boolean
  /** C: the sender's BFD shares no fate with its control plane. */
  readonly controlPlaneIndependent: boolean
  readonly demand: boolean
  readonly detectMultiplier: number
  readonly myDiscriminator: number
  readonly yourDiscriminator: number
  readonly desiredMinTxUs: number
  readonly requiredMinRxUs: number
  readonly requiredMinEchoRxUs: number
}

/** Why a packet does not count, each counted by itself: the first ones by its octets, the others by who sent it how. */
export const dropReasons = [
  'length',
  'version',
  'detectMultiplier',
  'multipoint',
  'myDiscriminator',
  'yourDiscriminator',
  'authentication',
  'ttl',
  'noSession',
] as const
export type DropReason = (typeof dropReasons)[number]

const version = 1
/** Of the octets of a packet. */
export const yourDiscriminatorAt = 8
const controlBytes = 24
/** With the smallest authentication section. */
const authenticatedBytes = 26
const flag = { poll: 0x20, final: 0x10, independent: 0x08, authentication: 0x04, demand: 0x02, multipoint: 0x01 }

export function encodeControl(packet: ControlPacket): Uint8Array {
  const octets = new Uint8Array(controlBytes)
  const view = new DataView(octets.buffer)
  octets[0] = (version << 5) | packet.diagnostic
  octets[1] =
    (bfdStates.indexOf(packet.state) << 6) |
    (packet.poll ? flag.poll : 0) |
    (packet.final ? flag.final : 0) |
    (packet.controlPlaneIndependent ? flag.independent : 0) |
    (packet.demand ? flag.demand : 0)
  octets[2] = packet.detectMultiplier
  octets[3] = controlBytes
  view.setUint32(4, packet.myDiscriminator)
  view.setUint32(yourDiscriminatorAt, packet.yourDiscriminator)
  view.setUint32(12, packet.desiredMinTxUs)
  view.setUint32(16, packet.requiredMinRxUs)
  view.setUint32(20, packet.requiredMinEchoRxUs)
  return octets
}

/** `octets`: the payload of one datagram. In the order of the checks of RFC 5880 6.8.6. */
export function decodeControl(octets: Uint8Array): ControlPacket | DropReason {
  const [first = 0, second = 0, detectMultiplier = 0, length = 0] = octets
  if (octets.length < controlBytes) return 'length'
  if (first >>> 5 !== version) return 'version'
  const isAuthenticated = (second & flag.authentication) !== 0
  if (length < (isAuthenticated ? authenticatedBytes : controlBytes) || length > octets.length) return 'length'
  if (detectMultiplier === 0) return 'detectMultiplier'
  if ((second & flag.multipoint) !== 0) return 'multipoint'
  const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength)
  const myDiscriminator = view.getUint32(4)
  if (myDiscriminator === 0) return 'myDiscriminator'
  const yourDiscriminator = view.getUint32(yourDiscriminatorAt)
  const state = bfdStates[second >>> 6] ?? 'AdminDown'
  // Who is that far knows our discriminator.
  if (yourDiscriminator === 0 && (state === 'Init' || state === 'Up')) return 'yourDiscriminator'
  // No session of ours has a key.
  if (isAuthenticated) return 'authentication'
  return {
    diagnostic: first & 0x1f,
    state,
    poll: (second & flag.poll) !== 0,
    final: (second & flag.final) !== 0,
    controlPlaneIndependent: (second & flag.independent) !== 0,
    demand: (second & flag.demand) !== 0,
    detectMultiplier,
    myDiscriminator,
    yourDiscriminator,
    desiredMinTxUs: view.getUint32(12),
    requiredMinRxUs: view.getUint32(16),
    requiredMinEchoRxUs: view.getUint32(20),
  }
}
