/**
 * One document of YAML as kubectl reads it, and where in it things are.
 *
 *     text --plain-yaml.ts--> values      where nothing but the plainest forms is written
 *       `--js-yaml--> events --> values   merge keys, anchors, YAML 1.1 words, keys as text
 *                       `------> offset of the node at a path
 *
 * A fault says what is wrong in words of ours: those of a parser may quote what stands beside a secret. Pure.
 */
import { EVENT_ID, getScalarValue, parseEvents, SCALAR_STYLE, YAMLException } from 'js-yaml'
import { readPlainYaml } from './plain-yaml.ts'
import { keyText, resolvePlain, type Scalar } from './scalars.ts'

export type Path = readonly (string | number)[]

/** Offsets are from the start of the text. */
export interface YamlFault {
  readonly offset: number
  readonly message: string
}

export interface YamlValue {
  readonly value: unknown
  /** Keys that stand twice in one mapping, which kubectl takes without a word: the last one counts. */
  readonly doubledKeys: readonly number[]
  /**
   * Leads to the last value. The collections on the way that are in block style have no end of their own: what a text
   * that is cut at its end lacks belongs to one of them. It ends before a collection in flow style.
   */
  readonly openPath: Path
  /** No alias makes one collection stand in two places, and no text is a part of the text that was read. */
  readonly isOwn: boolean
}

/** Deeper than any Kubernetes object is. */
export const maxDepth = 64
const maxMergedKeys = 100_000

type Event = ReturnType<typeof parseEvents>[number]
type ScalarEvent = Extract<Event, { readonly valueStart: number }>

interface Anchor {
  readonly value: unknown
  readonly isWhole: boolean
}

interface Frame {
  readonly container: Record<string, unknown> | unknown[]
  readonly isMapping: boolean
  /** The keys that were written, where others were merged beside them. */
  own: Set<string> | undefined
  readonly anchor: string | undefined
  readonly isBlock: boolean
  key: string | undefined
  isMerge: boolean
}

class Stop extends Error {
  readonly fault: YamlFault

  constructor(offset: number, message: string) {
    super(message)
    this.fault = { offset, message }
  }
}

/** A text with one document, or none (null). */
export function readYaml(text: string): YamlValue | YamlFault {
  const plain = readPlainYaml(text)
  if (plain !== undefined) return { ...plain, doubledKeys: [], isOwn: true }
  return readAnyYaml(text)
}

/** The same without the short way. */
export function readAnyYaml(text: string): YamlValue | YamlFault {
  try {
    return new Builder(text, parseEvents(text, { maxDepth })).build()
  } catch (error) {
    if (error instanceof Stop) return error.fault
    if (error instanceof YAMLException) return { offset: error.mark?.position ?? 0, message: inOurWords(error.reason) }
    return { offset: 0, message: 'this is no YAML that can be read' }
  }
}

class Builder {
  readonly #text: string
  readonly #events: readonly Event[]
  readonly #anchors = new Map<string, Anchor>()
  readonly #stack: Frame[] = []
  readonly #doubled: number[] = []
  #openPath: Path = []
  #root: unknown = null
  #documents = 0
  #merged = 0
  #offset = 0

  constructor(text: string, events: readonly Event[]) {
    this.#text = text
    this.#events = events
  }

  build(): YamlValue {
    const last = this.#events.findLastIndex(({ type }) => type !== EVENT_ID.POP)
    let index = 0
    for (const event of this.#events) {
      if (index++ === last) this.#openPath = this.#pathInBlocks()
      this.#offset = offsetOf(event) ?? this.#offset
      if (event.type === EVENT_ID.DOCUMENT) this.#beginDocument()
      else if (event.type === EVENT_ID.SCALAR) this.#addScalar(event)
      else if (event.type === EVENT_ID.ALIAS) this.#addAlias(this.#text.slice(event.anchorStart, event.anchorEnd))
      else if (event.type === EVENT_ID.POP) this.#pop()
      else this.#push(event)
    }
    return { value: this.#root, doubledKeys: this.#doubled, openPath: this.#openPath, isOwn: false }
  }

  #pathInBlocks(): Path {
    const closed = this.#stack.findIndex(({ isBlock }) => !isBlock)
    return this.#stack
      .slice(0, closed < 0 ? undefined : closed)
      .map(({ container, key }) => (Array.isArray(container) ? container.length : (key ?? '<<')))
  }

  #beginDocument(): void {
    this.#documents++
    if (this.#documents > 1) throw new Stop(this.#offset, 'a second document begins here without a line of ---')
  }

