/**
 * Whatever comes in the middle of a settle: the loop is kept for one turn at a time, and a stop leaves nothing behind.
 */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { Agent } from '../../src/agent/agent.ts'
import { MemoryLog } from '../../src/agent/agent-log.ts'
import { InForceRecord } from '../../src/agent/in-force.ts'
import { MemoryLinks } from '../../src/agent/links.ts'
import { RestartMarker } from '../../src/agent/restart-marker.ts'
import { openFileBook } from '../../src/allocation/file-book.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import { createFakeDatapath } from '../../src/datapath/fake.ts'
import { readDocuments } from '../../src/k8s/documents.ts'
import { MemorySource, type MemoryObject } from '../../src/k8s/memory-source.ts'
import { createTranslator } from '../../src/k8s/translate/translator.ts'
import { InMemorySpeakerThread } from '../../src/speaker/in-memory-thread.ts'
import { node, pool, service, slice, smallestPolicy } from '../k8s/manifests.ts'

const objectsOf = (text: string): MemoryObject[] => readDocuments('test.yaml', text).flatMap(({ objects }) => objects)
const wide = pool.replace('198.51.100.0/28', '198.18.0.0/16')
const many = Array.from({ length: 100 }, (_, i) => service(`s${i}`) + slice(`s${i}`)).join('')
const all = smallestPolicy + node + wide + many

/** An agent of a folder that has a record, whose every turn is over after one step. */
function agentOf(folder: string): {
  readonly agent: Agent
  readonly source: MemorySource
  readonly speaker: InMemorySpeakerThread
  readonly clock: VirtualClock
} {
  let ms = 0
  const [clock, source, speaker, links] = [
    new VirtualClock(),
    new MemorySource(),
    new InMemorySpeakerThread(),
    new MemoryLinks(),
  ]
  links.set([{ index: 2, name: 'eth0' }])
  const addressBook = openFileBook(folder, join(folder, 'state'), { lockWaitMs: 0 })
  const own = { nodeName: 'node-a', datapath: 'ebpf', secretsNamespace: 'kube-system' } as const
  const agent = new Agent({
    ...{ source, speaker, links, clock },
    translator: createTranslator({ ...own, addressBook, nowMs: () => (ms += 10) }),
    datapath: createFakeDatapath(),
    marker: new RestartMarker(join(folder, 'state')),
    record: new InForceRecord(join(folder, 'state')),
    log: new MemoryLog(),
  })
  return { agent, source, speaker, clock }
}

function folderOf(t: TestContext): { readonly folder: string; readonly lock: string } {
  const folder = mkdtempSync(join(tmpdir(), 'turns-'))
  t.after(() => rmSync(folder, { recursive: true }))
  for (const name of ['state', '.herald']) mkdirSync(join(folder, name))
  return { folder, lock: join(folder, '.herald', 'allocations.lock') }
}

test('events in the middle of a settle are for the turn that is due: each round of the loop has one', async (t) => {
  const { agent, source, speaker, clock } = agentOf(folderOf(t).folder)
  source.put(...objectsOf(all))
  await agent.start()
  const before = agent.reconcile.count
  for (let i = 0; i < 50; i++) source.flush()
  assert.equal(agent.reconcile.count, before, 'a look costs nothing while a turn is due')
  const turns: number[] = []
  let seen = agent.reconcile.count
  const round = (): void => {
    turns.push(agent.reconcile.count - seen)
    seen = agent.reconcile.count
    source.flush()
    if (!speaker.isSynced && turns.length < 10_000) clock.soon(round)
  }
  round()
  clock.settle()
  assert.ok(turns.length > 200, `${turns.length} rounds`)
  assert.ok(Math.max(...turns) <= 1, `${Math.max(...turns)} turns in one round`)
  assert.deepEqual([speaker.isSynced, speaker.announced.size], [true, 101])
})

