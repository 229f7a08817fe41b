/** Each row of the tables in reconcile/plan.ts, and what holds for all plans. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { frontendId, type DesiredService } from '../../src/desired/model.ts'
import { formatStep, planLeftovers, planServices, type PlanView, type Step } from '../../src/reconcile/plan.ts'

interface World {
  readonly wanted?: readonly DesiredService[]
  /** Frontends that a Service claimed before, beside what it wants. */
  readonly former?: Readonly<Record<string, readonly string[]>>
  readonly owners?: Readonly<Record<string, string>>
  /** By frontend, the last octets of the backends that the kernel holds. */
  readonly held?: Readonly<Record<string, readonly number[]>>
  readonly announced?: Readonly<Record<string, readonly string[]>>
  readonly isGated?: boolean
  readonly isServing?: boolean
}

const id = (port: number, vip = '10.0.0.1'): string => frontendId(vip, 'TCP', port)
const backends = (octets: readonly number[]): { address: string; port: number }[] =>
  octets.map((octet) => ({ address: `10.1.0.${octet}`, port: 8080 }))
const route = (prefix: string): DesiredService['routes'][number] => ({ prefix, neighbors: ['n'], attributes: {} })

/** A Service with these ports on one address. */
function service(
  key: string,
  ports: readonly number[],
  octets: readonly number[] = [1],
  vip = '10.0.0.1',
  prefixes: readonly string[] = [`${vip}/32`],
): DesiredService {
  return {
    key,
    source: { kind: 'Service', name: key },
    addresses: [vip],
    externalTrafficPolicy: 'Cluster',
    remoteBackends: 0,
    verdicts: [],
    frontends: ports.map((port) => ({
      id: id(port, vip),
      service: key,
      address: vip,
      protocol: 'TCP',
      port,
      backends: backends(octets),
    })),
    routes: prefixes.map(route),
  }
}

function viewOf(world: World): PlanView {
  const wanted = new Map((world.wanted ?? []).map((one) => [one.key, one]))
  return {
    isGated: world.isGated ?? true,
    isServing: world.isServing ?? true,
    wanted: (key) => wanted.get(key),
    claimed: (key) => [...(wanted.get(key)?.frontends.map((each) => each.id) ?? []), ...(world.former?.[key] ?? [])],
    claimants: (frontend) =>
      [...wanted.values()]
        .filter((one) => one.frontends.some((each) => each.id === frontend))
        .map(({ key }) => key)
        .sort(),
    owner: (frontend) => world.owners?.[frontend],
    held: (frontend) => {
      const octets = world.held?.[frontend]
      if (octets === undefined) return undefined
      return { id: frontend, address: '', protocol: 'TCP', port: 0, serviceId: 0, backends: backends(octets) }
    },
    announced: (key) => (world.announced?.[key] ?? []).map(route),
  }
}

const planned = (asked: readonly string[], world: World): string[] =>
  planServices(asked, viewOf(world)).steps.map(formatStep)

