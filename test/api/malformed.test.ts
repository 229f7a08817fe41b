/**
 * Every path of the API in every way in which a request can be wrong, over HTTP and over the socket: refused in words,
 * with nothing done, and the next one is answered.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, test } from 'node:test'
import { createApiServer, type ApiServer } from '../../src/api/server.ts'
import type { AgentCommand, AgentViews } from '../../src/api/types.ts'
import type { FlowQuery } from '../../src/api/flow-types.ts'
import { memoryViews } from './memory-views.ts'

/** Reached: names of views, commands, and observers. */
const reached: string[] = []
const known = memoryViews()

function noted<T>(name: string, answer: T): T {
  reached.push(name)
  return answer
}

const views: AgentViews = {
  ...known,
  status: () => noted('status', known.status()),
  peers: () => noted('peers', known.peers()),
  routes: (...asked) => noted('routes', known.routes(...asked)),
  services: (page) => noted('services', known.services(page)),
  explain: (subject) => noted('explain', known.explain(subject)),
  metrics: () => noted('metrics', known.metrics()),
}

type Way = 'http' | 'socket'
const ways: readonly Way[] = ['http', 'socket']
const folder = mkdtempSync(join(tmpdir(), 'herald-malformed-'))
const socket = join(folder, 'herald.sock')
let server: ApiServer

before(async () => {
  const run = async (command: AgentCommand) => {
    reached.push(command.what)
    return { ...command, applied: [], refused: [] }
  }
  const observe = (_query: FlowQuery, sink: { end(): void }): (() => void) => {
    reached.push('flows')
    setImmediate(() => sink.end())
    return () => {}
  }
  server = await createApiServer({
    views,
    socket,
    http: { host: '127.0.0.1', port: 0 },
    commands: { run, callerOf: () => ({ pid: 1, uid: 0, gid: 0 }) },
    flows: { observe },
  })
})
afterEach(() => void reached.splice(0))
after(async () => {
  await server.close()
  rmSync(folder, { recursive: true })
})

interface Endpoint {
  readonly method: 'GET' | 'POST'
  readonly path: string
  /** What it does when it is asked properly; absent: nothing that is counted. */
  readonly does?: string
  /** The words that it knows; absent: those of others are nothing to it. */
  readonly words?: readonly string[]
  /** Over the socket only. */
  readonly isLocal?: boolean
}

const paging = ['limit=5', 'continue=1']
const endpoints: readonly Endpoint[] = [
  { method: 'GET', path: '/healthz' },
  { method: 'GET', path: '/readyz' },
  { method: 'GET', path: '/metrics', does: 'metrics' },
  { method: 'GET', path: '/api/v1/status', does: 'status', words: [] },
  { method: 'GET', path: '/api/v1/peers', does: 'peers', words: [] },
  { method: 'GET', path: '/api/v1/services', does: 'services', words: paging },
  {
    ...{ method: 'GET', path: '/api/v1/routes', does: 'routes' },
    words: ['table=received', 'family=ipv6-unicast', 'peer=192.0.2.1', ...paging],
  },
  { method: 'GET', path: '/api/v1/explain?kind=peer&name=x', does: 'explain', words: ['kind=route', 'name=y'] },
  { method: 'GET', path: '/api/v1/flows', does: 'flows', words: ['follow=true'], isLocal: true },
  {
    ...{ method: 'POST', path: '/api/v1/commands/reset?peer=*', does: 'reset', isLocal: true },
    words: ['soft=in', 'peer=x'],
  },
  { method: 'POST', path: '/api/v1/commands/refresh?peer=*', does: 'refresh', words: ['peer=x'], isLocal: true },
  { method: 'POST', path: '/api/v1/commands/drain', does: 'drain', words: ['undo=true'], isLocal: true },
]

interface Answer {
  readonly status: number
  readonly head: string
  readonly body: string
}

/** The first answer to these octets, read until the server ends; our own side ends behind them. */
function exchange(way: Way, octets: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    let text = ''
    const done = (): void => {
      const [head = '', ...body] = text.split('\r\n\r\n')
      resolve({ status: Number(/^HTTP\/1\.1 (\d+)/.exec(head)?.[1] ?? 0), head, body: body.join('\r\n\r\n') })
    }
    const connection = net.connect(
      way === 'http' ? { port: server.port ?? 0, host: '127.0.0.1' } : { path: socket },
      () => connection.end(octets, 'latin1'),
    )
    connection.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')))
    connection.on('error', reject)
    connection.on('close', done)
  })
}

