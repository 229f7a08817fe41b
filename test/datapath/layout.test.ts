import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { buildBpf } from '../../scripts/build-bpf.ts'
import {
  decodeFrontend,
  decodeFrontendKey,
  decodeRangeKey,
  encodeFrontend,
  encodeFrontendKey,
  encodeRangeKey,
  mapNames,
  mapShapes,
  offsets,
  readBackend,
  sizes,
  usedSlots,
  writeBackend,
} from '../../src/datapath/layout.ts'
import { eventDetails, packetEventTypes } from '../../src/datapath/events.ts'
import { familyNames, reasonNames } from '../../src/datapath/reasons.ts'
import { readBtf } from './btf.ts'

const { skip, struct, variables } = readBtf(buildBpf)

test('every field lies where the compiled object has it', { skip }, () => {
  for (const [name, fields] of Object.entries(offsets)) {
    const members = struct(name)?.members ?? []
    assert.deepEqual(Object.fromEntries(members.map((member) => [member.name, member.bits_offset / 8])), fields, name)
  }
})

test('every key and value is as long as in the compiled object', { skip }, () => {
  const names = {
    ipAddress: 'ip_address',
    address: 'address',
    frontendKey: 'frontend_key',
    frontend: 'frontend',
    backend: 'backend',
    backendRef: 'backend_ref',
    endpoint: 'endpoint',
    source: 'source',
    counters: 'counters',
    backendCounters: 'backend_counters',
    tunnel: 'tunnel',
    node: 'node',
    forward: 'forward',
    translation: 'translation',
    snatDraft: 'snat_draft',
    heldFragment: 'held_fragment',
    event: 'event',
    observation: 'observation',
    eventLimit: 'event_limit',
    rangeKey: 'range_key',
    affinityKey: 'affinity_key',
    affinity: 'affinity',
  } as const
  for (const [ours, theirs] of Object.entries(names))
    assert.equal(struct(theirs)?.size, sizes[ours as keyof typeof names], theirs)
})

test('every map of the compiled object is pinned', { skip }, () => {
  const others = [
    '_license',
    'formers',
    'is_handed_over',
    'is_redirecting',
    'is_translating',
    'opening_interval_ns',
    'stages',
  ]
  assert.deepEqual([...variables].sort(), [...mapNames, ...others].sort())
})

test('every map has the kind, sizes and entries that the header gives it', { skip }, () => {
  const header = readFileSync(new URL('../../src/datapath/bpf/maps.h', import.meta.url), 'utf8')
  const kinds = {
    HASH: 'hash',
    LRU_HASH: 'lru',
    LPM_TRIE: 'lpm',
    ARRAY: 'memory',
    PERCPU_ARRAY: 'array',
    RINGBUF: 'ring',
  } as const
  const bytesOf = (type: string): number =>
    ({ __u32: 4, __be32: 4, __u64: 8 })[type] ?? struct(type.replace('struct ', ''))?.size ?? 0
  const entriesOf = (text: string): number => {
    const [base = '', shift = '0'] = text.replace('VIPS_PER_LIMIT_BITS', '8').split(' << ')
    const named = {
      'REASON_COUNT * FAMILY_COUNT': reasonNames.length * familyNames.length,
      'EVENT_TYPE_COUNT + REASON_COUNT': packetEventTypes.length + reasonNames.length,
      LIMIT_COUNT: 7,
      SCRATCH_COUNT: 2,
    }[base]
    return (named ?? Number(base)) * 2 ** Number(shift)
  }
  const maps = [...header.matchAll(/^struct \{\n((?:\t__.*\n)+)\} (\w+) SEC/gm)].map(([, body = '', name = '']) => {
    const field = (pattern: RegExp): string => pattern.exec(body)?.[1] ?? ''
    return [
      name,
      {
        kind: ['counters', 'backend_counts'].includes(name)
          ? 'perCpu'
          : kinds[field(/BPF_MAP_TYPE_(\w+)/) as keyof typeof kinds],
        keyBytes: bytesOf(field(/__type\(key, (.*?)\)/)),
        valueBytes: bytesOf(field(/__type\(value, (.*?)\)/)),
        maxEntries: entriesOf(field(/max_entries, (.*?)\)/)),
      },
    ]
  })
  assert.deepEqual(Object.fromEntries(maps), mapShapes)
})

test('reasons have the names and the order of the programs', () => {
  const header = readFileSync(new URL('../../src/datapath/bpf/layout.h', import.meta.url), 'utf8')
  const words = (kind: string): readonly string[] =>
    [...header.matchAll(new RegExp(`^\\t${kind}_(\\w+),.*$`, 'gm'))].map((match) => (match[1] ?? '').toLowerCase())
  assert.deepEqual(words('REASON'), [...reasonNames, 'count'])
  assert.deepEqual(words('FAMILY'), [...familyNames, 'count'])
  assert.deepEqual(words('EVENT'), [...packetEventTypes, 'type_count'])
  assert.deepEqual(words('DETAIL'), [...eventDetails, 'count'])
})

