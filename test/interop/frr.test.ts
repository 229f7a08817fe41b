import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Neighbor } from '../../src/desired/model.ts'
import type { PrefixRoutes, SpeakerOptions } from '../../src/bgp/speaker/protocol.ts'
import { waitFor } from '../wait.ts'
import { Frr } from './frr.ts'
import { Link, missing, SpeakerProcess } from './link.ts'

const skip = missing('bgpd', 'zebra', 'vtysh', 'ip', 'tcpdump', 'tshark')
const deadline = { deadlineMs: 25_000, everyMs: 100 }

const base: Neighbor = {
  id: '65001/10.90.0.2',
  source: { kind: 'CiliumBGPPeeringPolicy', name: 'rack0' },
  virtualRouter: 'rack0',
  localAsn: 65_001,
  peerAsn: 65_011,
  peerAddress: '10.90.0.2',
  peerPort: 179,
  routerId: '10.90.0.1',
  families: ['ipv4-unicast', 'ipv6-unicast'],
  holdTimeSec: 9,
  keepaliveSec: 3,
  connectRetrySec: 1,
  multihopTtl: 1,
  passive: false,
  sourceAddress: '10.90.0.1',
  gracefulRestart: { restartTimeSec: 60, notification: false },
  nextHops: { 'ipv6-unicast': 'fd90::1' },
}
const { nextHops: _, ...withoutNextHops } = base
const neighbors: readonly Neighbor[] = [
  base,
  { ...withoutNextHops, id: '65001/10.90.0.4', peerAddress: '10.90.0.4', sourceAddress: '10.90.0.3', families: ['ipv4-unicast'], password: 's3cret', ttlSecurityHops: 1, passive: true },
  { ...withoutNextHops, id: '65001/fd90::2', peerAddress: 'fd90::2', sourceAddress: 'fd90::1', families: ['ipv6-unicast'] },
]
const peers = ['10.90.0.1', '10.90.0.3', 'fd90::1']
const ids = neighbors.map(({ id }) => id)
const to = (prefix: string, attributes: PrefixRoutes['routes'][number]['attributes'] = {}): PrefixRoutes => ({ prefix, routes: [{ neighbors: ids, attributes }] })
const options = (isRestart: boolean): SpeakerOptions => ({ listen: { host: '::', port: 179 }, isRestart, isForwardingPreserved: isRestart })

