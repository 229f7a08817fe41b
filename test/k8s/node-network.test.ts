/** What the interfaces of a node decide about its neighbors, and that a moment without them changes nothing. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DefaultGateways, LocalAddress } from '../../src/k8s/translate/types.ts'
import { advertisement, peerConfig, peersOf, services } from './cilium-v2.ts'
import { change, codesOf, node, translatorWith } from './manifests.ts'

const seen: { local: readonly LocalAddress[]; gateways: DefaultGateways } = { local: [], gateways: {} }
const options = { localAddresses: () => seen.local, gateways: () => seen.gateways }
const on = (...addresses: readonly string[]): readonly LocalAddress[] =>
  addresses.map((address) => ({ interface: 'eth1', address }))
const text =
  peersOf('{name: tor, peerAddress: 192.168.1.1, peerConfigRef: {name: tor}}') +
  peerConfig('transport: {sourceInterface: eth1}') +
  advertisement('a', services()) +
  node

test('a session leaves from the address of an interface; it follows it, and outlives a moment without', () => {
  seen.local = []
  const translator = translatorWith(text, options)
  const first = translator.flush()
  assert.deepEqual([first.speaker?.neighbors, codesOf(first.problems)], [[], ['NoSourceAddress']])
  const source = () => translator.flush().speaker?.neighbors.map(({ sourceAddress }) => sourceAddress)
  seen.local = on('10.9.9.1')
  assert.deepEqual(source(), ['10.9.9.1'])
  seen.local = []
  assert.equal(source(), undefined, 'nothing changes')
  seen.local = on('10.9.9.1', '10.9.9.2')
  const several = translator.flush()
  assert.deepEqual([several.speaker, codesOf(several.problems)], [undefined, ['NoSourceAddress']], 'it stays as it was')
  assert.match(several.problems?.[0]?.message ?? '', /its last good version stays in force/)
  seen.local = on('10.9.9.2')
  assert.deepEqual(source(), ['10.9.9.2'])
})

test('a node whose neighbors ask nothing of its interfaces does not look at them', () => {
  let looks = 0
  const gateways = (): DefaultGateways => {
    looks++
    return {}
  }
  const translator = translatorWith(peersOf('{name: tor, peerAddress: 192.168.1.1}') + node, { gateways })
  translator.flush()
  change(translator, node)
  assert.deepEqual([looks, translator.usesNetwork], [0, false])
})
