/** What two speakers agree on beyond the base protocol. */
import assert from 'node:assert/strict'
import { waitFor } from '../../wait.ts'
import { peering } from '../peering.ts'
import { deadline, type Rig } from '../rig.ts'
import type { Scenario } from '../scenario.ts'

const noRole = 'it has no RFC 9234'
/** More than an UPDATE of 4096 octets can hold. */
const many = Array.from({ length: 1_500 }, (_, number) => `10.128.${number >> 8}.${number & 255}/32`)

/** NOTIFICATION of 28 octets: 6/1, AFI 1, SAFI 1, limit 1. */
const limitReached = '001c03060100010100000001'

async function said(rig: Rig, source: string, octets: string): Promise<void> {
  await waitFor(
    `${octets} from ${source}`,
    async () =>
      (await rig.capture.frames(`bgp.type == 3 && ip.src == ${source}`, 'tcp.payload')).some((frame) =>
        frame.includes(octets),
      ),
    deadline,
  )
}

export const options: readonly Scenario[] = [
  {
    row: 'extended messages',
    title: 'messages of more than 4096 octets cross both ways (RFC 8654 3)',
    lacking: { GoBGP: 'version 3.10 has no RFC 8654', OpenBGPD: 'version 7.7 has no RFC 8654' },
    setup: () => ({ peerings: [peering()], networks: many }),
    run: async (rig) => {
      assert.ok((await rig.peer()).capabilities.includes('extended-message'))
      await waitFor('all its routes', async () => (await rig.speaker.received()).length === many.length + 1, deadline)
      const neighbors = rig.neighbors.map(({ id }) => id)
      rig.speaker.post({
        type: 'routes',
        prefixes: many.map((prefix) => ({
          prefix: prefix.replace('10.128.', '10.129.'),
          routes: [{ neighbors, attributes: {} }],
        })),
      })
      await rig.routed('ipv4', '10.129.5.219/32')
      // BIRD sends what each turn of its feed yields, which is less.
      for (const source of rig.router.name === 'BIRD' ? ['10.90.0.1'] : ['10.90.0.1', '10.90.0.2'])
        await waitFor(
          `a large UPDATE from ${source}`,
          async () => (await rig.capture.frames(`bgp.length > 4096 && ip.src == ${source}`)).length > 0,
          deadline,
        )
    },
  },
  {
    row: 'ADD-PATH, receiving',
    title: 'two paths of one prefix from the router are both kept, each with its identifier (RFC 7911 3)',
    setup: (router) => ({
      peerings: [
        peering({ hasAddPaths: true, herald: { addPathReceive: true } }),
        // ExaBGP has two paths of its own; the others pass on what they learn from two ASes.
        ...(router.name === 'ExaBGP'
          ? []
          : [
              ...[1, 2].map((number) =>
                peering({
                  transport: `pair-${number === 1 ? 1 : 2}`,
                  expectedAsn: 65_100 + number,
                  herald: { localAsn: 65_100 + number, routerId: `10.90.0.10${number}` },
                }),
              ),
            ]),
      ],
    }),
    run: async (rig) => {
      const [own, ...others] = rig.neighbors.map(({ id }) => id)
      rig.speaker.post({
        type: 'routes',
        prefixes: [{ prefix: '203.0.113.0/24', routes: [{ neighbors: others, attributes: {} }] }],
      })
      const paths = await waitFor(
        'both paths',
        async () => {
          const found = (await rig.speaker.received()).filter(
            ({ peer, prefix }) => peer === own && prefix === '203.0.113.0/24',
          )
          return found.length === 2 && found
        },
        deadline,
      )
      assert.equal(new Set(paths.map(({ pathId }) => pathId)).size, 2)
      assert.equal(new Set(paths.map(({ asPath, med }) => `${asPath} ${med}`)).size, 2)
    },
  },
  {
    row: 'role: customer of a provider',
    title: 'a router that is our provider takes us as its customer (RFC 9234 4.2)',
    lacking: { GoBGP: noRole, ExaBGP: noRole },
    setup: () => ({ peerings: [peering({ routerRole: 'provider', herald: { role: 'customer' } })] }),
    run: async (rig) => {
      assert.ok((await rig.peer()).capabilities.includes('role'))
      rig.announce('192.0.2.1/32')
      await rig.routed('ipv4', '192.0.2.1/32')
      await waitFor(
        'its route',
        async () => (await rig.speaker.received()).some(({ prefix }) => prefix === rig.router.ownNetworks.ipv4),
        deadline,
      )
    },
  },
  {
    row: 'role: mismatch',
    title: 'two providers refuse each other with Role Mismatch, which the reason names (RFC 9234 4.2)',
    lacking: { GoBGP: noRole, ExaBGP: noRole },
    setup: () => ({ peerings: [peering({ routerRole: 'provider', herald: { role: 'provider' } })] }),
    isStartingDown: true,
    run: async (rig) => {
      const reset = await rig.reset('the refusal', ({ code, subcode }) => code === 2 && subcode === 11)
      assert.match(reset.text, /role/i)
      assert.equal(await rig.router.isEstablished('ipv4'), false)
    },
  },
  {
    row: 'maximum prefixes at the router',
    title: 'a router that takes one prefix ends the session when there are more, and the reason says so (RFC 4486 4)',
    lacking: { ExaBGP: 'it knows no limit' },
    setup: () => ({ peerings: [peering({ routerMaxPrefixes: 1 })] }),
    run: async (rig) => {
      rig.announce('192.0.2.1/32')
      await rig.routed('ipv4', '192.0.2.1/32')
      // FRR counts what it has before it takes the next one, so that one more is needed.
      for (const prefix of ['192.0.2.2/32', '192.0.2.3/32']) rig.announce(prefix)
      const reset = await rig.reset('the Cease', ({ code, subcode }) => code === 6 && subcode === 1)
      assert.equal(reset.direction, 'received')
      assert.match(reset.text, /Maximum Number of Prefixes/i)
      // Family and limit are optional data; FRR sends them.
      if (rig.router.name === 'FRR') await said(rig, '10.90.0.2', limitReached)
    },
  },
  {
    row: 'maximum prefixes at Herald',
    title: 'a Herald that takes one prefix ends the session at the second (RFC 4486 4)',
    setup: () => ({ peerings: [peering({ herald: { maxPrefixes: 1 } })], networks: ['198.51.100.0/24'] }),
    isStartingDown: true,
    run: async (rig) => {
      const reset = await rig.reset('the limit', ({ code, subcode }) => code === 6 && subcode === 1)
      assert.equal(reset.direction, 'sent')
      await said(rig, '10.90.0.1', limitReached)
    },
  },
  {
    row: 'any AS of the router',
    title: 'a neighbor without a configured AS is whatever its OPEN says (RFC 4271 6.2)',
    setup: () => ({ peerings: [peering({ herald: { peerAsn: 0 } })] }),
    run: async (rig) => {
      assert.equal((await rig.peer()).peerAsn, rig.router.asn)
    },
  },
  {
    row: 'local AS',
    title: 'a router that expects another AS gets it in OPEN and in front of the path (RFC 7705 3)',
    setup: () => ({ peerings: [peering({ expectedAsn: 65_055, herald: { localAs: 65_055 } })] }),
    run: async (rig) => {
      rig.announce('192.0.2.1/32')
      assert.equal((await rig.routed('ipv4', '192.0.2.1/32')).asPath, `65055 ${rig.router.heraldAsn}`)
    },
  },
]
