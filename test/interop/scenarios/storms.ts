/** Many sessions that come and go. */
import assert from 'node:assert/strict'
import type { SessionTransition } from '../../../src/speaker/protocol.ts'
import { waitFor } from '../../wait.ts'
import { pairs, peering } from '../peering.ts'
import { deadline, type Rig } from '../rig.ts'
import type { Scenario } from '../scenario.ts'

/** No more than fit into the backlog of BIRD's listener. */
const sessions = pairs.slice(0, 8)
const collisionRounds = 25
/** The routers dial a second after a session ended. */
const dialAfterMs = 1_100
const flapRounds = 15
const roundDeadline = { deadlineMs: 30_000, everyMs: 50 }

const setup = () => ({ peerings: sessions.map((transport) => peering({ transport, dialler: 'both' })) })

/**
 * All sessions are over on both sides; the routers that count a Cease of the peer as a failure have ended them
 * themselves.
 */
async function quiet(rig: Rig): Promise<void> {
  // GoBGP 3.10 would wait for 30 s after its own reset.
  if (rig.router.name !== 'GoBGP') {
    const before = new Map((await rig.speaker.peers()).map(({ id, flaps }) => [id, flaps]))
    await rig.router.resetAll()
    // A router that dials again at once has its sessions back before all of them are gone.
    await waitFor(
      'each session was reset',
      async () => (await rig.speaker.peers()).every(({ id, flaps }) => flaps > (before.get(id) ?? 0)),
      deadline,
    )
  }
  rig.deconfigure()
  await waitFor('no session', async () => (await rig.router.establishedCount()) === 0, deadline)
  // A session that was on its way up again has ended for us; a router that is stopped before it read so would meet our
  // next dial in OpenConfirm. ExaBGP takes it then and never says its OPEN again.
  await waitFor('the router has read it', async () => (await rig.connections('router')) === 0, deadline)
}

/**
 * Herald dials and says its OPEN while the router stands still, then Herald stands still while the router, whose own
 * dial is due, accepts and dials: when both go on, each session has two connections with an OPEN on both.
 */
async function collide(rig: Rig, routerId: string): Promise<Round> {
  await quiet(rig)
  const heardBefore = rig.speaker.said.length
  rig.router.signal('SIGSTOP')
  const stopped = Date.now()
  rig.configure({ routerId })
  await waitFor(
    'our OPENs',
    async () => (await rig.speaker.peers()).filter(({ state }) => state === 'OpenSent').length === sessions.length,
    roundDeadline,
  )
  await waitFor('its dials are due', () => Date.now() - stopped > dialAfterMs)
  rig.speaker.signal('SIGSTOP')
  rig.router.signal('SIGCONT')
  const resumed = Date.now()
  await waitFor(
    'its dials',
    async () => (await rig.connections()) === 2 * sessions.length || Date.now() - resumed > dialAfterMs,
    roundDeadline,
  )
  rig.speaker.signal('SIGCONT')
  await rig.established(roundDeadline)
  await waitFor(
    'one connection of each session',
    async () => (await rig.connections()) === sessions.length,
    roundDeadline,
  )
  assert.ok(await rig.isEstablished(), 'the end of the lost connections ends no session')
  return {
    verdicts: rig.speaker.said
      .slice(heardBefore)
      .flatMap(({ message }) => (message?.startsWith('two connections met') === true ? [message] : [])),
    falls: (await rig.speaker.peers()).flatMap(({ transitions }) =>
      transitions
        .filter((each) => progress.indexOf(each.to) < progress.indexOf(each.from) && !isForeseen(rig, each))
        .map(({ from, reason }) => `${from}: ${reason}`),
    ),
  }
}

/** What may end on the way up; nothing ends a session that is Established. */
function isForeseen(rig: Rig, { from, reason }: SessionTransition): boolean {
  if (from === 'Established') return false
  // ExaBGP drops whatever it has when a connection arrives, after its OPEN too, and looks at identifiers in OpenConfirm
  // only.
  return (
    reason.startsWith('two connections met') ||
    (rig.router.name === 'ExaBGP' && reason === 'the peer closed the connection')
  )
}

const progress = ['Idle', 'Connect', 'OpenSent', 'OpenConfirm', 'Established']

interface Round {
  /** What Herald decided where two connections met. */
  readonly verdicts: readonly string[]
  /** Why sessions that had come up, or nearly, went down again; not that the other connection of one is kept. */
  readonly falls: readonly string[]
}

export const storms: readonly Scenario[] = [
  {
    row: 'both sides dial, 200 times',
    title:
      '25 times both sides of 8 sessions dial at once: each time one connection of each is kept, whichever side ' +
      'has the larger identifier (RFC 4271 6.8, RFC 6286 2.3)',
    lacking: {
      GoBGP: 'it waits 5 s and more after each end of a session',
    },
    setup,
    run: async (rig) => {
      // The larger identifier is in turn the router's and ours.
      const rounds: Round[] = []
      for (let round = 0; round < collisionRounds; round++)
        rounds.push(await collide(rig, round % 2 === 0 ? '10.90.0.1' : '10.90.0.9'))
      const [asSmaller, asLarger] = [0, 1].map((rest) =>
        rounds.filter((_, round) => round % 2 === rest).flatMap(({ verdicts }) => verdicts),
      ) as [string[], string[]]
      assert.deepEqual(
        asLarger.filter((verdict) => !/outgoing one is kept|incoming one is closed/.test(verdict)),
        [],
      )
      assert.deepEqual(
        rounds.flatMap((round) => round.falls),
        [],
        'sessions went down again',
      )
      // OpenBGPD and ExaBGP drop their own dial when a connection arrives, so that hardly two OPENs meet.
      if (!['FRR', 'BIRD'].includes(rig.router.name)) return
      assert.ok(
        asLarger.length > 40 && asSmaller.length > 40,
        `${asSmaller.length} and ${asLarger.length} collisions came about`,
      )
      // With FRR our connection is established by then, whose identifier is larger no longer matters.
      if (rig.router.name === 'BIRD')
        assert.ok(asSmaller.some((verdict) => /outgoing one is closed|incoming one is kept/.test(verdict)))
    },
  },
  {
    row: '120 flaps',
    title:
      '15 times 8 sessions are reset by the router and configured anew by Herald: routes are right, memory and ' +
      'descriptors as before',
    setup,
    run: async (rig) => {
      const round = async (number: number): Promise<void> => {
        await quiet(rig)
        rig.configure()
        rig.announce(`192.0.2.${number}/32`)
        await rig.established(deadline)
        await rig.routed('pair-7', `192.0.2.${number}/32`)
        rig.withdraw(`192.0.2.${number}/32`)
      }
      await round(1)
      await round(2)
      const before = rig.speaker.footprint()
      for (let number = 3; number <= flapRounds; number++) await round(number)
      await waitFor('no connection but theirs', async () => (await rig.connections()) === sessions.length, deadline)
      const after = rig.speaker.footprint()
      assert.equal(after.descriptors, before.descriptors)
      assert.ok(
        after.residentMib < before.residentMib + 24,
        `${before.residentMib} MiB became ${after.residentMib} MiB`,
      )
      for (const transport of sessions) assert.equal(await rig.router.route(transport, '192.0.2.1/32'), undefined)
      await waitFor('its routes', async () => (await rig.speaker.received()).length === sessions.length, deadline)
    },
  },
]
