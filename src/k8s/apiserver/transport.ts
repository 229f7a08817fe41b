/**
 * One HTTP/2 connection to the API server for all lists and watches, made anew when it fails: with credentials read
 * again, and found dead within two pings when the other end is gone without a word. What fails on one stream costs
 * no other.
 */
import { buildConnector, Client } from 'undici'
import { HeraldError, messageOf } from '../../errors.ts'
import type { Credentials, TlsOptions } from './credentials.ts'
import { openTunnel } from './tunnel.ts'

export interface Answer {
  readonly status: number
  /** Seconds that the server wants us to wait (429, 503). */
  readonly retryAfterSec: number | undefined
  /** When it was answered by the server's clock, ms since the epoch. */
  readonly dateMs?: number
  readonly body: AsyncIterable<Uint8Array>
}

/** A request that changes something. */
export interface Change {
  readonly method: 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  readonly path: string
  readonly contentType: string
  readonly body: string
}

export interface Transport {
  /** Rejects with ERR_API_SERVER where there is no answer, ERR_KUBECONFIG where there are no credentials. */
  get(path: string, signal: AbortSignal): Promise<Answer>
  /** As {@link get}. Never sent twice. */
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

class Http2Transport implements Transport {
  readonly #credentials: Credentials
  readonly #pingMs: number
  #client: Promise<Client> | undefined
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

  async #ask(asked: Change | { readonly method: 'GET'; readonly path: string }, signal: AbortSignal): Promise<Answer> {
    const generation = this.#generation
    const headers = {
      accept: 'application/json',
      'user-agent': 'herald',
      ...('body' in asked ? { 'content-type': asked.contentType } : {}),
      ...(await this.#credentials.headers()),
    }
    this.#client ??= this.#connect()
    const client = this.#client
    const { server, proxy } = this.#credentials
    try {
      const path = `${server.pathname.replace(/\/$/, '')}${asked.path}`
      const body = 'body' in asked ? { body: asked.body } : {}
      const request = { method: asked.method, path, headers, signal, ...body }
      const { statusCode: status, headers: answered, body: answer } = await (await client).request(request)
      if (status === 401 && generation === this.#generation) this.renew()
      const after = Number(answered['retry-after'])
      const dateMs = Date.parse(String(answered['date']))
      return {
        status,
        retryAfterSec: Number.isFinite(after) ? after : undefined,
        ...(Number.isNaN(dateMs) ? {} : { dateMs }),
        body: answer,
      }
    } catch (error) {
      const made = await client.catch(() => undefined)
      // Without credentials or a connection there is nothing that others could go on with.
      if (made === undefined && this.#client === client) this.#client = undefined
      if (made !== undefined && isOfDeadSession(error)) await this.#lose(made)
      if (error instanceof HeraldError) throw error
      const through = proxy === undefined ? '' : ` through the proxy ${proxy.host}`
      throw new HeraldError('ERR_API_SERVER', `${server.host}${through}: ${reasonOf(error)}`, { cause: error })
    }
  }

  renew(): void {
    this.#generation++
    this.#credentials.renew()
    const before = this.#client
    this.#client = undefined
    void before?.then(
      (client) => client.close(),
      () => undefined,
    )
  }

  async close(): Promise<void> {
    const client = await this.#client?.catch(() => undefined)
    await client?.destroy()
  }

  #connector(tls: TlsOptions): buildConnector.connector {
    const connect = buildConnector({ ...tls, allowH2: true, timeout: connectMs })
    const { proxy } = this.#credentials
    return proxy === undefined ? connect : throughProxy(connect, proxy, tls)
  }

  async #connect(): Promise<Client> {
    const { server } = this.#credentials
    const tls = await this.#credentials.tls()
    const client = new Client(server.origin, {
      allowH2: true,
      connect: http2Connector(this.#connector(tls), server.host),
      h2Options: { pingInterval: this.#pingMs },
      headersTimeout: headersMs,
      // A watch is silent for as long as nothing changes; pings tell whether anybody is there.
      bodyTimeout: 0,
      maxConcurrentStreams: 100,
    })
    client.on('disconnect', () => void this.#lose(client))
    client.on('connectionError', () => void this.#lose(client))
    return client
  }

  /** The next connection asks for certificates and keys again: they rotate. Requests under way have their end first. */
  async #lose(client: Client): Promise<void> {
    const held = this.#client
    if ((await held?.catch(() => undefined)) === client && this.#client === held) {
      this.#client = undefined
      this.#credentials.renew('unreachable')
    }
    client.close().catch(() => undefined)
  }
}

function throughProxy(connect: buildConnector.connector, proxy: URL, { ca }: TlsOptions): buildConnector.connector {
  return (options, done) => {
    const target = { hostname: options.hostname, port: Number(options.port || 443) }
    openTunnel(proxy, target, ca, connectMs).then(
      (httpSocket) => connect({ ...options, httpSocket }, done),
      (error: HeraldError) => done(error, null),
    )
  }
}

/** By HTTP/1.1 the first watch would hold the connection, and everything else wait for its end. */
function http2Connector(connect: buildConnector.connector, host: string): buildConnector.connector {
  return (options, done) =>
    connect(options, (...[error, socket]) => {
      if (error !== null) return done(error, null)
      if ('alpnProtocol' in socket && socket.alpnProtocol === 'h2') return done(null, socket)
      socket.destroy()
      const why = 'it does not speak HTTP/2 over TLS, as every API server does: is there a proxy before it?'
      done(new HeraldError('ERR_API_SERVER', `${host}: ${why}`), null)
    })
}

/** A server that ends a session at its very begin, as for want of a certificate, leaves the client in it for ever. */
function isOfDeadSession(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  return Reflect.get(error, 'code') === 'ERR_HTTP2_INVALID_SESSION' || isOfDeadSession(error.cause)
}

/** The innermost reason: `fetch failed` helps nobody. */
function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return error.errors.map(messageOf).join('; ')
  if (error instanceof Error && error.cause instanceof Error) return reasonOf(error.cause)
  // OpenSSL's own text begins with an address of its memory, another one each time, and ends with a line.
  const reason: unknown = Object(error).library === 'SSL routines' ? Object(error).reason : undefined
  // Node's advice is for who runs Node.
  return typeof reason === 'string' ? `TLS: ${reason}` : messageOf(error).replace(/; if the root CA is .*$/, '')
}
