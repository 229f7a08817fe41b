import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { inFolder } from '../k8s/manifests.ts'

const program = fileURLToPath(new URL('leave-process.ts', import.meta.url))

test('a process ends with its code and what it has said, also while a thread waits for a file without an end', () =>
  inFolder((folder) => {
    const fifo = join(folder, 'fifo')
    execFileSync('mkfifo', [fifo])
    for (const [path, code] of [
      [fifo, 7],
      ['', 3],
      [fifo, 0],
    ] as const) {
      const { status, signal, stdout } = spawnSync(process.execPath, [program, path, String(code)], {
        encoding: 'utf8',
        timeout: 60_000,
      })
      assert.deepEqual([status, signal, stdout], [code, null, 'said before the end\n'])
    }
  }))
