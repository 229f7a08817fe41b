/**
 * From a request to its answer:
 *
 *     GET /healthz /readyz                                           at once, whatever else is asked
 *     POST /api/v1/commands/{reset,refresh,drain}                    on the unix socket, of a caller that is known
 *     GET /api/v1/flows                                              on the unix socket, lines without an end
 *     GET /metrics /api/v1/{status,peers,routes,services,explain}    through the lane
 */
import type http from 'node:http'
import { HeraldError, messageOf, type ErrorCode } from '../errors.ts'
import { flowsPath, flowsReply } from './flow-stream.ts'
import { isWithoutHost } from './connections.ts'
import type { Lane } from './lane.ts'
import type { AgentCommand, AgentViews, CommandView, ExplainSubject, Page, PageQuery } from './types.ts'
import type { FlowSource } from './flow-types.ts'

export interface Reply {
  readonly status: number
  /** In place of a body: writes until it is ended; for as long the connection is its own. */
  readonly stream?: (response: http.ServerResponse) => void
  /** The connection ends with this answer. */
  readonly isLast?: boolean
  readonly type: string
  readonly body: string
  readonly headers?: Readonly<Record<string, string>>
}

/** Items of one page, and so what an answer costs at most. */
const maxPageItems = 250
/** Of an answer that names the next page in a header, as the list itself has no place for it. */
const continueHeader = 'herald-continue'

const json = (value: unknown, status = 200): Reply => ({
  status,
  type: 'application/json',
  body: `${JSON.stringify(value)}\n`,
})
const text = (body: string, status = 200): Reply => ({ status, type: 'text/plain; charset=utf-8', body })

const statusOf: Readonly<Partial<Record<ErrorCode, number>>> = {
  ERR_USAGE: 400,
  ERR_BUSY: 503,
  ERR_EXPIRED: 410,
  ERR_NO_NEIGHBOR: 404,
  ERR_NO_EVENTS: 404,
}

/** For what never became a request. */
export const notHttp = (status: 400 | 431): Reply =>
  json(
    { error: { code: 'REQUEST', message: status === 431 ? 'the head is too long' : 'no request of HTTP/1.1' } },
    status,
  )

export interface Asked {
  readonly views: AgentViews
  /** Of who may look at flows. */
  readonly flows?: FlowSource | undefined
  /** Of who may give commands. */
  readonly run?: ((command: AgentCommand) => Promise<CommandView>) | undefined
}

/** Never rejects. */
export async function answer(asked: Asked, lane: Lane<Reply>, request: http.IncomingMessage): Promise<Reply> {
  try {
    return await answerTo(asked, lane, request)
  } catch (error) {
    const code = error instanceof HeraldError ? error.code : undefined
    const reply = json(
      { error: { code: code ?? 'INTERNAL', message: messageOf(error) } },
      (code === undefined ? undefined : statusOf[code]) ?? 500,
    )
    return reply.status === 503 ? { ...reply, headers: { 'retry-after': '1' } } : reply
  }
}

async function answerTo(
  { views, flows, run }: Asked,
  lane: Lane<Reply>,
  request: http.IncomingMessage,
): Promise<Reply> {
  if (isWithoutHost(request)) return { ...badRequest('a request of HTTP/1.1 names its Host'), isLast: true }
  const isReading = request.method === 'GET' || request.method === 'HEAD'
  if (!isReading && (run === undefined || request.method !== 'POST'))
    return { ...json({ error: { code: 'METHOD', message: 'this API is read-only' } }, 405), isLast: true }
  if (hasBody(request))
    return { ...json({ error: { code: 'BODY', message: 'a request has no body here' } }, 413), isLast: true }
  const url =
    request.url?.startsWith('/') === true && !request.url.startsWith('//')
      ? URL.parse(request.url, 'http://herald')
      : null
  if (url === null) return badRequest('the request target is no path')
  if (!isReading) return commanded(run, url)
  switch (url.pathname) {
    case '/healthz':
      return text('ok\n')
    case '/readyz': {
      const ready = views.ready()
      return text(`${ready.text}\n`, ready.ok ? 200 : 503)
    }
  }
  if (url.pathname === flowsPath && flows !== undefined && request.method === 'GET')
    return flowsReply(flows, url.searchParams)
  const work = workOf(views, url)
  return typeof work === 'function' ? lane.run(`${url.pathname}?${url.searchParams.toString()}`, work) : work
}

const paging = ['limit', 'continue']
/** Of those that are not here, what Prometheus or kubelet may add is nothing to us. */
const parametersOf: ReadonlyMap<string, readonly string[]> = new Map([
  ['/api/v1/status', []],
  ['/api/v1/peers', []],
  ['/api/v1/services', paging],
  ['/api/v1/routes', ['table', 'family', 'peer', ...paging]],
  ['/api/v1/explain', ['kind', 'name']],
])
const commandParameters = { reset: ['peer', 'soft'], refresh: ['peer'], drain: ['undo'] } as const

