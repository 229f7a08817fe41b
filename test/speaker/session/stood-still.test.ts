/** A node whose loop stands still for longer than a hold time, while its peer goes on: over real sockets. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { keepaliveBytes } from '../../../src/bgp/messages/keepalive.ts'
import { encodeOpen } from '../../../src/bgp/messages/open.ts'
import { standStill, waitFor } from '../../wait.ts'
import { neighborOf, nodeAddress, nodeAsn, Recorded } from '../pair.ts'

const [address, asn] = ['127.0.0.71', 65_071]

/** Says what it is given to whoever connects, and a KEEPALIVE twice a second until it is told to say no more. */
const router = `
import net from 'node:net'
import { parentPort, workerData } from 'node:worker_threads'
let isSilent = false
const server = net.createServer((socket) => {
  socket.on('error', () => socket.destroy())
  socket.resume()
  socket.write(workerData.open)
  const alive = setInterval(() => isSilent || socket.write(workerData.keepalive), 500)
  socket.on('close', () => clearInterval(alive))
})
server.listen(0, workerData.address, () => parentPort.postMessage(server.address().port))
parentPort.on('message', () => (isSilent = true))
`

test('a peer whose KEEPALIVEs lie unread in the socket is not dead, one that said nothing is (RFC 4271 6.5)', async () => {
  const capabilities = [{ type: 'fourOctetAs', asn } as const]
  const open = encodeOpen({ type: 'open', version: 4, myAs: asn, holdTimeSec: 3, bgpId: 0x7f000047, capabilities })
  const peer = new Worker(new URL(`data:text/javascript,${encodeURIComponent(router)}`), {
    workerData: { address, open: Buffer.concat([open, keepaliveBytes]), keepalive: keepaliveBytes },
  })
  const [peerPort] = (await once(peer, 'message')) as [number]
  const node = new Recorded(undefined)
  await node.speaker.start()
  const more = { peerPort, sourceAddress: nodeAddress, routerId: nodeAddress, holdTimeSec: 3, keepaliveSec: 1 }
  node.speaker.handle({ type: 'configure', neighbors: [neighborOf(nodeAsn, asn, address, more)] })
  await waitFor('Established', () => node.peers[0]?.state === 'Established')
  const before = node.peers[0]?.messagesIn ?? 0
  // The loop does not come round: nothing is read and no timer runs.
  standStill(4_000)
  await waitFor('what lay in the socket', () => (node.peers[0]?.messagesIn ?? 0) >= before + 7)
  assert.deepEqual([node.peers[0]?.state, node.peers[0]?.flaps], ['Established', 0])
  peer.postMessage('silence')
  await waitFor('its end', () => node.peers[0]?.state !== 'Established')
  assert.match(node.peers[0]?.lastReset?.text ?? '', /hold timer/i)
  await node.stop()
  await peer.terminate()
})
