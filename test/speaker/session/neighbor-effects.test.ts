/** Every field of a neighbor, changed in every state of its session: what must be true then, within two seconds. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { keepaliveBytes } from '../../../src/bgp/messages/keepalive.ts'
import type { FsmState } from '../../../src/bgp/fsm/events.ts'
import type { Neighbor } from '../../../src/desired/model.ts'
import { parseAddress } from '../../../src/ip/address.ts'
import { InMemoryNetwork } from '../../../src/speaker/session/in-memory.ts'
import { changedFields, type Effect, effects } from '../../../src/speaker/session/neighbor-effects.ts'
import type { FromSpeaker } from '../../../src/speaker/protocol.ts'
import { neighborOf, Recorded } from '../pair.ts'
import { ScriptedPeer, type ScriptedConnection } from '../virtual.ts'
import { bytes, marker, peerOpen } from './fixture.ts'

const address = (text: string) => parseAddress(text) ?? assert.fail(text)
const states: readonly FsmState[] = ['Idle', 'Connect', 'Active', 'OpenSent', 'OpenConfirm', 'Established']
const isConnectedIn = (state: FsmState): boolean => ['OpenSent', 'OpenConfirm', 'Established'].includes(state)

const before = neighborOf(64_512, 64_513, '192.0.2.2', {
  holdTimeSec: 90,
  keepaliveSec: 30,
  connectRetrySec: 30,
  maxPrefixes: 100,
  delayOpenSec: 0,
})
const route = bytes(`${marker} 002f 02 0000 0014 400101 00 4002 06 0201 0000fc01 4003 04 c0000209 18c63364`)

/** A value other than that of {@link before} for each field; a new field needs one here too. */
const other: { readonly [F in keyof Required<Neighbor>]: Neighbor[F] } = {
  id: '64512/192.0.2.2',
  source: { kind: 'Test', name: 'another' },
  virtualRouter: 'another',
  peerName: 'another',
  localAsn: 64_514,
  localAs: 64_515,
  peerAsn: 0,
  refusesOwnAs: true,
  peerAddress: '192.0.2.3',
  peerPort: 1179,
  listenPort: 1790,
  routerId: '10.9.9.9',
  families: ['ipv4-unicast', 'ipv6-unicast'],
  holdTimeSec: 30,
  keepaliveSec: 5,
  connectRetrySec: 2,
  multihopTtl: 7,
  passive: true,
  password: 'secret',
  gracefulRestart: { restartTimeSec: 60, notification: false },
  bfd: { receiveIntervalMs: 100, transmitIntervalMs: 100, detectMultiplier: 3, isPassive: false },
  ttlSecurityHops: 1,
  sourceAddress: '192.0.2.1',
  nextHops: { 'ipv4-unicast': '198.51.100.77' },
  nodeAddresses: { 'ipv4-unicast': '198.51.100.78' },
  interface: 'eth1',
  delayOpenSec: 20,
  tcpUserTimeoutSec: 33,
  role: 'customer',
  addPathReceive: true,
  maxPrefixes: 1,
  maxPrefixesOut: 5,
  importPrefixes: [{ prefix: '198.51.100.0/24' }],
  enforceFirstAs: false,
  rejectAsSets: false,
  allowAsIn: 1,
}

/** A speaker whose one session was brought into a state by the script. */
async function stage(state: FsmState) {
  const network = new InMemoryNetwork()
  const host = network.host(address('192.0.2.1'))
  const node = new Recorded({ host: '::', port: 179 }, { isRestart: false, isForwardingPreserved: false }, host)
  const far = network.host(address('192.0.2.2'))
  const peer = state === 'Active' ? undefined : new ScriptedPeer(far, address('192.0.2.1'))
  await node.speaker.start()
  if (state === 'Connect') far.isUnplugged = true
  node.speaker.handle({ type: 'configure', neighbors: [before] })
  await network.advance(0.5)
  const connection = peer?.last
  const say = (...messages: Uint8Array[]): void => connection?.say(...messages)
  if (state === 'Idle') say(bytes(`${marker} 0013 09`))
  if (state === 'OpenConfirm') say(peerOpen([{ type: 'routeRefresh' }], 90))
  if (state === 'Established') say(peerOpen([{ type: 'routeRefresh' }], 90), keepaliveBytes)
  await network.advance(0.1)
  assert.equal(node.peers[0]?.state, state)
  return { network, host, node, peer, far, connection }
}

type Stage = Awaited<ReturnType<typeof stage>>
const configure = async ({ network, node }: Stage, more: Partial<Neighbor>): Promise<void> => {
  node.speaker.handle({ type: 'configure', neighbors: [{ ...before, ...more }] })
  await network.advance(0.2)
}
const endedBy = (connection: ScriptedConnection | undefined): string | undefined =>
  connection?.messages.find((message) => message.startsWith('03'))
const changes = (said: readonly FromSpeaker[]): number => said.filter(({ type }) => type === 'peer').length

