/**
 * The longest turn of the main loop, in CPU time of its thread, while thousands of Services get their first addresses,
 * and while a pool that all of them are in changes: of an agent on a folder, and of an operator. Beside it, in the same
 * run, what the allocation costs in one piece.
 *
 *     node bench/settle.ts [services]
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openFileBook } from '../src/allocation/file-book.ts'
import { FolderAllocator } from '../src/allocation/folder-allocator.ts'
import { MemoryBook } from '../src/allocation/memory-book.ts'
import { allOf } from '../src/allocation/work.ts'
import type { Clock, Wait } from '../src/clock/clock.ts'
import { systemClock } from '../src/clock/system-clock.ts'
import { parseService, type Service } from '../src/k8s/kinds/service.ts'
import { MemoryCluster } from '../src/k8s/memory-cluster.ts'
import type { ObjectKey, RawObject, SourceEvents } from '../src/k8s/source.ts'
import { ServiceAddresses } from '../src/k8s/translate/addresses.ts'
import { createTranslator } from '../src/k8s/translate/translator.ts'
import { MemoryOperatorLog } from '../src/operator/log.ts'
import { Operator } from '../src/operator/operator.ts'
import { threadCpuMs } from './thread-time.ts'

const count = Number(process.argv[2] ?? 20_000)

const serviceKey = (i: number): ObjectKey => ({
  apiVersion: 'v1',
  kind: 'Service',
  namespace: `team-${i % 50}`,
  name: `service-${i}`,
})
const poolKey: ObjectKey = {
  apiVersion: 'cilium.io/v2',
  kind: 'CiliumLoadBalancerIPPool',
  namespace: '',
  name: 'pool',
}

function rawService(i: number): RawObject {
  const { namespace, name } = serviceKey(i)
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace, labels: { app: name }, creationTimestamp: '2026-01-01T00:00:00Z' },
    spec: { type: 'LoadBalancer', selector: { app: name }, ports: [{ name: 'http', port: 80 }] },
  }
}

const rawPool = (...cidrs: readonly string[]): RawObject => ({
  apiVersion: 'cilium.io/v2',
  kind: 'CiliumLoadBalancerIPPool',
  metadata: { name: 'pool', creationTimestamp: '2026-01-01T00:00:00Z' },
  spec: { blocks: cidrs.map((cidr) => ({ cidr })) },
})

/** The longest of some turns, and all of them. */
class Turns {
  longestMs = 0
  allMs = 0
  count = 0

  run(turn: () => void): void {
    const from = threadCpuMs()
    turn()
    const ms = threadCpuMs() - from
    this.longestMs = Math.max(this.longestMs, ms)
    this.allMs += ms
    this.count++
  }

  get text(): string {
    return `longest turn ${this.longestMs.toFixed(1)} ms, ${this.count} turns, ${this.allMs.toFixed(0)} ms`
  }
}

function say(what: string, text: string): void {
  process.stdout.write(`${what.padEnd(38)} ${text}\n`)
}

function onePiece(): void {
  const services = new Map<string, Service>()
  for (let i = 0; i < count; i++) {
    const { value } = parseService(rawService(i))
    if (value !== undefined) services.set(`${value.metadata.namespace}/${value.metadata.name}`, value)
  }
  const addresses = new ServiceAddresses(new FolderAllocator(new MemoryBook()))
  const range = { family: 'ipv4', first: 0x0a000000n, last: 0x0a00ffffn, sparesEnds: false } as const
  const shape = { kind: 'Pool', name: 'pool', labels: {}, selectors: [], autoAssign: true, priority: 0 } as const
  addresses.setPools([{ ...shape, ranges: [range] }])
  const turns = new Turns()
  turns.run(() => allOf(addresses.settle(services.keys(), (key) => services.get(key))))
  say('allocation in one piece', turns.text)
}

function inFolder(folder: string): void {
  const addressBook = openFileBook(folder, join(folder, 'state'))
  const options = { nodeName: 'node', datapath: 'none', secretsNamespace: '', nowMs: () => performance.now() } as const
  const translator = createTranslator({ ...options, addressBook })
  for (let i = 0; i < count; i++) translator.upsert(serviceKey(i), rawService(i), undefined)
  translator.upsert(poolKey, rawPool('10.0.0.0/16'), undefined)
  translator.synced()
  const flushAll = (what: string): void => {
    const turns = new Turns()
    do turns.run(() => translator.flush())
    while (translator.hasMore)
    say(what, turns.text)
  }
  flushAll('folder: first settle')
  translator.upsert(poolKey, rawPool('10.0.0.0/16', '10.2.0.0/16'), undefined)
  flushAll('folder: a block more')
  const restarted = createTranslator({ ...options, addressBook: openFileBook(folder, join(folder, 'state')) })
  for (let i = 0; i < count; i++) restarted.upsert(serviceKey(i), rawService(i), undefined)
  restarted.upsert(poolKey, rawPool('10.0.0.0/16'), undefined)
  restarted.synced()
  const turns = new Turns()
  do turns.run(() => restarted.flush())
  while (restarted.hasMore)
  say('folder: after a restart', turns.text)
}

/** Measures each turn that somebody asks for. */
function timed(turns: () => Turns): Clock {
  return {
    now: () => systemClock.now(),
    monotonic: () => systemClock.monotonic(),
    after: (ms, action): Wait => systemClock.after(ms, () => turns().run(action)),
    soon: (action) => systemClock.soon(() => turns().run(action)),
  }
}

async function atServer(): Promise<void> {
  let turns = new Turns()
  let written = 0
  let events: SourceEvents | undefined
  const operator = new Operator({
    source: {
      state: new MemoryCluster().follower().state,
      start: async (given) => {
        events = given
      },
      stop: async () => undefined,
      rescan: () => undefined,
    },
    sink: {
      apply: async () => ({ kind: 'written', resourceVersion: String(1_000_000 + written++) }),
      createEvent: async () => ({ kind: 'gone' }),
      repeatEvent: async () => ({ kind: 'gone' }),
    },
    objects: new MemoryCluster().objectSink(),
    clock: timed(() => turns),
    random: () => 0.5,
    log: new MemoryOperatorLog(),
    isLeader: () => true,
  })
  await operator.start()
  const version = (i: number): { uid: string; resourceVersion: string } => ({ uid: `u${i}`, resourceVersion: '1' })
  for (let i = 0; i < count; i++) events?.upsert(serviceKey(i), rawService(i), undefined, version(i))
  events?.upsert(poolKey, rawPool('10.0.0.0/16'), undefined, version(-1))
  const until = async (isDone: () => boolean): Promise<void> => {
    while (!isDone()) await new Promise((resolve) => setImmediate(resolve))
  }
  turns.run(() => events?.synced())
  await until(() => operator.figures.services.allocated === count)
  say('operator: first settle', turns.text)
  await until(() => written >= count)
  turns = new Turns()
  events?.upsert(poolKey, rawPool('10.0.0.0/16', '10.2.0.0/16'), undefined, version(-2))
  turns.run(() => events?.flush())
  await new Promise((resolve) => setTimeout(resolve, 2_000))
  say('operator: a block more', turns.text)
  await operator.stop()
}

process.stdout.write(`${count} Services\n`)
onePiece()
const folder = mkdtempSync(join(tmpdir(), 'herald-settle-'))
try {
  inFolder(folder)
} finally {
  rmSync(folder, { recursive: true })
}
await atServer()
