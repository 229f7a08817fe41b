/** core/v1 Service, as far as Herald reads it. */
import { z } from 'zod'
import { parseAddress } from '../../ip/address.ts'
import type { RawObject } from '../source.ts'
import { fault, metadataSchema, narrow, type Fault, type Narrowed } from './narrow.ts'

const port = z.number().int().min(1).max(65535)

const schema = z.object({
  metadata: metadataSchema,
  spec: z.object({
    type: z.string().nullish().transform((type) => type ?? 'ClusterIP'),
    loadBalancerClass: z.string().nullish(),
    loadBalancerIP: z.string().nullish(),
    loadBalancerSourceRanges: z.array(z.string()).nullish(),
    externalTrafficPolicy: z.enum(['Cluster', 'Local']).nullish().transform((policy) => policy ?? 'Cluster'),
    sessionAffinity: z.enum(['None', 'ClientIP']).nullish(),
    selector: z.record(z.string(), z.string()).nullish(),
    ipFamilies: z.array(z.enum(['IPv4', 'IPv6'])).nullish(),
    ipFamilyPolicy: z.enum(['SingleStack', 'PreferDualStack', 'RequireDualStack']).nullish(),
    ports: z
      .array(z.object({ name: z.string().nullish(), protocol: z.enum(['TCP', 'UDP', 'SCTP']).nullish().transform((protocol) => protocol ?? 'TCP'), port }))
      .nullish()
      .transform((ports) => ports ?? []),
  }),
  status: z
    .object({ loadBalancer: z.object({ ingress: z.array(z.object({ ip: z.string().nullish() })).nullish() }).nullish() })
    .nullish(),
})

export type Service = z.infer<typeof schema>

export function parseService(raw: RawObject): Narrowed<Service> {
  return narrow(schema, raw, (service) => {
    const faults: Fault[] = []
    const { loadBalancerIP } = service.spec
    if (loadBalancerIP && parseAddress(loadBalancerIP) === undefined) {
      faults.push(fault('error', ['spec', 'loadBalancerIP'], 'InvalidAddress', `spec.loadBalancerIP ${loadBalancerIP} is not an address`, 'Write an IPv4 or IPv6 address.'))
    }
    return faults
  })
}

export function serviceKey(service: Service): string {
  return `${service.metadata.namespace ?? 'default'}/${service.metadata.name}`
}
