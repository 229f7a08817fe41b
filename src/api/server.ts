/**
 * The read-only API over a unix socket and, when asked, HTTP.
 *
 *     GET /healthz /readyz /metrics /api/v1/{status,peers,routes,services,explain}
 *
 * Everything a client could overuse is bounded: header size, connections, time for a request; bodies are refused.
 *
 * The socket is what the command line needs, so without it there is no server. HTTP is for scraping and probes: when
 * its
 * port is taken the agent goes on announcing, and `status` says so.
 */
import { lstatSync, mkdirSync, rmSync } from 'node:fs'
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
  /** Why there is no HTTP although it was asked for. */
  readonly problem: string | undefined
  close(): Promise<void>
}

interface Reply {
  readonly status: number
  /** The connection ends with this answer. */
  readonly isLast?: boolean
  readonly type: string
  readonly body: string
}

const limits = {
  maxHeaderSize: 8 * 1024,
  headersTimeout: 5_000,
  requestTimeout: 10_000,
  keepAliveTimeout: 5_000,
  connectionsCheckingInterval: 1_000,
}
const maxConnections = 128
/** A connection on which nothing moves for so long is closed: also one whose client never reads. */
const idleMs = 30_000

const json = (value: unknown, status = 200): Reply => ({
  status,
  type: 'application/json',
  body: `${JSON.stringify(value)}\n`,
})
const text = (body: string, status = 200): Reply => ({ status, type: 'text/plain; charset=utf-8', body })

/**
 * Throws ERR_ALREADY_RUNNING when another agent answers on the socket, ERR_USAGE or ERR_SYSCALL when there can be no
 * socket.
 */
export async function createApiServer(options: ApiServerOptions): Promise<ApiServer> {
  await clearStaleSocket(options.socket)
  const remote = options.http === undefined ? undefined : await listeningHttp(options.views, options.http)
  const problem = typeof remote === 'string' ? remote : undefined
  const server = typeof remote === 'string' ? undefined : remote
  const views = problem === undefined ? options.views : withWarning(options.views, problem)
  const local = await listeningSocket(createServer(views), options.socket).catch(async (error: unknown) => {
    await closed(server)
    throw new HeraldError('ERR_SYSCALL', `--socket ${options.socket}: ${messageOf(error)}`, { cause: error })
  })
  const address = server?.address()
  return {
    port: typeof address === 'object' && address !== null ? address.port : undefined,
    problem,
    // Closing a listener removes its socket file.
    close: async () => void (await Promise.all([local, server].map(closed))),
  }
}

/** The listening server, or why there is none. */
async function listeningHttp(
  views: AgentViews,
  where: { readonly host: string; readonly port: number },
): Promise<http.Server | string> {
  const server = createServer(views)
  return listening(server, () => server.listen(where)).catch(
    (error: unknown) =>
      `no HTTP, so no metrics and no probes: ${messageOf(error)}. Free the port, or choose another with --http`,
  )
}

/** For its owner and group from the first moment on, whatever the umask of the process. */
function listeningSocket(server: http.Server, path: string): Promise<http.Server> {
  return listening(server, () => {
    const umask = process.umask(0o117)
    try {
      // Binding happens within this call.
      server.listen({ path })
    } finally {
      process.umask(umask)
    }
  })
}

function withWarning(views: AgentViews, warning: string): AgentViews {
  return {
    ...views,
    status: async () => {
      const status = await views.status()
      return { ...status, warnings: [...status.warnings, warning] }
    },
  }
}

function createServer(views: AgentViews): http.Server {
  const handle: http.RequestListener = (request, response) => {
    void answer(views, request)
      .catch((error: unknown) =>
        json(
          { error: { code: error instanceof HeraldError ? error.code : 'INTERNAL', message: messageOf(error) } },
          500,
        ),
      )
      .then(({ status, type, body, isLast }) => {
        response.writeHead(status, {
          'content-type': type,
          'cache-control': 'no-store',
          ...(isLast === true ? { connection: 'close' } : {}),
        })
        response.end(request.method === 'HEAD' ? undefined : body)
      })
  }
  const server = http.createServer(limits, handle)
  // Nobody is told to go on and send a body.
  server.on('checkContinue', handle)
  server.maxConnections = maxConnections
  server.timeout = idleMs
  server.on('clientError', (_error, socket) => socket.destroy())
  return server
}

