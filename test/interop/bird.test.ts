import assert from 'node:assert/strict'
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Neighbor } from '../../src/desired/model.ts'
import type { PrefixRoutes } from '../../src/bgp/speaker/protocol.ts'
import { waitFor } from '../wait.ts'
import { Link, missing, SpeakerProcess } from './link.ts'

const skip = missing('bird', 'birdc', 'ip')
const deadline = { deadlineMs: 25_000, everyMs: 100 }

const configuration = `router id 10.90.0.2;
protocol device {}
protocol static s4 { ipv4; route 10.12.0.0/24 blackhole; }
protocol bgp node4 {
  local 10.90.0.2 as 4200000012;
  neighbor 10.90.0.1 as 4200000001;
  password "s3cret"; passive on;
  hold time 9;
  connect retry time 1; connect delay time 1; error wait time 1, 2;
  graceful restart on;
  ipv4 { import all; import table on; export all; };
  ipv6 { import all; export none; next hop address fd90::2; };
}
protocol bgp node6 {
  local fd90::2 as 4200000012;
  neighbor fd90::1 as 4200000001;
  hold time 9;
  connect retry time 1; connect delay time 1; error wait time 1, 2;
  ipv4 { import all; export none; extended next hop on; };
  ipv6 { import all; export none; };
}
`

const neighbor4: Neighbor = {
  id: '4200000001/10.90.0.2',
  source: { kind: 'CiliumBGPPeeringPolicy', name: 'rack0' },
  virtualRouter: 'rack0',
  localAsn: 4_200_000_001,
  peerAsn: 4_200_000_012,
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
  password: 's3cret',
}
const { nextHops: _nextHops, gracefulRestart: _gracefulRestart, password: _password, ...plain } = neighbor4
const neighbor6: Neighbor = { ...plain, id: '4200000001/fd90::2', peerAddress: 'fd90::2', sourceAddress: 'fd90::1' }
const neighbors = [neighbor4, neighbor6]
const to = (prefix: string, attributes: PrefixRoutes['routes'][number]['attributes'] = {}): PrefixRoutes => ({ prefix, routes: [{ neighbors: neighbors.map(({ id }) => id), attributes }] })

test('Herald and BIRD', { skip }, async (t) => {
  const link = new Link('bird')
  t.after(() => link.close())
  chmodSync(link.directory, 0o755)
  const file = (name: string): string => join(link.directory, name)
  writeFileSync(file('bird.conf'), configuration)
  link.adopt(file('bird.pid'))
  link.router('bird', '-c', file('bird.conf'), '-s', file('bird.ctl'), '-P', file('bird.pid'))
  // birdc fails when it finds nothing to show, which is an answer here.
  const birdc = (command: string): string => link.router('sh', '-c', `birdc -s ${file('bird.ctl')} ${command} || true`)
  const routes = (prefix: string, protocol: string): string => birdc(`show route ${prefix} protocol ${protocol} all`)
  const up = (protocol: string): boolean => /BGP state:\s+Established/.test(birdc(`show protocols all ${protocol}`))
  const start = (isRestart: boolean): SpeakerProcess => {
    const speaker = new SpeakerProcess(link, { listen: { host: '::', port: 179 }, isRestart, isForwardingPreserved: isRestart })
    speaker.post({ type: 'configure', neighbors })
    return speaker
  }
  let speaker = start(false)

  await t.test('sessions with four-octet ASes come up, over IPv4 with TCP-MD5 dialled by Herald, and over IPv6 (RFC 6793, RFC 2385)', async () => {
    await waitFor('both sessions', () => up('node4') && up('node6'), deadline)
  })

  await t.test('routes of both families arrive with next hop, path and communities', async () => {
    speaker.post({ type: 'routes', prefixes: [to('192.0.2.1/32', { communities: [65_000 * 65_536 + 100], largeCommunities: ['4200000001:1:2'] }), to('2001:db8:1::1/128')] })
    const ipv4 = await waitFor('the IPv4 route', () => /BGP\.next_hop: 10\.90\.0\.1\b/.test(routes('192.0.2.1/32', 'node4')) && routes('192.0.2.1/32', 'node4'), deadline)
    assert.match(ipv4, /BGP\.as_path: 4200000001\n/)
    assert.match(ipv4, /BGP\.community: \(65000,100\)/)
    assert.match(ipv4, /BGP\.large_community: \(4200000001, 1, 2\)/)
    for (const protocol of ['node4', 'node6']) {
      await waitFor(`the IPv6 route of ${protocol}`, () => /BGP\.next_hop: fd90::1\b/.test(routes('2001:db8:1::1/128', protocol)), deadline)
    }
  })

  await t.test('IPv4 routes cross an IPv6 session with an IPv6 next hop (RFC 8950)', async () => {
    await waitFor('the IPv4 route over IPv6', () => /BGP\.next_hop: fd90::1\b/.test(routes('192.0.2.1/32', 'node6')), deadline)
  })

  await t.test('a route refresh is answered (RFC 2918)', async () => {
    birdc('reload in node6')
    await waitFor('the session with its routes', () => up('node6') && /2001:db8:1::1/.test(routes('2001:db8:1::1/128', 'node6')), deadline)
  })

  await t.test('routes of a killed speaker stay until End-of-RIB of its successor (RFC 4724 4)', async () => {
    speaker.post({ type: 'routes', prefixes: [to('192.0.2.2/32')] }, { type: 'synced' })
    await waitFor('the route', () => routes('192.0.2.2/32', 'node4').includes('192.0.2.2/32'), deadline)
    await speaker.kill()
    await waitFor('the session lost', () => !up('node4'), deadline)
    assert.match(routes('192.0.2.2/32', 'node4'), /192\.0\.2\.2\/32/)
    speaker = start(true)
    await waitFor('both sessions again', () => up('node4') && up('node6'), deadline)
    speaker.post({ type: 'routes', prefixes: [to('192.0.2.1/32')] })
    assert.match(routes('192.0.2.2/32', 'node4'), /192\.0\.2\.2\/32/)
    speaker.post({ type: 'synced' })
    await waitFor('what is gone is removed', () => !routes('192.0.2.2/32', 'node4').includes('192.0.2.2/32'), deadline)
    assert.match(routes('192.0.2.1/32', 'node4'), /192\.0\.2\.1\/32/)
  })

  await t.test('a stop ends with a Cease whose text BIRD logs (RFC 9003)', async () => {
    await speaker.stop('shutdown', 'node is drained')
    await waitFor('no routes', () => !routes('192.0.2.1/32', 'node4').includes('192.0.2.1/32'), deadline)
    assert.match(birdc('show protocols all node4'), /Administrative shutdown|node is drained/i)
    assert.equal(speaker.stderr, '')
  })
})
