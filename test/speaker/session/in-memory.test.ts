/** The network in memory behaves as sockets do, as far as sessions can tell, and every run is the same. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseAddress } from '../../../src/ip/address.ts'
import type { ListenerPeer, Transport } from '../../../src/speaker/session/environment.ts'
import { InMemoryNetwork } from '../../../src/speaker/session/in-memory.ts'

const address = (text: string) => parseAddress(text) ?? assert.fail(text)
const [a, b, c] = [address('192.0.2.1'), address('192.0.2.2'), address('192.0.2.3')]

/** What happened to one end. */
function watch(transport: Transport): { readonly said: string[]; readonly octets: number[] } {
  const watched = { said: [] as string[], octets: [] as number[] }
  transport.attach({
    connected: () => watched.said.push('connected'),
    data: (bytes) => watched.octets.push(...bytes),
    drained: () => watched.said.push('drained'),
    failed: (reason) => watched.said.push(`failed: ${reason}`),
    closed: () => watched.said.push('closed'),
  })
  return watched
}

async function connected({ password }: { readonly password?: string } = {}) {
  const network = new InMemoryNetwork()
  const [dialler, acceptor] = [network.host(a), network.host(b)]
  const accepted: Transport[] = []
  const refused: string[] = []
  const listener = await acceptor.listen({ host: '::', port: 179, onRefused: (source) => refused.push(source) })
  const peer: ListenerPeer = {
    address: a,
    ...(password === undefined ? {} : { password }),
    accept: (transport) => accepted.push(transport),
  }
  listener.setPeers([peer])
  const near = dialler.dial({ peer: b, port: 179, ttl: 1, ...(password === undefined ? {} : { password }) })
  const nearSaid = watch(near)
  await network.advance(1)
  const far = accepted[0]
  assert.ok(far, 'nothing was accepted')
  return { network, dialler, acceptor, listener, refused, near, nearSaid, far, farSaid: watch(far) }
}

test('octets arrive in order, after the latency, and also those that were sent before anybody listened', async () => {
  const { network, near, nearSaid, far, farSaid } = await connected()
  assert.deepEqual(nearSaid.said, ['connected'])
  near.write(Uint8Array.of(1, 2))
  near.write(Uint8Array.of(3))
  assert.deepEqual(farSaid.octets, [])
  await network.advance(1)
  far.write(Uint8Array.of(9))
  await network.advance(1)
  assert.deepEqual([farSaid.octets, nearSaid.octets], [[1, 2, 3], [9]])
  assert.deepEqual([far.remotePort, far.localPort, near.remotePort], [near.localPort, 179, 179])
})

test('a close flushes what was written and is the end of the stream at the other side', async () => {
  const { network, near, nearSaid, farSaid } = await connected()
  near.write(Uint8Array.of(7))
  near.close(1)
  await network.advance(0.1)
  assert.deepEqual(farSaid.octets, [7])
  assert.deepEqual(farSaid.said, ['failed: the peer closed the connection', 'closed'])
  assert.deepEqual(nearSaid.said, ['connected', 'closed'])
})

test('a destroyed connection is reset at the other side', async () => {
  const { network, near, farSaid } = await connected()
  near.destroy()
  await network.advance(0.1)
  assert.deepEqual(farSaid.said, ['failed: the peer reset the connection', 'closed'])
})

test('a peer that does not read fills the queue until the writer is told to stop, and drains it when it reads', async () => {
  const { network, near, nearSaid, far, farSaid } = await connected()
  far.pause()
  const piece = new Uint8Array(65_536)
  let writes = 1
  while (near.write(piece)) assert.ok(++writes < 100, 'the queue has no bound')
  await network.advance(60)
  assert.deepEqual(near.backlog(), { octets: (writes - 1) * 65_536, mark: '65536' })
  assert.equal(farSaid.octets.length, 0)
  far.resume()
  await network.advance(60)
  assert.equal(farSaid.octets.length, writes * 65_536)
  assert.deepEqual(nearSaid.said, ['connected', 'drained'])
})

test('a dial meets nobody, a closed port, a source that is no neighbor, another key, or a cable that is pulled', async () => {
  const { network, dialler, acceptor, refused } = await connected({ password: 'secret' })
  const outcome = async (options: { peer?: typeof b; port?: number; password?: string }): Promise<string> => {
    const { said } = watch(dialler.dial({ peer: b, port: 179, ttl: 1, ...options }))
    await network.advance(1)
    return said.join(', ')
  }
  assert.equal(await outcome({ peer: c }), 'failed: no route to the peer, closed')
  assert.equal(await outcome({ port: 180 }), 'failed: the peer refuses connections on this port, closed')
  assert.equal(await outcome({}), '', 'an unsigned SYN is dropped (RFC 2385)')
  assert.equal(await outcome({ password: 'other' }), '')
  assert.equal(await outcome({ password: 'secret' }), 'connected')
  const stranger = watch(network.host(c).dial({ peer: b, port: 179, ttl: 1 }))
  await network.advance(1)
  assert.deepEqual([refused, stranger.said], [['192.0.2.3'], ['failed: the peer reset the connection', 'closed']])
  acceptor.isUnplugged = true
  assert.equal(await outcome({ password: 'secret' }), '')
})

test('octets of a machine without power reach nobody, and nobody is told', async () => {
  const { network, acceptor, near, nearSaid, farSaid } = await connected()
  acceptor.isUnplugged = true
  near.write(Uint8Array.of(1))
  await network.advance(3600)
  assert.deepEqual([nearSaid.said, farSaid.said, farSaid.octets], [['connected'], [], []])
  acceptor.isUnplugged = false
  near.write(Uint8Array.of(2))
  await network.advance(1)
  assert.deepEqual(farSaid.octets, [1, 2])
})

test('timers expire in their order, a refreshed one later, a cancelled one never; promises come before the next', async () => {
  const network = new InMemoryNetwork()
  const host = network.host(a)
  const order: string[] = []
  const say = (what: string) => (): void => void order.push(`${what} at ${network.sec}`)
  host.after(2, say('second'))
  host.after(1, say('first'))
  host.after(1, () => void Promise.resolve().then(say('promise of a timer')))
  host.after(1, say('after the promise'))
  const refreshed = host.after(1.5, say('refreshed'))
  const cancelled = host.after(1, say('cancelled'))
  host.soon(say('soon'))
  cancelled.cancel()
  await network.advance(1)
  refreshed.refresh()
  await network.advance(9)
  assert.deepEqual(order, [
    'soon at 0',
    'first at 1',
    'promise of a timer at 1',
    'after the promise at 1',
    'second at 2',
    'refreshed at 2.5',
  ])
  assert.equal(network.sec, 10)
  assert.equal(await network.until(() => false, 5), false)
  assert.equal(network.sec, 15)
})
