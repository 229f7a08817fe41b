/** What the kernel drops for a filter, on the loopback. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { type Address, parseAddress } from '../../src/ip/address.ts'
import { filterDatagrams } from '../../src/sys/datagram-filter.ts'
import {
  closeDatagramSocket,
  DatagramReader,
  type DatagramReceiver,
  droppedByKernel,
  openReceiver,
  openSender,
  sendDatagram,
} from '../../src/sys/datagram-socket.ts'
import { IPPROTO_IPV6, getsocknameCall, setIntOption } from '../../src/sys/socket.ts'

const at = (text: string): Address => parseAddress(text) ?? assert.fail(text)

function receiverOf(t: TestContext, isIpv4: boolean): DatagramReceiver & { readonly port: number } {
  const receiver = openReceiver(isIpv4, 0)
  t.after(() => closeDatagramSocket(receiver))
  const [name, length] = [Buffer.alloc(28), Buffer.alloc(4)]
  length.writeUInt32LE(name.length)
  assert.equal(Number(getsocknameCall(receiver.fd, name, length)), 0)
  return { ...receiver, port: name.readUInt16BE(2) }
}

function send(port: number, to: string, source: string, octets: Uint8Array, ttl = 255): void {
  const sender = openSender(at(to), port, { source: at(source), ports: [0] })
  if (to.includes(':')) setIntOption(sender.fd, IPPROTO_IPV6, 16, ttl)
  else setIntOption(sender.fd, 0, 2, ttl)
  sendDatagram(sender, octets)
  closeDatagramSocket(sender)
}

function readAll(receiver: DatagramReceiver): readonly number[] {
  const found: number[] = []
  while (new DatagramReader().read(receiver, ({ octets }) => found.push(octets[0] ?? -1)));
  return found
}

/** 24 octets: the first one tells them apart, the third word is asked for. */
function packet(first: number, word = 0, bytes = 24): Uint8Array {
  const octets = Buffer.alloc(24)
  octets[0] = first
  octets.writeUInt32BE(word, 8)
  return octets.subarray(0, bytes)
}

test('of a datagram only source, word and TTL decide whether it takes room in the queue, of IPv4', (t) => {
  const receiver = receiverOf(t, true)
  const sources = [
    ...Array.from({ length: 100 }, (_, i) => at(`10.0.0.${i}`)),
    at('127.0.0.2'),
    at('::1'),
    at('127.0.0.3'),
  ]
  const words = [1, 0x8000_0000, 0xffff_ffff]
  filterDatagrams(receiver, { onlyTtl: 255, only: { sources, wordAt: 8, words } })
  const from = (source: string, ...rest: readonly [Uint8Array, number?]): void =>
    send(receiver.port, '127.0.0.1', source, ...rest)
  from('127.0.0.2', packet(1))
  from('127.0.0.3', packet(2, 4711, 3))
  from('127.0.0.4', packet(3))
  from('127.0.0.4', packet(4, 0xffff_ffff))
  from('127.0.0.4', packet(5, 0x8000_0000, 11))
  from('127.0.0.4', packet(6, 0x8000_0000, 12))
  from('127.0.0.2', packet(7), 254)
  from('127.0.0.4', packet(8, 1), 1)
  assert.deepEqual(readAll(receiver), [1, 2, 4, 6])
  assert.equal(droppedByKernel(receiver), 4)
  // Another one takes the place of it at once.
  filterDatagrams(receiver, { only: { sources: [], wordAt: 8, words: [] } })
  from('127.0.0.2', packet(9, 1))
  filterDatagrams(receiver, {})
  from('127.0.0.4', packet(10), 1)
  assert.deepEqual(readAll(receiver), [10])
})

test('of a datagram only source, word and TTL decide whether it takes room in the queue, of IPv6', (t) => {
  const receiver = receiverOf(t, false)
  const near = ['::2', '::1:0:1', '1::1', '0:0:0:1::1', '::ffff:0:1']
  for (const [sources, words, taken] of [
    [near, [], [3]],
    [[...near, '::1'], [], [1, 2, 3]],
    [['127.0.0.1'], [4711], [2, 3]],
  ] as const) {
    filterDatagrams(receiver, { onlyTtl: 255, only: { sources: sources.map(at), wordAt: 8, words: [...words, 7] } })
    send(receiver.port, '::1', '::1', packet(1))
    send(receiver.port, '::1', '::1', packet(2, 4711))
    send(receiver.port, '::1', '::1', packet(3, 7))
    send(receiver.port, '::1', '::1', packet(4, 7), 64)
    assert.deepEqual(readAll(receiver), taken)
  }
})

test('a filter that is longer than the kernel takes is a failure, and the one before stays', (t) => {
  const receiver = receiverOf(t, true)
  filterDatagrams(receiver, { only: { sources: [at('127.0.0.2')], wordAt: 8, words: [] } })
  const words = Array.from({ length: 40_000 }, (_, i) => i)
  assert.throws(() => filterDatagrams(receiver, { only: { sources: [], wordAt: 8, words } }), { code: 'ERR_SYSCALL' })
  send(receiver.port, '127.0.0.1', '127.0.0.3', packet(1))
  send(receiver.port, '127.0.0.1', '127.0.0.2', packet(2))
  assert.deepEqual(readAll(receiver), [2])
})
