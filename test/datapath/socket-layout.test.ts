/** The maps of the socket programs, as the compiled object has them. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { buildBpf } from '../../scripts/build-bpf.ts'
import { encodeFrontendKey } from '../../src/datapath/layout.ts'
import {
  decodeEndpoint,
  decodeMember,
  decodePlace,
  decodeSocketFrontend,
  decodeStanding,
  encodeEndpoint,
  encodeMember,
  encodePlace,
  encodeSocketFrontend,
  encodeStanding,
  socketMapNames,
  socketMapShapes,
  socketOffsets,
  socketSizes,
} from '../../src/datapath/socket-layout.ts'
import { socketEventTypes } from '../../src/datapath/socket-events.ts'
import { readBtf } from './btf.ts'

const { skip, struct, variables } = readBtf(() => join(dirname(buildBpf()), 'socket.bpf.o'))

test('every field of a socket map lies where the compiled object has it', { skip }, () => {
  for (const [name, fields] of Object.entries(socketOffsets)) {
    const members = struct(name)?.members ?? []
    assert.deepEqual(Object.fromEntries(members.map((each) => [each.name, each.bits_offset / 8])), fields, name)
  }
})

test('every key and value of a socket map is as long as in the compiled object', { skip }, () => {
  for (const [ours, bytes] of Object.entries(socketSizes))
    assert.equal(struct(ours === 'endpoint' ? ours : `socket_${ours}`)?.size, bytes, ours)
})

test('every socket map has the kind, sizes and entries that the header gives it', { skip }, () => {
  const header = readFileSync(new URL('../../src/datapath/bpf/socket.h', import.meta.url), 'utf8')
  const kinds = {
    HASH: 'hash',
    LRU_HASH: 'lru',
    PERCPU_ARRAY: 'array',
    SK_STORAGE: 'storage',
    RINGBUF: 'ring',
    ARRAY: 'word',
  } as const
  const bytesOf = (type: string): number =>
    ({ int: 4, __u32: 4, __u64: 8 })[type] ?? struct(type.replace('struct ', ''))?.size ?? 0
  const entriesOf = (text: string): number => {
    const [base = '', shift = '0'] = text
      .replace('SOCKET_COUNTS', '3')
      .replace('SOCKET_EVENT_TYPE_COUNT', '3')
      .split(' << ')
    return Number(base) * 2 ** Number(shift)
  }
  const maps = [...header.matchAll(/^struct \{\n((?:\t__.*\n)+)\} (\w+) SEC/gm)].map(([, body = '', name = '']) => {
    const field = (pattern: RegExp): string => pattern.exec(body)?.[1] ?? ''
    const shape = {
      kind: kinds[field(/BPF_MAP_TYPE_(\w+)/) as keyof typeof kinds],
      keyBytes: bytesOf(field(/__type\(key, (.*?)\)/)),
      valueBytes: bytesOf(field(/__type\(value, (.*?)\)/)),
      maxEntries: entriesOf(field(/max_entries, (.*?)\)/)),
    }
    return [name, shape]
  })
  assert.deepEqual(Object.fromEntries(maps), socketMapShapes)
  assert.deepEqual([...variables].sort(), [...socketMapNames, '_license', 'may_say_why'].sort())
})

test('what is told of sockets has the names and the order of the programs', () => {
  const header = readFileSync(new URL('../../src/datapath/bpf/socket.h', import.meta.url), 'utf8')
  const words = [...header.matchAll(/^\tSOCKET_EVENT_(\w+),.*$/gm)].map(([, word = '']) => word.toLowerCase())
  assert.deepEqual(words, [...socketEventTypes, 'type_count'])
})

test('what is encoded is decoded again, of either family', () => {
  const record = { service: 7, table: 4_294_967_295, backends: 3, affinitySec: 86_400 }
  assert.deepEqual(decodeSocketFrontend(encodeSocketFrontend(record)), record)
  const place = { service: 7, table: 9, index: 2 }
  assert.deepEqual(decodePlace(encodePlace(place)), place)
  for (const address of ['10.1.1.5', 'fd00::5']) {
    const endpoint = encodeEndpoint({ address, port: 65_535 })
    assert.ok(endpoint)
    assert.deepEqual(decodeEndpoint(endpoint), { address, port: 65_535 })
    const frontend = encodeFrontendKey({ address, protocol: 'UDP', port: 1 })
    assert.ok(frontend)
    assert.deepEqual(decodeMember(encodeMember(frontend, endpoint)), { frontend, endpoint })
  }
  assert.equal(encodeEndpoint({ address: 'nobody', port: 1 }), undefined)
  assert.equal(encodeEndpoint({ address: '::ffff:192.0.2.1', port: 1 }), undefined)
  for (const state of ['active', 'resting'] as const)
    assert.deepEqual(decodeStanding(encodeStanding({ state, chosen: 2n ** 60n })), { state, chosen: 2n ** 60n })
  assert.equal(decodeStanding(encodeStanding({ state: 'active' })).chosen, 0n)
})
