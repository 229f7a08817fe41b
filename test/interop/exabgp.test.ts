import assert from 'node:assert/strict'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Neighbor } from '../../src/desired/model.ts'
import type { PrefixRoutes } from '../../src/bgp/speaker/protocol.ts'
import { waitFor } from '../wait.ts'
import { Link, missing, SpeakerProcess } from './link.ts'

const skip = missing('exabgp', 'ip')
const deadline = { deadlineMs: 25_000, everyMs: 200 }

const configuration = (directory: string): string => `process log {
  run ${directory}/log.sh;
  encoder json;
}
neighbor 10.90.0.1 {
  router-id 10.90.0.2;
  local-address 10.90.0.2;
  local-as 65015;
  peer-as 65001;
  hold-time 9;
  md5-password 's3cret';
  family { ipv4 unicast; }
  api {
    processes [ log ];
    neighbor-changes;
    receive { parsed; update; }
  }
  announce { ipv4 { unicast 10.15.0.0/24 next-hop self community [ 65015:1 ]; } }
}
`

const neighbor: Neighbor = {
  id: '65001/10.90.0.2',
  source: { kind: 'CiliumBGPPeeringPolicy', name: 'rack0' },
  virtualRouter: 'rack0',
  localAsn: 65_001,
  peerAsn: 65_015,
  peerAddress: '10.90.0.2',
  peerPort: 179,
  routerId: '10.90.0.1',
  families: ['ipv4-unicast'],
  holdTimeSec: 9,
  keepaliveSec: 3,
  connectRetrySec: 1,
  multihopTtl: 1,
  passive: true,
  sourceAddress: '10.90.0.1',
  password: 's3cret',
}
const to = (prefix: string, attributes: PrefixRoutes['routes'][number]['attributes'] = {}): PrefixRoutes => ({ prefix, routes: [{ neighbors: [neighbor.id], attributes }] })

interface Announcement {
  readonly nlri: string
}
interface Event {
  readonly type: string
  readonly neighbor?: {
    readonly state?: string
    readonly message?: {
      readonly update?: {
        readonly attribute?: { readonly 'as-path'?: unknown; readonly community?: unknown }
        readonly announce?: { readonly 'ipv4 unicast'?: Readonly<Record<string, readonly Announcement[]>> }
        readonly withdraw?: { readonly 'ipv4 unicast'?: readonly Announcement[] }
      }
    }
  }
}

/** ExaBGP keeps no table: what it received is in the events it writes for its API. */
test('Herald and ExaBGP', { skip }, async (t) => {
  const link = new Link('exabgp')
  t.after(() => link.close())
  const file = (name: string): string => join(link.directory, name)
  writeFileSync(file('exabgp.conf'), configuration(link.directory))
  // ExaBGP takes a closed standard output for a process that ended: it stays open as descriptor 3.
  writeFileSync(file('log.sh'), `#!/bin/sh\nexec 3>&1\nexec cat >> ${file('events.json')}\n`, { mode: 0o755 })
  const settings = ['exabgp.daemon.user=root', 'exabgp.daemon.drop=false', 'exabgp.api.cli=false', 'exabgp.api.ack=false', 'exabgp.log.destination=stdout']
  const exabgp = link.spawn('router', 'env', ...settings, 'exabgp', file('exabgp.conf'))
  exabgp.stdout?.resume()
  exabgp.stderr?.resume()
  const text = (): string => (existsSync(file('events.json')) ? readFileSync(file('events.json'), 'utf8') : '')
  // The last line may still be in the writing.
  const events = (): Event[] => text().split('\n').slice(0, -1).filter(Boolean).map((line): Event => JSON.parse(line))
  const states = (): readonly string[] => events().flatMap(({ type, neighbor }) => (type === 'state' && neighbor?.state !== undefined ? [neighbor.state] : []))
  const updates = () => events().flatMap(({ neighbor }) => neighbor?.message?.update ?? [])
  const announcing = (prefix: string, nextHop: string) => updates().find(({ announce }) => announce?.['ipv4 unicast']?.[nextHop]?.some(({ nlri }) => nlri === prefix))
  const speaker = new SpeakerProcess(link, { listen: { host: '::', port: 179 }, isRestart: false, isForwardingPreserved: false })
  speaker.post({ type: 'configure', neighbors: [neighbor] })

  await t.test('a session with TCP-MD5 that ExaBGP dials comes up (RFC 2385)', async () => {
    await waitFor('the session', () => states().at(-1) === 'up', deadline)
  })

  await t.test('a route arrives with next hop, path and communities', async () => {
    speaker.post({ type: 'routes', prefixes: [to('192.0.2.1/32', { communities: [65_000 * 65_536 + 100] }), to('192.0.2.2/32')] }, { type: 'synced' })
    const seen = await waitFor('the route', () => announcing('192.0.2.1/32', '10.90.0.1'), deadline)
    await waitFor('the other route', () => announcing('192.0.2.2/32', '10.90.0.1'), deadline)
    assert.deepEqual(seen.attribute?.['as-path'], [65_001])
    assert.deepEqual(seen.attribute?.community, [[65_000, 100]])
  })

  await t.test('a route is withdrawn, and only that one', async () => {
    speaker.post({ type: 'routes', prefixes: [{ prefix: '192.0.2.2/32', routes: [] }] })
    const withdrawn = (): readonly string[] => updates().flatMap(({ withdraw }) => withdraw?.['ipv4 unicast'] ?? []).map(({ nlri }) => nlri)
    await waitFor('withdrawn', () => withdrawn().length > 0, deadline)
    assert.deepEqual(withdrawn(), ['192.0.2.2/32'])
  })

  await t.test('a route of ExaBGP is seen as received', async () => {
    const route = await waitFor('the route', async () => (await speaker.received()).find(({ prefix }) => prefix === '10.15.0.0/24'), deadline)
    assert.deepEqual([route.peer, route.nextHop, route.asPath, route.communities], [neighbor.id, '10.90.0.2', '65015', ['65015:1']])
  })

  await t.test('a stop ends the session for ExaBGP', async () => {
    await speaker.stop('shutdown', 'node is drained')
    await waitFor('the session lost', () => states().at(-1) === 'down', deadline)
    assert.equal(speaker.stderr, '')
  })
})
