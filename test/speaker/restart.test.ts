/** The helper's side of graceful restart, limits and drain, between speakers of our own. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ipv4Unicast } from '../../src/bgp/messages/types.ts'
import { StaleRoutes } from '../../src/speaker/stale-routes.ts'
import { waitFor } from '../wait.ts'
import { faster } from './session/fixture.ts'
import { Rack, type Recorded } from './pair.ts'

const families = [{ family: ipv4Unicast, forwarding: true }]
const restart = {
  type: 'gracefulRestart',
  restartState: true,
  notification: false,
  restartTimeSec: 20,
  families,
} as const

/** What a table would be asked to do, family by family. */
class Asked {
  readonly calls: string[] = []
  markStale(): void {
    this.calls.push('mark')
  }
  sweepStale({ afi }: { readonly afi: number }): void {
    this.calls.push(`sweep ${afi}`)
  }
}

function helping() {
  const table = new Asked()
  const said: string[] = []
  return { table, said, routes: new StaleRoutes(table, faster(100), (message) => said.push(message)) }
}

test(
  'routes of a lost peer are marked, families that it cannot restart go, and all go when it does not come ' +
    'back (RFC 4724 4.2)',
  async () => {
    const { table, said, routes } = helping()
    routes.lost(restart)
    assert.deepEqual(table.calls, ['sweep 1', 'sweep 2', 'mark', 'sweep 2'])
    await waitFor('the restart time', () => !routes.isHelping)
    assert.deepEqual(table.calls.slice(4), ['sweep 1', 'sweep 2'])
    assert.match(said.at(-1) ?? '', /did not come back/)
  },
)

test('what is stale of a first restart goes when a second one begins (RFC 4724 4.2)', () => {
  const { table, routes } = helping()
  routes.lost(restart)
  routes.established(restart)
  table.calls.length = 0
  routes.lost(restart)
  assert.deepEqual(table.calls.slice(0, 3), ['sweep 1', 'sweep 2', 'mark'])
  routes.end()
})

test(
  'a peer that comes back without the F bit, the family or graceful restart loses what is stale at once (RFC ' +
    '4724 4.2)',
  () => {
    for (const again of [
      { ...restart, families: [{ family: ipv4Unicast, forwarding: false }] },
      { ...restart, families: [] },
      undefined,
    ]) {
      const { table, routes } = helping()
      routes.lost(restart)
      table.calls.length = 0
      routes.established(again)
      assert.ok(table.calls.includes('sweep 1'))
      assert.equal(routes.isHelping, false)
    }
  },
)

test('End-of-RIB removes what is still stale, and without it the stale time does (RFC 4724 4.2)', async () => {
  const { table, routes } = helping()
  routes.lost(restart)
  routes.established(restart)
  assert.equal(routes.isHelping, true)
  table.calls.length = 0
  routes.endOfRib(ipv4Unicast)
  assert.equal(table.calls[0], 'sweep 1')
  assert.equal(routes.isHelping, false)
  routes.lost(restart)
  routes.established(restart)
  await waitFor('the stale time', () => !routes.isHelping)
})

const graceful = { gracefulRestart: { restartTimeSec: 30, notification: false }, holdTimeSec: 90 }

test('the routes of a router that restarts stay in view, stale, and the log says for how long (RFC 4724 4.2)', async () => {
  await using rack = await Rack.open(1, graceful, graceful)
  await rack.connect()
  const [router] = rack.routers as [Recorded]
  const id = router.peers[0]?.id ?? ''
  const say = (...prefixes: string[]): void =>
    router.speaker.handle({
      type: 'routes',
      prefixes: prefixes.map((prefix) => ({ prefix, routes: [{ neighbors: [id], attributes: {} }] })),
    })
  say('198.51.100.0/24', '203.0.113.0/24')
  await waitFor('both routes', () => rack.node.prefixes.length === 2)
  await router.stop('restart')
  await waitFor(
    'both stale',
    () =>
      rack.node.routes('received').length === 2 && rack.node.routes('received').every(({ stale }) => stale === true),
  )
  assert.equal(rack.node.peers[0]?.state === 'Established', false)
  assert.ok(rack.node.said.some((message) => message.type === 'log' && message.message.includes('kept for 30 s')))
})

test('a neighbor that leaves the configuration takes its stale routes along', async () => {
  await using rack = await Rack.open(1, graceful, graceful)
  await rack.connect()
  const [router] = rack.routers as [Recorded]
  router.speaker.handle({
    type: 'routes',
    prefixes: [{ prefix: '198.51.100.0/24', routes: [{ neighbors: [router.peers[0]?.id ?? ''], attributes: {} }] }],
  })
  await waitFor('the route', () => rack.node.prefixes.length === 1)
  await router.stop('restart')
  await waitFor('stale', () => rack.node.routes('received')[0]?.stale === true)
  rack.node.speaker.handle({ type: 'configure', neighbors: [] })
  assert.deepEqual(rack.node.prefixes, [])
})

test(
  'more prefixes than maxPrefixes end the session with 6/1, and a higher limit brings it back at once (RFC ' +
    '4486 4)',
  async () => {
    await using rack = await Rack.open(1, { maxPrefixes: 2 })
    await rack.connect()
    const [router] = rack.routers as [Recorded]
    const id = router.peers[0]?.id ?? ''
    router.speaker.handle({
      type: 'routes',
      prefixes: ['198.51.100.0/24', '203.0.113.0/24', '192.0.2.0/24'].map((prefix) => ({
        prefix,
        routes: [{ neighbors: [id], attributes: {} }],
      })),
    })
    const reset = await waitFor('the Cease', () => router.peers[0]?.lastReset)
    assert.deepEqual([reset.code, reset.subcode], [6, 1])
    assert.match(rack.node.peers[0]?.reason ?? '', /3 prefixes of ipv4-unicast, at most 2 are taken.*after 300 s/)
    rack.node.speaker.handle({
      type: 'configure',
      neighbors: rack.neighbors.map((neighbor) => ({ ...neighbor, maxPrefixes: 10 })),
    })
    await rack.established()
    await waitFor('all three', () => rack.node.prefixes.length === 3)
  },
)

test(
  'a drained node says GRACEFUL_SHUTDOWN first, then withdraws; undone, everything is back, and no session ' +
    'was lost (RFC 8326 4)',
  async () => {
    await using rack = await Rack.open(1)
    await rack.connect()
    rack.announce('192.0.2.1/32')
    const [router] = rack.routers as [Recorded]
    await waitFor('the route', () => router.prefixes.length === 1)
    rack.node.speaker.handle({ type: 'configure', neighbors: rack.neighbors, isDraining: true })
    await waitFor(
      'the community',
      () => router.routes('received')[0]?.communities.includes('graceful-shutdown') === true,
    )
    await waitFor('the withdrawal', () => router.prefixes.length === 0)
    rack.announce('192.0.2.2/32')
    rack.node.speaker.handle({ type: 'configure', neighbors: rack.neighbors, isDraining: false })
    await waitFor('both routes', () => router.prefixes.length === 2)
    assert.deepEqual(router.routes('received')[0]?.communities, [])
    assert.equal(router.peers[0]?.flaps, 0)
  },
)
