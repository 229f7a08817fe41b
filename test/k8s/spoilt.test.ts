/**
 * Every piece of every object of all families, spoilt in every way: either the new version is understood, or it is an
 * error that says so and nothing at all changes.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ManifestObject } from '../../src/k8s/documents.ts'
import type { RawObject } from '../../src/k8s/source.ts'
import { everyObject, InForce } from './every-family.ts'

type Path = readonly (string | number)[]
type Holder = Record<string | number, unknown>

const wrong: readonly unknown[] = [null, '', [], 'x', -1, 1e10, ['x'], { x: 1 }]

function* pathsIn(value: unknown, at: Path = []): Generator<Path> {
  if (at.length > 0) yield at
  if (typeof value !== 'object' || value === null) return
  for (const [step, below] of Array.isArray(value) ? value.entries() : Object.entries(value))
    yield* pathsIn(below, [...at, step])
}

function edited(object: RawObject, path: Path, edit: (holder: Holder, step: string | number) => void): RawObject {
  const copy = structuredClone(object)
  let holder = copy as unknown as Holder
  for (const step of path.slice(0, -1)) holder = holder[step] as Holder
  edit(holder, path.at(-1) ?? '')
  return copy
}

/** Two letters of a key change places, or one is twice where that changes nothing. */
const misspelt = (key: string): string => {
  const swapped = key.slice(0, 1) + key.slice(2, 3) + key.slice(1, 2) + key.slice(3)
  return swapped === key ? `${key}${key.slice(-1)}` : swapped
}

function* spoilings(object: RawObject): Generator<readonly [string, RawObject]> {
  for (const path of pathsIn(object)) {
    const [first, second = ''] = path
    // Another kind or name is another object.
    if (path.length === 1 && (first === 'apiVersion' || first === 'kind')) continue
    if (first === 'metadata' && ['name', 'namespace'].includes(String(second))) continue
    const name = path.join('.')
    for (const value of wrong)
      yield [`${name} = ${JSON.stringify(value)}`, edited(object, path, (holder, step) => (holder[step] = value))]
    if (typeof path.at(-1) === 'number') continue
    yield [`${name} removed`, edited(object, path, (holder, step) => Reflect.deleteProperty(holder, step))]
    yield [
      `${name} misspelt`,
      edited(object, path, (holder, step) => {
        holder[misspelt(String(step))] = holder[step]
        Reflect.deleteProperty(holder, step)
      }),
    ]
  }
}

/** Names that stand for nothing cost themselves; all others cost nothing. */
const costsItself = new Set(['UnknownCommunity'])

const nameOf = ({ key }: ManifestObject): string => `${key.kind} ${key.name}`

for (const one of everyObject)
  test(`${nameOf(one)}: a spoilt version is an error and changes nothing, or it is understood; the right one mends all`, () => {
    const world = new InForce(everyObject)
    const good = world.state
    let errors = 0
    for (const [what, object] of spoilings(one.object)) {
      world.put({ ...one, object })
      const { services, speaker, podCidrs } = world.flush()
      const said = world.problems.filter(
        (each) => each.object.kind === one.key.kind && each.object.name === one.key.name,
      )
      const found = said.filter(({ severity }) => severity === 'error')
      if (found.some(({ code }) => !costsItself.has(code)))
        assert.deepEqual([services.size, speaker, podCidrs], [0, undefined, undefined], what)
      for (const { field, remedy, object: where } of found)
        assert.ok(field !== '' && remedy.length > 5 && (where.line ?? 0) > 0, `${what}: field, remedy and line`)
      errors += found.length
      world.put(one)
      if (world.flush().services.size > 0 || speaker !== undefined || podCidrs !== undefined)
        assert.deepEqual(world.state, good, `${what}, mended`)
    }
    assert.ok(errors > 0, 'something was an error')
  })

test('a misspelt field that holds everything else takes nothing away, at whatever object', () => {
  const slips: readonly (readonly [string, string, Path])[] = [
    ['BGPAdvertisement', 'e', ['spec']],
    ['BGPPeer', 'm2', ['spec', 'password']],
    ['CiliumBGPAdvertisement', 'a', ['metadata', 'labels']],
    ['CiliumBGPClusterConfig', 'cilium-bgp', ['metadata', 'annotations']],
    ['IPAddressPool', 'production', ['metadata', 'labels']],
    ['Node', 'node-a', ['metadata', 'labels']],
    ['Node', 'node-a', ['status']],
    ['Service', 'a', ['metadata', 'labels']],
    ['EndpointSlice', 'a-1', ['endpoints']],
    ['EndpointSlice', 'a-1', ['ports']],
  ]
  for (const [kind, name, path] of slips) {
    const world = new InForce(everyObject)
    const one = everyObject.find(({ key }) => key.kind === kind && key.name === name)
    assert.ok(one, kind)
    const object = edited(one.object, path, (holder, step) => {
      holder[misspelt(String(step))] = holder[step]
      Reflect.deleteProperty(holder, step)
    })
    world.put({ ...one, object })
    const { services, speaker, podCidrs } = world.flush()
    const what = `${kind} ${path.join('.')}`
    assert.deepEqual([services.size, speaker, podCidrs], [0, undefined, undefined], what)
    const said = world.problems.find(({ severity }) => severity === 'error')
    assert.equal(said?.field, [...path.slice(0, -1), misspelt(String(path.at(-1)))].join('.'), what)
    assert.match(said?.remedy ?? '', new RegExp(`^Write ${String(path.at(-1))}`), what)
  }
})
