/**
 * HalfSipHash-1-3 (Aumasson, Bernstein), which the Linux kernel has for hash tables as hsiphash: what a peer chooses is
 * spread by a key that it does not know.
 *
 *     each four octets --> a round      what is left over, and the length --> a round      nothing --> three rounds
 *
 * A seed at the beginning of a multiplicative hash is no key: the uppermost bit of a word stays where it is whatever it
 * is multiplied by, so that two words can be chosen that collide with two others for every seed, and of seventeen such
 * pairs a hundred thousand sets of attributes that are one chain.
 */

/** Of the octets in [from, to), by a key of two words; 32 bits. */
export function halfSipHash(bytes: Uint8Array, from: number, to: number, key0: number, key1: number): number {
  let [v0, v1, v2, v3] = [key0 | 0, key1 | 0, key0 ^ 0x6c796765, key1 ^ 0x74656462]
  const whole = from + ((to - from) & ~3)
  for (let at = from; at < whole; at += 4) {
    const word =
      (bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)
    v3 ^= word
    v0 = (v0 + v1) | 0
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0
    v0 = (v0 << 16) | (v0 >>> 16)
    v2 = (v2 + v3) | 0
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2
    v0 = (v0 + v3) | 0
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0
    v2 = (v2 + v1) | 0
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2
    v2 = (v2 << 16) | (v2 >>> 16)
    v0 ^= word
  }
  let word = (to - from) << 24
  for (let at = whole; at < to; at++) word |= (bytes[at] as number) << (8 * (at - whole))
  // The same again: a function of four words that change would cost more than all of it.
  for (let round = 0; round < 4; round++) {
    v3 ^= word
    v0 = (v0 + v1) | 0
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0
    v0 = (v0 << 16) | (v0 >>> 16)
    v2 = (v2 + v3) | 0
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2
    v0 = (v0 + v3) | 0
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0
    v2 = (v2 + v1) | 0
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2
    v2 = (v2 << 16) | (v2 >>> 16)
    v0 ^= word
    if (round === 0) v2 ^= 0xff
    word = 0
  }
  return (v1 ^ v3) >>> 0
}
