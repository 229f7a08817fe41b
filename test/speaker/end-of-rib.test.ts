/** Until when End-of-RIB waits for what the agent still has to hand over, and what it does not wait for. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Stage } from './stage.ts'
import { seen } from './virtual.ts'

const all = 2_500

/** The first router restarts; its session is the nth and has its routes. */
async function comesBack(stage: Stage, nth: number): Promise<void> {
  stage.first.restart([])
  await seen(stage.network, 'a session', () => stage.first.sessions[nth - 1]?.table.size === all, 30)
}

test('a session that begins while more is handed over has End-of-RIB when that is done (RFC 4724 2)', async () => {
  const stage = new Stage()
  await stage.start()
  stage.node.speaker.handle({ type: 'syncing' })
  stage.change(1, {})
  stage.first.restart([])
  await stage.network.advance(30)
  const sessions = stage.routers.map(({ session }) => session)
  assert.deepEqual(
    sessions.map((session) => [session?.table.size, session?.endOfRibs]),
    [
      [all, 0],
      [all, 0],
    ],
  )
  // What follows is for sessions that begin later, however soon it comes.
  stage.node.speaker.handle({ type: 'synced' })
  stage.node.speaker.handle({ type: 'syncing' })
  await stage.network.advance(5)
  assert.deepEqual([stage.first.sessions.length, sessions[0]], [2, stage.first.session])
  stage.check()
})

test('a first update that is under way ends with End-of-RIB, whatever is handed over meanwhile (RFC 4724 2)', async () => {
  const stage = new Stage()
  // A router that reads slowly: several turns.
  Object.assign(stage.host, { windowOctets: 512, highWaterOctets: 1_024 })
  await stage.start()
  stage.change(1, {})
  const session = await seen(stage.network, 'a route', () => {
    const last = stage.routers[1]?.session
    return last !== undefined && last.table.size > 0 ? last : undefined
  })
  assert.ok(session.table.size < all)
  stage.node.speaker.handle({ type: 'syncing' })
  await stage.network.advance(30)
  assert.deepEqual([session.sizeAtEndOfRib, session.endOfRibs], [all, 1])
  stage.check()
})

test('what is handed over without an end is waited for a minute by each session, and by none that is over', async () => {
  let armed = 0
  const stage = new Stage({}, (environment) => ({
    ...environment,
    after: (sec, run) => {
      armed++
      return environment.after(sec, run)
    },
  }))
  await stage.start()
  stage.node.speaker.handle({ type: 'syncing' })
  stage.change(1, {})
  await stage.network.advance(30)
  await comesBack(stage, 2)
  const endOfRibs = (): (number | undefined)[] => stage.routers.map(({ session }) => session?.endOfRibs)
  assert.deepEqual(endOfRibs(), [0, 0])
  await seen(stage.network, 'End-of-RIB', () => stage.routers[1]?.session?.endOfRibs === 1, 40)
  assert.deepEqual(endOfRibs(), [0, 1])
  await seen(stage.network, 'End-of-RIB', () => stage.first.session?.endOfRibs === 1, 40)
  await comesBack(stage, 3)
  assert.deepEqual(endOfRibs(), [0, 1])
  stage.node.speaker.handle({ type: 'stop', mode: 'restart', text: '' })
  await seen(stage.network, 'the end', () => stage.node.said.some(({ type }) => type === 'stopped'))
  const before = armed
  await stage.network.advance(90)
  assert.deepEqual([armed, endOfRibs()], [before, [0, 1]], 'a speaker that stopped has no timer left')
})
