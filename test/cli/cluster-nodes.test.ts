/** What `status --cluster` says of a node whose flows go through the stack. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { StatusCondition } from '../../src/k8s/status.ts'
import { nodeView } from '../../src/cli/cluster.ts'
import { nodesTable } from '../../src/cli/status.ts'

const condition = (type: string, status: 'True' | 'False', reason: string, message: string): StatusCondition => ({
  ...{ type, status, reason, message, lastTransitionTime: '2023-11-14T22:13:20Z' },
})
const said = 'kindnet has a policy'
const view = (status: 'True' | 'False', reason: string, isSilent: boolean) =>
  nodeView(
    {
      node: 'node1',
      object: undefined,
      life: undefined,
      isSilent,
      silentSec: isSilent ? 47 : 3,
      report: {
        node: 'node1',
        isOurs: true,
        instances: [],
        conditions: [
          condition('herald.dev/Healthy', 'True', 'Ok', 'all is well'),
          condition('herald.dev/PastNetfilter', status, reason, said),
        ],
      },
    },
    undefined,
  )

test('why flows of a node go through the stack is told beside its health, while it is heard and was not told to', () => {
  const way = `all is well; flows go through the stack: ${said}`
  assert.match(nodesTable([view('False', 'Stack', false)]), new RegExp(`^node1 +ok +0/0 +0 +${way}$`, 'm'))
  for (const [status, reason, isSilent] of [
    ['True', 'Redirect', false],
    ['False', 'AskedFor', false],
    ['False', 'Stack', true],
  ] as const) {
    const node = view(status, reason, isSilent)
    assert.equal(node.stackReason, undefined, reason)
    assert.doesNotMatch(nodesTable([node]), /through the stack/)
  }
})

test('a node that is drained is told apart from one that has nothing to announce, while it is heard', () => {
  const drained = (isSilent: boolean) =>
    nodeView(
      {
        ...{ node: 'node1', object: undefined, life: undefined, isSilent, silentSec: isSilent ? 47 : 3 },
        report: {
          ...{ node: 'node1', isOurs: true, instances: [] },
          conditions: [
            condition('herald.dev/Healthy', 'True', 'Ok', 'all is well'),
            condition('herald.dev/Drained', 'True', 'Drained', 'routes are withdrawn, sessions stay'),
          ],
        },
      },
      undefined,
    )
  assert.equal(drained(false).isDrained, true)
  assert.match(nodesTable([drained(false)]), /^node1 +ok +0\/0 +0 +all is well; drained: routes are withdrawn$/m)
  assert.equal(drained(true).isDrained, undefined)
})
