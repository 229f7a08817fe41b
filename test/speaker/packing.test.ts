/** How many UPDATEs a table takes, in whatever turns and for whoever comes up when: each but the last is full. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatAddress } from '../../src/ip/address.ts'
import { formatPrefix, type Prefix, prefixOf } from '../../src/ip/prefix.ts'
import type { Environment } from '../../src/speaker/session/environment.ts'
import { type InMemoryHost, InMemoryNetwork } from '../../src/speaker/session/in-memory.ts'
import { neighborOf, Recorded } from './pair.ts'
import { Router } from './router.ts'
import { seen } from './virtual.ts'

const nodeAsn = 64_512
const node = 0xc0000201
const peers = 4
const prefixes: readonly Prefix[] = Array.from({ length: 40_000 }, (_, i) => prefixOf(0x0a000000 + i, 32))
/** An UPDATE of 4096 octets takes 808 host routes beside these attributes; two more for the rest and End-of-RIB. */
const goal = Math.floor(2 + prefixes.length / 800)

/** Each turn takes a while, and is over its budget or not. */
function withTurns(host: InMemoryHost, isLate: boolean): Environment {
  return {
    now: () => host.now(),
    uptimeSec: () => host.uptimeSec(),
    random: () => host.random(),
    after: (sec, callback) => host.after(sec, callback),
    soon: (callback) => void host.after(0.003, callback),
    startTurn: () => () => isLate,
    dial: (options) => host.dial(options),
    listen: (options) => host.listen(options),
    localAddresses: () => host.localAddresses(),
    discoverRouters: (device, found) => host.discoverRouters(device, found),
    watchPath: (path, settings, told) => host.watchPath(path, settings, told),
  }
}

class Table {
  readonly network = new InMemoryNetwork()
  readonly node: Recorded
  readonly routers: readonly Router[]

  constructor(isLate: boolean) {
    const restart = { isRestart: false, isForwardingPreserved: false }
    this.node = new Recorded(undefined, restart, withTurns(this.network.host(node), isLate))
    this.routers = Array.from(
      { length: peers },
      (_, i) => new Router(this.network.host(0xc000020b + i), 64_601, node, []),
    )
  }

  /** The first so many of the neighbors are configured. */
  configure(count: number): void {
    const neighbors = this.routers.slice(0, count).map(({ address }) =>
      neighborOf(nodeAsn, 64_601, formatAddress(address), {
        routerId: '192.0.2.1',
        holdTimeSec: 90,
        keepaliveSec: 30,
      }),
    )
    this.node.speaker.handle({ type: 'configure', neighbors })
  }

  announce(): void {
    const ids = this.routers.map(({ address }) => `${nodeAsn}/${formatAddress(address)}`)
    this.node.speaker.handle({
      type: 'routes',
      prefixes: prefixes.map((prefix) => ({
        prefix: formatPrefix(prefix),
        routes: [{ neighbors: ids, attributes: {} }],
      })),
    })
    this.node.speaker.handle({ type: 'synced' })
  }

  async check(what: string): Promise<void> {
    await seen(this.network, 'all of it', () => this.routers.every(({ session }) => session?.endOfRibs === 1))
    for (const [i, { session }] of this.routers.entries()) {
      assert.equal(session?.table.size, prefixes.length)
      assert.ok((session?.updates ?? 0) <= goal, `${what}: ${session?.updates} UPDATEs to router ${i}, ${goal} at most`)
    }
  }
}

for (const isLate of [false, true]) {
  const turns = isLate ? 'turns that are late' : 'turns that are not'
  test(`a table that is there before the sessions takes the fewest UPDATEs in ${turns}`, async () => {
    const table = new Table(isLate)
    await table.node.speaker.start()
    table.announce()
    await table.network.advance(10)
    table.configure(peers)
    await table.check(turns)
  })

  test(`so does one for routers that come up while others are sent it, in ${turns}`, async () => {
    const table = new Table(isLate)
    await table.node.speaker.start()
    table.announce()
    await table.network.advance(10)
    for (let count = 1; count <= peers; count++) {
      table.configure(count)
      await table.network.advance(0.008)
    }
    await table.check(turns)
  })

  test(`so does one that comes when the sessions are up, in ${turns}`, async () => {
    const table = new Table(isLate)
    await table.node.speaker.start()
    table.configure(peers)
    await table.network.advance(10)
    table.announce()
    await table.check(turns)
  })
}
