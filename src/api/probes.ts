/**
 * Probes and metrics of a process without an API of its own: `/healthz`, `/readyz`, `/metrics`. The same bounds hold as
 * for the API of an agent (server.ts).
 */
import http from 'node:http'
import type { Duplex } from 'node:stream'
import { HeraldError, messageOf } from '../errors.ts'
import { Connections, expectations, isWithoutHost, parserOptions, refuse } from './connections.ts'
import { Gate } from './gate.ts'
import { Lane } from './lane.ts'

export interface ProbeViews {
  readonly ready: () => { readonly ok: boolean; readonly text: string }
  readonly metrics: () => Promise<string>
}

export interface ProbeServer {
  readonly port: number
  close(): Promise<void>
}

interface Reply {
  readonly status: number
  readonly body: string
  readonly type?: string
}

/** Throws ERR_HTTP where there can be no listener. */
export async function createProbeServer(
  views: ProbeViews,
  where: { readonly host: string; readonly port: number },
): Promise<ProbeServer> {
  const lane = new Lane<Reply>()
  const handle: http.RequestListener = (request, response) => {
    const gate = request.socket as Duplex
    if (!(gate instanceof Gate)) return void request.destroy()
    gate.requested()
    response.once('close', () => gate.answered())
    void answer(views, lane, request).then(({ status, body, type = 'text/plain; charset=utf-8' }) => {
      gate.answering()
      const isLast = status === 400 || (request.method !== 'GET' && request.method !== 'HEAD')
      response.writeHead(status, {
        'content-type': type,
        'cache-control': 'no-store',
        'content-length': Buffer.byteLength(body),
        ...(isLast ? { connection: 'close' } : {}),
      })
      response.end(request.method === 'HEAD' ? undefined : body)
    })
  }
  const server = http.createServer(parserOptions, handle)
  for (const event of expectations) server.on(event, handle)
  server.on('clientError', (error, connection) =>
    refuse(error, connection, (status) => ({
      type: 'text/plain; charset=utf-8',
      body: status === 431 ? 'the head is too long\n' : 'no request of HTTP/1.1\n',
    })),
  )
  const connections = new Connections(server)
  await new Promise<void>((resolve, reject) => {
    connections.listener.once('error', (error) => {
      const message = `--http ${where.host}:${where.port}: ${messageOf(error)}`
      reject(new HeraldError('ERR_HTTP', message, { cause: error }))
    })
    connections.listener.listen(where, resolve)
  })
  const address = connections.listener.address()
  return {
    port: typeof address === 'object' && address !== null ? address.port : where.port,
    close: () => connections.close(),
  }
}

async function answer(views: ProbeViews, lane: Lane<Reply>, request: http.IncomingMessage): Promise<Reply> {
  if (isWithoutHost(request)) return { status: 400, body: 'a request of HTTP/1.1 names its Host\n' }
  if (request.method !== 'GET' && request.method !== 'HEAD') return { status: 405, body: 'only GET\n' }
  const { headers } = request
  if (headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) !== 0)
    return { status: 413, body: 'a request has no body here\n' }
  switch (request.url?.split('?')[0]) {
    case '/healthz':
      return { status: 200, body: 'ok\n' }
    case '/readyz': {
      const { ok, text } = views.ready()
      return { status: ok ? 200 : 503, body: `${text}\n` }
    }
    case '/metrics':
      return lane
        .run('/metrics', async () => {
          const body = await views.metrics()
          return { status: 200, body, type: 'text/plain; version=0.0.4; charset=utf-8' }
        })
        .catch((error: unknown) => ({ status: 503, body: `${messageOf(error)}\n` }))
    default:
      return { status: 404, body: 'there is /healthz, /readyz and /metrics\n' }
  }
}
