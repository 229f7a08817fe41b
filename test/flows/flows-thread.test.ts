/** The agent's end of the thread that reads events, where there is nothing to read: it costs who looks, nobody else. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import type { FlowQuery } from '../../src/api/flow-types.ts'
import { FlowsThread, noFlows } from '../../src/flows/flows-thread.ts'
import { waitFor } from '../wait.ts'

const folder = mkdtempSync(join(tmpdir(), 'herald-flows-'))
after(() => rmSync(folder, { recursive: true }))
const all: FlowQuery = { follow: true, allow: {}, deny: {} }

function threadWith(more: { readonly isAlways?: boolean } = {}): {
  readonly flows: FlowsThread
  readonly warnings: string[]
} {
  const warnings: string[] = []
  const flows = new FlowsThread({
    mapsFolder: join(folder, 'nothing-is-pinned-here'),
    nodeName: 'node1',
    isAlways: more.isAlways === true,
    names: () => ({}),
    warn: (message) => void warnings.push(message),
  })
  return { flows, warnings }
}

/** One that takes what it is sent, and when it was ended. */
function sink(): { readonly write: (text: string, taken: () => void) => void; end(): void; ends: number } {
  return {
    ends: 0,
    write: (_, taken) => taken(),
    end() {
      this.ends++
    },
  }
}

test('without the maps the thread ends: it is said, who looks is ended once, and who looks again starts it anew', async () => {
  const { flows, warnings } = threadWith()
  for (const round of [1, 2]) {
    const [one, two] = [sink(), sink()]
    flows.observe(all, one)
    const leave = flows.observe(all, two)
    await waitFor('both are ended', () => one.ends === 1 && two.ends === 1)
    await waitFor('it is said', () => warnings.length === round)
    assert.match(warnings[round - 1] ?? '', /^flow events cannot be read: /)
    // Leaving afterwards ends nothing twice.
    leave()
    assert.deepEqual([one.ends, two.ends], [1, 1])
  }
  await flows.stop()
})

test('a filter that means nothing is refused before anything starts, and takes no place', async () => {
  const { flows, warnings } = threadWith()
  for (const allow of [{ port: ['99999'] }, { ip: ['300.0.0.1'] }, { protocol: ['nonsense'] }])
    for (let i = 0; i < 10; i++)
      assert.throws(() => flows.observe({ ...all, allow } as FlowQuery, sink()), { code: 'ERR_USAGE' })
  await flows.stop()
  assert.deepEqual(warnings, [])
})

test('stopping ends everybody who looks, at once, and can be done twice', async () => {
  const { flows } = threadWith({ isAlways: true })
  const watchers = Array.from({ length: 3 }, () => sink())
  for (const each of watchers) flows.observe(all, each)
  await flows.stop()
  assert.deepEqual(
    watchers.map(({ ends }) => ends),
    [1, 1, 1],
  )
  await flows.stop()
})

test('an agent without the eBPF datapath says so', async () => {
  assert.throws(() => noFlows.observe(all, sink()), { code: 'ERR_NO_EVENTS', message: /no eBPF datapath/ })
  await noFlows.stop()
})
