/**
 * The addresses of the packet tests. A test file that is for both families asks by its own URL: `<name>-ipv6.test.ts`
 * runs the same file once more, with `?ipv6` behind its name.
 */
import { ICMP, ICMPV6 } from './frames.ts'

const ipv4 = {
  isIpv6: false,
  vip: '192.0.2.10',
  secondVip: '192.0.2.20',
  client: '198.51.100.7',
  router: '203.0.113.1',
  /** The length of the IP header, and that of each address in it. */
  headerBytes: 20,
  sourceAt: 12,
  destinationAt: 16,
  ICMP,
  echo: { request: 8, reply: 0 },
  unreachable: { type: 3, port: 3 },
  tooBig: { type: 3, code: 4 },
  podAt: (n: number): string => `10.1.0.${n}`,
  nodeAt: (n: number): string => `203.0.113.${n}`,
  vipAt: (n: number): string => `192.0.2.${n}`,
}

export type Family = typeof ipv4

const ipv6: Family = {
  isIpv6: true,
  vip: '2001:db8:2::10',
  secondVip: '2001:db8:2::20',
  client: '2001:db8:51:100::7',
  router: '2001:db8:113::1',
  headerBytes: 40,
  sourceAt: 8,
  destinationAt: 24,
  ICMP: ICMPV6,
  echo: { request: 128, reply: 129 },
  unreachable: { type: 1, port: 4 },
  tooBig: { type: 2, code: 0 },
  podAt: (n) => `fd00:10:1::${n.toString(16)}`,
  nodeAt: (n) => `fd00:113::${n.toString(16)}`,
  vipAt: (n) => `2001:db8:2::${n.toString(16)}`,
}

export function familyOf(url: string): Family {
  return url.endsWith('?ipv6') ? ipv6 : ipv4
}
