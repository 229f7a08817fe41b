import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const heap = JSON.stringify(fileURLToPath(new URL('../../src/sys/heap.ts', import.meta.url)))
/** MiB that are resident after 40 000 objects were dropped and `call` was made. */
const residentAfter = (call: string, ...flags: readonly string[]): number =>
  Number(
    execFileSync(
      process.execPath,
      [
        ...flags,
        '--input-type=module',
        '--eval',
        `const { ${call.slice(0, -2)} } = await import(${heap})
        let all = Array.from({ length: 40_000 }, (_, i) => ({ name: 'object ' + i, list: new Array(100).fill(i) }))
        all = undefined
        ${call}
        process.stdout.write(String(process.memoryUsage.rss() / 2 ** 20))`,
      ],
      { encoding: 'utf8' },
    ),
  )

test('memory of a burst is given back, and only where the engine was told to let us', () => {
  const kept = residentAfter('giveMemoryBack()')
  const given = residentAfter('giveMemoryBack()', '--expose-gc')
  assert.ok(kept - given > 15, `${kept} MiB without, ${given} MiB with --expose-gc`)
})