const rows: readonly (readonly [string, readonly string[], World, readonly string[]])[] = [
  [
    'a new Service is programmed, then announced',
    ['a'],
    { wanted: [service('a', [80, 443])] },
    [
      'program 10.0.0.1:80/TCP of a with 1 backends',
      'program 10.0.0.1:443/TCP of a with 1 backends',
      'announce 10.0.0.1/32 of a',
    ],
  ],
  [
    'what is held as it is wanted is kept, and announced again, which changes nothing',
    ['a'],
    {
      wanted: [service('a', [80])],
      owners: { [id(80)]: 'a' },
      held: { [id(80)]: [1] },
      announced: { a: ['10.0.0.1/32'] },
    },
    ['keep 10.0.0.1:80/TCP of a (Held)', 'announce 10.0.0.1/32 of a'],
  ],
  [
    'after a restart what is held and nobody owns yet is kept for the Service that wants it',
    ['a'],
    { wanted: [service('a', [80])], held: { [id(80)]: [1] } },
    ['keep 10.0.0.1:80/TCP of a (Held)', 'announce 10.0.0.1/32 of a'],
  ],
  [
    'other backends are programmed, the announcement stays',
    ['a'],
    {
      wanted: [service('a', [80], [1, 2])],
      owners: { [id(80)]: 'a' },
      held: { [id(80)]: [1] },
      announced: { a: ['10.0.0.1/32'] },
    },
    ['program 10.0.0.1:80/TCP of a with 2 backends', 'announce 10.0.0.1/32 of a'],
  ],
  [
    'a Service that is gone is withdrawn, then drained',
    ['a'],
    {
      former: { a: [id(80)] },
      owners: { [id(80)]: 'a' },
      held: { [id(80)]: [1] },
      announced: { a: ['10.0.0.1/32'] },
    },
    ['withdraw 10.0.0.1/32 of a (NotWanted)', 'drain 10.0.0.1:80/TCP (NotWanted)'],
  ],
  [
    'a port that is wanted no more drains, the address stays announced',
    ['a'],
    {
      wanted: [service('a', [80])],
      former: { a: [id(443)] },
      owners: { [id(80)]: 'a', [id(443)]: 'a' },
      held: { [id(80)]: [1], [id(443)]: [1] },
      announced: { a: ['10.0.0.1/32'] },
    },
    ['drain 10.0.0.1:443/TCP (NotWanted)', 'keep 10.0.0.1:80/TCP of a (Held)', 'announce 10.0.0.1/32 of a'],
  ],
  [
    'without backends the route is withdrawn before the frontend is emptied',
    ['a'],
    {
      wanted: [service('a', [80], [], '10.0.0.1', [])],
      owners: { [id(80)]: 'a' },
      held: { [id(80)]: [1] },
      announced: { a: ['10.0.0.1/32'] },
    },
    ['withdraw 10.0.0.1/32 of a (NotWanted)', 'program 10.0.0.1:80/TCP of a with 0 backends', 'announce nothing of a'],
  ],
  [
    'another address: the old one goes first, the new one is served before it is announced',
    ['a'],
    {
      wanted: [service('a', [80], [1], '10.0.0.2')],
      former: { a: [id(80)] },
      owners: { [id(80)]: 'a' },
      held: { [id(80)]: [1] },
      announced: { a: ['10.0.0.1/32'] },
    },
    [
      'withdraw 10.0.0.1/32 of a (NotWanted)',
      'drain 10.0.0.1:80/TCP (NotWanted)',
      'program 10.0.0.2:80/TCP of a with 1 backends',
      'announce 10.0.0.2/32 of a',
    ],
  ],
  [
    'a frontend that another Service owns is not written, and its Service not announced; its other ports are written',
    ['b'],
    {
      wanted: [service('a', [80]), service('b', [80, 443], [2])],
      owners: { [id(80)]: 'a' },
      held: { [id(80)]: [1] },
      announced: { a: ['10.0.0.1/32'] },
    },
    ['keep 10.0.0.1:80/TCP of b (OtherOwner)', 'program 10.0.0.1:443/TCP of b with 1 backends'],
  ],
  [
    'of two that want a frontend nobody owns the first by name has it, whoever was asked first',
    ['b', 'a'],
    { wanted: [service('b', [80], [2]), service('a', [80], [1])] },
    [
      'keep 10.0.0.1:80/TCP of b (OtherOwner)',
      'program 10.0.0.1:80/TCP of a with 1 backends',
      'announce 10.0.0.1/32 of a',
    ],
  ],
  [
    'after a restart the one for whom the kernel serves a port has it, not the first by name',
    ['a', 'b'],
    { wanted: [service('a', [80], [1]), service('b', [80], [2])], held: { [id(80)]: [2] } },
    ['keep 10.0.0.1:80/TCP of a (OtherOwner)', 'keep 10.0.0.1:80/TCP of b (Held)', 'announce 10.0.0.1/32 of b'],
  ],
  [
    'of two that want a port one without a route has it last',
    ['a', 'b'],
    { wanted: [service('a', [80], [], '10.0.0.1', []), service('b', [80], [2])] },
    [
      'keep 10.0.0.1:80/TCP of a (OtherOwner)',
      'program 10.0.0.1:80/TCP of b with 1 backends',
      'announce 10.0.0.1/32 of b',
    ],
  ],
  [
    'the end of the owner hands frontend and route over, also to a Service that was not asked for',
    ['a'],
    {
      wanted: [service('b', [80], [2])],
      former: { a: [id(80)] },
      owners: { [id(80)]: 'a' },
      held: { [id(80)]: [1] },
      announced: { a: ['10.0.0.1/32'] },
    },
    [
      'release 10.0.0.1/32 of a to b',
      'hand over 10.0.0.1:80/TCP from a to b',
      'program 10.0.0.1:80/TCP of b with 1 backends',
      'announce 10.0.0.1/32 of b',
    ],
  ],
  [
    'the end of a Service that owned nothing of what it wanted leaves the owner alone',
    ['b'],
    {
      wanted: [service('a', [80])],
      former: { b: [id(80)] },
      owners: { [id(80)]: 'a' },
      held: { [id(80)]: [1] },
      announced: { a: ['10.0.0.1/32'] },
    },
    [],
  ],
  [
    'without an uplink nothing is announced and what is announced is withdrawn; the kernel is kept up to date',
    ['a', 'b'],
    {
      wanted: [service('a', [80]), service('b', [80], [1], '10.0.0.2')],
      owners: { [id(80)]: 'a' },
      held: { [id(80)]: [1] },
      announced: { a: ['10.0.0.1/32'] },
      isServing: false,
    },
    [
      'withdraw 10.0.0.1/32 of a (NoUplink)',
      'keep 10.0.0.1:80/TCP of a (Held)',
      'keep 10.0.0.1/32 of a (NoUplink)',
      'program 10.0.0.2:80/TCP of b with 1 backends',
      'keep 10.0.0.2/32 of b (NoUplink)',
    ],
  ],
  [
    'where nothing is programmed nothing is gated',
    ['a'],
    { wanted: [service('a', [80])], isGated: false, isServing: false },
    ['announce 10.0.0.1/32 of a'],
  ],
  ['a Service that nobody knows has no steps', ['x'], {}, []],
]
for (const [title, asked, world, steps] of rows) test(title, () => assert.deepEqual(planned(asked, world), steps))

