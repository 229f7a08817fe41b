import assert from 'node:assert/strict'
import { test } from 'node:test'
import { validateManifests } from '../../src/k8s/validate.ts'
import { node, policyWith, pool, service, smallestPolicy } from './manifests.ts'

const problemsOf = (text: string): ReturnType<typeof validateManifests> => validateManifests([{ name: 'f.yaml', text }])
const two = (second: string): string => policyWith('{peerAddress: 192.168.1.1/32, peerASN: 65000}', second)
const neighbor = 'spec.virtualRouters[0].neighbors[1]'

test('every bad input is named with its field and line', () => {
  const cases: readonly (readonly [string, string, string, number])[] = [
    [two('{peerAddress: 192.168.1.0/24, peerASN: 65000}'), 'InvalidPeerMask', `${neighbor}.peerAddress`, 12],
    [two('{peerAddress: router, peerASN: 65000}'), 'InvalidPeerAddress', `${neighbor}.peerAddress`, 12],
    [two('{peerAddress: 192.168.1.300/32, peerASN: 65000}'), 'InvalidPeerAddress', `${neighbor}.peerAddress`, 12],
    [two('{peerAddress: 192.168.1.2/32, peerASN: 4294967296}'), 'InvalidField', `${neighbor}.peerASN`, 12],
    [two('{peerAddress: 192.168.1.2/32, peerASN: -1}'), 'InvalidField', `${neighbor}.peerASN`, 12],
    [two('{peerAddress: 192.168.1.2/32}'), 'InvalidField', `${neighbor}.peerASN`, 12],
    [
      two('{peerAddress: 192.168.1.2/32, peerASN: 65000, holdTimeSeconds: 2}'),
      'InvalidField',
      `${neighbor}.holdTimeSeconds`,
      12,
    ],
    [
      two('{peerAddress: 192.168.1.2/32, peerASN: 65000, holdTimeSeconds: 9, keepAliveTimeSeconds: 30}'),
      'KeepaliveAboveHold',
      `${neighbor}.keepAliveTimeSeconds`,
      12,
    ],
    [two('{peerAddress: 192.168.1.1/32, peerASN: 65000}'), 'DuplicateNeighbor', `${neighbor}.peerAddress`, 12],
    [smallestPolicy.replace('65001', '4294967296'), 'InvalidField', 'spec.virtualRouters[0].localASN', 7],
    [smallestPolicy.replace('65001', '0'), 'InvalidField', 'spec.virtualRouters[0].localASN', 7],
    [
      pool.replace('cidr: 198.51.100.0/28', 'start: 10.0.0.9, stop: 10.0.0.1'),
      'ReversedRange',
      'spec.blocks[0].stop',
      5,
    ],
    [
      pool.replace('cidr: 198.51.100.0/28', 'start: 10.0.0.9, stop: "2001:db8::"'),
      'MixedFamilies',
      'spec.blocks[0].stop',
      5,
    ],
    [pool.replace('198.51.100.0/28', '198.51.100.0/33'), 'InvalidPrefix', 'spec.blocks[0].cidr', 5],
    [node.replace('10.244.1.0/24', '10.244.1.0'), 'InvalidPrefix', 'spec.podCIDR', 5],
    [service('web', ', loadBalancerIP: 10.0.0'), 'InvalidAddress', 'spec.loadBalancerIP', 5],
    ['apiVersion: metallb.io/v1beta1\nkind: AddressPool\nmetadata: {name: p}\n', 'KindNotServed', '', 1],
    ['apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata: {name: p}\n', 'InvalidField', 'spec', 1],
  ]
  for (const [text, code, field, line] of cases) {
    assert.deepEqual(
      problemsOf(text).map((problem) => [problem.code, problem.field, problem.object.line]),
      [[code, field, line]],
    )
  }
  assert.deepEqual(problemsOf('apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n'), [])
})

test('an unknown field is a warning that names the field it may stand for', () => {
  const cases: readonly (readonly [string, string, string])[] = [
    [
      smallestPolicy.replace('exportPodCIDR', 'exportPodCidr'),
      'spec.virtualRouters[0].exportPodCidr',
      'Did you mean exportPodCIDR?',
    ],
    [
      policyWith('{peerAddress: 192.168.1.1/32, peerASN: 65000, holdTimeSecond: 9}'),
      'spec.virtualRouters[0].neighbors[0].holdTimeSecond',
      'Did you mean holdTimeSeconds?',
    ],
    [
      policyWith('{peerAddress: 192.168.1.1/32, peerASN: 65000, gracefulRestart: {enabled: true, restartTime: 9}}'),
      'spec.virtualRouters[0].neighbors[0].gracefulRestart.restartTime',
      'Did you mean restartTimeSeconds?',
    ],
    [
      smallestPolicy.replace('nodeSelector: {matchLabels', 'nodeSelector: {matchLabel: {a: b}, matchLabels'),
      'spec.nodeSelector.matchLabel',
      'Did you mean matchLabels?',
    ],
    [
      pool.replace('spec: {', 'spec: {allowFirstLastIps: "No", '),
      'spec.allowFirstLastIps',
      'Did you mean allowFirstLastIPs?',
    ],
    [pool.replace('cidr:', 'end: 1.2.3.4, cidr:'), 'spec.blocks[0].end', 'Remove the field, or correct its spelling.'],
  ]
  for (const [text, field, remedy] of cases) {
    assert.deepEqual(
      problemsOf(text).map((problem) => [problem.severity, problem.code, problem.field, problem.remedy]),
      [['warning', 'UnknownField', field, remedy]],
    )
  }
  const misspelt = problemsOf(smallestPolicy.replace('neighbors:', 'neighbours:'))
  assert.deepEqual(misspelt.map(({ severity, code, field, remedy }) => [severity, code, field, remedy]).sort()[1], [
    'warning',
    'UnknownField',
    'spec.virtualRouters[0].neighbours',
    'Did you mean neighbors?',
  ])
  assert.ok(misspelt.some(({ field }) => field === 'spec.virtualRouters[0].neighbors'))
})

test('a policy without any neighbor left is said not to be used: no version of it was good before', () => {
  const found = problemsOf(policyWith('{peerAddress: 192.168.1.1, peerASN: 65000}'))
  assert.deepEqual(found.map(({ code }) => code).sort(), ['InvalidPeerAddress', 'NoNeighborLeft'])
  for (const { message, remedy } of found) assert.doesNotMatch(`${message} ${remedy}`, /last good/)
})

test('what has the wrong type is one fault: the text of nothing in place of a list is not too short as well', () => {
  const text = policyWith('{peerAddress: 192.168.1.1/32, peerASN: 65000}').replace(
    /neighbors:[\s\S]*$/,
    'neighbors: ""\n',
  )
  assert.deepEqual(
    problemsOf(text).flatMap(({ field, message }) => (field.endsWith('neighbors') ? [message] : [])),
    ['"" is a text, not a list'],
  )
})
