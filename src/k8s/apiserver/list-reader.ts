/**
 * What the API server has of one kind, read as it comes.
 *
 *     list --pages, as streams--> each item to `found` --> what was there, and the version that a watch goes on from
 *
 * Nothing that is older than what was seen before is taken: a server that is behind counts as one that failed.
 */
import type { Clock } from '../../clock/clock.ts'
import type { Turn } from '../../clock/turn.ts'
import { isOlder, metadataOf } from './delivered.ts'
import { ItemSplitter } from './json-stream.ts'
import { Pages } from './pages.ts'
import { Patience } from './patience.ts'
import { reasonOf, Rejected } from './rejected.ts'
import type { Answer, Transport } from './transport.ts'
import { isRecord } from '../source.ts'

/** Where objects of a kind are on the server. */
export interface Resource {
  readonly kind: string
  /** Tried in this order: the first that the server has is used. */
  readonly places: readonly { readonly apiVersion: string; readonly path: string }[]
  readonly fieldSelector?: string
  readonly labelSelector?: string
  /**
   * The one object that it is. Nothing else depends on it: where we may not read it (403), or it cannot be read
   * (500: the key that encrypted it is lost), it counts as read.
   */
  readonly object?: { readonly namespace: string; readonly name: string }
}

/**
 * Items of the first page, so that reading begins soon, and of each that follows: what a page costs the server beside
 * its items grows with the list. The splitter takes a list in one piece as well, where a server ignores the limit.
 */
const [firstItems, moreItems] = [500, 2_000]
/** A page that does not go on for so long is asked for again, and one that takes so long in all. */
const pagePatience = { stallMs: 30_000, wholeMs: 180_000 }

export const behindText = 'the API server is behind what it said before'

export interface List {
  readonly seen: Set<string>
  /** Items that are no objects. */
  broken: number
  resourceVersion: string
}

/** Takes an item; answers what it is known by, undefined when it is no object. `isCurrent`: it is not older. */
export type Found = (item: unknown, apiVersion: string, isCurrent: boolean) => string | undefined

/** A page that was asked for and is not read yet. */
interface Asked {
  /** Where it goes on; empty: the first one. */
  readonly from: string
  readonly over: AbortController
  readonly answer: Promise<Answer>
}

export interface ListReaderParts {
  readonly resource: Resource
  readonly transport: Transport
  readonly clock: Clock
  /** Shared by all that are read. */
  readonly turn: Turn
}

export class ListReader {
  readonly #resource: Resource
  readonly #transport: Transport
  readonly #clock: Clock
  readonly #turn: Turn
  readonly #signal: AbortSignal
  /** Of the place that answered last. */
  #place = 0
  /** The newest that was seen, for "not older than". */
  newest: string | undefined
  /** Without pages: the server forgot where the next one begins. */
  #isInOnePiece = false

  constructor({ resource, transport, clock, turn }: ListReaderParts, signal: AbortSignal) {
    this.#resource = resource
    this.#transport = transport
    this.#clock = clock
    this.#turn = turn
    this.#signal = signal
  }

  get apiVersion(): string {
    return this.#resource.places[this.#place]?.apiVersion ?? ''
  }

  /** The server does not have the kind where it was asked for; false when there is no other place. */
  tryNextPlace(): boolean {
    const isLast = this.#place + 1 >= this.#resource.places.length
    this.#place = isLast ? 0 : this.#place + 1
    return !isLast
  }

  /** Everything that there is, told as it comes. */
  async read(found: Found): Promise<List> {
    const list: List = { seen: new Set(), broken: 0, resourceVersion: '' }
    const pages = new Pages()
    let next: Asked | undefined = this.#ask('')
    while (next !== undefined) next = await this.#page(next, list, pages, found)
    this.#isInOnePiece = false
    return list
  }

