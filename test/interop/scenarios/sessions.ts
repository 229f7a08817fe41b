/** How a session comes up, and what it carries. */
import assert from 'node:assert/strict'
import { waitFor } from '../../wait.ts'
import { bothFamilies, endpoints, globalIpv6, peering } from '../peering.ts'
import { deadline, type Rig } from '../rig.ts'
import type { Scenario } from '../scenario.ts'

const attributes = { communities: [65_000 * 65_536 + 100], largeCommunities: ['65000:1:2'], med: 5 }

/** Routes of both families, there and back, each with the next hop that belongs on the session. */
async function exchange(rig: Rig, transport: 'ipv4' | 'ipv6'): Promise<void> {
  const { router, speaker } = rig
  rig.announce('192.0.2.1/32')
  rig.announce('2001:db8:1::1/128')
  // RFC 8950: on an IPv6 session the IPv4 route has an IPv6 next hop too.
  assert.equal((await rig.routed(transport, '192.0.2.1/32')).nextHop, endpoints[transport].herald)
  assert.equal((await rig.routed(transport, '2001:db8:1::1/128')).nextHop, globalIpv6.herald)
  for (const [family, prefix, nextHop] of [
    ['ipv4-unicast', router.ownNetworks.ipv4, endpoints[transport].router],
    ['ipv6-unicast', router.ownNetworks.ipv6, globalIpv6.router],
  ] as const) {
    const route = await waitFor(
      `${prefix} at Herald`,
      async () => (await speaker.received(family)).find((one) => one.prefix === prefix),
      deadline,
    )
    assert.deepEqual([route.peer, route.asPath, route.nextHop], [rig.neighbors[0]?.id, String(router.asn), nextHop])
  }
}

