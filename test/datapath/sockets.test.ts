/** The socket programs on the real kernel, in a group of cgroup v2 that only this file's clients are in. */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { openSocketBalancer } from '../../src/datapath/open-sockets.ts'
import { listPinnedMaps, rawEntries } from '../../src/datapath/pinned-maps.ts'
import { socketMapNames, socketSchema } from '../../src/datapath/socket-layout.ts'
import { areSocketsPinned, removeSockets, socketMapFolders } from '../../src/datapath/sockets.ts'
import { unloadDatapath } from '../../src/datapath/unload.ts'
import type { Backend, Frontend } from '../../src/desired/model.ts'
import { closeFd, openPinned } from '../../src/sys/bpf.ts'
import { detachLink } from '../../src/sys/bpf-attach.ts'
import { cgroupProgramIds, withCgroup } from '../../src/sys/cgroup.ts'
import { lockPath } from '../../src/sys/flock.ts'
import { mountBpffs, unmountBpffs } from '../../src/sys/mount.ts'
import { hasNftChain, hasNftTable } from '../../src/sys/netfilter.ts'
import { whyNoKernel } from './fixture.ts'
import { addNftables } from './netfilter.ts'
import { podPort, socketFrontend, startActor, startSocketWorld } from './socket-fixture.ts'

const reason = whyNoKernel()
const skip = reason ?? false
const families = {
  ipv4: { vip: '203.0.113.1', pods: ['10.1.1.5', '10.1.1.6'], asked: '203.0.113.1', shown: '203.0.113.1' },
  ipv6: { vip: '2001:db8:f::1', pods: ['fd00:1::5', 'fd00:1::6'], asked: '2001:db8:f::1', shown: '2001:db8:f::1' },
  // RFC 4291 2.5.5.2: an IPv6 socket that asks for an IPv4 address.
  mapped: {
    vip: '203.0.113.1',
    pods: ['10.1.1.5', '10.1.1.6'],
    asked: '::ffff:203.0.113.1',
    shown: '::ffff:203.0.113.1',
  },
} as const
const [pod, other] = families.ipv4.pods
const { vip } = families.ipv4
const world = reason === undefined ? await startSocketWorld([...families.ipv4.pods, ...families.ipv6.pods]) : undefined
after(() => world?.end())

interface Answer {
  readonly peer?: string
  readonly from?: string
  readonly by: string
}

const byOf = (answer: unknown): string => (answer as Answer).by.split(' ')[0] ?? ''
const placesOf = (pods: readonly string[]): readonly Backend[] => pods.map((address) => ({ address, port: podPort }))

for (const [name, { vip: address, pods, asked, shown }] of Object.entries(families)) {
  const [only = ''] = pods
  const isMapped = name === 'mapped'
  const client = isMapped ? `::ffff:${only}` : only

  test(`a connection to a frontend is one to its backend, and its peer has the name of the frontend (${name})`, {
    skip,
  }, async () => {
    assert.ok(world)
    const balancer = world.open()
    balancer.upsert(socketFrontend(address, 'TCP', [only]))
    const actor = world.client()
    const answer = (await actor.run({ do: 'connect', name: 'a', address: asked, port: 80 })) as Answer
    assert.deepEqual(answer, { peer: `${shown} 80`, by: `${only} ${isMapped ? only : client}` })
    assert.deepEqual(balancer.counts().unrecorded, 0)
    balancer.remove(`${address.includes(':') ? `[${address}]` : address}:80/TCP`)
    await assert.rejects(actor.run({ do: 'connect', name: 'b', address: asked, port: 80 }), /ENETUNREACH/)
    assert.equal(await actor.run({ do: 'ask', name: 'a' }), `${only} again`)
  })

  test(`an answer to a datagram comes from the frontend, of a socket with a connection and without (${name})`, {
    skip,
  }, async () => {
    assert.ok(world)
    const balancer = world.open()
    balancer.upsert(socketFrontend(address, 'UDP', [only]))
    const actor = world.client()
    const by = `${only} ${isMapped ? only : client}`
    const from = `${shown} 80`
    assert.deepEqual(await actor.run({ do: 'send', name: 'a', address: asked, port: 80 }), { from, by })
    assert.deepEqual(await actor.run({ do: 'datagram', address: asked, port: 80 }), { peer: from, from, by })
  })

  test(`a frontend without backends refuses at once (${name})`, { skip }, async () => {
    assert.ok(world)
    const balancer = world.open()
    const before = balancer.counts().refused
    for (const protocol of ['TCP', 'UDP'] as const) balancer.upsert(socketFrontend(address, protocol, []))
    const actor = world.client()
    await assert.rejects(actor.run({ do: 'connect', name: 'a', address: asked, port: 80 }), /ECONNREFUSED/)
    await assert.rejects(actor.run({ do: 'send', name: 'b', address: asked, port: 80 }), /ECONNREFUSED/)
    await assert.rejects(actor.run({ do: 'datagram', address: asked, port: 80 }), /ECONNREFUSED/)
    assert.equal(balancer.counts().refused - before, 3)
  })
}

