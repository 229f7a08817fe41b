/** What the recordings of this folder show: each with its comment and the run that is recorded. */
import type net from 'node:net'
import type { Neighbor } from '../../src/desired/model.ts'
import { keepaliveBytes } from '../../src/bgp/messages/keepalive.ts'
import type { Capability } from '../../src/bgp/messages/capabilities.ts'
import type { PeerSnapshot, ToSpeaker } from '../../src/speaker/protocol.ts'
import { waitFor } from '../wait.ts'
import { bytes, marker, neighbor, peerOpen, type RawPeer } from '../speaker/session/fixture.ts'

/** The speaker under recording, and a peer at 127.0.0.2 that says what the scenario tells it to say. */
export interface Stage {
  readonly peer: RawPeer
  readonly port: number
  hear(message: ToSpeaker): void
  snapshot(): PeerSnapshot
  /** Connects to the speaker as the peer does. */
  connect(): Promise<net.Socket>
}

export interface Scenario {
  readonly name: string
  readonly comment: string
  run(stage: Stage): Promise<void>
}

const endOfRib = bytes(`${marker} 0017 02 0000 0000`)
/** 198.51.100.0/24 by way of 192.0.2.9, AS path 64513. */
const goodUpdate = bytes(`${marker} 002f 02 0000 0014 400101 00 4002 06 0201 0000fc01 4003 04 c0000209 18c63364`)
/** The same with an ORIGIN of 7. */
const badOrigin = bytes(`${marker} 002f 02 0000 0014 400101 07 4002 06 0201 0000fc01 4003 04 c0000209 18c63364`)

const gracefulRestart: Capability = {
  type: 'gracefulRestart',
  restartState: true,
  notification: false,
  restartTimeSec: 120,
  families: [{ family: { afi: 1, safi: 1 }, forwarding: true }],
}

const configure = (stage: Stage, more: Partial<Neighbor> = {}): void =>
  stage.hear({
    type: 'configure',
    neighbors: [
      neighbor({
        peerPort: stage.peer.port,
        sourceAddress: '127.0.0.1',
        nextHops: { 'ipv4-unicast': '198.51.100.1' },
        ...more,
      }),
    ],
  })
const routes = (stage: Stage, ...prefixes: readonly string[]): void =>
  stage.hear({
    type: 'routes',
    prefixes: prefixes.map((prefix) => ({ prefix, routes: [{ neighbors: ['64512/127.0.0.2'], attributes: {} }] })),
  })
const state = (stage: Stage, wanted: string): Promise<unknown> =>
  waitFor(wanted, () => stage.snapshot().state === wanted)
const heard = ({ peer }: Stage, what: string, isIt: (messages: readonly string[]) => boolean): Promise<unknown> =>
  waitFor(what, () => isIt(peer.messages))

async function establish(
  stage: Stage,
  more: Partial<Neighbor> = {},
  capabilities: readonly Capability[] = [],
): Promise<void> {
  configure(stage, more)
  await answerOpen(stage, capabilities)
}

async function answerOpen(stage: Stage, capabilities: readonly Capability[] = []): Promise<void> {
  await heard(stage, 'our OPEN', (messages) => messages[0]?.startsWith('01') === true)
  stage.peer.socket?.write(Buffer.concat([peerOpen(capabilities), keepaliveBytes]))
  await state(stage, 'Established')
}

