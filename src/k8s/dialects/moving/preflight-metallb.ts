/** What of MetalLB's own set-up has no place after a move, or another meaning. Pure. */
import type { Stored, StoredObjects } from '../../kinds/table.ts'
import { at, flagOf, isOf, listAt, textAt } from './raw.ts'
import { type Backend, type FoundObject, finding, type Finding, type Inventory, nameOf } from './report.ts'
import { configOf, type Machinery, metallbClassOf } from './speakers.ts'

export interface MetallbInput {
  readonly inventory: Inventory
  readonly machinery: Machinery
  readonly objects: StoredObjects
  readonly namespace: string
  readonly loadBalancerClass: string | undefined
  readonly isClassRequired: boolean
  readonly backend: Backend
  /** Nobody said which it is. */
  readonly isBackendAssumed: boolean
}

export function metallbPreflight(input: MetallbInput): readonly Finding[] {
  return [
    ...assumed(input),
    ...extras(input.inventory),
    ...frrConfigurations(input.inventory),
    ...excludedInterfaces(input.inventory),
    ...layer2(input.objects),
    ...sharedLocal(input.objects),
    ...otherNamespaces(input),
    ...classes(input),
    ...leftovers(input),
  ]
}

function assumed({ backend, isBackendAssumed }: MetallbInput): readonly Finding[] {
  if (!isBackendAssumed) return []
  const reason = `no DaemonSet of MetalLB's speaker says how it speaks: ${backend} is taken, as MetalLB 0.16 does`
  return [finding('BackendAssumed', { object: '-', field: '', after: backend, reason, remedy: 'Say so by --backend.' })]
}

/** M11 */
function extras(inventory: Inventory): readonly Finding[] {
  const text = configOf(inventory, 'bgpextras')?.get('extras') ?? ''
  const lines = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('!'))
  return lines.map((line) =>
    finding('ExtraConfiguration', {
      object: 'ConfigMap/bgpextras',
      field: 'data.extras',
      before: line,
      reason: 'raw configuration of FRR means nothing without FRR',
      remedy: 'See herald.dev/neighbors and herald.dev/attributes (docs/configure.md) for what it did.',
    }),
  )
}

const dumped = /^metallb-/

/** M12: what somebody wrote beside what the speaker writes for each node. */
function frrConfigurations({ objects }: Inventory): readonly Finding[] {
  return objects
    .filter((found) => isOf(found, 'frrk8s.metallb.io', 'FRRConfiguration') && !dumped.test(found.key.name))
    .flatMap((found) => {
      const parts = frrParts(found)
      return parts.map(([field, what]) =>
        finding('ExtraConfiguration', {
          object: nameOf(found.key),
          field,
          reason: `${what} of frr-k8s is not read here`,
          remedy: field.endsWith('toReceive')
            ? 'Write importPrefixes into herald.dev/neighbors for what is to be received.'
            : 'See herald.dev/neighbors (docs/configure.md), or leave frr-k8s where it is needed.',
        }),
      )
    })
}

function frrParts({ object }: FoundObject): readonly (readonly [string, string])[] {
  const parts: (readonly [string, string])[] = []
  if (textAt(object, 'spec', 'raw', 'rawConfig') !== '') parts.push(['spec.raw.rawConfig', 'raw configuration'])
  if (listAt(object, 'spec', 'bgp', 'bfdProfiles').length > 0) parts.push(['spec.bgp.bfdProfiles', 'BFD'])
  for (const [r, router] of listAt(object, 'spec', 'bgp', 'routers').entries()) {
    const path = `spec.bgp.routers[${r}]`
    if (listAt(router, 'prefixes').length > 0) parts.push([`${path}.prefixes`, 'a prefix that is no Service'])
    if (listAt(router, 'imports').length > 0) parts.push([`${path}.imports`, 'an import between VRFs'])
    if (at(router, 'evpn') !== undefined) parts.push([`${path}.evpn`, 'EVPN'])
    for (const [n, neighbor] of listAt(router, 'neighbors').entries()) {
      if (at(neighbor, 'toReceive') !== undefined) parts.push([`${path}.neighbors[${n}].toReceive`, 'a filter'])
      else parts.push([`${path}.neighbors[${n}]`, 'a neighbor'])
    }
  }
  return parts.length === 0 ? [['spec', 'an object']] : parts
}

function excludedInterfaces(inventory: Inventory): readonly Finding[] {
  if (configOf(inventory, 'metallb-excludel2') === undefined) return []
  const reason = 'it is for announcements at layer 2, which are not made here'
  return [
    finding('ExcludedInterfaces', {
      object: 'ConfigMap/metallb-excludel2',
      field: '',
      reason,
      remedy: 'agent.interfaces chooses where packets for addresses are met.',
    }),
  ]
}

/** Pools that nobody would hear of any more. */
function layer2({ L2Advertisement: all, IPAddressPool: pools }: StoredObjects): readonly Finding[] {
  return [...all.values()].map(({ key, value: { spec } }) => {
    const names = spec?.ipAddressPools ?? []
    const said = names.length > 0 ? names : [...pools.values()].map((pool) => pool.key.name)
    return finding('NotAnnouncedAtLayer2', {
      object: nameOf(key),
      field: '',
      before: `pools ${said.join(', ') || 'none'} by ARP and NDP`,
      reason: 'addresses are not announced at layer 2 in this version: without a router that peers nobody finds them',
      remedy: 'Announce the pools by a BGPPeer and a BGPAdvertisement, or leave MetalLB to serve them.',
    })
  })
}

