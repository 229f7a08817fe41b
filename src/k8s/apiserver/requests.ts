/**
 * Single requests to the API server, each answered within a time and by at most so many octets: for what is no list
 * and no watch.
 */
import type { Clock } from '../../clock/clock.ts'
import { deadline } from '../../clock/deadline.ts'
import { systemClock } from '../../clock/system-clock.ts'
import { HeraldError, messageOf } from '../../errors.ts'
import { bareAnswer } from './rejected.ts'
import { type Answer, type Change, type Transport, withAside } from './transport.ts'
import { isRecord, shortened } from '../source.ts'

/**
 * `status` 0: no answer, or none that can be read, with the reason in `message`. Whether a change was made is not known
 * then.
 */
export interface Reply {
  readonly status: number
  /** The object that was answered; empty where it is none. */
  readonly object: Readonly<Record<string, unknown>>
  /** The server's words for an answer that is no success, as long as a person reads. */
  readonly message: string
  readonly retryAfterSec: number | undefined
  /** When it was answered by the server's clock, ms since the epoch. */
  readonly dateMs?: number
}

/** An object has at most 1.5 MiB in etcd; as JSON it is larger. */
const maxBytes = 4 * 2 ** 20
const notWhole = 'the answer of the API server is no whole JSON object'

export class ApiRequests {
  readonly #transport: Transport
  readonly #timeoutMs: number
  readonly #clock: Clock

  /** An answer is waited for at most `timeoutMs`. */
  constructor(transport: Transport, timeoutMs: number, clock: Clock = systemClock) {
    this.#transport = transport
    this.#timeoutMs = timeoutMs
    this.#clock = clock
  }

  /** Never rejects. */
  get(path: string): Promise<Reply> {
    return this.#answered((signal) => this.#transport.get(path, signal))
  }

  /** Never rejects. */
  change(change: Change): Promise<Reply> {
    return this.#answered((signal) => this.#transport.change(change, signal))
  }

  async #answered(ask: (signal: AbortSignal) => Promise<Answer>): Promise<Reply> {
    const late = new AbortController()
    const { signal } = late
    const wait = deadline(this.#clock, this.#timeoutMs, () => late.abort())
    try {
      const { status, retryAfterSec, dateMs, aside, body } = await ask(signal)
      const found = objectOf(await textOf(body))
      // A stream that ends in its midst without an error code (RST_STREAM, NO_ERROR) looks to node:http2 like its end.
      if (found === undefined && isSuccess(status)) throw new HeraldError('ERR_API_SERVER', notWhole)
      const object = found ?? {}
      const { message } = object
      const said = typeof message === 'string' && message !== '' ? shortened(message) : bareAnswer(status)
      return {
        status,
        object,
        message: isSuccess(status) ? '' : withAside(said, aside),
        retryAfterSec,
        ...(dateMs === undefined ? {} : { dateMs }),
      }
    } catch (error) {
      // Nobody is at the other end any more, or it is overrun: a new connection finds out.
      if (signal.aborted) this.#transport.renew()
      const message = signal.aborted ? `no answer within ${this.#timeoutMs / 1000} s` : messageOf(error)
      return { status: 0, object: {}, message, retryAfterSec: undefined }
    } finally {
      wait.cancel()
    }
  }
}

export function isSuccess(status: number): boolean {
  return status >= 200 && status < 300
}

async function textOf(body: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of body) {
    bytes += chunk.length
    if (bytes > maxBytes) return ''
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** undefined where the text is no JSON object: a proxy answers in HTML. */
function objectOf(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const found: unknown = JSON.parse(text)
    return isRecord(found) ? found : undefined
  } catch {
    return undefined
  }
}