export const sessions: readonly Scenario[] = [
  {
    row: 'IPv4, TCP-MD5 and GTSM',
    title:
      'a session over IPv4 with a TCP-MD5 key and GTSM together, which the router dials, comes up (RFC 2385, ' +
      'RFC 5082 3)',
    setup: () => ({ peerings: [peering({ dialler: 'router', password: 's3cret', isTtlSecured: true })] }),
    run: async (rig) => {
      rig.announce('192.0.2.1/32')
      assert.equal((await rig.routed('ipv4', '192.0.2.1/32')).nextHop, '10.90.0.1')
    },
  },
  {
    row: 'IPv4, TCP-MD5, Herald dials',
    title:
      'a session over IPv4 with a TCP-MD5 key that Herald dials comes up; routes arrive with next hop, path, ' +
      'communities and MED, and go when withdrawn (RFC 2385, RFC 1997, RFC 8092)',
    setup: () => ({ peerings: [peering({ password: 's3cret' })] }),
    run: async (rig) => {
      rig.announce('192.0.2.1/32', attributes)
      rig.announce('192.0.2.2/32')
      const route = await rig.routed('ipv4', '192.0.2.1/32')
      assert.deepEqual(
        { ...route, isStale: false },
        {
          nextHop: '10.90.0.1',
          asPath: String(rig.router.heraldAsn),
          communities: ['65000:100'],
          largeCommunities: ['65000:1:2'],
          med: 5,
          isStale: false,
        },
      )
      await rig.routed('ipv4', '192.0.2.2/32')
      rig.withdraw('192.0.2.2/32')
      await rig.gone('ipv4', '192.0.2.2/32')
      assert.notEqual(await rig.router.route('ipv4', '192.0.2.1/32'), undefined)
    },
  },
  {
    row: 'a wrong TCP-MD5 key',
    title: 'a wrong TCP-MD5 key keeps the session down, and the reason says that the key is suspected (RFC 2385)',
    setup: () => ({ peerings: [peering({ password: 's3cret', herald: { password: 'other' }, dialler: 'both' })] }),
    isStartingDown: true,
    run: async (rig) => {
      await waitFor(
        'the suspicion',
        async () => /MD5 key mismatch suspected/.test((await rig.peer()).reason ?? ''),
        deadline,
      )
      assert.equal(await rig.router.isEstablished('ipv4'), false)
      // The same, with the key put right.
      rig.configure({ password: 's3cret' })
      await rig.established()
    },
  },
  {
    row: 'GTSM on our side only',
    title:
      'packets of a router that does not send with TTL 255 never arrive where GTSM is on, and the session stays ' +
      'down (RFC 5082 3)',
    setup: () => ({ peerings: [peering({ herald: { ttlSecurityHops: 1 } })] }),
    isStartingDown: true,
    run: async (rig) => {
      // Some listeners answer a SYN with TTL 255, and what follows on the connection is dropped.
      const before = await rig.link.counter('TCPMinTTLDrop')
      await waitFor('dropped packets', async () => (await rig.link.counter('TCPMinTTLDrop')) > before + 2, deadline)
      assert.equal(await rig.router.isEstablished('ipv4'), false)
      assert.notEqual((await rig.peer()).state, 'Established')
    },
  },
  {
    row: 'an old speaker',
    title:
      'a router without four-octet AS numbers and Herald send each other paths of two octets an AS (RFC 6793 4.2.2)',
    lacking: { GoBGP: 'it always announces them' },
    // BIRD's usual AS here needs four octets.
    setup: ({ name }) => ({
      peerings: [
        peering({
          isOldSpeaker: true,
          expectedAsn: 65_001,
          herald: { localAsn: 65_001 },
          ...(name === 'BIRD' ? { routerAsn: 65_012 } : {}),
        }),
      ],
    }),
    run: async (rig) => {
      rig.announce('192.0.2.1/32')
      assert.equal((await rig.routed('ipv4', '192.0.2.1/32')).asPath, '65001')
      const route = await waitFor(
        'its route',
        async () => (await rig.speaker.received()).find(({ prefix }) => prefix === rig.router.ownNetworks.ipv4),
        deadline,
      )
      assert.equal(route.asPath, String(rig.neighbors[0]?.peerAsn))
      assert.ok(!(await rig.peer()).capabilities.includes('4-octet-as'))
    },
  },
  {
    row: 'both families over IPv4',
    title: 'IPv4 and IPv6 routes cross one session over IPv4, both ways, with usable next hops (RFC 4760, RFC 2545)',
    setup: () => ({ peerings: [peering({ families: bothFamilies })] }),
    run: (rig) => exchange(rig, 'ipv4'),
  },
  {
    row: 'IPv6',
    title: 'a session over IPv6 that the router dials carries IPv6 routes both ways (RFC 4760, RFC 2545)',
    setup: () => ({ peerings: [peering({ transport: 'ipv6', families: ['ipv6-unicast'], dialler: 'router' })] }),
    run: async (rig) => {
      rig.announce('2001:db8:1::1/128')
      assert.equal((await rig.routed('ipv6', '2001:db8:1::1/128')).nextHop, globalIpv6.herald)
      const route = await waitFor(
        'its route',
        async () =>
          (await rig.speaker.received('ipv6-unicast')).find(({ prefix }) => prefix === rig.router.ownNetworks.ipv6),
        deadline,
      )
      assert.equal(route.nextHop, globalIpv6.router)
    },
  },
  {
    row: 'both families over IPv6',
    title:
      'IPv6 and IPv4 routes cross one session over IPv6, both ways, the IPv4 routes with IPv6 next hops (RFC 8950 4)',
    lacking: { OpenBGPD: 'version 7.7 has no RFC 8950' },
    setup: () => ({ peerings: [peering({ transport: 'ipv6', families: bothFamilies })] }),
    run: (rig) => exchange(rig, 'ipv6'),
  },
  {
    row: 'three sessions at once',
    title:
      'three sessions with one router, with and without a key, over IPv4 and IPv6, each get the routes with ' +
      'their own next hop',
    setup: () => ({
      peerings: [
        peering({ families: bothFamilies }),
        peering({ transport: 'pair-0', dialler: 'router', password: 's3cret', isTtlSecured: true }),
        peering({ transport: 'ipv6', families: ['ipv6-unicast'] }),
      ],
    }),
    run: async (rig) => {
      rig.announce('192.0.2.1/32')
      rig.announce('2001:db8:1::1/128')
      for (const transport of ['ipv4', 'pair-0'] as const)
        assert.equal((await rig.routed(transport, '192.0.2.1/32')).nextHop, endpoints[transport].herald)
      for (const transport of ['ipv4', 'ipv6'] as const)
        assert.equal((await rig.routed(transport, '2001:db8:1::1/128')).nextHop, globalIpv6.herald)
    },
  },
]
