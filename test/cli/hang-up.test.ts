/** A shell that ends while a daemon starts. */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, constants, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { waitFor } from '../wait.ts'

const herald = fileURLToPath(new URL('../../bin/herald', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'herald-hang-up-'))
after(() => rmSync(folder, { recursive: true }))

const daemons: Readonly<Record<string, readonly string[]>> = {
  agent: ['--node-name', 'n1', '--datapath', 'none', '--bgp-listen', 'none', '--state-dir', join(folder, 'state')],
  operator: [],
}

/** Of a FIFO that nobody reads yet it cannot be had. */
function writingEnd(path: string): number | undefined {
  try {
    return openSync(path, constants.O_WRONLY | constants.O_NONBLOCK)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENXIO') return undefined
    throw error
  }
}

for (const [verb, words] of Object.entries(daemons)) {
  test(`SIGHUP while the ${verb} reads its kubeconfig does not end it: what is wrong with that is still said`, async () => {
    // The start waits at a FIFO for as long as nothing is written into it.
    const kubeconfig = join(folder, verb)
    assert.equal(spawnSync('mkfifo', [kubeconfig]).status, 0)
    const socket = verb === 'agent' ? ['--socket', join(folder, 'herald.sock')] : []
    const daemon = spawn(herald, [verb, '--kubeconfig', kubeconfig, '--http', 'none', ...socket, ...words], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    try {
      let said = ''
      daemon.stderr.setEncoding('utf8').on('data', (text: string) => {
        said += text
      })
      const closed = once(daemon, 'close')
      const fifo = await waitFor('the kubeconfig is being read', () => writingEnd(kubeconfig), {
        deadlineMs: 60_000,
      })
      daemon.kill('SIGHUP')
      writeSync(fifo, '{"clusters": [')
      closeSync(fifo)
      assert.deepEqual(await closed, [2, null])
      assert.match(said, /^herald: .* cannot be read: /)
    } finally {
      daemon.kill('SIGKILL')
    }
  })
}
