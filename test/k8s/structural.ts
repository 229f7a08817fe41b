/** Judges an object as an API server would by the structural schema of a CustomResourceDefinition; CEL is left out. */

interface Structural {
  readonly type?: string
  readonly properties?: Readonly<Record<string, Structural>>
  readonly items?: Structural
  readonly additionalProperties?: Structural
  readonly required?: readonly string[]
  readonly enum?: readonly unknown[]
  readonly pattern?: string
  readonly minimum?: number
  readonly maximum?: number
  readonly minLength?: number
  readonly maxLength?: number
  readonly minItems?: number
  readonly maxItems?: number
  readonly anyOf?: readonly Structural[]
}

interface Definition {
  readonly spec: {
    readonly group: string
    readonly versions: readonly { readonly name: string; readonly schema: { readonly openAPIV3Schema: Structural } }[]
  }
}

/** What is wrong with an object, by the schema of its own version. */
export function faultsBySchema(definition: object, object: object): readonly string[] {
  const { group, versions } = (definition as Definition).spec
  const apiVersion: unknown = Reflect.get(object, 'apiVersion')
  const version = versions.find(({ name }) => `${group}/${name}` === apiVersion)
  if (version === undefined) return [`no version ${String(apiVersion)}`]
  const schema = version.schema.openAPIV3Schema.properties?.['spec']
  return schema === undefined ? ['no schema of spec'] : [...faultsIn(schema, Reflect.get(object, 'spec'), 'spec')]
}

const typeOf = (value: unknown): string =>
  Array.isArray(value) ? 'array' : Number.isInteger(value) ? 'integer' : value === null ? 'null' : typeof value

function* faultsIn(schema: Structural, value: unknown, at: string): Generator<string> {
  const { anyOf, type = '' } = schema
  if (anyOf !== undefined && !anyOf.some((each) => each.type === typeOf(value))) yield `${at}: none of its types`
  if (type !== '' && type !== typeOf(value) && !(type === 'number' && typeof value === 'number'))
    return yield `${at}: ${typeOf(value)} is no ${type}`
  if (schema.enum !== undefined && !schema.enum.includes(value)) yield `${at}: ${String(value)} is no word of it`
  if (typeof value === 'string') yield* textFaults(schema, value, at)
  if (typeof value === 'number') {
    if (value < (schema.minimum ?? -Infinity)) yield `${at}: ${value} is below ${schema.minimum}`
    if (value > (schema.maximum ?? Infinity)) yield `${at}: ${value} is above ${schema.maximum}`
  }
  if (Array.isArray(value)) {
    if (value.length < (schema.minItems ?? 0) || value.length > (schema.maxItems ?? Infinity)) yield `${at}: its length`
    for (const [index, each] of value.entries())
      if (schema.items) yield* faultsIn(schema.items, each, `${at}[${index}]`)
  } else if (typeof value === 'object' && value !== null) yield* mapFaults(schema, value, at)
}

function* textFaults({ pattern, minLength = 0, maxLength = Infinity }: Structural, text: string, at: string) {
  if (pattern !== undefined && !new RegExp(pattern, 'u').test(text)) yield `${at}: ${text} is not ${pattern}`
  if ([...text].length < minLength || [...text].length > maxLength) yield `${at}: its length`
}

function* mapFaults(schema: Structural, map: object, at: string): Generator<string> {
  for (const name of schema.required ?? []) if (Reflect.get(map, name) === undefined) yield `${at}.${name}: missing`
  for (const [name, each] of Object.entries(map)) {
    const below = schema.properties?.[name] ?? schema.additionalProperties
    if (below === undefined && schema.type === 'object' && schema.properties !== undefined)
      yield `${at}.${name}: unknown`
    // The API server takes null out where the schema does not ask for the field.
    if (below !== undefined && each !== null) yield* faultsIn(below, each, `${at}.${name}`)
  }
}