  #push(event: Extract<Event, { readonly start: number }>): void {
    const isMapping = event.type === EVENT_ID.MAPPING
    const anchor = event.anchorStart < 0 ? undefined : this.#text.slice(event.anchorStart, event.anchorEnd)
    const container = isMapping ? {} : []
    if (anchor !== undefined) this.#anchors.set(anchor, { value: container, isWhole: false })
    this.#stack.push({
      container,
      isMapping,
      own: undefined,
      anchor,
      isBlock: event.style === 1,
      key: undefined,
      isMerge: false,
    })
  }

  #pop(): void {
    const frame = this.#stack.pop()
    if (frame === undefined) return
    if (frame.anchor !== undefined) this.#anchors.set(frame.anchor, { value: frame.container, isWhole: true })
    this.#addValue(frame.container)
  }

  #addScalar(event: ScalarEvent): void {
    const text = getScalarValue(this.#text, event)
    const isPlain = event.style === SCALAR_STYLE.PLAIN
    const tag = event.tagStart < 0 ? '' : this.#text.slice(event.tagStart, event.tagEnd)
    const value = resolve(text, tag, isPlain)
    if (event.anchorStart >= 0)
      this.#anchors.set(this.#text.slice(event.anchorStart, event.anchorEnd), { value, isWhole: true })
    const frame = this.#stack.at(-1)
    const isKey = frame?.isMapping === true && frame.key === undefined && !frame.isMerge
    if (isKey && text === '<<' && ((isPlain && tag === '') || tag === '!!merge')) frame.isMerge = true
    else this.#addValue(value)
  }

  #addAlias(name: string): void {
    const anchor = this.#anchors.get(name)
    if (anchor === undefined) throw new Stop(this.#offset, 'an alias (*) names an anchor (&) that is not there')
    if (!anchor.isWhole) throw new Stop(this.#offset, 'an alias (*) stands inside what it is an alias of')
    this.#addValue(anchor.value)
  }

  #addValue(value: unknown): void {
    const frame = this.#stack.at(-1)
    if (frame === undefined) this.#root = value
    else if (Array.isArray(frame.container)) frame.container.push(value)
    else if (frame.isMerge) {
      frame.own ??= new Set(Object.keys(frame.container))
      this.#merge(frame.container, value)
      frame.isMerge = false
    } else if (frame.key === undefined) this.#addKey(frame, value)
    else {
      set(frame.container, frame.key, value)
      frame.key = undefined
    }
  }

  #addKey(frame: Frame, value: unknown): void {
    const key = typeof value === 'object' ? undefined : keyText(value as Scalar)
    if (key === undefined) throw new Stop(this.#offset, 'the key of a mapping is empty, a list or a mapping')
    if (frame.own?.has(key) ?? Object.hasOwn(frame.container, key)) this.#doubled.push(this.#offset)
    frame.own?.add(key)
    frame.key = key
  }

  /** In the order of writing, as go-yaml does: what is merged after a key of the same name takes its place. */
  #merge(into: Record<string, unknown>, value: unknown): void {
    const sources: readonly unknown[] = Array.isArray(value) ? value.toReversed() : [value]
    for (const source of sources) {
      if (typeof source !== 'object' || source === null || Array.isArray(source))
        throw new Stop(this.#offset, 'a merge key (<<) needs a mapping or a list of mappings')
      for (const [key, merged] of Object.entries(source)) {
        this.#merged++
        if (this.#merged > maxMergedKeys) throw new Stop(this.#offset, 'merge keys (<<) multiply without end')
        set(into, key, merged)
      }
    }
  }
}

function set(container: Record<string, unknown>, key: string, value: unknown): void {
  // Assigned, `__proto__` would be no key.
  if (key === '__proto__') Object.defineProperty(container, key, { value, enumerable: true, configurable: true })
  else container[key] = value
}

function resolve(text: string, tag: string, isPlain: boolean): Scalar {
  if (tag === '') return isPlain ? resolvePlain(text) : text
  if (tag === '!!binary') return Buffer.from(text, 'base64').toString()
  return ['!!int', '!!float', '!!bool', '!!null'].includes(tag) ? resolvePlain(text) : text
}

function offsetOf(event: Event): number | undefined {
  if (event.type === EVENT_ID.MAPPING || event.type === EVENT_ID.SEQUENCE) return event.start
  if (event.type === EVENT_ID.ALIAS) return event.anchorStart - 1
  if (event.type !== EVENT_ID.SCALAR || event.valueStart < 0) return undefined
  // The quote belongs to it.
  const isQuoted = event.style === SCALAR_STYLE.SINGLE_QUOTED || event.style === SCALAR_STYLE.DOUBLE_QUOTED
  return event.valueStart - (isQuoted ? 1 : 0)
}

