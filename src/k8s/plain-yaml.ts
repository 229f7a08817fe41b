/**
 * The YAML that most manifests are written in: mappings and lists by indentation or on one line, texts of one line, and
 * comments on lines of their own. Anything else is not read here, and nothing is judged: the whole language, and what
 * is wrong in a text, is for yaml.ts, which reads the same where both do. Pure.
 */
import { detached } from './detached.ts'
import { keyText, resolvePlain, type Scalar } from './scalars.ts'

type Value = Scalar | Value[] | { [key: string]: Value }

export interface PlainValue {
  readonly value: unknown
  /** Leads through the collections in block style to the last value. */
  readonly openPath: readonly (string | number)[]
}

const maxBlocks = 32
const maxFlows = 8
const maxKeyLength = 256

/** What a character may be: part of a key, the beginning of a plain text, part of one inside brackets. */
const inKey = 1
const beginsText = 2
const inFlowText = 4
const classes = new Uint8Array(128)
for (const [characters, bits] of [
  ['ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_', inKey | beginsText | inFlowText],
  ['/.', inKey | beginsText | inFlowText],
  ['-', inKey | inFlowText],
  ['+~', beginsText | inFlowText],
] as const)
  for (const character of characters) classes[character.charCodeAt(0)] = bits

const space = 32
const doubleQuote = 34
const hash = 35
const singleQuote = 39
const comma = 44
const dash = 45
const colon = 58
const [openList, closeList, openMap, closeMap] = [91, 93, 123, 125]

/** undefined: it has to be read by yaml.ts. */
export function readPlainYaml(text: string): PlainValue | undefined {
  return /[^\n\x20-\x7e]/.test(text) ? undefined : new PlainReader(text).read()
}

/** A method that answers undefined has met what is not plain. */
class PlainReader {
  readonly #text: string
  #at = 0
  /** Of the line that is looked at: its limits, and the column of its content; -1 after the last line. */
  #start = 0
  #end = -1
  #indent = -1
  #depth = 0
  readonly #openPath: (string | number)[] = []

  constructor(text: string) {
    this.#text = text
  }

  read(): PlainValue | undefined {
    this.#nextLine()
    if (this.#indent < 0) return undefined
    const value = this.#block()
    return value === undefined || this.#indent >= 0 ? undefined : { value, openPath: this.#openPath }
  }

  /** To the next line that is neither empty nor a comment. */
  #nextLine(): void {
    const text = this.#text
    while (this.#end < text.length) {
      this.#start = this.#end + 1
      let at = this.#start
      while (text.charCodeAt(at) === space) at++
      const found = text.indexOf('\n', at)
      this.#end = found < 0 ? text.length : found
      if (at >= this.#end || text.charCodeAt(at) === hash) continue
      this.#at = at
      this.#indent = at - this.#start
      return
    }
    this.#indent = -1
  }

  /** The collection that begins in this line. */
  #block(): Value | undefined {
    if (this.#depth >= maxBlocks) return undefined
    this.#depth++
    const value = this.#isItem() ? this.#list(this.#indent) : this.#mapping(this.#indent)
    this.#depth--
    return value
  }

  #isItem(): boolean {
    return this.#text.charCodeAt(this.#at) === dash && this.#text.charCodeAt(this.#at + 1) === space
  }

  #mapping(indent: number): Value | undefined {
    const made: Record<string, Value> = {}
    let key: string | undefined
    while (this.#indent === indent && !this.#isItem()) {
      key = this.#key()
      if (key === undefined || Object.hasOwn(made, key)) return undefined
      const value = this.#afterKey(indent)
      if (value === undefined) return undefined
      made[key] = value
    }
    if (key === undefined) return undefined
    if (this.#indent < 0) this.#openPath.unshift(key)
    return made
  }

  /** What follows a key: in its line, or below it. */
  #afterKey(indent: number): Value | undefined {
    this.#skipSpaces()
    if (this.#at < this.#end) return this.#inLine(indent)
    this.#nextLine()
    if (this.#indent > indent || (this.#indent === indent && this.#isItem())) return this.#block()
    return null
  }

  /** The value that ends with its line; a deeper line below it would go on with it. */
  #inLine(indent: number): Value | undefined {
    const first = this.#text.charCodeAt(this.#at)
    const isFlow = first === openList || first === openMap
    const value = isFlow
      ? this.#flow(0)
      : first === doubleQuote || first === singleQuote
        ? this.#quoted(first)
        : this.#plain()
    if (value === undefined) return undefined
    this.#skipSpaces()
    if (this.#at < this.#end) return undefined
    this.#nextLine()
    return this.#indent > indent ? undefined : value
  }

  #list(indent: number): Value | undefined {
    const made: Value[] = []
    while (this.#indent === indent && this.#isItem()) {
      this.#at++
      this.#skipSpaces()
      const value = this.#keyEnd() === undefined ? this.#inLine(indent) : this.#itemMapping()
      if (value === undefined) return undefined
      made.push(value)
    }
    if (this.#indent < 0) this.#openPath.unshift(made.length - 1)
    return made
  }

  /** A mapping that begins beside the dash of its item goes on below its first key. */
  #itemMapping(): Value | undefined {
    if (this.#depth >= maxBlocks) return undefined
    this.#depth++
    this.#indent = this.#at - this.#start
    const value = this.#mapping(this.#indent)
    this.#depth--
    return value
  }

  /** Where the colon is of the key that stands here; undefined: none does. */
  #keyEnd(): number | undefined {
    const text = this.#text
    let at = this.#at
    if ((classAt(text, at) & beginsText) === 0) return undefined
    while ((classAt(text, at) & inKey) !== 0) at++
    if (text.charCodeAt(at) !== colon || at - this.#at > maxKeyLength) return undefined
    return at + 1 === this.#end || text.charCodeAt(at + 1) === space ? at : undefined
  }

  /** Goes to behind its colon. */
  #key(): string | undefined {
    const end = this.#keyEnd()
    if (end === undefined) return undefined
    const key = keyOf(this.#text.slice(this.#at, end))
    this.#at = end + 1
    return key
  }

  #skipSpaces(): void {
    while (this.#text.charCodeAt(this.#at) === space) this.#at++
  }

  #flow(depth: number): Value | undefined {
    const first = this.#text.charCodeAt(this.#at)
    if (first === doubleQuote || first === singleQuote) return this.#quoted(first)
    if (first !== openList && first !== openMap) return this.#flowText()
    if (depth >= maxFlows) return undefined
    this.#at++
    this.#skipSpaces()
    return first === openList ? this.#flowList(depth + 1) : this.#flowMapping(depth + 1)
  }

