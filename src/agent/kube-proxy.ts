/** Whether kube-proxy, or what is left of it, serves on this node, too: by the rules that it makes. */
import { existsSync } from 'node:fs'
import { hasLegacyTable, hasNftChain, hasNftTable } from '../sys/netfilter.ts'

/** `unknown`: there are rules of the old iptables, or they cannot be asked for. */
export type KubeProxyMode = 'nftables' | 'iptables' | 'ipvs' | 'unknown' | 'absent'

export interface ProxyTraces {
  hasNftTable(name: string): boolean
  hasNftChain(table: string, name: string): boolean
  hasLegacyTable(name: string): boolean
  hasDevice(name: string): boolean
}

const ofThisNode: ProxyTraces = {
  hasNftTable,
  hasNftChain,
  hasLegacyTable,
  hasDevice: (name) => existsSync(`/sys/class/net/${name}`),
}

export function kubeProxyMode(traces: ProxyTraces = ofThisNode): KubeProxyMode {
  try {
    if (traces.hasNftTable('kube-proxy')) return 'nftables'
    if (traces.hasDevice('kube-ipvs0')) return 'ipvs'
    if (traces.hasNftChain('nat', 'KUBE-SERVICES')) return 'iptables'
    return traces.hasLegacyTable('nat') ? 'unknown' : 'absent'
  } catch {
    // Without the privilege, or without nftables in the kernel.
    return traces.hasLegacyTable('nat') ? 'unknown' : 'absent'
  }
}