test('what an earlier process left drains, unless somebody owns or wants it', () => {
  const view = viewOf({ wanted: [service('a', [80])], owners: { [id(81)]: 'b' } })
  assert.deepEqual(planLeftovers([id(80), id(81), id(82)], view).map(formatStep), ['drain 10.0.0.1:82/TCP (LeftOver)'])
})

test('the heir of a port comes with all its own steps, once, also when it was asked for', () => {
  const world: World = {
    wanted: [service('b', [80, 443], [2])],
    former: { a: [id(80), id(443)] },
    owners: { [id(80)]: 'a', [id(443)]: 'a' },
    held: { [id(80)]: [1], [id(443)]: [1] },
  }
  const alone = planServices(['a'], viewOf(world))
  assert.deepEqual(alone.services, ['a', 'b'])
  assert.deepEqual(alone.steps, planServices(['a', 'b'], viewOf(world)).steps)
})

test('in every plan withdrawals come first, a Service is announced after its last program step, and once', () => {
  const vips = ['10.0.0.1', '10.0.0.2']
  const wish = fc.record({
    key: fc.constantFrom('a', 'b', 'c'),
    vip: fc.constantFrom(...vips),
    ports: fc.uniqueArray(fc.constantFrom(80, 81, 82), { minLength: 1 }),
    octets: fc.uniqueArray(fc.constantFrom(1, 2, 3)),
  })
  const ids = vips.flatMap((vip) => [80, 81, 82].map((port) => id(port, vip)))
  fc.assert(
    fc.property(
      fc.uniqueArray(wish, { selector: ({ key }) => key }),
      fc.dictionary(fc.constantFrom(...ids), fc.constantFrom('a', 'b', 'c')),
      fc.dictionary(fc.constantFrom('a', 'b', 'c'), fc.uniqueArray(fc.constantFrom('10.0.0.1/32', '10.0.0.2/32'))),
      fc.boolean(),
      (wishes, owners, announced, isServing) => {
        const wanted = wishes.map(({ key, vip, ports, octets }) => service(key, ports, octets, vip))
        const former = { a: ids, b: ids, c: ids }
        const held = Object.fromEntries(Object.keys(owners).map((frontend) => [frontend, [1]]))
        const view = viewOf({ wanted, owners, announced, held, former, isServing })
        const { steps } = planServices(['c', 'a', 'b'], view)
        const at = (match: (step: Step) => boolean): number[] => steps.flatMap((step, i) => (match(step) ? [i] : []))
        const lastWithdrawal = Math.max(-1, ...at((step) => step.do === 'withdraw'))
        const others = at((step) => step.do !== 'withdraw' && step.do !== 'release')
        assert.ok(others.every((i) => i > lastWithdrawal))
        for (const { key } of wanted) {
          const [announcing, ...again] = at((step) => step.do === 'announce' && step.service === key)
          assert.equal(again.length, 0)
          const programs = at((step) => step.do === 'program' && step.service === key)
          if (announcing !== undefined) assert.ok(programs.every((i) => i < announcing))
        }
        // A frontend is written for one Service, and never drained when somebody wants it.
        for (const frontend of ids) {
          assert.ok(at((step) => step.do === 'program' && step.frontend.id === frontend).length <= 1)
          const drains = at((step) => step.do === 'drain' && step.frontend === frontend)
          assert.ok(drains.length === 0 || view.claimants(frontend).length === 0)
        }
        // What is released is announced by the successor in the same plan.
        for (const step of steps) {
          if (step.do !== 'release') continue
          const heir = steps.find((each) => each.do === 'announce' && each.service === step.to)
          const prefixes = heir?.do === 'announce' ? heir.routes.map(({ prefix }) => prefix) : []
          assert.ok(step.prefixes.every((prefix) => prefixes.includes(prefix)))
        }
      },
    ),
    { numRuns: 500 },
  )
})
