/** Random histories of good, broken and removed parts against a model that knows what was good last. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Neighbor } from '../../src/desired/model.ts'
import type { Translator } from '../../src/k8s/translate/translator.ts'
import { deliver, node, policyWith, translatorWith } from './manifests.ts'

type Step =
  | { readonly part: number; readonly as: 'good'; readonly hold: number }
  | { readonly part: number; readonly as: 'broken'; readonly how: number }
  | { readonly part: number; readonly as: 'gone' }

const parts = [0, 1, 2, 3]
/** Each is one neighbor of which something is wrong, with its address as it should be. */
const breakages: readonly ((address: string) => string)[] = [
  (address) => `{peerAddress: ${address}/32, peerASN: 65000, holdTimeSeconds: 1}`,
  (address) => `{peerAddress: ${address}/32, peerASN: many}`,
  (address) => `{peerAddress: ${address}/24, peerASN: 65000}`,
  (address) => `{peerAddress: ${address}, peerASN: 65000}`,
  (address) => `{peerAddress: ${address}/32}`,
  (address) => `{peerAddress: ${address}/32, peerASN: 65000, families: []}`,
  (address) =>
    `{peerAddress: ${address}/32, peerASN: 65000, advertisedPathAttributes: [{selectorType: PodCIDR, ` +
    'communities: {large: [a:b:c]}}]}',
  (address) => `{peerAddress: ${address}/32, peerASN: 65000, serviceSelector: {matchLabels: {"": x}}}`,
]
const addressOf = (part: number): string => `192.168.1.${part + 1}`

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    part: fc.constantFrom(...parts),
    as: fc.constant('good' as const),
    hold: fc.integer({ min: 3, max: 90 }),
  }),
  fc.record({
    part: fc.constantFrom(...parts),
    as: fc.constant('broken' as const),
    how: fc.nat(breakages.length - 1),
  }),
  fc.record({ part: fc.constantFrom(...parts), as: fc.constant('gone' as const) }),
)

/** The neighbors in force, by address. */
class InForce {
  #neighbors: readonly Neighbor[] = []

  take(translator: Translator): Readonly<Record<string, number>> {
    this.#neighbors = translator.flush().speaker?.neighbors ?? this.#neighbors
    return Object.fromEntries(this.#neighbors.map(({ peerAddress, holdTimeSec }) => [peerAddress, holdTimeSec]))
  }
}

test('whatever happens to the parts of a policy, each good one is as written and each broken one as it was', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
      const written = new Map<number, string>([[9, '{peerAddress: 192.168.1.10/32, peerASN: 65000}']])
      const model = new Map<string, number>([['192.168.1.10', 90]])
      const inForce = new InForce()
      const translator = translatorWith(policyWith(...written.values()) + node.replace('192.168.1.10', '10.0.0.1'))
      inForce.take(translator)
      for (const change of steps) {
        const address = addressOf(change.part)
        if (change.as === 'gone') {
          written.delete(change.part)
          model.delete(address)
        } else if (change.as === 'good') {
          written.set(change.part, `{peerAddress: ${address}/32, peerASN: 65000, holdTimeSeconds: ${change.hold}}`)
          model.set(address, change.hold)
        } else written.set(change.part, breakages[change.how]?.(address) ?? '')
        deliver(translator, policyWith(...written.values()))
        assert.deepEqual(inForce.take(translator), Object.fromEntries(model))
      }
    }),
    { numRuns: 100 },
  )
})

test('a restart knows no better than what is written: the good parts alone', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      const written = new Map<number, string>([[9, '{peerAddress: 192.168.1.10/32, peerASN: 65000}']])
      const good = new Map<string, number>([['192.168.1.10', 90]])
      for (const change of steps) {
        const address = addressOf(change.part)
        good.delete(address)
        if (change.as === 'gone') written.delete(change.part)
        else if (change.as === 'good') {
          written.set(change.part, `{peerAddress: ${address}/32, peerASN: 65000, holdTimeSeconds: ${change.hold}}`)
          good.set(address, change.hold)
        } else written.set(change.part, breakages[change.how]?.(address) ?? '')
      }
      const translator = translatorWith(policyWith(...written.values()) + node.replace('192.168.1.10', '10.0.0.1'))
      assert.deepEqual(new InForce().take(translator), Object.fromEntries(good))
    }),
    { numRuns: 100 },
  )
})

test('a half-written annotation never changes a session: every cut of it', () => {
  const whole =
    '{"*": {med: 5}, "192.168.1.1": {ttlSecurity: 1, sourceAddress: 192.168.1.10, localAs: 64999}, ' +
    '"192.168.1.2": {passive: true}}'
  const peers = ['{peerAddress: 192.168.1.1/32, peerASN: 65000}', '{peerAddress: 192.168.1.2/32, peerASN: 65000}']
  const text = (annotation: string): string =>
    policyWith(...peers).replace(
      'name: bgp-peering',
      `name: bgp-peering, annotations: {herald.dev/neighbors: ${JSON.stringify(annotation)}}`,
    )
  for (let length = 1; length < whole.length; length++) {
    const translator = translatorWith(text(whole) + node)
    translator.flush()
    deliver(translator, text(whole.slice(0, length)))
    const delta = translator.flush()
    assert.deepEqual([delta.speaker, delta.podCidrs], [undefined, undefined], whole.slice(0, length))
    assert.ok(
      delta.problems?.some(({ code }) => code === 'InvalidAnnotation'),
      whole.slice(0, length),
    )
  }
})