async function answer(views: AgentViews, request: http.IncomingMessage): Promise<Reply> {
  if (request.method !== 'GET' && request.method !== 'HEAD')
    return { ...json({ error: { code: 'METHOD', message: 'this API is read-only' } }, 405), isLast: true }
  if (hasBody(request))
    return { ...json({ error: { code: 'BODY', message: 'a request has no body here' } }, 413), isLast: true }
  const url =
    request.url?.startsWith('/') === true && !request.url.startsWith('//')
      ? URL.parse(request.url, 'http://herald')
      : null
  if (url === null) return badRequest('the request target is no path')
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

function hasBody({ headers }: http.IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) !== 0
}

async function routes(views: AgentViews, query: URLSearchParams): Promise<Reply> {
  const table = query.get('table') ?? 'advertised'
  const family = query.get('family') ?? 'ipv4-unicast'
  const peer = query.get('peer')
  if (table !== 'available' && table !== 'advertised' && table !== 'received')
    return badRequest('table is available, advertised or received')
  if (family !== 'ipv4-unicast' && family !== 'ipv6-unicast')
    return badRequest('family is ipv4-unicast or ipv6-unicast')
  return json(await views.routes({ table, family, ...(peer === null ? {} : { peer }) }))
}

async function explain(views: AgentViews, query: URLSearchParams): Promise<Reply> {
  const kind = query.get('kind') as ExplainSubject['kind'] | null
  const name = query.get('name')
  if (name === null || (kind !== 'service' && kind !== 'route' && kind !== 'peer'))
    return badRequest('kind is service, route or peer, and name is needed')
  return json(await views.explain({ kind, name }))
}

function badRequest(message: string): Reply {
  return json({ error: { code: 'BAD_REQUEST', message } }, 400)
}

/** A socket file that nobody answers on is what a killed agent left. Anything else at that path is left alone. */
async function clearStaleSocket(path: string): Promise<void> {
  try {
    mkdirSync(dirname(path), { recursive: true })
    const found = lstatSync(path, { throwIfNoEntry: false })
    if (found !== undefined && !found.isSocket())
      throw new HeraldError('ERR_USAGE', `--socket ${path}: exists and is not a socket`)
  } catch (error) {
    if (error instanceof HeraldError) throw error
    throw new HeraldError('ERR_SYSCALL', `--socket ${path}: ${messageOf(error)}`, { cause: error })
  }
  const refusal = await probe(path)
  // EAGAIN: somebody listens, and is busy.
  if (refusal === undefined || refusal.code === 'EAGAIN')
    throw new HeraldError('ERR_ALREADY_RUNNING', `another herald agent answers on ${path}`)
  if (refusal.code !== 'ECONNREFUSED' && refusal.code !== 'ENOENT')
    throw new HeraldError('ERR_SYSCALL', `--socket ${path}: ${refusal.message}`, { cause: refusal })
  rmSync(path, { force: true })
}

/** undefined when somebody answers. */
function probe(path: string): Promise<NodeJS.ErrnoException | undefined> {
  return new Promise((resolve) => {
    const connection = net.connect(path, () => {
      connection.destroy()
      resolve(undefined)
    })
    connection.once('error', resolve)
  })
}

function listening(server: http.Server, listen: () => void): Promise<http.Server> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.once('listening', () => {
      server.off('error', reject)
      resolve(server)
    })
    listen()
  })
}

async function closed(server: http.Server | undefined): Promise<void> {
  if (server === undefined) return
  await new Promise<void>((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
  })
}
