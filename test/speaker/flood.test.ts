/**
 * Everything a network can throw at the BGP port at once, while a session with a hold time of 3 s goes on in the same
 * thread: strangers in masses, neighbors that connect and say nothing, one that sends an octet a second, one that never
 * reads, and one whose every UPDATE carries 60 000 octets that nobody knows.
 */
import assert from 'node:assert/strict'
import net from 'node:net'
import { test } from 'node:test'
import { keepaliveBytes } from '../../src/bgp/messages/keepalive.ts'
import { encodeOpen } from '../../src/bgp/messages/open.ts'
import { encodeUpdate } from '../../src/bgp/messages/update.ts'
import { ipv4Unicast } from '../../src/bgp/messages/types.ts'
import { startSpeakerThread } from '../../src/speaker/speaker-thread.ts'
import { prefixOf } from '../../src/ip/prefix.ts'
import { waitFor } from '../wait.ts'
import { hostRoutes, neighborOf } from './pair.ts'

const speakerAddress = '127.0.0.81'
const port = 11_790
const good = '127.0.0.82'
const attackers = { mute: '127.0.0.83', slow: '127.0.0.84', deaf: '127.0.0.85', bloated: '127.0.0.86' }
const hold = { holdTimeSec: 3, keepaliveSec: 1 }
/** Of the bloated neighbor: three times what its attributes may take here. */
const rounds = 6_400
const sockets = new Set<net.Socket>()

function connect(from: string): net.Socket {
  const socket = net.connect({ port, host: speakerAddress, localAddress: from, noDelay: true })
  sockets.add(socket)
  // Being refused is what most of them are for.
  socket.on('error', () => socket.destroy())
  socket.on('close', () => sockets.delete(socket))
  return socket
}

/** Alive for as long as it is open. */
function keepAlive(socket: net.Socket): void {
  const timer = setInterval(() => socket.write(keepaliveBytes), 1000)
  socket.on('close', () => clearInterval(timer))
}

const openOf = (asn: number, holdTimeSec: number): Uint8Array =>
  encodeOpen({
    type: 'open',
    version: 4,
    myAs: asn,
    holdTimeSec,
    bgpId: asn,
    capabilities: [
      { type: 'multiprotocol', family: ipv4Unicast },
      { type: 'fourOctetAs', asn },
      { type: 'extendedMessage' },
    ],
  })

/** Comes up, then sends a different attribute of 60 000 octets with every prefix, for so many prefixes. */
async function bloat(prefixes: number): Promise<void> {
  const socket = connect(attackers.bloated)
  socket.resume()
  keepAlive(socket)
  socket.write(Buffer.concat([openOf(65_086, 90), keepaliveBytes]))
  const codec = {
    fourOctetAs: true,
    isExternal: true,
    families: [ipv4Unicast],
    maxMessageBytes: 65_535,
    extendedNextHop: false,
    addPathReceive: [],
  }
  for (let round = 0; round < prefixes && !socket.destroyed; round++) {
    const value = new Uint8Array(60_000).fill(round & 255)
    value[0] = round >> 8
    const update = encodeUpdate(
      {
        type: 'update',
        withdrawn: [],
        attributes: {
          origin: 0,
          asPath: [{ type: 2, asns: [65_086] }],
          nextHop: 0xc6336409,
          unknown: [{ flags: 0xc0, type: 200, value }],
        },
        nlri: [prefixOf(0x0b000000 + round * 256, 24)],
      },
      codec,
    )
    if (!socket.write(update))
      await waitFor('room to write', () => socket.destroyed || socket.writableLength === 0, {
        deadlineMs: 30_000,
        everyMs: 2,
      })
  }
}

test('floods, mute, slow, deaf and bloated neighbors leave a session with a hold time of 3 s alone, in bounded ' +
  'memory', {
  timeout: 90_000,
}, async (t) => {
  const speaker = startSpeakerThread({
    listen: { host: speakerAddress, port },
    isRestart: false,
    isForwardingPreserved: false,
  })
  const router = startSpeakerThread({ isRestart: false, isForwardingPreserved: false })
  t.after(async () => {
    for (const socket of sockets) socket.destroy()
    await Promise.all([speaker.stop('shutdown', ''), router.stop('shutdown', '')])
  })
  const lost: string[] = []
  router.onPeer((peer, previous) => previous === 'Established' && lost.push(peer.lastReset?.text ?? peer.state))
  const passive = (asn: number, address: string) =>
    neighborOf(65_001, asn, address, { ...hold, passive: true, routerId: speakerAddress })
  speaker.post({
    type: 'configure',
    neighbors: [passive(65_082, good), ...Object.values(attackers).map((address, i) => passive(65_083 + i, address))],
  })
  router.post({
    type: 'configure',
    neighbors: [
      neighborOf(65_082, 65_001, speakerAddress, { ...hold, peerPort: port, sourceAddress: good, routerId: good }),
    ],
  })
  const isUp = async (): Promise<boolean> => (await router.peers())[0]?.state === 'Established'
  await waitFor('the good session', isUp)
  const before = process.memoryUsage().rss

  const startedAt = performance.now()
  const slow = Buffer.concat([openOf(65_084, 3), keepaliveBytes])
  let sent = 0
  const deaf = connect(attackers.deaf)
  deaf.pause()
  keepAlive(deaf)
  deaf.write(Buffer.concat([openOf(65_085, 90), keepaliveBytes]))
  let slowSocket = connect(attackers.slow)
  const drip = setInterval(() => {
    if (slowSocket.destroyed) slowSocket = connect(attackers.slow)
    else slowSocket.write(slow.subarray(sent % slow.length, (sent % slow.length) + 1))
    sent++
  }, 1000)
  t.after(() => clearInterval(drip))
  const bloating = bloat(rounds)
  let strangers = 0
  let mutes = 0
  let med = 0
  await waitFor(
    'twelve seconds of it, and enough',
    async () => {
      for (let i = 0; i < 20; i++) connect('127.0.0.99').once('connect', () => strangers++)
      for (let i = 0; i < 5; i++) connect(attackers.mute).once('connect', () => mutes++)
      // The deaf neighbor falls further behind with every change.
      med++
      speaker.post({
        type: 'routes',
        prefixes: hostRoutes(2_000).map((prefix) => ({
          prefix,
          routes: [{ neighbors: [`65001/${attackers.deaf}`], attributes: { med } }],
        })),
      })
      assert.equal((await speaker.peers()).length, 5)
      return performance.now() - startedAt > 12_000 && strangers > 500 && mutes > 100
    },
    { deadlineMs: 60_000, everyMs: 50 },
  )
  await bloating

  assert.deepEqual(lost, [])
  assert.equal(await isUp(), true)
  await waitFor('every prefix of the bloated neighbor is counted', async () => {
    const bloated = (await speaker.peers()).find(({ peerAddress }) => peerAddress === attackers.bloated)
    return bloated?.families[0]?.received === rounds
  })
  const grown = (process.memoryUsage().rss - before) / 2 ** 20
  assert.ok(grown < 700, `${Math.round(grown)} MB more after ${(rounds * 60_000) / 1e6} MB of unknown attributes`)
})
