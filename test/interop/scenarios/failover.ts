/** A side that falls silent is noticed by the hold timer alone, no BFD. */
import assert from 'node:assert/strict'
import { waitFor } from '../../wait.ts'
import { peering } from '../peering.ts'
import { deadline } from '../rig.ts'
import type { Scenario } from '../scenario.ts'

export const failover: readonly Scenario[] = [
  {
    row: 'hold timer: the router is silent',
    title:
      'a router that falls silent is given up after the negotiated 3 s with Hold Timer Expired, and its routes ' +
      'go (RFC 4271 6.5)',
    setup: () => ({ peerings: [peering({ holdTimeSec: 3 })] }),
    run: async (rig) => {
      const { ipv4 } = rig.router.ownNetworks
      await waitFor(
        'its route',
        async () => (await rig.speaker.received()).some(({ prefix }) => prefix === ipv4),
        deadline,
      )
      rig.router.signal('SIGSTOP')
      const stopped = Date.now()
      const reset = await rig.reset('the expiry', ({ code }) => code === 4)
      assert.deepEqual([reset.direction, reset.subcode], ['sent', 0])
      assert.match(reset.text, /Hold Timer Expired/i)
      // Of the 3 s up to one keepalive interval had passed when it fell silent.
      const elapsedMs = Date.now() - stopped
      assert.ok(elapsedMs > 1_500 && elapsedMs < 20_000, `noticed after ${elapsedMs} ms`)
      assert.deepEqual(await rig.speaker.received(), [])
      rig.router.signal('SIGCONT')
      await rig.established()
    },
  },
  {
    row: 'hold timer: Herald is silent',
    title:
      'a Herald that falls silent loses its routes at the router within the hold time, and gets them back (RFC ' +
      '4271 6.5)',
    setup: () => ({ peerings: [peering({ holdTimeSec: 3 })] }),
    run: async (rig) => {
      rig.announce('192.0.2.1/32')
      await rig.routed('ipv4', '192.0.2.1/32')
      rig.speaker.signal('SIGSTOP')
      await rig.gone('ipv4', '192.0.2.1/32')
      rig.speaker.signal('SIGCONT')
      await rig.reset('an end of the session', () => true)
      await rig.established()
      await rig.routed('ipv4', '192.0.2.1/32')
    },
  },
]
