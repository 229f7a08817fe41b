/** Sockets whose backend is gone, on the real kernel: who was led there is told, and nobody else. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { after, test } from 'node:test'
import type { LedSocket } from '../../src/datapath/datapath.ts'
import { HeraldError } from '../../src/errors.ts'
import { whyNoKernel } from './fixture.ts'
import { endedBy, podPort, type SocketActor, socketFrontend, startSocketWorld } from './socket-fixture.ts'

const reason = whyNoKernel()
const skip = reason ?? false
const families = {
  ipv4: { vip: '203.0.113.1', gone: '10.1.1.5', other: '10.1.1.6', mapped: '' },
  ipv6: { vip: '2001:db8:f::1', gone: 'fd00:1::5', other: 'fd00:1::6', mapped: '' },
  // RFC 4291 2.5.5.2: an IPv6 socket that asks for an IPv4 address.
  mapped: { vip: '203.0.113.1', gone: '10.1.1.5', other: '10.1.1.6', mapped: '::ffff:' },
} as const
const pods = [families.ipv4, families.ipv6].flatMap(({ gone, other }) => [gone, other])
const world = reason === undefined ? await startSocketWorld(pods) : undefined
const network = `herald-ends-${process.pid}`
after(async () => {
  await world?.end()
  if (reason === undefined) execFileSync('ip', ['netns', 'delete', network])
})
if (reason === undefined) execFileSync('ip', ['netns', 'add', network])

const goneAt =
  (address: string) =>
  ({ backend }: LedSocket): boolean =>
    backend.address === address
const receive = (actor: SocketActor, name: string): Promise<unknown> => actor.run({ do: 'call', name, call: 'receive' })
const call = (actor: SocketActor, name: string, what: 'connect' | 'sendto', address: string, port: number) =>
  actor.run({ do: 'call', name, call: what, address, port })
/** A datagram of a socket that is connected already: to whom it is. */
const again = async (actor: SocketActor, name: string, address: string, port: number): Promise<unknown> => {
  await call(actor, name, 'sendto', address, port)
  return receive(actor, name)
}

for (const [family, { vip, gone, other, mapped }] of Object.entries(families)) {
  test(`a UDP socket that was led to a backend which is gone is told so, and no other one (${family})`, {
    skip,
  }, async () => {
    assert.ok(world)
    const balancer = world.open()
    const actor = world.client()
    balancer.upsert(socketFrontend(vip, 'UDP', [gone]))
    await call(actor, 'led', 'connect', mapped + vip, 80)
    // The same peer, by its own name; and a socket that has no peer of its own.
    await call(actor, 'direct', 'connect', mapped + gone, podPort)
    await call(actor, 'unconnected', 'sendto', mapped + vip, 80)
    await receive(actor, 'unconnected')
    // It was led, and has asked for the pod itself since.
    await call(actor, 'turned', 'connect', mapped + vip, 80)
    await call(actor, 'turned', 'connect', mapped + gone, podPort)
    balancer.upsert(socketFrontend(vip, 'UDP', [other]))
    await call(actor, 'elsewhere', 'connect', mapped + vip, 80)

    const met: LedSocket[] = []
    const ended = endedBy(balancer, 'UDP', (socket) => {
      met.push(socket)
      return goneAt(gone)(socket)
    })
    assert.equal(ended, 1)
    const frontend = { address: vip, port: 80 }
    assert.deepEqual(
      met.map((socket) => JSON.stringify(socket)).sort(),
      [gone, other]
        .map((address) => ({ protocol: 'UDP', frontend, backend: { address, port: podPort } }))
        .map((socket) => JSON.stringify(socket))
        .sort(),
    )
    await assert.rejects(receive(actor, 'led'), /ECONNABORTED/)
    // Who asks anew is led anew, with the same socket.
    await call(actor, 'led', 'connect', mapped + vip, 80)
    const served = async (name: string, address: string, port: number): Promise<string> =>
      ((await again(actor, name, address, port)) as { by: string }).by.split(' ')[0] ?? ''
    assert.equal(await served('led', mapped + vip, 80), other)
    assert.equal(await served('direct', mapped + gone, podPort), gone)
    assert.equal(await served('turned', mapped + gone, podPort), gone)
    assert.equal(await served('unconnected', mapped + vip, 80), other)
    assert.equal(await served('elsewhere', mapped + vip, 80), other)
    assert.equal(endedBy(balancer, 'UDP', goneAt(gone)), 0)
    await actor.end()
  })

  test(`a TCP connection that was led to a backend ends where TCP is meant, and stays where it is not (${family})`, {
    skip,
  }, async () => {
    assert.ok(world)
    const balancer = world.open()
    const actor = world.client()
    balancer.upsert(socketFrontend(vip, 'TCP', [gone]))
    await actor.run({ do: 'connect', name: 'led', address: mapped + vip, port: 80 })
    await actor.run({ do: 'connect', name: 'direct', address: mapped + gone, port: podPort })
    assert.equal(endedBy(balancer, 'UDP', goneAt(gone)), 0)
    assert.equal(await actor.run({ do: 'ask', name: 'led' }), `${gone} again`)
    const told = actor.run({ do: 'end of', name: 'led' })
    assert.equal(endedBy(balancer, 'TCP', goneAt(gone)), 1)
    assert.equal(await told, 'ECONNABORTED')
    assert.equal(await actor.run({ do: 'ask', name: 'direct' }), `${gone} again`)
    await actor.end()
  })
}

