/** A signal that comes while the kernel loads, before anybody has heard of the agent. */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { schema } from '../../src/datapath/layout.ts'
import { unloadDatapath } from '../../src/datapath/unload.ts'
import { whyNoKernel } from '../datapath/fixture.ts'
import { client, deployRack, uplink, vip } from '../datapath/rack.ts'
import { waitFor } from '../wait.ts'
import { oneService } from './policy.ts'

const herald = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'bin/herald')

test('SIGTERM and SIGINT while the kernel loads end the agent with 0, and the next one serves', {
  skip: whyNoKernel() ?? false,
  timeout: 120_000,
}, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'herald-early-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const rack = deployRack(t)
  const [pod, user] = [rack.actor('pod'), rack.actor('client')]
  await pod.tell({ do: 'serve', port: 8080 })
  mkdirSync(join(folder, 'manifests'))
  writeFileSync(join(folder, 'manifests/all.yaml'), oneService)
  const socket = join(folder, 'herald.sock')
  const start = (): ReturnType<typeof rack.start> =>
    rack.start('node', [
      ...[herald, 'agent', '--node-name', 'node1', '--manifests', join(folder, 'manifests'), '--datapath', 'ebpf'],
      ...['--bgp-listen', 'none', '--state-dir', join(folder, 'state'), '--socket', socket, '--http', 'none'],
      ...['--bpffs', rack.bpffs, '--interfaces', uplink],
    ])
  const maps = join(rack.bpffs, 'herald', `v${schema}`, 'maps')
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    unloadDatapath(rack.bpffs)
    const agent = start()
    let said = ''
    for (const stream of [agent.stdout, agent.stderr]) stream?.on('data', (chunk: Buffer) => (said += chunk.toString()))
    const ended = new Promise((resolve) => agent.once('exit', (code, by) => resolve([code, by])))
    // The folder is made right before the kernel is asked for maps and programs.
    await waitFor('the kernel to load', () => existsSync(maps), { everyMs: 1 })
    agent.kill(signal)
    assert.deepEqual(await ended, [0, null], said)
    assert.equal(existsSync(socket), false, 'nobody is answered any more')
  }
  start()
  const met = (): Promise<boolean> =>
    user.tell<string>({ do: 'tcp', address: vip, port: 80, size: 1 }).then(
      (line) => line.startsWith(client),
      () => false,
    )
  await waitFor('the Service to be served', met, { everyMs: 200 })
})
