/** A change of what neighbors hear costs the Services that it is about, and leaves none of them behind. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { DesiredService } from '../../src/desired/model.ts'
import type { Translator, TranslatorOptions } from '../../src/k8s/translate/translator.ts'
import { advertisement, clusterConfig, peerConfig } from './cilium-v2.ts'
import { change, deliver, flushAll, node, pool, service, slice, smallestPolicy, translatorWith } from './manifests.ts'

const teams = ['blue', 'green', 'red'] as const
const options: Partial<TranslatorOptions> = { datapath: 'none', isAllocatedElsewhere: true }

/** One of a team, with an address in its status. */
const owned = (i: number): string =>
  `${service(`s${i}`, `, clusterIP: 10.96.0.${i + 1}`).replace('labels: {', `labels: {team: ${teams[i % 3]}, `)}` +
  `status: {loadBalancer: {ingress: [{ip: 198.51.100.${i}}]}}\n${slice(`s${i}`)}`
const owners = Array.from({ length: 9 }, (_, i) => owned(i)).join('')

const forTeam = (team: string, community: string, more = ''): string =>
  `{advertisementType: Service, service: {addresses: [LoadBalancerIP]${more}}, ` +
  `selector: {matchLabels: {team: ${team}}}, attributes: {communities: {standard: ["${community}"]}}}`

test('a community of one advertisement costs the Services that it selects, and no others', () => {
  const base = clusterConfig() + peerConfig() + node + pool + owners
  const ads = teams.map((team, i) => advertisement(team, forTeam(team, `65001:${i}`))).join('')
  const translator = translatorWith(base + ads, options)
  assert.equal(flushAll(translator).services.size, 9)
  const { services } = change(translator, advertisement('green', forTeam('green', '65001:77')))
  assert.deepEqual([...services.keys()], ['default/s1', 'default/s4', 'default/s7'])
  assert.deepEqual(services.get('default/s1')?.routes[0]?.attributes, { communities: [65001 * 65536 + 77] })
})

test('what neighbors hear of a Service is changed without settling its address once more', () => {
  const base = clusterConfig() + peerConfig() + node + pool + owners
  let looks = 0
  // Between two Services that are settled, and that are translated, the clock is looked at.
  const translator = translatorWith(base + advertisement('all', forTeam('blue', '65001:1')), {
    ...options,
    nowMs: () => ++looks * 1e-6,
  })
  flushAll(translator)
  const looksOf = (manifests: string): number => {
    const before = looks
    assert.equal(change(translator, manifests).services.size, 3)
    return looks - before
  }
  const told = looksOf(advertisement('all', forTeam('blue', '65001:2')))
  const settled = looksOf([0, 3, 6].map((i) => owned(i).replace('port: 80', 'port: 81')).join(''))
  assert.ok(told < settled, `${told} looks, and ${settled} where addresses are settled`)
})

test('a Service that nothing selects hears of a selector that is another one', () => {
  const base = clusterConfig() + peerConfig() + node + pool + owners
  const translator = translatorWith(base + advertisement('one', forTeam('red', '65001:1')), options)
  flushAll(translator)
  const { services } = change(translator, advertisement('one', forTeam('black', '65001:1')))
  assert.equal(services.size, 9)
  for (const { verdicts } of services.values() as Iterable<DesiredService>)
    assert.match(verdicts.find(({ code }) => code === 'NotSelected')?.message ?? '', /it selects team=black\)/)
})

test('an attribute that is written into the Node for one neighbor costs what that neighbor hears', () => {
  const translator = translatorWith(smallestPolicy + node + pool + owners, options)
  flushAll(translator)
  const timed = (keys: string): string =>
    node.replace('metadata: {', `metadata: {annotations: {herald.dev/neighbors: '{"192.168.1.1": {${keys}}}'}, `)
  assert.equal(change(translator, timed('delayOpen: 5')).services.size, 0, 'a timer is nothing to the Services')
  assert.equal(change(translator, timed('med: 7')).services.size, 9)
})

interface Asked {
  readonly neighbors: readonly { readonly host: number; readonly team: number; readonly community: number }[]
  readonly ads: readonly {
    readonly name: string
    readonly team: number
    readonly community: number
    readonly length: number
    readonly type: string
  }[]
  readonly isLabelled: boolean
  readonly obstacle: boolean
}

