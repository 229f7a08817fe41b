/** A signal that comes while the kernel loads, before anybody has heard of the agent. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { schema } from '../../src/datapath/layout.ts'
import { unloadDatapath } from '../../src/datapath/unload.ts'
import { whyNoKernel } from '../datapath/fixture.ts'
import { client, deployRack, vip } from '../datapath/rack.ts'
import { waitFor } from '../wait.ts'
import { oneService } from './policy.ts'
import { RackAgent } from './rack-agent.ts'

test('SIGTERM and SIGINT while the kernel loads end the agent with 0, and the next one serves', {
  skip: whyNoKernel() ?? false,
  timeout: 300_000,
}, async (t) => {
  const rack = deployRack(t)
  const [pod, user] = [rack.actor('pod'), rack.actor('client')]
  await pod.tell({ do: 'serve', port: 8080 })
  const agents = new RackAgent(t, rack, oneService)
  const maps = join(rack.bpffs, 'herald', `v${schema}`, 'maps')
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    unloadDatapath(rack.bpffs)
    const agent = agents.start()
    let said = ''
    for (const stream of [agent.stdout, agent.stderr]) stream?.on('data', (chunk: Buffer) => (said += chunk.toString()))
    const ended = new Promise((resolve) => agent.once('exit', (code, by) => resolve([code, by])))
    // The folder is made right before the kernel is asked for maps and programs.
    await waitFor('the kernel to load', () => existsSync(maps), { everyMs: 1 })
    agent.kill(signal)
    assert.deepEqual(await ended, [0, null], said)
    assert.doesNotMatch(said, /agent started/, 'the signal came too late to be one of a load')
    assert.equal(existsSync(agents.socket), false, 'nobody is answered any more')
  }
  agents.start()
  const met = (): Promise<boolean> =>
    user.tell<string>({ do: 'tcp', address: vip, port: 80, size: 1 }).then(
      (line) => line.startsWith(client),
      () => false,
    )
  await waitFor('the Service to be served', met, { everyMs: 200 })
})
