/**
 * One HTTP/2 connection to the API server for all lists and watches, made anew when it fails: with credentials read
 * again, and found dead within two pings when the other end is gone without a word.
 */
import { Client } from 'undici'
import { HeraldError, messageOf } from '../../errors.ts'
import type { Credentials } from './credentials.ts'

export interface Answer {
  readonly status: number
  /** Seconds that the server wants us to wait (429, 503). */
  readonly retryAfterSec: number | undefined
  readonly body: AsyncIterable<Uint8Array>
}

/** A request that changes something. */
export interface Change {
  readonly method: 'POST' | 'PUT' | 'PATCH'
  readonly path: string
  readonly contentType: string
  readonly body: string
}

export interface Transport {
  /** Rejects with ERR_API_SERVER where there is no answer, ERR_KUBECONFIG where there are no credentials. */
  get(path: string, signal: AbortSignal): Promise<Answer>
  /** As {@link get}. Never sent twice. */
  change(change: Change, signal: AbortSignal): Promise<Answer>
  /** The next request makes a new connection with fresh credentials. */
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

class Http2Transport implements Transport {
  readonly #credentials: Credentials
  readonly #pingMs: number
  #client: Promise<Client> | undefined

  constructor(credentials: Credentials, pingMs: number) {
    this.#credentials = credentials
    this.#pingMs = pingMs
  }

  get(path: string, signal: AbortSignal): Promise<Answer> {
    return this.#ask('GET', path, signal)
  }

  change({ method, path, contentType, body }: Change, signal: AbortSignal): Promise<Answer> {
    return this.#ask(method, path, signal, { contentType, body })
  }

  async #ask(
    method: 'GET' | Change['method'],
    path: string,
    signal: AbortSignal,
    sent?: Pick<Change, 'contentType' | 'body'>,
  ): Promise<Answer> {
    const headers = {
      accept: 'application/json',
      'user-agent': 'herald',
      ...(sent === undefined ? {} : { 'content-type': sent.contentType }),
      ...(await this.#credentials.headers()),
    }
    this.#client ??= this.#connect()
    const client = this.#client
    try {
      const base = this.#credentials.server.pathname.replace(/\/$/, '')
      const {
        statusCode,
        headers: answered,
        body,
      } = await (await client).request({
        method,
        path: `${base}${path}`,
        headers,
        signal,
        ...(sent === undefined ? {} : { body: sent.body }),
      })
      const after = Number(answered['retry-after'])
      return { status: statusCode, retryAfterSec: Number.isFinite(after) ? after : undefined, body }
    } catch (error) {
      if (!signal.aborted) this.#discard(client)
      throw new HeraldError('ERR_API_SERVER', `${this.#credentials.server.host}: ${reasonOf(error)}`, { cause: error })
    }
  }

  renew(): void {
    if (this.#client !== undefined) this.#discard(this.#client)
  }

  async close(): Promise<void> {
    const client = await this.#client?.catch(() => undefined)
    await client?.destroy()
  }

  async #connect(): Promise<Client> {
    const { server } = this.#credentials
    const connect = { ...(await this.#credentials.tls()), timeout: connectMs }
    return new Client(server.origin, {
      allowH2: true,
      connect,
      h2Options: { pingInterval: this.#pingMs },
      headersTimeout: headersMs,
      // A watch is silent for as long as nothing changes; pings tell whether anybody is there.
      bodyTimeout: 0,
      maxConcurrentStreams: 100,
    })
  }

  #discard(client: Promise<Client>): void {
    if (this.#client === client) this.#client = undefined
    void client.then(
      (made) => made.destroy(),
      () => undefined,
    )
  }
}

/** The innermost reason: `fetch failed` helps nobody. */
function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return error.errors.map(messageOf).join('; ')
  return error instanceof Error && error.cause instanceof Error ? reasonOf(error.cause) : messageOf(error)
}