for (const [name, { pods, asked, shown }] of Object.entries(families)) {
  const [only = ''] = pods
  const any = name === 'ipv6' ? '::' : '0.0.0.0'
  const node = name === 'ipv6' ? asked : families.ipv4.vip

  test(`a node port asked of another node is led here, by its name, and at no address that is no node's (${name})`, {
    skip,
  }, async () => {
    assert.ok(world)
    removeSockets(world.bpffs)
    const balancer = world.open()
    for (const protocol of ['TCP', 'UDP'] as const) balancer.upsert(socketFrontend(any, protocol, [only]))
    const actor = world.client()
    const connect = (id: string, port = 80): Promise<unknown> =>
      actor.run({ do: 'connect', name: id, address: asked, port })
    await assert.rejects(connect('a'), /ENETUNREACH/)
    balancer.setNodes([node])
    const told = `${shown} 80`
    assert.equal(((await connect('b')) as Answer).peer, told)
    const sent = (await actor.run({ do: 'send', name: 'a', address: asked, port: 80 })) as Answer
    const datagram = (await actor.run({ do: 'datagram', address: asked, port: 80 })) as Answer
    assert.deepEqual([sent.from, datagram.peer, datagram.from], [told, told, told])
    // Who names no address means his own host (connect(2)), in whose network there may be such a port.
    const none = name === 'mapped' ? '::ffff:0.0.0.0' : any
    for (const ask of ['connect', 'datagram'] as const)
      await assert.rejects(actor.run({ do: ask, name: `own ${ask}`, address: none, port: 80 }), /ECONNREFUSED/)
    // Another port of it is the node's own, and whoever has the address as a Service goes before.
    await assert.rejects(connect('c', 81), /ENETUNREACH/)
    balancer.upsert(socketFrontend(node, 'TCP', []))
    await assert.rejects(connect('d'), /ECONNREFUSED/)
    balancer.remove(socketFrontend(node, 'TCP', []).id)
    balancer.setNodes([])
    await assert.rejects(connect('e'), /ENETUNREACH/)
    assert.equal(await actor.run({ do: 'ask', name: 'b' }), `${only} again`)
  })
}

test('what is no frontend is left as it is: another port, another protocol, the backend itself', { skip }, async () => {
  assert.ok(world)
  const balancer = world.open()
  balancer.upsert(socketFrontend(vip, 'TCP', [pod]))
  balancer.remove(`${vip}:80/UDP`)
  const before = balancer.counts()
  const actor = world.client()
  await assert.rejects(actor.run({ do: 'connect', name: 'a', address: vip, port: 81 }), /ENETUNREACH/)
  await assert.rejects(actor.run({ do: 'send', name: 'b', address: vip, port: 80 }), /ENETUNREACH/)
  const direct = await actor.run({ do: 'connect', name: 'c', address: pod, port: podPort })
  assert.deepEqual(direct, { peer: `${pod} ${podPort}`, by: `${pod} ${pod}` })
  assert.deepEqual(balancer.counts(), before)
})

test('a socket that sends to a frontend and to its backend itself hears from whom it sent to last', {
  skip,
}, async () => {
  assert.ok(world)
  world.open().upsert(socketFrontend(vip, 'UDP', [pod]))
  const actor = world.client()
  for (const [address, port] of [
    [vip, 80],
    [pod, podPort],
    [vip, 80],
  ] as const) {
    const answer = (await actor.run({ do: 'send', name: 'a', address, port })) as Answer
    assert.equal(answer.from, `${address} ${port}`)
  }
})