const asked: fc.Arbitrary<Asked> = fc.record({
  neighbors: fc.uniqueArray(
    fc.record({ host: fc.integer({ min: 2, max: 5 }), team: fc.nat({ max: 3 }), community: fc.nat({ max: 2 }) }),
    { maxLength: 3, selector: ({ host }) => host },
  ),
  ads: fc.uniqueArray(
    fc.record({
      name: fc.constantFrom('a', 'b', 'c'),
      team: fc.nat({ max: 3 }),
      community: fc.nat({ max: 2 }),
      length: fc.constantFrom(0, 0, 28),
      type: fc.constantFrom('LoadBalancerIP', 'LoadBalancerIP', 'ClusterIP', 'LoadBalancerIP, ClusterIP'),
    }),
    { maxLength: 3, selector: ({ name }) => name },
  ),
  isLabelled: fc.boolean(),
  obstacle: fc.boolean(),
})

const excluded = 'node.kubernetes.io/exclude-from-external-load-balancers'

/** Team 3 is everybody. */
const selectorOf = (team: number): string =>
  teams[team] === undefined ? '{}' : `{matchLabels: {team: ${teams[team]}}}`

function policyOf({ neighbors }: Asked): string {
  const lines = neighbors.map(
    ({ host, team, community }) =>
      `    - {peerAddress: 192.168.1.${host}/32, peerASN: 65000, serviceSelector: ${selectorOf(team)}, ` +
      'advertisedPathAttributes: [{selectorType: CiliumLoadBalancerIPPool, ' +
      `communities: {standard: ["65001:${community}"]}}]}\n`,
  )
  return `---\n${smallestPolicy.replace(/ {4}- \{peer.*\n/, lines.join(''))}`
}

const adsOf = ({ ads }: Asked): readonly string[] =>
  ads.map(({ name, team, community, length, type }) =>
    advertisement(
      name,
      `{advertisementType: Service, service: {addresses: [${type}]` +
        `${length === 0 ? '' : `, aggregationLengthIPv4: ${length}`}}, selector: ${selectorOf(team)}, ` +
        `attributes: {communities: {standard: ["65001:${community}"]}}}`,
    ),
  )

const nodeOf = ({ isLabelled, obstacle }: Asked): string =>
  node.replace('labels: {', `labels: {${isLabelled ? 'rack: "7", ' : ''}${obstacle ? `${excluded}: "", ` : ''}`)

function apply(translator: Translator, state: Map<string, DesiredService>): void {
  for (const [key, now] of flushAll(translator).services)
    if (now === undefined) state.delete(key)
    else state.set(key, now)
}

test('after any history of policies, advertisements and Nodes the Services are what a fresh translation makes', () => {
  const base = clusterConfig() + peerConfig() + pool + owners
  fc.assert(
    fc.property(fc.array(asked, { minLength: 2, maxLength: 6 }), (history) => {
      const translator = translatorWith(base, options)
      const state = new Map<string, DesiredService>()
      let before: Asked | undefined
      for (const now of history) {
        for (const { name } of before?.ads ?? [])
          if (!now.ads.some((each) => each.name === name))
            translator.remove({ apiVersion: 'cilium.io/v2', kind: 'CiliumBGPAdvertisement', namespace: '', name })
        for (const text of [nodeOf(now), ...adsOf(now)]) deliver(translator, text)
        const policy = { apiVersion: 'cilium.io/v2alpha1', kind: 'CiliumBGPPeeringPolicy', namespace: '' }
        if (now.neighbors.length > 0) deliver(translator, policyOf(now))
        else translator.remove({ ...policy, name: 'bgp-peering' })
        apply(translator, state)
        const fresh = new Map<string, DesiredService>()
        const text = base + nodeOf(now) + adsOf(now).join('') + (now.neighbors.length > 0 ? policyOf(now) : '')
        apply(translatorWith(text, options), fresh)
        assert.deepEqual(bySource(state), bySource(fresh))
        before = now
      }
    }),
    { numRuns: 150 },
  )
})

/** Where an object is written is another place in the second text. */
function bySource(services: ReadonlyMap<string, DesiredService>): readonly unknown[] {
  return [...services].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, { source: _source, ...rest }]) => [key, rest])
}
