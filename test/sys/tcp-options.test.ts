/** What the kernel does with the options of BGP's sockets, on the loopback: GTSM, TTL, keys, source, device, DSCP. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import net from 'node:net'
import { test, type TestContext } from 'node:test'
import koffi from 'koffi'
import { type Address, parseAddress } from '../../src/ip/address.ts'
import {
  type BgpSocketOptions,
  createDialSocket,
  createListenFd,
  prepareAccepted,
  setListenKey,
  setUserTimeout,
  unwrittenBytes,
} from '../../src/sys/tcp-socket.ts'
import { waitFor } from '../wait.ts'

const getsockopt = koffi
  .load('libc.so.6')
  .func('int getsockopt(int fd, int level, int name, _Out_ uint8_t *value, _Inout_ uint32_t *length)')

const at = (text: string): Address => parseAddress(text) ?? assert.fail(text)

function fdOf(socket: net.Socket): number {
  return (socket as net.Socket & { readonly _handle: { readonly fd: number } })._handle.fd
}

/** An option as the kernel has it. */
function option(socket: net.Socket, level: number, name: number): number {
  const value = Buffer.alloc(4)
  assert.equal(getsockopt(fdOf(socket), level, name, value, [4]), 0)
  return value.readInt32LE(0)
}

interface Listener {
  readonly port: number
  readonly fd: number
  readonly accepted: net.Socket[]
}

async function listen(t: TestContext, host: string, prepare?: (socket: net.Socket) => void): Promise<Listener> {
  const fd = createListenFd(at(host), 0)
  const accepted: net.Socket[] = []
  const server = net.createServer((socket) => {
    prepare?.(socket)
    socket.on('error', () => {})
    accepted.push(socket)
  })
  server.listen({ fd })
  await once(server, 'listening')
  t.after(() => {
    for (const socket of accepted) socket.destroy()
    server.close()
  })
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  return { port: address.port, fd, accepted }
}

function dial(t: TestContext, port: number, host: string, options: Omit<BgpSocketOptions, 'peer'>): net.Socket {
  const socket = createDialSocket({ peer: at(host), ...options })
  socket.on('error', () => {})
  t.after(() => socket.destroy())
  return socket.connect(port, host)
}

const failureOf = async (socket: net.Socket): Promise<string | undefined> => {
  const [error] = await once(socket, 'error').catch((thrown: unknown) => [thrown])
  return (error as NodeJS.ErrnoException).code
}

test('TTL, GTSM, DSCP CS6 and the user timeout are on the socket before it connects, of either family', (t) => {
  const of = (peer: string): net.Socket => {
    const socket = createDialSocket({ peer: at(peer), ttl: 7, minTtl: 254, userTimeoutMs: 12_345 })
    t.after(() => socket.destroy())
    return socket
  }
  // IP_TTL, IP_MINTTL, IP_TOS; IPV6_UNICAST_HOPS, IPV6_MINHOPCOUNT, IPV6_TCLASS; TCP_USER_TIMEOUT.
  const [four, six] = [of('192.0.2.1'), of('2001:db8::1')]
  assert.deepEqual(
    [2, 21, 1].map((name) => option(four, 0, name)),
    [7, 254, 0xc0],
  )
  assert.deepEqual(
    [16, 73, 67].map((name) => option(six, 41, name)),
    [7, 254, 0xc0],
  )
  assert.deepEqual([option(four, 6, 18), option(six, 6, 18)], [12_345, 12_345])
})

test('a TTL that is none is refused with the call, and no socket is left', () => {
  const open = (): number => readdirSync('/proc/self/fd').length
  const before = open()
  for (const [peer, options] of [
    ['192.0.2.1', { ttl: 256 }],
    ['192.0.2.1', { ttl: 1, minTtl: 256 }],
    ['2001:db8::1', { ttl: 256 }],
    ['2001:db8::1', { ttl: 1, minTtl: -1 }],
  ] as const)
    assert.throws(() => createDialSocket({ peer: at(peer), ...options }), { code: 'ERR_SYSCALL', errno: 'EINVAL' })
  assert.equal(open(), before)
})

test('an accepted connection gets the options of its peer, also an IPv4 one of a listener of both families', async (t) => {
  for (const [host, peer] of [
    ['::', '127.0.0.1'],
    ['::', '::1'],
    ['127.0.0.1', '127.0.0.1'],
  ] as const) {
    const { port, accepted } = await listen(t, host, (socket) =>
      prepareAccepted(socket, { peer: at(peer), ttl: 9, minTtl: 200 }),
    )
    const dialled = dial(t, port, peer, { ttl: 255 })
    await once(dialled, 'connect')
    const [socket] = await waitFor('a connection', () => accepted.length > 0 && accepted)
    assert.ok(socket)
    const names = peer.includes(':') ? ([41, 16, 73] as const) : ([0, 2, 21] as const)
    assert.deepEqual([option(socket, names[0], names[1]), option(socket, names[0], names[2])], [9, 200], host + peer)
    setUserTimeout(socket, 4_321)
    assert.equal(option(socket, 6, 18), 4_321)
  }
})

