/**
 * The read-only API over a unix socket and, when asked, HTTP.
 *
 *     GET /healthz /readyz /metrics /api/v1/{status,peers,routes,services,explain}
 *
 * Everything a client could overuse is bounded: header size, connections, time for a request; bodies are refused.
 */
import { chmodSync, lstatSync, mkdirSync, rmSync } from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import { dirname } from 'node:path'
import { HeraldError, messageOf } from '../errors.ts'
import type { AgentViews, ExplainSubject } from './types.ts'

export interface ApiServerOptions {
  readonly views: AgentViews
  readonly socket: string
  readonly http?: { readonly host: string; readonly port: number }
}

export interface ApiServer {
  /** The port in use; undefined without HTTP. */
  readonly port: number | undefined
  close(): Promise<void>
}

interface Reply {
  readonly status: number
  readonly type: string
  readonly body: string
}

const limits = { maxHeaderSize: 8 * 1024, headersTimeout: 5_000, requestTimeout: 10_000, keepAliveTimeout: 5_000, connectionsCheckingInterval: 1_000 }
const maxConnections = 128

const json = (value: unknown, status = 200): Reply => ({ status, type: 'application/json', body: `${JSON.stringify(value)}\n` })
const text = (body: string, status = 200): Reply => ({ status, type: 'text/plain; charset=utf-8', body })

export async function createApiServer(options: ApiServerOptions): Promise<ApiServer> {
  mkdirSync(dirname(options.socket), { recursive: true })
  await clearStaleSocket(options.socket)
  const local = await listening(createServer(options.views), { path: options.socket })
  chmodSync(options.socket, 0o660)
  const remote = options.http === undefined ? undefined : await listening(createServer(options.views), options.http)
  const address = remote?.address()
  return {
    port: typeof address === 'object' && address !== null ? address.port : undefined,
    close: async () => {
      await Promise.all([local, remote].map(closed))
      rmSync(options.socket, { force: true })
    },
  }
}

function createServer(views: AgentViews): http.Server {
  const server = http.createServer(limits, (request, response) => {
    void answer(views, request)
      .catch((error: unknown) => json({ error: { code: error instanceof HeraldError ? error.code : 'INTERNAL', message: messageOf(error) } }, 500))
      .then(({ status, type, body }) => {
        response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' })
        response.end(request.method === 'HEAD' ? undefined : body)
      })
  })
  server.maxConnections = maxConnections
  server.on('clientError', (_error, socket) => socket.destroy())
  return server
}

async function answer(views: AgentViews, request: http.IncomingMessage): Promise<Reply> {
  if (request.method !== 'GET' && request.method !== 'HEAD') return json({ error: { code: 'METHOD', message: 'this API is read-only' } }, 405)
  request.resume()
  const url = new URL(request.url ?? '/', 'http://herald')
  switch (url.pathname) {
    case '/healthz':
      return text('ok\n')
    case '/readyz': {
      const ready = views.ready()
      return text(`${ready.text}\n`, ready.ok ? 200 : 503)
    }
    case '/metrics':
      return { status: 200, type: 'text/plain; version=0.0.4; charset=utf-8', body: await views.metrics() }
    case '/api/v1/status':
      return json(await views.status())
    case '/api/v1/peers':
      return json(await views.peers())
    case '/api/v1/services':
      return json(await views.services())
    case '/api/v1/routes':
      return routes(views, url.searchParams)
    case '/api/v1/explain':
      return explain(views, url.searchParams)
    default:
      return json({ error: { code: 'NOT_FOUND', message: `no such path: ${url.pathname}` } }, 404)
  }
}

async function routes(views: AgentViews, query: URLSearchParams): Promise<Reply> {
  const table = query.get('table') ?? 'advertised'
  const family = query.get('family') ?? 'ipv4-unicast'
  const peer = query.get('peer')
  if (table !== 'available' && table !== 'advertised' && table !== 'received') return badRequest('table is available, advertised or received')
  if (family !== 'ipv4-unicast' && family !== 'ipv6-unicast') return badRequest('family is ipv4-unicast or ipv6-unicast')
  return json(await views.routes({ table, family, ...(peer === null ? {} : { peer }) }))
}

async function explain(views: AgentViews, query: URLSearchParams): Promise<Reply> {
  const kind = query.get('kind') as ExplainSubject['kind'] | null
  const name = query.get('name')
  if (name === null || (kind !== 'service' && kind !== 'route' && kind !== 'peer')) return badRequest('kind is service, route or peer, and name is needed')
  return json(await views.explain({ kind, name }))
}

function badRequest(message: string): Reply {
  return json({ error: { code: 'BAD_REQUEST', message } }, 400)
}

/** A socket file that nobody answers on is what a killed agent left. */
async function clearStaleSocket(path: string): Promise<void> {
  const isAlive = await new Promise<boolean>((resolve) => {
    const probe = net.connect(path, () => {
      probe.destroy()
      resolve(true)
    })
    probe.once('error', () => resolve(false))
  })
  if (isAlive) throw new HeraldError('ERR_ALREADY_RUNNING', `another herald agent answers on ${path}`)
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (found !== undefined && !found.isSocket()) throw new HeraldError('ERR_USAGE', `--socket ${path}: exists and is not a socket`)
  rmSync(path, { force: true })
}

function listening(server: http.Server, where: net.ListenOptions): Promise<http.Server> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(where, () => {
      server.off('error', reject)
      resolve(server)
    })
  })
}

async function closed(server: http.Server | undefined): Promise<void> {
  if (server === undefined) return
  await new Promise<void>((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
  })
}
