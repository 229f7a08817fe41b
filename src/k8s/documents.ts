/**
 * The objects in the text of one manifest file.
 *
 *     text --pieces.ts--> documents, items --yaml.ts--> values --> objects: key, fingerprint, shape
 *
 * What is found keeps no text of the file alive.
 */
import { hash } from 'node:crypto'
import type { ProblemCode } from '../desired/codes.ts'
import type { Problem } from '../desired/model.ts'
import { detached } from './detached.ts'
import { fingerprintOf } from './fingerprint.ts'
import { olderConfiguration, type Remark } from './kinds/older.ts'
import { placeholderRemedy } from './kinds/placeholders.ts'
import { isClusterScoped, isServed, misspeltKind, notServed } from './kinds/table.ts'
import { isKustomization, knownStranger, kustomizationRemark } from './not-objects.ts'
import { brokenLabelRule, brokenNameRule } from './object-name.ts'
import { linesIn, longDocument, maxDocument, piecesOf, type Piece } from './pieces.ts'
import { isRecord, type ObjectKey, type ObjectVersion, type Origin, type Position, type RawObject } from './source.ts'
import { maxDepth, readYaml, yamlLocator, type Path, type YamlValue } from './yaml.ts'

/** What a piece holds. Offsets are into the piece. */
export interface PieceContent {
  readonly objects: readonly FoundObject[]
  readonly faults: readonly PieceFault[]
  /** See {@link YamlValue.openPath}; of JSON nothing is open. */
  readonly openPath: Path
}

export interface FoundObject {
  readonly key: ObjectKey
  /** Where in the piece it is. */
  readonly path: Path
  /** Equal for an equal value. */
  readonly digest: number
  readonly value: RawObject
  readonly version: ObjectVersion
}

export interface PieceFault {
  readonly severity: 'error' | 'warning'
  readonly code: ProblemCode
  readonly offset: number
  readonly message: string
  readonly remedy: string
}

const noVersion: ObjectVersion = {}

/** Of one piece: a long List comes in many. */
const maxObjects = 10_000
const maxFaults = 50

const stays = 'until then everything that this file held stays in force, what was deleted from it too'

export function readPiece(text: string, isItem: boolean): PieceContent {
  const isLong = text.length > longDocument
  if (isLong && isUnrelated(text)) return { objects: [], faults: [], openPath: [] }
  if (text.length > maxDocument) return refused('LimitExceeded', 0, tooLong, 'Split it into several documents.')
  const parsed = readJson(text) ?? readYaml(text)
  if (!('value' in parsed)) return refused('InvalidYaml', parsed.offset, parsed.message, `${remedyOf(text)}; ${stays}.`)
  const value = isItem && Array.isArray(parsed.value) ? parsed.value[0] : parsed.value
  const base = isItem ? [0] : []
  const faults: PieceFault[] = parsed.doubledKeys.slice(0, 10).map((offset) => ({
    severity: 'warning',
    code: 'DuplicateKey',
    offset,
    message: 'the key stands twice in this mapping; as with kubectl, the last one counts',
    remedy: 'Remove one of the two.',
  }))
  const objects: FoundObject[] = []
  const locate = yamlLocator(text)
  const offsetOf = (path: Path): number => locate(path) ?? leadingBlank(text)
  if (value !== null || isItem) collect(value, base, { objects, faults, isOwn: parsed.isOwn, offsetOf })
  if (objects.length >= maxObjects) {
    const message = `the document holds ${maxObjects} objects or more`
    return refused('LimitExceeded', 0, message, 'Split it, and write aliases (*) out.')
  }
  return { objects, faults, openPath: parsed.openPath }
}

const tooLong = `the document is longer than ${maxDocument / 1024} KiB and no List that is written item by item`

/** Templates are no YAML, and correct all the same. */
function remedyOf(text: string): string {
  const isTemplate = /\{\{.*\}\}|^\s*\{%.*%\}/m.test(text.slice(0, longDocument))
  return isTemplate ? 'Give what the template renders to' : 'Correct the document'
}

function refused(code: ProblemCode, offset: number, message: string, remedy: string): PieceContent {
  return { objects: [], faults: [{ severity: 'error', code, offset, message, remedy }], openPath: [] }
}

