/** Datagrams on the loopback: what comes with each of them, what the kernel drops, and what an ICMP error costs. */
import assert from 'node:assert/strict'
import { closeSync, readdirSync } from 'node:fs'
import { test, type TestContext } from 'node:test'
import { type Address, addressBytes, formatAddress, parseAddress } from '../../src/ip/address.ts'
import {
  closeDatagramSocket,
  DatagramReader,
  type DatagramReceiver,
  type DatagramSender,
  droppedByKernel,
  openReceiver,
  openSender,
  sendDatagram,
  waitReadable,
} from '../../src/sys/datagram-socket.ts'
import { clearEventFd, closeEventFd, openEventFd, raiseEventFd } from '../../src/sys/event-fd.ts'
import { interfaceIndex } from '../../src/sys/libc.ts'
import {
  AF_INET,
  AF_INET6,
  getsocknameCall,
  IPPROTO_IPV6,
  openSocket,
  sendtoCall,
  setIntOption,
  SOCK_RAW,
  socketAddress,
} from '../../src/sys/socket.ts'
import { enterNetwork } from '../datapath/network.ts'

// Alone in a network: nobody else takes a port there.
const skip = process.getuid?.() === 0 ? false : 'needs root for a network of its own'
if (skip === false) enterNetwork()

const at = (text: string): Address => parseAddress(text) ?? assert.fail(text)
const loopbacks = [at('127.0.0.1'), at('::1')] as const
const isIpv4 = (address: Address): boolean => typeof address === 'number'
const descriptors = (): number => readdirSync('/proc/self/fd').length

/** The port of a socket, as the kernel has it. */
function portOf({ fd }: { readonly fd: number }): number {
  const [name, length] = [Buffer.alloc(28), Buffer.alloc(4)]
  length.writeUInt32LE(name.length)
  assert.equal(Number(getsocknameCall(fd, name, length)), 0)
  return name.readUInt16BE(2)
}

function receiverOf(t: TestContext, address: Address, onlyTtl?: number): DatagramReceiver & { readonly port: number } {
  const receiver = openReceiver(isIpv4(address), 0, onlyTtl)
  t.after(() => closeDatagramSocket(receiver))
  return { ...receiver, port: portOf(receiver) }
}

function senderTo(
  t: TestContext,
  to: Address,
  port: number,
  from: Partial<Parameters<typeof openSender>[2]> = {},
): DatagramSender {
  const sender = openSender(to, port, { ports: [0], ...from })
  t.after(() => closeDatagramSocket(sender))
  return sender
}

/** Whatever has come, in its order; on the loopback a datagram is there when the send returns. */
function readAll(receiver: DatagramReceiver, reader = new DatagramReader()): readonly string[] {
  const found: string[] = []
  while (reader.read(receiver, ({ octets }) => found.push(Buffer.from(octets).toString('latin1'))));
  return found
}

/** TTL or hop limit of what a socket sends. */
const setTtl = ({ fd }: DatagramSender, to: Address, ttl: number): void =>
  isIpv4(to) ? setIntOption(fd, 0, 2, ttl) : setIntOption(fd, IPPROTO_IPV6, 16, ttl)

test('each datagram comes with its TTL, interface, destination and source (RFC 5881 5), of either family', {
  skip,
}, (t) => {
  for (const to of [...loopbacks, at('127.0.0.77')]) {
    const receiver = receiverOf(t, to)
    const sender = senderTo(t, to, receiver.port)
    sendDatagram(sender, Buffer.from('near'))
    setTtl(sender, to, 1)
    sendDatagram(sender, Buffer.from('far'))
    sendDatagram(sender, new Uint8Array())
    const found: unknown[] = []
    const isMore = new DatagramReader().read(receiver, ({ octets, source, destination, ...rest }) =>
      found.push([Buffer.from(octets).toString(), source, formatAddress(destination), rest]),
    )
    const text = formatAddress(to)
    const deviceIndex = interfaceIndex('lo')
    assert.equal(isMore, false)
    assert.deepEqual(found, [
      ['near', sender.source, text, { ttl: 255, deviceIndex }],
      ['far', sender.source, text, { ttl: 1, deviceIndex }],
      ['', sender.source, text, { ttl: 1, deviceIndex }],
    ])
  }
})