export const scenarios: readonly Scenario[] = [
  {
    name: 'announce-and-withdraw',
    comment:
      'A session comes up, two routes are announced in one UPDATE, End-of-RIB follows `synced`, one route is ' +
      'withdrawn (RFC 4271 4.3, RFC 4724 2).',
    run: async (stage) => {
      routes(stage, '192.0.2.1/32', '192.0.2.2/32')
      await establish(stage)
      await heard(stage, 'the routes', (messages) =>
        messages.some((message) => message.endsWith('20c0000201' + '20c0000202')),
      )
      stage.hear({ type: 'synced' })
      await heard(stage, 'End-of-RIB', (messages) => messages.includes('0200000000'))
      stage.hear({ type: 'routes', prefixes: [{ prefix: '192.0.2.1/32', routes: [] }] })
      await heard(stage, 'the withdrawal', (messages) =>
        messages.some((message) => message.startsWith('02000520c0000201')),
      )
    },
  },
  {
    name: 'malformed-origin',
    comment: 'An UPDATE with an ORIGIN of 7 withdraws its route and leaves the session alone (RFC 7606 7.1).',
    run: async (stage) => {
      await establish(stage)
      stage.peer.socket?.write(goodUpdate)
      await waitFor('the route', () => stage.snapshot().families[0]?.received === 1)
      stage.peer.socket?.write(badOrigin)
      await waitFor('its end', () => stage.snapshot().families[0]?.received === 0)
    },
  },
  {
    name: 'shutdown-of-the-peer',
    comment:
      'The peer closes with Cease/Administrative Shutdown and a text (RFC 9003); nothing is answered, and the ' +
      'next dial waits for the idle hold time.',
    run: async (stage) => {
      await establish(stage)
      stage.peer.socket?.end(bytes(`${marker} 0021 03 0602 0b 6d61696e74656e616e6365`))
      await state(stage, 'Idle')
      await waitFor('the next dial', () => stage.peer.connections === 2)
    },
  },
  {
    name: 'collision',
    comment:
      'Both sides open a connection; the peer has the larger BGP Identifier, so the one that it opened is kept ' +
      'and ours ends with Cease 6/7 (RFC 4271 6.8).',
    run: async (stage) => {
      configure(stage)
      await heard(stage, 'our OPEN', (messages) => messages[0]?.startsWith('01') === true)
      stage.peer.socket?.write(peerOpen())
      await state(stage, 'OpenConfirm')
      const incoming = await stage.connect()
      incoming.write(Buffer.concat([peerOpen(), keepaliveBytes]))
      await heard(stage, '6/7', (messages) => messages.at(-1) === '030607')
      await state(stage, 'Established')
      incoming.destroy()
      await waitFor('the loss', () => stage.snapshot().state !== 'Established')
    },
  },
  {
    name: 'restarting-peer',
    comment:
      'A peer with graceful restart is lost with two routes, which stay, stale; it comes back with F=1, sends ' +
      'one of them, and End-of-RIB removes the other (RFC 4724 4.2).',
    run: async (stage) => {
      await establish(stage, { gracefulRestart: { restartTimeSec: 120, notification: false } }, [gracefulRestart])
      const another = Buffer.from(goodUpdate)
      another[another.length - 1] = 0x65
      stage.peer.socket?.write(Buffer.concat([goodUpdate, another, endOfRib]))
      await waitFor('two routes', () => stage.snapshot().families[0]?.received === 2)
      stage.peer.socket?.destroy()
      await waitFor('the next dial', () => stage.peer.connections === 2)
      await answerOpen(stage, [gracefulRestart])
      stage.peer.socket?.write(Buffer.concat([goodUpdate, endOfRib]))
      await waitFor('one route', () => stage.snapshot().families[0]?.received === 1)
    },
  },
  {
    name: 'refresh-of-the-peer',
    comment:
      'A peer frames its answer to a refresh with BoRR and EoRR; what it did not send again between them is ' +
      'gone (RFC 7313 4).',
    run: async (stage) => {
      await establish(stage, {}, [{ type: 'enhancedRouteRefresh' }])
      const another = Buffer.from(goodUpdate)
      another[another.length - 1] = 0x65
      stage.peer.socket?.write(Buffer.concat([goodUpdate, another]))
      await waitFor('two routes', () => stage.snapshot().families[0]?.received === 2)
      stage.peer.socket?.write(
        Buffer.concat([bytes(`${marker} 0017 05 0001 01 01`), another, bytes(`${marker} 0017 05 0001 02 01`)]),
      )
      await waitFor('one route', () => stage.snapshot().families[0]?.received === 1)
    },
  },
  {
    name: 'open-in-established',
    comment:
      'A second OPEN in Established is a Finite State Machine Error 5/3 with the type of the message (RFC 6608 4).',
    run: async (stage) => {
      await establish(stage)
      stage.peer.socket?.write(peerOpen())
      await heard(stage, '5/3', (messages) => messages.at(-1) === '03050301')
      await state(stage, 'Idle')
    },
  },
  {
    name: 'too-many-prefixes',
    comment:
      'The second prefix of a peer that may send one ends the session with 6/1 and family and limit as data ' +
      '(RFC 4486 4); the next dial waits for minutes.',
    run: async (stage) => {
      await establish(stage, { maxPrefixes: 1 })
      const another = Buffer.from(goodUpdate)
      another[another.length - 1] = 0x65
      stage.peer.socket?.write(Buffer.concat([goodUpdate, another]))
      await heard(stage, '6/1', (messages) => messages.at(-1) === '03060100010100000001')
      await state(stage, 'Idle')
    },
  },
  {
    name: 'stop-of-the-node',
    comment:
      'The agent stops for good: Cease/Administrative Shutdown with its reason (RFC 9003), then the thread ends.',
    run: async (stage) => {
      await establish(stage)
      stage.hear({ type: 'stop', mode: 'shutdown', text: 'node is drained' })
      await heard(stage, '6/2', (messages) => messages.at(-1)?.startsWith('0306020f') === true)
    },
  },
]
