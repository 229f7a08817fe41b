/** The shapes that the command line checks answers with are the required keys of the schemas. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as z from 'zod'
import {
  commandShape,
  explainShape,
  fits,
  flowResponseShape,
  flowShape,
  lossShape,
  peerShape,
  routeShape,
  serviceShape,
  type Shape,
  statusShape,
} from '../../src/api/shape.ts'
import {
  commandSchema,
  explainSchema,
  peerSchema,
  routeSchema,
  serviceSchema,
  statusSchema,
} from '../../src/api/types.ts'
import { flowResponseSchema, flowSchema } from '../../src/api/flow-types.ts'
import { explained, peers, routes, services, status } from './memory-views.ts'

interface JsonSchema {
  readonly type?: string
  readonly items?: JsonSchema
  readonly properties?: Readonly<Record<string, JsonSchema>>
  readonly required?: readonly string[]
}

function shapeOf({ type, items, properties, required = [] }: JsonSchema): Shape {
  if (type === 'array') return [shapeOf(items ?? {})]
  if (type === 'object' && properties !== undefined)
    return Object.fromEntries(required.map((key) => [key, shapeOf(properties[key] ?? {})]))
  assert.ok(type === 'string' || type === 'number' || type === 'boolean' || type === 'object', type)
  return type
}

test('every shape has exactly the keys that its schema requires, with their types', () => {
  const pairs: readonly [z.ZodType, Shape][] = [
    [peerSchema, peerShape],
    [routeSchema, routeShape],
    [serviceSchema, serviceShape],
    [explainSchema, explainShape],
    [statusSchema, statusShape],
    [commandSchema, commandShape],
    [flowResponseSchema, flowResponseShape],
    [flowSchema, flowShape],
    [flowResponseSchema.shape.lost_events.unwrap(), lossShape],
  ]
  for (const [schema, shape] of pairs) assert.deepEqual(shape, shapeOf(z.toJSONSchema(schema) as JsonSchema))
})

test('views fit their schema and their shape, and what lacks a key does not', () => {
  const pairs: readonly [z.ZodType, Shape, unknown][] = [
    [z.array(peerSchema), [peerShape], peers],
    [z.array(routeSchema), [routeShape], routes],
    [z.array(serviceSchema), [serviceShape], services],
    [explainSchema, explainShape, explained('service', 'default/web')],
    [statusSchema, statusShape, status],
  ]
  for (const [schema, shape, view] of pairs) {
    schema.parse(view)
    assert.equal(fits(view, shape), undefined)
    for (const wrong of [null, undefined, 'text', 7, [[]], [null], { node: 'node1' }])
      assert.notEqual(fits(wrong, shape), undefined, JSON.stringify(wrong))
  }
  assert.equal(
    fits([{ ...services[0], verdicts: [{ step: 'class', ok: 'yes', code: '', message: '' }] }], [serviceShape]),
    'answer[0].verdicts[0].ok is no boolean',
  )
})

/** Every place of a shape, with what stands there. */
function* placesIn(shape: Shape, path: readonly (string | number)[] = []): Generator<readonly [typeof path, Shape]> {
  if (path.length > 0) yield [path, shape]
  if (typeof shape === 'string') return
  if (Array.isArray(shape)) yield* placesIn(shape[0] as Shape, [...path, 0])
  else for (const [key, inner] of Object.entries(shape)) yield* placesIn(inner as Shape, [...path, key])
}

const nameOf = (path: readonly (string | number)[]): string =>
  path.map((step) => (typeof step === 'number' ? `[${step}]` : `.${step}`)).join('')

test('whatever one place of an answer is instead, the answer does not fit, and the place is named', () => {
  const pairs: readonly [Shape, unknown][] = [
    [[peerShape], peers],
    [[routeShape], routes],
    [[serviceShape], services],
    [explainShape, explained('service', 'default/web')],
    [statusShape, status],
    [commandShape, { what: 'reset', applied: ['a'], refused: [{ peer: 'a', reason: 'b' }] }],
  ]
  let tried = 0
  for (const [shape, view] of pairs)
    for (const [path, inner] of placesIn(shape))
      for (const wrong of [undefined, null, 'text', 7, true, [], {}]) {
        const isRight =
          typeof inner === 'string'
            ? typeof wrong === inner && wrong !== null
            : Array.isArray(inner)
              ? Array.isArray(wrong)
              : typeof wrong === 'object' && wrong !== null && !Array.isArray(wrong) && Object.keys(inner).length === 0
        const copy = structuredClone(view)
        let holder = copy as Record<string | number, unknown>
        for (const step of path.slice(0, -1)) holder = holder[step] as typeof holder
        holder[path.at(-1) ?? ''] = wrong
        const fault = fits(copy, shape)
        if (isRight) assert.equal(fault, undefined, nameOf(path))
        else
          assert.ok(fault?.startsWith(`answer${nameOf(path)}`), `${nameOf(path)} = ${JSON.stringify(wrong)}: ${fault}`)
        tried++
      }
  assert.ok(tried > 500)
})
