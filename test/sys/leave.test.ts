import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { inFolder } from '../k8s/manifests.ts'

const program = fileURLToPath(new URL('leave-process.ts', import.meta.url))
/** fcntl.h. */
const nonBlocking = 0o4000

test('a process ends with its code and what it has said, also while a thread of it is held without an end', () =>
  inFolder((folder) => {
    const fifo = join(folder, 'fifo')
    execFileSync('mkfifo', [fifo])
    for (const [held, code] of [
      ['fifo', 7],
      ['fifo', 0],
      ['call', 4],
      ['call', 0],
      ['thrown', 1],
      ['free', 3],
    ] as const) {
      const { status, signal, stdout, stderr } = spawnSync(process.execPath, [program, held, String(code), fifo], {
        encoding: 'utf8',
        timeout: 60_000,
      })
      assert.deepEqual([status, signal, stdout], [code, null, 'said before the end\n'], held)
      if (held === 'thrown') assert.match(stderr, /nobody takes this\n +at .*leave-process/)
      else assert.equal(stderr, '', held)
    }
  }))

test('who shares its standard output finds it as it was: it waits for room', () => {
  // Opened by the process, and by grep for its own flags, each the same open pipe.
  const script = `${process.execPath} ${program} free 0; exec grep flags /proc/self/fdinfo/1`
  const { stdout } = spawnSync('sh', ['-c', script], { encoding: 'utf8', timeout: 60_000 })
  const flags = Number.parseInt(/flags:\s+(\d+)/.exec(stdout)?.[1] ?? '', 8)
  assert.equal(flags & nonBlocking, 0, stdout)
})