/** What follows builds on what came before, as in the life of one agent. */
test('Herald and FRR', { skip }, async (t) => {
  const link = new Link('frr')
  const frr = new Frr(link)
  let speaker: SpeakerProcess
  const capture = join(link.directory, 'bgp.pcap')
  const dump = (): ReturnType<Link['spawn']> => link.spawn('router', 'tcpdump', '-i', 'eth0', '-U', '-s', '0', '-w', capture, 'tcp', 'port', '179')
  const established = (): Promise<unknown> => waitFor('three sessions Established', () => peers.every((peer) => frr.neighbor(peer).bgpState === 'Established'), deadline)

  t.after(() => link.close())
  await frr.start()
  const tcpdump = dump()
  await new Promise<void>((resolve) => tcpdump.stderr?.once('data', () => resolve()))

  await t.test('sessions come up over IPv4, over IPv4 with TCP-MD5 and GTSM dialled by FRR (RFC 2385, RFC 5082), and over IPv6', async () => {
    speaker = new SpeakerProcess(link, options(false))
    speaker.post({ type: 'configure', neighbors })
    await established()
  })

  await t.test('routes arrive with the right next hop, path and communities', async () => {
    speaker.post({ type: 'routes', prefixes: [to('192.0.2.1/32', { communities: [65_000 * 65_536 + 100], largeCommunities: ['65000:1:2'], med: 5 }), to('192.0.2.2/32'), to('2001:db8:1::1/128')] })
    await waitFor('the routes', () => frr.path('192.0.2.2/32', '10.90.0.3') !== undefined && frr.path('2001:db8:1::1/128', 'fd90::1') !== undefined && frr.path('2001:db8:1::1/128', '10.90.0.1') !== undefined, deadline)
    assert.equal(frr.path('192.0.2.1/32', '10.90.0.1')?.nexthops[0]?.ip, '10.90.0.1')
    assert.equal(frr.path('192.0.2.1/32', '10.90.0.3')?.nexthops[0]?.ip, '10.90.0.3')
    assert.equal(frr.path('2001:db8:1::1/128', '10.90.0.1')?.nexthops[0]?.ip, 'fd90::1')
    assert.equal(frr.path('2001:db8:1::1/128', 'fd90::1')?.nexthops[0]?.ip, 'fd90::1')
    assert.equal(frr.path('192.0.2.1/32', '10.90.0.1')?.path, '65001')
    const detail = frr.run('show bgp ipv4 unicast 192.0.2.1/32 json')
    assert.match(detail, /65000:100/)
    assert.match(detail, /65000:1:2/)
    assert.match(detail, /"metric":5\b/)
  })

  await t.test('End-of-RIB arrives after `synced` and not before (RFC 4724 2)', async () => {
    const received = (): string => JSON.stringify(frr.neighbor('10.90.0.1').gracefulRestartInfo ?? {})
    assert.doesNotMatch(received(), /"endOfRibRecv":\{[^}]*true/)
    speaker.post({ type: 'synced' })
    await waitFor('End-of-RIB', () => /"endOfRibRecv":\{[^}]*true/.test(received()), deadline)
  })

  await t.test('a withdrawn route is gone and the others stay', async () => {
    speaker.post({ type: 'routes', prefixes: [{ prefix: '192.0.2.2/32', routes: [] }] })
    await waitFor('withdrawn', () => frr.paths('ipv4')['192.0.2.2/32'] === undefined, deadline)
    assert.notEqual(frr.path('192.0.2.1/32', '10.90.0.1'), undefined)
  })

  await t.test('a route refresh is answered (RFC 2918)', async () => {
    const updates = (): number => Number((frr.neighbor('10.90.0.3').messageStats as { updatesRecv?: number } | undefined)?.updatesRecv)
    const before = updates()
    frr.run('clear bgp ipv4 unicast 10.90.0.3 in')
    await waitFor('the routes again', () => updates() > before, deadline)
    assert.equal(frr.neighbor('10.90.0.3').bgpState, 'Established')
  })

  await t.test('routes of a killed speaker stay, come back without loss, and End-of-RIB removes what is gone (RFC 4724 4)', async () => {
    speaker.post({ type: 'routes', prefixes: [to('192.0.2.3/32')] })
    await waitFor('the route', () => frr.path('192.0.2.3/32', '10.90.0.1'), deadline)
    await speaker.kill()
    await waitFor('stale routes', () => frr.path('192.0.2.1/32', '10.90.0.1')?.stale === true, deadline)
    const lost: string[] = []
    const watch = (): true => {
      if (frr.path('192.0.2.1/32', '10.90.0.1') === undefined) lost.push(new Date().toISOString())
      return true
    }
    speaker = new SpeakerProcess(link, options(true))
    speaker.post({ type: 'configure', neighbors })
    await waitFor('three sessions again', () => watch() && peers.every((peer) => frr.neighbor(peer).bgpState === 'Established'), deadline)
    speaker.post({ type: 'routes', prefixes: [to('192.0.2.1/32'), to('2001:db8:1::1/128')] })
    await waitFor('no longer stale', () => watch() && frr.path('192.0.2.1/32', '10.90.0.1')?.stale !== true, deadline)
    assert.notEqual(frr.path('192.0.2.3/32', '10.90.0.1'), undefined)
    speaker.post({ type: 'synced' })
    await waitFor('what is gone is removed', () => watch() && frr.path('192.0.2.3/32', '10.90.0.1') === undefined, deadline)
    assert.deepEqual(lost, [])
  })

  await t.test('a speaker that ends for a restart says nothing, and its routes stay (RFC 4724 4)', async () => {
    await speaker.stop('restart', 'upgrade')
    await waitFor('stale routes', () => frr.path('192.0.2.1/32', '10.90.0.1')?.stale === true, deadline)
    assert.doesNotMatch(JSON.stringify(frr.neighbor('10.90.0.1')), /Administrative Shutdown/)
    speaker = new SpeakerProcess(link, options(true))
    speaker.post({ type: 'configure', neighbors }, { type: 'routes', prefixes: [to('192.0.2.1/32'), to('2001:db8:1::1/128')] }, { type: 'synced' })
    await established()
    await waitFor('no longer stale', () => frr.path('192.0.2.1/32', '10.90.0.1')?.stale !== true, deadline)
    assert.notEqual(frr.path('192.0.2.1/32', '10.90.0.1'), undefined)
  })

  await t.test('a stop ends with Cease/Administrative Shutdown and its text (RFC 9003), and the routes are gone', async () => {
    await speaker.stop('shutdown', 'node is drained')
    await waitFor('no routes', () => Object.keys(frr.paths('ipv4')).join() === '10.11.0.0/24', deadline)
    assert.equal(speaker.stderr, '')
    const seen = JSON.stringify(frr.neighbor('10.90.0.1'))
    assert.match(seen, /Administrative Shutdown/)
    assert.match(seen, /node is drained/)
  })

  await t.test('a capture of all of it has no malformed frame', async () => {
    tcpdump.kill('SIGINT')
    await waitFor('tcpdump ended', () => tcpdump.exitCode !== null || tcpdump.signalCode !== null)
    const frames = (filter: string): readonly string[] => execFileSync('tshark', ['-r', capture, '-Y', filter, '-T', 'fields', '-e', 'frame.number'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).split('\n').filter(Boolean)
    assert.ok(frames('bgp.type == 2').length > 5)
    assert.deepEqual(frames('_ws.malformed || (bgp && _ws.expert.severity == error)'), [])
  })
})
