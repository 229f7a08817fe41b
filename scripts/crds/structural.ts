/**
 * A zod schema as the structural OpenAPI v3 schema of a CustomResourceDefinition.
 *
 *     zod --z.toJSONSchema--> JSON Schema --plain--> structural --texts--> described, as kubectl explain shows it
 *
 * A default is what the schema makes of a field that is not written: there is one place where it is said.
 */
import * as z from 'zod'
import { labelSelectorSchema } from '../../src/k8s/kinds/label-syntax.ts'

/** A node of a structural schema. */
export interface Structural {
  readonly [key: string]: unknown
  readonly properties?: Readonly<Record<string, Structural>>
  readonly items?: Structural
  readonly additionalProperties?: Structural
}

/**
 * What a schema in zod cannot say, by path as `spec.peers[].peerAddress`: the description, alone or beside further
 * keys of OpenAPI (enum, pattern, x-kubernetes-validations, ...).
 */
export type Texts = Readonly<Record<string, string | Readonly<{ description: string; [key: string]: unknown }>>>

const labelText = {
  type: 'string',
  maxLength: 63,
  pattern: '^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$',
} as const

/** metav1.LabelSelector, as every CustomResourceDefinition has it. */
const labelSelector: Structural = {
  type: 'object',
  properties: {
    matchLabels: {
      type: 'object',
      description: 'Labels that must be there with exactly these values.',
      additionalProperties: labelText,
    },
    matchExpressions: {
      type: 'array',
      description: 'Requirements that must all be met, beside matchLabels.',
      'x-kubernetes-list-type': 'atomic',
      items: {
        type: 'object',
        required: ['key', 'operator'],
        properties: {
          key: { type: 'string', description: 'The label that is looked at.' },
          operator: {
            type: 'string',
            enum: ['In', 'NotIn', 'Exists', 'DoesNotExist'],
            description: 'How the label relates to the values.',
          },
          values: {
            type: 'array',
            description: 'For In and NotIn, at least one; none for Exists and DoesNotExist.',
            'x-kubernetes-list-type': 'atomic',
            items: labelText,
          },
        },
      },
    },
  },
  'x-kubernetes-map-type': 'atomic',
}

/** The structural schema of what `schema` takes; every field must have a text, and every text its field. */
export function structuralOf(schema: z.ZodType, root: string, texts: Texts): Structural {
  const json = z.toJSONSchema(schema, {
    io: 'input',
    target: 'openapi-3.0',
    unrepresentable: 'any',
    override: ({ zodSchema, jsonSchema }) => {
      if (zodSchema === labelSelectorSchema) replace(jsonSchema, labelSelector)
      const fallback = z.safeParse(zodSchema, undefined)
      const isPlain = fallback.success && ['string', 'number', 'boolean'].includes(typeof fallback.data)
      if (isPlain) Reflect.set(jsonSchema, 'default', fallback.data)
    },
  })
  const unused = new Set(Object.keys(texts))
  const described = describe(plain(json), root, texts, unused)
  if (unused.size > 0) throw new Error(`texts of no field: ${[...unused].join(', ')}`)
  return described
}

function replace(target: object, source: object): void {
  for (const key of Object.keys(target)) Reflect.deleteProperty(target, key)
  Object.assign(target, structuredClone(source))
}

/** Without what a structural schema may not have, and with a format for numbers. */
function plain(json: object): Structural {
  const entries = Object.entries(json).flatMap(([key, value]): [string, unknown][] => {
    if (key === '$schema' || key === 'nullable' || key === 'propertyNames' || key === 'id') return []
    if (key === 'additionalProperties') return typeof value === 'object' ? [[key, plain(value)]] : []
    if (key === 'properties')
      return [[key, Object.fromEntries(Object.entries(value).map(([name, each]) => [name, plain(each as object)]))]]
    if (key === 'items') return [[key, plain(value)]]
    return [[key, value]]
  })
  const schema: Structural = Object.fromEntries(entries)
  if (Array.isArray(schema['anyOf'])) return intOrString(schema)
  return schema['type'] === 'integer' ? integer(schema) : schema
}

function integer({ minimum, maximum, ...rest }: Structural): Structural {
  const isSmall = typeof maximum === 'number' && maximum <= 2147483647
  const bound = (value: unknown): value is number => typeof value === 'number' && Number.isSafeInteger(value)
  return {
    ...rest,
    format: isSmall ? 'int32' : 'int64',
    ...(bound(minimum) && minimum > Number.MIN_SAFE_INTEGER ? { minimum } : {}),
    ...(bound(maximum) && maximum < Number.MAX_SAFE_INTEGER ? { maximum } : {}),
  }
}

function intOrString({ anyOf, ...rest }: Structural): Structural {
  const types = (anyOf as readonly Structural[]).map(({ type }) => String(type).replace('number', 'integer')).sort()
  if (types.join() !== 'integer,string') throw new Error(`no structural schema has anyOf ${types.join(', ')}`)
  return { ...rest, anyOf: types.map((type) => ({ type })), 'x-kubernetes-int-or-string': true }
}

function describe(schema: Structural, path: string, texts: Texts, unused: Set<string>): Structural {
  const text = texts[path]
  unused.delete(path)
  const said = typeof text === 'string' ? { description: text } : (text ?? {})
  // The elements of a list are told by the list, unless they have something to say themselves.
  if (text === undefined && schema['description'] === undefined && !path.endsWith('[]'))
    throw new Error(`${path} has no text`)
  const isDone = schema['x-kubernetes-map-type'] === 'atomic'
  const { properties, items } = schema
  return {
    ...said,
    ...Object.fromEntries(Object.entries(schema).filter(([key]) => !(key in said))),
    ...(properties === undefined || isDone
      ? {}
      : {
          properties: Object.fromEntries(
            Object.entries(properties).map(([name, each]) => [name, describe(each, `${path}.${name}`, texts, unused)]),
          ),
        }),
    ...(items === undefined ? {} : { items: describe(items, `${path}[]`, texts, unused) }),
  }
}
