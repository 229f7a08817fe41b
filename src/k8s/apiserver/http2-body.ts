/**
 * The body of an answer, read from its begin on: a stream of node:http2 that has ended by itself before somebody reads
 * it counts as broken off, and pages are asked for ahead. What nobody takes is bounded, then the server waits.
 */
import { type ClientHttp2Stream, constants } from 'node:http2'
import { HeraldError } from '../../errors.ts'

/** As much as the server sends of one stream without a word of ours. */
const maxOctets = 64 * 1024

export class Http2Body implements AsyncIterableIterator<Uint8Array> {
  readonly #stream: ClientHttp2Stream
  readonly #chunks: Uint8Array[] = []
  #octets = 0
  /** How it ended: with nothing, or by what it was broken off. */
  #end: { readonly error?: Error } | undefined
  #heard: (() => void) | undefined

  /** `stream`: of which nothing was read. */
  constructor(stream: ClientHttp2Stream) {
    this.#stream = stream
    stream.on('data', (chunk: Uint8Array) => {
      this.#chunks.push(chunk)
      this.#octets += chunk.length
      if (this.#octets >= maxOctets) stream.pause()
      this.#tell()
    })
    const brokenOff = { error: new HeraldError('ERR_API_SERVER', 'the answer was broken off') }
    // Node ends what was reset as well.
    stream.once('end', () => this.#ended(stream.rstCode === constants.NGHTTP2_CANCEL ? brokenOff : {}))
    stream.once('error', (error) => this.#ended({ error }))
    stream.once('close', () => this.#ended(brokenOff))
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    while (this.#chunks.length === 0 && this.#end === undefined)
      await new Promise<void>((resolve) => (this.#heard = resolve))
    const value = this.#chunks.shift()
    if (value !== undefined) {
      this.#octets -= value.length
      if (this.#chunks.length === 0 && this.#stream.isPaused()) this.#stream.resume()
      return { done: false, value }
    }
    if (this.#end?.error !== undefined) throw this.#end.error
    return { done: true, value: undefined }
  }

  /** Nobody reads the rest. */
  async return(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.#chunks.length = 0
    if (!this.#stream.closed) this.#stream.close(constants.NGHTTP2_CANCEL)
    this.#stream.resume()
    return { done: true, value: undefined }
  }

  #ended(how: { readonly error?: Error }): void {
    this.#end ??= how
    this.#tell()
  }

  #tell(): void {
    this.#heard?.()
    this.#heard = undefined
  }
}