/** P16 */
function sharedLocal({ Service: services, L2Advertisement: layer }: StoredObjects): readonly Finding[] {
  if (layer.size === 0) return []
  const byAddress = new Map<string, Stored<'Service'>[]>()
  for (const each of services.values())
    for (const address of each.value.status) byAddress.set(address, [...(byAddress.get(address) ?? []), each])
  return [...byAddress].flatMap(([address, sharers]) => {
    const local = sharers.filter(({ value }) => value.spec.externalTrafficPolicy === 'Local')
    if (sharers.length < 2 || local.length === 0) return []
    const names = sharers.map(({ key }) => `${key.namespace}/${key.name}`).join(', ')
    return [
      finding('SharedLocal', {
        object: names,
        field: 'spec.externalTrafficPolicy',
        before: `${address} on the one node that was elected`,
        reason: 'Services that share an address under the policy Local were held together by the election at layer 2',
        remedy: 'Give each an address of its own, or the policy Cluster.',
      }),
    ]
  })
}

/** MetalLB looks at its own namespace; here every namespace counts. */
function otherNamespaces({ objects, namespace }: MetallbInput): readonly Finding[] {
  const all: readonly Stored[] = [
    ...objects.IPAddressPool.values(),
    ...objects.BGPAdvertisement.values(),
    ...objects.Community.values(),
  ]
  return all
    .filter(({ key }) => key.namespace !== namespace)
    .map(({ key }) =>
      finding('OtherNamespace', {
        object: nameOf(key),
        field: 'metadata.namespace',
        before: 'not read',
        after: 'read',
        reason: `MetalLB reads namespace ${namespace} only; Herald reads each, and names within it`,
        remedy: 'Delete it, or leave it where its meaning is wanted.',
      }),
    )
}

/** M4: which Services are whose. */
function classes({
  inventory,
  machinery,
  objects,
  loadBalancerClass,
  isClassRequired,
}: MetallbInput): readonly Finding[] {
  const own = metallbClassOf(machinery, inventory)
  if (own === '') return []
  const services = [...objects.Service.values()].filter(({ value }) => value.spec.type === 'LoadBalancer')
  const named = services.filter(({ value }) => value.spec.loadBalancerClass === own)
  const bare = services.filter(({ value }) => !value.spec.loadBalancerClass)
  const flag = { object: '--lb-class', field: '', before: own }
  const found: Finding[] = []
  if (own !== loadBalancerClass)
    found.push(
      finding('ClassNotServed', {
        ...flag,
        reason: `${named.length} Services have class ${own}, which Herald serves only when it is told to`,
        remedy: `Set loadBalancerClass=${own}, here --load-balancer-class ${own}.`,
      }),
    )
  if (bare.length > 0 && !isClassRequired)
    found.push(
      finding('ClassTakesMore', {
        ...flag,
        after: `${own}, and no class`,
        reason: `${bare.length} Services without a class are left alone by MetalLB, and get addresses from Herald`,
        remedy: 'Give operator and agents --require-load-balancer-class (extraArgs of the chart).',
      }),
    )
  return found
}

/** P15, and flags without a place here. */
function leftovers({ machinery: { metallbSpeakers } }: MetallbInput): readonly Finding[] {
  return metallbSpeakers.flatMap(({ found, container }) => {
    const object = nameOf(found.key)
    const hasMembers = container.env.has('METALLB_ML_SECRET_KEY_PATH') || container.env.has('METALLB_ML_BIND_ADDR')
    const said: Finding[] = []
    if (hasMembers)
      said.push(
        finding('Leftovers', {
          object,
          field: '',
          before: 'memberlist, TCP and UDP 7946',
          reason: 'agents do not gossip',
          remedy: 'Close port 7946 and delete the Secret of memberlist when nothing of MetalLB runs any more.',
        }),
      )
    if (flagOf(container, '--ignore-exclude-lb') !== undefined && flagOf(container, '--ignore-exclude-lb') !== 'false')
      said.push(
        finding('ExcludeLabelHeeded', {
          object,
          field: '--ignore-exclude-lb',
          reason: 'nodes with the label node.kubernetes.io/exclude-from-external-load-balancers announced so far',
          remedy:
            'Give agents --ignore-exclude-lb (agent.extraArgs), or take the label off nodes that are to announce.',
        }),
      )
    return said
  })
}

/** The pool order of MetalLB is that of a Go map. */
export function poolOrder({ IPAddressPool: pools }: StoredObjects): readonly Finding[] {
  const open = [...pools.values()].filter(({ value: { spec } }) => spec.autoAssign && !spec.serviceAllocation)
  if (open.length < 2) return []
  return [
    finding('PoolOrder', {
      object: open.map(({ key }) => nameOf(key)).join(', '),
      field: 'spec.serviceAllocation.priority',
      before: 'any of them at random',
      after: 'the oldest first',
      reason: 'pools without a priority give in the order of their age here, for new Services',
      remedy: 'Write priorities to choose. Who has an address keeps it.',
    }),
  ]
}