test('with one TTL alone the kernel drops what has another, wakes nobody, and counts it (RFC 5881 5)', {
  skip,
}, (t) => {
  for (const to of loopbacks) {
    const receiver = receiverOf(t, to, 255)
    const sender = senderTo(t, to, receiver.port)
    for (const ttl of [254, 255, 1, 64, 255]) {
      setTtl(sender, to, ttl)
      sendDatagram(sender, Buffer.from(String(ttl)))
    }
    assert.deepEqual(readAll(receiver), ['255', '255'])
    assert.equal(droppedByKernel(receiver), 3)
  }
  assert.equal(droppedByKernel({ fd: -1, isIpv4: true }), 0, 'a socket that is gone has dropped nothing')
})

test('more than a batch comes in batches, in order, and whether more may be there is told', { skip }, (t) => {
  for (const to of loopbacks) {
    const receiver = receiverOf(t, to)
    const sender = senderTo(t, to, receiver.port)
    const reader = new DatagramReader()
    for (const [count, batches] of [
      [75, [32, 32, 11]],
      [64, [32, 32, 0]],
      [1, [1]],
      [0, [0]],
    ] as const) {
      const sent = Array.from({ length: count }, (_, i) => `datagram ${i}`)
      for (const text of sent) sendDatagram(sender, Buffer.from(text))
      const found: string[][] = []
      const readBatch = (batch: string[]): boolean =>
        reader.read(receiver, ({ octets }) => batch.push(Buffer.from(octets).toString()))
      do found.push([])
      while (readBatch(found.at(-1) ?? []))
      assert.deepEqual(
        found.map(({ length }) => length),
        batches,
      )
      assert.deepEqual(found.flat(), sent)
    }
  }
})

test('of a datagram that is longer than its room the beginning is read, and nothing of the one before or after', {
  skip,
}, (t) => {
  const receiver = receiverOf(t, at('127.0.0.1'))
  const sender = senderTo(t, at('127.0.0.1'), receiver.port)
  const sent = ['a'.repeat(255), 'b'.repeat(256), 'c'.repeat(257), 'd'.repeat(9_000), 'e', '']
  for (const text of sent) sendDatagram(sender, Buffer.from(text))
  const reader = new DatagramReader()
  assert.deepEqual(
    readAll(receiver, reader),
    sent.map((text) => text.slice(0, 256)),
  )
  // The memory is the same, and what was longer there before is no part of the next.
  sendDatagram(sender, Buffer.from('f'))
  assert.deepEqual(readAll(receiver, reader), ['f'])
})

test('a queue that is full costs datagrams, which are counted, and neither the sender nor those before', {
  skip,
}, (t) => {
  const receiver = receiverOf(t, at('127.0.0.1'))
  setIntOption(receiver.fd, 1, 8, 4_096) // SO_RCVBUF
  const sender = senderTo(t, at('127.0.0.1'), receiver.port)
  for (let i = 0; i < 500; i++) sendDatagram(sender, Buffer.from(String(i)))
  const found = readAll(receiver)
  assert.ok(found.length > 0 && found.length < 500, String(found.length))
  assert.deepEqual(
    found,
    Array.from({ length: found.length }, (_, i) => String(i)),
  )
  assert.equal(droppedByKernel(receiver), 500 - found.length)
  sendDatagram(sender, Buffer.from('after'))
  assert.deepEqual(readAll(receiver), ['after'])
})

test('a port that nobody listens on is no failure, and who begins to listen there hears the next datagram', {
  skip,
}, (t) => {
  for (const to of loopbacks) {
    const first = openReceiver(isIpv4(to), 0)
    const port = portOf(first)
    closeDatagramSocket(first)
    const sender = senderTo(t, to, port)
    // Each is answered with ICMP port unreachable, which the socket tells at the next call.
    for (let i = 0; i < 3; i++) sendDatagram(sender, Buffer.from('nobody'))
    const receiver = openReceiver(isIpv4(to), port)
    t.after(() => closeDatagramSocket(receiver))
    sendDatagram(sender, Buffer.from('somebody'))
    assert.deepEqual(readAll(receiver), ['somebody'])
  }
})

