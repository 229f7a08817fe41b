/** discovery.k8s.io/v1 EndpointSlice. Target ports are numbers here already. */
import { z } from 'zod'
import type { RawObject } from '../source.ts'
import { metadataSchema, narrow, type Narrowed } from './narrow.ts'

const schema = z.object({
  metadata: metadataSchema,
  addressType: z.enum(['IPv4', 'IPv6', 'FQDN']),
  endpoints: z
    .array(
      z.object({
        addresses: z.array(z.string()),
        nodeName: z.string().nullish(),
        conditions: z
          .object({ ready: z.boolean().nullish(), serving: z.boolean().nullish(), terminating: z.boolean().nullish() })
          .nullish(),
      }),
    )
    .nullish()
    .transform((endpoints) => endpoints ?? []),
  ports: z
    .array(
      z.object({
        name: z.string().nullish(),
        protocol: z.enum(['TCP', 'UDP', 'SCTP']).nullish(),
        port: z.number().int().min(1).max(65535).nullish(),
      }),
    )
    .nullish()
    .transform((ports) => ports ?? []),
})

export type EndpointSlice = z.infer<typeof schema>

export function parseEndpointSlice(raw: RawObject): Narrowed<EndpointSlice> {
  return narrow(schema, raw)
}

/** `namespace/name` of the Service that the slice belongs to; undefined for a slice of no Service. */
export function serviceOfSlice(slice: EndpointSlice): string | undefined {
  const name = slice.metadata.labels['kubernetes.io/service-name']
  return name === undefined ? undefined : `${slice.metadata.namespace ?? 'default'}/${name}`
}
