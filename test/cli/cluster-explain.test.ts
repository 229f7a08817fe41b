/** What `explain service --cluster` makes of what nodes and the operator say. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ClusterServiceNodeView, VerdictView } from '../../src/api/types.ts'
import { serviceOnNode, withOperator } from '../../src/cli/cluster-explain.ts'
import { nodesText } from '../../src/cli/explain.ts'
import { readDocuments } from '../../src/k8s/documents.ts'
import type { AgentFacts } from '../../src/k8s/node-life.ts'
import { node, pool, service, slice, smallestPolicy } from '../k8s/manifests.ts'

const yes = (step: VerdictView['step'], code: string): VerdictView => ({ step, ok: true, code, message: 'so' })
const nobody: VerdictView = { step: 'allocated', ok: false, code: 'NotInStatus', message: 'none', remedy: 'Wait.' }
const chain = [yes('class', 'NoClass'), nobody, yes('selected', 'Selected')]
const served = (reason: string, message: string, status = 'False') => ({
  status: { conditions: [{ type: 'herald.dev/AddressAllocated', status, reason, message }] },
})

test('why the operator gives no address stands in the place of its step, with the remedy that it wrote', () => {
  const said = withOperator(served('NoPool', 'there is no pool p. Name a pool that there is. Or make it.'), chain)
  assert.deepEqual(
    said.map(({ step, ok }) => `${step} ${ok}`),
    ['class true', 'allocated false', 'selected true'],
  )
  assert.deepEqual(
    [said[1]?.code, said[1]?.message, said[1]?.remedy],
    ['NoPool', 'there is no pool p', 'Name a pool that there is. Or make it.'],
  )
  const bare = withOperator(served('NoPool', 'there is no pool'), chain)
  assert.deepEqual([bare[1]?.message, bare[1]?.remedy], ['there is no pool', 'See the events of the Service'])
  assert.equal(withOperator(served('Allocated', 'all is well', 'True'), chain), chain)
  assert.equal(withOperator({}, chain), chain)
})

const nodeOf = (name: string, announces: ClusterServiceNodeView['announces']): ClusterServiceNodeView => ({
  ...{ node: name, announces, announcedTo: [], wantedBy: [], verdicts: [] },
})

for (const [all, text] of [
  [['yes', 'yes', 'no'], 'announced by 2 of 3 nodes'],
  [['to-some', 'to-some', 'no'], 'announced by 2 of 3 nodes, to some of their peers only'],
  [['yes', 'to-some', 'unknown'], 'announced by 2 of 3 nodes, 1 of them to some of their peers only'],
  [['no', 'no', 'no'], 'announced by 0 of 3 nodes'],
] as const) {
  test(`nodes that announce to ${all.join(', ')}: ${text}`, () => {
    const nodes = all.map((each, i) => nodeOf(`node${i + 1}`, each))
    const view = { subject: 'service a/b', exists: true, ok: false, addresses: [], verdicts: [], nodes }
    assert.equal(nodesText(view, false).split('\n')[0], `service a/b: ${text}`)
  })
}

test('a node that its agent says is drained announces nothing, by whatever command that is', () => {
  const status = 'status: {loadBalancer: {ingress: [{ip: 198.51.100.3}]}}\n'
  const found = (text: string) => readDocuments('test.yaml', text).flatMap(({ objects }) => objects)
  const around = found(smallestPolicy + pool + service('web') + status + slice('web'))
  const facts: AgentFacts = {
    version: '1.2.3',
    datapath: 'ebpf',
    secretsNamespace: 'kube-system',
    ignoreExcludeLb: false,
    withdrawOn: [],
    isClassRequired: false,
    remoteBackends: 'tunnel',
    whyNoSnat: '',
  }
  const announcedBy = (drained: 'True' | 'False' | undefined) => {
    const said = { reason: 'x', message: '', lastTransitionTime: '2023-11-14T22:13:20Z' }
    const conditions = drained === undefined ? [] : [{ type: 'herald.dev/Drained', status: drained, ...said }]
    const session = { name: '192.168.1.1', peerAddress: '192.168.1.1', peerAsn: 65_000, families: [] }
    return serviceOnNode(around, 'default/web', {
      ...{ node: 'node-a', object: found(node)[0]?.object, silentSec: 3, isSilent: false },
      life: { node: 'node-a', renewedMs: 0, lastsSec: 40, facts },
      report: {
        ...{ node: 'node-a', isOurs: true, conditions },
        instances: [{ name: '65001', localAsn: 65_001, peers: [{ ...session, state: 'Established' }] }],
      },
    })
  }
  assert.equal(announcedBy('False')?.view.announces, 'yes')
  assert.equal(announcedBy(undefined)?.view.announces, 'yes', 'an earlier version says nothing of it')
  const drained = announcedBy('True')
  assert.deepEqual([drained?.view.announces, drained?.all.at(-1)?.code], ['no', 'Drained'])
})
