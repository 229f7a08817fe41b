/** Sessions between link-local addresses: no address plan for the link. */
import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { waitFor } from '../../wait.ts'
import { signalGroup } from '../link.ts'
import { bothFamilies, globalIpv6, peering, type Peering, type Transport } from '../peering.ts'
import { deadline, type Rig } from '../rig.ts'
import type { Scenario } from '../scenario.ts'

const lacking = { OpenBGPD: 'version 7.7 has no RFC 8950', ExaBGP: 'it cannot bind a session to an interface' } as const

function linkLocal(differences: Partial<Peering>): Peering {
  const nextHops = { 'ipv4-unicast': globalIpv6.herald, 'ipv6-unicast': globalIpv6.herald } as const
  return peering({ transport: 'link-local', families: bothFamilies, ...differences, herald: { nextHops } })
}

async function exchange(rig: Rig, transport: Transport): Promise<void> {
  const { ipv4, ipv6 } = rig.router.ownNetworks
  for (const prefix of ['192.0.2.1/32', '2001:db8:1::1/128']) {
    rig.announce(prefix)
    assert.equal((await rig.routed(transport, prefix)).nextHop, globalIpv6.herald)
  }
  for (const [family, prefix] of [['ipv4-unicast', ipv4], ['ipv6-unicast', ipv6]] as const) {
    await waitFor(`${prefix} at Herald`, async () => (await rig.speaker.received(family)).some((route) => route.prefix === prefix), deadline)
  }
}

/** What a node of an unnumbered fabric does beside Herald: FRR learns its neighbor's address from it (RFC 4861 6.2). */
function advertiseRouter(rig: Rig): ChildProcess {
  const file = (name: string): string => join(rig.link.directory, name)
  writeFileSync(file('radv.conf'), 'router id 10.90.0.1; protocol device {} protocol radv { interface "eth0" { max ra interval 4; min ra interval 3; }; }\n')
  return rig.link.spawn('dut', 'bird', '-f', '-c', file('radv.conf'), '-s', file('radv.ctl'))
}

export const linkLocals: readonly Scenario[] = [
  {
    row: 'link-local',
    title: 'a session between configured link-local addresses carries IPv4 and IPv6 routes both ways (RFC 8950 4, RFC 2545 3)',
    lacking,
    setup: () => ({ peerings: [linkLocal({})] }),
    run: (rig) => exchange(rig, 'link-local'),
  },
  {
    row: 'unnumbered',
    title: 'a session with a router that knows the interface only carries IPv4 and IPv6 routes both ways (RFC 8950 4)',
    lacking,
    setup: () => ({ peerings: [linkLocal({ transport: 'unnumbered' })] }),
    isStartingDown: true,
    run: async (rig) => {
      const advertising = advertiseRouter(rig)
      try {
        await rig.established()
        await exchange(rig, 'unnumbered')
      } finally {
        signalGroup(advertising, 'SIGKILL')
      }
    },
  },
]
