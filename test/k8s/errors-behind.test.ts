/** An error of a field hides none of another field, also where the schema fails and what follows it is not come to. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatPath } from '../../src/k8s/kinds/narrow.ts'
import { parseObject, type ServedKind } from '../../src/k8s/kinds/table.ts'

const metadata = { name: 'web', namespace: 'shop' }

interface Case {
  readonly what: string
  readonly kind: ServedKind
  readonly fields: object
  readonly told: readonly string[]
}

const cases: readonly Case[] = [
  {
    what: 'a switch that is none, and what is checked after the schema',
    kind: 'IPAddressPool',
    fields: { spec: { autoAssign: 'no', addresses: ['198.51.100.0/33', '198.51.100.9-198.51.100.1'] } },
    told: ['spec.addresses[0]', 'spec.addresses[1]', 'spec.autoAssign'],
  },
  {
    what: 'a word in a selector that cannot be without it',
    kind: 'IPAddressPool',
    fields: {
      spec: {
        addresses: ['x'],
        serviceAllocation: { serviceSelectors: [{ matchExpressions: [{ key: 'app', operator: 'Inn' }] }] },
      },
    },
    told: ['spec.addresses[0]', 'spec.serviceAllocation.serviceSelectors[0].matchExpressions[0].operator'],
  },
  {
    what: 'an AS number that is too large, addresses and timers',
    kind: 'BGPPeer',
    fields: {
      spec: { myASN: 0, peerASN: 2 ** 32, peerAddress: '192.0.2.300', holdTime: '1s', sourceAddress: 'lo' },
    },
    told: ['spec.holdTime', 'spec.myASN', 'spec.peerASN', 'spec.peerAddress', 'spec.sourceAddress'],
  },
  {
    what: 'the selector of a policy, and its neighbors',
    kind: 'CiliumBGPPeeringPolicy',
    fields: {
      spec: {
        nodeSelector: { matchLabels: { rack: 1 } },
        virtualRouters: [
          {
            localASN: 65001,
            neighbors: [
              { peerAddress: '192.0.2.1', peerASN: 65000 },
              { peerAddress: '192.0.2.2/32', peerASN: 'tor' },
              { peerAddress: '192.0.2.3/32', peerASN: 65000 },
            ],
          },
        ],
      },
    },
    told: [
      'spec.nodeSelector.matchLabels.rack',
      'spec.virtualRouters[0].neighbors[0].peerAddress',
      'spec.virtualRouters[0].neighbors[1].peerASN',
    ],
  },
  {
    what: 'ports of a Service, and its annotations',
    kind: 'Service',
    fields: {
      metadata: { ...metadata, annotations: { 'metallb.io/loadBalancerIPs': '198.51.100.300' } },
      spec: { type: 'LoadBalancer', ports: [{ port: '80' }], loadBalancerSourceRanges: ['everybody'] },
    },
    told: ['metadata.annotations.metallb.io/loadBalancerIPs', 'spec.loadBalancerSourceRanges[0]', 'spec.ports[0].port'],
  },
  {
    what: 'a misspelt field of a Service, and its ranges',
    kind: 'Service',
    fields: {
      spec: {
        type: 'LoadBalancer',
        ports: [{ port: 80 }],
        sesionAffinity: 'ClientIP',
        loadBalancerSourceRanges: ['x'],
      },
    },
    told: ['spec.loadBalancerSourceRanges[0]', 'spec.sesionAffinity'],
  },
]

for (const { what, kind, fields, told } of cases)
  test(`${what}: both are told`, () => {
    const { value, faults } = parseObject(kind, { metadata, ...fields }, undefined)
    const errors = faults.filter(({ severity }) => severity === 'error')
    assert.deepEqual([value, errors.map(({ path }) => formatPath(path)).sort()], [undefined, told])
  })

test('what comes of the absence of a field that was left out for its error is not told', () => {
  const neighbor = { peerAddress: '192.0.2.1/32', peerASN: 65000, holdTimeSeconds: 70_000, keepAliveTimeSeconds: 100 }
  const only = { virtualRouters: [{ localASN: 65001, neighbors: [neighbor] }] }
  const peer = { myASN: 65001, peerAddress: '192.0.2.1' }
  const hold = 'spec.virtualRouters[0].neighbors[0].holdTimeSeconds'
  for (const [kind, spec, told] of [
    ['CiliumBGPPeeringPolicy', { nodeSelector: 1, ...only }, ['spec.nodeSelector', hold]],
    ['BGPPeer', { ...peer, peerASN: 'tor' }, ['spec.peerASN']],
    ['BGPPeer', { ...peer, peerASN: 65000, holdTime: 9, keepaliveTime: '200s' }, ['spec.holdTime']],
    [
      'CiliumBGPPeerConfig',
      { ebgpMultihop: 300, timers: { holdTimeSeconds: 1, keepAliveTimeSeconds: 100 } },
      ['spec.timers.holdTimeSeconds', 'spec.ebgpMultihop'],
    ],
    ['IPAddressPool', { addresses: 'x' }, ['spec.addresses']],
    ['CiliumLoadBalancerIPPool', { blocks: 5, disabled: 'no' }, ['spec.blocks', 'spec.disabled']],
  ] as const) {
    const { faults } = parseObject(kind, { metadata, spec }, undefined)
    const errors = faults.filter(({ severity, code }) => severity === 'error' && code !== 'NoNeighborLeft')
    assert.deepEqual(
      errors.map(({ path }) => formatPath(path)),
      told,
      kind,
    )
  }
})

test('an object in force stays so whatever else is told of a version that is not understood', () => {
  const good = { spec: { addresses: ['198.51.100.0/28'] } }
  const { value: before } = parseObject('IPAddressPool', { metadata, ...good }, undefined)
  assert.ok(before !== undefined)
  const spec = { addresses: ['198.51.100.0/33'], autoAssign: 'no' }
  const { value, faults } = parseObject('IPAddressPool', { metadata, spec }, before)
  assert.equal(value, undefined)
  for (const { remedy } of faults) assert.match(remedy, /the last good version stays in force\.$/)
  assert.equal(faults.length, 2)
})
