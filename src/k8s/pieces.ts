/**
 * The text of a manifest file in pieces that are parsed one by one: documents, and the items of long Lists. A broken
 * piece costs only itself, an unchanged one is not parsed again, and no piece holds the loop for long. Pure.
 */
import { readYaml } from './yaml.ts'

export interface Piece {
  /** Offsets into the text of the file. */
  readonly start: number
  readonly end: number
  /** 1-based line of `start`. */
  readonly line: number
  /** A list of YAML with one item, which is what counts. */
  readonly isItem: boolean
}

/** A List that is longer is taken apart; an object that is longer is not read. */
export const longDocument = 64 * 1024
export const maxDocument = 1_536 * 1024

export function* piecesOf(text: string): Generator<Piece> {
  for (const document of documentsOf(text)) {
    if (document.end - document.start <= longDocument) yield document
    else yield* itemsOf(text, document) ?? [document]
  }
}

/** A line that starts with `---` or `...` always ends a document: no scalar may hold one in its first column. */
function* documentsOf(text: string): Generator<Piece> {
  const marker = /(^|\n)(---|\.\.\.)(?=[ \t\r\n]|$)/g
  let start = 0
  let line = 1
  for (;;) {
    const match = marker.exec(text)
    const end = match === null ? text.length : match.index + (match[1]?.length ?? 0)
    const from = skipMark(text, start, end)
    if (hasContent(text.slice(from, end))) yield { start: from, end, line, isItem: false }
    if (match === null) return
    line += linesIn(text, start, end)
    start = end + 3
  }
}

/** A byte order mark may stand before each document, since files are joined. */
function skipMark(text: string, start: number, end: number): number {
  const lead = /(?:[ \t\r]*(?:#[^\n]*)?\n)*[ \t]*\ufeff/y
  lead.lastIndex = start
  return lead.test(text) && lead.lastIndex <= end ? lead.lastIndex : start
}

/** More than blanks, comments and directives, which say nothing about the objects. */
function hasContent(text: string): boolean {
  return /^[ \t\r]*[^\s#%]|^[ \t]+%/m.test(text)
}

export function linesIn(text: string, start: number, end: number): number {
  let lines = 0
  for (let at = text.indexOf('\n', start); at >= 0 && at < end; at = text.indexOf('\n', at + 1)) lines++
  return lines
}

/**
 * The items of a document that is a List; undefined when it is none, or is not written so that it can be taken apart.
 */
function itemsOf(text: string, document: Piece): Generator<Piece> | undefined {
  const slice = text.slice(document.start, document.end)
  const found = slice.trimStart().startsWith('{') ? jsonItems(slice) : yamlItems(slice)
  if (found === undefined) return undefined
  const head = readYaml(`${slice.slice(0, found.start)}${found.empty}${slice.slice(found.end)}`)
  if (!('value' in head) || !isList(head.value)) return undefined
  return placed(text, document, found)
}

interface Items {
  readonly start: number
  readonly end: number
  /** What stands for all items where there is none. */
  readonly empty: string
  readonly isYaml: boolean
  readonly items: Iterable<readonly [number, number]>
}

function* placed(text: string, document: Piece, { items, isYaml }: Items): Generator<Piece> {
  let line = document.line
  let counted = document.start
  for (const [from, to] of items) {
    const start = document.start + from
    line += linesIn(text, counted, start)
    counted = start
    yield { start, end: document.start + to, line, isItem: isYaml }
  }
}

function isList(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'kind' in value && /List$/.test(String(value.kind))
}

/** `items:` in the first column, its items one below the other; anchors may reach from one item into another. */
function yamlItems(text: string): Items | undefined {
  const head = /(?:^|\n)items:[ \t]*(?:#[^\n]*)?\r?\n(?:[ \t]*(?:#[^\n]*)?\r?\n)*( *)-[ \t\r\n]/.exec(text)
  const indent = head?.[1]
  if (head === null || indent === undefined || /(?:^|[\s[{,:-])[&*][^\s&*]/.test(text)) return undefined
  const start = head.index + head[0].length - indent.length - 2
  const after = indent === '' ? /\n(?=[^\s#-])/g : new RegExp(`\\n(?= {0,${indent.length - 1}}[^\\s#])`, 'g')
  after.lastIndex = start
  const end = (after.exec(text)?.index ?? text.length - 1) + 1
  return { start, end, empty: ` ${indent}[]\n`, isYaml: true, items: yamlStarts(text, start, end, indent) }
}

function* yamlStarts(text: string, start: number, end: number, indent: string): Generator<readonly [number, number]> {
  const item = new RegExp(`\\n(?=${indent}-[ \\t\\r\\n])`, 'g')
  item.lastIndex = start
  for (let from = start; from < end; ) {
    const next = item.exec(text)
    const to = next === null || next.index >= end ? end : next.index + 1
    yield [from, to]
    from = to
  }
}

/** By brackets, whose text in quotes does not count; what is no JSON after all fails when its pieces are parsed. */
function jsonItems(text: string): Items | undefined {
  const head = /"items"\s*:\s*\[/g
  const tokens = /"(?:[^"\\]|\\.)*"|[{}[\]]/g
  let depth = 0
  for (let token = tokens.exec(text); token !== null; token = tokens.exec(text)) {
    if (depth === 1 && token[0] === '"items"') {
      head.lastIndex = token.index
      const match = head.exec(text)
      if (match?.index !== token.index) return undefined
      const start = token.index + match[0].length
      const items = jsonValues(text, start)
      const end = items.at(-1)?.[1] ?? start
      return { start, end, empty: '', isYaml: false, items }
    }
    if (token[0] === '{' || token[0] === '[') depth++
    else if (token[0] === '}' || token[0] === ']') depth--
  }
  return undefined
}

/** The objects of an array from its `[` to its `]`. */
function jsonValues(text: string, start: number): readonly (readonly [number, number])[] {
  const tokens = /"(?:[^"\\]|\\.)*"|[{}[\]]/g
  tokens.lastIndex = start
  const found: (readonly [number, number])[] = []
  let depth = 0
  let from = start
  for (let token = tokens.exec(text); token !== null; token = tokens.exec(text)) {
    if (token[0] === '{' || token[0] === '[') {
      if (depth === 0) from = token.index
      depth++
    } else if (token[0] === '}' || token[0] === ']') {
      depth--
      if (depth < 0) break
      if (depth === 0) found.push([from, token.index + 1])
    }
  }
  return found
}
