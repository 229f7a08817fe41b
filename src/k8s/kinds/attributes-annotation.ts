/**
 * The annotation `herald.dev/attributes` of an advertisement: path attributes that foreign schemas lack, as YAML text.
 * Each key is judged by itself and has its last good version. Pure.
 */
import * as z from 'zod'
import type { AddressFamilyName, RouteAttributes } from '../../desired/model.ts'
import { fault, narrow, type Fault } from './narrow.ts'
import { attributeKeys, meantKey, misspeltKey } from './neighbor-annotation.ts'
import { narrowParts } from './parts.ts'
import { readMap } from './yaml-map.ts'

export const attributesAnnotation = 'herald.dev/attributes'

const schema = z.strictObject(attributeKeys).partial()

export type AttributesAnnotation = z.infer<typeof schema>

export function parseAttributesAnnotation(
  annotations: Readonly<Record<string, string>>,
  before: AttributesAnnotation = {},
): { readonly keys: AttributesAnnotation; readonly faults: readonly Fault[] } {
  const written = annotations[attributesAnnotation] ?? ''
  if (written.trim() === '') return { keys: {}, faults: [] }
  const at = ['metadata', 'annotations', attributesAnnotation]
  const read = readMap(written)
  if (typeof read === 'string') {
    const rest = Object.keys(before).length > 0 ? 'what it said before stays in force' : 'until then it says nothing'
    const remedy = `Write ${attributesAnnotation}: '{med: 50}'; ${rest}.`
    return { keys: before, faults: [fault('error', at, 'InvalidAnnotation', `no YAML map: ${read}`, remedy)] }
  }
  const { parts, faults } = narrowParts<AttributesAnnotation, Readonly<Record<string, unknown>>>(
    Object.entries(read).map(([name, value]) => [[...at, name], { [name]: value }]),
    {
      what: 'this key',
      before: new Map(Object.entries(before).map(([name, value]) => [name, { [name]: value }])),
      keyOf: (entry) => meantKey(Object.keys(entry)[0] ?? '', attributeKeys, read, before),
      parse: (entry, part) => {
        const [name = ''] = Object.keys(entry)
        const meant = meantKey(name, attributeKeys, read, before)
        return meant === name
          ? narrow(schema, entry, () => [], { ...part, at })
          : { faults: [misspeltKey(meant, part)] }
      },
    },
  )
  return { keys: Object.assign({}, ...parts.map(({ value }) => value)), faults }
}

/** What it says for routes of one family. */
export function annotatedAttributes(
  { med, asPathPrepend, extendedCommunities }: AttributesAnnotation,
  family: AddressFamilyName,
): RouteAttributes {
  const name = family === 'ipv6-unicast' ? 'ipv6' : 'ipv4'
  const [metric, prepend, extended] = [med?.[name], asPathPrepend?.[name] ?? 0, extendedCommunities?.[name] ?? []]
  return {
    ...(metric === undefined ? {} : { med: metric }),
    ...(prepend === 0 ? {} : { asPathPrepend: prepend }),
    ...(extended.length === 0 ? {} : { extendedCommunities: [...new Set(extended)].sort() }),
  }
}
