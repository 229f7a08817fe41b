/** The command line's end of the API: over the agent's unix socket, or over HTTP with --server. */
import http from 'node:http'
import { HeraldError, messageOf } from '../errors.ts'

export interface ApiLocation {
  readonly socket: string
  /** `http://127.0.0.1:9472`; wins over the socket. */
  readonly server?: string | undefined
}

const deadlineMs = 10_000

/** The JSON at `path`. Throws ERR_AGENT_UNREACHABLE. */
export async function fetchJson<T>(location: ApiLocation, path: string): Promise<T> {
  const where = location.server ?? location.socket
  try {
    const { status, body } = await get(location, path)
    if (status !== 200) throw new HeraldError('ERR_AGENT_UNREACHABLE', `the agent answered ${status}: ${body.trim().slice(0, 200)}`)
    return JSON.parse(body) as T
  } catch (error) {
    if (error instanceof HeraldError) throw error
    throw new HeraldError('ERR_AGENT_UNREACHABLE', `cannot reach the agent at ${where}: ${messageOf(error)}`, { cause: error })
  }
}

function get({ socket, server }: ApiLocation, path: string): Promise<{ readonly status: number; readonly body: string }> {
  return new Promise((resolve, reject) => {
    const receive = (response: http.IncomingMessage): void => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }))
      response.on('error', reject)
    }
    const request = server === undefined ? http.get({ socketPath: socket, path }, receive) : http.get(new URL(path, server), receive)
    request.setTimeout(deadlineMs, () => request.destroy(new HeraldError('ERR_AGENT_UNREACHABLE', `no answer within ${deadlineMs / 1000} s`)))
    request.on('error', reject)
  })
}
