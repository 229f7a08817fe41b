/**
 * BGP messages described a second time, in the declarative language of binary-parser and straight from the figures
 * of the RFCs: an oracle that shares no code with src/bgp/messages.
 */
// The package's types fit its CommonJS build only.
import { Parser } from 'binary-parser/dist/binary_parser.js'

export interface WirePrefix {
  readonly length: number
  readonly octets: readonly number[]
}

export interface WireAttribute {
  readonly flags: number
  readonly type: number
  readonly length: number
  readonly value: Uint8Array
}

export interface WireMessage {
  readonly marker: readonly number[]
  readonly length: number
  readonly type: number
  readonly body: {
    readonly version: number
    readonly myAs: number
    readonly holdTime: number
    readonly bgpId: number
    readonly parametersLength: number
    readonly parameters: Uint8Array
    readonly withdrawn: readonly WirePrefix[]
    readonly attributes: readonly WireAttribute[]
    readonly nlri: readonly WirePrefix[]
    readonly code: number
    readonly subcode: number
    readonly data: Uint8Array
    readonly afi: number
    readonly subtype: number
    readonly safi: number
  }
}

const start = (): Parser => new Parser().endianess('big')

/** RFC 4271 4.3, <length, prefix>. */
const prefix = start()
  .uint8('length')
  .array('octets', {
    type: 'uint8',
    length: function (this: { length: number }) {
      return Math.ceil(this.length / 8)
    },
  })

const lengthOfOne = start().uint8('octets')
const lengthOfTwo = start().uint16('octets')

/** RFC 4271 4.3: the Extended Length bit decides between one and two octets of length. */
const attribute = start()
  .uint8('flags')
  .uint8('type')
  .choice('size', {
    tag: function (this: { flags: number }) {
      return (this.flags >> 4) & 1
    },
    choices: { 0: lengthOfOne, 1: lengthOfTwo },
  })
  .buffer('value', {
    length: function (this: { size: { octets: number } }) {
      return this.size.octets
    },
  })

const open = start()
  .uint8('version')
  .uint16('myAs')
  .uint16('holdTime')
  .uint32('bgpId')
  .uint8('parametersLength')
  .buffer('parameters', { readUntil: 'eof' })

const update = start()
  .uint16('withdrawnLength')
  .array('withdrawn', { type: prefix, lengthInBytes: 'withdrawnLength' })
  .uint16('attributesLength')
  .array('attributes', { type: attribute, lengthInBytes: 'attributesLength' })
  .array('nlri', { type: prefix, readUntil: 'eof' })

const notification = start().uint8('code').uint8('subcode').buffer('data', { readUntil: 'eof' })
const routeRefresh = start().uint16('afi').uint8('subtype').uint8('safi')

/** RFC 4271 4.1. */
export const wireMessage = start()
  .array('marker', { type: 'uint8', length: 16 })
  .uint16('length')
  .uint8('type')
  .choice('body', { tag: 'type', choices: { 1: open, 2: update, 3: notification, 4: start(), 5: routeRefresh } })

const capability = start().uint8('code').uint8('length').buffer('value', { length: 'length' })
/** RFC 5492 4, inside a parameter of RFC 4271 4.2. */
export const shortParameters = start().array('all', {
  type: start().uint8('type').uint8('length').array('capabilities', { type: capability, lengthInBytes: 'length' }),
  readUntil: 'eof',
})
/** RFC 9072 2. */
export const longParameters = start()
  .uint8('marker')
  .uint16('length')
  .array('all', {
    type: start().uint8('type').uint16('length').array('capabilities', { type: capability, lengthInBytes: 'length' }),
    readUntil: 'eof',
  })

/** Values of attributes and capabilities, as lists of numbers. */
export const values = {
  u8: start().array('all', { type: 'uint8', readUntil: 'eof' }),
  u32: start().array('all', { type: 'uint32be', readUntil: 'eof' }),
  asPath2: start().array('all', {
    type: start().uint8('type').uint8('count').array('asns', { type: 'uint16be', length: 'count' }),
    readUntil: 'eof',
  }),
  asPath4: start().array('all', {
    type: start().uint8('type').uint8('count').array('asns', { type: 'uint32be', length: 'count' }),
    readUntil: 'eof',
  }),
  aggregator2: start().uint16('asn').uint32('address'),
  aggregator4: start().uint32('asn').uint32('address'),
  /** RFC 4760 3. */
  mpReach: start()
    .uint16('afi')
    .uint8('safi')
    .uint8('nextHopLength')
    .array('nextHop', { type: 'uint8', length: 'nextHopLength' })
    .uint8('reserved')
    .array('nlri', { type: prefix, readUntil: 'eof' }),
  /** RFC 4760 4. */
  mpUnreach: start().uint16('afi').uint8('safi').array('nlri', { type: prefix, readUntil: 'eof' }),
  /** RFC 4760 8. */
  multiprotocol: start().uint16('afi').uint8('reserved').uint8('safi'),
  /** RFC 8950 4. */
  extendedNextHop: start().array('all', {
    type: start().uint16('afi').uint16('safi').uint16('nextHopAfi'),
    readUntil: 'eof',
  }),
  /** RFC 4724 3, RFC 8538 2. */
  gracefulRestart: start()
    .bit1('restart')
    .bit1('notification')
    .bit2('reserved')
    .bit12('time')
    .array('families', {
      type: start().uint16('afi').uint8('safi').bit1('forwarding').bit7('reserved'),
      readUntil: 'eof',
    }),
}
