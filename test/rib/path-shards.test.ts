/** A table in parts that grow one by one: no part has nearly all, whatever the prefixes of a peer differ in. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Prefix, prefixOf } from '../../src/ip/prefix.ts'
import { PathShards } from '../../src/rib/path-shards.ts'

const [side, seeds] = [64, [0, 1, 0x7fffffff, -3]] as const

/** Of prefixes, what the largest of sixteen parts has of them. */
function largestShare(words: 1 | 4, seed: number, prefixes: readonly Prefix[]): number {
  const table = new PathShards(words, seed)
  for (const prefix of prefixes) table.set(prefix, 0, 1, 1)
  assert.equal(table.size, prefixes.length)
  return table.largest / prefixes.length
}

/** All that differ in two octets of an address. */
function grid(octets: number, low: number, high: number, make: (address: readonly number[]) => Prefix): Prefix[] {
  return Array.from({ length: side * side }, (_, i) => {
    const address = Array.from({ length: octets }, () => 32)
    address[low] = i % side
    address[high] = Math.floor(i / side)
    return make(address)
  })
}

test('IPv6 networks that differ in any two octets are divided, of each length', () => {
  for (let high = 1; high < 16; high++)
    for (let low = 0; low < high; low++)
      for (const length of [(high + 1) * 8, 128]) {
        const made = grid(16, low, high, (address) => prefixOf(String.fromCharCode(...address), length))
        for (const seed of seeds) {
          const share = largestShare(4, seed, made)
          assert.ok(share < 0.3, `octets ${low} and ${high}, /${length}, seed ${seed}: ${share} in one part`)
        }
      }
})

test('IPv4 networks that differ beyond what follows each other are divided', () => {
  for (const [low, high] of [
    [0, 1],
    [0, 2],
    [1, 2],
  ] as const) {
    const made = grid(4, low, high, ([a = 0, b = 0, c = 0]) => prefixOf(((a << 24) | (b << 16) | (c << 8)) >>> 0, 24))
    for (const seed of seeds) {
      const share = largestShare(1, seed, made)
      assert.ok(share < 0.3, `octets ${low} and ${high}, seed ${seed}: ${share} in one part`)
    }
  }
})
