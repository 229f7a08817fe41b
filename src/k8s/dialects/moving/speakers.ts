/** Which other speakers, allocators and load balancers run in a cluster, by their workloads. Pure. */
import { at, containersOf, type Container, flagOf, isOf, listAt, textAt } from './raw.ts'
import { type Backend, backends, type FoundObject, type Inventory } from './report.ts'

/** A DaemonSet or Deployment, with what is known of it. */
export interface Workload {
  readonly found: FoundObject
  readonly container: Container
  readonly replicas: number | undefined
}

export interface Machinery {
  readonly metallbSpeakers: readonly Workload[]
  readonly metallbControllers: readonly Workload[]
  readonly frrK8s: readonly Workload[]
  readonly calico: readonly Workload[]
  readonly kubeRouters: readonly Workload[]
  readonly kubeVips: readonly Workload[]
  readonly cilium: readonly Workload[]
  readonly kubeProxies: readonly Workload[]
}

type Kind = 'DaemonSet' | 'Deployment'

/** Images are mirrored under other registries, with a port or without: the end of their name tells them. */
const isImage =
  (pattern: RegExp) =>
  ({ image }: Container): boolean =>
    pattern.test(image.replace(/@.*$/, '').replace(/:[^/:]*$/, ''))

export function machineryOf(inventory: Inventory): Machinery {
  const find = (kind: Kind, isIt: (container: Container) => boolean): readonly Workload[] =>
    inventory.objects
      .filter((found) => isOf(found, 'apps', kind))
      .flatMap((found) => {
        const container = containersOf(found).find(isIt)
        const replicas = at(found.object, 'spec', 'replicas')
        return container === undefined
          ? []
          : [{ found, container, replicas: typeof replicas === 'number' ? replicas : undefined }]
      })
  return {
    metallbSpeakers: find('DaemonSet', isImage(/metallb.*\/speaker$/)),
    metallbControllers: find('Deployment', isImage(/metallb.*\/controller$/)),
    frrK8s: find('DaemonSet', isImage(/(^|\/)frr-k8s$/)),
    calico: find(
      'DaemonSet',
      (each) => isImage(/calico\/node$/)(each) && (each.env.get('CALICO_NETWORKING_BACKEND') ?? 'bird') === 'bird',
    ),
    kubeRouters: find('DaemonSet', isImage(/(^|\/)kube-router$/)),
    kubeVips: find(
      'DaemonSet',
      (each) => isImage(/(^|\/)kube-vip$/)(each) && /^true$/i.test(each.env.get('bgp_enable') ?? ''),
    ),
    cilium: find('DaemonSet', isImage(/(^|\/)cilium(-ci)?$/)),
    kubeProxies: find('DaemonSet', isImage(/(^|\/)kube-proxy$/)),
  }
}

/** What MetalLB's own operator is told to install. */
function installed({ objects }: Inventory): FoundObject | undefined {
  return objects.find((found) => isOf(found, 'metallb.io', 'MetalLB'))
}

/** By METALLB_BGP_TYPE of the speaker, else as its operator is told; undefined: there is nobody to ask. */
export function backendOf({ metallbSpeakers, frrK8s }: Machinery, inventory: Inventory): Backend | undefined {
  const [speaker] = metallbSpeakers
  if (speaker === undefined) {
    const asked = textAt(installed(inventory)?.object, 'spec', 'bgpBackend')
    return backends.find((each) => each === asked) ?? (frrK8s.length > 0 ? 'frr-k8s' : undefined)
  }
  const written = speaker.container.env.get('METALLB_BGP_TYPE') ?? ''
  // Without it the speaker is its native self.
  return backends.find((each) => each === written) ?? 'native'
}

/** The namespace whose objects MetalLB reads: that of its speaker, else the one with most of them. */
export function metallbNamespaceOf({ metallbSpeakers, metallbControllers }: Machinery, inventory: Inventory): string {
  const [workload] = [...metallbSpeakers, ...metallbControllers]
  if (workload !== undefined) return workload.found.key.namespace
  const counts = new Map<string, number>()
  for (const { key } of inventory.objects)
    if (key.apiVersion.startsWith('metallb.io/')) counts.set(key.namespace, (counts.get(key.namespace) ?? 0) + 1)
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0] ?? 'metallb-system'
}

/** `--lb-class` of MetalLB, or what its operator is told; empty: Services without a class. */
export function metallbClassOf({ metallbControllers, metallbSpeakers }: Machinery, inventory: Inventory): string {
  const [workload] = [...metallbControllers, ...metallbSpeakers]
  if (workload === undefined) return textAt(installed(inventory)?.object, 'spec', 'loadBalancerClass')
  return flagOf(workload.container, '--lb-class') ?? ''
}

/** A key of a ConfigMap by its name. */
export function configOf({ objects }: Inventory, name: string): ReadonlyMap<string, string> | undefined {
  const found = objects.find((each) => isOf(each, '', 'ConfigMap') && each.key.name === name)
  const data = found === undefined ? undefined : at(found.object, 'data')
  if (typeof data !== 'object' || data === null) return undefined
  return new Map(Object.keys(data).map((key) => [key, textAt(data, key)]))
}

/** Rules of a webhook that are about a group. */
export function isAbout(webhook: unknown, group: string): boolean {
  return listAt(webhook, 'rules').some((rule) => listAt(rule, 'apiGroups').includes(group))
}