test('a socket that is connected anew to the backend itself is told of the backend', { skip }, async () => {
  assert.ok(world)
  world.open().upsert(socketFrontend(vip, 'TCP', [pod]))
  const peers = await world.client().run({
    do: 'connect again',
    places: [`${vip} 80`, `${pod} ${podPort}`, `${vip} 80`, `${other} ${podPort}`],
  })
  assert.deepEqual(peers, [`${vip} 80`, `${pod} ${podPort}`, `${vip} 80`, `${other} ${podPort}`])
})

test('connections are spread over all backends', { skip }, async () => {
  assert.ok(world)
  world.open().upsert(socketFrontend(vip, 'TCP', [pod, other]))
  const actor = world.client()
  const met = new Set<string>()
  for (let i = 0; i < 64; i++) met.add(byOf(await actor.run({ do: 'connect', name: `c${i}`, address: vip, port: 80 })))
  assert.deepEqual([...met].sort(), [pod, other])
})

test('other backends are those of new connections: what is open stays, a sender stays while its backend is there', {
  skip,
}, async () => {
  assert.ok(world)
  const balancer = world.open()
  const set = (pods: readonly string[], more: Partial<Frontend> = {}): void => {
    for (const protocol of ['TCP', 'UDP'] as const) balancer.upsert(socketFrontend(vip, protocol, pods, more))
  }
  set([pod])
  const actor = world.client()
  const sent = async (): Promise<string> => byOf(await actor.run({ do: 'send', name: 's', address: vip, port: 80 }))
  const connected = async (name: string): Promise<string> =>
    byOf(await actor.run({ do: 'connect', name, address: vip, port: 80 }))
  assert.deepEqual([await connected('old'), await sent()], [pod, pod])
  set([other], { resting: placesOf([pod]) })
  assert.deepEqual([await connected('new'), await sent()], [other, pod])
  set([other])
  assert.deepEqual([await connected('newer'), await sent()], [other, other])
  set([pod, other])
  assert.equal(await sent(), other)
  assert.equal(await actor.run({ do: 'ask', name: 'old' }), `${pod} again`)
})

test('with session affinity a network namespace stays with its backend while that takes new connections', {
  skip,
}, async () => {
  assert.ok(world)
  const balancer = world.open()
  const affinitySec = 3600
  balancer.upsert(socketFrontend(vip, 'TCP', [pod, other], { affinitySec }))
  const [one, two] = [world.client(), world.client()]
  const met = new Set<string>()
  for (let i = 0; i < 32; i++)
    for (const actor of [one, two])
      met.add(byOf(await actor.run({ do: 'connect', name: `c${i}`, address: vip, port: 80 })))
  const [kept = '', more] = met
  assert.equal(more, undefined)
  const left = kept === pod ? other : pod
  balancer.upsert(socketFrontend(vip, 'TCP', [left], { resting: placesOf([kept]), affinitySec }))
  assert.equal(byOf(await one.run({ do: 'connect', name: 'x', address: vip, port: 80 })), left)
  balancer.upsert(socketFrontend(vip, 'TCP', [pod, other], { affinitySec }))
  for (let i = 0; i < 32; i++)
    assert.equal(byOf(await two.run({ do: 'connect', name: `y${i}`, address: vip, port: 80 })), left)
})

test('sockets of another group are not led, and with another root the programs are there and nowhere else', {
  skip,
}, async () => {
  assert.ok(world)
  const aside = world.makeGroup('aside')
  world.open().upsert(socketFrontend(vip, 'TCP', [pod]))
  const outside = world.client(aside)
  await assert.rejects(outside.run({ do: 'connect', name: 'a', address: vip, port: 80 }), /ENETUNREACH/)
  const moved = world.open({ cgroupRoot: aside })
  assert.deepEqual(moved.status, { cgroup: aside, isWholeNode: false, adopted: true, others: [] })
  assert.equal(byOf(await outside.run({ do: 'connect', name: 'b', address: vip, port: 80 })), pod)
  await assert.rejects(world.client().run({ do: 'connect', name: 'c', address: vip, port: 80 }), /ENETUNREACH/)
  world.open()
})