/** An ICMP error about a datagram of the sender, as a router, or who pretends to be one, would send it. */
function forgeError(raw: number, sender: DatagramSender, to: Address, port: number, type: number, code: number): void {
  const [source, destination] = [addressBytes(sender.source), addressBytes(to)]
  const header = Buffer.alloc(isIpv4(to) ? 20 : 40)
  if (isIpv4(to)) header.set([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, ...source, ...destination])
  else header.set([0x60, 0, 0, 0, 0, 8, 17, 64, ...source, ...destination])
  const udp = Buffer.alloc(8)
  udp.writeUInt16BE(portOf(sender), 0)
  udp.writeUInt16BE(port, 2)
  udp.writeUInt16BE(8, 4)
  const packet = Buffer.concat([Buffer.of(type, code, 0, 0, 0, 0, 0x05, 0xdc), header, udp])
  // Of ICMPv6 the kernel makes the checksum.
  if (isIpv4(to)) packet.writeUInt16BE(checksum(packet), 2)
  const name = socketAddress(sender.source, 0)
  assert.equal(Number(sendtoCall(raw, packet, packet.length, 0, name, name.length)), packet.length)
}

/** RFC 1071 */
function checksum(octets: Buffer): number {
  let sum = 0
  for (let i = 0; i < octets.length; i += 2) sum += octets.readUInt16BE(i)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return ~sum & 0xffff
}

test('an ICMP error, which anybody can forge, costs no datagram and is no failure of the socket (RFC 5927 2)', {
  skip,
}, (t) => {
  const codes = (type: number, count: number): (readonly [number, number])[] =>
    Array.from({ length: count }, (_, code) => [type, code] as const)
  for (const [to, domain, protocol, errors] of [
    [loopbacks[0], AF_INET, 1, [...codes(3, 16), [11, 0], [12, 0], [4, 0]]],
    [loopbacks[1], AF_INET6, 58, [...codes(1, 8), [2, 0], [3, 0], ...codes(4, 3)]],
  ] as const) {
    const raw = openSocket('forger', domain, SOCK_RAW, protocol)
    t.after(() => closeSync(raw))
    const receiver = receiverOf(t, to)
    const sender = senderTo(t, to, receiver.port)
    for (const [type, code] of errors) {
      forgeError(raw, sender, to, receiver.port, type, code)
      sendDatagram(sender, Buffer.from(`${type} ${code}`))
    }
    assert.deepEqual(
      readAll(receiver),
      errors.map((each) => each.join(' ')),
    )
  }
})

test('a port that another socket has is said with its number and EADDRINUSE, and leaves no descriptor', {
  skip,
}, (t) => {
  for (const address of loopbacks) {
    const { port } = receiverOf(t, address)
    const before = descriptors()
    assert.throws(() => openReceiver(isIpv4(address), port), {
      code: 'ERR_SYSCALL',
      errno: 'EADDRINUSE',
      message: `bind to UDP port ${port}: EADDRINUSE`,
    })
    assert.equal(descriptors(), before)
  }
})

test('both families have the same port beside each other: IPv6 takes no IPv4 (RFC 3493 5.3)', { skip }, (t) => {
  const ipv6 = receiverOf(t, at('::1'))
  const ipv4 = openReceiver(true, ipv6.port)
  t.after(() => closeDatagramSocket(ipv4))
  sendDatagram(senderTo(t, at('127.0.0.1'), ipv6.port), Buffer.from('four'))
  sendDatagram(senderTo(t, at('::1'), ipv6.port), Buffer.from('six'))
  assert.deepEqual([readAll(ipv4), readAll(ipv6)], [['four'], ['six']])
})

