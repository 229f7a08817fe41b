/** What is explained of what has a lot to be said: paths and attributes of a prefix, errors of a Service. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { explain, type ExplainParts } from '../../src/agent/explain-views.ts'
import type { ExplainView } from '../../src/api/types.ts'
import type { Problem } from '../../src/desired/model.ts'
import type { RouteSnapshot } from '../../src/speaker/protocol.ts'

const prefix = '198.51.100.0/24'

const path = (pathId: number, more: Partial<RouteSnapshot> = {}): RouteSnapshot => ({
  peer: '65001/192.0.2.1',
  virtualRouter: 'rack0',
  prefix,
  nextHop: '192.0.2.1',
  since: '2026-01-01T00:00:00.000Z',
  origin: 'IGP',
  asPath: '65000',
  communities: [],
  largeCommunities: [],
  extendedCommunities: [],
  pathId,
  best: false,
  decision: 'longer AS path',
  ...more,
})

function partsOf(paths: readonly RouteSnapshot[], problems: readonly Problem[] = []): ExplainParts {
  return {
    nodeName: 'node1',
    source: { detail: 'a test' },
    agent: {
      order: { services: new Map(), service: () => undefined, verdict: () => assert.fail(), isProgrammed: () => true },
      speaker: undefined,
      isDrained: false,
      podCidrs: [],
      problems,
    },
    speaker: { peers: async () => [], route: async () => [], paths: async () => paths },
  }
}

const explained = (paths: readonly RouteSnapshot[]): Promise<ExplainView> =>
  explain(partsOf(paths), { kind: 'route', name: prefix })

test('the best path is among those that are shown, and is what the verdict is about, however many there are', async () => {
  const best = path(1_000, { best: true })
  const { verdicts, paths = [] } = await explained([...Array.from({ length: 999 }, (_, i) => path(i + 1)), best])
  assert.deepEqual([verdicts[0]?.code, paths.at(-1)?.best, paths.length], ['Imported', true, 501])
})

test('what comes with the paths that are shown is bounded, as text', async () => {
  const communities = Array.from({ length: 16_000 }, (_, i) => `65535:${10_000 + i}`)
  const many = Array.from({ length: 64 }, (_, i) => path(i + 1, { communities }))
  const view = await explained([...many, path(99, { best: true })])
  assert.ok(JSON.stringify(view).length < 2_000_000)
  assert.deepEqual([view.verdicts[0]?.code, view.paths?.at(-1)?.pathId], ['Imported', 99])
})

test('a Service that was never understood says all that is wrong with it, and no warnings beside', async () => {
  const problem = (field: string, severity: Problem['severity'] = 'error'): Problem => {
    const object = { kind: 'Service', namespace: 'shop', name: 'web' }
    return { severity, object, field, code: 'InvalidField', message: `${field} is odd`, remedy: 'Write another' }
  }
  const asked = { kind: 'service', name: 'shop/web' } as const
  const of = (...problems: readonly Problem[]): Promise<ExplainView> => explain(partsOf([], problems), asked)
  const view = await of(problem('a'), problem('w', 'warning'), problem('b'), problem('c'))
  assert.deepEqual(
    [view.exists, view.ok, view.verdicts.map(({ message }) => message)],
    [false, false, ['a: a is odd', 'b: b is odd', 'c: c is odd']],
  )
  assert.equal((await of(problem('w', 'warning'))).verdicts[0]?.message, 'w: w is odd')
})
