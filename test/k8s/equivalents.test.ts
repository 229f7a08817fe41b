/** One intent in the words of three families of configuration: the same sessions, addresses and routes. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { DesiredDelta, Neighbor } from '../../src/desired/model.ts'
import { anyIntent, asCiliumV1, asCiliumV2, asMetallb, type Intent, peerAddress } from './intent.ts'
import { flushAll, node, slice, translatorWith } from './manifests.ts'

const labelled = (name: string, labels: object): string =>
  `---\n${JSON.stringify({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 'default', labels },
    spec: { type: 'LoadBalancer', ports: [{ name: 'http', port: 80 }] },
  })}\n${slice(name)}`
const web =
  node.replace('kubernetes.io/os: linux', 'kubernetes.io/os: linux, tier: iron') +
  labelled('web', { app: 'web', tier: 'gold' }) +
  labelled('shop', { app: 'shop' }) +
  labelled('other', { app: 'web', tier: 'clay' })

/** What says where something was asked for, and not what. */
type Told = 'id' | 'source' | 'virtualRouter' | 'peerName'

interface Outcome {
  readonly neighbors: readonly Omit<Neighbor, Told>[]
  readonly services: readonly object[]
}

function outcomeOf(text: string): Outcome {
  const { speaker, services } = flushAll(translatorWith(text + web)) satisfies DesiredDelta
  const addressOf = new Map(speaker?.neighbors.map(({ id, peerAddress: address }) => [id, address]))
  const byAddress = (a: string | undefined, b: string | undefined): number => ((a ?? '') < (b ?? '') ? -1 : 1)
  const neighbors = (speaker?.neighbors ?? []).map((each): Omit<Neighbor, Told> => {
    const { id: _id, source: _source, virtualRouter: _router, peerName: _name, ...rest } = each
    return rest
  })
  return {
    neighbors: neighbors.sort((a, b) => byAddress(a.peerAddress, b.peerAddress)),
    services: [...services].map(([key, desired]) => ({
      key,
      addresses: desired?.addresses,
      frontends: desired?.frontends.map(({ id, backends }) => [id, backends]),
      // Which neighbors a route names together is the family's own.
      routes: (desired?.routes ?? [])
        .flatMap(({ neighbors: ids, ...route }) => ids.map((id) => ({ to: addressOf.get(id), ...route })))
        .sort((a, b) => byAddress(`${a.to} ${a.prefix}`, `${b.to} ${b.prefix}`)),
    })),
  }
}

/** MetalLB refuses ebgpMultiHop where the router is in the same AS, where it would mean nothing. */
const isSaidByAll = ({ localAs, peers }: Intent): boolean => peers.every(({ peerAs }) => peerAs !== localAs)

test('an intent means the same in the first and the second version of Cilium and in MetalLB, and in each of their versions', () => {
  let announced = 0
  fc.assert(
    fc.property(anyIntent.filter(isSaidByAll), (intent) => {
      const first = outcomeOf(asCiliumV1(intent))
      announced += first.services.filter((each) => JSON.stringify(each).includes('"to":')).length
      assert.deepEqual(outcomeOf(asCiliumV2(intent)), first, 'cilium.io/v2')
      assert.deepEqual(outcomeOf(asCiliumV2(intent, 'v2alpha1')), first, 'cilium.io/v2alpha1')
      assert.deepEqual(outcomeOf(asMetallb(intent)), first, 'metallb.io/v1beta2')
      assert.deepEqual(outcomeOf(asMetallb(intent, 'v1beta1')), first, 'metallb.io/v1beta1')
    }),
    { numRuns: 80 },
  )
  assert.ok(announced > 30, 'some of them announce something')
})

test('what is meant is what comes out', () => {
  fc.assert(
    fc.property(anyIntent.filter(isSaidByAll), (intent) => {
      const { neighbors } = outcomeOf(asMetallb(intent))
      if (neighbors.length === 0) return
      assert.equal(neighbors.length, intent.peers.length)
      for (const [index, peer] of intent.peers.entries()) {
        const found = neighbors.find((each) => each.peerAddress === peerAddress(peer, index))
        assert.ok(found)
        assert.deepEqual(
          [found.peerAsn, found.localAsn, found.peerPort, found.holdTimeSec, found.keepaliveSec, found.connectRetrySec],
          [peer.peerAs, intent.localAs, peer.port, peer.holdSec, peer.keepaliveSec, peer.retrySec],
        )
        assert.deepEqual(
          [found.multihopTtl, found.gracefulRestart !== undefined, found.passive, found.families.length],
          [peer.isFar ? 255 : 1, peer.restarts, peer.keys['passive'] === true, peer.hasBothFamilies ? 2 : 1],
        )
        const octets = [...new TextEncoder().encode(peer.key ?? '')].map((octet) => String.fromCharCode(octet)).join('')
        assert.equal(found.password ?? '', octets)
      }
    }),
    { numRuns: 100 },
  )
})
