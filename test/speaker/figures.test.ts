/** Peers read from shared memory: what the agent sees without a question is what the speaker would answer. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseAddress } from '../../src/ip/address.ts'
import { FigureReader, FigureWriter } from '../../src/speaker/figures.ts'
import type { PeerSnapshot } from '../../src/speaker/protocol.ts'
import { bytes, marker } from './session/fixture.ts'
import { type Job, jobs, Stage } from './stage.ts'

/** A session on which something was said that counts as an error, or that means nothing. */
const slips: Readonly<Record<string, Job>> = {
  'an UPDATE with an ORIGIN of 7': {
    begin: ({ first }) =>
      first.session?.say(
        bytes(`${marker} 002f 02 0000 0014 400101 07 4002 06 0201 0000fc59 4003 04 c000020b 18c63364`),
      ),
  },
  'a ROUTE-REFRESH of a family that the session does not have': {
    begin: ({ first }) => first.session?.say(bytes(`${marker} 0017 05 0002 00 01`)),
  },
  'a message of no type': { begin: ({ first }) => first.session?.say(bytes(`${marker} 0013 09`)) },
  'a connection of the peer that says nothing': {
    begin: ({ first }) =>
      first.host
        .dial({ peer: parseAddress('192.0.2.1') ?? 0, port: 179, ttl: 255 })
        .attach({ connected() {}, data() {}, drained() {}, failed() {}, closed() {} }),
  },
  'a hold time that waits for the next session': { begin: (stage) => stage.change(0, { holdTimeSec: 30 }) },
  'a limit that the peer is over': { begin: (stage) => stage.change(0, { maxPrefixes: 10 }) },
  'a neighbor that nobody answers for': { begin: (stage) => stage.change(1, { peerPort: 1_790 }) },
  'the end of the process': {
    begin: ({ node }) => node.speaker.handle({ type: 'stop', mode: 'shutdown', text: 'enough' }),
  },
}

/** The agent's side of a stage, which counts its questions and is compared with a question of its own. */
class Agent {
  asked = 0
  readonly reader: FigureReader
  readonly stage: Stage
  #before = ''

  constructor() {
    this.reader = new FigureReader(
      () => {
        this.asked++
        return Promise.resolve(this.stage.node.peers)
      },
      () => this.stage.network.sec * 1000,
    )
    this.stage = new Stage({ figures: this.reader.buffer })
  }

  /** Without the idle hold, which is told with what is left of it when it was asked. */
  static shown(peers: readonly PeerSnapshot[]): readonly object[] {
    return peers.map((peer) => (peer.state === 'Idle' ? { ...peer, reason: undefined } : peer))
  }

  async compare(when: string): Promise<void> {
    const read = Agent.shown(await this.reader.peers())
    const told = Agent.shown(this.stage.node.peers)
    this.stage.node.said.splice(0)
    assert.deepEqual(read, told, when)
  }

  /** Whether anything but a figure changed since it was asked the last time. */
  get hasNews(): boolean {
    const text = JSON.stringify(
      this.stage.node.peers.map((peer) => ({ ...peer, messagesIn: 0, messagesOut: 0, families: [] })),
    )
    const isNew = text !== this.#before
    this.#before = text
    return isNew
  }
}

for (const [name, job] of Object.entries({ ...jobs, ...slips }))
  test(`after each step of ${name} the agent reads what the speaker would answer`, async () => {
    const agent = new Agent()
    const { stage } = agent
    await stage.start()
    job.prepare?.(stage)
    await stage.network.advance(30)
    await agent.compare('before')
    job.begin(stage)
    for (let step = 0; step < 400; step++) {
      await agent.compare(`step ${step}`)
      await stage.network.advance(step < 300 ? 0.001 : 0.5)
    }
    await agent.compare('in the end')
  })

test('ten thousand reads of sessions that are up ask nothing, while messages and routes come and go', async () => {
  const agent = new Agent()
  const { stage } = agent
  stage.change(1, {})
  await stage.start()
  await stage.network.advance(40)
  await agent.reader.peers()
  agent.asked = 0
  let last = 0
  for (let round = 0; round < 100; round++) {
    stage.first.askForRoutes()
    stage.first.session?.announce()
    for (let i = 0; i < 100; i++) {
      const [peer] = await agent.reader.peers()
      assert.ok((peer?.messagesIn ?? 0) >= last, 'figures only grow on a session')
      last = peer?.messagesIn ?? 0
    }
    await stage.network.advance(1)
    await agent.compare(`round ${round}`)
  }
  assert.ok(last > 100)
  assert.equal(agent.asked, 0)
})

test('a session that changes costs one question for each time that something is new, however often it is read', async () => {
  const agent = new Agent()
  const { stage } = agent
  await stage.start()
  await stage.network.advance(5)
  assert.ok(agent.hasNews)
  let changes = 1
  for (let step = 0; step < 200; step++) {
    if (step % 50 === 10) stage.first.session?.lose()
    await stage.network.advance(0.1)
    if (agent.hasNews) changes++
    for (let i = 0; i < 20; i++) await agent.reader.peers()
  }
  assert.ok(changes > 4)
  assert.ok(agent.asked <= 2 * changes, `${agent.asked} questions for ${changes} changes`)
})

test('what changes while an answer is under way is not taken for what is', async () => {
  const answers: ((peers: readonly PeerSnapshot[]) => void)[] = []
  const reader = new FigureReader(
    () => new Promise((resolve) => answers.push(resolve)),
    () => 0,
  )
  const writer = new FigureWriter(reader.buffer)
  const first = reader.peers()
  writer.changed()
  answers[0]?.([])
  assert.deepEqual(await first, [])
  const second = reader.peers()
  assert.equal(answers.length, 2, 'it asks again')
  reader.forget()
  answers[1]?.([])
  await second
  const third = reader.peers()
  assert.equal(answers.length, 3, 'what was told to the speaker meanwhile is not in that answer')
  answers[2]?.([])
  await third
  await reader.peers()
  assert.equal(answers.length, 3, 'an answer of this edition holds')
})

test('peers beyond the rows are asked for every time', async () => {
  const peer = new Agent().stage.node.peers[0]
  let asked = 0
  const many = Array.from({ length: 1_025 }, () => ({ ...peer, families: [] }) as unknown as PeerSnapshot)
  const reader = new FigureReader(
    () => {
      asked++
      return Promise.resolve(many)
    },
    () => 0,
  )
  await reader.peers()
  await reader.peers()
  assert.equal(asked, 2)
  new FigureWriter(reader.buffer).write(1_024, {
    messagesIn: 1,
    messagesOut: 1,
    updatesIn: 1,
    updatesOut: 1,
    received: { ipv4: 1, ipv6: 1 },
    advertised: { ipv4: 1, ipv6: 1 },
  })
})
