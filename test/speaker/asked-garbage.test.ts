/** What questions leave to be collected in the thread of the speaker, whose collections hold its timers up. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const held = JSON.stringify(fileURLToPath(new URL('held.ts', import.meta.url)))

test('to list received routes leaves hardly anything for each of them on the heap of the speaker', () => {
  // The young generation is never full: what was allocated is what is there more.
  const script = `const { Held, table } = await import(${held})
    const { getHeapSpaceStatistics } = await import('node:v8')
    const held = new Held(1)
    for (let i = 0; i < 5_000; i++)
      held.receive(0, [0, 1, 2, 3].map((at) => (0x0a000000 + (i * 4 + at) * 256) * 64 + 24), [i])
    const list = () => {
      let [from, paths, octets] = [undefined, 0, 0]
      do {
        const { packed, next } = held.queries.answer({ ...table('received'), ...(from === undefined ? {} : { from }) })
        for (const { count } of packed?.runs ?? []) paths += count
        octets += packed?.octets.length ?? 0
        from = next
      } while (from !== undefined)
      return { paths, octets }
    }
    // By then it is compiled.
    for (let i = 0; i < 20; i++) list()
    gc()
    const used = () => getHeapSpaceStatistics().reduce((sum, { space_used_size }) => sum + space_used_size, 0)
    const before = used()
    const listed = list()
    process.stdout.write(JSON.stringify({ ...listed, left: used() - before }))`
  const flags = ['--expose-gc', '--min-semi-space-size=64', '--max-semi-space-size=64', '--input-type=module']
  const { paths, octets, left } = JSON.parse(
    execFileSync(process.execPath, [...flags, '--eval', script], { encoding: 'utf8', timeout: 120_000 }),
  )
  assert.equal(paths, 20_000)
  assert.ok(
    left > 0 && left / paths < 250,
    `${left / paths} octets of garbage a route, ${octets / paths} of its answer`,
  )
})
