/** Which nets of this node no client is behind, by what the kernel lists of its routes. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { NetlinkMessage } from '../../src/sys/netlink.ts'
import { innerNets } from '../../src/sys/inner-nets.ts'

interface Given {
  readonly to: readonly number[]
  readonly bits: number
  readonly by: number
  readonly table?: number
  readonly gateway?: true
}

const attribute = (type: number, octets: Uint8Array): Buffer => {
  const whole = Buffer.alloc(4 + octets.length)
  whole.writeUInt16LE(whole.length)
  whole.writeUInt16LE(type, 2)
  whole.set(octets, 4)
  return whole
}
const route = ({ to, bits, by, table = 254, gateway }: Given): NetlinkMessage => ({
  type: 24,
  body: Buffer.concat([
    Buffer.of(2, bits, 0, 0, table, 0, 0, 1, 0, 0, 0, 0),
    attribute(1, Uint8Array.from(to)),
    attribute(4, new Uint8Array(Uint32Array.of(by).buffer)),
    ...(gateway ? [attribute(5, Uint8Array.of(198, 51, 100, 9))] : []),
  ]),
})
const [uplink, inside] = [2, 3]
const found = (...given: readonly Given[]): readonly string[] =>
  innerNets(given.map(route), new Set([uplink])).map(({ octets, bits }) => `${octets.join('.')}/${bits}`)
const containers: Given = { to: [172, 17, 0, 0], bits: 16, by: inside }
const world: Given = { to: [0, 0, 0, 0], bits: 0, by: uplink, gateway: true }

test('a net on another link has no client, unless some of it, or all of it by another table, is sent by an uplink', () => {
  assert.deepEqual(found(world, containers), ['172.17.0.0/16'])
  assert.deepEqual(found(world, containers, { to: [172, 17, 3, 0], bits: 24, by: uplink }), [])
  assert.deepEqual(found(world, containers, { ...containers, by: uplink }), [])
  assert.deepEqual(found({ ...world, table: 100 }, containers), [], 'a rule of routing may ask that table')
  assert.deepEqual(found(world, { ...containers, gateway: true }), [], 'a router has clients behind it')
  assert.deepEqual(found(world, { ...containers, table: 100 }), [], 'who asks that table is not known')
  const pod: Given = { to: [10, 1, 0, 5], bits: 32, by: inside }
  assert.deepEqual(found(world, pod), ['10.1.0.5/32'])
  assert.deepEqual(found(world, pod, { ...pod, by: uplink }), [])
  assert.deepEqual(found({ ...world, by: inside }), [])
})
