/** docs/json.md, made from the schemas of src/api/types.ts. To write it anew: node test/json-page.ts > docs/json.md */
import * as z from 'zod'
import { bfdPeerSchema } from '../src/api/bfd-view.ts'
import { migrationParts } from '../src/api/migration.ts'
import * as flowTypes from '../src/api/flow-types.ts'
import { ledBackendSchema, ledFrontendSchema } from '../src/api/socket-types.ts'
import * as datapathTypes from '../src/api/datapath-types.ts'
import * as types from '../src/api/types.ts'

interface JsonSchema {
  readonly type?: string
  readonly enum?: readonly string[]
  readonly description?: string
  readonly items?: JsonSchema
  readonly properties?: Readonly<Record<string, JsonSchema>>
  readonly additionalProperties?: JsonSchema | boolean
  readonly required?: readonly string[]
}

const jsonSchema = (schema: z.ZodType): JsonSchema => {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema)
  return rest as JsonSchema
}

const schemas: ReadonlyMap<string, JsonSchema> = new Map<string, JsonSchema>([
  ['Status', jsonSchema(types.statusSchema)],
  ['Peer', jsonSchema(types.peerSchema)],
  ['BfdPeer', jsonSchema(bfdPeerSchema)],
  ['Route', jsonSchema(types.routeSchema)],
  ['Service', jsonSchema(types.serviceSchema)],
  ['Explanation', jsonSchema(types.explainSchema)],
  ['Verdict', jsonSchema(types.verdictSchema)],
  ['Problem', jsonSchema(types.problemSchema)],
  ['Reset', jsonSchema(types.resetSchema)],
  ['Transition', jsonSchema(types.transitionSchema)],
  ['FamilyCount', jsonSchema(types.familyCountSchema)],
  ['UpdateErrors', jsonSchema(types.updateErrorsSchema)],
  ['Frontend', jsonSchema(types.frontendSchema)],
  ['ClusterNode', jsonSchema(types.clusterNodeSchema)],
  ['ClusterPeer', jsonSchema(types.clusterPeerSchema)],
  ['ClusterService', jsonSchema(types.clusterServiceSchema)],
  ['ClusterServiceNode', jsonSchema(types.clusterServiceNodeSchema)],
  ['Command', jsonSchema(types.commandSchema)],
  ['Backend', jsonSchema(types.backendSchema)],
  ['SourceRange', jsonSchema(types.sourceRangeSchema)],
  ['Map', jsonSchema(datapathTypes.mapSchema)],
  ['Acceleration', jsonSchema(datapathTypes.accelerationSchema)],
  ['AcceleratedInterface', jsonSchema(datapathTypes.acceleratedInterfaceSchema)],
  ['EarlyService', jsonSchema(datapathTypes.earlyServiceSchema)],
  ['EarlyFrontend', jsonSchema(datapathTypes.earlyFrontendSchema)],
  ['LedFrontend', jsonSchema(ledFrontendSchema)],
  ['LedBackend', jsonSchema(ledBackendSchema)],
  ['PinnedMap', jsonSchema(datapathTypes.pinnedMapSchema)],
  ['RawEntry', jsonSchema(datapathTypes.rawEntrySchema)],
  ['Drop', jsonSchema(datapathTypes.dropSchema)],
  ['FlowResponse', jsonSchema(flowTypes.flowResponseSchema)],
  ['Flow', jsonSchema(flowTypes.flowSchema)],
  ...Object.entries(migrationParts).map(([name, schema]): [string, JsonSchema] => [name, jsonSchema(schema)]),
])

const bare = ({ description: _description, ...rest }: JsonSchema): string => JSON.stringify(rest)
const names = new Map([...schemas].map(([name, schema]) => [bare(schema), name]))

function typeText(schema: JsonSchema): string {
  const name = names.get(bare(schema))
  if (name !== undefined) return `[${name}](#${name.toLowerCase()})`
  if (schema.enum !== undefined) return schema.enum.map((word) => `\`${word}\``).join(', ')
  if (schema.type === 'array') return `list of ${typeText(schema.items ?? {})}`
  if (typeof schema.additionalProperties === 'object') return `map of ${typeText(schema.additionalProperties)}`
  return schema.type ?? 'anything'
}

function rows(schema: JsonSchema, prefix: string): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, inner]) => {
    const path = `${prefix}${key}`
    if (inner.properties !== undefined && !names.has(bare(inner))) return rows(inner, `${path}.`)
    return [
      `| \`${path}\` | ${typeText(inner)} | ${schema.required?.includes(key) === true ? 'always' : 'sometimes'} ` +
        `| ${inner.description ?? ''} |`,
    ]
  })
}

