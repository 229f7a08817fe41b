/** What `herald migrate` answers as JSON (docs/json.md). */
import * as z from 'zod'

const sessionViewSchema = z.object({
  peerAddress: z.string().describe('Address of the peer; `::` is whatever router is on the interface'),
  peerPort: z.number().describe('TCP port of the peer'),
  localAs: z.number().describe('AS that the peer sees'),
  peerAs: z.string().describe('AS of the peer; `any`, or `external`: any but ours'),
  sourceAddress: z.string().optional().describe('Source address; absent: the kernel chooses'),
  holdTimeSeconds: z.number().describe('Hold time as proposed; the lower of both ends counts'),
  keepaliveSeconds: z.number().describe('Keepalive time as configured'),
  connectRetrySeconds: z.number().describe('Time between attempts'),
  ttl: z.number().describe('TTL of packets of eBGP; 1 is directly connected'),
  gracefulRestartSeconds: z.number().optional().describe('Restart time; absent: no graceful restart'),
  password: z.string().optional().describe('Where the TCP-MD5 key is: a Secret, or `in the object`; never the key'),
  families: z.array(z.string()).describe('`ipv4`, `ipv6`'),
  routerId: z.string().optional().describe('BGP Identifier; absent: chosen by the speaker'),
  interface: z.string().optional().describe('Interface or VRF that the session is bound to'),
  bfd: z.string().optional().describe('How BFD watches the path: receive/transmit interval x multiplier'),
})

const poolViewSchema = z.object({
  addresses: z.array(z.string()).describe('Ranges as written'),
  autoAssign: z.boolean().describe('Whether it gives to who does not ask for it by name'),
  closed: z.string().optional().describe('Why it gives nothing away'),
})

const advertisementViewSchema = z.object({
  type: z.string().describe('`PodCIDR`, or which addresses of Services'),
  pools: z.string().describe('Pools by name or selector'),
  services: z.string().describe('Selector of Services'),
  aggregationLength: z.number().optional().describe('Length that addresses are cut to'),
  communities: z.array(z.string()).describe('Communities and large communities'),
  localPreference: z.number().optional().describe('LOCAL_PREF to internal peers; absent: 100'),
  med: z.number().optional().describe('MULTI_EXIT_DISC'),
  asPathPrepend: z.number().optional().describe('How often the own AS is put in front once more'),
  extendedCommunities: z.array(z.string()).describe('Each as 16 hexadecimal digits'),
})

const before = 'As the other speaker has it; absent: it has none'
const after = 'As Herald has it; absent: it has none'

const findingSchema = z.object({
  code: z.string().describe('One word, stable: docs/migrate.md, or a code of docs/configure.md'),
  needsDecision: z.boolean().describe('Somebody has to decide before anything moves: exit code 1'),
  object: z.string().describe('Kind/namespace/name, or `-`'),
  node: z.string().optional().describe('Where it is so; absent: everywhere'),
  field: z.string().describe('Path of the field, or key of the answer; empty for the whole object'),
  before: z.string().optional().describe('Value before'),
  after: z.string().optional().describe('Value after'),
  reason: z.string().describe('Why it is so'),
  remedy: z.string().describe('What to do'),
})

const sessionRowSchema = z.object({
  node: z.string().describe('The node'),
  object: z.string().describe('What asks for the session'),
  before: sessionViewSchema.optional().describe(before),
  after: sessionViewSchema.optional().describe(after),
})

const poolRowSchema = z.object({
  object: z.string().describe('The pool'),
  before: poolViewSchema.optional().describe(before),
  after: poolViewSchema.optional().describe(after),
})

const advertisementRowSchema = z.object({
  node: z.string().describe('The node'),
  object: z.string().describe('Who says so, as verdicts name it'),
  peer: z.string().describe('Address of the peer that hears it'),
  family: z.string().describe('`ipv4` or `ipv6`'),
  before: advertisementViewSchema.optional().describe(before),
  after: advertisementViewSchema.optional().describe(after),
})

const serviceRowSchema = z.object({
  service: z.string().describe('namespace/name'),
  before: z.array(z.string()).describe('Addresses in its status'),
  after: z.array(z.string()).describe('Addresses that it has with Herald'),
})

const migrationSchema = z.object({
  from: z.enum(['metallb', 'cilium']).describe('Whose configuration it is'),
  backend: z.enum(['frr-k8s', 'frr', 'native']).optional().describe('How MetalLB speaks BGP'),
  nodes: z.array(z.string()).describe('Nodes that were looked at; `any` where none is known'),
  sessions: z.array(sessionRowSchema).describe('A row for each session of each node'),
  pools: z.array(poolRowSchema).describe('A row for each pool'),
  advertisements: z.array(advertisementRowSchema).describe('A row for each thing that a peer hears'),
  services: z.array(serviceRowSchema).describe('LoadBalancer Services that Herald serves, and those with an address'),
  differences: z.array(findingSchema).describe('Every difference, by field'),
  preflight: z.array(findingSchema).describe('What to look at before anything moves'),
})

/** By the names that docs/json.md has for them. */
const valueNoteSchema = z.object({
  needsDecision: z.boolean().describe('Somebody has to decide before anything moves: exit code 1'),
  key: z.string().describe('Key of the other chart'),
  becomes: z.string().optional().describe('Key of our chart; absent: there is none'),
  reason: z.string().describe('Why it is so'),
})

const migratedValuesSchema = z.object({
  from: z.enum(['metallb', 'cilium']).describe('Whose chart it is'),
  values: z.record(z.string(), z.unknown()).describe('Values of our chart'),
  notes: z.array(valueNoteSchema).describe('A word about every key'),
})

export const migrationParts = {
  Migration: migrationSchema,
  MigrationSession: sessionRowSchema,
  MigrationPool: poolRowSchema,
  MigrationAdvertisement: advertisementRowSchema,
  MigrationService: serviceRowSchema,
  MigrationFinding: findingSchema,
  MigratedValues: migratedValuesSchema,
  MigratedValue: valueNoteSchema,
  SessionView: sessionViewSchema,
  PoolView: poolViewSchema,
  AdvertisementView: advertisementViewSchema,
} as const
