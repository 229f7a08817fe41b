/** What load balancers ask a node in the place of kube-proxy: answered in few words, whoever asks and however. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import { type TestContext, test } from 'node:test'
import { HealthChecks, type HealthCheckParts } from '../../src/api/health-checks.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import { waitFor } from '../wait.ts'

interface Reply {
  readonly status: number | undefined
  readonly headers: http.IncomingHttpHeaders
  readonly body: unknown
}

const clock = new VirtualClock()

/** A port that nobody has, below those that the kernel gives to others meanwhile. */
async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 10_000)
    const server = net.createServer()
    const isFree = await new Promise((resolve) => {
      server.once('error', () => resolve(false))
      server.listen(port, () => resolve(true))
    })
    if (isFree !== true) continue
    server.close()
    await once(server, 'close')
    return port
  }
}

function checks(t: TestContext, more: Partial<HealthCheckParts> = {}): HealthChecks {
  const made = new HealthChecks({
    clock,
    isHealthy: () => true,
    isEligible: () => true,
    addresses: () => ['127.0.0.1'],
    ...more,
  })
  t.after(() => made.close())
  return made
}

async function ask(port: number, path = '/', method = 'GET', host = '127.0.0.1'): Promise<Reply> {
  const request = http.request({ host, port, path, method, agent: false }).end()
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  let text = ''
  for await (const chunk of response.setEncoding('utf8')) text += String(chunk)
  return { status: response.statusCode, headers: response.headers, body: text === '' ? undefined : JSON.parse(text) }
}

const isOpen = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const connection = net.connect(port, '127.0.0.1', () => {
      connection.destroy()
      resolve(true)
    })
    connection.once('error', () => resolve(false))
  })

const opened = (port: number): Promise<true> =>
  waitFor(`port ${port} answers`, async () => ((await isOpen(port)) ? true : undefined))
const closed = (port: number): Promise<true> =>
  waitFor(`port ${port} is closed`, async () => ((await isOpen(port)) ? undefined : true))

test('a Service with ready pods here answers 200 with their number, one without 503, in the words of kube-proxy', async (t) => {
  const [made, port] = [checks(t), await freePort()]
  made.want('shop/web', { port, localEndpoints: 2 })
  await opened(port)
  const yes = await ask(port)
  assert.deepEqual(
    [yes.status, yes.headers['x-load-balancing-endpoint-weight'], yes.headers['content-type']],
    [200, '2', 'application/json'],
  )
  assert.equal(yes.headers['x-content-type-options'], 'nosniff')
  const service = { namespace: 'shop', name: 'web' }
  assert.deepEqual(yes.body, { service, localEndpoints: 2, serviceProxyHealthy: true })
  made.want('shop/web', { port, localEndpoints: 0 })
  const no = await ask(port, '/anything')
  assert.deepEqual([no.status, no.headers['x-load-balancing-endpoint-weight']], [503, '0'])
  assert.deepEqual((await ask(port, '/', 'HEAD')).body, undefined)
  made.want('shop/web', undefined)
  await closed(port)
})

test('a node that serves nothing is no place for packets, whatever pods it has', async (t) => {
  const port = await freePort()
  checks(t, { isHealthy: () => false }).want('shop/web', { port, localEndpoints: 3 })
  await opened(port)
  const { status, body } = await ask(port)
  assert.deepEqual([status, (body as { serviceProxyHealthy: boolean }).serviceProxyHealthy], [503, false])
})

test('at an address that has no node ports nobody is answered', async (t) => {
  const port = await freePort()
  checks(t, { addresses: () => ['192.0.2.1'] }).want('shop/web', { port, localEndpoints: 1 })
  await opened(port)
  await assert.rejects(ask(port), { code: 'ECONNRESET' })
})