test('sockets are served while nobody runs, and by the next one with what the one before left', { skip }, async () => {
  assert.ok(world)
  removeSockets(world.bpffs)
  const owner = startActor()
  const frontends = [socketFrontend(vip, 'TCP', [pod]), socketFrontend(vip, 'UDP', [pod, other])]
  const first = (await owner.run({ do: 'open', options: world.options, frontends })) as { adopted: boolean }
  assert.equal(first.adopted, false)
  await owner.end()
  const actor = world.client()
  assert.equal(byOf(await actor.run({ do: 'connect', name: 'a', address: vip, port: 80 })), pod)
  const next = world.open()
  assert.equal(next.status.adopted, true)
  assert.deepEqual([...next.ids()].sort(), [`${vip}:80/TCP`, `${vip}:80/UDP`])
  assert.equal(next.counts().translated, 1)
  const fill = Object.fromEntries(next.usage().map(({ name, entries }) => [name, entries]))
  assert.deepEqual([fill['socket_frontends'], fill['socket_backends'], fill['socket_members']], [2, 3, 3])
  assert.equal(await actor.run({ do: 'ask', name: 'a' }), `${pod} again`)
  const answer = (await actor.run({ do: 'connect', name: 'b', address: vip, port: 80 })) as Answer
  assert.equal(answer.peer, `${vip} 80`)
})

test('maps whose pins are removed while nobody runs are had back by the next one, each of them and all', {
  skip,
}, async () => {
  assert.ok(world)
  const { bpffs } = world
  removeSockets(bpffs)
  const first = world.open()
  first.upsert(socketFrontend(vip, 'TCP', [pod]))
  first.close()
  const actor = world.client()
  const folder = join(bpffs, 'herald', `sockets-v${socketSchema}`, 'maps')
  for (const gone of [...socketMapNames.map((name) => [name]), socketMapNames]) {
    for (const name of gone) unlinkSync(join(folder, name))
    const next = world.open()
    assert.deepEqual(next.ids(), [`${vip}:80/TCP`], gone.join())
    assert.equal(byOf(await actor.run({ do: 'connect', name: gone.join(), address: vip, port: 80 })), pod)
    assert.deepEqual(readdirSync(folder).sort(), [...socketMapNames].sort())
    next.close()
  }
})

test('the maps are listed beside those of the uplinks, with their entries', { skip }, () => {
  assert.ok(world)
  const balancer = world.open()
  for (const id of balancer.ids()) balancer.remove(id)
  balancer.upsert(socketFrontend(vip, 'TCP', [pod, other]))
  const listed = listPinnedMaps(world.bpffs)
  assert.deepEqual(listed.map(({ name }) => name).sort(), [...socketMapNames].sort())
  const of = (name: string): unknown => listed.find((each) => each.name === name)?.entries
  assert.deepEqual([of('socket_frontends'), of('socket_backends')], [1, 2])
  const [entries = []] = rawEntries(world.bpffs, 'socket_frontends')
  assert.equal(entries[0]?.key, '00000000000000000000ffffcb00710100500600')
})

test('unloading leaves nothing: no link, no pin, also while a process has them open', { skip }, async () => {
  assert.ok(world)
  world.open().upsert(socketFrontend(vip, 'TCP', [pod]))
  assert.ok(areSocketsPinned(world.bpffs))
  const idsAt = (): readonly number[] => withCgroup({ path: world.group }, (fd) => cgroupProgramIds(fd, 10))
  assert.equal(idsAt().length, 1)
  const removed = unloadDatapath(world.bpffs)
  assert.equal(removed.filter((path) => path.includes('/links/')).length, 8)
  assert.equal(areSocketsPinned(world.bpffs), false)
  assert.ok(!existsSync(join(world.bpffs, 'herald')) || readdirSync(join(world.bpffs, 'herald')).length === 0)
  assert.deepEqual(idsAt(), [])
  await assert.rejects(world.client().run({ do: 'connect', name: 'a', address: vip, port: 80 }), /ENETUNREACH/)
})