/** What has to be done for a path, or why nothing is. */
function workOf(views: AgentViews, { pathname, searchParams: query }: URL): (() => Promise<Reply>) | Reply {
  const parameters = parametersOf.get(pathname)
  const fault = parameters && misread(query, parameters)
  if (fault !== undefined) return fault
  switch (pathname) {
    case '/metrics':
      return async () => ({
        status: 200,
        type: 'text/plain; version=0.0.4; charset=utf-8',
        body: await views.metrics(),
      })
    case '/api/v1/status':
      return async () => json(await views.status())
    case '/api/v1/peers':
      return async () => json(await views.peers())
    case '/api/v1/services':
      return paged(query, (page) => views.services(page))
    case '/api/v1/routes':
      return routes(views, query)
    case '/api/v1/explain':
      return explain(views, query)
    default:
      return json({ error: { code: 'NOT_FOUND', message: `no such path: ${pathname}` } }, 404)
  }
}

function hasBody({ headers }: http.IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) !== 0
}

/** A word that nobody reads, or of which one of two counts, would silently be another question or command. */
function misread(query: URLSearchParams, known: readonly string[]): Reply | undefined {
  for (const name of query.keys()) {
    if (!known.includes(name)) return badRequest(`${name}: no such parameter; there is ${known.join(', ') || 'none'}`)
    if (query.getAll(name).length > 1) return badRequest(`${name}: given twice`)
  }
  return undefined
}

function routes(views: AgentViews, query: URLSearchParams): (() => Promise<Reply>) | Reply {
  const table = query.get('table') ?? 'advertised'
  const family = query.get('family') ?? 'ipv4-unicast'
  const peer = query.get('peer')
  if (table !== 'available' && table !== 'advertised' && table !== 'received')
    return badRequest('table is available, advertised or received')
  if (family !== 'ipv4-unicast' && family !== 'ipv6-unicast')
    return badRequest('family is ipv4-unicast or ipv6-unicast')
  return paged(query, (page) => views.routes({ table, family, ...(peer === null ? {} : { peer }) }, page))
}

function explain(views: AgentViews, query: URLSearchParams): (() => Promise<Reply>) | Reply {
  const kind = query.get('kind') as ExplainSubject['kind'] | null
  const name = query.get('name')
  if (name === null || name === '' || (kind !== 'service' && kind !== 'route' && kind !== 'peer'))
    return badRequest('kind is service, route or peer, and name is needed')
  return async () => json(await views.explain({ kind, name }))
}

/** With `limit` or `continue` a page, else the first page as a list. */
function paged(
  query: URLSearchParams,
  read: (page: PageQuery) => Promise<Page<unknown>>,
): (() => Promise<Reply>) | Reply {
  const [limitText, token] = [query.get('limit'), query.get('continue')]
  const limit = limitText === null ? maxPageItems : /^[1-9]\d{0,8}$/.test(limitText) ? Number(limitText) : 0
  if (limit === 0) return badRequest(`limit is a number from 1 on; a page has at most ${maxPageItems} items`)
  if (token === '') return badRequest('continue is what the page before said, or not given')
  const page = { limit: Math.min(limit, maxPageItems), ...(token === null ? {} : { continue: token }) }
  return async () => {
    const found = await read(page)
    if (limitText !== null || token !== null) return json(found)
    const next: Record<string, string> =
      found.continue === undefined ? {} : { [continueHeader]: encodeURIComponent(found.continue) }
    return { ...json(found.items), headers: next }
  }
}

/** `POST /api/v1/commands/{reset,refresh,drain}?peer=&soft=&undo=` */
async function commanded(run: Asked['run'], { pathname, searchParams: query }: URL): Promise<Reply> {
  const what = /^\/api\/v1\/commands\/([a-z]+)$/.exec(pathname)?.[1]
  const [peer, soft, undo] = ['peer', 'soft', 'undo'].map((key) => query.get(key))
  if (run === undefined || (what !== 'reset' && what !== 'refresh' && what !== 'drain'))
    return json({ error: { code: 'NOT_FOUND', message: `no such command: ${pathname}` } }, 404)
  const fault = misread(query, commandParameters[what])
  if (fault !== undefined) return fault
  if (what === 'drain') {
    if (undo !== undefined && undo !== null && undo !== 'true' && undo !== 'false')
      return badRequest('undo is true or false')
    return json(await run({ what, undo: undo === 'true' }))
  }
  if (peer === undefined || peer === null || peer === '') return badRequest('peer is needed: an address, an id or *')
  if (what === 'refresh') return json(await run({ what, peer }))
  if (soft !== undefined && soft !== null && soft !== 'in' && soft !== 'out') return badRequest('soft is in or out')
  return json(await run({ what: 'reset', peer, ...(soft === 'in' || soft === 'out' ? { soft } : {}) }))
}

function badRequest(message: string): Reply {
  return json({ error: { code: 'BAD_REQUEST', message } }, 400)
}