function readJson(text: string): YamlValue | undefined {
  if (!/^\s*\{\s*["}]/.test(text)) return undefined
  try {
    return { value: JSON.parse(text) as unknown, doubledKeys: [], openPath: [], isOwn: true }
  } catch {
    // It may be YAML all the same; what is wrong with it is found again, with its place.
    return undefined
  }
}

/** A long object of a kind that nothing here reads, as a CustomResourceDefinition is, need not be parsed. */
function isUnrelated(text: string): boolean {
  const [apiVersion, kind] = ['apiVersion', 'kind'].map(
    (key) => new RegExp(`^${key}:[ \\t]*["']?([\\w./-]+)["']?[ \\t\\r]*(?:#.*)?$`, 'm').exec(text)?.[1],
  )
  if (apiVersion === undefined || kind === undefined || kind.endsWith('List')) return false
  return !isRelated({ apiVersion, kind, namespace: '', name: '' })
}

/** Objects of other kinds mean nothing to a load balancer and are passed over. */
export function isRelated(key: ObjectKey): boolean {
  return isServed(key) || notServed(key).length > 0
}

interface Collected {
  readonly objects: FoundObject[]
  readonly faults: PieceFault[]
  /** The values are part of nothing else. */
  readonly isOwn: boolean
  offsetOf(path: Path): number
}

function collect(value: unknown, path: Path, found: Collected): void {
  const { objects, faults } = found
  if (objects.length >= maxObjects || faults.length >= maxFaults) return
  if (path.length > maxDepth) {
    const message = 'Lists stand in Lists without end'
    faults.push(...refused('LimitExceeded', found.offsetOf([]), message, 'Write the objects out.').faults)
    return
  }
  const items = listItems(value)
  if (items !== undefined) for (const [index, item] of items.entries()) collect(item, [...path, 'items', index], found)
  else collectObject(value, path, found)
}

/** The items of a List; those of a list of one kind, as a FooList, need not repeat it. */
function listItems(value: unknown): readonly unknown[] | undefined {
  if (!isRecord(value) || typeof value['kind'] !== 'string' || !value['kind'].endsWith('List')) return undefined
  const { apiVersion, kind, items } = value
  if (items === null || (items === undefined && kind === 'List')) return []
  if (!Array.isArray(items)) return undefined
  const inherited = { apiVersion, kind: String(kind).slice(0, -'List'.length) }
  return kind === 'List'
    ? items
    : items.map((item: unknown) => (isRecord(item) && item['kind'] === undefined ? { ...inherited, ...item } : item))
}

function collectObject(value: unknown, path: Path, { objects, faults, isOwn, offsetOf }: Collected): void {
  const fail = (at: Path, code: ProblemCode, message: string, remedy: string): void => {
    faults.push({ severity: 'error', code, offset: offsetOf(at), message, remedy })
  }
  const remark = isKustomization(value) ? kustomizationRemark(value) : olderConfiguration(value)
  if (remark !== undefined) {
    const { message, remedy } = remark
    const offset = offsetOf([...path, ...remark.path])
    faults.push({ severity: 'warning', code: 'KindNotServed', offset, message, remedy })
  }
  const lack = isKustomization(value) ? undefined : (knownStranger(value) ?? lackOf(value))
  if (lack !== undefined) return fail([...path, ...lack.path], 'NoObject', lack.message, lack.remedy)
  const key = keyOf(value as RawObject)
  const slip = misspeltKind(key)
  if (slip !== undefined) return fail([...path, slip.field], 'NoObject', slip.message, slip.remedy)
  const isRead = isRelated(key)
  const nameRule = isRead ? brokenNameRule(key.kind, key.name) : undefined
  if (nameRule !== undefined)
    return fail(
      [...path, 'metadata', 'name'],
      'InvalidName',
      `metadata.name is not ${nameRule}`,
      `${placeholderRemedy(key.name) ?? 'Rename the object'}.`,
    )
  const spaceRule = isRead && key.namespace !== '' ? brokenLabelRule(key.namespace) : undefined
  if (spaceRule !== undefined)
    return fail(
      [...path, 'metadata', 'namespace'],
      'InvalidName',
      `metadata.namespace is not ${spaceRule}`,
      `${placeholderRemedy(key.namespace) ?? 'Rename it'}.`,
    )
  const digest = fingerprintOf(value)
  if (typeof digest !== 'number')
    return fail(
      [...path, ...digest.path],
      'InvalidYaml',
      digest.message,
      `Write the object out, and simpler; ${stays}.`,
    )
  // Once more by itself: an alias is written out where it stands, and no text is cut out of that of the file.
  const own = isOwn ? value : JSON.parse(JSON.stringify(value))
  objects.push({ key, path, digest, value: own as RawObject, version: versionOf(own as RawObject) })
}

function lackOf(value: unknown): Remark | undefined {
  const remedy = 'Give it apiVersion, kind and metadata.name.'
  if (!isRecord(value)) return { path: [], message: 'the document is no Kubernetes object', remedy }
  const { apiVersion, kind, metadata } = value
  const name = isRecord(metadata) ? metadata['name'] : undefined
  if (isText(apiVersion) && isText(kind) && isText(name)) return undefined
  // Many kinds have no name (Kustomization, ClusterConfiguration), or get one (generateName): what means nothing here.
  if (isText(apiVersion) && isText(kind) && !isText(name) && isStrange(apiVersion, kind)) return undefined
  const wrong = [
    ['apiVersion', apiVersion, ['apiVersion']] as const,
    ['kind', kind, ['kind']] as const,
    ['metadata.name', name, ['metadata', 'name']] as const,
  ].filter(([, written]) => !isText(written))
  const [first] = wrong
  if (first === undefined) return undefined
  const [field, written, path] = first
  if (typeof written === 'number' || typeof written === 'boolean')
    return { path, message: `${field} is no text to YAML`, remedy: 'Put it in quotes.' }
  const fields = wrong.map(([each]) => each).join(' and ')
  return { path: [], message: `the document is no Kubernetes object: it has no ${fields}`, remedy }
}

function isText(written: unknown): written is string {
  return typeof written === 'string' && written !== ''
}

/** A kind that nothing here reads, and no slip of one that is read. */
function isStrange(apiVersion: string, kind: string): boolean {
  const key = { apiVersion, kind, namespace: '', name: '' }
  return !isRelated(key) && misspeltKind(key) === undefined
}

function keyOf({ apiVersion = '', kind = 'Kustomization', metadata }: RawObject): ObjectKey {
  const { name, namespace } = isRecord(metadata) ? metadata : {}
  const key = { apiVersion: shared(String(apiVersion)), kind: shared(String(kind)) }
  const written = typeof namespace === 'string' && namespace !== '' ? namespace : 'default'
  return {
    ...key,
    namespace: isClusterScoped(key.apiVersion, key.kind) ? '' : shared(written),
    name: detached(typeof name === 'string' ? name : ''),
  }
}

function versionOf({ metadata }: RawObject): ObjectVersion {
  const { uid, resourceVersion, generation } = isRecord(metadata) ? metadata : {}
  if (uid === undefined && resourceVersion === undefined && generation === undefined) return noVersion
  return {
    ...(typeof uid === 'string' ? { uid } : {}),
    ...(typeof resourceVersion === 'string' ? { resourceVersion } : {}),
    ...(typeof generation === 'number' ? { generation } : {}),
  }
}

const known = new Map<string, string>()

/** One copy of what thousands of objects have in common. */
function shared(text: string): string {
  const found = known.get(text)
  if (found !== undefined) return found
  if (known.size > 10_000) known.clear()
  const copy = detached(text)
  known.set(copy, copy)
  return copy
}

/** Group, kind, namespace and name: the same object in whatever version. */
export function objectId({ apiVersion, kind, namespace, name }: ObjectKey): string {
  return `${apiVersion.includes('/') ? apiVersion.slice(0, apiVersion.indexOf('/')) : ''}/${kind}/${namespace}/${name}`
}

/** For a shorter text the call into the library of cryptography costs more than the sum. */
const longText = 4096

/** About 50 bits: enough to tell one version from the next, and no defence against who writes both. */
export function digestOf(text: string | Buffer): number {
  return typeof text === 'string' && text.length < longText
    ? shortDigest(text)
    : hash('sha1', text, 'buffer').readUIntBE(0, 6)
}

/** Two multiplicative hashes of 32 bits side by side, of which 53 bits fit in a number. */
function shortDigest(text: string): number {
  let low = 0x9e3779b9
  let high = 0x85ebca6b
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    low = Math.imul(low ^ code, 0x9e3779b1)
    low ^= low >>> 15
    high = Math.imul(high ^ code, 0x5f356495)
    high ^= high >>> 13
  }
  return (high >>> 11) * 2 ** 32 + (low >>> 0)
}

function leadingBlank(text: string): number {
  return /^(?:[ \t]*(?:#[^\n]*)?\r?\n)*[ \t]*/.exec(text)?.[0].length ?? 0
}

/** Where in the file an offset of a piece is. */
function positionIn(text: string, piece: Piece, offset: number): Position {
  const at = piece.start + offset
  return { line: piece.line + linesIn(text, piece.start, at), column: at - text.lastIndexOf('\n', at - 1) }
}

/** Answers where the node at a path of a piece is, in a file whose text is at hand; `[]` is where it begins. */
export function locatorIn(text: string, piece: Piece): (path: Path) => Position {
  const slice = text.slice(piece.start, piece.end)
  const locate = yamlLocator(slice)
  return (path) => positionIn(text, piece, (path.length === 0 ? undefined : locate(path)) ?? leadingBlank(slice))
}

export function problemOfFault(file: string, text: string, piece: Piece, fault: PieceFault): Problem {
  const { line, column } = positionIn(text, piece, fault.offset)
  const { severity, code, message, remedy } = fault
  return { severity, object: { kind: 'File', name: file, file, line }, field: '', code, message, remedy, column }
}

export interface ManifestObject extends FoundObject {
  readonly id: string
  readonly object: RawObject
  readonly origin: Origin
}

export interface ManifestDocument {
  readonly objects: readonly ManifestObject[]
  readonly problems: readonly Problem[]
}

/** A whole text at once, as `herald validate` reads it. */
export function readDocuments(file: string, text: string): readonly ManifestDocument[] {
  return [...piecesOf(text)].map((piece) => {
    const { objects, faults } = readPiece(text.slice(piece.start, piece.end), piece.isItem)
    const locateInPiece = locatorIn(text, piece)
    return {
      objects: objects.map((found) => {
        const locate = (path: Path): Position => locateInPiece([...found.path, ...path])
        const origin = { file, line: locate([]).line, locate }
        return { ...found, id: objectId(found.key), object: found.value, origin }
      }),
      problems: faults.map((fault) => problemOfFault(file, text, piece, fault)),
    }
  })
}
