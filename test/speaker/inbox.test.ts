/** What the agent posts costs the speaker a bounded piece of work in each turn, counted, never timed. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MessageChannel } from 'node:worker_threads'
import { Inbox, unitsPerTurn } from '../../src/speaker/inbox.ts'
import { packRoutes } from '../../src/speaker/packed-routes.ts'
import type { PrefixRoutes, ToSpeaker } from '../../src/speaker/protocol.ts'
import { neighborOf } from './pair.ts'

/** Turns of a loop, one by one. */
class Loop {
  #due: (() => void)[] = []

  readonly soon = (callback: () => void): void => void this.#due.push(callback)

  get isIdle(): boolean {
    return this.#due.length === 0
  }

  turn(): void {
    const due = this.#due
    this.#due = []
    for (const callback of due) callback()
  }
}

/** An inbox, and what was handled in each turn. */
class Stage {
  readonly loop = new Loop()
  readonly turns: ToSpeaker[][] = []
  readonly inbox: Inbox
  answering: (message: ToSpeaker) => void = () => {}

  constructor() {
    this.inbox = new Inbox(this.loop, (message) => {
      this.turns.at(-1)?.push(message)
      this.answering(message)
    })
  }

  run(): void {
    while (!this.loop.isIdle) {
      assert.ok(this.turns.length < 10_000, 'it ends')
      this.turns.push([])
      this.loop.turn()
    }
  }
}

const question = (id: number): ToSpeaker => ({ type: 'query', id, query: { what: 'peers' } })
const reset = (id: number): ToSpeaker => ({ type: 'command', id, command: { what: 'reset', peer: '*' } })
const routes = (count: number): ToSpeaker => ({
  type: 'routes',
  prefixes: Array.from({ length: count }, (_, i): PrefixRoutes => ({ prefix: `192.0.2.${i & 255}/32`, routes: [] })),
})

test('questions and commands have a turn each, however many lie in the port', () => {
  const stage = new Stage()
  for (let id = 0; id < 50; id++) stage.inbox.take(id % 2 === 0 ? question(id) : reset(id))
  stage.run()
  assert.equal(stage.turns.length, 50)
  for (const turn of stage.turns) assert.equal(turn.length, 1)
})

test('a question that is posted while the one before is answered comes in a later turn', () => {
  const stage = new Stage()
  let asked = 1
  // As the agent does when it has the processor meanwhile: the answer brings the next question at once.
  stage.answering = () => {
    if (asked < 20) stage.inbox.take(question(asked++))
  }
  stage.inbox.take(question(0))
  stage.run()
  assert.equal(asked, 20)
  for (const turn of stage.turns) assert.equal(turn.length, 1)
})

test('nothing is handled while the port hands over, so that a turn is one whatever came before in it', () => {
  const stage = new Stage()
  stage.inbox.take(question(0))
  stage.inbox.take({ type: 'synced' })
  assert.equal(stage.turns.length, 0)
  stage.run()
  assert.deepEqual(
    stage.turns.map((turn) => turn.map(({ type }) => type)),
    [['query'], ['synced']],
  )
})

test('routes of many messages are taken in turns of bounded work, and in their order', () => {
  const stage = new Stage()
  const sent = Array.from({ length: 200 }, (_, i) => routes(i % 64))
  for (const message of sent) stage.inbox.take(message)
  stage.run()
  assert.deepEqual(stage.turns.flat(), sent)
  const prefixesOf = (turn: readonly ToSpeaker[]): number =>
    turn.reduce((sum, message) => sum + (message.type === 'routes' ? message.prefixes.length : 0), 0)
  const most = Math.max(...stage.turns.map(prefixesOf))
  assert.ok(most <= unitsPerTurn / 4, `${most} prefixes in a turn`)
  assert.ok(most > 64, 'small ones share a turn')
})

test('a message that is more than a turn of work goes alone, and what follows is not lost', () => {
  const stage = new Stage()
  const neighbors = Array.from({ length: 300 }, (_, i) => neighborOf(65_001, 65_002, `192.0.2.${i & 255}`))
  const sent: readonly ToSpeaker[] = [
    { type: 'syncing' },
    routes(10_000),
    { type: 'configure', neighbors },
    { type: 'synced' },
    { type: 'stop', mode: 'restart', text: '' },
  ]
  for (const message of sent) stage.inbox.take(message)
  stage.run()
  assert.deepEqual(stage.turns, [[sent[0]], [sent[1]], [sent[2]], [sent[3], sent[4]]])
})

test('a real port that hands over hundreds of questions at once has one answered between two turns of the loop', async () => {
  const { port1: agent, port2: speaker } = new MessageChannel()
  const questions = 300
  let [answered, inTurn, most] = [0, 0, 0]
  const done = Promise.withResolvers<void>()
  const inbox = new Inbox({ soon: (callback) => void setImmediate(callback) }, () => {
    most = Math.max(most, ++inTurn)
    if (++answered === questions) done.resolve()
  })
  speaker.on('message', (message: ToSpeaker) => inbox.take(message))
  // An immediate that asks for the next one runs once in each turn of the loop.
  const turned = (): void => {
    inTurn = 0
    if (answered < questions) setImmediate(turned)
  }
  turned()
  for (let id = 0; id < questions; id++) agent.postMessage(question(id))
  await done.promise
  agent.close()
  assert.equal(most, 1)
})

test('packed routes are a turn as those are that came out of them, and are unpacked in their turn', () => {
  const stage = new Stage()
  const asked: ToSpeaker[] = [routes(400), routes(200), routes(100), question(1)]
  for (const message of asked) stage.inbox.take(message.type === 'routes' ? packRoutes(message.prefixes) : message)
  stage.run()
  assert.deepEqual(stage.turns.flat(), asked)
  assert.deepEqual(
    stage.turns.map((handled) => handled.length),
    [1, 2, 1],
  )
})
