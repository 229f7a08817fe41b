/** The v2 family of Cilium in the translator: order of arrival, what stays in force, and what ends no session. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { DesiredDelta } from '../../src/desired/model.ts'
import { readDocuments } from '../../src/k8s/documents.ts'
import { validateManifests } from '../../src/k8s/validate.ts'
import { createTranslator } from '../../src/k8s/translate/translator.ts'
import { advertisement, clusterConfig, override, peerConfig, peersOf, services } from './cilium-v2.ts'
import {
  change,
  codesOf,
  flushAll,
  node,
  pool,
  service,
  serviceOf,
  slice,
  translatorWith,
  verdictOf,
} from './manifests.ts'

const base =
  clusterConfig() + peerConfig() + advertisement('a', `${services()}, {advertisementType: PodCIDR}`) + node + pool
const web = service('web') + slice('web')
const idsOf = ({ speaker }: DesiredDelta): readonly string[] | undefined => speaker?.neighbors.map(({ id }) => id)
const gone = (kind: string, name: string, apiVersion = 'cilium.io/v2') => ({ apiVersion, kind, namespace: '', name })

test('a Service and the PodCIDR are announced to the peer that selects them, and each verdict names who says so', () => {
  const delta = translatorWith(base + web).flush()
  assert.deepEqual(idsOf(delta), ['65001/192.168.1.1'])
  assert.deepEqual(codesOf(delta.problems), [])
  assert.equal(
    verdictOf(serviceOf(delta, 'web'), 'selected')?.message,
    'CiliumBGPAdvertisement a, neighbors 65001/192.168.1.1',
  )
  assert.match(delta.podCidrs?.[0]?.verdicts[0]?.message ?? '', /exported by CiliumBGPAdvertisement a$/)
  assert.deepEqual(delta.podCidrs?.[0]?.routes[0]?.neighbors, ['65001/192.168.1.1'])
})

test('where no advertisement for Services reaches a peer, the Service is told of labels, and not of its own', () => {
  const toldOf = (text: string): readonly (string | undefined)[] => {
    const verdict = verdictOf(serviceOf(translatorWith(text + node + pool + web).flush(), 'web'), 'selected')
    return [verdict?.code, verdict?.message, verdict?.remedy]
  }
  const start = clusterConfig() + peerConfig()
  const unlabelled = advertisement('a', services()).replace('{advertise: bgp}', '{advertise: nope}')
  const unselective = advertisement('a', '{advertisementType: Service, service: {addresses: [LoadBalancerIP]}}')
  for (const text of [start, start + unlabelled, start + unselective]) {
    const [code, message, remedy] = toldOf(text)
    assert.equal(code, 'NotSelected')
    const said = 'no CiliumBGPAdvertisement that is for its peers selects Services'
    assert.equal(message, `CiliumBGPClusterConfig cilium-bgp: ${said}`)
    assert.match(remedy ?? '', /^Give one the labels that the CiliumBGPPeerConfig selects/)
  }
  const other = services().replace('expose-via-bgp: "true"', 'app: other')
  assert.match(toldOf(start + advertisement('a', other))[1] ?? '', /does not select .*\(it selects app=other\)$/)
})

test('in whatever order objects come, and come again, the end is the same', () => {
  const conflict = clusterConfig({ name: 'later', meta: ', creationTimestamp: "2027-01-01T00:00:00Z"' })
  const dated = base.replace('name: cilium-bgp', 'name: cilium-bgp, creationTimestamp: "2026-01-01T00:00:00Z"')
  const more =
    advertisement('b', services('ClusterIP, ExternalIP', ', attributes: {localPreference: 7}')) +
    override('{name: rack, localASN: 65009, peers: [{name: tor, localAddress: 192.168.1.10}]}') +
    service('own', ', clusterIP: 10.96.0.7, externalIPs: [203.0.113.7]').replace('LoadBalancer', 'ClusterIP') +
    service('rival', ', externalIPs: [203.0.113.7]').replace('LoadBalancer', 'NodePort') +
    slice('own') +
    slice('rival')
  const objects = readDocuments('x.yaml', dated + conflict + more + web).flatMap((document) => document.objects)
  const endOf = (order: readonly number[], cut: number): unknown => {
    const translator = createTranslator({ nodeName: 'node-a', datapath: 'ebpf', secretsNamespace: 'kube-system' })
    const state = { services: new Map<string, unknown>(), speaker: {}, podCidrs: {}, problems: new Set<string>() }
    const apply = ({ services: changed, speaker, podCidrs, problems }: DesiredDelta): void => {
      for (const [key, value] of changed) state.services.set(key, value)
      if (speaker !== undefined) state.speaker = speaker
      if (podCidrs !== undefined) state.podCidrs = podCidrs
      if (problems !== undefined)
        state.problems = new Set(problems.map(({ object, code, message }) => `${object.name} ${code} ${message}`))
    }
    for (const [at, index] of order.entries()) {
      const one = objects[index % objects.length]
      assert.ok(one)
      translator.upsert(one.key, one.object, one.origin)
      if (at === cut) translator.synced()
      if (at >= cut) apply(flushAll(translator))
    }
    const services = [...state.services].filter(([, value]) => value !== undefined).sort(([a], [b]) => (a < b ? -1 : 1))
    return { ...state, services, problems: [...state.problems].sort() }
  }
  const all = objects.map((_, index) => index)
  const expected = endOf(all, all.length - 1)
  fc.assert(
    fc.property(
      fc.shuffledSubarray(all, { minLength: all.length }),
      fc.array(fc.nat(), { maxLength: 6 }),
      fc.nat(all.length - 1),
      (order, again, cut) => assert.deepEqual(endOf([...order, ...again], cut), expected),
    ),
    { numRuns: 60 },
  )
})

test('a second configuration ends no session, and the first one gone it takes over', () => {
  const translator = translatorWith(base + web)
  translator.flush()
  const second = clusterConfig({ name: 'newer', meta: ', creationTimestamp: "2027-01-01T00:00:00Z"' })
  const dated = clusterConfig({ meta: ', creationTimestamp: "2026-01-01T00:00:00Z"' })
  change(translator, dated)
  const delta = change(translator, second)
  assert.deepEqual([delta.speaker, codesOf(delta.problems)], [undefined, ['PolicyConflict']])
  translator.remove(gone('CiliumBGPClusterConfig', 'cilium-bgp'))
  const after = translator.flush()
  assert.deepEqual([idsOf(after), codesOf(after.problems)], [['65001/192.168.1.1'], []])
})

test('one object in the other version is the same object', () => {
  const translator = translatorWith(base + web)
  translator.flush()
  const old = (base + web).replaceAll(/cilium\.io\/v2\nkind: CiliumBGP/g, 'cilium.io/v2alpha1\nkind: CiliumBGP')
  const delta = change(translator, old)
  assert.deepEqual([delta.speaker, delta.services.size, delta.problems], [undefined, 0, undefined])
  translator.remove(gone('CiliumBGPAdvertisement', 'a', 'cilium.io/v2alpha1'))
  assert.deepEqual(serviceOf(translator.flush(), 'web').routes, [])
})

test('a deleted peer configuration stays in force while a peer names it, and is told', () => {
  const translator = translatorWith(base + web)
  translator.flush()
  translator.remove(gone('CiliumBGPPeerConfig', 'tor'))
  const delta = translator.flush()
  assert.deepEqual([delta.speaker, delta.services.size, codesOf(delta.problems)], [undefined, 0, ['PeerConfigGone']])
  assert.deepEqual(codesOf(change(translator, peerConfig()).problems), [])
  translator.remove(gone('CiliumBGPPeerConfig', 'tor'))
  translator.flush()
  const other = change(translator, peersOf('{name: tor, peerAddress: 192.168.1.1}'))
  assert.deepEqual(codesOf(other.problems), ['NoAdvertisements'], 'to a peer without one nothing is announced')
  const again = change(translator, clusterConfig())
  assert.deepEqual([idsOf(again), codesOf(again.problems)], [['65001/192.168.1.1'], ['NoPeerConfig']], 'it was let go')
})

test('a broken version of any of the objects changes nothing, and says so at its field', () => {
  const cases: readonly (readonly [string, string])[] = [
    [clusterConfig().replace('65000', '"65000"'), 'spec.bgpInstances[0].peers[0].peerASN'],
    [clusterConfig().replace('bgpInstances', 'bgpInstance'), 'spec.bgpInstance'],
    [peerConfig('timers: {holdTimeSeconds: 2}'), 'spec.timers.holdTimeSeconds'],
    [peerConfig('ebgpMultiHop: 3').replace('families', 'familys'), 'spec.familys'],
    [advertisement('a', '{advertisementType: Service}'), 'spec.advertisements[0].service'],
    [advertisement('a', '').replace('advertisements:', 'advertisment:'), 'spec.advertisment'],
  ]
  for (const [text, field] of cases) {
    const translator = translatorWith(base + web)
    translator.flush()
    const delta = change(translator, text)
    assert.deepEqual([delta.speaker, delta.services.size, delta.podCidrs], [undefined, 0, undefined], field)
    assert.ok(
      delta.problems?.some((problem) => problem.severity === 'error' && problem.field.startsWith(field)),
      `${field}: ${delta.problems?.map((problem) => problem.field).join()}`,
    )
  }
})

test('the advertisement of an iBGP peer says where local preferences meet', () => {
  const ibgp = base.replace('peerASN: 65000', 'peerASN: 65001')
  const two =
    advertisement('a', services('LoadBalancerIP', ', attributes: {localPreference: 100}')) +
    advertisement('b', services('LoadBalancerIP', ', attributes: {localPreference: 200}'))
  const delta = translatorWith(ibgp + two + web).flush()
  assert.equal(serviceOf(delta, 'web').routes[0]?.attributes.localPreference, 200)
})

test('what is validated without a Node is judged, each cluster configuration by itself', () => {
  const codes = (text: string) => codesOf(validateManifests([{ name: 'x.yaml', text }]))
  const objects = clusterConfig() + peerConfig() + advertisement('a', services())
  assert.deepEqual(codes(objects), [])
  assert.deepEqual(codes(objects + clusterConfig({ name: 'other-rack' })), [])
  assert.deepEqual(codes(clusterConfig() + peerConfig('', 'tors')), ['NoPeerConfig'])
  assert.deepEqual(codes(peerConfig('timers: {holdTimeSeconds: 1}')), ['InvalidField'])
  assert.deepEqual(
    codes(objects + node + objects.replaceAll('name: cilium-bgp', 'name: b')).includes('PolicyConflict'),
    true,
  )
})
