/**
 * JSON of thousands of objects, taken apart while it arrives: one object in memory at a time. Pure.
 *
 *     list:  {"kind":...,"metadata":{...},"items":[ {...} , {...} ]}  --ItemSplitter--> each item, then what is around
 *     watch: {...}\n{...}\n                                          --LineSplitter--> each line
 */

import { recordOf } from '../source.ts'

/** One object, or line, of this many octets is refused: etcd takes at most 1.5 MiB. */
export const maxObjectBytes = 8 * 2 ** 20

const quote = 0x22
const backslash = 0x5c
const [openObject, closeObject] = [0x7b, 0x7d]
const [openArray, closeArray] = [0x5b, 0x5d]
const comma = 0x2c
/** Of a key at the top so many octets of each read are looked at. */
const keyBytes = 16

/** The answer is no JSON of the form that was asked for, or too large. */
export class StreamFault extends SyntaxError {
  constructor(message: string) {
    super(message)
    this.name = 'StreamFault'
  }
}

const decoder = new TextDecoder('utf-8', { fatal: true })

function parse(chunks: readonly Uint8Array[]): unknown {
  const [only] = chunks
  const whole = chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks)
  try {
    return JSON.parse(decoder.decode(whole))
  } catch (error) {
    throw new StreamFault(`the API server sent what is no JSON: ${error instanceof Error ? error.name : 'error'}`)
  }
}

/** Octets of one value, gathered over reads. */
class Gathered {
  /** Each is larger than the one after it: of octets that come one by one there are few pieces. */
  #chunks: Uint8Array[] = []
  #bytes = 0

  add(chunk: Uint8Array): void {
    if (chunk.length === 0) return
    this.#bytes += chunk.length
    if (this.#bytes > maxObjectBytes) throw new StreamFault(`one object has more than ${maxObjectBytes} octets`)
    // The caller's buffer may be used again, and is not kept for a part of it.
    let last: Uint8Array = Buffer.from(chunk)
    for (let before = this.#chunks.at(-1); before !== undefined && before.length <= last.length; ) {
      this.#chunks.pop()
      last = Buffer.concat([before, last])
      before = this.#chunks.at(-1)
    }
    this.#chunks.push(last)
  }

  get isEmpty(): boolean {
    return this.#bytes === 0
  }

  /** What there is so far, completed. */
  peek(rest: string): unknown {
    return parse([...this.#chunks, Buffer.from(rest)])
  }

  /** The value that ends with these octets, most often all of it. */
  takeWith(chunk: Uint8Array): unknown {
    if (this.isEmpty && chunk.length <= maxObjectBytes) return parse([chunk])
    this.add(chunk)
    return this.take()
  }

  take(): unknown {
    const value = parse(this.#chunks)
    this.#chunks = []
    this.#bytes = 0
    return value
  }
}

/** Elements of the array under the key `items` of the outermost object. */
export class ItemSplitter {
  #depth = 0
  #isInString = false
  #isEscaped = false
  /** Inside `items`: its elements are at depth 3. */
  #isInItems = false
  /** The last string at depth 1, and whether a colon followed it. */
  #key = ''
  #isKeyOpen = false
  readonly #item = new Gathered()
  /** Everything but the elements. */
  readonly #around = new Gathered()
  #isDone = false

  /**
   * Takes octets as they come; `found` gets each element, `opened` before the first what came before it. Throws
   * {@link StreamFault}.
   */
  push(chunk: Uint8Array, found: (item: unknown) => void, opened?: (before: unknown) => void): void {
    let from = 0
    for (let at = 0; at < chunk.length; at++) {
      if (this.#isInString) {
        at = this.#isKeyOpen ? this.#inKey(chunk, at) : this.#inString(chunk, at)
        continue
      }
      const octet = chunk[at]
      if (octet === quote) {
        this.#isInString = true
        this.#isKeyOpen = this.#depth === 1
        if (this.#isKeyOpen) this.#key = ''
      } else if (octet === openObject || octet === openArray) {
        this.#depth++
        if (this.#depth === 2 && octet === openArray && this.#key === 'items') {
          this.#around.add(chunk.subarray(from, at + 1))
          from = at + 1
          this.#isInItems = true
          opened?.(this.#around.peek(']}'))
        }
      } else if (octet === closeObject || octet === closeArray) {
        this.#depth--
        if (this.#isInItems && this.#depth === 2) {
          const object = this.#item.takeWith(chunk.subarray(from, at + 1))
          from = at + 1
          found(object)
        } else if (this.#isInItems && this.#depth === 1) {
          this.#isInItems = false
          from = at
        }
        if (this.#depth === 0) this.#isDone = true
      } else if (octet === comma && this.#isInItems && this.#depth === 2) from = at + 1
    }
    ;(this.#isInItems ? this.#item : this.#around).add(chunk.subarray(from))
  }

  /** Goes on in a string; answers where it ends, or the end of the chunk. Most of what a server sends is strings. */
  #inString(chunk: Uint8Array, from: number): number {
    let at = this.#isEscaped ? from + 1 : from
    while (at < chunk.length) {
      const octet = chunk[at]
      if (octet === quote) {
        this.#isInString = this.#isEscaped = false
        return at
      }
      at += octet === backslash ? 2 : 1
    }
    // The octet that is escaped may be in the next chunk.
    this.#isEscaped = at > chunk.length
    return at
  }

  /** The same, of one that is kept. */
  #inKey(chunk: Uint8Array, from: number): number {
    const to = this.#inString(chunk, from)
    this.#key += String.fromCharCode(...chunk.subarray(from, Math.min(to, from + keyBytes)))
    if (!this.#isInString) this.#isKeyOpen = false
    return to
  }

  /** What was around the elements, with an empty `items`. Throws where the text ended early. */
  end(): unknown {
    if (!this.#isDone) throw new StreamFault('the answer of the API server ended early')
    const around = this.#around.take()
    const items = recordOf(around)['items']
    // Under a key with an escape they are items as well, and no empty list of them.
    if (Array.isArray(items) && items.length > 0) throw new StreamFault('items of the list were not found')
    return around
  }
}

/** JSON values separated by line ends. */
export class LineSplitter {
  readonly #line = new Gathered()

  push(chunk: Uint8Array, found: (value: unknown) => void): void {
    let from = 0
    for (let at = chunk.indexOf(0x0a); at >= 0; at = chunk.indexOf(0x0a, from)) {
      const rest = chunk.subarray(from, at)
      from = at + 1
      if (rest.length > 0 || !this.#line.isEmpty) found(this.#line.takeWith(rest))
    }
    this.#line.add(chunk.subarray(from))
  }
}
