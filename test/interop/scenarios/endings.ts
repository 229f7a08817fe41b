/** How a session ends, who learns why, and that it comes back. */
import assert from 'node:assert/strict'
import { waitFor } from '../../wait.ts'
import { peering } from '../peering.ts'
import { deadline, type Rig } from '../rig.ts'
import type { Scenario } from '../scenario.ts'

/** What every engine shows of our text, or the wire where the engine cannot read it. */
async function textArrived(rig: Rig): Promise<void> {
  if (rig.router.name !== 'ExaBGP') {
    await waitFor('the text', async () => (await rig.router.report('ipv4')).includes('node is drained'), deadline)
    return
  }
  // ExaBGP 4.2.21 fails while it formats any shutdown text (bytes % str in its notification.py) and then says 1/0 to
  // a session that is closed. Our octets are what RFC 9003 2 asks for, as tshark reads them.
  const said = await waitFor(
    'our Cease',
    async () =>
      (
        await rig.capture.frames(
          'bgp.type == 3 && ip.src == 10.90.0.1',
          'bgp.notify.major_error',
          'bgp.notify.minor_error_cease',
          'bgp.notify.communication',
        )
      )[0],
    deadline,
  )
  assert.deepEqual(said.split('\t').slice(1), ['6', '2', 'node is drained'])
}

export const endings: readonly Scenario[] = [
  {
    row: 'shutdown text of Herald',
    title:
      'a stop of Herald ends with Cease/Administrative Shutdown and a text that the router gets, and the routes ' +
      'are gone (RFC 4486, RFC 9003 2)',
    setup: () => ({ peerings: [peering({ restartTimeSec: 60 })] }),
    run: async (rig) => {
      rig.announce('192.0.2.1/32')
      rig.synced()
      await rig.routed('ipv4', '192.0.2.1/32')
      await rig.speaker.stop('shutdown', 'node is drained')
      await waitFor('the session lost', async () => !(await rig.router.isEstablished('ipv4')), deadline)
      await rig.gone('ipv4', '192.0.2.1/32')
      await textArrived(rig)
    },
  },
  {
    row: 'shutdown text of the router',
    title: 'an administrative shutdown by the router shows its Cease and its text (RFC 9003 2)',
    setup: () => ({ peerings: [peering()] }),
    run: async (rig) => {
      await rig.router.shutdown('ipv4', 'maintenance')
      const reset = await rig.reset('the Cease', ({ code }) => code === 6)
      assert.deepEqual([reset.direction, reset.subcode], ['received', 2])
      // ExaBGP takes no text and sends the subcode's name as one.
      assert.equal(
        reset.text,
        `peer closed: Cease/Administrative Shutdown ` +
          `"${rig.router.name === 'ExaBGP' ? 'Administrative Shutdown' : 'maintenance'}"`,
      )
    },
  },
  {
    row: 'reset by the router',
    title:
      'an administrative reset by the router shows its Cease, and the session comes back with its routes (RFC ' +
      '4486, RFC 9003 2)',
    setup: () => ({ peerings: [peering()] }),
    run: async (rig) => {
      rig.announce('192.0.2.1/32')
      await rig.routed('ipv4', '192.0.2.1/32')
      await rig.router.reset('ipv4', 'maintenance')
      const reset = await rig.reset('the Cease', ({ code }) => code === 6)
      assert.deepEqual([reset.direction, reset.subcode], ['received', 4])
      if (['GoBGP', 'OpenBGPD', 'BIRD'].includes(rig.router.name)) assert.match(reset.text, /"maintenance"/)
      // GoBGP 3.10 closes every connection for 30 s after its own reset (its fixed idle hold), whatever is configured.
      await rig.established({ deadlineMs: 50_000, everyMs: 100 })
      await rig.routed('ipv4', '192.0.2.1/32')
    },
  },
  {
    row: 'drain',
    title:
      'routes of a node that is drained go out again with GRACEFUL_SHUTDOWN, then they are withdrawn and the ' +
      'session stays (RFC 8326 4.1)',
    setup: () => ({ peerings: [peering()] }),
    run: async (rig) => {
      rig.announce('192.0.2.1/32')
      rig.synced()
      await rig.routed('ipv4', '192.0.2.1/32', ({ communities }) => communities.length === 0)
      rig.drain()
      // FRR and OpenBGPD have a name for it.
      await rig.routed('ipv4', '192.0.2.1/32', ({ communities }) =>
        /^(65535:0|graceful.?shutdown)$/i.test(communities.join()),
      )
      await rig.gone('ipv4', '192.0.2.1/32')
      assert.ok(await rig.isEstablished())
    },
  },
]
