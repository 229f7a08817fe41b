/** What names in the configuration stand for: a slip in one takes nothing away that was in force, and is told. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DesiredDelta, Problem } from '../../src/desired/model.ts'
import type { Translator } from '../../src/k8s/translate/translator.ts'
import * as cilium from './cilium-v2.ts'
import { change, codesOf, node, policyWith, pool, service, serviceOf, slice, translatorWith } from './manifests.ts'
import * as metallb from './metallb-manifests.ts'

const web = node + service('web') + slice('web')
const v2 = cilium.clusterConfig() + cilium.peerConfig() + cilium.advertisement('a', cilium.services()) + pool
const idsOf = ({ speaker }: DesiredDelta): readonly string[] | undefined => speaker?.neighbors.map(({ id }) => id)
const saidOf = (problems: readonly Problem[] = []): readonly string[] =>
  problems.map(({ code, field, message }) => `${code} ${field} ${message}`)

function remove(translator: Translator, kind: string, name: string, namespace = ''): DesiredDelta {
  const apiVersion = namespace === '' ? 'cilium.io/v2' : 'metallb.io/v1beta1'
  translator.remove({ apiVersion, kind, namespace, name })
  return translator.flush()
}

test('a peer that names a CiliumBGPPeerConfig which is not there keeps the one that it had, and its routes', () => {
  const translator = translatorWith(v2 + web)
  translator.flush()
  const slip = change(translator, cilium.clusterConfig().replace('{name: tor}}', '{name: trr}}'))
  assert.deepEqual([slip.speaker, slip.services.size], [undefined, 0])
  assert.deepEqual(saidOf(slip.problems), [
    'NoPeerConfig spec.bgpInstances[0].peers[0].peerConfigRef.name there is no CiliumBGPPeerConfig trr that can be ' +
      'used: the peer keeps what tor says',
  ])
  assert.match(slip.problems?.[0]?.remedy ?? '', /Did you mean tor\?/)
  const gone = remove(translator, 'CiliumBGPPeerConfig', 'tor')
  assert.deepEqual([gone.speaker, gone.services.size], [undefined, 0], 'deleted, and still what the peer has')
  const there = change(translator, cilium.peerConfig('timers: {holdTimeSeconds: 9, keepAliveTimeSeconds: 3}', 'trr'))
  assert.deepEqual([idsOf(there), there.speaker?.neighbors[0]?.holdTimeSec], [['65001/192.168.1.1'], 9])
  assert.deepEqual([there.services.size, codesOf(there.problems)], [0, []])
})

test('a slip in a name of a CiliumBGPNodeConfigOverride changes no AS, no router ID and no source address', () => {
  const own = (instance: string, peer = 'tor'): string =>
    cilium.override(
      `{name: ${instance}, localASN: 65099, routerID: 192.0.2.9, peers: [{name: ${peer}, localAddress: 192.168.1.10}]}`,
    )
  const translator = translatorWith(v2 + web + own('rack'))
  const [first] = translator.flush().speaker?.neighbors ?? []
  assert.deepEqual([first?.localAsn, first?.routerId, first?.sourceAddress], [65099, '192.0.2.9', '192.168.1.10'])
  const slip = change(translator, own('rakc', 'tro'))
  assert.deepEqual([slip.speaker, slip.services.size], [undefined, 0])
  assert.deepEqual(saidOf(slip.problems), [
    'NoSuchPart spec.bgpInstances[0].name CiliumBGPClusterConfig cilium-bgp has no instance rakc: rack, which stood ' +
      'here, is meant',
    'NoSuchPart spec.bgpInstances[0].peers[0].name CiliumBGPClusterConfig cilium-bgp has no peer tro: tor, which ' +
      'stood here, is meant',
  ])
  assert.match(slip.problems?.[0]?.remedy ?? '', /Did you mean rack\?/)
  // What the name never was has no effect, and neither has a slip from the start.
  const other = change(translator, own('something-else'))
  assert.equal(other.speaker?.neighbors[0]?.localAsn, 65001)
  assert.equal(translatorWith(v2 + web + own('rakc')).flush().speaker?.neighbors[0]?.localAsn, 65001)
  // Corrected, it says nothing any more.
  assert.deepEqual(change(translator, own('rack')).problems, [])
})

test('a peer configuration is renamed in any order of its three steps, and no session and no route ends', () => {
  const steps: readonly ((translator: Translator) => DesiredDelta)[] = [
    (translator) => change(translator, cilium.peerConfig('', 'leaf')),
    (translator) => change(translator, cilium.clusterConfig().replace('{name: tor}}', '{name: leaf}}')),
    (translator) => remove(translator, 'CiliumBGPPeerConfig', 'tor'),
  ]
  for (const order of [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
  ]) {
    const translator = translatorWith(v2 + web)
    const name = order.join()
    let problems = translator.flush().problems ?? []
    for (const step of order) {
      const delta = steps[step]?.(translator)
      assert.deepEqual([delta?.speaker, delta?.services.size], [undefined, 0], name)
      problems = delta?.problems ?? problems
    }
    assert.deepEqual(codesOf(problems), [], name)
  }
})

test('a peer that never had a configuration is not dialled with a guess', () => {
  const delta = translatorWith(v2.replace('{name: tor}}', '{name: trr}}') + web).flush()
  assert.deepEqual([idsOf(delta), codesOf(delta.problems)], [[], ['NoPeerConfig']])
})

const labelled = metallb.tor + metallb.production + metallb.advertisement('e', 'communities: [edge, "64512:9"]')
const edge = 64512 * 65536 + 1
const communitiesIn = (delta: DesiredDelta) => serviceOf(delta, 'web').routes[0]?.attributes.communities

test('a community that is renamed, taken away, deleted or misspelt stays on the routes that have it, and is told', () => {
  const spoils: readonly (readonly [string, (translator: Translator) => DesiredDelta])[] = [
    ['renamed', (translator) => change(translator, metallb.community('c', ['edgy', '64512:1']))],
    ['taken away', (translator) => change(translator, metallb.community('c'))],
    ['deleted', (translator) => remove(translator, 'Community', 'c', 'metallb-system')],
    ['misspelt', (translator) => change(translator, metallb.advertisement('e', 'communities: [egde, "64512:9"]'))],
  ]
  for (const [name, spoil] of spoils) {
    const translator = translatorWith(labelled + metallb.community('c', ['edge', '64512:1']) + web)
    assert.deepEqual(communitiesIn(translator.flush()), [edge, edge + 8], name)
    const delta = spoil(translator)
    assert.deepEqual([delta.speaker, delta.services.size], [undefined, 0], name)
    assert.deepEqual(
      delta.problems?.map(({ code, field, object }) => [code, field, object.name]),
      [['UnknownCommunity', 'spec.communities[0]', 'e']],
      name,
    )
  }
})

test('a community that is not named any more is off the routes at once; one that never was known is left out', () => {
  const translator = translatorWith(labelled + metallb.community('c', ['edge', '64512:1']) + web)
  translator.flush()
  const without = change(translator, metallb.advertisement('e', 'communities: ["64512:9"]'))
  assert.deepEqual([communitiesIn(without), codesOf(without.problems)], [[edge + 8], []])
  const other = translatorWith(labelled + web).flush()
  assert.deepEqual([communitiesIn(other), codesOf(other.problems)], [[edge + 8], ['UnknownCommunity']])
})

test('a slip in the name of a peer or a pool takes no route away; another name is another one', () => {
  const list = (peers: string, pools: string) =>
    metallb.advertisement('e', `peers: [${peers}], ipAddressPools: [${pools}]`)
  const base = metallb.tor + metallb.production + web
  const cases: readonly (readonly [string, string, string])[] = [
    ['troo', 'production', 'spec.peers[0]'],
    ['tor', 'prodcution', 'spec.ipAddressPools[0]'],
  ]
  for (const [peers, pools, field] of cases) {
    const translator = translatorWith(base + list('tor', 'production'))
    translator.flush()
    const slip = change(translator, list(peers, pools))
    assert.deepEqual([slip.speaker, slip.services.size], [undefined, 0], field)
    assert.deepEqual(
      slip.problems?.map((problem) => [problem.code, problem.field]),
      [['UnknownName', field]],
    )
    assert.match(slip.problems?.[0]?.message ?? '', /(tor|production), which was in force, stays$/)
    const other = change(translator, list('partner', 'production'))
    assert.deepEqual([serviceOf(other, 'web').routes, codesOf(other.problems)], [[], ['UnknownName']])
  }
})

test('a pool of another family over the same addresses takes no route and no attribute away', () => {
  const over = pool.replace('198.51.100.0/28', '192.168.10.0/24')
  const translator = translatorWith(labelled + metallb.community('c', ['edge', '64512:1']) + web)
  translator.flush()
  const delta = change(translator, over)
  assert.deepEqual([delta.speaker, codesOf(delta.problems)], [undefined, ['PoolConflict']])
  assert.deepEqual(communitiesIn(delta), [edge, edge + 8])
  const v1 = policyWith(
    '{peerAddress: 192.168.1.1/32, peerASN: 65000, advertisedPathAttributes: [{selectorType: ' +
      'CiliumLoadBalancerIPPool, selector: {matchLabels: {tier: gold}}, communities: {standard: ["65000:5"]}}]}',
  )
  const gold = pool.replace('name: pool', 'name: pool, creationTimestamp: "2026-02-01T00:00:00Z", labels: {tier: gold}')
  const moving = translatorWith(v1 + gold + web)
  const gilt = [65000 * 65536 + 5]
  assert.deepEqual(communitiesIn(moving.flush()), gilt)
  const older = metallb.ipPool('old', 'addresses: [198.51.100.0/28]', ', creationTimestamp: "2026-01-01T00:00:00Z"')
  assert.deepEqual(communitiesIn(change(moving, older)), gilt)
})

test('a neighbor at another port of an address leaves the session with the first one alone', () => {
  const other = ', peerASN: 64513, peerAddress: 192.168.1.1'
  const cases: readonly (readonly [string, string])[] = [
    [
      metallb.peer('one', `myASN: 64512${other}, peerPort: 1790`, ', creationTimestamp: "2026-01-02T00:00:00Z"'),
      metallb.peer('two', `myASN: 64512${other}`, ', creationTimestamp: "2026-01-01T00:00:00Z"'),
    ],
    [
      policyWith('{peerAddress: 192.168.1.1/32, peerASN: 65000, peerPort: 1790}'),
      cilium.peersOf('{name: a, peerASN: 65000, peerAddress: 192.168.1.1}'),
    ],
  ]
  for (const [one, two] of cases) {
    const translator = translatorWith(one + node)
    const [first] = translator.flush().speaker?.neighbors ?? []
    const neighbors = change(translator, two).speaker?.neighbors ?? []
    assert.equal(neighbors.length, 2)
    assert.ok(first)
    assert.deepEqual(
      neighbors.find(({ id }) => id === first.id),
      first,
    )
  }
})
