/** Four routers on loopback and the neighbors that reach them. */
import type { Neighbor } from '../src/desired/model.ts'

export const sinkPort = 11_790
export const sinkAsn = 65_000
export const sinkAddresses = ['127.0.0.11', '127.0.0.12', '127.0.0.13', '127.0.0.14'] as const

export function neighbors(count = sinkAddresses.length): Neighbor[] {
  return sinkAddresses.slice(0, count).map((peerAddress) => ({
    id: `65001/${peerAddress}`,
    source: { kind: 'bench', name: 'bench' },
    virtualRouter: '65001',
    localAsn: 65_001,
    peerAsn: sinkAsn,
    peerAddress,
    peerPort: sinkPort,
    routerId: '192.0.2.9',
    families: ['ipv4-unicast'],
    holdTimeSec: 90,
    keepaliveSec: 30,
    connectRetrySec: 5,
    multihopTtl: 1,
    passive: false,
    nextHops: { 'ipv4-unicast': '192.0.2.9' },
  }))
}

/** The n-th host route of 10.0.0.0/8. */
export function hostRoute(n: number): string {
  return `10.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}/32`
}