  /**
   * A watch from a version that the server has yet to reach is silent until it does, which may be for ever. A list of
   * one item, not older, is answered with an error.
   */
  async check(): Promise<void> {
    const query = new URLSearchParams({ limit: '1', resourceVersionMatch: 'NotOlderThan' })
    query.set('resourceVersion', this.newest ?? '')
    const over = new AbortController()
    const answer = this.get(query, AbortSignal.any([this.#signal, over.signal]))
    const splitter = new ItemSplitter()
    await this.#read({ from: '', over, answer }, (chunk) => splitter.push(chunk, () => undefined))
    this.#refuseOlder(splitter.end())
  }

  async get(query: URLSearchParams, signal: AbortSignal): Promise<Answer> {
    const { fieldSelector, labelSelector, places, kind } = this.#resource
    if (fieldSelector !== undefined) query.set('fieldSelector', fieldSelector)
    if (labelSelector !== undefined) query.set('labelSelector', labelSelector)
    const answer = await this.#transport.get(`${places[this.#place]?.path ?? ''}?${query}`, signal)
    if (answer.status === 200) return answer
    throw new Rejected(answer.status, await reasonOf(kind, answer), answer.retryAfterSec)
  }

  #ask(from: string): Asked {
    const query = new URLSearchParams(this.#isInOnePiece ? {} : { limit: String(from === '' ? firstItems : moreItems) })
    if (from !== '') query.set('continue', from)
    else if (this.newest !== undefined) {
      query.set('resourceVersion', this.newest)
      query.set('resourceVersionMatch', 'NotOlderThan')
    }
    const over = new AbortController()
    const answer = this.get(query, AbortSignal.any([this.#signal, over.signal]))
    // What is wrong with it is told when it is read.
    answer.catch(() => undefined)
    return { from, over, answer }
  }

  /** Answers the page after it, which was asked for when this one named it: the server makes it meanwhile. */
  async #page(asked: Asked, list: List, pages: Pages, found: Found): Promise<Asked | undefined> {
    const { apiVersion } = this
    const splitter = new ItemSplitter()
    let isCurrent = false
    let ahead: Asked | undefined
    const opened = (before: unknown): void => {
      this.#refuseOlder(before)
      const { resourceVersion, continue: next } = metadataOf(before)
      isCurrent = this.newest !== undefined && typeof resourceVersion === 'string'
      if (typeof next === 'string' && next !== '' && next !== asked.from) ahead = this.#ask(next)
    }
    let items = 0
    const item = (object: unknown): void => {
      items++
      const id = found(object, apiVersion, isCurrent)
      if (id === undefined) list.broken++
      else list.seen.add(id)
    }
    try {
      await this.#read(asked, (chunk) => splitter.push(chunk, item, opened))
      const around = splitter.end()
      const { resourceVersion, continue: token } = metadataOf(around)
      if (typeof resourceVersion !== 'string' || resourceVersion === '' || !isRecord(around) || !('items' in around))
        throw new Rejected(0, 'the answer is no list: this is no Kubernetes API server', undefined)
      this.#refuseOlder(around)
      list.resourceVersion = resourceVersion
      const next = pages.next(token, items)
      if (ahead?.from === next) return ahead
      ahead?.over.abort()
      return next === '' ? undefined : this.#ask(next)
    } catch (error) {
      ahead?.over.abort()
      // An expired continue token: what would begin with another page now may end the same way.
      // And one piece may be more than the server, or who stands before it, has time for: then it is pages again.
      this.#isInOnePiece = asked.from !== '' && error instanceof Rejected && error.status === 410
      throw error
    }
  }

  /** A server that does not know "not older than", and is. */
  #refuseOlder(around: unknown): void {
    const { resourceVersion } = metadataOf(around)
    if (typeof resourceVersion === 'string' && this.newest !== undefined && isOlder(resourceVersion, this.newest))
      throw new Rejected(504, `${this.#resource.kind}: ${behindText}`, undefined)
  }

  /** Reads one answer to its end, within bounds of time. */
  async #read({ answer, over }: Asked, take: (chunk: Uint8Array) => void): Promise<void> {
    const patience = new Patience(this.#clock, this.#signal, pagePatience)
    patience.signal.addEventListener('abort', () => over.abort())
    try {
      for await (const chunk of (await answer).body) {
        patience.goesOn()
        while (!this.#turn.hasTime()) await this.#turn.next
        take(chunk)
      }
    } catch (error) {
      if (patience.problem !== undefined)
        throw new Rejected(0, `${this.#resource.kind}: ${patience.problem}`, undefined)
      throw error
    } finally {
      patience.end()
    }
  }
}
