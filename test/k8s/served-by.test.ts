/** Objects that are taken in before it is known by what this node serves. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TranslatorOptions } from '../../src/k8s/translate/translator.ts'
import type { ServedBy } from '../../src/k8s/translate/types.ts'
import { createTranslator } from '../../src/k8s/translate/translator.ts'
import { change, deliver, flushAll, node, pool, service, slice, smallestPolicy } from './manifests.ts'

const plain = service('inner', ', clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10]').replace(
  'type: LoadBalancer',
  'type: ClusterIP',
)
const text =
  smallestPolicy +
  node +
  node.replaceAll('node-a', 'node-b').replaceAll('192.168.1.10', '192.168.1.11') +
  pool +
  service('web') +
  slice('web', 'node-b') +
  plain +
  slice('inner') +
  service('proxied', ', externalIPs: [192.0.2.77]') +
  slice('proxied')
const options = { nodeName: 'node-a', secretsNamespace: 'kube-system' } as const
const some: Readonly<Record<string, ServedBy>> = {
  'something else': { datapath: 'none' },
  'the datapath': { datapath: 'ebpf' },
  'the datapath, also what is on other nodes': { datapath: 'ebpf', tunnels: 'nodes', whyNoSnat: 'there are no ports' },
  'the datapath, for sockets too': { datapath: 'ebpf', leadsSockets: true },
  'the datapath, in the place of kube-proxy': {
    ...{ datapath: 'ebpf', leadsSockets: true, nodePortAddresses: 'primary' },
    proxying: () => ({ listeners: new Set<string>() }),
  },
}

for (const [what, by] of Object.entries(some))
  test(`served by ${what}: all is as if that had been known from the beginning, and after a change too`, () => {
    const early = createTranslator({ ...options, datapath: 'none' } satisfies TranslatorOptions)
    deliver(early, text)
    early.serveBy(by)
    early.synced()
    const known = createTranslator({ ...options, ...by })
    deliver(known, text)
    known.synced()
    const expected = flushAll(known)
    assert.ok(expected.services.size > 0)
    assert.deepEqual(flushAll(early), expected)
    assert.equal(early.usesProcesses, known.usesProcesses)
    const moved = slice('web')
    assert.deepEqual(change(early, moved), change(known, moved))
  })
