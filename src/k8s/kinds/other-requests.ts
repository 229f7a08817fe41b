/** What a Service asks of a load balancer that is not this one: an address that it would not get, unheard. Pure. */
import { fault, type Fault, type Metadata } from './narrow.ts'

/** Annotation, whose it is, and what says the same here. */
const asks: readonly (readonly [name: string, whose: string, here: string])[] = [
  ['kube-vip.io/loadbalancerIPs', 'kube-vip', 'lbipam.cilium.io/ips'],
  ['purelb.io/addresses', 'PureLB', 'lbipam.cilium.io/ips'],
  ['purelb.io/service-group', 'PureLB', 'metallb.io/address-pool, with the name of a pool'],
  ['purelb.io/allow-shared-ip', 'PureLB', 'lbipam.cilium.io/sharing-key'],
  ['eip.openelb.kubesphere.io/v1alpha2', 'OpenELB', 'metallb.io/address-pool, with the name of a pool'],
  ['eip.openelb.kubesphere.io/v1alpha1', 'OpenELB', 'lbipam.cilium.io/ips'],
]

/** A Service with a class has said whom it asks. */
export function asksOfOthers(
  annotations: Metadata['annotations'],
  loadBalancerClass: string | undefined,
): readonly Fault[] {
  if (loadBalancerClass !== undefined) return []
  return asks.flatMap(([name, whose, here]) => {
    if (!annotations[name]?.trim()) return []
    const message = `it is asked of ${whose}, and has no effect here`
    const remedy = `Write ${here}, or give the Service the loadBalancerClass of ${whose}.`
    return [fault('warning', ['metadata', 'annotations', name], 'NotServed', message, remedy)]
  })
}
