/**
 * What one Service means on a node that is not this one: the translation of that node's agent, over the objects of the
 * cluster and with the flags that the agent told. Pure.
 */
import type { DesiredService, DesiredSpeaker } from '../desired/model.ts'
import type { FoundObject } from './dialects/moving/report.ts'
import { isServed } from './kinds/table.ts'
import { tunnelSelector } from './kinds/tunnel-lease.ts'
import type { AgentFacts } from './node-life.ts'
import { createTranslator } from './translate/translator.ts'

export interface ServiceElsewhere {
  /** undefined: it is no LoadBalancer, and nothing of its own is asked for. */
  readonly service: DesiredService | undefined
  readonly speaker: DesiredSpeaker | undefined
}

/** By which the Leases are found that say where nodes take packets for their backends. */
export const tunnelLeasesQuery = `labelSelector=${encodeURIComponent(tunnelSelector)}`

/** `facts` undefined: the flags of an agent that was given none. */
export function serviceElsewhere(
  objects: readonly FoundObject[],
  service: string,
  nodeName: string,
  facts: AgentFacts | undefined,
): ServiceElsewhere {
  const { datapath = 'none', secretsNamespace = 'kube-system', loadBalancerClass, ...flags } = facts ?? {}
  const hasTunnels = facts?.remoteBackends === 'tunnel' && datapath === 'ebpf'
  const translator = createTranslator({
    nodeName,
    datapath,
    secretsNamespace,
    ...flags,
    ...(loadBalancerClass === undefined ? {} : { loadBalancerClass }),
    ...(hasTunnels ? { tunnels: 'leases' } : {}),
    isElsewhere: true,
    isAllocatedElsewhere: true,
  })
  for (const { key, object, origin } of objects)
    if (isServed(key) && (key.kind !== 'Node' || key.name === nodeName)) translator.upsert(key, object, origin)
  translator.synced()
  let found: DesiredService | undefined
  let speaker: DesiredSpeaker | undefined
  do {
    const delta = translator.flush()
    if (delta.services.has(service)) found = delta.services.get(service)
    speaker = delta.speaker ?? speaker
  } while (translator.hasMore)
  return { service: found, speaker }
}
