import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Neighbor } from '../../src/desired/model.ts'
import type { PrefixRoutes } from '../../src/bgp/speaker/protocol.ts'
import { waitFor } from '../wait.ts'
import { Link, missing, SpeakerProcess } from './link.ts'

const skip = missing('bgpctl', 'ip')
const deadline = { deadlineMs: 25_000, everyMs: 200 }

const configuration = (directory: string): string => `AS 65014
router-id 10.90.0.2
listen on 10.90.0.2
fib-update no
connect-retry 1
holdtime 9
holdtime min 3
socket "${directory}/bgpd.sock"
prefix-set mine { 10.14.0.0/24 }
network 10.14.0.0/24
neighbor 10.90.0.1 {
	remote-as 65001
	descr "node"
	passive
	announce IPv4 unicast
	announce restart yes
	tcp md5sig password s3cret
}
allow from ebgp
allow to ebgp prefix-set mine
`

const neighbor: Neighbor = {
  id: '65001/10.90.0.2',
  source: { kind: 'CiliumBGPPeeringPolicy', name: 'rack0' },
  virtualRouter: 'rack0',
  localAsn: 65_001,
  peerAsn: 65_014,
  peerAddress: '10.90.0.2',
  peerPort: 179,
  routerId: '10.90.0.1',
  families: ['ipv4-unicast'],
  holdTimeSec: 9,
  keepaliveSec: 3,
  connectRetrySec: 1,
  multihopTtl: 1,
  passive: false,
  sourceAddress: '10.90.0.1',
  gracefulRestart: { restartTimeSec: 60, notification: false },
  password: 's3cret',
}
const to = (prefix: string, attributes: PrefixRoutes['routes'][number]['attributes'] = {}): PrefixRoutes => ({ prefix, routes: [{ neighbors: [neighbor.id], attributes }] })

interface Route {
  readonly prefix: string
  readonly stale?: boolean
  readonly exit_nexthop?: string
  readonly aspath?: string
}

test('Herald and OpenBGPD', { skip }, async (t) => {
  const link = new Link('openbgpd')
  t.after(() => link.close())
  const file = join(link.directory, 'bgpd.conf')
  // bgpd refuses a file with a key that others may read, and needs the chroot directory its service unit makes.
  writeFileSync(file, configuration(link.directory), { mode: 0o600 })
  chmodSync(link.directory, 0o755)
  const made = mkdirSync('/run/openbgpd', { recursive: true })
  if (made !== undefined) t.after(() => rmSync(made, { recursive: true, force: true }))
  let log = ''
  const bgpd = link.spawn('router', '/usr/sbin/bgpd', '-d', '-v', '-f', file)
  for (const stream of [bgpd.stdout, bgpd.stderr]) stream?.on('data', (chunk: Buffer) => (log += chunk.toString()))
  // An empty answer when bgpctl fails, as it does until bgpd listens.
  const bgpctl = (command: string): string => link.router('sh', '-c', `bgpctl -s ${link.directory}/bgpd.sock ${command} 2>/dev/null || true`)
  const route = (prefix: string): Route | undefined => (JSON.parse(bgpctl(`-j show rib detail ${prefix}`).trim() || '{}') as { rib?: Route[] }).rib?.find((entry) => entry.prefix === prefix)
  const isUp = (): boolean => /"state": *"Established"/.test(bgpctl('-j show neighbor 10.90.0.1'))
  const start = (isRestart: boolean): SpeakerProcess => {
    const speaker = new SpeakerProcess(link, { listen: { host: '::', port: 179 }, isRestart, isForwardingPreserved: isRestart })
    speaker.post({ type: 'configure', neighbors: [neighbor] })
    return speaker
  }
  await waitFor('bgpd', () => bgpctl('-j show neighbor').includes('10.90.0.1'), deadline)
  let speaker = start(false)

  await t.test('a session with TCP-MD5 comes up (RFC 2385)', async () => {
    await waitFor('the session', isUp, deadline)
  })

  await t.test('a route arrives with next hop, path and communities', async () => {
    speaker.post({ type: 'routes', prefixes: [to('192.0.2.1/32', { communities: [65_000 * 65_536 + 100], largeCommunities: ['65000:1:2'] }), to('192.0.2.2/32')] }, { type: 'synced' })
    await waitFor('both routes', () => route('192.0.2.1/32') !== undefined && route('192.0.2.2/32') !== undefined, deadline)
    const seen = route('192.0.2.1/32')
    assert.equal(seen?.exit_nexthop, '10.90.0.1')
    assert.equal(seen?.aspath, '65001')
    assert.match(JSON.stringify(seen), /65000:100/)
    assert.match(JSON.stringify(seen), /65000:1:2/)
  })

  await t.test('a withdrawn route is gone and the other stays', async () => {
    speaker.post({ type: 'routes', prefixes: [{ prefix: '192.0.2.2/32', routes: [] }] })
    await waitFor('withdrawn', () => route('192.0.2.2/32') === undefined, deadline)
    assert.notEqual(route('192.0.2.1/32'), undefined)
  })

  await t.test('a route of OpenBGPD is seen as received', async () => {
    const route = await waitFor('the route', async () => (await speaker.received()).find(({ prefix }) => prefix === '10.14.0.0/24'), deadline)
    assert.deepEqual([route.peer, route.nextHop, route.asPath], [neighbor.id, '10.90.0.2', '65014'])
  })

  await t.test('routes of a killed speaker stay as stale and come back (RFC 4724 4.2)', async () => {
    await speaker.kill()
    await waitFor('the session lost', () => !isUp(), deadline)
    await waitFor('a stale route', () => route('192.0.2.1/32')?.stale === true, deadline)
    speaker = start(true)
    await waitFor('the session again', isUp, deadline)
    assert.notEqual(route('192.0.2.1/32'), undefined)
    speaker.post({ type: 'routes', prefixes: [to('192.0.2.1/32')] }, { type: 'synced' })
    await waitFor('no longer stale', () => route('192.0.2.1/32') !== undefined && route('192.0.2.1/32')?.stale !== true, deadline)
  })

  await t.test('a session that OpenBGPD resets with a Cease and a text shows both, and comes up again with its routes (RFC 9003)', async () => {
    bgpctl('neighbor 10.90.0.1 clear maintenance')
    const reset = await waitFor('the reset', async () => (await speaker.peers())[0]?.lastReset, deadline)
    assert.deepEqual([reset.direction, reset.code, reset.subcode], ['received', 6, 4])
    assert.match(reset.text, /maintenance/)
    await waitFor('the session again with its routes', () => isUp() && route('192.0.2.1/32') !== undefined, deadline)
  })

  await t.test('a stop ends with a Cease whose text OpenBGPD logs, and the routes are gone (RFC 9003)', async () => {
    await speaker.stop('shutdown', 'node is drained')
    await waitFor('the session lost', () => !isUp(), deadline)
    await waitFor('no routes', () => route('192.0.2.1/32') === undefined, deadline)
    await waitFor('the text in the log', () => log.includes('node is drained'), deadline)
    assert.equal(speaker.stderr, '')
  })
})