const request = (method: string, path: string, ...headers: readonly string[]): string =>
  `${[`${method} ${path} HTTP/1.1`, 'Host: herald', ...headers].join('\r\n')}\r\n\r\n`
const withWord = (path: string, word: string): string => `${path}${path.includes('?') ? '&' : '?'}${word}`
const isThere = ({ isLocal }: Endpoint, way: Way): boolean => isLocal !== true || way === 'socket'

/** What comes of a request that must come to nothing. */
async function refused(way: Way, octets: string, wanted: number | readonly number[], what: string): Promise<void> {
  const answer = await exchange(way, octets)
  assert.ok([wanted].flat().includes(answer.status), `${way} ${what}: ${answer.status} ${answer.body}`)
  assert.deepEqual(reached, [], `${way} ${what}`)
  const { error } = JSON.parse(answer.body)
  assert.match(error.code, /^[A-Z_]+$/, what)
  assert.ok(error.message.length > 5, what)
  assert.equal((await exchange(way, request('GET', '/healthz', 'Connection: close'))).body, 'ok\n')
}

for (const endpoint of endpoints) {
  const { method, path, does, words } = endpoint

  test(`${path} does what it is for where it is served, and is no path where it is not`, async () => {
    for (const way of ways) {
      const { status, head } = await exchange(way, request(method, path))
      if (isThere(endpoint, way)) {
        assert.deepEqual([status, reached.splice(0)], [200, does === undefined ? [] : [does]], way)
        assert.match(head, /cache-control: no-store/i)
      } else assert.deepEqual([status, reached], [method === 'POST' ? 405 : 404, []], way)
    }
  })

  test(`${path} with another method is refused, and changes nothing`, async () => {
    for (const way of ways) {
      const isCommand = method === 'POST'
      for (const other of ['PUT', 'DELETE', 'PATCH', 'OPTIONS'])
        await refused(way, request(other, path), 405, `${other} ${path}`)
      if (isCommand) await refused(way, request('GET', path), 404, `GET ${path}`)
      else await refused(way, request('POST', path), way === 'http' ? 405 : 404, `POST ${path}`)
    }
  })

  test(`${path} with a body is refused before the body is read`, async () => {
    for (const way of ways) {
      const wanted = method === 'POST' && way === 'http' ? 405 : 413
      await refused(way, `${request(method, path, 'Content-Length: 5')}hello`, wanted, 'with a length')
      const chunked = `${request(method, path, 'Transfer-Encoding: chunked')}5\r\nhello\r\n0\r\n\r\n`
      await refused(way, chunked, wanted, 'in chunks')
      await refused(way, request(method, path, 'Content-Length: 5', 'Expect: 100-continue'), wanted, 'announced')
    }
  })

  test(`${path} written otherwise is another path`, async () => {
    const [bare = '', query] = path.split('?')
    const rest = query === undefined ? '' : `?${query}`
    for (const way of ways.filter((each) => isThere(endpoint, each)))
      for (const other of [`${bare}/`, bare.toUpperCase(), `${bare}%00`, `/x/..${bare}x`, bare.replace(/.$/, '%2f')])
        await refused(way, request(method, `${other}${rest}`), 404, other)
  })

  test(`${path} behind two slashes, a name of a server or nothing at all is no target`, async () => {
    for (const way of ways.filter((each) => isThere(endpoint, each)))
      for (const target of [`/${path}`, `http://herald${path}`, `*`, path.slice(1)])
        await refused(way, request(method, target), 400, target)
  })

  test(`${path} takes the words that it knows, once each, and refuses any other`, async () => {
    if (words === undefined) {
      // Who scrapes may have words of its own.
      assert.equal((await exchange('http', request(method, withWord(path, 'verbose')))).status, 200)
      return
    }
    for (const way of ways.filter((each) => isThere(endpoint, each))) {
      for (const word of ['nope=1', 'nope', '=1', 'Peer=*', 'limit[]=1', '%00=1'])
        await refused(way, request(method, withWord(path, word)), 400, word)
      for (const word of words) {
        const twice = withWord(withWord(path, word), word)
        await refused(way, request(method, twice), 400, twice)
      }
    }
  })
}

