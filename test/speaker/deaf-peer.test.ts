/**
 * A peer that opens a session and never reads: what waits for it is bounded, and the other peers do not wait with it.
 */
import assert from 'node:assert/strict'
import net from 'node:net'
import { test } from 'node:test'
import { encodeOpen } from '../../src/bgp/messages/open.ts'
import { keepaliveBytes } from '../../src/bgp/messages/keepalive.ts'
import { collectGarbage } from '../../src/sys/heap.ts'
import { waitFor } from '../wait.ts'
import { hostRoutes, neighborOf, nodeAddress, nodeAsn, Recorded } from './pair.ts'

const [slow, other] = ['127.0.0.61', '127.0.0.62']

/** Two speakers share a loop, which may not come round for some seconds. */
const patient = { holdTimeSec: 90, keepaliveSec: 30 }

test(
  'a peer that never reads while 50 000 routes change is sent no more than fits its queue, and the other one ' +
    'has every change',
  async () => {
    const router = new Recorded(other)
    await router.speaker.start()
    router.speaker.handle({
      type: 'configure',
      neighbors: [neighborOf(65_012, nodeAsn, nodeAddress, { passive: true, routerId: other, ...patient })],
    })
    const accepted: net.Socket[] = []
    const deaf = net.createServer((socket) => {
      accepted.push(socket)
      socket.on('error', () => socket.destroy())
      socket.write(
        encodeOpen({
          type: 'open',
          version: 4,
          myAs: 65_011,
          holdTimeSec: 90,
          bgpId: 0x7f00003d,
          capabilities: [{ type: 'fourOctetAs', asn: 65_011 }, { type: 'extendedMessage' }],
        }),
      )
      const alive = setInterval(() => socket.write(keepaliveBytes), 500)
      socket.write(keepaliveBytes)
      socket.on('close', () => clearInterval(alive))
      socket.pause()
    })
    await new Promise<void>((resolve) => deaf.listen(0, slow, resolve))
    const address = deaf.address()
    const deafPort = typeof address === 'object' && address !== null ? address.port : 0
    const node = new Recorded(undefined)
    await node.speaker.start()
    const of = (asn: number, at: string, peerPort: number) =>
      neighborOf(nodeAsn, asn, at, {
        peerPort,
        sourceAddress: nodeAddress,
        routerId: nodeAddress,
        ...patient,
      })
    const neighbors = [of(65_011, slow, deafPort), of(65_012, other, router.speaker.port ?? 0)]
    node.speaker.handle({ type: 'configure', neighbors })
    await waitFor('both sessions', () => node.peers.every(({ state }) => state === 'Established'))
    const routes = (med: number) =>
      hostRoutes(50_000).map((prefix) => ({
        prefix,
        routes: [{ neighbors: neighbors.map(({ id }) => id), attributes: { med } }],
      }))
    const external = (): number => {
      collectGarbage()
      return process.memoryUsage().external
    }
    const before = external()
    let rounds = 0
    const messages = (): number[] => node.peers.map(({ messagesOut }) => messagesOut)
    // The kernel's buffers take some megabytes before anything waits here; 50 000 routes are a quarter of one, in five
    // messages.
    for (let isBehind = false; !isBehind && rounds < 80; rounds++) {
      node.speaker.handle({ type: 'routes', prefixes: routes(rounds) })
      // To ask for all of them costs as much as a round does.
      await waitFor(`round ${rounds} at the other router`, () => router.routes('received').at(-1)?.med === rounds, {
        everyMs: 200,
      })
      const [toDeaf = 0, toOther = 0] = messages()
      isBehind = toOther - toDeaf > 16
    }
    assert.ok(rounds < 80, 'the deaf peer was sent everything')
    const buffered = external() - before
    assert.ok(buffered < 48 * 2 ** 20, `${Math.round(buffered / 2 ** 20)} MB outside the heap`)
    assert.equal(router.peers[0]?.flaps, 0)
    await Promise.all([router, node].map((recorded) => recorded.stop()))
    for (const socket of accepted) socket.destroy()
    await new Promise((resolve) => deaf.close(resolve))
  },
)