  #flowList(depth: number): Value | undefined {
    const made: Value[] = []
    if (this.#takes(closeList)) return made
    do {
      this.#skipSpaces()
      const value = this.#flow(depth)
      if (value === undefined) return undefined
      made.push(value)
      this.#skipSpaces()
    } while (this.#takes(comma))
    return this.#takes(closeList) ? made : undefined
  }

  #flowMapping(depth: number): Value | undefined {
    const made: Record<string, Value> = {}
    if (this.#takes(closeMap)) return made
    do {
      this.#skipSpaces()
      const key = this.#key()
      if (key === undefined || Object.hasOwn(made, key)) return undefined
      this.#skipSpaces()
      const value = this.#flow(depth)
      if (value === undefined) return undefined
      made[key] = value
      this.#skipSpaces()
    } while (this.#takes(comma))
    return this.#takes(closeMap) ? made : undefined
  }

  #takes(character: number): boolean {
    if (this.#text.charCodeAt(this.#at) !== character) return false
    this.#at++
    return true
  }

  /** In quotes of its line, with nothing that the quotes would make another text of. */
  #quoted(quote: number): Value | undefined {
    const start = this.#at + 1
    const end = this.#text.indexOf(quote === doubleQuote ? '"' : "'", start)
    if (end < 0 || end >= this.#end || this.#text.charCodeAt(end + 1) === quote) return undefined
    const text = this.#text.slice(start, end)
    if (quote === doubleQuote && text.includes('\\')) return undefined
    this.#at = end + 1
    return sharedCopy(text)
  }

  #beginsText(): boolean {
    if ((classAt(this.#text, this.#at) & beginsText) !== 0) return true
    const next = this.#text.charCodeAt(this.#at + 1)
    return this.#text.charCodeAt(this.#at) === dash && next >= 48 && next <= 57
  }

  /** A text without quotes, to the end of its line. */
  #plain(): Value | undefined {
    const text = this.#text
    const start = this.#at
    if (!this.#beginsText()) return undefined
    let last = start
    for (let at = start; at < this.#end; at++) {
      const character = text.charCodeAt(at)
      if (character === space) continue
      if (character === colon && (at + 1 === this.#end || text.charCodeAt(at + 1) === space)) return undefined
      if (character === hash && text.charCodeAt(at - 1) === space) return undefined
      last = at + 1
    }
    this.#at = this.#end
    return plainOf(text.slice(start, last))
  }

  /** A word without quotes inside brackets. */
  #flowText(): Value | undefined {
    const text = this.#text
    const start = this.#at
    if (!this.#beginsText()) return undefined
    let at = start + 1
    for (;;) {
      const next = text.charCodeAt(at + 1)
      const isColon = text.charCodeAt(at) === colon && (next === colon || (classAt(text, at + 1) & inFlowText) !== 0)
      if (!isColon && (classAt(text, at) & inFlowText) === 0) break
      at++
    }
    this.#at = at
    return plainOf(text.slice(start, at))
  }
}

function classAt(text: string, at: number): number {
  return classes[text.charCodeAt(at)] ?? 0
}

/** What thousands of objects have in common is kept once, and nothing keeps the text of the file that it is cut of. */
const mostKept = 4096
const copies = new Map<string, string>()
const scalars = new Map<string, Scalar>()
const keys = new Map<string, string | undefined>()

function sharedCopy(text: string): string {
  return kept(copies, text, (copy) => copy)
}

function plainOf(text: string): Scalar {
  return kept(scalars, text, resolvePlain)
}

function keyOf(text: string): string | undefined {
  // Assigned, it would be no key.
  return text === '__proto__' ? undefined : kept(keys, text, (copy) => keyText(resolvePlain(copy)))
}

function kept<T extends Scalar | undefined>(known: Map<string, T>, text: string, make: (copy: string) => T): T {
  const found = known.get(text)
  if (found !== undefined) return found
  if (known.size >= mostKept) known.clear()
  const copy = detached(text)
  const made = make(copy)
  known.set(copy, made)
  return made
}
