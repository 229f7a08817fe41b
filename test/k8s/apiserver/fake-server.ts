/**
 * An API server that does what a real one will not do on demand: garbage, half answers, GOAWAY, silence. It keeps
 * objects of any kind in order of their versions, and a test may put a fault in front of any request.
 */
import { createSecureServer, type Http2SecureServer, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'
import { connect, createServer, type Server, type Socket } from 'node:net'
import type { Credentials } from '../../../src/k8s/apiserver/credentials.ts'
import type { RawObject } from '../../../src/k8s/source.ts'

/** Self-signed, of 127.0.0.1, good for a hundred years and for nothing but these tests. */
export const certificate = `-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIUB8VVXwR0VnWObgCNCLatEm/h5aAwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyOTAyNTkwNloYDzIxMjYxMTA1
MDI1OTA2WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATe43W+4En3uegYLgsuwe3XRwdWfjaPdoo5je/kBwwnZZJT8rMJqlT6
ye/0h/IxzfJzbOcp7Rpd0Etn/cB11Yyoo28wbTAdBgNVHQ4EFgQUmUO2J4ACY3Gt
jSO+EGQGxws9ruYwHwYDVR0jBBgwFoAUmUO2J4ACY3GtjSO+EGQGxws9ruYwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARhwR/AAABgglsb2NhbGhvc3QwCgYIKoZI
zj0EAwIDSAAwRQIhAIqrcQuoMTuQ8ffa8ZRCZIz7kUbUo957GaTpDA2Y5kakAiB6
sOIhTnk1q2PiV6LPxL8M0H8Hn4ugfB31Cyg7IW0TEA==
-----END CERTIFICATE-----
`
export const privateKey = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgY1Mw5v00Ent1KMuM
+jhhKmnnH4y931qhjQ1e/flPNqihRANCAATe43W+4En3uegYLgsuwe3XRwdWfjaP
doo5je/kBwwnZZJT8rMJqlT6ye/0h/IxzfJzbOcp7Rpd0Etn/cB11Yyo
-----END PRIVATE KEY-----
`

interface StoredObject {
  readonly metadata: Readonly<Record<string, unknown>> & { readonly name: string; readonly resourceVersion: string }
}

interface Watch {
  readonly path: string
  /** Of the one object that it is for, by its field selector. */
  readonly name: string | undefined
  /** Nothing up to this version is said. */
  readonly since: number
  readonly stream: ServerHttp2Stream
}

/** An event, kept for the watches that come later. */
interface Said {
  readonly path: string
  readonly name: string
  readonly version: number
  readonly line: string
}

export interface Request {
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: Readonly<Record<string, unknown>>
  readonly stream: ServerHttp2Stream
}

/** True: the request was dealt with. */
export type Fault = (request: Request) => boolean

export class FakeApiServer {
  readonly requests: { readonly path: string; readonly query: URLSearchParams }[] = []
  readonly sessions = new Set<ServerHttp2Session>()
  #server: Http2SecureServer | undefined
  readonly #objects = new Map<string, Map<string, StoredObject>>()
  readonly #watches = new Set<Watch>()
  #history: Said[] = []
  /** In front of the server, so that a connection can fall silent without an end. */
  #front: Server | undefined
  readonly #pipes: (readonly [Socket, Socket])[] = []
  #version = 100
  /** Watches from before this version are answered 410. */
  compactedAt = 0
  fault: Fault = () => false
  /** How often fresh credentials were asked for. */
  renewals = 0

  async start(): Promise<Credentials> {
    const server = createSecureServer({ key: privateKey, cert: certificate })
    this.#server = server
    server.on('session', (session) => {
      this.sessions.add(session)
      session.on('error', () => undefined)
      session.on('close', () => this.sessions.delete(session))
    })
    server.on('stream', (stream, headers) => {
      stream.on('error', () => undefined)
      const url = new URL(String(headers[':path']), 'https://127.0.0.1')
      this.requests.push({ path: url.pathname, query: url.searchParams })
      const request = { path: url.pathname, query: url.searchParams, headers, stream }
      if (!this.fault(request)) this.#answer(request)
    })
    const behind = await listening(server)
    this.#front = createServer((near) => {
      const far = connect(behind, '127.0.0.1')
      for (const socket of [near, far]) socket.on('error', () => undefined)
      near.pipe(far).pipe(near)
      this.#pipes.push([near, far])
    })
    const port = await listening(this.#front)
    return {
      server: new URL(`https://127.0.0.1:${port}`),
      detail: 'a test',
      headers: async () => ({ authorization: `Bearer test-${this.renewals}` }),
      tls: async () => ({ ca: certificate }),
      judged: () => undefined,
      renew: (why = 'refused') => {
        if (why === 'refused') this.renewals++
      },
    }
  }

  /** Nothing passes on the connections that there are, and nobody says so. */
  silence(): void {
    for (const pair of this.#pipes)
      for (const socket of pair) {
        socket.unpipe()
        socket.pause()
      }
  }

  async stop(): Promise<void> {
    for (const session of this.sessions) session.destroy()
    for (const socket of this.#pipes.flat()) socket.destroy()
    await new Promise((resolve) => this.#front?.close(resolve))
    await new Promise((resolve) => this.#server?.close(resolve))
  }

  /** A path exists from its first object on, or from {@link serve}. */
  serve(path: string): void {
    if (!this.#objects.has(path)) this.#objects.set(path, new Map())
  }

  /** The custom resource is deleted. */
  unserve(path: string): void {
    this.#objects.delete(path)
    for (const watch of this.#watches) if (watch.path === path) watch.stream.end()
  }

  put(path: string, name: string, fields: { readonly uid?: string; readonly [key: string]: unknown } = {}): void {
    const { uid = `uid-${name}`, ...spec } = fields
    this.store(path, { metadata: { name, namespace: 'default', uid, managedFields: [{}] }, spec })
  }

  /** A whole object; it gets a version where it has none. */
  store(path: string, { metadata, ...rest }: RawObject): void {
    this.serve(path)
    const given = metadata as StoredObject['metadata']
    const { resourceVersion = String(++this.#version) } = given
    this.#version = Math.max(this.#version, Number(resourceVersion))
    const isNew = this.#objects.get(path)?.has(given.name) !== true
    const object = { ...rest, metadata: { ...given, resourceVersion } }
    this.#objects.get(path)?.set(given.name, object)
    this.#tell(path, isNew ? 'ADDED' : 'MODIFIED', object)
  }

  delete(path: string, name: string): void {
    const object = this.#objects.get(path)?.get(name)
    if (object === undefined) return
    this.#objects.get(path)?.delete(name)
    this.#version++
    this.#tell(path, 'DELETED', { ...object, metadata: { ...object.metadata, resourceVersion: String(this.#version) } })
  }

  /** Without telling anybody: what a watch that was cut missed. */
  forget(path: string, name: string): void {
    this.#objects.get(path)?.delete(name)
    this.#version++
  }

  /** A line to every watch of a path. */
  say(path: string, line: string): void {
    for (const watch of this.#watches) if (watch.path === path) watch.stream.write(line)
  }

  endWatches(): void {
    for (const { stream } of this.#watches) stream.end()
  }

  isEmpty(path: string): boolean {
    return (this.#objects.get(path)?.size ?? 0) === 0
  }

  /** To this version, as by changes of other kinds. Back: as restored from a backup of then. */
  setVersion(version: number): void {
    this.#version = version
    this.#history = this.#history.filter((said) => said.version <= version)
    for (const objects of this.#objects.values())
      for (const [name, { metadata }] of objects) if (Number(metadata.resourceVersion) > version) objects.delete(name)
  }

  watches(path: string): number {
    return [...this.#watches].filter((watch) => watch.path === path).length
  }

  lists(path: string): number {
    return this.requests.filter(
      ({ path: asked, query }) => asked === path && !query.has('watch') && query.get('limit') !== '1',
    ).length
  }

  #tell(path: string, type: string, object: StoredObject): void {
    const line = `${JSON.stringify({ type, object: { kind: 'Any', ...object } })}\n`
    const { name, resourceVersion } = object.metadata
    const said = { path, name, version: Number(resourceVersion), line }
    this.#history.push(said)
    for (const { stream, ...watch } of this.#watches) if (isFor(said, watch)) stream.write(line)
  }

  #answer({ path, query, stream }: Request): void {
    const objects = this.#objects.get(path)
    if (objects === undefined) return status(stream, 404, 'the server could not find the requested resource')
    const name = nameIn(query)
    const since = Number(query.get('resourceVersion') ?? 0)
    if (query.get('watch') === '1') {
      if (since < this.compactedAt) return status(stream, 410, 'too old resource version')
      stream.respond({ ':status': 200, 'content-type': 'application/json' })
      const watch = { path, name, since, stream }
      this.#watches.add(watch)
      stream.on('close', () => this.#watches.delete(watch))
      for (const said of this.#history) if (isFor(said, watch)) stream.write(said.line)
      return
    }
    if (query.get('resourceVersionMatch') === 'NotOlderThan' && since > this.#version)
      return status(stream, 504, `Too large resource version: ${since}, current: ${this.#version}`)
    const all = [...objects.values()].filter(({ metadata }) => (name ?? metadata.name) === metadata.name)
    const from = Number(query.get('continue') ?? 0)
    const limit = Number(query.get('limit') ?? all.length) || all.length
    const more = from + limit < all.length ? String(from + limit) : ''
    const metadata = { resourceVersion: String(this.#version), continue: more }
    stream.respond({ ':status': 200, 'content-type': 'application/json' })
    stream.end(JSON.stringify({ kind: 'List', metadata, items: all.slice(from, from + limit) }))
  }
}

function isFor(said: Omit<Said, 'line'>, watch: Omit<Watch, 'stream'>): boolean {
  return said.version > watch.since && said.path === watch.path && (watch.name ?? said.name) === said.name
}

/** Of the field selector `metadata.name=NAME`; undefined: every object. */
function nameIn(query: URLSearchParams): string | undefined {
  return query.get('fieldSelector')?.replace('metadata.name=', '')
}

/** The port on which it listens from now on. */
export async function listening(server: Pick<Server, 'listen' | 'address'>): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}

export function status(stream: ServerHttp2Stream, code: number, message: string, headers = {}): void {
  stream.respond({ ':status': code, 'content-type': 'application/json', ...headers })
  stream.end(JSON.stringify({ kind: 'Status', code, message }))
}
