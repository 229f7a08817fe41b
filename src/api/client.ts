/**
 * The command line's end of the API: over the agent's unix socket, or over HTTP with --server.
 *
 * Answers are checked against shapes, not schemas: loading zod would cost every verb more time than asking the agent.
 */
import type { ClientRequest, IncomingMessage } from 'node:http'
import { StringDecoder } from 'node:string_decoder'
import type { Wait } from '../clock/clock.ts'
import { deadline } from '../clock/deadline.ts'
import { systemClock } from '../clock/system-clock.ts'
import { type ErrorCode, HeraldError, messageOf } from '../errors.ts'
import { formatFlowQuery } from './flow-query.ts'
import {
  commandShape,
  explainShape,
  fits,
  flowResponseShape,
  flowShape,
  lossShape,
  peerShape,
  routeShape,
  serviceShape,
  type Shape,
  statusShape,
} from './shape.ts'
import type {
  AgentCommand,
  CommandView,
  ExplainSubject,
  ExplainView,
  Page,
  PeerView,
  RoutesQuery,
  RouteView,
  ServiceView,
  StatusView,
} from './types.ts'
import type { FlowQuery, FlowResponse } from './flow-types.ts'

export interface ApiLocation {
  readonly socket: string
  /** `http://127.0.0.1:9472`; wins over the socket. */
  readonly server?: string | undefined
}

const deadlineMs = 10_000
/** A page of Services with hundreds of backends each. */
const maxBodyBytes = 64 * 1024 * 1024
const pageItems = 250
/** Of a list: all peers with a full table each. */
const maxPages = 100_000
/** Of an event. */
const maxLineCharacters = 1024 * 1024

export const fetchStatus = (location: ApiLocation): Promise<StatusView> =>
  fetchJson(location, '/api/v1/status', statusShape)
export const fetchPeers = (location: ApiLocation): Promise<readonly PeerView[]> =>
  fetchJson(location, '/api/v1/peers', [peerShape])
/** Page by page, as the agent gives them. */
export const fetchServices = (location: ApiLocation): AsyncGenerator<readonly ServiceView[]> =>
  fetchPages(location, '/api/v1/services?', serviceShape)
export const fetchRoutes = (location: ApiLocation, query: RoutesQuery): AsyncGenerator<readonly RouteView[]> =>
  fetchPages(location, `/api/v1/routes?${search(query)}&`, routeShape)
export const fetchExplain = (location: ApiLocation, subject: ExplainSubject): Promise<ExplainView> =>
  fetchJson(location, `/api/v1/explain?${search(subject)}`, explainShape)

const search = (query: RoutesQuery | ExplainSubject): string => new URLSearchParams({ ...query }).toString()

/** Over the socket only: HTTP takes no commands. */
export function sendCommand(socket: string, { what, ...words }: AgentCommand): Promise<CommandView> {
  const query = new URLSearchParams(Object.entries(words).map(([key, value]): [string, string] => [key, String(value)]))
  return fetchJson({ socket }, `/api/v1/commands/${what}?${query.toString()}`, commandShape, 'POST')
}

/**
 * Events of flows as they come, over the socket only; ends when the agent has no more. Throws as {@link fetchStatus}
 * does, and ERR_USAGE for a filter that means nothing.
 */
export async function* fetchFlows(socket: string, query: FlowQuery): AsyncGenerator<readonly FlowResponse[]> {
  const response = await opened({ socket }, `/api/v1/flows?${formatFlowQuery(query)}`, 'GET')
  if (response.statusCode !== 200) {
    const { status, body } = await received({ socket }, response)
    throw refusalOf({ socket }, status, body)
  }
  const decoder = new StringDecoder('utf8')
  let rest = ''
  try {
    for await (const chunk of response) {
      const lines = (rest + decoder.write(chunk as Buffer)).split('\n')
      rest = lines.pop() ?? ''
      if (rest.length > maxLineCharacters) throw new HeraldError('ERR_AGENT_ANSWER', 'a line without an end')
      yield lines.filter((line) => line !== '').map(flowResponse)
    }
  } catch (error) {
    if (error instanceof HeraldError) throw error
    throw unreachable({ socket }, error)
  }
}

function flowResponse(line: string): FlowResponse {
  const value = parsed(line)
  const fault = fits(value, flowResponseShape) ?? partFault(value as FlowResponse)
  if (fault === undefined) return value as FlowResponse
  throw new HeraldError('ERR_AGENT_ANSWER', `what answers is no agent of this version: ${fault}`)
}

/** Of what only some answers have. */
function partFault({ flow, lost_events: lost }: FlowResponse): string | undefined {
  if (flow !== undefined) return fits(flow, flowShape, 'answer.flow')
  return lost === undefined ? undefined : fits(lost, lossShape, 'answer.lost_events')
}

