/**
 * The text of the record of allocations: a YAML map with one line per Service. Pure.
 *
 *     "default/web": ["198.51.100.1", "2001:db8::1"]
 *     "default/old": ["198.51.100.2"]  # released 2026-01-31T12:00:00.000Z
 *     "default/api": ["198.51.100.4"]  # was 198.51.100.3, 2001:db8::3
 *     "default/dns": ["198.51.100.3"]  # ports 53/UDP of 198.51.100.3; shared as ["k",[],"Cluster"]
 */
import { formatAddress, parseAddress } from '../ip/address.ts'
import { type Allotment, allotment } from './address-book.ts'
import { formatTenure, parseTenure } from './tenure.ts'
import type { Work } from './work.ts'

export interface RecordLine extends Allotment {
  readonly key: string
  /** When its Service went, milliseconds since 1970; absent while it is there. */
  readonly releasedMs?: number
}

/** A line that is no allocation, and what of it can be made out. */
export interface DamagedLine {
  readonly text: string
  readonly key: string | undefined
  readonly addresses: readonly string[]
}

export interface ParsedRecord {
  readonly lines: readonly RecordLine[]
  readonly damaged: readonly DamagedLine[]
  /** What stands after the last line end: the beginning of a line whose writer died. Nobody relied on it. */
  readonly rest: string
}

/** JSON strings, which are YAML too. */
export function formatLine({ key, addresses, tenure, lost = [], releasedMs }: RecordLine): string {
  const list = addresses.map((address) => JSON.stringify(address)).join(', ')
  const ports = formatTenure(tenure)
  const notes = [
    ...(releasedMs === undefined ? [] : [`released ${new Date(releasedMs).toISOString()}`]),
    ...(lost.length === 0 ? [] : [`was ${lost.join(', ')}`]),
    ...(ports === undefined ? [] : [`ports ${ports}`]),
  ]
  return `${JSON.stringify(key)}: [${list}]${notes.length === 0 ? '' : `  # ${notes.join(' ')}`}\n`
}

export function* parseRecord(text: string): Work<ParsedRecord> {
  const lines: RecordLine[] = []
  const damaged: DamagedLine[] = []
  const end = text.lastIndexOf('\n') + 1
  for (const line of text.slice(0, end).split('\n')) {
    if (/^\s*(#.*)?$/.test(line)) continue
    yield
    const found = parseLine(line)
    if ('text' in found) damaged.push(found)
    else lines.push(found)
  }
  return { lines, damaged, rest: text.slice(end) }
}

const noteForm = /^#\s*(?:released (\S+)\s*)?(?:was ([0-9a-f:.]+(?:, [0-9a-f:.]+)*)\s*)?(?:ports (.+))?/

/** A line as we write it, or as a person would: quotes are optional. */
function parseLine(line: string): RecordLine | DamagedLine {
  const key = keyOf(line)
  const list = key === undefined ? undefined : /^\s*:\s*\[([^\]]*)\]\s*(#.*)?$/.exec(line.slice(key.length))
  const words = (list?.[1] ?? '')
    .split(',')
    .map((word) => word.trim().replace(/^(["'])(.*)\1$/, '$2'))
    .filter((word) => word !== '')
  const addresses = words.map(canonical)
  if (key === undefined || list === null || list === undefined || addresses.includes(undefined)) {
    const somewhere = line.match(/[0-9a-fA-F:.]{2,}/g) ?? []
    return { text: line, key: key?.value, addresses: somewhere.flatMap((word) => canonical(word) ?? []) }
  }
  const [, released = '', was = '', ports = ''] = noteForm.exec(list[2] ?? '') ?? []
  const releasedMs = Date.parse(released)
  const lost = was.split(', ').flatMap((word) => canonical(word) ?? [])
  return {
    key: key.value,
    ...allotment(
      addresses.flatMap((address) => address ?? []),
      parseTenure(ports),
      lost,
    ),
    ...(Number.isNaN(releasedMs) ? {} : { releasedMs }),
  }
}

/** The key at the beginning of a line: in double quotes as JSON has them, in single ones, or bare. */
function keyOf(line: string): { readonly value: string; readonly length: number } | undefined {
  const [text] = /^("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s"'#:[\]{},][^\s#:[\]{},]*)(?=\s*:)/.exec(line) ?? []
  if (text === undefined) return undefined
  const value = text.startsWith('"')
    ? unquoted(text)
    : text.startsWith("'")
      ? text.slice(1, -1).replaceAll("''", "'")
      : text
  return value === undefined || !/^[^/]+\/[^/]+$/.test(value) ? undefined : { value, length: text.length }
}

function unquoted(text: string): string | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'string' ? value : undefined
  } catch {
    return undefined
  }
}

function canonical(word: string): string | undefined {
  const address = parseAddress(word)
  return address === undefined ? undefined : formatAddress(address)
}