test('no packet is dropped or sent back without a reason: one place makes the verdict, and counts', () => {
  const folder = new URL('../../src/datapath/bpf/', import.meta.url)
  const sources = readdirSync(folder)
    .filter((name) => /\.[ch]$/.test(name))
    .map((name) => [name, readFileSync(new URL(name, folder), 'utf8').replace(/\/\*[\s\S]*?\*\//g, '')] as const)
  const withWord = (word: RegExp): readonly string[] =>
    sources.filter(([, text]) => word.test(text)).map(([name]) => name)
  assert.deepEqual(withWord(/\bTC_ACT_SHOT\b/), ['outcome.h'])
  assert.deepEqual(withWord(/\bbpf_redirect\w*\(/), ['outcome.h'])
  const used = new Set(sources.flatMap(([, text]) => [...text.matchAll(/\bREASON_(\w+)/g)].map(([, name]) => name)))
  for (const reason of reasonNames) assert.ok(used.has(reason.toUpperCase()), `nothing gives the reason ${reason}`)
  // What a program answers with went through there, or is that a packet passes.
  for (const [name, text] of sources)
    for (const [, body = ''] of text.matchAll(/^SEC\("tc"\)\n[^{]*\{([\s\S]*?)^\}/gm))
      for (const [line] of body.matchAll(/return [^;]*;/g))
        assert.match(line, /^return (PASS|finish\w*\(.*|flow \? finish\(.* : PASS);$/s, `${name}: ${line}`)
})

test('slots that were ever used are found, in an array that begins anywhere in its memory', () => {
  const memory = new ArrayBuffer(10 * sizes.backend)
  const array = new DataView(memory, 2 * sizes.backend, 8 * sizes.backend)
  assert.deepEqual(usedSlots(array), [])
  const backend = { address: '10.1.0.5', port: 80, protocol: 'TCP', drainUntilNs: 0n } as const
  // The first and the last, one that is free again, and none for what lies before the array.
  writeBackend(new DataView(memory), 1, { ...backend, generation: 1 })
  for (const [slot, generation] of [
    [0, 1],
    [4, 0xffffffff],
    [7, 2],
  ] as const)
    writeBackend(array, slot, { ...backend, generation })
  assert.deepEqual(usedSlots(array), [0, 4, 7])
})

test('keys and values survive encoding and decoding', () => {
  const key = { address: '203.0.113.254', protocol: 'UDP', port: 65535 } as const
  assert.deepEqual(decodeFrontendKey(encodeFrontendKey(key) ?? new Uint8Array()), key)
  for (const address of ['2001:db8::1', '::', 'fe80::1:2'])
    assert.deepEqual(decodeFrontendKey(encodeFrontendKey({ ...key, address }) ?? new Uint8Array()), { ...key, address })
  for (const address of ['::ffff:192.0.2.1', 'x', '192.0.2'])
    assert.equal(encodeFrontendKey({ ...key, address }), undefined, address)
  const frontend = {
    service: 0xffffffff,
    backends: 2,
    only: { id: 3, generation: 4 },
    table: { offset: 5, length: 0x80000000 },
    previous: { offset: 6, length: 7 },
    previousOnly: { id: 8, generation: 9 },
    resting: { offset: 10, length: 11 },
    ranges: 12,
    affinitySec: 13,
    members: { offset: 14, length: 16 },
    affinitySinceNs: 0xfffffffffffffffen,
    previousUntilNs: 0xfffffffffffffffdn,
  }
  assert.deepEqual(decodeFrontend(encodeFrontend(frontend)), frontend)
  for (const prefix of ['0.0.0.0/0', '10.0.0.0/8', '192.0.2.1/32', '::/0', '2001:db8::/32', 'fd00::1/128'])
    assert.deepEqual(decodeRangeKey(encodeRangeKey({ set: 0xffffffff, prefix }) ?? new Uint8Array()), {
      set: 0xffffffff,
      prefix,
    })
  for (const prefix of ['10.0.0.0', 'x', '::ffff:10.0.0.0/104'])
    assert.equal(encodeRangeKey({ set: 1, prefix }), undefined)
  const array = new DataView(new ArrayBuffer(3 * sizes.backend))
  for (const address of ['255.0.0.1', '2001:db8::5', '::1:2:3']) {
    const backend = {
      address,
      port: 1,
      protocol: 'UDP' as const,
      generation: 0xfffffffe,
      drainUntilNs: 0xffffffffffffffffn,
    }
    for (const node of [{}, { node: '192.0.2.77' }, { node: 'fd00::77' }]) {
      writeBackend(array, 1, { ...backend, ...node })
      assert.deepEqual(readBackend(array, 1), { ...backend, ...node })
    }
    assert.equal(readBackend(array, 0).generation + readBackend(array, 2).generation, 0)
  }
})