async function* fetchPages<T>(location: ApiLocation, path: string, shape: Shape): AsyncGenerator<readonly T[]> {
  let token: string | undefined
  for (let pages = 0; pages < maxPages; pages++) {
    const next = token === undefined ? '' : `&continue=${encodeURIComponent(token)}`
    const page: Page<T> = await fetchJson(location, `${path}limit=${pageItems}${next}`, { items: [shape] })
    yield page.items
    if (page.continue === undefined) return
    if (page.continue === token) break
    token = page.continue
  }
  throw new HeraldError('ERR_AGENT_ANSWER', 'a list without an end')
}

/**
 * The JSON at `path`. Throws ERR_AGENT_UNREACHABLE when nobody answers, ERR_AGENT_ANSWER when the answer is a refusal
 * or no such thing.
 */
async function fetchJson<T>(location: ApiLocation, path: string, shape: Shape, method = 'GET'): Promise<T> {
  const { status, body } = await request(location, path, method)
  const value = parsed(body)
  if (status !== 200) throw refusalOf(location, status, body)
  const fault = fits(value, shape)
  if (fault !== undefined)
    throw new HeraldError(
      'ERR_AGENT_ANSWER',
      `what answers at ${location.server ?? location.socket} is no agent of this version: ${fault}`,
    )
  return value as T
}

function refusalOf({ server, socket }: ApiLocation, status: number, body: string): HeraldError {
  const value = parsed(body)
  const text = refusal(value)
  if (text !== undefined) return new HeraldError(refusalCode(value), `the agent answered ${status}: ${text}`)
  // A page of whatever else listens there.
  const begin = body.trim().replaceAll(/\s+/g, ' ').slice(0, 100)
  return new HeraldError('ERR_AGENT_ANSWER', `what answers at ${server ?? socket} is no agent: ${status} ${begin}`)
}

function parsed(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    // Not JSON: has no shape, and is shown as text when it is a refusal.
    return undefined
  }
}

/** The message of `{"error": {"code", "message"}}`. */
function refusal(value: unknown): string | undefined {
  const body = value as { readonly error?: { readonly message?: unknown } } | null | undefined
  return typeof body?.error?.message === 'string' ? body.error.message : undefined
}

const passedOn: readonly ErrorCode[] = ['ERR_BUSY', 'ERR_EXPIRED', 'ERR_NO_NEIGHBOR', 'ERR_USAGE', 'ERR_NO_EVENTS']

/** The agent's own code where its hint is one for who asks. */
function refusalCode(value: unknown): ErrorCode {
  const body = value as { readonly error?: { readonly code?: unknown } } | null | undefined
  return passedOn.find((code) => code === body?.error?.code) ?? 'ERR_AGENT_ANSWER'
}

async function request(location: ApiLocation, path: string, method: string): Promise<Received> {
  return received(location, await opened(location, path, method))
}

interface Received {
  readonly status: number
  readonly body: string
}

function unreachable({ socket, server }: ApiLocation, error: unknown): HeraldError {
  const message = `cannot reach the agent at ${server ?? socket}: ${messageOf(error)}`
  return new HeraldError('ERR_AGENT_UNREACHABLE', message, { cause: error })
}

/** The answer once its head is there; it may take as long as something comes every {@link deadlineMs}. */
function opened(location: ApiLocation, path: string, method: string): Promise<IncomingMessage> {
  const { socket, server } = location
  // Loaded when something is asked: who becomes an agent asks nothing. An import of the module brings fetch and
  // WebSocket along, which take as long as all of a command.
  const http = process.getBuiltinModule('node:http')
  return new Promise((resolve, reject) => {
    const asked =
      server === undefined
        ? http.request({ socketPath: socket, path, method, agent: false }, resolve)
        : http.request(new URL(path, server), { method, agent: false }, resolve)
    endSilence(asked)
    asked.on('error', (error) => reject(unreachable(location, error)))
    asked.end()
  })
}

/** Gives up an agent that says nothing; not one whose answer waits for us to take it. */
function endSilence(asked: ClientRequest): void {
  let silence: Wait
  let response: IncomingMessage | undefined
  const listen = (): void => {
    const heard = asked.socket?.bytesRead ?? 0
    silence = deadline(systemClock, deadlineMs, () => {
      if ((asked.socket?.bytesRead ?? 0) !== heard || (response?.readableLength ?? 0) > 0) return listen()
      asked.destroy(new HeraldError('ERR_AGENT_UNREACHABLE', `no answer within ${deadlineMs / 1000} s`))
    })
  }
  listen()
  asked.once('response', (answer) => (response = answer))
  asked.once('close', () => silence.cancel())
}

/** The whole body. */
async function received(location: ApiLocation, response: IncomingMessage): Promise<Received> {
  const chunks: Buffer[] = []
  let bytes = 0
  try {
    for await (const chunk of response) {
      bytes += (chunk as Buffer).length
      if (bytes > maxBodyBytes)
        throw new HeraldError('ERR_AGENT_ANSWER', `the answer is longer than ${maxBodyBytes} bytes`)
      chunks.push(chunk as Buffer)
    }
  } catch (error) {
    if (error instanceof HeraldError && error.code === 'ERR_AGENT_ANSWER') throw error
    throw unreachable(location, error)
  }
  return { status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }
}
