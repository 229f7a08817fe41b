/** RFC 2918 and RFC 7313: one side asks for all routes again. */
import assert from 'node:assert/strict'
import { waitFor } from '../../wait.ts'
import { peering } from '../peering.ts'
import { deadline } from '../rig.ts'
import type { Scenario } from '../scenario.ts'

const fromHerald = 'ip.src == 10.90.0.1'

export const refresh: readonly Scenario[] = [
  {
    row: 'route refresh for the router',
    title: 'a router that asks for a route refresh gets all routes again, and the session stays (RFC 2918 4)',
    lacking: { GoBGP: 'it keeps what it received and never asks again' },
    setup: () => ({ peerings: [peering()] }),
    run: async (rig) => {
      rig.announce('192.0.2.1/32')
      rig.synced()
      await rig.routed('ipv4', '192.0.2.1/32')
      await rig.router.requestRefresh('ipv4')
      await waitFor(
        'the route a second time',
        async () =>
          (await rig.capture.frames(`bgp.type == 2 && ${fromHerald} && bgp.nlri_prefix == 192.0.2.1`)).length === 2,
        deadline,
      )
      assert.equal((await rig.capture.frames('bgp.type == 5 && ip.src == 10.90.0.2')).length > 0, true)
      assert.ok(await rig.isEstablished())
    },
  },
  {
    row: 'enhanced route refresh',
    title: 'a refresh is framed by BoRR and EoRR where the router knows them (RFC 7313 4)',
    lacking: { GoBGP: 'version 3.10 has no RFC 7313' },
    setup: () => ({ peerings: [peering()] }),
    run: async (rig) => {
      rig.announce('192.0.2.1/32')
      rig.synced()
      await rig.routed('ipv4', '192.0.2.1/32')
      assert.ok((await rig.peer()).capabilities.includes('enhanced-route-refresh'))
      await rig.router.requestRefresh('ipv4')
      const subtypes = async (): Promise<string> =>
        (await rig.capture.frames(`bgp.type == 5 && ${fromHerald}`, 'bgp.route_refresh.subtype'))
          .map((frame) => frame.split('\t')[1])
          .join()
      await waitFor('BoRR and EoRR', async () => (await subtypes()) === '1,2', deadline)
      assert.ok(await rig.isEstablished())
    },
  },
]
