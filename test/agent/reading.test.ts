/** Objects that are read before there is an agent. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Reading, type Reader } from '../../src/agent/reading.ts'
import type { Problem } from '../../src/desired/model.ts'
import { HeraldError } from '../../src/errors.ts'
import type { ObjectKey, ObjectSource, SourceEvents } from '../../src/k8s/source.ts'
import { MemorySource } from '../../src/k8s/memory-source.ts'

const keyOf = (kind: string, name: string): ObjectKey => ({ apiVersion: 'v1', kind, namespace: '', name })
const problem: Problem = {
  ...{ severity: 'error', code: 'Unreadable', object: { kind: 'File', name: 'a' }, field: '' },
  ...{ message: 'broken', remedy: 'mend it' },
}

interface Heard {
  readonly taken: readonly string[]
  readonly told: readonly string[]
  readonly events: SourceEvents
  readonly reading: Reading
  readonly reader: Reader
}

/** A source that delivers what a test has it deliver. */
function heard(start: (events: SourceEvents) => Promise<void> = async () => {}): Heard {
  const [taken, told]: [string[], string[]] = [[], []]
  let given: SourceEvents | undefined
  const source: ObjectSource = new MemorySource()
  source.start = (events) => {
    given = events
    return start(events)
  }
  const translator = {
    upsert: ({ kind, name }: ObjectKey) => void taken.push(`upsert ${kind} ${name}`),
    remove: ({ kind, name }: ObjectKey) => void taken.push(`remove ${kind} ${name}`),
    secrets: new Set(['kube-system/key']),
  }
  const reader: Reader = {
    report: ({ name }) => void told.push(`report ${name}`),
    reportGone: () => void told.push('no report'),
    node: (name, uid) => void told.push(`node ${name} ${uid}`),
    problems: (list) => void told.push(`problems ${list.length}`),
    flush: () => void told.push('flush'),
    synced: () => void told.push('synced'),
    note: (message) => void told.push(`note ${message}`),
  }
  const reading = new Reading({ source, translator })
  reading.begin()
  assert.ok(given !== undefined, 'reading has begun')
  return { taken, told, events: given, reading, reader }
}

function deliver(events: SourceEvents): void {
  events.upsert(keyOf('Node', 'node1'), {}, undefined, { uid: 'u1' })
  events.upsert(keyOf('Service', 'web'), {}, undefined, {})
  events.upsert(keyOf('CiliumBGPNodeConfig', 'node1'), {}, undefined, {})
  events.remove(keyOf('Service', 'web'))
  events.problems([problem])
  events.note?.('gone')
}

const forTranslator = ['upsert Node node1', 'upsert Service web', 'remove Service web']
const forAgent = ['node node1 u1', 'report node1', 'problems 1', 'note gone']

test('objects are taken in at once, with the Secrets that they ask for; the rest waits for the agent, in order', () => {
  const { taken, told, events, reading, reader } = heard()
  deliver(events)
  for (let n = 0; n < 3; n++) events.flush()
  events.synced()
  events.remove(keyOf('CiliumBGPNodeConfig', 'node1'))
  assert.deepEqual(taken, forTranslator)
  assert.deepEqual([...(events.secrets?.() ?? [])], ['kube-system/key'])
  assert.deepEqual(told, [])
  void reading.follow(reader)
  assert.deepEqual(told, [...forAgent, 'synced', 'no report', 'flush'], 'one flush for all')
  events.flush()
  assert.deepEqual(told.slice(-2), ['flush', 'flush'])
})

test('an agent that is there hears all of it as it comes, and nothing twice', () => {
  const { taken, told, events, reading, reader } = heard()
  void reading.follow(reader)
  assert.deepEqual(told, [])
  deliver(events)
  events.flush()
  assert.deepEqual([taken, told], [forTranslator, [...forAgent, 'flush']])
})

test('a source that cannot be begun fails whoever follows, and nobody before', async () => {
  const failure = new HeraldError('ERR_SYSCALL', 'no such source')
  const { reading, reader } = heard(() => Promise.reject(failure))
  await assert.rejects(reading.follow(reader), failure)
})
