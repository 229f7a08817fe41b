/**
 * values.yaml is the one source of what the chart takes: a comment above each key says what it is, `@` lines its type
 * where the default does not tell.
 *
 *     values.yaml --describeValues--> keys with texts --> values.schema.json, the table of charts/herald/README.md
 */
import { isMap, isScalar, parseDocument, type YAMLMap } from 'yaml'

export type Json = Readonly<Record<string, unknown>>

export interface Value {
  readonly path: string
  readonly text: string
  readonly default: unknown
  readonly schema: Json
}

const labels: Json = { type: 'object', additionalProperties: { type: 'string' } }

/** Types by what stands behind `@`. */
const types: Readonly<Record<string, (words: readonly string[]) => Json>> = {
  labels: () => labels,
  strings: () => ({ type: 'array', items: { type: 'string' } }),
  objects: () => ({ type: 'array', items: { type: 'object' } }),
  object: () => ({ type: 'object' }),
  any: () => ({ type: 'array' }),
  port: () => ({ type: 'integer', minimum: 1, maximum: 65535 }),
  count: () => ({ type: 'integer', minimum: 0 }),
  enum: (words) => ({ type: 'string', enum: words }),
  type: (words) => ({ type: words }),
}

/** Every value that may be set, in the order of the file. Throws where one has no text or no type. */
export function describeValues(yaml: string): readonly Value[] {
  const document = parseDocument(yaml)
  if (document.errors.length > 0 || !isMap(document.contents)) throw new Error('values.yaml is no map')
  return valuesOf(document.contents, '')
}

function valuesOf(map: YAMLMap, prefix: string): readonly Value[] {
  return map.items.flatMap(({ key, value }, index): readonly Value[] => {
    if (!isScalar(key)) throw new Error(`${prefix} has a key that is no text`)
    const path = `${prefix}${String(key.value)}`
    // What stands above the first key of a map is kept with the map.
    const above = key.commentBefore ?? (index === 0 ? map.commentBefore : undefined) ?? ''
    // A paragraph of its own is about the file.
    const lines = (above.split(/\n\s*\n/).at(-1) ?? '').split('\n').map((line) => line.trim())
    const text = lines
      .filter((line) => !line.startsWith('@'))
      .join(' ')
      .trim()
    const [word, ...rest] = (lines.find((line) => line.startsWith('@')) ?? '').slice(1).split(' ')
    if (word === '' && isMap(value) && value.items.length > 0) return valuesOf(value, `${path}.`)
    const written: unknown = JSON.parse(JSON.stringify(value))
    const schema = word === undefined || word === '' ? plainType(written) : types[word]?.(rest)
    if (text === '') throw new Error(`${path} has no text above it`)
    if (schema === undefined) throw new Error(`${path} has no type: its default does not tell, and @${word} is none`)
    return [{ path, text, default: written, schema }]
  })
}

function plainType(value: unknown): Json | undefined {
  if (typeof value === 'boolean' || typeof value === 'string') return { type: typeof value }
  return undefined
}

/** JSON Schema that refuses every key that is not there; `foreign` keys pass, and the templates refuse them by name. */
export function schemaOf(values: readonly Value[], foreign: readonly string[]): Json {
  const passing = Object.fromEntries(foreign.map((key) => [key, {}]))
  const own = objectOf(values)
  const global = { type: 'object', description: 'Of a chart that this one is part of; nothing of it is read.' }
  return {
    $schema: 'https://json-schema.org/draft-07/schema#',
    ...own,
    properties: { ...(own['properties'] as Json), global, ...passing },
  }
}

function objectOf(values: readonly Value[]): Json {
  const names = [...new Set(values.map(({ path }) => path.split('.')[0] ?? ''))]
  const properties = names.map((name): [string, Json] => {
    const exact = values.find(({ path }) => path === name)
    if (exact !== undefined) return [name, { description: exact.text, ...exact.schema }]
    const below = values
      .filter(({ path }) => path.startsWith(`${name}.`))
      .map((value) => ({ ...value, path: value.path.slice(name.length + 1) }))
    return [name, objectOf(below)]
  })
  // One that is missing, as with the values of an older chart reused, would be a nil pointer in some template.
  const required = names.filter((name) => values.every(({ path }) => path !== name))
  const rest = required.length === 0 ? {} : { required }
  return { type: 'object', additionalProperties: false, ...rest, properties: Object.fromEntries(properties) }
}

/** A table in Markdown. */
export function tableOf(values: readonly Value[]): string {
  const cell = (text: string): string => text.replaceAll('|', '\\|')
  const rows = values.map(({ path, text, default: fallback, schema }) => {
    const words = Array.isArray(schema['enum'])
      ? ` One of ${schema['enum'].map((word) => `\`${word}\``).join(', ')}.`
      : ''
    const shown = fallback === '' ? '' : `\`${typeof fallback === 'string' ? fallback : JSON.stringify(fallback)}\``
    return `| \`${path}\` | ${cell(shown)} | ${cell(text)}${words} |`
  })
  return ['| value | default | meaning |', '|---|---|---|', ...rows].join('\n')
}