test('GTSM: what an accepted peer sends with a smaller TTL is not heard (RFC 5082 3)', async (t) => {
  const { port, accepted } = await listen(t, '127.0.0.1', (socket) =>
    prepareAccepted(socket, { peer: at('127.0.0.1'), ttl: 255, minTtl: 255 }),
  )
  const texts = async (ttl: number): Promise<() => string> => {
    const before = accepted.length
    const socket = dial(t, port, '127.0.0.1', { ttl })
    await once(socket, 'connect')
    const [heard] = await waitFor('a connection', () => accepted.length > before && accepted.slice(-1))
    let text = ''
    heard?.on('data', (chunk: Buffer) => (text += chunk.toString()))
    socket.write('OPEN')
    return () => text
  }
  const far = await texts(254)
  const near = await texts(255)
  await waitFor('the near one', () => near() === 'OPEN')
  assert.equal(far(), '')
})

test('a key lets in who has it, and nobody else; without a key again, who has none (RFC 2385)', async (t) => {
  for (const host of ['127.0.0.1', '::'] as const) {
    const { port, fd, accepted } = await listen(t, host)
    const peer = at('127.0.0.78')
    setListenKey(fd, at(host), peer, 'a key')
    const source = { ttl: 1, source: peer, userTimeoutMs: 1_200 }
    const [none, wrong, right] = [
      dial(t, port, '127.0.0.1', source),
      dial(t, port, '127.0.0.1', { ...source, password: 'another' }),
      dial(t, port, '127.0.0.1', { ...source, password: 'a key' }),
    ]
    const failures = Promise.all([none, wrong].map(failureOf))
    await once(right, 'connect')
    assert.deepEqual(await failures, ['ETIMEDOUT', 'ETIMEDOUT'])
    assert.equal(accepted.length, 1)
    setListenKey(fd, at(host), peer, '')
    setListenKey(fd, at(host), peer, '')
    await once(dial(t, port, '127.0.0.1', source), 'connect')
  }
})

test('a key of 80 octets is the longest, and a longer one is refused, not cut (RFC 2385 4.5)', (t) => {
  const keyed = (length: number): net.Socket => {
    const socket = createDialSocket({ peer: at('127.0.0.1'), ttl: 1, password: '\u00ff'.repeat(length) })
    t.after(() => socket.destroy())
    return socket
  }
  keyed(80)
  assert.throws(() => keyed(81), { code: 'ERR_SYSCALL', message: 'setsockopt(TCP_MD5SIG): EINVAL' })
})

test('the source address is the one of the connection; one that is not of this node is refused', async (t) => {
  const { port, accepted } = await listen(t, '::')
  await once(dial(t, port, '127.0.0.1', { ttl: 1, source: at('127.0.0.79') }), 'connect')
  const [socket] = await waitFor('a connection', () => accepted.length > 0 && accepted)
  assert.equal(socket?.remoteAddress, '::ffff:127.0.0.79')
  assert.throws(() => createDialSocket({ peer: at('127.0.0.1'), ttl: 1, source: at('192.0.2.254') }), {
    code: 'ERR_SYSCALL',
    errno: 'EADDRNOTAVAIL',
    message: 'bind to the source address: EADDRNOTAVAIL',
  })
})

test('a port that is taken is said with its number, and one that is free again is had at once', async (t) => {
  const { port, accepted } = await listen(t, '127.0.0.1')
  await once(dial(t, port, '127.0.0.1', { ttl: 1 }), 'connect')
  await waitFor('a connection', () => accepted.length > 0)
  const taken = net.createServer().listen({ fd: createListenFd(at('127.0.0.2'), 0) })
  await once(taken, 'listening')
  const address = taken.address()
  assert.ok(typeof address === 'object' && address !== null)
  assert.throws(() => createListenFd(at('127.0.0.2'), address.port), {
    errno: 'EADDRINUSE',
    message: `bind to port ${address.port}: EADDRINUSE`,
  })
  taken.close()
  await once(taken, 'close')
  const again = net.createServer().listen({ fd: createListenFd(at('127.0.0.2'), address.port) })
  await once(again, 'listening')
  again.close()
})

test('octets that the peer does not take are counted, and none on a socket that is gone', async (t) => {
  const { port, accepted } = await listen(t, '127.0.0.1', (socket) => socket.pause())
  const socket = dial(t, port, '127.0.0.1', { ttl: 1 })
  await once(socket, 'connect')
  assert.equal(unwrittenBytes(socket), 0)
  const all = Buffer.alloc(32 * 1024 * 1024)
  socket.write(all)
  const left = await waitFor('a full window', () => unwrittenBytes(socket) > 0 && unwrittenBytes(socket))
  assert.ok(left < all.length, String(left))
  accepted[0]?.resume()
  await waitFor('everything taken', () => unwrittenBytes(socket) === 0)
  socket.destroy()
  assert.equal(unwrittenBytes(socket), 0)
  setUserTimeout(socket, 1)
  prepareAccepted(socket, { peer: at('127.0.0.1'), ttl: 1 })
})