/** What an effect looks like from outside. */
const checks: Readonly<Record<Effect, (on: Stage, state: FsmState, field: keyof Neighbor) => Promise<void>>> = {
  shown: async ({ node, connection }, state) => {
    assert.equal(endedBy(state === 'Idle' ? undefined : connection), undefined)
    assert.equal(node.peers[0]?.state, state)
  },
  newSession: async ({ connection }, state) => {
    if (isConnectedIn(state)) assert.equal(endedBy(connection), '030606')
  },
  nextOpen: async ({ node, connection }, state, field) => {
    if (state !== 'Idle') assert.equal(endedBy(connection), undefined)
    const said = field === 'holdTimeSec' ? 'hold time 90 s -> 30 s' : 'graceful restart off -> 60 s'
    assert.deepEqual(node.peers[0]?.pending, isConnectedIn(state) ? [said] : undefined)
  },
  session: async (on, state, field) => sessionChecks[field]?.(on, state) ?? assert.fail(`no check of ${field}`),
  view: async ({ node, connection }, state) => {
    if (state !== 'Idle') assert.equal(endedBy(connection), undefined)
    assert.equal(node.peers[0]?.state, state)
  },
  importList: async (on, state) => {
    if (state !== 'Established') return
    on.connection?.say(route)
    await on.network.advance(0.2)
    const [path] = on.node.ask({ what: 'paths', prefix: '198.51.100.0/24' }).routes ?? []
    assert.equal(path?.best, true, 'what is named now is imported')
  },
  importChecks: async ({ connection }, state) => {
    if (state === 'Established') assert.equal(connection?.messages.at(-1), '0500010001', 'the peer is asked again')
  },
  limit: async (on, state) => {
    if (state !== 'Established') return
    const second = Uint8Array.from(route)
    second[second.length - 1] = 0x65
    on.connection?.say(route, second)
    await on.network.advance(0.2)
    assert.equal(endedBy(on.connection), '03060100010100000001')
    await configure(on, { maxPrefixes: 100 })
    assert.notEqual(on.node.peers[0]?.state, 'Idle', 'a raised limit ends the wait')
  },
  listener: async ({ network, far }, state) => {
    if (state === 'Idle' || state === 'Connect') return
    let end: string | undefined
    let isUp = false
    const transport = far.dial({ peer: address('192.0.2.1'), port: 1790, ttl: 1 })
    transport.attach({
      connected: () => (isUp = true),
      data: () => {},
      drained: () => {},
      failed: (reason) => (end = reason),
      closed: () => {},
    })
    await network.advance(0.2)
    assert.deepEqual([isUp, end], [true, undefined])
  },
}

const sessionChecks: Partial<Record<keyof Neighbor, (on: Stage, state: FsmState) => Promise<void>>> = {
  passive: async (on, state) => {
    const dials = on.host.dialled.length
    if (!isConnectedIn(state)) {
      await on.network.advance(3600)
      assert.equal(on.host.dialled.length, dials, 'nothing is dialled in an hour')
      assert.equal(on.node.peers[0]?.state, 'Active')
      await configure(on, {})
      assert.equal(on.host.dialled.length, dials + 1, 'and back: dialled at once')
    } else assert.equal(on.node.peers[0]?.state, state)
  },
  connectRetrySec: async (on, state) => {
    const dials = on.host.dialled.length
    await on.network.advance(2)
    if (state === 'Active') assert.equal(on.host.dialled.length, dials + 1)
  },
  delayOpenSec: async (on, state) => {
    if (isConnectedIn(state)) return assert.equal(on.node.peers[0]?.state, state)
    on.far.isUnplugged = false
    const peer = on.peer ?? new ScriptedPeer(on.far, address('192.0.2.1'))
    await on.network.advance(12)
    assert.equal(peer.last?.messages.length, 0, 'our OPEN waits')
    await configure(on, { delayOpenSec: 0 })
    assert.equal(peer.last?.messages[0]?.startsWith('01'), true, 'and no longer')
  },
  tcpUserTimeoutSec: async (on, state) => {
    if (isConnectedIn(state)) assert.equal(on.host.dialled.at(-1)?.userTimeoutMs, 33_000)
    await configure(on, {})
    // Twice the hold time where one was agreed, else what the kernel has.
    if (isConnectedIn(state)) assert.equal(on.host.dialled.at(-1)?.userTimeoutMs, state === 'Established' ? 180_000 : 0)
  },
  bfd: async (on, state) => {
    assert.equal(on.node.peers[0]?.state, state)
    assert.deepEqual(
      [...on.host.watches].map(({ settings }) => settings.transmitIntervalMs),
      [100],
    )
    await configure(on, {})
    assert.equal(on.host.watches.size, 0)
  },
  keepaliveSec: async (on, state) => {
    if (state !== 'OpenConfirm' && state !== 'Established') return
    const heard = on.connection?.messages.filter((message) => message === '04').length ?? 0
    await on.network.advance(5)
    assert.equal(on.connection?.messages.filter((message) => message === '04').length, heard + 1)
    if (state === 'Established') assert.equal(on.node.peers[0]?.keepaliveSec, 5)
  },
}

for (const field of Object.keys(effects) as (keyof Neighbor)[])
  test(`a change of ${field} has its effect in every state: ${effects[field]} (RFC 4271 8.1.1)`, async () => {
    for (const state of states) {
      const on = await stage(state)
      const said = changes(on.node.said)
      await configure(on, { [field]: other[field] })
      await checks[effects[field]](on, state, field)
      if (effects[field] === 'shown' || effects[field] === 'view') assert.equal(changes(on.node.said), said)
    }
  })

test('what is absent and what is said to be the default are no change', () => {
  const said: Neighbor = { ...before, addPathReceive: false, enforceFirstAs: true, rejectAsSets: true, allowAsIn: 0 }
  assert.deepEqual(changedFields(before, { ...said, importPrefixes: [], nodeAddresses: {} }), [])
  const two: Neighbor = { ...before, families: ['ipv4-unicast', 'ipv6-unicast'] }
  assert.deepEqual(changedFields(two, { ...two, families: ['ipv6-unicast', 'ipv4-unicast'] }), [])
})
