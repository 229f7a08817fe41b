/**
 * One HTTP/2 connection to the API server for all lists and watches, made anew when it fails: with credentials read
 * again, and found dead within two pings when the other end is gone without a word. What fails on one stream costs
 * no other.
 */
import { type ClientHttp2Stream, constants, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http2'
import { deadline } from '../../clock/deadline.ts'
import { systemClock } from '../../clock/system-clock.ts'
import { HeraldError, messageOf } from '../../errors.ts'
import type { Credentials } from './credentials.ts'
import { Http2Body } from './http2-body.ts'
import { Http2Connection } from './http2-connection.ts'

export interface Answer {
  readonly status: number
  /** Seconds that the server wants us to wait (429, 503). */
  readonly retryAfterSec: number | undefined
  /** When it was answered by the server's clock, ms since the epoch. */
  readonly dateMs?: number
  /** Beside a refusal (401): why the credentials that are there now are not used. */
  readonly aside?: string
  readonly body: AsyncIterable<Uint8Array>
}

/** A request that changes something. */
export interface Change {
  readonly method: 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  readonly path: string
  readonly contentType: string
  readonly body: string
  /** Of the answer; undefined: the whole object as JSON. */
  readonly accept?: string
}

export interface Transport {
  /** Rejects with ERR_API_SERVER where there is no answer, ERR_KUBECONFIG where there are no credentials. */
  get(path: string, signal: AbortSignal): Promise<Answer>
  /** As {@link get}. Never sent twice, but where a server that leaves says that it did nothing. */
  change(change: Change, signal: AbortSignal): Promise<Answer>
  /**
   * Whatever follows goes over a new connection with fresh credentials; what is under way has its end first. An answer
   * of 401 does so by itself.
   */
  renew(): void
  close(): Promise<void>
}

/** A dead connection is found within twice this. */
const defaultPingMs = 10_000
const connectMs = 10_000
/** Until the headers of an answer are there: a list is begun within a minute (--request-timeout of the server). */
const headersMs = 65_000

export function connectTransport(credentials: Credentials, pingMs = defaultPingMs): Transport {
  return new Http2Transport(credentials, pingMs)
}

type Asked = Change | { readonly method: 'GET'; readonly path: string }

interface Answered {
  readonly headers: IncomingHttpHeaders
  readonly body: Http2Body
}

class Http2Transport implements Transport {
  readonly #credentials: Credentials
  readonly #pingMs: number
  readonly #over = new AbortController()
  /** That whatever follows goes over. */
  #connection: Promise<Http2Connection> | undefined
  /** Of the credentials: grows when they were renewed. */
  #generation = 0

  constructor(credentials: Credentials, pingMs: number) {
    this.#credentials = credentials
    this.#pingMs = pingMs
  }

  get(path: string, signal: AbortSignal): Promise<Answer> {
    return this.#ask({ method: 'GET', path }, signal)
  }

  change(change: Change, signal: AbortSignal): Promise<Answer> {
    return this.#ask(change, signal)
  }

  /**
   * Who is refused (401) asks once more where the files, or the plugin, say another thing now: a token expires between
   * two readings, and one that is being written is none yet. Nothing was done by then. Where that is refused as well
   * the next request has them made anew: a plugin is a process, and a server may refuse for hours.
   */
  async #ask(asked: Asked, signal: AbortSignal): Promise<Answer> {
    const generation = this.#generation
    const own = await this.#credentials.headers()
    const answer = await this.#askAs(own, generation, asked, signal)
    if (answer.status !== 401) return answer
    const now = await this.#credentials.headers().catch(() => own)
    if (now['authorization'] === own['authorization']) return answer
    await answer.body[Symbol.asyncIterator]().return?.()
    return this.#askAs(now, undefined, asked, signal)
  }

  /** `generation`: of the credentials, which are renewed where they are refused and still are these. */
  async #askAs(
    own: Readonly<Record<string, string>>,
    generation: number | undefined,
    asked: Asked,
    signal: AbortSignal,
  ): Promise<Answer> {
    const { server, proxy } = this.#credentials
    const headers = {
      ':method': asked.method,
      ':path': `${server.pathname.replace(/\/$/, '')}${asked.path}`,
      accept: 'application/json',
      'user-agent': 'herald',
      ...('body' in asked ? headersOf(asked) : {}),
      ...own,
    }
    try {
      const { headers: answered, body } = await this.#send(headers, 'body' in asked ? asked.body : undefined, signal)
      const status = Number(answered[':status'])
      // What a proxy answers for a server that is away says nothing of who we are.
      if (status < 500) this.#credentials.judged(own, status === 401)
      if (status === 401 && generation === this.#generation) this.renew()
      const after = Number(answered['retry-after'])
      const dateMs = Date.parse(answered.date ?? '')
      const aside = status === 401 ? this.#credentials.passedOver : undefined
      return {
        status,
        retryAfterSec: Number.isFinite(after) ? after : undefined,
        ...(Number.isNaN(dateMs) ? {} : { dateMs }),
        ...(aside === undefined ? {} : { aside }),
        body,
      }
    } catch (error) {
      if (error instanceof HeraldError) throw error
      const through = proxy === undefined ? '' : ` through the proxy ${proxy.host}`
      const message = withAside(`${server.host}${through}: ${reasonOf(error)}`, this.#credentials.passedOver)
      throw new HeraldError('ERR_API_SERVER', message, { cause: error })
    }
  }

  async #send(headers: OutgoingHttpHeaders, body: string | undefined, signal: AbortSignal): Promise<Answered> {
    for (let isAgain = false; ; isAgain = true) {
      let connection = await untilAborted(this.#current(), signal)
      // Given up by who renewed the credentials, in the turns of the loop since it was found good.
      while (connection.isLeaving) connection = await untilAborted(this.#current(), signal)
      const stream = connection.request(headers, body, signal)
      try {
        return await answerTo(stream, signal)
      } catch (error) {
        // A server that leaves says by it that it did nothing about this one (RFC 9113 8.7).
        const isUndone = connection.isLeaving && stream.rstCode === constants.NGHTTP2_REFUSED_STREAM
        if (isAgain || !isUndone) throw error
      }
    }
  }

  renew(): void {
    this.#generation++
    this.#credentials.renew()
    const before = this.#connection
    this.#connection = undefined
    void before?.then(
      (connection) => connection.retire(),
      () => undefined,
    )
  }

  async close(): Promise<void> {
    this.#over.abort()
    await this.#connection?.catch(() => undefined)
  }

  async #current(): Promise<Http2Connection> {
    for (;;) {
      const opening = (this.#connection ??= this.#connect())
      const connection = await opening
      if (!connection.isLeaving) return connection
      this.#lose(opening)
    }
  }

  #connect(): Promise<Http2Connection> {
    const { server, proxy } = this.#credentials
    const lost = (): void => this.#lose(opening)
    const opening = this.#credentials.tls().then(async (tls) => {
      const target = { server, proxy, tls, pingMs: this.#pingMs, connectMs }
      const connection = await Http2Connection.open(target, this.#over.signal)
      connection.onLeaving(lost)
      return connection
    })
    opening.catch(lost)
    return opening
  }

  /** The next connection asks for certificates and keys again: they rotate. Requests under way have their end first. */
  #lose(opening: Promise<Http2Connection>): void {
    if (this.#connection !== opening) return
    this.#connection = undefined
    this.#credentials.renew('unreachable')
  }
}

/** What was said, and beside it why the credentials that are there now are not used. */
export function withAside(said: string, aside: string | undefined): string {
  return aside === undefined ? said : `${said} (${aside})`
}

function headersOf({ contentType, accept }: Change): OutgoingHttpHeaders {
  return { 'content-type': contentType, ...(accept === undefined ? {} : { accept }) }
}

const unanswered = 'the connection to the API server ended without an answer'

/** The headers that come first. */
function answerTo(stream: ClientHttp2Stream, signal: AbortSignal): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const late = deadline(systemClock, headersMs, () => stream.close(constants.NGHTTP2_CANCEL))
    stream.once('response', (headers) => {
      late.cancel()
      resolve({ headers, body: new Http2Body(stream) })
    })
    // What fails later fails for who reads the body.
    stream.on('error', reject)
    stream.once('close', () => {
      late.cancel()
      reject(signal.aborted ? signal.reason : new HeraldError('ERR_API_SERVER', unanswered))
    })
  })
}

/** What is opened is for others too. */
function untilAborted<T>(opened: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason)
    if (signal.aborted) abort()
    signal.addEventListener('abort', abort, { once: true })
    void opened.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}

/** The innermost reason: those around it help nobody. */
function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return error.errors.map(messageOf).join('; ')
  if (error instanceof Error && error.cause instanceof Error) return reasonOf(error.cause)
  // OpenSSL's own text begins with an address of its memory, another one each time, and ends with a line.
  const reason: unknown = Object(error).library === 'SSL routines' ? Object(error).reason : undefined
  // Node's advice is for who runs Node.
  return typeof reason === 'string' ? `TLS: ${reason}` : messageOf(error).replace(/; if the root CA is .*$/, '')
}
