import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import { keepMemorySmall, type MemoryParts } from '../../src/sys/memory-keeper.ts'

/** A process as its keeper sees it. */
class Process implements MemoryParts {
  readonly #clock = new VirtualClock()
  busy = 0
  residentMB: number | undefined = 80
  /** Collections of all garbage by the engine itself. */
  collected = 0
  watched = 0
  told = 0
  /** When memory was given back, seconds after the start. */
  readonly given: number[] = []

  constructor() {
    keepMemorySmall(this)
  }

  after(ms: number, action: () => void): void {
    this.#clock.after(ms, action)
  }

  busyShare(): number {
    return this.busy
  }

  residentMiB(): number | undefined {
    return this.residentMB
  }

  watchCollections(): { readonly count: number; end(): void } {
    const [owner, before] = [this, this.collected]
    this.watched++
    return {
      get count() {
        return owner.collected - before
      },
      end: () => void this.watched--,
    }
  }

  collectGarbage(): void {
    this.told++
    this.collected++
  }

  async giveBack(): Promise<void> {
    this.given.push(this.#clock.monotonic() / 1000)
  }

  async run(seconds: number): Promise<void> {
    for (let i = 0; i < seconds; i++) {
      this.#clock.advance(1000)
      await Promise.resolve().then(() => undefined)
    }
  }

  /** The engine collects twice, as it does when little happens. */
  async started(): Promise<this> {
    await this.run(8)
    this.collected += 2
    await this.run(12)
    return this
  }
}

test('memory is given back when the start is over and the engine has collected for the last time', async () => {
  const started = await new Process().started()
  assert.deepEqual(started.given, [12])
  assert.equal(started.told, 0)
  assert.equal(started.watched, 0)
})

test('an engine that collects nothing after the start is told to', async () => {
  const still = new Process()
  await still.run(30)
  assert.equal(still.told, 1)
  assert.equal(still.given.length, 1)
})

test('a start that works on leaves its memory later', async () => {
  const working = new Process()
  working.busy = 0.9
  await working.run(60)
  assert.deepEqual(working.given, [])
  working.busy = 0.1
  await working.run(20)
  assert.equal(working.given.length, 1)
})

test('memory that has grown since is given back again, once for each time', async () => {
  const grown = await new Process().started()
  await grown.run(3600)
  assert.equal(grown.given.length, 1, 'nothing happened')
  grown.residentMB = 100
  await grown.run(3600)
  assert.equal(grown.given.length, 2, 'it may be what the process needs by now')
  grown.residentMB = 85
  await grown.run(60)
  grown.residentMB = 95
  await grown.run(3600)
  assert.equal(grown.given.length, 3, 'the least that it was')
  grown.residentMB = 100
  await grown.run(3600)
  assert.equal(grown.given.length, 3, 'too little')
  assert.equal(grown.told, 0, 'a collection at a stretch would hold the loop')
})

test('pages that come back after they were given are not growth', async () => {
  const process = new Process()
  process.residentMB = 60
  await process.started()
  process.residentMB = 75
  await process.run(3600)
  assert.equal(process.given.length, 2, 'they come back late')
  await process.run(3600)
  assert.equal(process.given.length, 2)
})

test('memory that cannot be seen for a while has not grown, and is looked at again', async () => {
  const blind = await new Process().started()
  blind.residentMB = undefined
  await blind.run(3600)
  assert.equal(blind.given.length, 1)
  blind.residentMB = 80
  await blind.run(60)
  blind.residentMB = 100
  await blind.run(60)
  assert.equal(blind.given.length, 2)
})

test('without a descriptor to spare resident memory is not known, which is no error', () => {
  const heap = JSON.stringify(fileURLToPath(new URL('../../src/sys/heap.ts', import.meta.url)))
  const metrics = JSON.stringify(fileURLToPath(new URL('../../src/observe/metrics/process.ts', import.meta.url)))
  const script = `
    const { residentMiB } = await import(${heap})
    const { addProcessMetrics } = await import(${metrics})
    const { Registry } = await import('prom-client')
    const { openSync } = await import('node:fs')
    const registry = new Registry()
    const take = addProcessMetrics(registry)
    try { for (;;) openSync('/dev/null') } catch {}
    take({ status: { version: '1' } })
    console.log(residentMiB(), (await registry.metrics()).match(/^process_resident_memory_bytes .*/m)[0])`
  const words = ['--nofile=128', process.execPath, '--input-type=module', '-e', script]
  const said = execFileSync('prlimit', words, {
    encoding: 'utf8',
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
  })
  assert.equal(said.trim(), 'undefined process_resident_memory_bytes Nan')
})

test('grown memory is left while there is work', async () => {
  const working = await new Process().started()
  working.residentMB = 130
  working.busy = 0.1
  await working.run(3600)
  assert.equal(working.given.length, 1)
  working.busy = 0.01
  await working.run(30)
  assert.equal(working.given.length, 2)
})

test('of a process of its own: what came and went long after the start leaves no memory', () => {
  const [keeper, heap, wait] = ['../../src/sys/memory-keeper.ts', '../../src/sys/heap.ts', '../wait.ts'].map((name) =>
    JSON.stringify(fileURLToPath(new URL(name, import.meta.url))),
  )
  // Its clock goes a hundred times as fast, and the engine collects when it is watched.
  const script = `const { keepMemorySmall } = await import(${keeper})
    const { collectGarbage, giveMemoryBack, watchCollections } = await import(${heap})
    const { waitFor } = await import(${wait})
    const resident = () => process.memoryUsage.rss() / 2 ** 20
    let [given, looks] = [0, 0]
    keepMemorySmall({
      ...{ collectGarbage, busyShare: () => 0 },
      watchCollections: () => (setImmediate(collectGarbage), watchCollections()),
      residentMiB: () => (looks++, resident()),
      after: (ms, action) => setTimeout(action, ms / 100),
      giveBack: () => giveMemoryBack().then(() => void given++),
    })
    await waitFor('a look after the start', () => given === 1 && looks > 0)
    let all = Array.from({ length: 60_000 }, (_, i) => ({ name: 'object ' + i, list: new Array(100).fill(i) }))
    const peak = resident()
    all = undefined
    await waitFor('given back after growth', () => given > 1)
    await waitFor('24 MiB less than at the peak', () => peak - resident() > 24)
    process.exit(0)`
  execFileSync(process.execPath, ['--input-type=module', '--eval', script], { encoding: 'utf8', timeout: 120_000 })
})
