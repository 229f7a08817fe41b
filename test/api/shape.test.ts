/** The shapes that the command line checks answers with are the required keys of the schemas. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as z from 'zod'
import {
  commandShape,
  explainShape,
  fits,
  flowResponseShape,
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
import { flowResponseSchema } from '../../src/api/flow-types.ts'
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