test('of the ports of a sender the first that is free is taken; where none is, it is said, without a descriptor', {
  skip,
}, (t) => {
  for (const to of loopbacks) {
    const taken = [0, 0].map(() => portOf(senderTo(t, to, 9, { source: to })))
    const free = portOf(receiverOf(t, to))
    // The port of a receiver is taken for every address, that of a sender for its own.
    const before = descriptors()
    for (const ports of [taken, [...taken, free], []])
      assert.throws(() => openSender(to, 9, { source: to, ports }), {
        code: 'ERR_SYSCALL',
        errno: 'EADDRINUSE',
        message: 'bind to the source address: EADDRINUSE',
      })
    assert.equal(descriptors(), before)
    const sender = senderTo(t, to, 9, { source: to, ports: [...taken, 0, 1] })
    assert.ok(portOf(sender) > 1 && !taken.includes(portOf(sender)))
  }
})

test('a source that is not of this node, an interface that is not there, no way to the peer: each by its errno', {
  skip,
}, (t) => {
  const before = descriptors()
  for (const [to, from, errno, call] of [
    ['127.0.0.1', { source: at('192.0.2.254') }, 'EADDRNOTAVAIL', 'bind to the source address'],
    ['::1', { source: at('2001:db8::fe') }, 'EADDRNOTAVAIL', 'bind to the source address'],
    ['127.0.0.1', { device: 'nothere0' }, 'ENODEV', 'bind to interface nothere0'],
    ['::1', { device: 'nothere0' }, 'ENODEV', 'bind to interface nothere0'],
    ['127.255.255.255', {}, 'EACCES', 'connect'],
    ['203.0.113.1', {}, 'ENETUNREACH', 'connect'],
    // A link-local address without its interface.
    ['fe80::1', {}, 'EINVAL', 'connect'],
  ] as const)
    assert.throws(() => senderTo(t, at(to), 9, from), { code: 'ERR_SYSCALL', errno, message: `${call}: ${errno}` }, to)
  assert.equal(descriptors(), before)
})

test('the source of a sender is the one that the kernel takes, or the one that is asked for; its interface is known', {
  skip,
}, (t) => {
  assert.equal(senderTo(t, at('127.0.0.1'), 9).source, at('127.0.0.1'))
  assert.equal(senderTo(t, at('127.0.0.1'), 9, { source: at('127.0.0.9') }).source, at('127.0.0.9'))
  assert.deepEqual(senderTo(t, at('::1'), 9).source, at('::1'))
  assert.deepEqual(
    [{}, { device: 'lo' }].map((from) => senderTo(t, at('127.0.0.1'), 9, from).deviceIndex),
    [0, interfaceIndex('lo')],
  )
})

test('a send on a socket that is gone is a failure, with its errno', { skip }, () => {
  const sender = openSender(at('127.0.0.1'), 9, { ports: [0] })
  closeDatagramSocket(sender)
  assert.throws(() => sendDatagram(sender, Buffer.from('x')), { code: 'ERR_SYSCALL', errno: 'EBADF' })
  assert.equal(
    new DatagramReader().read({ fd: sender.fd, isIpv4: true }, () => assert.fail()),
    false,
  )
})

test('a wait ends with a datagram or a raised event fd, and at once where there is no time or no descriptor', {
  skip,
}, (t) => {
  const event = openEventFd()
  t.after(() => closeEventFd(event))
  const receiver = receiverOf(t, at('127.0.0.1'))
  const waits = (ms: number, ...fds: readonly number[]): boolean => {
    const began = performance.now()
    waitReadable(fds, ms)
    return performance.now() - began < 30_000
  }
  // Each would last for a minute, or for ever, if it were not ended.
  sendDatagram(senderTo(t, at('127.0.0.1'), receiver.port), Buffer.from('x'))
  assert.ok(waits(60_000, event, receiver.fd))
  assert.deepEqual(readAll(receiver), ['x'])
  raiseEventFd(event)
  raiseEventFd(event)
  assert.ok(waits(60_000, receiver.fd, event))
  // Once cleared it is quiet, however often it was raised, and clearing waits for nobody.
  clearEventFd(event)
  clearEventFd(event)
  for (const ms of [0, -1, Number.NEGATIVE_INFINITY, 1]) assert.ok(waits(ms, receiver.fd, event))
  assert.ok(waits(60_000, receiver.fd, 1_000_000), 'one that is none is for its reader to find')
})