const reasons: readonly (readonly [RegExp, string])[] = [
  [/maxDepth/, `more than ${maxDepth} collections stand inside each other`],
  [/tab characters/, 'a tab indents here: YAML takes blanks only'],
  [/indentation/, 'the line does not go on like this: bad indentation, a second colon, or something not closed above'],
  [/non-printable|null byte/, 'a control character stands here'],
  [/flow collection|missed comma/, 'a list in [] or a mapping in {} is not closed, or lacks a comma'],
  [/quoted scalar|escape|hexadecimal|JSON character/, 'a text in quotes is not closed, or has an escape that is none'],
  [/mapping|key/, 'a key and its value are expected here, as in "key: value"'],
  [/document separator|the document/, 'the document ends here, and more follows'],
  [/\btag\b|!</, 'a tag (!) is not well formed'],
  [/anchor|alias/, 'an anchor (&) or an alias (*) is not well formed'],
  [/directive|YAML version/, 'a directive (%) is not well formed'],
  [/block scalar|line break/, 'the head of a text block (| or >) is not well formed'],
]

function inOurWords(reason: string): string {
  return reasons.find(([pattern]) => pattern.test(reason))?.[1] ?? 'this is no YAML'
}

/**
 * Answers with the offset of the node at a path, or of the nearest one above it that is written down; what was merged
 * or is an alias
 * is where it was written. Undefined when the text cannot be parsed, or holds nothing of the path.
 */
export function yamlLocator(text: string): (path: Path) => number | undefined {
  let finder: Finder | null | undefined
  return (path) => {
    finder ??= finderOf(text)
    return finder?.find(path)
  }
}

function finderOf(text: string): Finder | null {
  try {
    return new Finder(text, parseEvents(text, { maxDepth }))
  } catch {
    // What was parsed once was changed since.
    return null
  }
}

class Finder {
  readonly #text: string
  readonly #events: readonly Event[]
  /** Index of the event that an anchor stands before. */
  readonly #anchors = new Map<string, number>()
  readonly #known = new Map<number, readonly number[]>()
  #hops = 0

  constructor(text: string, events: readonly Event[]) {
    this.#text = text
    this.#events = events
    for (const [index, event] of events.entries())
      if ('tagStart' in event && event.anchorStart >= 0)
        this.#anchors.set(text.slice(event.anchorStart, event.anchorEnd), index)
  }

  find(path: Path): number | undefined {
    this.#hops = 0
    let found: number | undefined
    let node: number | undefined = this.#target(1)
    for (const step of path) {
      if (node === undefined) break
      node = this.#child(node, step)
      const event = node === undefined ? undefined : this.#events[node]
      if (event !== undefined) found = offsetOf(event) ?? found
    }
    return found
  }

  /** The node itself, where an alias stands for it. */
  #target(index: number): number | undefined {
    const event = this.#events[index]
    if (event?.type !== EVENT_ID.ALIAS) return event === undefined ? undefined : index
    this.#hops++
    const anchored = this.#anchors.get(this.#text.slice(event.anchorStart, event.anchorEnd))
    return anchored === undefined || this.#hops > maxDepth * 4 ? undefined : this.#target(anchored)
  }

  #child(at: number, step: string | number): number | undefined {
    const index = this.#target(at)
    const event = index === undefined ? undefined : this.#events[index]
    if (index === undefined || event === undefined) return undefined
    if (event.type === EVENT_ID.SEQUENCE) return this.#children(index)[Number(step)]
    if (event.type !== EVENT_ID.MAPPING) return undefined
    const children = this.#children(index)
    let found: number | undefined
    for (let pair = 0; pair + 1 < children.length; pair += 2) {
      const [key, value] = [children[pair], children[pair + 1]]
      const name = key === undefined ? undefined : this.#keyOf(key)
      if (value === undefined) break
      if (name === String(step)) found = value
      else if (name === '<<') found = this.#merged(value, step) ?? found
    }
    return found
  }

  #merged(index: number, step: string | number): number | undefined {
    const node = this.#target(index)
    if (node === undefined || this.#hops > maxDepth * 4) return undefined
    this.#hops++
    if (this.#events[node]?.type !== EVENT_ID.SEQUENCE) return this.#child(node, step)
    return this.#children(node)
      .map((each) => this.#merged(each, step))
      .find((each) => each !== undefined)
  }

  #keyOf(index: number): string | undefined {
    const node = this.#target(index)
    const event = node === undefined ? undefined : this.#events[node]
    if (event?.type !== EVENT_ID.SCALAR) return undefined
    const text = getScalarValue(this.#text, event)
    return event.style === SCALAR_STYLE.PLAIN ? keyText(resolvePlain(text)) : text
  }

  /** Indices of the events at which the children of a collection begin; a List is asked for each of its items. */
  #children(index: number): readonly number[] {
    const known = this.#known.get(index)
    if (known !== undefined) return known
    const found: number[] = []
    this.#known.set(index, found)
    let depth = 0
    for (let at = index + 1; at < this.#events.length; at++) {
      const type = this.#events[at]?.type
      if (type === EVENT_ID.POP && depth === 0) break
      if (depth === 0) found.push(at)
      if (type === EVENT_ID.POP) depth--
      else if (type === EVENT_ID.MAPPING || type === EVENT_ID.SEQUENCE) depth++
    }
    return found
  }
}