test('a request that HTTP does not allow is refused whatever path it names', async () => {
  const wrong: readonly (readonly [string, (method: string, path: string) => string, number | readonly number[]])[] = [
    ['no Host (RFC 9112 3.2)', (method, path) => `${method} ${path} HTTP/1.1\r\n\r\n`, 400],
    ['a header without a colon', (method, path) => request(method, path, 'nonsense'), 400],
    ['a blank before the colon (RFC 9112 5.1)', (method, path) => request(method, path, 'X : y'), 400],
    [
      'two lengths (RFC 9112 6.3)',
      (method, path) => request(method, path, 'Content-Length: 1', 'Content-Length: 2'),
      400,
    ],
    [
      'a length and chunks (RFC 9112 6.3)',
      (method, path) => request(method, path, 'Content-Length: 1', 'Transfer-Encoding: chunked'),
      400,
    ],
    ['an odd encoding', (method, path) => request(method, path, 'Transfer-Encoding: gzip'), [400, 413]],
    ['a head of 9 KB', (method, path) => request(method, path, `X: ${'x'.repeat(9_000)}`), 431],
    ['a target of 9 KB', (method, path) => request(method, withWord(path, 'x'.repeat(9_000))), 431],
    ['another protocol', (method, path) => `${method} ${path} HTTP/3.7\r\nHost: x\r\n\r\n`, 400],
    ['a control character', (method, path) => request(method, path, 'X: a\u0001b'), 400],
  ]
  for (const { method, path } of endpoints)
    for (const way of ways)
      for (const [what, octets, wanted] of wrong) {
        const status = method === 'POST' && way === 'http' && what === 'an odd encoding' ? [400, 405] : wanted
        await refused(way, octets(method, path), status, `${what}: ${path}`)
      }
})

test('a request of HTTP/1.0 needs no Host, and one that expects something odd is answered like any other', async () => {
  for (const way of ways) {
    assert.equal((await exchange(way, 'GET /healthz HTTP/1.0\r\n\r\n')).body, 'ok\n')
    for (const expectation of ['100-continue', 'the moon'])
      assert.equal((await exchange(way, request('GET', '/healthz', `Expect: ${expectation}`))).body, 'ok\n')
  }
})

test('HEAD of what is read is its answer without a body, and of anything else it is no answer', async () => {
  for (const endpoint of endpoints)
    for (const way of ways) {
      const { status, body } = await exchange(way, request('HEAD', endpoint.path))
      const isRead = endpoint.method === 'GET' && endpoint.isLocal !== true
      assert.deepEqual([status, body], [isRead ? 200 : 404, ''], `${way} ${endpoint.path}`)
      reached.splice(0)
    }
})

test('a value that means nothing is refused with the words that there are', async () => {
  const wrong: readonly (readonly [string, RegExp])[] = [
    ['routes?table=all', /available, advertised or received/],
    ['routes?table=', /available, advertised or received/],
    ['routes?family=ipv4', /ipv4-unicast or ipv6-unicast/],
    ['routes?limit=0', /from 1 on/],
    ['routes?limit=1.5', /from 1 on/],
    ['routes?limit=%2B1', /from 1 on/],
    ['services?limit=-1', /from 1 on/],
    ['services?limit=1000000000', /from 1 on/],
    ['services?continue=', /what the page before said/],
    ['explain?kind=pod&name=x', /service, route or peer/],
    ['explain?name=x', /service, route or peer/],
    ['explain?kind=peer', /name is needed/],
    ['explain?kind=peer&name=', /name is needed/],
  ]
  for (const [path, said] of wrong) {
    const { status, body } = await exchange('http', request('GET', `/api/v1/${path}`))
    assert.equal(status, 400, path)
    assert.match(JSON.parse(body).error.message, said, path)
  }
  for (const [path, said] of [
    ['reset', /peer is needed/],
    ['reset?peer=', /peer is needed/],
    ['reset?peer=*&soft=both', /in or out/],
    ['reset?peer=*&soft=', /in or out/],
    ['refresh', /peer is needed/],
    ['drain?undo=yes', /true or false/],
    ['drain?undo=', /true or false/],
  ] as const) {
    const { status, body } = await exchange('socket', request('POST', `/api/v1/commands/${path}`))
    assert.equal(status, 400, path)
    assert.match(JSON.parse(body).error.message, said, path)
  }
  assert.deepEqual(reached, [])
})
