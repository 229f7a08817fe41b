/** Which ports are listened on, as sock_diag(7) tells it of sockets of this process. */
import assert from 'node:assert/strict'
import dgram from 'node:dgram'
import { once } from 'node:events'
import { closeSync } from 'node:fs'
import net from 'node:net'
import { test, type TestContext } from 'node:test'
import { parseAddress } from '../../src/ip/address.ts'
import { listListeners } from '../../src/sys/listeners.ts'
import { AF_INET, bindSocket, getsocknameCall, openSocket, SOCK_DGRAM, socketAddress } from '../../src/sys/socket.ts'
import { enterNetwork } from '../datapath/network.ts'

// Alone in a network: nobody else takes a port there.
const skip = process.getuid?.() === 0 ? false : 'needs root for a network of its own'
if (skip === false) enterNetwork()

test('the kernel is asked on which ports processes listen: of TCP and UDP, not on loopback, not what is connected', {
  skip,
}, async (t) => {
  const server = net.createServer().listen(0, '::')
  const inside = net.createServer().listen(0, '127.0.0.1')
  const socket = dgram.createSocket('udp4').bind(0)
  t.after(() => {
    server.close()
    inside.close()
    socket.close()
  })
  await Promise.all([once(server, 'listening'), once(inside, 'listening'), once(socket, 'listening')])
  const [tcp, local] = [server, inside].map((each) => (each.address() as net.AddressInfo).port)
  const client = net.connect(tcp ?? 0, '127.0.0.1')
  t.after(() => client.destroy())
  await once(client, 'connect')
  const found = listListeners()
  assert.ok(found.has(`${tcp}/TCP`) && found.has(`${socket.address().port}/UDP`))
  assert.ok(!found.has(`${local}/TCP`) && !found.has(`${client.localPort}/TCP`))
})

async function listenOn(t: TestContext, host: string): Promise<string> {
  const server = net.createServer().listen(0, host)
  t.after(() => server.close())
  await once(server, 'listening')
  return `${(server.address() as net.AddressInfo).port}/TCP`
}

async function bound(t: TestContext, type: 'udp4' | 'udp6', host: string): Promise<dgram.Socket> {
  const socket = dgram.createSocket(type).bind(0, host)
  t.after(() => socket.close())
  await once(socket, 'listening')
  return socket
}

test('what only the node itself reaches is left out, in whatever way its address is written', { skip }, async (t) => {
  const inside = await Promise.all(['127.0.0.1', '127.0.0.53', '::1', '::ffff:127.0.0.1'].map((at) => listenOn(t, at)))
  const outside = await Promise.all(['0.0.0.0', '::'].map((at) => listenOn(t, at)))
  const found = listListeners()
  assert.deepEqual(
    inside.filter((port) => found.has(port)),
    [],
  )
  assert.deepEqual(
    outside.filter((port) => !found.has(port)),
    [],
  )
})

test('UDP listens while it is bound, of both families; once it is connected it is of one peer, and no listener', {
  skip,
}, async (t) => {
  const [four, six, inside, client] = await Promise.all([
    bound(t, 'udp4', '0.0.0.0'),
    bound(t, 'udp6', '::'),
    bound(t, 'udp4', '127.0.0.1'),
    bound(t, 'udp4', '0.0.0.0'),
  ])
  const nameOf = (socket: dgram.Socket): string => `${socket.address().port}/UDP`
  assert.deepEqual(
    [four, six, inside, client].map((socket) => listListeners().has(nameOf(socket))),
    [true, true, false, true],
  )
  client.connect(four.address().port, '127.0.0.1')
  await once(client, 'connect')
  assert.equal(listListeners().has(nameOf(client)), false)
  assert.equal(listListeners().has(nameOf(four).replace('UDP', 'TCP')), false, 'the other protocol is another port')
})

test('a port that is listened on no more is free at once, though connections of it last', { skip }, async (t) => {
  const accepted: net.Socket[] = []
  const server = net.createServer((socket) => accepted.push(socket)).listen(0, '0.0.0.0')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  const client = net.connect(port, '127.0.0.1')
  t.after(() => [...accepted, client].map((socket) => socket.destroy()))
  await Promise.all([once(client, 'connect'), once(server, 'connection')])
  assert.ok(listListeners().has(`${port}/TCP`))
  server.close()
  assert.equal(listListeners().has(`${port}/TCP`), false)
})

test('a list that is longer than one datagram of the kernel is whole', { skip }, (t) => {
  const fds: number[] = []
  t.after(() => fds.map((fd) => closeSync(fd)))
  const any = parseAddress('0.0.0.0')
  assert.ok(any !== undefined)
  const ports = Array.from({ length: 700 }, () => {
    const fd = openSocket('socket', AF_INET, SOCK_DGRAM)
    fds.push(fd)
    bindSocket('bind', fd, socketAddress(any, 0))
    const [name, length] = [Buffer.alloc(16), Buffer.alloc(4)]
    length.writeUInt32LE(name.length)
    assert.equal(Number(getsocknameCall(fd, name, length)), 0)
    return `${name.readUInt16BE(2)}/UDP`
  })
  const found = listListeners()
  assert.deepEqual(
    ports.filter((port) => !found.has(port)),
    [],
  )
})
