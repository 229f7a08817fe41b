/** The programs of an earlier schema, as they were, and the hand-over from them under load. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { buildBpf } from '../../scripts/build-bpf.ts'
import type { DatapathStatus } from '../../src/datapath/datapath.ts'
import { schema } from '../../src/datapath/layout.ts'
import { frontendOf, whyNoKernel } from './fixture.ts'
import { buildFormer, formerSchema } from './former.ts'
import { client, deployRack, pods, uplink, vip } from './rack.ts'
import { underLoad } from './under-load.ts'

const skip = whyNoKernel()
const backends = pods.map((address) => ({ address, port: 8080 }))
const frontend = frontendOf(vip, 80, backends)

test(`programs and flows of schema ${formerSchema} are taken over under load: no segment is lost, no connection ends`, {
  skip,
}, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'dp-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const rack = deployRack(t)
  await rack.actor('pod').tell({ do: 'serve', port: 8080 })
  const former = rack.actor('node')
  const objectFile = buildFormer(folder)
  await former.tell({ do: 'former-schema', bpffs: rack.bpffs, objectFile, device: uplink, frontend })
  await former.kill('SIGKILL')
  const user = rack.actor('client')
  // Connections that the earlier programs opened, one to each pod, and which nobody uses meanwhile.
  const idle = [rack.actor('client'), rack.actor('client'), rack.actor('client'), rack.actor('client')]
  const met = await Promise.all(idle.map((each) => each.tell<string>({ do: 'connect', address: vip, port: 80 })))
  assert.ok(
    met.every((text) => pods.some((pod) => text === `${client} ${pod}`)),
    met.join(),
  )
  const next = rack.actor('node')
  let status: DatapathStatus | undefined
  await underLoad(rack, user, async () => {
    ;({ status } = await next.tell<{ readonly status: DatapathStatus }>({
      do: 'datapath',
      bpffs: rack.bpffs,
      objectFile: buildBpf(),
      attach: 'tcx',
      interfaces: [uplink],
      frontends: [frontend],
    }))
  })
  assert.deepEqual([status?.adopted, status?.schema, status?.interfaces], [true, schema, [uplink]])
  assert.deepEqual(readdirSync(join(rack.bpffs, 'herald')), [`v${schema}`])
  for (const each of idle) assert.equal(await each.tell({ do: 'exchange', size: 10_000 }), 10_000)
  assert.equal((await next.tell<Record<string, number>>({ do: 'reasons' }))['reply_unmatched'], 0)
})
