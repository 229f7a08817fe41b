/** What a socket keeps of whom it asked for, on the real kernel: its own, whatever it and others do. */
import assert from 'node:assert/strict'
import { renameSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { listPinnedMaps } from '../../src/datapath/pinned-maps.ts'
import { socketSchema } from '../../src/datapath/socket-layout.ts'
import { removeSockets, socketMapFolders } from '../../src/datapath/sockets.ts'
import { whyNoKernel } from './fixture.ts'
import type { SocketCommand } from './socket-actor.ts'
import { podPort, type SocketActor, socketFrontend, startSocketWorld } from './socket-fixture.ts'

const reason = whyNoKernel()
const skip = reason ?? false
const [pod, other, third, fourth] = ['10.1.1.5', '10.1.1.6', '10.1.1.7', '10.1.1.8'] as const
const pod6 = 'fd00:1::5'
const vip = '203.0.113.1'
const world = reason === undefined ? await startSocketWorld([pod, other, third, fourth, pod6]) : undefined
after(() => world?.end())
/** Of all tests: to start one takes a second. */
let only: SocketActor | undefined
const client = (): SocketActor => (only ??= world?.client() ?? assert.fail('there is no world'))

type Call = (SocketCommand & { do: 'call' })['call']

/** Calls of one socket, one after the other. */
function caller(actor: SocketActor, name: string): (call: Call, address?: string, port?: number) => Promise<unknown> {
  return (call, address, port) =>
    actor.run({
      ...{ do: 'call', name, call },
      ...(address === undefined ? {} : { address }),
      ...(port === undefined ? {} : { port }),
    })
}

const vipAt = (place: number): string => `203.0.113.${place}`

test('the sockets of one pod take nothing of what a socket of another one waits for, however many they are', {
  skip,
}, async () => {
  assert.ok(world)
  const balancer = world.open()
  balancer.upsert(socketFrontend(vip, 'UDP', [pod]))
  const [quiet, loud] = [client(), world.client()]
  const waiting = caller(quiet, 'waits')
  const connected = caller(quiet, 'connected')
  await waiting('sendto', vip, 80)
  await connected('connect', vip, 80)
  await connected('sendto', vip, 80)
  // More than any map of the test has entries.
  for (let round = 0; round < 6; round++) await loud.run({ do: 'connect many', address: vip, port: 80, count: 200 })
  for (let i = 0; i < 300; i++) await caller(loud, `s${i}`)('sendto', vip, 80)
  const answer = { from: `${vip} 80`, by: `${pod} ${pod}` }
  assert.deepEqual(await waiting('receive'), answer)
  assert.deepEqual([await connected('peer'), await connected('receive')], [`${vip} 80`, answer])
  assert.equal(balancer.counts().unrecorded, 0)
})

test('a socket without a connection hears sixteen frontends by their names, whatever backends they share', {
  skip,
}, async () => {
  assert.ok(world)
  const balancer = world.open()
  const places = Array.from({ length: 17 }, (_, i) => i + 1)
  const pods = [pod, other, third, fourth]
  for (const place of places) balancer.upsert(socketFrontend(vipAt(place), 'UDP', [pods[place % 4] ?? pod]))
  const socket = caller(client(), 'socket 1')
  const asked = async (place: number): Promise<string> => {
    await socket('sendto', vipAt(place), 80)
    return ((await socket('receive')) as { from: string }).from
  }
  for (const place of [...places, ...places.toReversed(), 3, 7, 3])
    assert.equal(await asked(place), `${vipAt(place)} 80`)
  for (const place of places) balancer.remove(`${vipAt(place)}:80/UDP`)
})

test('answers that come late have the name that was asked for, of up to sixteen at a time', { skip }, async () => {
  assert.ok(world)
  const balancer = world.open()
  const pods = [pod, other, third, fourth]
  for (const [i, each] of pods.entries()) balancer.upsert(socketFrontend(vipAt(i + 1), 'UDP', [each]))
  const socket = caller(client(), 'socket 2')
  for (const [i] of pods.entries()) await socket('sendto', vipAt(i + 1), 80)
  const heard = new Map<string, string>()
  for (const _ of pods) {
    const { from, by } = (await socket('receive')) as { from: string; by: string }
    heard.set(from, by.split(' ')[0] ?? '')
  }
  assert.deepEqual(
    [...heard].sort(),
    pods.map((each, i) => [`${vipAt(i + 1)} 80`, each]),
  )
})

test('connected, disconnected, sent, connected anew: a socket is told of whom it asked for last', {
  skip,
}, async () => {
  assert.ok(world)
  const balancer = world.open()
  balancer.upsert(socketFrontend(vip, 'UDP', [pod]))
  balancer.upsert(socketFrontend('203.0.113.2', 'UDP', [other]))
  const socket = caller(client(), 'socket 3')
  const heard = async (): Promise<string> => ((await socket('receive')) as { from: string }).from
  await socket('connect', vip, 80)
  assert.equal(await socket('peer'), `${vip} 80`)
  // To somebody else than its peer, who is not heard.
  await socket('sendto', '203.0.113.2', 80)
  await socket('sendto', vip, 80)
  assert.equal(await heard(), `${vip} 80`)
  await socket('disconnect')
  await assert.rejects(socket('peer'), /ENOTCONN/)
  await socket('sendto', pod, podPort)
  assert.equal(await heard(), `${pod} ${podPort}`)
  await socket('sendto', vip, 80)
  assert.equal(await heard(), `${vip} 80`)
  await socket('connect', '203.0.113.2', 80)
  assert.equal(await socket('peer'), '203.0.113.2 80')
  await socket('connect', pod, podPort)
  assert.equal(await socket('peer'), `${pod} ${podPort}`)
  await socket('sendto', pod, podPort)
  assert.equal(await heard(), `${pod} ${podPort}`)
})

test('a connection that is refused leaves the socket with whom it had', { skip }, async () => {
  assert.ok(world)
  const balancer = world.open()
  balancer.upsert(socketFrontend(vip, 'UDP', [pod]))
  balancer.upsert(socketFrontend('203.0.113.2', 'UDP', []))
  const socket = caller(client(), 'socket 4')
  await socket('connect', vip, 80)
  await assert.rejects(socket('connect', '203.0.113.2', 80), /ECONNREFUSED/)
  assert.equal(await socket('peer'), `${vip} 80`)
  await socket('sendto', vip, 80)
  assert.deepEqual(await socket('receive'), { from: `${vip} 80`, by: `${pod} ${pod}` })
})

test('an IPv6 socket asks for both families in turn, and hears each by its name (RFC 4291 2.5.5.2)', {
  skip,
}, async () => {
  assert.ok(world)
  const balancer = world.open()
  balancer.upsert(socketFrontend(vip, 'UDP', [pod]))
  balancer.upsert(socketFrontend('2001:db8:f::1', 'UDP', [pod6]))
  const socket = caller(client(), 'socket 5')
  for (const address of ['2001:db8:f::1', `::ffff:${vip}`, '2001:db8:f::1']) {
    await socket('sendto', address, 80)
    const { from } = (await socket('receive')) as { from: string }
    assert.equal(from.replace('::ffff:cb00:7101', `::ffff:${vip}`), `${address} 80`)
  }
})

test('how often sockets were led to each backend is counted: connections, and senders once for a backend', {
  skip,
}, async () => {
  assert.ok(world)
  removeSockets(world.bpffs)
  const balancer = world.open()
  balancer.upsert(socketFrontend(vip, 'UDP', [pod, other]))
  const actor = client()
  const met = (await actor.run({ do: 'connect many', address: vip, port: 80, count: 60 })) as Record<string, number>
  const id = `${vip}:80/UDP`
  const { chosen, backends = [] } = balancer.choices(id) ?? {}
  assert.equal(chosen, 60)
  for (const { address, port, chosen: each } of backends) assert.equal(each, met[`${address} ${port}`] ?? 0)
  const sender = caller(actor, 'sender')
  for (let i = 0; i < 5; i++) await sender('sendto', vip, 80)
  assert.equal(balancer.choices(id)?.chosen, 61)
  balancer.upsert(socketFrontend(vip, 'UDP', [third]))
  assert.deepEqual(balancer.choices(id), {
    chosen: 61,
    backends: [{ address: third, port: podPort, state: 'active', chosen: 0 }],
  })
})

test('programs of another schema lead sockets until the new ones know all that is wanted', { skip }, async () => {
  assert.ok(world)
  const { bpffs } = world
  removeSockets(bpffs)
  world.open().upsert(socketFrontend(vip, 'TCP', [pod]))
  const folderOf = (schema: number): string => join(bpffs, 'herald', `sockets-v${schema}`)
  renameSync(folderOf(socketSchema), folderOf(socketSchema + 1))
  const actor = client()
  const by = async (name: string): Promise<unknown> =>
    actor.run({ do: 'connect', name, address: vip, port: 80 }).then((answer) => answer as { peer: string; by: string })
  const next = world.open()
  assert.deepEqual([next.ids(), next.status.others.length], [[], 1])
  assert.deepEqual(await by('a'), { peer: `${vip} 80`, by: `${pod} ${pod}` })
  next.upsert(socketFrontend(vip, 'TCP', [pod]))
  assert.deepEqual(await by('b'), { peer: `${vip} 80`, by: `${pod} ${pod}` })
  assert.equal(next.counts().translated, 0)
  next.takeOver()
  assert.deepEqual(
    socketMapFolders(bpffs).map(({ schema }) => schema),
    [socketSchema],
  )
  assert.deepEqual(await by('c'), { peer: `${vip} 80`, by: `${pod} ${pod}` })
  assert.deepEqual([next.counts().translated, next.status.others], [1, []])
  assert.equal(dirname(folderOf(socketSchema)), join(bpffs, 'herald'))
  assert.ok(listPinnedMaps(bpffs).some(({ name, type }) => name === 'sockets_sent' && type === 'sk_storage'))
})
