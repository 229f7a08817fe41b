/** metallb.io/v1beta1 Community: names for communities. Each is a part with its last good version. */
import * as z from 'zod'
import type { RawObject } from '../source.ts'
import { isCommunityFault, parseMetallbCommunity, type WrittenCommunity } from './metallb-communities.ts'
import { fault, metadataSchema, narrow, type FieldPath, type Metadata, type Narrowed, tooLong } from './narrow.ts'
import { narrowParts } from './parts.ts'
import { optionalList } from './schemas.ts'

const schema = z.object({
  metadata: metadataSchema,
  spec: z.strictObject({ communities: optionalList(z.unknown()) }).nullish(),
  status: z.unknown().optional(),
})

const aliasSchema = z.strictObject({
  name: z.string().min(1),
  value: z.string().transform((text, context): WrittenCommunity => {
    const found = parseMetallbCommunity(text.trim())
    if (found !== undefined && !isCommunityFault(found)) return found
    const { message, remedy } = found ?? { message: `${text} is no community`, remedy: 'Write 65000:100' }
    context.addIssue({ code: 'custom', message, params: { remedy } })
    return z.NEVER
  }),
})

/** With its parts in place: what the API server checks. */
export const communitySpec = z.strictObject({ communities: optionalList(aliasSchema) })

export interface CommunityAlias {
  readonly name: string
  readonly value: WrittenCommunity
  readonly path: FieldPath
}

export interface Community {
  readonly metadata: Metadata
  readonly aliases: readonly CommunityAlias[]
}

/** Each is a part, which costs more than an entry of a list. */
const mostAliases = 10_000

export function parseCommunity(raw: RawObject, before?: Community): Narrowed<Community> {
  const long = tooLong(raw, [[['spec', 'communities'], mostAliases]])
  if (long.length > 0) return { faults: long }
  const { value, faults } = narrow(schema, raw)
  if (value === undefined) return { faults }
  const written = value.spec?.communities ?? []
  const { parts, faults: aliasFaults } = narrowParts(
    written.map((entry, index) => [['spec', 'communities', index], entry]),
    {
      what: 'this community',
      before: new Map<string, z.infer<typeof aliasSchema>>((before?.aliases ?? []).map((each) => [each.name, each])),
      keyOf: (entry) => nameOf(entry),
      parse: (entry, part) => narrow(aliasSchema, entry, () => [], part),
      twice: (at, name) => duplicateAlias([...at, 'name'], name, 'above'),
    },
  )
  const aliases = parts.map(({ at, value: { name, value: community } }) => ({ name, value: community, path: at }))
  return { value: { metadata: value.metadata, aliases }, faults: [...faults, ...aliasFaults] }
}

/** `where` the name stands already. */
export function duplicateAlias(path: FieldPath, name: string, where: string) {
  const message = `${name} stands ${where} already, which counts`
  return fault('error', path, 'DuplicateAlias', message, 'Give each community a name of its own.')
}

function nameOf(entry: unknown): string | undefined {
  const name: unknown = typeof entry === 'object' && entry !== null ? Reflect.get(entry, 'name') : undefined
  return typeof name === 'string' && name !== '' ? name : undefined
}