test('10256 is answered in the place of kube-proxy alone: /healthz asks for the node, too, /livez does not', async (t) => {
  const proxyPort = await freePort()
  let [isHealthy, isEligible] = [true, true]
  const parts = { proxyPort, isHealthy: () => isHealthy, isEligible: () => isEligible, addresses: () => [] }
  const made = checks(t, parts)
  assert.equal(await isOpen(proxyPort), false)
  made.setOn(true)
  await opened(proxyPort)
  const said = async (): Promise<readonly unknown[]> => [
    (await ask(proxyPort, '/healthz')).status,
    (await ask(proxyPort, '/livez?verbose')).status,
  ]
  assert.deepEqual(await said(), [200, 200])
  isEligible = false
  assert.deepEqual(await said(), [503, 200])
  assert.deepEqual((await ask(proxyPort, '/healthz')).body, {
    lastUpdated: new Date(clock.now()).toISOString(),
    currentTime: new Date(clock.now()).toISOString(),
    nodeEligible: false,
  })
  isHealthy = false
  assert.deepEqual(await said(), [503, 503])
  made.setOn(false)
  await closed(proxyPort)
})

test('a port that something else has is named, and answered when it is free', async (t) => {
  const port = await freePort()
  const other = net.createServer().listen(port)
  t.after(() => other.close())
  await once(other, 'listening')
  const turned = new VirtualClock()
  const made = checks(t, { clock: turned })
  made.want('shop/web', { port, localEndpoints: 1 })
  const [problem] = await waitFor('it is said', () => {
    const problems = made.problems()
    return Promise.resolve(problems.length > 0 ? problems : undefined)
  })
  assert.match(problem ?? '', new RegExp(`port ${port}: .*EADDRINUSE`))
  other.close()
  await once(other, 'close')
  turned.advance(5_000)
  await opened(port)
  assert.equal((await ask(port)).status, 200)
  assert.deepEqual(made.problems(), [])
})

test('of two Services of a folder with one port the first by name is told of, then the other', async (t) => {
  const [made, port] = [checks(t), await freePort()]
  made.want('shop/b', { port, localEndpoints: 0 })
  made.want('shop/a', { port, localEndpoints: 7 })
  await opened(port)
  const nameOf = async (): Promise<unknown> => ((await ask(port)).body as { service: { name: string } }).service.name
  assert.equal(await nameOf(), 'a')
  made.want('shop/a', undefined)
  assert.equal(await nameOf(), 'b')
  made.want('shop/b', { port: await freePort(), localEndpoints: 0 })
  await closed(port)
})

test('who holds connections open, sends no request or thousands at once keeps nobody else from an answer', async (t) => {
  const [made, port] = [checks(t), await freePort()]
  made.want('shop/web', { port, localEndpoints: 1 })
  await opened(port)
  const held = Array.from({ length: 40 }, () => net.connect(port, '127.0.0.1').on('error', () => {}))
  t.after(() => held.forEach((each) => each.destroy()))
  await Promise.all(held.slice(0, 8).map((each) => (each.connecting ? once(each, 'connect') : undefined)))
  held[3]?.write('GET / HTTP/1.1\r\nhost: a\r\n')
  held[5]?.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n'.repeat(2_000))
  held[6]?.write('\0\u0016\u0003 nothing of HTTP\r\n\r\n')
  const answered = await waitFor('a probe is answered', () => ask(port).catch(() => undefined))
  assert.equal(answered.status, 200)
})

test('who holds connections to every port is let have a bounded number of them all, and a probe is answered', async (t) => {
  const [made, ports] = [checks(t), new Set<number>()]
  while (ports.size < 40) ports.add(await freePort())
  for (const port of ports) made.want(`shop/${port}`, { port, localEndpoints: 1 })
  let ended = 0
  const hold = async (port: number): Promise<net.Socket> => {
    await opened(port)
    const socket = net.connect(port, '127.0.0.1').on('error', () => {})
    socket.once('close', () => ended++).write('GET / HTTP/1.1\r\nhost: a\r\n')
    return socket
  }
  const held: net.Socket[] = []
  for (const port of ports) for (let n = 0; n < 15; n++) held.push(await hold(port))
  t.after(() => held.forEach((each) => each.destroy()))
  await waitFor('those beyond 512 have to go', () => (held.length - ended <= 512 ? true : undefined))
  const [port = 0] = ports
  assert.equal((await ask(port)).status, 200)
})
