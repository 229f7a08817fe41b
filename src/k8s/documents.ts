/**
 * The objects in the text of one manifest file. Documents are split by hand, so that a broken one costs only itself and
 * an unchanged one is not parsed again; positions are found by a second parse, when a problem asks for one. Pure.
 */
import { CORE_SCHEMA, load } from 'js-yaml'
import { isCollection, LineCounter, parseDocument } from 'yaml'
import type { ObjectRef, Problem } from '../desired/model.ts'
import { isClusterScoped } from './kinds/table.ts'
import type { ObjectKey, Origin, Position, RawObject } from './source.ts'

export interface ManifestObject {
  readonly key: ObjectKey
  /** Group, kind, namespace and name: the same object in whatever version. */
  readonly id: string
  readonly object: RawObject
  readonly origin: Origin
}

/** What one document gave; `problem` is set when it could not be read. */
export interface ManifestDocument {
  readonly text: string
  /** 1-based line of the first character. */
  readonly line: number
  readonly objects: readonly ManifestObject[]
  readonly problem?: Problem
}

/** Reads a file; `before` are its documents as read the last time, taken over where text and line are equal. */
export function readDocuments(
  file: string,
  text: string,
  before: readonly ManifestDocument[] = [],
): readonly ManifestDocument[] {
  const known = new Map(before.map((document) => [document.line, document]))
  return splitDocuments(text).map((part) => {
    const same = known.get(part.line)
    return same?.text === part.text ? same : readDocument(file, part.text, part.line)
  })
}

/** A line that starts with `---` always separates: no scalar of YAML may hold one in its first column. */
function splitDocuments(text: string): { readonly text: string; readonly line: number }[] {
  const parts: { text: string; line: number }[] = []
  const separator = /^---(?=\s|$)/gm
  let start = 0
  let line = 1
  const take = (end: number): void => {
    const part = text.slice(start, end)
    if (/^\s*[^\s#]/m.test(part.replace(/^---/, ''))) parts.push({ text: part, line })
    line += part.split('\n').length - 1
    start = end
  }
  for (let match = separator.exec(text); match !== null; match = separator.exec(text)) take(match.index)
  take(text.length)
  return parts
}

function readDocument(file: string, text: string, line: number): ManifestDocument {
  const parsed = parseText(text)
  if ('message' in parsed) {
    const problem: Problem = {
      severity: 'error',
      object: { kind: 'File', name: file, file, line: line + parsed.line - 1 },
      field: '',
      code: 'InvalidYaml',
      message: parsed.message,
      remedy:
        'Correct the document; until then everything that this file held stays in force, what was deleted from it too.',
      column: parsed.column,
    }
    return { text, line, objects: [], problem }
  }
  const found = objectsOf(parsed.value, [])
  const objects = found.map(({ key, object, path }) => ({
    key,
    id: objectId(key),
    object,
    origin: originOf(file, text, line, path),
  }))
  if (found.length > 0 || parsed.value === null) return { text, line, objects }
  const object: ObjectRef = { kind: 'File', name: file, file, line }
  return {
    text,
    line,
    objects,
    problem: {
      severity: 'error',
      object,
      field: '',
      code: 'NoObject',
      message: 'the document is no Kubernetes object',
      remedy: 'Give it apiVersion, kind and metadata.name.',
      column: 1,
    },
  }
}

type Parsed = { readonly value: unknown } | ({ readonly message: string } & Position)

/**
 * Thousands of documents are read at the start: the quick parser first; the one that knows positions when it objects.
 */
function parseText(text: string): Parsed {
  return parseQuickly(text) ?? parseWithPositions(text)
}

function parseQuickly(text: string): Parsed | undefined {
  // Aliases can multiply without end; the other parser counts them.
  if (/[&*]/.test(text)) return undefined
  try {
    return {
      value: text.trimStart().startsWith('{') ? JSON.parse(text) : (load(text, { schema: CORE_SCHEMA }) ?? null),
    }
  } catch {
    // Whatever is wrong is found again, with its place.
    return undefined
  }
}

function parseWithPositions(text: string): Parsed {
  const lines = new LineCounter()
  try {
    const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
    const [error] = document.errors
    if (error === undefined) return { value: document.toJS({ maxAliasCount: 100 }) }
    const { line, col } = lines.linePos(error.pos[0])
    return { message: error.message, line, column: col }
  } catch (error) {
    // toJS throws on an unresolved alias or too many of them; neither has a position.
    return { message: error instanceof Error ? error.message : String(error), line: 1, column: 1 }
  }
}

interface Found {
  readonly key: ObjectKey
  readonly object: RawObject
  readonly path: readonly (string | number)[]
}

function isRecord(value: unknown): value is RawObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function objectsOf(value: unknown, path: readonly (string | number)[]): Found[] {
  if (!isRecord(value)) return []
  const { apiVersion, kind, metadata, items } = value
  if (typeof kind === 'string' && kind.endsWith('List') && Array.isArray(items))
    return items.flatMap((item, index) => objectsOf(item, [...path, 'items', index]))
  if (
    typeof apiVersion !== 'string' ||
    typeof kind !== 'string' ||
    !isRecord(metadata) ||
    typeof metadata['name'] !== 'string'
  )
    return []
  const namespace =
    typeof metadata['namespace'] === 'string'
      ? metadata['namespace']
      : isClusterScoped(apiVersion, kind)
        ? ''
        : 'default'
  return [{ key: { apiVersion, kind, namespace, name: metadata['name'] }, object: value, path }]
}

function objectId({ apiVersion, kind, namespace, name }: ObjectKey): string {
  return `${apiVersion.includes('/') ? apiVersion.slice(0, apiVersion.indexOf('/')) : ''}/${kind}/${namespace}/${name}`
}

function originOf(file: string, text: string, firstLine: number, base: readonly (string | number)[]): Origin {
  const locate = (path: readonly (string | number)[]): Position => {
    const lines = new LineCounter()
    const document = parseDocument(text, { lineCounter: lines })
    // The nearest ancestor that is written down stands for a field that is absent.
    for (let length = base.length + path.length; length > 0; length--) {
      const offset = offsetOf(document.contents, [...base, ...path].slice(0, length))
      if (offset === undefined) continue
      const { line, col } = lines.linePos(offset)
      return { line: firstLine + line - 1, column: col }
    }
    return { line: firstLine + leadingLines(text), column: 1 }
  }
  return {
    file,
    get line() {
      return base.length === 0 ? firstLine + leadingLines(text) : locate([]).line
    },
    locate,
  }
}

/** Lines before the first that says something: the separator, blank ones, comments. */
function leadingLines(text: string): number {
  const leading = /^(?:(?:---[ \t]*)?(?:#.*)?[ \t\r]*\n)*/.exec(text)?.[0] ?? ''
  return leading.split('\n').length - 1
}

function offsetOf(contents: unknown, path: readonly (string | number)[]): number | undefined {
  const node = isCollection(contents) ? contents.getIn(path, true) : undefined
  if (typeof node !== 'object' || node === null || !('range' in node) || !Array.isArray(node.range)) return undefined
  const [start] = node.range
  return typeof start === 'number' ? start : undefined
}
