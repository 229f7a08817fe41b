/** core/v1 Service, as far as Herald reads it. */
import { z } from 'zod'
import { formatAddress, parseAddress } from '../../ip/address.ts'
import type { Labels } from '../../desired/label-selector.ts'
import type { RawObject } from '../source.ts'
import { fault, formatPath, metadataSchema, narrow, type FieldPath, type Narrowed } from './narrow.ts'

const port = z.number().int().min(1).max(65535)

const schema = z.object({
  metadata: metadataSchema,
  spec: z.object({
    type: z
      .string()
      .nullish()
      .transform((type) => type ?? 'ClusterIP'),
    loadBalancerClass: z.string().nullish(),
    loadBalancerIP: z.string().nullish(),
    loadBalancerSourceRanges: z.array(z.string()).nullish(),
    externalTrafficPolicy: z
      .enum(['Cluster', 'Local'])
      .nullish()
      .transform((policy) => policy ?? 'Cluster'),
    sessionAffinity: z.enum(['None', 'ClientIP']).nullish(),
    selector: z.record(z.string(), z.string()).nullish(),
    ipFamilies: z.array(z.enum(['IPv4', 'IPv6'])).nullish(),
    ipFamilyPolicy: z.enum(['SingleStack', 'PreferDualStack', 'RequireDualStack']).nullish(),
    ports: z
      .array(
        z.object({
          name: z.string().nullish(),
          protocol: z
            .enum(['TCP', 'UDP', 'SCTP'])
            .nullish()
            .transform((protocol) => protocol ?? 'TCP'),
          port,
        }),
      )
      .nullish()
      .transform((ports) => ports ?? []),
  }),
  status: z
    .object({
      loadBalancer: z.object({ ingress: z.array(z.object({ ip: z.string().nullish() })).nullish() }).nullish(),
    })
    .nullish(),
})

export type Service = z.infer<typeof schema>

/** A request for an address that cannot be read is an error of the Service, which is used all the same. */
export function parseService(raw: RawObject): Narrowed<Service> {
  const { value, faults } = narrow(schema, raw)
  if (value === undefined) return { faults }
  const { invalid, path } = requestedAddresses(value)
  return {
    value,
    faults: [
      ...faults,
      ...invalid.map((text) =>
        fault(
          'error',
          path,
          'InvalidAddress',
          `${formatPath(path)}: ${text} is not an address`,
          'Write IPv4 or IPv6 addresses, separated by commas.',
        ),
      ),
    ],
  }
}

export function serviceKey({ metadata }: Service): string {
  return `${metadata.namespace ?? 'default'}/${metadata.name}`
}

/** The labels of a Service with the pseudo labels that selectors may name. */
export function selectableLabels({ metadata }: Service): Labels {
  return {
    ...metadata.labels,
    'io.kubernetes.service.name': metadata.name,
    'io.kubernetes.service.namespace': metadata.namespace ?? 'default',
  }
}

export interface RequestedAddresses {
  /** Canonical, unique. */
  readonly addresses: readonly string[]
  /** What was asked for and is no address. */
  readonly invalid: readonly string[]
  /** The field that asks. */
  readonly path: FieldPath
}

/** The addresses that a Service asks for by name: an annotation goes before spec.loadBalancerIP. */
export function requestedAddresses({ metadata, spec }: Service): RequestedAddresses {
  const name = ['lbipam.cilium.io/ips', 'io.cilium/lb-ipam-ips'].find(
    (each) => metadata.annotations[each] !== undefined,
  )
  const words = ((name === undefined ? spec.loadBalancerIP : metadata.annotations[name]) ?? '')
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '')
  const addresses = new Set<string>()
  const invalid: string[] = []
  for (const word of words) {
    const parsed = parseAddress(word)
    if (parsed === undefined) invalid.push(word)
    else addresses.add(formatAddress(parsed))
  }
  return {
    addresses: [...addresses],
    invalid,
    path: name === undefined ? ['spec', 'loadBalancerIP'] : ['metadata', 'annotations', name],
  }
}
