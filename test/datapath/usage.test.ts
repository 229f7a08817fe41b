import assert from 'node:assert/strict'
import { test } from 'node:test'
import { kernelFixture, ingress, frontendOf, whyNoKernel } from './fixture.ts'
import { tcpFlag, tcpFrame } from './frames.ts'

const reason = whyNoKernel()

test('the fill of a large map of flows is known without a walk over it', { skip: reason ?? false }, (t) => {
  const flows = 30_000
  const datapath = kernelFixture(t).open({
    maxEntries: {
      addresses: 1024,
      frontends: 64,
      backends: 256,
      tables: 1 << 16,
      openings: 131_072,
      fragments: 128,
      counters: 64,
    },
  })
  datapath.upsert(frontendOf('203.0.113.1', 80, [{ address: '10.1.1.5', port: 8080 }]))
  for (let i = 0; i < flows; i++)
    ingress(
      datapath,
      tcpFrame({
        source: `198.18.${i >> 8}.${i & 255}`,
        destination: '203.0.113.1',
        sourcePort: 40_000,
        destinationPort: 80,
        flags: tcpFlag.SYN,
      }),
    )
  const entries = datapath.usage().find(({ name }) => name === 'openings')?.entries ?? 0
  // Two entries a flow, one for each direction; the estimate comes from a quarter of the buckets.
  assert.ok(Math.abs(entries - 2 * flows) < 0.1 * 2 * flows, `${entries} entries for ${flows} flows`)
})
