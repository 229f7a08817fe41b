/** Sessions between link-local addresses: no address plan for the link. */
import assert from 'node:assert/strict'
import { waitFor } from '../../wait.ts'
import { bothFamilies, endpoints, peering, type Peering, type Transport } from '../peering.ts'
import { deadline, type Rig } from '../rig.ts'
import type { Scenario } from '../scenario.ts'

const lacking = { OpenBGPD: 'version 7.7 has no RFC 8950', ExaBGP: 'it cannot bind a session to an interface' } as const

function linkLocal(differences: Partial<Peering> = {}): Peering {
  return peering({ transport: 'link-local', families: bothFamilies, ...differences })
}

async function exchange(rig: Rig, transport: Transport): Promise<void> {
  const { ipv4, ipv6 } = rig.router.ownNetworks
  for (const prefix of ['192.0.2.1/32', '2001:db8:1::1/128']) {
    rig.announce(prefix)
    assert.equal((await rig.routed(transport, prefix)).nextHop, endpoints[transport].herald)
  }
  for (const [family, prefix] of [
    ['ipv4-unicast', ipv4],
    ['ipv6-unicast', ipv6],
  ] as const) {
    await waitFor(
      `${prefix} at Herald`,
      async () => (await rig.speaker.received(family)).some((route) => route.prefix === prefix),
      deadline,
    )
  }
}

export const linkLocals: readonly Scenario[] = [
  {
    row: 'link-local',
    title:
      'a session between configured link-local addresses carries IPv4 and IPv6 routes both ways (RFC 8950 4, ' +
      'RFC 2545 3)',
    lacking,
    setup: () => ({ peerings: [linkLocal()] }),
    run: (rig) => exchange(rig, 'link-local'),
  },
  {
    row: 'unnumbered',
    title: 'a session with a router that knows the interface only carries IPv4 and IPv6 routes both ways (RFC 8950 4)',
    lacking,
    // GoBGP does not advertise itself on the interface, so that Herald is told its address.
    setup: ({ name, heraldAsn }) => ({
      peerings: [
        linkLocal({
          transport: 'unnumbered',
          ...(name === 'GoBGP' ? {} : { herald: { id: `${heraldAsn}/::%eth0`, peerAddress: '::' } }),
        }),
      ],
    }),
    run: (rig) => exchange(rig, 'unnumbered'),
  },
]
