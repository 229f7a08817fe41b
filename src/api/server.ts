/**
 * The API over a unix socket and, when asked, HTTP, where it only reads.
 *
 *     client --> connections.ts --> gate.ts --one request--> answers.ts --> lane.ts --> views
 *                (how many)         (one at a time)          (what)         (how much at once)
 *
 * Everything a client could overuse is bounded: header size, connections, time for a request and for its answer, what
 * is under way; bodies are refused. Socket and HTTP have a lane each: who floods the one does not lock out the other.
 *
 * The socket is what the command line needs, so without it there is no server. HTTP is for scraping and probes: when
 * its port is taken the agent goes on announcing, and `status` says so.
 */
import { lstatSync, rmSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import http from 'node:http'
import net from 'node:net'
import { dirname } from 'node:path'
import type { Duplex } from 'node:stream'
import { HeraldError, messageOf } from '../errors.ts'
import { makeFolder } from '../sys/folder.ts'
import { answer, notHttp, type Reply } from './answers.ts'
import { Connections, expectations, parserOptions, refuse } from './connections.ts'
import { Gate } from './gate.ts'
import { Lane } from './lane.ts'
import type { AgentCommand, AgentCommands, AgentViews, Caller, CommandView } from './types.ts'
import type { FlowSource } from './flow-types.ts'

export interface ApiServerOptions {
  readonly views: AgentViews
  readonly socket: string
  /** How often it is looked at whether the socket is still there, ms. */
  readonly lookMs?: number
  /** It was gone, and is there again. */
  readonly onSocketAgain?: () => void
  readonly http?: { readonly host: string; readonly port: number }
  /** Taken on the unix socket only. */
  readonly commands?: LocalCommands
  /** Shown on the unix socket only. */
  readonly flows?: FlowSource
}

export interface LocalCommands extends AgentCommands {
  /** Who is at the other end; undefined when nobody is any more. */
  callerOf(socket: net.Socket): Caller | undefined
}

export interface ApiServer {
  /** The port in use; undefined without HTTP. */
  readonly port: number | undefined
  /** Why there is no HTTP although it was asked for. */
  readonly problem: string | undefined
  close(): Promise<void>
}

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
  const local = await listeningSocket(createServer(views, options.commands, options.flows), options.socket).catch(
    async (error: unknown) => {
      await server?.close()
      throw new HeraldError('ERR_SYSCALL', `--socket ${options.socket}: ${messageOf(error)}`, { cause: error })
    },
  )
  const watch = watchSocket(local.listener, options)
  const address = server?.listener.address()
  return {
    port: typeof address === 'object' && address !== null ? address.port : undefined,
    problem,
    // Closing a listener removes its socket file.
    close: async () => {
      watch.end()
      await Promise.all([local.close(), server?.close()])
    },
  }
}

/** The listening server, or why there is none. */
async function listeningHttp(
  views: AgentViews,
  where: { readonly host: string; readonly port: number },
): Promise<Connections | string> {
  const server = createServer(views)
  return listening(server, () => server.listener.listen(where)).catch(
    (error: unknown) =>
      `no HTTP, so no metrics and no probes: ${messageOf(error)}. Free the port, or choose another with --http`,
  )
}

function listeningSocket(server: Connections, path: string): Promise<Connections> {
  return listening(server, () => listenAt(server.listener, path))
}

/** For its owner from the first moment on, whatever the umask of the process. */
function listenAt(listener: net.Server, path: string): void {
  const umask = process.umask(0o177)
  try {
    // Binding happens within this call.
    listener.listen({ path })
  } finally {
    process.umask(umask)
  }
}

/** Somebody may remove the socket, or its folder: nobody could ask the agent any more. Who is connected stays so. */
function watchSocket(
  listener: net.Server,
  { socket, lookMs = 10_000, onSocketAgain }: ApiServerOptions,
): { end(): void } {
  // Of an attempt that fails: the next look makes another one.
  listener.on('error', () => {})
  listener.on('listening', () => onSocketAgain?.())
  let isEnded = false
  const again = (): void => {
    try {
      makeFolder(dirname(socket))
      if (listener.listening) listener.close()
      listenAt(listener, socket)
    } catch {
      // A folder that cannot be made now may be later.
    }
  }
  let isLooking = false
  // One at a time: what the one before has made is not to be made once more.
  const look = (): void => {
    if (isLooking) return
    isLooking = true
    const missing = (error: NodeJS.ErrnoException): void => {
      if (!isEnded && error.code === 'ENOENT') again()
    }
    void stat(socket)
      .then(() => {}, missing)
      .finally(() => (isLooking = false))
  }
  const timer = setInterval(look, lookMs).unref()
  const end = (): void => {
    isEnded = true
    clearInterval(timer)
  }
  return { end }
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

function createServer(views: AgentViews, commands?: LocalCommands, flows?: FlowSource): Connections {
  const lane = new Lane<Reply>()
  const handle: http.RequestListener = (request, response) => {
    const gate = request.socket as Duplex
    if (!(gate instanceof Gate)) return void request.destroy()
    gate.requested()
    response.once('close', () => gate.answered())
    const run =
      commands === undefined
        ? undefined
        : async (command: AgentCommand): Promise<CommandView> => {
            const caller = commands.callerOf(gate.socket)
            if (caller === undefined) throw new HeraldError('ERR_SYSCALL', 'who gives the command is gone')
            return commands.run(command, caller)
          }
    void answer({ views, flows, run }, lane, request).then(({ status, type, body, isLast, headers, stream }) => {
      // What is streamed is worked on until its reader goes.
      if (stream === undefined) gate.answering()
      response.writeHead(status, {
        'content-type': type,
        'cache-control': 'no-store',
        ...(stream === undefined ? { 'content-length': Buffer.byteLength(body) } : {}),
        ...headers,
        ...(isLast === true ? { connection: 'close' } : {}),
      })
      if (stream === undefined) response.end(request.method === 'HEAD' ? undefined : body)
      else stream(response)
    })
  }
  const server = http.createServer(parserOptions, handle)
  for (const event of expectations) server.on(event, handle)
  server.on('clientError', (error, connection) => refuse(error, connection, notHttp))
  return new Connections(server)
}

/** A socket file that nobody answers on is what a killed agent left. Anything else at that path is left alone. */
async function clearStaleSocket(path: string): Promise<void> {
  try {
    makeFolder(dirname(path))
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

function listening(server: Connections, listen: () => void): Promise<Connections> {
  return new Promise((resolve, reject) => {
    const fail = (error: unknown): void => {
      void server.close()
      reject(error instanceof Error ? error : new HeraldError('ERR_SYSCALL', messageOf(error)))
    }
    server.listener.once('error', fail)
    server.listener.once('listening', () => {
      server.listener.off('error', fail)
      resolve(server)
    })
    listen()
  })
}