test('what cannot be had leaves nothing behind: no programs, no group', { skip }, () => {
  assert.ok(world)
  const { bpffs, options } = world
  removeSockets(bpffs)
  assert.throws(() => world.open({ objectFile: '/no/such/object.o' }), { code: 'ERR_BPF_OBJECT_MISSING' })
  assert.throws(() => world.open({ cgroupRoot: '/proc' }), { code: 'ERR_CGROUP' })
  assert.throws(() => world.open({ objectFile: options.objectFile.replace('socket.bpf.o', 'herald.bpf.o') }), {
    code: 'ERR_BPF_LOAD',
  })
  assert.equal(areSocketsPinned(bpffs), false)
  assert.ok(!existsSync(join(bpffs, 'herald')) || readdirSync(join(bpffs, 'herald')).length === 0)
})

/** What an agent says as it starts. */
function saying(): { readonly said: string[]; readonly log: (level: string, message: string) => void } {
  const said: string[] = []
  return { said, log: (level, message) => void said.push(`${level} ${message}`) }
}

test('an agent that is not asked to lead sockets removes what an earlier one left, and else touches nothing', {
  skip,
}, async () => {
  assert.ok(world)
  world.open().upsert(socketFrontend(vip, 'TCP', [pod]))
  const actor = world.client()
  await actor.run({ do: 'connect', name: 'a', address: vip, port: 80 })
  const { said, log } = saying()
  const off = await openSocketBalancer({ ...world.options, isAsked: false, isServing: true, log })
  assert.deepEqual(off, { balancer: undefined, problem: undefined })
  assert.ok(said.length > 8 && said.every((line) => line.startsWith('info socket LB: removed /')))
  assert.equal(areSocketsPinned(world.bpffs), false)
  await assert.rejects(actor.run({ do: 'connect', name: 'b', address: vip, port: 80 }), /ENETUNREACH/)
  assert.equal(await actor.run({ do: 'ask', name: 'a' }), `${pod} again`)
  said.length = 0
  await openSocketBalancer({ ...world.options, isAsked: false, isServing: true, log })
  assert.deepEqual(said, [])
})

test('an agent without a datapath leaves the sockets of the agent that serves, and removes those of nobody', {
  skip,
}, async () => {
  assert.ok(world)
  world.open().upsert(socketFrontend(vip, 'TCP', [pod]))
  const { said, log } = saying()
  const release = lockPath(join(world.bpffs, 'herald'), 'directory')
  await openSocketBalancer({ ...world.options, isAsked: false, isServing: false, log })
  await openSocketBalancer({ ...world.options, isAsked: true, isServing: false, log })
  assert.match(said[0] ?? '', /^info socket LB: another herald agent holds .*, and leads sockets on$/)
  assert.equal(byOf(await world.client().run({ do: 'connect', name: 'a', address: vip, port: 80 })), pod)
  release()
  await openSocketBalancer({ ...world.options, isAsked: false, isServing: false, log })
  assert.equal(areSocketsPinned(world.bpffs), false)
})

const linksOf = (bpffs: string): readonly string[] =>
  socketMapFolders(bpffs).flatMap(({ folder }) => {
    const links = join(folder, '..', 'links')
    return readdirSync(links).map((name) => join(links, name))
  })

/** As an administrator may: detached, also for those that have it open, and not pinned any more. */
function cutOff(path: string): void {
  const fd = openPinned(path)
  assert.ok(fd !== undefined)
  detachLink(fd)
  closeFd(fd)
  unlinkSync(path)
}

test('programs that somebody takes away are put back, and a bpffs that was mounted anew has all that it had', {
  skip,
}, async () => {
  assert.ok(world)
  const { bpffs } = world
  removeSockets(bpffs)
  const balancer = world.open()
  balancer.upsert(socketFrontend(vip, 'TCP', [pod]))
  const actor = world.client()
  const by = async (name: string): Promise<string> =>
    byOf(await actor.run({ do: 'connect', name, address: vip, port: 80 }))
  for (const path of linksOf(bpffs)) cutOff(path)
  await assert.rejects(by('a'), /ENETUNREACH/)
  balancer.attach()
  assert.deepEqual([await by('b'), balancer.status.others, linksOf(bpffs).length], [pod, [], 8])
  unmountBpffs(bpffs)
  assert.equal(await by('c'), pod)
  assert.throws(() => balancer.attach(), { code: 'ERR_BPFFS' })
  assert.equal(await by('d'), pod)
  mountBpffs(bpffs)
  balancer.attach()
  balancer.close()
  assert.equal(await by('e'), pod)
  const next = world.open()
  assert.deepEqual([next.status.adopted, next.status.others, next.ids()], [true, [], [`${vip}:80/TCP`]])
})

