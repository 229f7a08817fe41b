/** Random histories of a server, with what goes wrong between: in the end a reader has what a fresh list would give. */
import assert from 'node:assert/strict'
import { constants } from 'node:http2'
import { test } from 'node:test'
import fc from 'fast-check'
import { waitFor } from '../../wait.ts'
import { type Request, status } from './fake-server.ts'
import { fasterClock, isList, isWatch, path, ReflectorWorld } from './reflector-world.ts'

type Step =
  | { readonly does: 'put' | 'recreate'; readonly name: string; readonly port: number }
  | { readonly does: 'delete' | 'missed'; readonly name: string }
  | { readonly does: 'cut' | 'lost' | 'compact' | 'relist' | 'repeat' | 'turn' | 'settle' }
  | { readonly does: 'fault'; readonly fault: number; readonly of: 'list' | 'watch' }

const name = fc.constantFrom('a', 'b', 'c')
const port = fc.integer({ min: 1, max: 9 })
const faults: readonly ((request: Request) => void)[] = [
  ({ stream }) => status(stream, 500, 'etcdserver: leader changed'),
  ({ stream }) => status(stream, 410, 'too old resource version'),
  ({ stream }) => status(stream, 429, 'too many requests'),
  ({ stream }) => stream.close(constants.NGHTTP2_REFUSED_STREAM),
  ({ stream }) => stream.session?.destroy(),
  ({ stream }) => {
    stream.respond({ ':status': 200 })
    stream.end('{"type":"ADDED","object":{"meta')
  },
  ({ stream }) => {
    stream.respond({ ':status': 200 })
    stream.end('')
  },
]
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ does: fc.constantFrom('put' as const, 'recreate' as const), name, port }) },
  { weight: 4, arbitrary: fc.record({ does: fc.constantFrom('delete' as const, 'missed' as const), name }) },
  {
    weight: 3,
    arbitrary: fc.record({
      does: fc.constantFrom('cut' as const, 'lost' as const, 'compact' as const, 'relist' as const, 'turn' as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ does: fc.constant('repeat' as const) }) },
  { weight: 4, arbitrary: fc.record({ does: fc.constant('settle' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      does: fc.constant('fault' as const),
      fault: fc.nat(faults.length - 1),
      of: fc.constantFrom('list' as const, 'watch' as const),
    }),
  },
)

/** The server's side of a history, with what is there. */
class Server {
  readonly there = new Map<string, unknown>()
  readonly #world: ReflectorWorld
  readonly #said: string[] = []
  #version = 200
  #uid = 0
  readonly #uids = new Map<string, string>()
  /** Of every version that there was. */
  readonly uidOf = new Map<string, string>()

  constructor(world: ReflectorWorld) {
    this.#world = world
  }

  put(of: string, spec: unknown): void {
    const uid = this.#uids.get(of) ?? `uid-${this.#uid++}`
    this.#uids.set(of, uid)
    const metadata = { name: of, namespace: 'default', uid, resourceVersion: String(++this.#version) }
    this.uidOf.set(metadata.resourceVersion, uid)
    this.#world.server.store(path, { metadata, spec })
    this.#said.push(`${JSON.stringify({ type: 'MODIFIED', object: { kind: 'Any', metadata, spec } })}\n`)
    this.there.set(of, spec)
  }

  delete(of: string): void {
    if (!this.there.delete(of)) return
    this.#uids.delete(of)
    this.#version++
    this.#world.server.delete(path, of)
  }

  /** Deleted while nobody watched, and compacted since: only a list can tell. */
  missed(of: string): void {
    if (!this.there.delete(of)) return
    this.#uids.delete(of)
    this.#world.server.endWatches()
    this.#version++
    this.#world.server.forget(path, of)
    this.#world.server.compactedAt = this.#version
  }

  compact(): void {
    this.#world.server.compactedAt = this.#version
    this.#world.server.endWatches()
  }

  /** Until a reader has seen everything. */
  async isSeen(): Promise<void> {
    const { objects } = this.#world
    const isSame = ([of, spec]: readonly [string, unknown]): boolean =>
      JSON.stringify(objects.get(of)) === JSON.stringify(spec)
    await waitFor(
      `${JSON.stringify([...objects])} becomes ${JSON.stringify([...this.there])}`,
      () => objects.size === this.there.size && [...this.there].every(isSame),
    )
  }

  /** What was said of an object that is still there is said once more, as by a proxy that sends a chunk twice. */
  repeat(): void {
    const last = this.#said.at(-1)
    const of =
      last === undefined ? '' : (JSON.parse(last) as { object: { metadata: { name: string } } }).object.metadata.name
    if (last !== undefined && this.there.has(of)) this.#world.server.say(path, last)
  }
}

async function live(world: ReflectorWorld, steps: readonly Step[]): Promise<Server> {
  const server = new Server(world)
  server.put('first', { port: 0 })
  const reflector = world.begin(undefined, fasterClock(200))
  for (const one of steps) {
    if (one.does === 'put') server.put(one.name, { port: one.port })
    else if (one.does === 'recreate') {
      server.delete(one.name)
      server.put(one.name, { port: one.port })
    } else if (one.does === 'delete') server.delete(one.name)
    else if (one.does === 'missed') server.missed(one.name)
    else if (one.does === 'cut') world.server.endWatches()
    else if (one.does === 'lost') for (const session of world.server.sessions) session.destroy()
    else if (one.does === 'compact') server.compact()
    else if (one.does === 'relist') reflector.relist()
    else if (one.does === 'repeat') server.repeat()
    else if (one.does === 'fault')
      world.once(faults[one.fault] ?? (() => undefined), one.of === 'list' ? isList : isWatch)
    else if (one.does === 'settle') await server.isSeen()
    else await new Promise((resolve) => setImmediate(resolve))
  }
  return server
}

/** No version comes twice or goes back, only what is there is removed, and another object first goes, then comes. */
function assertSensible(log: readonly string[], uidOf: ReadonlyMap<string, string>): void {
  const there = new Map<string, number>()
  for (const entry of log) {
    const [of = '', text] = entry.slice(1).split(' ')
    const before = there.get(of)
    if (text === undefined) {
      assert.ok(there.delete(of), `${of} was not there: ${log.join(', ')}`)
      continue
    }
    if (before !== undefined) {
      assert.ok(Number(text) > before, `${of} goes back: ${log.join(', ')}`)
      assert.equal(uidOf.get(text), uidOf.get(String(before)), `${of} is another object: ${log.join(', ')}`)
    }
    there.set(of, Number(text))
  }
}

test('whatever happens to a watch, a reader comes to what a fresh list has, and nothing was made up on the way', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 40, size: 'max' }), async (steps) => {
      const world = await ReflectorWorld.start()
      try {
        const server = await live(world, steps)
        world.server.fault = () => false
        server.put('last', { port: 10 })
        await server.isSeen()
        assertSensible(world.log, server.uidOf)
      } finally {
        await world.end()
      }
    }),
    { numRuns: 25, endOnFailure: true },
  )
})