const introduction =
  `# JSON

What reading verbs print with \`-o json\` (and, as YAML, with \`-o yaml\`) and what the API answers, over the ` +
  `agent's unix socket and over HTTP. Made from the schemas in \`src/api/\`.

| path | verb | answer |
|---|---|---|
| \`/api/v1/status\` | \`herald status\` | [Status](#status) |
| \`/api/v1/peers\` | \`herald bgp peers\` | list of [Peer](#peer) |
| \`/api/v1/routes?table=&family=&peer=&limit=&continue=\` | \`herald bgp routes\` | list of [Route](#route) |
| \`/api/v1/services?limit=&continue=\` | \`herald lb list\` | list of [Service](#service) |
| \`/api/v1/explain?kind=&name=\` | \`herald explain\` | [Explanation](#explanation) |
| \`/api/v1/flows?follow=&last=&since=&until=&KEY=\` | \`herald observe\` | a [FlowResponse](#flowresponse) per line |
| \`POST /api/v1/commands/...\`, below | \`herald bgp reset\`, \`bgp refresh\`, \`drain\` | [Command](#command) |
| | \`herald status --cluster\` | list of [ClusterNode](#clusternode) |
| | \`herald bfd peers\` | list of [BfdPeer](#bfdpeer) |
| | \`herald bgp peers --cluster\`, \`explain peer --cluster\` | list of [ClusterPeer](#clusterpeer) |
| | \`herald explain service --cluster\` | [ClusterService](#clusterservice) |
| | \`herald lb maps\` | list of [PinnedMap](#pinnedmap), with a name of [RawEntry](#rawentry) |
| | \`herald validate\` | list of [Problem](#problem) |
| | \`herald migrate\` | [Migration](#migration), with \`--values\` [MigratedValues](#migratedvalues) |
| | \`herald replay\` | \`{"inputs", "outputs", "difference"}\`, the last only where there is one: \`{"n", "line", "recorded", "replayed"}\` |
| | \`herald version\` | \`{"version", "node", "platform"}\`, texts |

\`table\` is \`available\`, \`advertised\` (when it is not given) or \`received\`; \`family\` is ` +
  `\`ipv4-unicast\` (when it is not given) or \`ipv6-unicast\`; \`peer\` is the address or id of a peer. ` +
  `\`kind\` is \`service\`, \`route\` or \`peer\`.

\`flows\` is answered on the unix socket only, a line of JSON for each event until the reader goes (an empty line now and then says that the agent is there). Its KEY is a filter of \`herald observe\` without dashes, \`not.KEY\` leaves out, both may be given more than once; \`since\` and \`until\` are ms since the epoch.

Lists of routes and Services come in pages. With \`limit\` (1 to 250) or \`continue\` the answer is ` +
  `\`{"items": [...], "continue": "..."}\`; \`continue\` is there when there is more, and is given back as ` +
  `\`continue\` for the next page. With neither of them the answer is the first 250 as a list, and the header ` +
  `\`herald-continue\` is there when there is more. Verbs follow the pages and print one list. A page of ` +
  `Services has fewer where they have thousands of ports, backends and source ranges. A table that ` +
  `changes meanwhile is listed as it is when its turn comes. A place that is not kept any more (too many other ` +
  `walks, another agent) is refused with 410: begin again.

One request of a connection is worked on at a time, equal ones share an answer, and when too many wait the next is ` +
  `refused with 503 and \`Retry-After\`. \`/healthz\` and \`/readyz\` are answered whatever else waits.

Over HTTP the API takes GET and HEAD only. On the unix socket \`POST /api/v1/commands/reset?peer=&soft=\`, ` +
  `\`refresh?peer=\` and \`drain?undo=\` give commands; the answer is a [Command](#command). A refusal is \`{"error": {"code", "message"}}\` with status 400 (a parameter ` +
  `is wrong, unknown or given twice), 404 (no such path, no such neighbor), 405, 410, 413 (a request with a body), 500 or 503. Beside it: \`/healthz\` (the process lives), ` +
  `\`/readyz\` (200 when everything was read and the datapath is loaded, else 503 with the reason), ` +
  `\`/metrics\` ([metrics.md](metrics.md)).

Keys are added, never renamed. Addresses and prefixes are plain text, durations are seconds in keys that end in \`Seconds\`, moments are ISO 8601.
`

export function jsonPage(): string {
  const parts = [...schemas].map(
    ([name, schema]) =>
      `## ${name}\n\n| key | type | present | meaning |\n|---|---|---|---|\n${rows(schema, '').join('\n')}\n`,
  )
  return [introduction, ...parts].join('\n')
}

if (import.meta.main) process.stdout.write(jsonPage())