test('what is left of an unloading that was cut short goes, too: maps without programs', { skip }, async () => {
  assert.ok(world)
  const { bpffs, options } = world
  world.open()
  for (const path of linksOf(bpffs)) cutOff(path)
  assert.equal(areSocketsPinned(bpffs), false)
  await openSocketBalancer({ ...options, isAsked: false, isServing: true, log: () => {} })
  assert.deepEqual(socketMapFolders(bpffs), [])
})

test('where sockets cannot be led the reason is said, and nothing of it is left', { skip }, async () => {
  assert.ok(world)
  const { said, log } = saying()
  const asked = { ...world.options, isAsked: true, log }
  const without = await openSocketBalancer({ ...asked, isServing: false })
  assert.equal(without.problem, 'no socket LB: it needs the eBPF datapath, which this node does not have')
  const v1 = await openSocketBalancer({ ...asked, isServing: true, cgroupRoot: '/proc' })
  assert.match(v1.problem ?? '', /^no socket LB: \/proc is no cgroup v2.*Mount cgroup v2/)
  assert.deepEqual([without.balancer, v1.balancer], [undefined, undefined])
  assert.deepEqual(said, [`warn ${without.problem}`, `warn ${v1.problem}`])
  assert.equal(areSocketsPinned(world.bpffs), false)
})

test('programs that serve and cannot be taken over keep the agent from starting: nobody would correct them', {
  skip,
}, async () => {
  assert.ok(world)
  world.open().upsert(socketFrontend(vip, 'TCP', [pod]))
  const { said, log } = saying()
  const asked = { ...world.options, isAsked: true, isServing: true, log }
  await assert.rejects(openSocketBalancer({ ...asked, objectFile: '/no/such/object.o' }), {
    code: 'ERR_BPF_OBJECT_MISSING',
  })
  assert.match(said.join(), /^error socket programs of an earlier agent serve and cannot be taken over/)
  assert.equal(byOf(await world.client().run({ do: 'connect', name: 'a', address: vip, port: 80 })), pod)
  const taken = await openSocketBalancer(asked)
  assert.equal(taken.balancer?.status.adopted, true)
  taken.balancer?.close()
})

test('rules of kube-proxy are seen by the names that they have, in the network of who asks', { skip }, () => {
  assert.deepEqual([hasNftTable('kube-proxy'), hasNftChain('nat', 'KUBE-SERVICES')], [false, false])
  addNftables()
  assert.deepEqual([hasNftTable('kube-proxy'), hasNftChain('nat', 'KUBE-SERVICES')], [true, true])
})

test('a frontend for which the kernel has no room goes on with as many backends as it had, of those that are wanted', {
  skip,
}, async () => {
  assert.ok(world)
  removeSockets(world.bpffs)
  const balancer = world.open({ maxEntries: { ...world.options.maxEntries, socket_backends: 2 } })
  balancer.upsert(socketFrontend(vip, 'TCP', [pod]))
  const by = async (name: string): Promise<string> =>
    byOf(await world.client().run({ do: 'connect', name, address: vip, port: 80 }))
  assert.throws(() => balancer.upsert(socketFrontend(vip, 'TCP', [pod, '10.1.1.7', '10.1.1.8'])), {
    code: 'ERR_MAP_FULL',
  })
  const fill = Object.fromEntries(balancer.usage().map(({ name, entries }) => [name, entries]))
  assert.deepEqual([fill['socket_backends'], fill['socket_members'], await by('a')], [1, 1, pod])
  assert.throws(() => balancer.upsert(socketFrontend(vip, 'TCP', [other, '10.1.1.7', '10.1.1.8'])), {
    code: 'ERR_MAP_FULL',
  })
  assert.equal(await by('b'), other)
})
