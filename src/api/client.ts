/**
 * The command line's end of the API: over the agent's unix socket, or over HTTP with --server.
 *
 * Answers are checked against shapes, not schemas: loading zod would cost every verb more time than asking the agent.
 */
import type { IncomingMessage } from 'node:http'
import { type ErrorCode, HeraldError, messageOf } from '../errors.ts'
import {
  commandShape,
  explainShape,
  fits,
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

/** An import of the module brings fetch and WebSocket along, which take as long as all of a command. */
const http = process.getBuiltinModule('node:http')

export interface ApiLocation {
  readonly socket: string
  /** `http://127.0.0.1:9472`; wins over the socket. */
  readonly server?: string | undefined
}

const deadlineMs = 10_000
/** A page of Services with hundreds of backends each. */
const maxBodyBytes = 64 * 1024 * 1024
const pageItems = 250

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

async function* fetchPages<T>(location: ApiLocation, path: string, shape: Shape): AsyncGenerator<readonly T[]> {
  let token: string | undefined
  do {
    const next = token === undefined ? '' : `&continue=${encodeURIComponent(token)}`
    const page: Page<T> = await fetchJson(location, `${path}limit=${pageItems}${next}`, { items: [shape] })
    yield page.items
    token = page.continue
  } while (token !== undefined)
}

/**
 * The JSON at `path`. Throws ERR_AGENT_UNREACHABLE when nobody answers, ERR_AGENT_ANSWER when the answer is a refusal
 * or no such thing.
 */
async function fetchJson<T>(location: ApiLocation, path: string, shape: Shape, method = 'GET'): Promise<T> {
  const { status, body } = await request(location, path, method)
  const value = parsed(body)
  if (status !== 200)
    throw new HeraldError(
      refusalCode(value),
      `the agent answered ${status}: ${refusal(value) ?? body.trim().slice(0, 200)}`,
    )
  const fault = fits(value, shape)
  if (fault !== undefined)
    throw new HeraldError(
      'ERR_AGENT_ANSWER',
      `what answers at ${location.server ?? location.socket} is no agent of this version: ${fault}`,
    )
  return value as T
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

const passedOn: readonly ErrorCode[] = ['ERR_BUSY', 'ERR_EXPIRED', 'ERR_NO_NEIGHBOR']

/** The agent's own code where its hint is one for who asks. */
function refusalCode(value: unknown): ErrorCode {
  const body = value as { readonly error?: { readonly code?: unknown } } | null | undefined
  return passedOn.find((code) => code === body?.error?.code) ?? 'ERR_AGENT_ANSWER'
}

function request(
  { socket, server }: ApiLocation,
  path: string,
  method: string,
): Promise<{ readonly status: number; readonly body: string }> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void =>
      reject(
        new HeraldError('ERR_AGENT_UNREACHABLE', `cannot reach the agent at ${server ?? socket}: ${messageOf(error)}`, {
          cause: error,
        }),
      )
    const receive = (response: IncomingMessage): void => {
      const chunks: Buffer[] = []
      let bytes = 0
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        chunks.push(chunk)
        if (bytes <= maxBodyBytes) return
        reject(new HeraldError('ERR_AGENT_ANSWER', `the answer is longer than ${maxBodyBytes} bytes`))
        asked.destroy()
      })
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }),
      )
      response.on('error', fail)
    }
    const asked =
      server === undefined
        ? http.request({ socketPath: socket, path, method, agent: false }, receive)
        : http.request(new URL(path, server), { method, agent: false }, receive)
    asked.setTimeout(deadlineMs, () =>
      asked.destroy(new HeraldError('ERR_AGENT_UNREACHABLE', `no answer within ${deadlineMs / 1000} s`)),
    )
    asked.on('error', fail)
    asked.end()
  })
}
