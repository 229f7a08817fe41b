/** Events of flows that several tests start from. */
import fc from 'fast-check'
import type { NamedEvent } from '../../src/flows/named-event.ts'

export const connection: NamedEvent = {
  timeNs: 0n,
  type: 'new',
  detail: 'by_client',
  protocol: 6,
  tcpFlags: 2,
  source: { address: '198.51.100.7', port: 40_000 },
  destination: { address: '203.0.113.10', port: 80 },
  backend: { address: '10.1.1.5', port: 8080 },
  length: 60,
  service: 'default/web',
  pod: 'default/web-5',
  timeMs: 1_000,
}

/** Of a process of the node, to a pod by the name of its Service. */
export const ledSocket: NamedEvent = {
  ...connection,
  type: 'led',
  detail: 'by_connect',
  tcpFlags: 0,
  length: 0,
  source: { address: '0.0.0.0', port: 0 },
  socket: { cookie: 4_097n, cgroup: 7_730n, process: 1_234, command: 'curl' },
}

const address = fc.constantFrom('198.51.100.7', '203.0.113.10', '10.1.1.5', '2001:db8::7', 'fd00::5')
const endpoint = fc.record({ address, port: fc.constantFrom(53, 80, 8080, 40_000) })

export const anyEvent: fc.Arbitrary<NamedEvent> = fc
  .record({
    what: fc.constantFrom(
      ['new', 'by_client'] as const,
      ['close', 'fin'] as const,
      ['close', 'reset_by_pod'] as const,
      ['rehash', 'current_table'] as const,
      ['drop', 'no_backend'] as const,
      ['drop', 'reply_unmatched'] as const,
      ['led', 'by_connect'] as const,
    ),
    protocol: fc.constantFrom(1, 6, 17, 58, 132, 47),
    tcpFlags: fc.nat(255),
    source: endpoint,
    destination: endpoint,
    backend: fc.option(endpoint, { nil: undefined }),
    service: fc.constantFrom('default/web', 'default/webshop', 'shop/web', undefined),
    pod: fc.constantFrom('default/web-5', 'shop/cart-1', undefined),
    timeMs: fc.integer({ min: 0, max: 5_000 }),
  })
  .map(
    ({ what: [type, detail], backend, service, pod, ...rest }): NamedEvent => ({
      ...rest,
      type,
      detail,
      timeNs: 0n,
      length: 60,
      backend,
      ...(service === undefined ? {} : { service }),
      ...(pod === undefined ? {} : { pod }),
    }),
  )
