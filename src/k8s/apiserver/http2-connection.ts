/**
 * One HTTP/2 connection over TLS with a server, directly or through a proxy, watched by pings: the other end may be
 * gone without a word.
 *
 *     TCP, or a tunnel --TLS, ALPN h2--> session --PING every so often--> answered before the next one, or it is ended
 */
import { type ClientHttp2Session, type ClientHttp2Stream, connect, type OutgoingHttpHeaders } from 'node:http2'
import { isIP, type Socket } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { deadline } from '../../clock/deadline.ts'
import { systemClock } from '../../clock/system-clock.ts'
import { HeraldError } from '../../errors.ts'
import type { TlsOptions } from './credentials.ts'
import { openTunnel, type TunnelTarget } from './tunnel.ts'

export interface Http2Target {
  readonly server: URL
  readonly proxy: URL | undefined
  readonly tls: TlsOptions
  /** A dead connection is found within twice this. */
  readonly pingMs: number
  /** Of everything until TLS stands. */
  readonly connectMs: number
}

/** Of the connection, for all streams together: a page is made while the one before it is read. */
const windowOctets = 512 * 1024

export class Http2Connection {
  readonly #session: ClientHttp2Session
  #streams = 0
  #isRetired = false

  /** Rejects with what failed. Ends when `signal` aborts, whatever is under way. */
  static async open(target: Http2Target, signal: AbortSignal): Promise<Http2Connection> {
    const { server, proxy, tls, pingMs, connectMs } = target
    const hostname = server.hostname.replace(/^\[(.*)\]$/, '$1')
    const place: TunnelTarget = { hostname, port: Number(server.port || 443) }
    const tunnel = proxy === undefined ? undefined : await openTunnel(proxy, place, tls.ca, connectMs, signal)
    const socket = await secured(place, tls, tunnel, connectMs, signal).catch((error: unknown) => {
      throw isUnknownProtocol(error) ? withoutHttp2(server, error) : error
    })
    if (socket.alpnProtocol !== 'h2') {
      // By HTTP/1.1 the first watch would hold the connection, and everything else wait for its end.
      socket.destroy()
      throw withoutHttp2(server)
    }
    const session = connect(server, { createConnection: () => socket, settings: { enablePush: false } })
    const end = (): void => session.destroy()
    if (signal.aborted) end()
    signal.addEventListener('abort', end, { once: true })
    session.once('close', () => signal.removeEventListener('abort', end))
    return new Http2Connection(session, pingMs)
  }

  private constructor(session: ClientHttp2Session, pingMs: number) {
    this.#session = session
    session.once('connect', () => session.setLocalWindowSize(windowOctets))
    // Each stream is told by itself.
    session.on('error', () => undefined)
    watch(session, pingMs)
  }

  /** Also where that is still to be told by {@link onLeaving}. */
  get isLeaving(): boolean {
    return this.#session.closed || this.#session.destroyed
  }

  /** It is lost, or the server wants no more requests over it. */
  onLeaving(action: () => void): void {
    this.#session.once('goaway', action)
    this.#session.once('close', action)
  }

  request(headers: OutgoingHttpHeaders, body: string | undefined, signal: AbortSignal): ClientHttp2Stream {
    const stream = this.#session.request(headers, { endStream: body === undefined, signal })
    this.#streams++
    stream.once('close', () => {
      this.#streams--
      if (this.#isRetired) this.retire()
    })
    if (body !== undefined) stream.end(body)
    return stream
  }

  /** Ends it when what is under way has ended. A session that is closed before would answer no ping any more. */
  retire(): void {
    this.#isRetired = true
    if (this.#streams === 0) this.#session.close()
  }
}

/** It named protocols by ALPN, and none that we offer (RFC 7301 3.2): it says so by an alert. */
function isUnknownProtocol(error: unknown): boolean {
  return Object(error).code === 'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL'
}

function withoutHttp2({ host }: URL, cause?: unknown): HeraldError {
  const why = 'it does not speak HTTP/2 over TLS, as every API server does: is there a proxy before it?'
  return new HeraldError('ERR_API_SERVER', `${host}: ${why}`, { cause })
}

function secured(
  { hostname, port }: TunnelTarget,
  tls: TlsOptions,
  tunnel: Socket | undefined,
  withinMs: number,
  signal: AbortSignal,
): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({
      ...{ host: hostname, port, ALPNProtocols: ['h2', 'http/1.1'] },
      ...(isIP(hostname) === 0 ? { servername: hostname } : {}),
      ...tls,
      ...(tunnel === undefined ? {} : { socket: tunnel }),
    })
    const end = (why: string): void =>
      void socket.destroy(new HeraldError('ERR_API_SERVER', `${hostname}:${port}: ${why}`))
    const late = deadline(systemClock, withinMs, () => end(`no connection within ${withinMs / 1000} s`))
    const abort = (): void => end('the connection is not needed any more')
    if (signal.aborted) abort()
    signal.addEventListener('abort', abort, { once: true })
    const settle = (): void => {
      late.cancel()
      signal.removeEventListener('abort', abort)
    }
    // Of a socket that is in use, the session says what became of it.
    socket.on('error', reject)
    socket.once('close', settle)
    socket.once('secureConnect', () => {
      settle()
      resolve(socket)
    })
  })
}

/** One that the server wants to end is not asked any more: what is under way has two more of these times. */
function watch(session: ClientHttp2Session, pingMs: number): void {
  const unanswered = `no answer to a ping within ${pingMs / 1000} s`
  let isAnswered = true
  const look = (): void => {
    if (session.destroyed) return
    if (!isAnswered) return void session.destroy(new HeraldError('ERR_API_SERVER', unanswered))
    isAnswered = false
    session.ping((error) => {
      isAnswered = error === null
    })
    next = systemClock.after(pingMs, look)
  }
  let next = systemClock.after(pingMs, look)
  session.once('close', () => next.cancel())
}
