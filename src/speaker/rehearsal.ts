/**
 * Two speakers in memory send each other a table before the real one starts: the engine has then compiled what a
 * session, an announcement and a received table run through. Without it the first sessions of a process pay for that.
 *
 *     announcer --sessions, UPDATEs over InMemoryNetwork--> receiver    both forgotten afterwards
 *
 * docs/adr/0010-rehearsal.md has the figures.
 */
import type { Neighbor } from '../desired/model.ts'
import { parseAddress } from '../ip/address.ts'
import type { PrefixRoutes } from './protocol.ts'
import { InMemoryNetwork } from './session/in-memory.ts'
import { Speaker } from './speaker.ts'

/** The sizes that were tried lie flat around these. */
const rounds = 6
const routes = 300
/** More than a session takes to come up and to send them. */
const roundSec = 30

const [announcerAddress, receiverAddress] = ['192.0.2.1', '192.0.2.2'] as const
const [announcerAsn, receiverAsn] = [64_496, 64_497] as const
const port = 179

/** Takes some tens of milliseconds; answers how many prefixes the receiver heard, all rounds together. */
export async function rehearse(): Promise<number> {
  const network = new InMemoryNetwork()
  const options = { isRestart: false, isForwardingPreserved: false }
  let heard = 0
  const hosts = [announcerAddress, receiverAddress].map((address) => network.host(parseAddress(address) ?? address))
  const [announcer, receiver] = hosts.map(
    (host) =>
      new Speaker({ ...options, listen: { host: '::', port } }, host, (message) => {
        if (message.type === 'answer') heard += message.peers?.[0]?.families[0]?.received ?? 0
      }),
  )
  if (announcer === undefined || receiver === undefined) return 0
  for (const speaker of [announcer, receiver]) {
    await speaker.start()
    speaker.handle({ type: 'synced' })
  }
  for (let round = 0; round < rounds; round++) {
    announcer.handle({ type: 'routes', prefixes: hostRoutes() })
    receiver.handle({
      type: 'configure',
      neighbors: [neighbor(announcerAddress, announcerAsn, receiverAddress, receiverAsn)],
    })
    announcer.handle({
      type: 'configure',
      neighbors: [neighbor(receiverAddress, receiverAsn, announcerAddress, announcerAsn)],
    })
    await network.advance(roundSec)
    receiver.handle({ type: 'query', id: round, query: { what: 'peers' } })
    for (const speaker of [announcer, receiver]) speaker.handle({ type: 'configure', neighbors: [] })
    await network.advance(roundSec)
  }
  return heard
}

function neighbor(peerAddress: string, peerAsn: number, ownAddress: string, localAsn: number): Neighbor {
  return {
    id: `${localAsn}/${peerAddress}`,
    source: { kind: 'Rehearsal', name: 'rehearsal' },
    virtualRouter: String(localAsn),
    localAsn,
    peerAsn,
    peerAddress,
    peerPort: port,
    routerId: ownAddress,
    families: ['ipv4-unicast'],
    holdTimeSec: 90,
    keepaliveSec: 30,
    connectRetrySec: 5,
    multihopTtl: 1,
    passive: localAsn === receiverAsn,
    nextHops: { 'ipv4-unicast': ownAddress },
  }
}

/** Of the network that is set aside for benchmarks (RFC 2544). */
function hostRoutes(): PrefixRoutes[] {
  return Array.from({ length: routes }, (_, i) => ({
    prefix: `198.18.${i >> 8}.${i & 255}/32`,
    routes: [{ neighbors: [`${announcerAsn}/${receiverAddress}`], attributes: {} }],
  }))
}