test("a socket in a pod's network is ended where that network is named, by the side of the node's own", {
  skip,
}, async () => {
  assert.ok(world)
  const { vip, gone } = families.ipv4
  const path = `/run/netns/${network}`
  for (const args of [
    ['link', 'set', 'lo', 'up'],
    ['address', 'add', `${gone}/32`, 'dev', 'lo'],
  ])
    execFileSync('nsenter', [`--net=${path}`, 'ip', ...args])
  const balancer = world.open()
  balancer.upsert(socketFrontend(vip, 'UDP', [gone]))
  const [pod, node] = [world.client(world.group, path), world.client()]
  for (const actor of [pod, node]) await call(actor, 'led', 'connect', vip, 80)
  assert.equal(endedBy(balancer, 'UDP', goneAt(gone), path), 1)
  await assert.rejects(receive(pod, 'led'), /ECONNABORTED/)
  // This process is where it was, and so is the other socket.
  assert.equal(endedBy(balancer, 'UDP', goneAt(gone)), 1)
  await assert.rejects(receive(node, 'led'), /ECONNABORTED/)
  assert.throws(
    () => endedBy(balancer, 'UDP', () => true, '/etc/hostname'),
    (error) => error instanceof HeraldError && error.errno === 'EINVAL',
  )
  assert.throws(() => endedBy(balancer, 'UDP', () => true, '/run/netns/nobody'), { code: 'ENOENT' })
})

test('of many sockets so many are ended in a part, and who comes back between two keeps the others', {
  skip,
}, async () => {
  assert.ok(world)
  const { vip, gone } = families.ipv4
  const balancer = world.open()
  balancer.upsert(socketFrontend(vip, 'UDP', [gone]))
  const actor = world.client()
  for (let count = 0; count < 600; count++) await call(actor, `many ${count}`, 'connect', vip, 80)
  let isThere = false
  const parts = balancer.endSockets('UDP', (socket) => !isThere && goneAt(gone)(socket))[Symbol.iterator]()
  const first = parts.next().value ?? 0
  assert.ok(first > 0 && first <= 256, `${first} were ended at once`)
  isThere = true
  assert.deepEqual(parts.next(), { done: false, value: 0 })
  assert.ok(parts.next().done)
  assert.equal(endedBy(balancer, 'UDP', goneAt(gone)), 600 - first)
  await actor.end()
})
