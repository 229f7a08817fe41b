/**
 * How maps of earlier schemas read in ours, so that an upgrade to another schema takes their flows along. Ids of
 * backends, Services and tables stay what they are: a flow that was copied names the same backend. Pure.
 *
 * Whoever raises `schema` in layout.ts puts here what turns an entry of the schema before into one of the new one.
 */
import type { MapName } from './layout.ts'

/** `same`: octet by octet. Otherwise an entry of ours for one of theirs; undefined: it is left out. Arrays by index. */
export type Conversion = 'same' | ((key: Uint8Array, value: Uint8Array) => Entry | undefined)

export type Entry = readonly [key: Uint8Array, value: Uint8Array]

export interface Converter {
  readonly from: number
  /** What is not named begins empty; addresses and sources follow from frontends and backends. */
  readonly maps: Readonly<Partial<Record<MapName, Conversion>>>
}

function joined(...parts: readonly ArrayLike<number>[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => Array.from(part)))
}

/** `struct ip_address` of the 4 octets at an offset. */
function mapped(octets: Uint8Array, at: number): readonly number[] {
  return [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...octets.subarray(at, at + 4)]
}

/** Schema 2 had addresses of 4 octets, and of IPv4 only; what is behind them is as it was. */
const ofFlow: Conversion = (key, value) => [
  joined(mapped(key, 0), mapped(key, 4), key.subarray(8)),
  joined(mapped(value, 0), value.subarray(4)),
]

/** Up to schema 3 a frontend let everybody in, and no client stayed with its backend. */
const open = new Uint8Array(24)

const fromSchema2: Converter = {
  from: 2,
  maps: {
    frontends: (key, value) => [joined(mapped(key, 0), key.subarray(4)), value.slice()],
    // It had four octets unused before the end of draining.
    backends: (key, value) => [key, joined(mapped(value, 0), value.subarray(4, 12), value.subarray(16))],
    tables: 'same',
    openings: ofFlow,
    connections: ofFlow,
    datagrams: ofFlow,
    fragments: (key, value) => {
      const protocol = [key[10] ?? 0, 0, 0, 0]
      const identification = [...key.subarray(8, 10), 0, 0]
      return [joined(mapped(key, 0), mapped(key, 4), identification, protocol), joined(value, protocol)]
    },
    drops: 'same',
  },
}

/**
 * Schema 3 knew of no other nodes: every backend is here. A frontend let everybody in. Counters had no place of their
 * own: those of Services begin anew.
 */
const toSchema4: Converter['maps'] = {
  frontends: (key, value) => [key, joined(value, open)],
  backends: (key, value) => [key, joined(value.subarray(0, 20), new Uint8Array(16), value.subarray(20))],
  tables: 'same',
  openings: 'same',
  connections: 'same',
  datagrams: 'same',
  fragments: 'same',
  drops: 'same',
}

/** Up to schema 4 the table before was asked for ever: whoever adopts it gives it a grace from then on. */
const noEnd = new Uint8Array(8).fill(0xff)

const toSchema5: Converter['maps'] = {
  frontends: (key, value) => [key, joined(value, noEnd)],
  backends: 'same',
  tables: 'same',
  nodes: 'same',
  tunnels: 'same',
  openings: 'same',
  connections: 'same',
  datagrams: 'same',
  forwards: 'same',
  fragments: 'same',
  ranges: 'same',
  affinity: 'same',
  counters: 'same',
  backend_counts: 'same',
  drops: 'same',
}

/** What the second makes of what the first one makes. */
function chained(first: Converter, second: Converter['maps']): Converter {
  const both = Object.entries(first.maps).map(([name, conversion]) => [
    name,
    inTurn(conversion, second[name as MapName]),
  ])
  return { from: first.from, maps: Object.fromEntries(both) }
}

function inTurn(first: Conversion, second: Conversion | undefined): Conversion | undefined {
  if (first === 'same' || second === undefined) return second
  if (second === 'same') return first
  return (key, value) => {
    const between = first(key, value)
    return between === undefined ? undefined : second(...between)
  }
}

export const converters: readonly Converter[] = [
  { from: 4, maps: toSchema5 },
  chained({ from: 3, maps: toSchema4 }, toSchema5),
  chained(chained(fromSchema2, toSchema4), toSchema5),
]
