/** What every source of objects keeps to, whatever it reads; a source is plugged in as a {@link World}. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ObjectKey, ObjectSource, RawObject } from '../../src/k8s/source.ts'

/** Objects that a source can see, and the means to change them. */
export interface World {
  readonly source: ObjectSource
  /** Creates or replaces. */
  put(...objects: readonly RawObject[]): void
  delete(...names: readonly string[]): void
  /** Takes the source away, or brings it back. */
  setReachable(isReachable: boolean): void
  /** Lets the time go by that the source needs to see and confirm everything. */
  settle(): void
  end(): Promise<void>
}

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
}

async function start(world: World): Promise<Seen> {
  const seen: Seen = { log: [], objects: new Map() }
  const id = ({ kind, namespace, name }: ObjectKey): string => `${kind}/${namespace}/${name}`
  const started = world.source.start({
    upsert: (key, object, _origin, { uid, resourceVersion, generation }) => {
      seen.objects.set(id(key), object)
      seen.log.push([`+${key.name}`, uid, resourceVersion, generation].filter((part) => part !== undefined).join(' '))
    },
    remove: (key) => {
      assert.ok(seen.objects.delete(id(key)), 'only what was delivered is removed')
      seen.log.push(`-${key.name}`)
    },
    problems: () => {},
    flush: () => {
      if (seen.log.at(-1) !== 'flush') seen.log.push('flush')
    },
    relistBegins: () => seen.log.push('begin'),
    relistEnds: () => seen.log.push('end'),
    synced: () => seen.log.push('synced'),
  })
  world.settle()
  await started
  return seen
}

export function sourceContract(what: string, make: () => Promise<World>): void {
  const contract = (title: string, run: (world: World) => Promise<void>): void => {
    test(`${what}: ${title}`, async () => {
      const world = await make()
      try {
        await run(world)
      } finally {
        await world.end()
      }
    })
  }

  contract('everything is delivered between begin and end of a list, flushed, and then it is synced', async (world) => {
    world.put(service('a'), service('b'))
    assert.equal(world.source.state.ofKind('Service').isSynced, false)
    const { log } = await start(world)
    assert.deepEqual(log.slice(0, 6), ['begin', '+a', '+b', 'end', 'flush', 'synced'])
    const { state } = world.source
    assert.deepEqual(
      [state.isReachable, state.objects, state.hasHadObjects, state.unconfirmed, state.ofKind('Service')],
      [true, 2, true, 0, { isSynced: true, problem: undefined }],
    )
  })

  contract('a change is one upsert, what is gone one removal, each with a flush after it', async (world) => {
    world.put(service('a'), service('b'), service('c'))
    const { log, objects } = await start(world)
    log.length = 0
    world.put(service('a', 81), service('d'))
    world.settle()
    world.delete('b')
    world.settle()
    assert.deepEqual(log.filter((entry) => entry !== 'flush').sort(), ['+a', '+d', '-b'])
    assert.equal(log.at(-1), 'flush')
    assert.deepEqual([...objects.keys()].sort(), ['Service/default/a', 'Service/default/c', 'Service/default/d'])
    assert.deepEqual(objects.get('Service/default/a'), service('a', 81))
  })

  contract('another uid is another object: removed, then delivered; the version is told', async (world) => {
    world.put(service('a', 80, { uid: 'u1', resourceVersion: '7', generation: 1 }))
    const { log } = await start(world)
    assert.ok(log.includes('+a u1 7 1'))
    log.length = 0
    world.put(service('a', 80, { uid: 'u2', resourceVersion: '9', generation: 1 }))
    world.settle()
    assert.deepEqual(
      log.filter((entry) => entry !== 'flush'),
      ['-a', '+a u2 9 1'],
    )
  })

  contract('while it cannot be reached nothing is removed, and its state says so', async (world) => {
    world.put(service('a'), service('b'))
    const { log, objects } = await start(world)
    world.setReachable(false)
    world.settle()
    assert.deepEqual([world.source.state.isReachable, objects.size], [false, 2])
    assert.notEqual(world.source.state.ofKind('Service').problem, undefined)
    world.setReachable(true)
    world.settle()
    assert.equal(world.source.state.isReachable, true)
    assert.deepEqual(
      log.filter((entry) => entry.startsWith('-')),
      [],
    )
  })

  contract('without any object it is synced, and says that it never had one', async (world) => {
    const { log } = await start(world)
    assert.ok(log.includes('synced'))
    assert.deepEqual([world.source.state.objects, world.source.state.hasHadObjects], [0, false])
    world.put(service('a'))
    world.settle()
    world.delete('a')
    world.settle()
    assert.deepEqual([world.source.state.objects, world.source.state.hasHadObjects], [0, true])
  })

  contract(
    'asked to read again it delivers the difference and nothing else; stopped, it delivers nothing',
    async (world) => {
      world.put(service('a'))
      const { log } = await start(world)
      log.length = 0
      world.source.rescan()
      world.settle()
      assert.deepEqual(
        log.filter((entry) => entry !== 'flush'),
        [],
      )
      await world.source.stop()
      log.length = 0
      world.put(service('b'))
      world.settle()
      assert.deepEqual(log, [])
    },
  )
}
