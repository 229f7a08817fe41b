/** A whole agent that is asked for XDP, and then for none: what its status says, and that the Service is served. */
import assert from 'node:assert/strict'
import { release } from 'node:os'
import { test } from 'node:test'
import type { ExplainView, ServiceView } from '../../src/api/types.ts'
import { isBefore } from '../../src/datapath/refusal.ts'
import { whyNoKernel } from '../datapath/fixture.ts'
import { deployRack, ended, uplink, vip } from '../datapath/rack.ts'
import { waitFor } from '../wait.ts'
import { oneService } from './policy.ts'
import { RackAgent } from './rack-agent.ts'

test('an agent says what runs in front of the kernel; its Service is served with it, without it and where it fails', {
  skip: whyNoKernel() ?? false,
  timeout: 300_000,
}, async (t) => {
  const rack = deployRack(t)
  const user = rack.actor('client')
  await rack.actor('pod').tell({ do: 'serve', port: 8080 })
  const agents = new RackAgent(t, rack, oneService)
  const waiting = { deadlineMs: 30_000, everyMs: 200 }
  /** What was served before goes on, also while there is no agent: it is the next one that is asked. */
  const isSaid = (wanted: string | undefined, warning: RegExp) => (): boolean => {
    const { datapath, warnings = [] } = agents.status()
    if (datapath === undefined || datapath.interfaces.join() !== uplink) return false
    return datapath.acceleration?.wanted === wanted && warning.test(warnings.join('\n'))
  }
  const link = (): string => rack.run('node', ['ip', 'link', 'show', uplink])
  const isServed = (): Promise<boolean> =>
    user.tell({ do: 'tcp', address: vip, port: 80, size: 1 }).then(
      () => true,
      () => false,
    )

  const native = agents.start('--lb-acceleration', 'native')
  await waitFor('XDP in the driver', isSaid('native', /^/), waiting)
  await waitFor('the Service to be served', isServed, waiting)
  const { interfaces } = agents.status().datapath?.acceleration ?? {}
  assert.deepEqual(
    interfaces?.map(({ interface: name, mode }) => [name, mode]),
    [[uplink, 'native']],
  )
  assert.match(interfaces?.[0]?.reason ?? '', /^echo requests are left to TC: up0 takes tags of VLANs from frames/)
  const early = JSON.parse(agents.ask('explain', 'service', 'shop/web', '-o', 'json')) as ExplainView
  const frontend = `${vip}:80/TCP`
  assert.deepEqual(early.acceleration?.frontends, [
    { frontend, takes: ['answered', 'dropped'], why: 'it has no backend on another node' },
  ])
  assert.deepEqual(early.acceleration?.interfaces[0]?.takes, ['handedOn', 'dropped'])
  const [listed] = JSON.parse(agents.ask('lb', 'list', '-o', 'json')) as ServiceView[]
  assert.deepEqual(
    listed?.frontends.map(({ id, early: taken }) => [id, taken]),
    [[frontend, ['dropped']]],
  )
  assert.match(link(), /prog\/xdp id \d+ name herald_xdp/)
  await ended(native)
  assert.match(link(), /prog\/xdp id \d+ name herald_xdp/, 'it outlives its agent')

  const generic = agents.start('--lb-acceleration', 'generic')
  const isTaken = isBefore(release(), [6, 9])
  const fault = isTaken ? /^/ : /--lb-acceleration generic: .* TC serves there all the same/
  await waitFor('what becomes of the other kind', isSaid('generic', fault), waiting)
  assert.equal(await isServed(), true)
  assert.equal(/prog\/xdp/.test(link()), isTaken)
  await ended(generic)

  const none = agents.start('--lb-acceleration', 'disabled')
  await waitFor('an agent without', isSaid(undefined, /^/), waiting)
  assert.equal(await isServed(), true)
  assert.doesNotMatch(link(), /prog\/xdp/)
  await ended(none)
})
