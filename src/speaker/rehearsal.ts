/**
 * Two speakers in memory send each other a table before the real one starts: the engine has then compiled what a
 * session, an announcement and a received table run through. Without it the first sessions of a process pay for that.
 *
 *     announcer --sessions, UPDATEs over InMemoryNetwork--> receiver    both forgotten afterwards
 *                                                      and lists it, as somebody may ask
 *     announcer --the same over loopback------------------> receiver    what the sockets are made of
 *
 * docs/adr/0010-rehearsal.md has the figures.
 */
import type { Neighbor } from '../desired/model.ts'
import { parseAddress } from '../ip/address.ts'
import type { PrefixRoutes } from './protocol.ts'
import type { Environment } from './session/environment.ts'
import { InMemoryNetwork } from './session/in-memory.ts'
import { Speaker } from './speaker.ts'

/** The sizes that were tried lie flat around these. */
const rounds = 6
const routes = 300
/** In the last rounds the receiver lists what it has: the first question of a process is not its longest turn. */
const listings = 2
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
  let next: number | undefined
  const hosts = [announcerAddress, receiverAddress].map((address) => network.host(parseAddress(address) ?? address))
  const [announcer, receiver] = hosts.map(
    (host) =>
      new Speaker({ ...options, listen: { host: '::', port } }, host, (message) => {
        if (message.type !== 'answer') return
        heard += message.peers?.[0]?.families[0]?.received ?? 0
        next = message.next
      }),
  )
  const listReceived = (): void => {
    const query = { what: 'routes', table: 'received', family: 'ipv4-unicast' } as const
    next = undefined
    do receiver?.handle({ type: 'query', id: 0, query: next === undefined ? query : { ...query, from: next } })
    while (next !== undefined)
  }
  if (announcer === undefined || receiver === undefined) return 0
  for (const speaker of [announcer, receiver]) {
    await speaker.start()
    speaker.handle({ type: 'synced' })
  }
  for (let round = 0; round < rounds; round++) {
    announcer.handle({ type: 'routes', prefixes: hostRoutes(receiverAddress) })
    receiver.handle({
      type: 'configure',
      neighbors: [neighbor(announcerAddress, announcerAsn, receiverAsn)],
    })
    announcer.handle({
      type: 'configure',
      neighbors: [neighbor(receiverAddress, receiverAsn, announcerAsn)],
    })
    await network.advance(roundSec)
    receiver.handle({ type: 'query', id: round, query: { what: 'peers' } })
    if (round >= rounds - listings) listReceived()
    for (const speaker of [announcer, receiver]) speaker.handle({ type: 'configure', neighbors: [] })
    await network.advance(roundSec)
  }
  return heard
}

/** Of the sockets: what is cold there is Node's own, and little of it. */
const socketRounds = 2
/** More than loopback needs; where it is down, or a filter drops what it carries, nothing waits for it any longer. */
const socketSec = 0.25

/**
 * The same over sockets of the machine, on a port of loopback that is open meanwhile; answers how many prefixes were
 * heard.
 */
export async function rehearseSockets(environment: Environment): Promise<number> {
  const host = '127.0.0.1'
  let heard = 0
  const ends: Promise<void>[] = []
  const speakers = [{ listen: { host, port: 0 } }, {}].map((listen) => {
    const ended = Promise.withResolvers<void>()
    ends.push(ended.promise)
    return new Speaker({ isRestart: false, isForwardingPreserved: false, ...listen }, environment, (message) => {
      if (message.type === 'answer') heard = message.peers?.[0]?.families[0]?.received ?? 0
      if (message.type === 'stopped') ended.resolve()
    })
  })
  const [receiver, announcer] = speakers
  if (receiver === undefined || announcer === undefined) return 0
  await receiver.start()
  let all = 0
  for (let round = 0; round < socketRounds && receiver.port !== undefined; round++) {
    heard = 0
    announcer.handle({ type: 'routes', prefixes: hostRoutes(host) })
    receiver.handle({ type: 'configure', neighbors: [neighbor(host, announcerAsn, receiverAsn)] })
    const dialled = { ...neighbor(host, receiverAsn, announcerAsn), peerPort: receiver.port }
    announcer.handle({ type: 'configure', neighbors: [dialled] })
    const isHeard = await turned(environment, () => {
      receiver.handle({ type: 'query', id: round, query: { what: 'peers' } })
      return heard === routes
    })
    if (!isHeard) break
    all += heard
    for (const speaker of speakers) speaker.handle({ type: 'configure', neighbors: [] })
  }
  for (const speaker of speakers) speaker.handle({ type: 'stop', mode: 'shutdown', text: '' })
  await Promise.all(ends)
  return all
}

/** False when it did not come about in time. */
async function turned(environment: Environment, isSo: () => boolean): Promise<boolean> {
  let isLate = false
  const late = environment.after(socketSec, () => {
    isLate = true
  })
  while (!isSo() && !isLate) await new Promise<void>((resolve) => environment.soon(resolve))
  late.cancel()
  return !isLate
}

function neighbor(peerAddress: string, peerAsn: number, localAsn: number): Neighbor {
  return {
    id: `${localAsn}/${peerAddress}`,
    source: { kind: 'Rehearsal', name: 'rehearsal' },
    virtualRouter: String(localAsn),
    localAsn,
    peerAsn,
    peerAddress,
    peerPort: port,
    routerId: localAsn === receiverAsn ? receiverAddress : announcerAddress,
    families: ['ipv4-unicast'],
    holdTimeSec: 90,
    keepaliveSec: 30,
    connectRetrySec: 5,
    multihopTtl: 1,
    passive: localAsn === receiverAsn,
    nextHops: { 'ipv4-unicast': announcerAddress },
  }
}

/** Of the network that is set aside for benchmarks (RFC 2544). */
function hostRoutes(peer: string): PrefixRoutes[] {
  return Array.from({ length: routes }, (_, i) => ({
    prefix: `198.18.${i >> 8}.${i & 255}/32`,
    routes: [{ neighbors: [`${announcerAsn}/${peer}`], attributes: {} }],
  }))
}
