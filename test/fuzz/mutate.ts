/** Seeded mutations of messages: the same seed gives the same bytes, so that a finding can be run again alone. */

export type Random = (below: number) => number

/** A small generator (xorshift32): `random(n)` is in 0..n-1. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0 || 1
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

/** Octets at which decoders tend to go wrong: ends of ranges, lengths just off, flags. */
const edges = [0, 1, 2, 3, 4, 8, 16, 19, 23, 31, 32, 33, 64, 127, 128, 129, 192, 224, 254, 255]

const headerBytes = 19

/** A changed copy of one of `corpus`. Most keep a right header, so that what lies behind it is reached. */
export function mutate(corpus: readonly Uint8Array[], random: Random): Uint8Array {
  let bytes = pick(corpus, random)
  for (let times = 1 + random(4); times > 0; times--) bytes = mutateOnce(bytes, corpus, random)
  if (random(16) !== 0 && bytes.length >= headerBytes) {
    bytes.fill(0xff, 0, 16)
    setU16(bytes, 16, bytes.length)
  }
  // An UPDATE whose attributes end with the message reaches the attributes even when octets came or went.
  if (random(2) === 0 && bytes.length > 23 && bytes[18] === 2)
    setU16(bytes, 21, bytes.length - 23 - random(2) * random(Math.min(8, bytes.length - 22)))
  return bytes
}

function mutateOnce(bytes: Uint8Array, corpus: readonly Uint8Array[], random: Random): Uint8Array {
  const at = random(bytes.length + 1)
  const count = Math.min(1 + random(random(4) === 0 ? 64 : 4), bytes.length - at)
  switch (random(7)) {
    case 0:
      return changed(bytes, at, (octet) => octet ^ (1 << random(8)))
    case 1:
      return changed(bytes, at, () => edges[random(edges.length)] ?? 0)
    case 2:
      return changed(bytes, at, (octet) => octet + (random(2) === 0 ? 1 : -1))
    case 3:
      return concat(bytes.subarray(0, at), bytes.subarray(at + count))
    case 4:
      return concat(bytes.subarray(0, at + count), bytes.subarray(at))
    case 5:
      return concat(
        bytes.subarray(0, at),
        Uint8Array.from({ length: 1 + random(8) }, () => random(256)),
        bytes.subarray(at),
      )
    default: {
      const other = pick(corpus, random)
      return concat(bytes.subarray(0, at), other.subarray(random(other.length + 1)))
    }
  }
}

function pick(corpus: readonly Uint8Array[], random: Random): Uint8Array {
  return corpus[random(corpus.length)] ?? new Uint8Array(headerBytes)
}

function changed(bytes: Uint8Array, at: number, change: (octet: number) => number): Uint8Array {
  const copy = bytes.slice()
  if (at < copy.length) copy[at] = change(copy[at] ?? 0)
  return copy
}

function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts))
}

function setU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8
  bytes[at + 1] = value & 0xff
}
