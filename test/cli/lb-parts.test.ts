/** A Service that is too large for a page comes in parts, which are rows of one Service. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FrontendView, ServiceView } from '../../src/api/types.ts'
import { servicesTable } from '../../src/cli/lb.ts'

const frontend = (port: number): FrontendView => ({
  id: `192.0.2.1:${port}/TCP`,
  address: '192.0.2.1',
  protocol: 'TCP',
  port,
  programmed: true,
  backends: [],
  packetsIn: 0,
  bytesIn: 0,
  packetsOut: 0,
  bytesOut: 0,
  newConnections: 0,
})
const part = (service: string, ...ports: readonly number[]): ServiceView => ({
  service,
  addresses: ['192.0.2.1'],
  pool: 'pool',
  state: 'Announced',
  externalTrafficPolicy: 'Cluster',
  remoteBackends: 0,
  frontends: ports.map(frontend),
  verdicts: [],
})

test('the name, the state and the reason of a Service stand at its first part alone, over pages', () => {
  const page = servicesTable(true)
  const text = page([part('ns/a', 1, 2)]) + page([part('ns/a', 3), part('ns/b', 4)])
  assert.deepEqual(
    text
      .trimEnd()
      .split('\n')
      .slice(1)
      .map((line) => line.replace(/ {2,}/g, ' ')),
    [
      'ns/a 192.0.2.1:1/TCP Announced 0 0 0/0 pool - -',
      ' 192.0.2.1:2/TCP 0 0 0/0 -',
      ' 192.0.2.1:3/TCP 0 0 0/0 -',
      'ns/b 192.0.2.1:4/TCP Announced 0 0 0/0 pool - -',
    ],
  )
})

test('with XDP the wide list says what is taken of each frontend in front of the kernel', () => {
  const page = servicesTable(true)
  const early = [{ early: ['handedOn', 'answered', 'dropped'] as const }, { early: [] }, {}]
  const frontends = early.map((more, at) => ({ ...frontend(at + 1), ...more })) as FrontendView[]
  const lines = page([{ ...part('ns/a'), frontends }])
    .trimEnd()
    .split('\n')
  assert.deepEqual(
    lines.map((line) => line.split(/ {2,}/).at(-1)),
    ['XDP', 'hands on,echoes,drops', 'nothing', '-'],
  )
  assert.doesNotMatch(servicesTable(false)([{ ...part('ns/a'), frontends }]), /XDP|echoes/)
})
