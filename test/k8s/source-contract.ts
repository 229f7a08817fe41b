/** What every source of objects keeps to, whatever it reads; a source is plugged in as a {@link World}. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ObjectKey, ObjectSource, ObjectVersion, RawObject } from '../../src/k8s/source.ts'

/** Objects that a source can see, and the means to change them. */
export interface World {
  readonly source: ObjectSource
  /** There are objects that nobody put there. */
  readonly isNeverEmpty?: boolean
  /** Creates or replaces. */
  put(...objects: readonly RawObject[]): void | Promise<void>
  /** Another object under the name of one that is there. */
  recreate(object: RawObject): void | Promise<void>
  delete(...names: readonly string[]): void | Promise<void>
  /** Takes the source away, or brings it back. */
  setReachable(isReachable: boolean): void | Promise<void>
  /** Lets the time go by that the source needs to see and confirm everything. */
  settle(): void | Promise<void>
  /** Hears what the source says, as `+name`, `-name` and `synced`, and of its end: `stopped`. */
  hear?(said: string): void
  end(): Promise<void>
}

/** Names that begin so are the world's own. */
export const ownPrefix = 'kubernetes'

export function service(name: string, port = 80, metadata: RawObject = {}): RawObject {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 'default', ...metadata },
    spec: { ports: [{ port }] },
  }
}

interface Seen {
  readonly log: string[]
  readonly objects: Map<string, RawObject>
  readonly versions: Map<string, ObjectVersion>
  /** Of the log, without begin, end and flush. */
  changes(): readonly string[]
}

async function start(world: World): Promise<Seen> {
  const log: string[] = []
  const seen: Seen = {
    log,
    objects: new Map(),
    versions: new Map(),
    changes: () => log.filter((entry) => /^[+-]/.test(entry)),
  }
  const id = ({ kind, namespace, name }: ObjectKey): string => `${kind}/${namespace}/${name}`
  const say = (entry: string, name = ''): void => {
    if (!name.startsWith(ownPrefix)) log.push(entry)
    world.hear?.(entry)
  }
  const ofServices = (kinds: readonly string[] | undefined): boolean => kinds?.includes('Service') ?? true
  const started = world.source.start({
    upsert: (key, object, _origin, version) => {
      seen.objects.set(id(key), object)
      seen.versions.set(key.name, version)
      // A server has namespaces of its own, read when they come.
      if (key.kind !== 'Namespace') say(`+${key.name}`, key.name)
    },
    remove: (key) => {
      assert.ok(seen.objects.delete(id(key)), 'only what was delivered is removed')
      say(`-${key.name}`, key.name)
    },
    problems: () => {},
    flush: () => {
      if (log.at(-1) !== 'flush') log.push('flush')
    },
    relistBegins: (kinds) => void (ofServices(kinds) && log.push('begin')),
    relistEnds: (kinds) => void (ofServices(kinds) && log.push('end')),
    synced: () => say('synced'),
  })
  await world.settle()
  await started
  return seen
}

const portOf = (object: RawObject | undefined): unknown =>
  (object?.['spec'] as { readonly ports?: readonly { readonly port?: unknown }[] } | undefined)?.ports?.[0]?.port

export function sourceContract(
  what: string,
  make: () => Promise<World>,
  options: { readonly skip?: string | false } = {},
): void {
  const contract = (title: string, run: (world: World) => Promise<void>): void => {
    test(`${what}: ${title}`, options, async () => {
      const world = await make()
      try {
        await run(world)
      } finally {
        await world.end()
      }
    })
  }

  contract('everything is delivered between begin and end of a list, flushed, and then it is synced', async (world) => {
    await world.put(service('a'), service('b'))
    assert.equal(world.source.state.ofKind('Service').isSynced, false)
    const { log, objects } = await start(world)
    const order = log.filter((entry) => entry !== 'flush')
    assert.deepEqual(order.slice(0, 5), ['begin', '+a', '+b', 'end', 'synced'])
    assert.equal(log[log.indexOf('synced') - 1], 'flush')
    const { state } = world.source
    assert.deepEqual(
      [state.isReachable, state.objects, state.hasHadObjects, state.unconfirmed, state.ofKind('Service')],
      [true, objects.size, true, 0, { isSynced: true, problem: undefined }],
    )
  })

  contract('a change is one upsert, what is gone one removal, each with a flush after it', async (world) => {
    await world.put(service('a'), service('b'), service('c'))
    const { log, objects, changes } = await start(world)
    log.length = 0
    await world.put(service('a', 81), service('d'))
    await world.settle()
    await world.delete('b')
    await world.settle()
    assert.deepEqual([...changes()].sort(), ['+a', '+d', '-b'])
    assert.equal(log.at(-1), 'flush')
    const there = ['a', 'b', 'c', 'd'].filter((name) => objects.has(`Service/default/${name}`))
    assert.deepEqual(there, ['a', 'c', 'd'])
    const object = objects.get('Service/default/a')
    assert.deepEqual([object?.['apiVersion'], object?.['kind'], portOf(object)], ['v1', 'Service', 81])
  })

  contract('another uid is another object: removed, then delivered; the version is told', async (world) => {
    await world.put(service('a', 80, { uid: 'u1', resourceVersion: '7', generation: 1 }))
    const { log, versions, changes } = await start(world)
    const before = versions.get('a')
    assert.ok(before?.uid !== undefined && before.resourceVersion !== undefined)
    log.length = 0
    await world.recreate(service('a', 80, { uid: 'u2', resourceVersion: '9', generation: 1 }))
    await world.settle()
    assert.deepEqual(changes(), ['-a', '+a'])
    assert.notEqual(versions.get('a')?.uid, before.uid)
    assert.notEqual(versions.get('a')?.resourceVersion, before.resourceVersion)
  })

  contract('while it cannot be reached nothing is removed, and its state says so', async (world) => {
    await world.put(service('a'), service('b'))
    const { objects, changes } = await start(world)
    const { size } = objects
    await world.setReachable(false)
    await world.settle()
    assert.deepEqual([world.source.state.isReachable, objects.size], [false, size])
    assert.notEqual(world.source.state.ofKind('Service').problem, undefined)
    await world.setReachable(true)
    await world.settle()
    assert.equal(world.source.state.isReachable, true)
    assert.deepEqual(
      changes().filter((entry) => entry.startsWith('-')),
      [],
    )
  })

  contract('without any object it is synced, and says that it never had one', async (world) => {
    const { log, objects } = await start(world)
    assert.ok(log.includes('synced'))
    if (world.isNeverEmpty !== true)
      assert.deepEqual([world.source.state.objects, world.source.state.hasHadObjects], [0, false])
    await world.put(service('a'))
    await world.settle()
    await world.delete('a')
    await world.settle()
    assert.deepEqual([world.source.state.objects, world.source.state.hasHadObjects], [objects.size, true])
  })

  contract(
    'asked to read again it delivers the difference and nothing else; stopped, it delivers nothing',
    async (world) => {
      await world.put(service('a'))
      const { log, changes } = await start(world)
      log.length = 0
      world.source.rescan()
      await world.settle()
      assert.deepEqual(changes(), [])
      await world.source.stop()
      world.hear?.('stopped')
      log.length = 0
      await world.put(service('b'))
      await world.settle()
      assert.deepEqual(log, [])
    },
  )
}