test('a stop in the middle of a settle gives the lock of the record back, and the next agent has it at once', async (t) => {
  const { folder, lock } = folderOf(t)
  for (const rounds of [0, 1, 7, 150]) {
    const one = agentOf(folder)
    one.source.put(...objectsOf(all))
    await one.agent.start()
    let left = rounds
    const round = (): void => {
      if (existsSync(lock) && left-- === 0) void one.agent.stop()
      else one.clock.soon(round)
    }
    one.clock.soon(round)
    one.clock.settle()
    assert.equal(existsSync(lock), false, `after ${rounds} rounds`)
    one.source.flush()
    one.clock.advance(60_000)
    assert.equal(existsSync(join(folder, '.herald', 'allocations.yaml')), false)
  }
  const next = agentOf(folder)
  next.source.put(...objectsOf(all))
  await next.agent.start()
  next.clock.settle()
  assert.deepEqual([next.speaker.isSynced, next.speaker.announced.size], [true, 101])
})

/** What keeps the record from being used, and what ends it. */
const hindrances = {
  'that another agent has': (lock: string) => writeFileSync(lock, ''),
  'that takes nothing': (lock: string) => mkdirSync(lock),
} as const

for (const [what, plant] of Object.entries(hindrances))
  test(`a record ${what} is tried again in two seconds, whether anything comes or not, and not all the time`, async (t) => {
    const { folder, lock } = folderOf(t)
    plant(lock)
    const { agent, source, speaker, clock } = agentOf(folder)
    source.put(...objectsOf(all))
    await agent.start()
    clock.settle()
    assert.deepEqual([...speaker.announced.keys()], ['10.244.1.0/24'])
    assert.equal(speaker.isSynced, true, 'what can be done was done')
    const [waits, turns] = [clock.pending, agent.reconcile.count]
    for (let i = 0; i < 20; i++) {
      source.flush()
      clock.settle()
    }
    assert.equal(clock.pending, waits, 'however often it was in vain, one wait')
    assert.ok(agent.reconcile.count > turns + 1_000, 'each attempt takes many turns')
    rmSync(lock, { recursive: true })
    clock.advance(2_000)
    assert.equal(speaker.announced.size, 101)
  })

test('a source that cannot be read is waited for by one wait, however much happens meanwhile', async (t) => {
  const { folder } = folderOf(t)
  const first = agentOf(folder)
  first.source.put(...objectsOf(all))
  await first.agent.start()
  first.clock.advance(10_000)
  await first.agent.stop()
  const next = agentOf(folder)
  next.source.isReachable = false
  await next.agent.start()
  next.clock.advance(100_000)
  assert.equal(next.speaker.isSynced, false)
  const waits = next.clock.pending
  for (let i = 0; i < 20; i++) {
    next.source.flush()
    next.clock.settle()
  }
  assert.equal(next.clock.pending, waits)
})

test('End-of-RIB follows the settle, also where an earlier agent left its lock: nothing is withdrawn (RFC 4724 4.1)', async (t) => {
  const { folder, lock } = folderOf(t)
  const first = agentOf(folder)
  first.source.put(...objectsOf(all))
  await first.agent.start()
  first.clock.settle()
  const before = [...first.speaker.announced.keys()].sort()
  assert.equal(before.length, 101)
  for (const isLocked of [false, true]) {
    if (isLocked) writeFileSync(lock, '')
    const next = agentOf(folder)
    next.source.put(...objectsOf(all + service('new') + slice('new')))
    await next.agent.start()
    const round = (): void => {
      source.flush()
      if (!speaker.isSynced) clock.soon(round)
      else atEnd.push(...speaker.announced.keys())
    }
    const { source, speaker, clock } = next
    const atEnd: string[] = []
    round()
    clock.settle()
    assert.deepEqual(
      before.filter((prefix) => !atEnd.includes(prefix)),
      [],
      `locked: ${isLocked}`,
    )
    await next.agent.stop()
  }
})
