/** core/v1 Secret: only the field `password` is looked at, and only where a neighbor names the Secret. */
import * as z from 'zod'
import type { RawObject } from '../source.ts'
import { isPlaceholder, placeholderRemedy } from './placeholders.ts'
import { fault, lastGoodStays, metadataSchema, narrow, type Fault, type FieldPath, type Narrowed } from './narrow.ts'

const schema = z.object({
  metadata: metadataSchema,
  type: z.unknown().optional(),
  data: z.unknown().optional(),
  stringData: z.unknown().optional(),
})

export interface Secret {
  readonly metadata: z.infer<typeof metadataSchema>
  /**
   * The TCP-MD5 key, an octet per character (U+0000..U+00FF): the kernel signs with octets, whatever text they are in.
   * The last good one while the Secret is broken; absent when there never was a good one.
   */
  readonly key?: string
  /** `kubernetes.io/basic-auth`; what has none is Opaque. */
  readonly type: string
  /** There is a field `password`, good or not. */
  readonly hasKey: boolean
  /** Of the key, to be said where a neighbor names the Secret; a key is never shown. */
  readonly keyFaults: readonly Fault[]
}

/** TCP_MD5SIG_MAXKEYLEN of linux/tcp.h. */
const maxKeyOctets = 80

export function parseSecret(raw: RawObject, before?: Secret): Narrowed<Secret> {
  const { value, faults } = narrow(schema, raw, () => [], {
    at: [],
    meanwhile: lastGoodStays,
    isSecret: true,
  })
  if (value === undefined) return { faults }
  const found = keyOf(value)
  const key = found.key ?? before?.key
  const isKept = found.key === undefined && key !== undefined
  const keyFaults = found.faults.map((each) =>
    isKept ? { ...each, remedy: `${each.remedy} The key that was good before stays in force.` } : each,
  )
  const hasKey = (fieldOf(value.stringData) ?? fieldOf(value.data)) !== undefined
  const type = typeof value.type === 'string' && value.type !== '' ? value.type : 'Opaque'
  return { value: { metadata: value.metadata, type, ...(key === undefined ? {} : { key }), hasKey, keyFaults }, faults }
}

export interface FoundKey {
  readonly key?: string
  readonly faults: readonly Fault[]
}

/** As the API server has it, `stringData` goes before `data`. */
function keyOf({ data, stringData }: z.infer<typeof schema>): FoundKey {
  const [plain, encoded] = [fieldOf(stringData), fieldOf(data)]
  const path = [plain === undefined ? 'data' : 'stringData', 'password']
  if (plain !== undefined) return plainKey(plain, path)
  if (encoded === undefined)
    return bad(path, 'InvalidKey', 'there is no field password', 'Write the key into stringData: {password: "..."}.')
  if (typeof encoded !== 'string') return notText(path)
  if (isPlaceholder(encoded)) return notFilledIn(encoded, path)
  const key = decodeBase64(encoded)
  return key === undefined
    ? bad(path, 'InvalidKey', 'the key is not base64', 'Encode it with `echo -n KEY | base64`, or use stringData.')
    : checkedKey(key, path, encodedEnd)
}

/** A key that is written as it is, in octets. */
export function plainKey(written: unknown, path: FieldPath): FoundKey {
  if (typeof written !== 'string') return notText(path)
  if (isPlaceholder(written)) return notFilledIn(written, path)
  return checkedKey(octetsOf(new TextEncoder().encode(written)), path, plainEnd)
}

/** Where a line end, or a blank, at the end of a key comes from, and how to write the key without. */
interface WrittenEnd {
  readonly madeBy: string
  readonly remedy: string
}

const encodedEnd: WrittenEnd = { madeBy: '`echo`', remedy: 'Encode it without: `echo -n KEY | base64`.' }
const plainEnd: WrittenEnd = { madeBy: 'a block of text (|)', remedy: 'Write it in quotes, as password: "...".' }

function checkedKey(key: string, path: FieldPath, end: WrittenEnd): FoundKey {
  if (key === '') return bad(path, 'InvalidKey', 'the key is empty', 'Write the key that the router has.')
  if (key.length > maxKeyOctets) {
    const message = `the key has ${key.length} octets, and the kernel takes at most ${maxKeyOctets} (TCP-MD5)`
    const lineEnd = /[\r\n]+$/.exec(key)
    return lineEnd !== null && lineEnd.index <= maxKeyOctets
      ? bad(path, 'KeyTooLong', `${message}; it ends in a line end, which ${end.madeBy} adds`, end.remedy)
      : bad(path, 'KeyTooLong', message, `Use a key of at most ${maxKeyOctets} octets, here and on the router.`)
  }
  return {
    key,
    faults: oddities(key, end).map(([message, remedy]) => fault('warning', path, 'OddKey', message, remedy)),
  }
}

const notText = (path: FieldPath): FoundKey =>
  bad(path, 'InvalidKey', 'the key is no text', 'Write the key in quotes, as password: "...".')

/** Whoever reads the folder knows it, and no router has it. */
const notFilledIn = (written: string, path: FieldPath): FoundKey =>
  bad(path, 'InvalidKey', 'the key is not put in yet', `${placeholderRemedy(written) ?? 'Write the key'}.`)

function bad(path: FieldPath, code: 'InvalidKey' | 'KeyTooLong', message: string, remedy: string): FoundKey {
  return { faults: [fault('error', path, code, message, remedy)] }
}

/** null counts as absent, as everywhere. */
function fieldOf(map: unknown): unknown {
  const found: unknown =
    typeof map === 'object' && map !== null && Object.hasOwn(map, 'password') ? Reflect.get(map, 'password') : undefined
  return found ?? undefined
}

/** What a router is unlikely to have in its key; it is used all the same. */
function oddities(key: string, end: WrittenEnd): readonly (readonly [string, string])[] {
  if (/[\r\n]$/.test(key))
    return [[`the key ends in a line end, which ${end.madeBy} adds and the router does not have`, end.remedy]]
  // Octets, of which one above 0x7f is part of a character and no blank.
  if (/^[ \t\v\f]|[ \t\v\f]$/.test(key)) return [['the key begins or ends with a blank', end.remedy]]
  if (/[\0-\x1f\x7f]/.test(key))
    return [['the key holds a control character, which a router cannot be given', 'Use printable characters.']]
  if (/[\x80-\xff]/.test(key))
    return [
      [
        'the key is not ASCII: it is used octet by octet, and a router may have the same text in other octets',
        'Use letters and digits of ASCII.',
      ],
    ]
  return []
}

function decodeBase64(text: string): string | undefined {
  // The API server takes line ends inside, as base64 of coreutils folds its lines.
  const bare = text.replace(/[\r\n]/g, '')
  if (bare.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(bare)) return undefined
  return atob(bare)
}

function octetsOf(bytes: Uint8Array): string {
  return Array.from(bytes, (octet) => String.fromCharCode(octet)).join('')
}
