import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { appendFileSync, mkdirSync, readFileSync, rmdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { parse } from 'yaml'
import type { AddressBook, AllocationChange, Allocations } from '../../src/allocation/address-book.ts'
import { openFileBook } from '../../src/allocation/file-book.ts'
import type { Translator } from '../../src/k8s/translate/translator.ts'
import {
  addressesOf,
  change,
  codesOf,
  inFolder,
  node,
  pool,
  remove,
  service,
  serviceOf,
  smallestPolicy,
  translatorWith,
  verdictOf,
} from '../k8s/manifests.ts'
import { exchanged } from './requests.ts'

const base = smallestPolicy + node + pool
const recordIn = (folder: string): string => join(folder, '.herald', 'allocations.yaml')
const read = (folder: string): unknown => parse(readFileSync(recordIn(folder), 'utf8'))
const put = (record: AddressBook, key: string, ...addresses: readonly string[]): string =>
  exchanged(
    record,
    () => new Map<string, AllocationChange>([[key, addresses.length === 0 ? 'release' : { addresses }]]),
  )

function agentOn(folder: string, services: string): Translator {
  return translatorWith(base + services, { addressBook: openFileBook(folder, join(folder, 'state')) })
}

function contentOf(record: AddressBook): Allocations {
  let seen: Allocations = new Map()
  exchanged(record, ({ entries }) => {
    seen = new Map(entries)
    return new Map()
  })
  return seen
}

test('after a restart a recorded allocation wins over the order of names', () =>
  inFolder((folder) => {
    assert.deepEqual(addressesOf(agentOn(folder, service('web')).flush(), 'web'), ['198.51.100.0'])
    assert.deepEqual(addressesOf(agentOn(folder, service('aaa') + service('web')).flush(), 'aaa', 'web'), [
      '198.51.100.1',
      '198.51.100.0',
    ])
    assert.deepEqual(read(folder), { 'default/aaa': ['198.51.100.1'], 'default/web': ['198.51.100.0'] })
  }))

test('new Services are appended to the file, which stays one YAML map; a removal marks its line', () =>
  inFolder((folder) => {
    const translator = agentOn(folder, service('a'))
    translator.flush()
    const before = readFileSync(recordIn(folder), 'utf8')
    const { ino } = statSync(recordIn(folder))
    change(translator, service('b'))
    assert.equal(readFileSync(recordIn(folder), 'utf8'), `${before}"default/b": ["198.51.100.1"]\n`)
    assert.equal(statSync(recordIn(folder)).ino, ino)
    remove(translator, 'Service', 'a')
    assert.match(readFileSync(recordIn(folder), 'utf8'), /^"default\/a": \["198.51.100.0"\] {2}# released 2/m)
    assert.deepEqual(read(folder), { 'default/a': ['198.51.100.0'], 'default/b': ['198.51.100.1'] })
    const after = statSync(recordIn(folder)).mtimeMs
    change(translator, service('b', ', externalTrafficPolicy: Local'))
    assert.equal(statSync(recordIn(folder)).mtimeMs, after)
  }))

test('agents that share a record see what the others appended and rewrote', () =>
  inFolder((folder) => {
    const [first, second] = [openFileBook(folder, folder), openFileBook(folder, folder)]
    put(first, 'default/web', '198.51.100.1', '2001:db8::')
    put(second, 'default/api', '198.51.100.2')
    assert.deepEqual(
      contentOf(first),
      new Map([
        ['default/web', { addresses: ['198.51.100.1', '2001:db8::'] }],
        ['default/api', { addresses: ['198.51.100.2'] }],
      ]),
    )
    exchanged(second, () => new Map([['default/web', 'forget']]))
    put(second, 'default/new', '198.51.100.3')
    assert.deepEqual([...contentOf(first).keys()], ['default/api', 'default/new'])
  }))

test('a last line that a crash left without its end is passed over with a warning and written anew', () =>
  inFolder((folder) => {
    put(openFileBook(folder, folder), 'default/web', '198.51.100.1')
    appendFileSync(recordIn(folder), '"default/api": ["198.51.1')
    const record = openFileBook(folder, folder)
    assert.deepEqual([...contentOf(record).keys()], ['default/web'])
    assert.equal(record.warning?.code, 'RecordDamaged')
    put(record, 'default/new', '198.51.100.3')
    assert.deepEqual(read(folder), { 'default/new': ['198.51.100.3'], 'default/web': ['198.51.100.1'] })
    contentOf(record)
    assert.equal(record.warning, undefined)
  }))

test('lines may be written by people; what is no allocation is passed over with a warning', () =>
  inFolder((folder) => {
    mkdirSync(join(folder, '.herald'))
    writeFileSync(recordIn(folder), "# mine\ndefault/web: [198.51.100.9, '2001:db8::1']  # fixed\n\nnonsense\n")
    const record = openFileBook(folder, folder)
    assert.deepEqual(contentOf(record), new Map([['default/web', { addresses: ['198.51.100.9', '2001:db8::1'] }]]))
    assert.match(record.warning?.message ?? '', /nonsense/)
    assert.deepEqual(
      addressesOf(agentOn(folder, service('web')).flush(), 'web'),
      ['198.51.100.9'],
      'what a pool has stays, the IPv6 address goes',
    )
  }))

test('while another agent holds the lock, holders keep their addresses and new Services wait; then the warning goes', () =>
  inFolder((folder) => {
    agentOn(folder, service('web')).flush()
    const lock = join(folder, '.herald', 'allocations.lock')
    writeFileSync(lock, '')
    const translator = agentOn(folder, service('aaa') + service('web'))
    const busy = translator.flush()
    assert.deepEqual(addressesOf(busy, 'aaa', 'web'), ['', '198.51.100.0'])
    assert.equal(verdictOf(serviceOf(busy, 'aaa'), 'allocated')?.code, 'RecordBusy')
    assert.deepEqual(codesOf(busy.problems), ['RecordBusy'])
    assert.deepEqual([...translator.flush().services.keys()], [])
    rmSync(lock)
    const free = translator.flush()
    assert.deepEqual(
      [[...free.services.keys()], addressesOf(free, 'aaa'), free.problems],
      [['default/aaa'], ['198.51.100.1'], []],
    )
  }))

test('a lock of an agent that died is removed after a while', () =>
  inFolder((folder) => {
    const record = openFileBook(folder, folder, { lockStaleMs: 5 })
    mkdirSync(join(folder, '.herald'))
    writeFileSync(join(folder, '.herald', 'allocations.lock'), '')
    assert.equal(put(record, 'default/web', '198.51.100.1'), 'recorded')
  }))

test('while the record cannot be used no address is given away, which is an error, and it heals by itself', () =>
  inFolder((folder) => {
    mkdirSync(recordIn(folder), { recursive: true })
    const translator = agentOn(folder, service('web'))
    const delta = translator.flush()
    assert.deepEqual(addressesOf(delta, 'web'), [''])
    assert.deepEqual(
      delta.problems?.map(({ severity, code }) => [severity, code]),
      [['error', 'NotRecorded']],
    )
    assert.equal(verdictOf(serviceOf(delta, 'web'), 'allocated')?.code, 'NotRecorded')
    rmdirSync(recordIn(folder))
    const healed = translator.flush()
    assert.deepEqual([addressesOf(healed, 'web'), healed.problems], [['198.51.100.0'], []])
    assert.deepEqual(read(folder), { 'default/web': ['198.51.100.0'] })
  }))

test('where the folder cannot be written, the record lies in the state directory, with a warning', () =>
  inFolder((folder) => {
    mkdirSync(join(folder, 'state'))
    // A file in the place of the folder refuses root as well.
    writeFileSync(join(folder, '.herald'), '')
    const delta = agentOn(folder, service('web')).flush()
    assert.deepEqual([addressesOf(delta, 'web'), codesOf(delta.problems)], [['198.51.100.0'], ['RecordElsewhere']])
    assert.match(readFileSync(join(folder, 'state', 'allocations.yaml'), 'utf8'), /default\/web/)
  }))

test('nothing is recorded or forgotten before every kind was delivered once', () =>
  inFolder((folder) => {
    put(openFileBook(folder, folder), 'default/web', '198.51.100.1')
    const translator = agentOn(folder, '')
    assert.deepEqual(read(folder), { 'default/web': ['198.51.100.1'] })
    translator.flush()
    assert.deepEqual(read(folder), { 'default/web': ['198.51.100.1'] })
  }))

test('the address recorded for a Service that is not seen yet is not given to another', () =>
  inFolder((folder) => {
    const [early, late] = [agentOn(folder, ''), agentOn(folder, '')]
    early.flush()
    late.flush()
    change(early, service('web'))
    const delta = change(late, service('aaa') + service('bbb', '', '{lbipam.cilium.io/ips: 198.51.100.0}'))
    assert.deepEqual(addressesOf(delta, 'aaa', 'bbb'), ['198.51.100.1', ''])
    assert.match(verdictOf(serviceOf(delta, 'bbb'), 'allocated')?.message ?? '', /recorded for default\/web/)
    assert.deepEqual(addressesOf(change(late, service('web')), 'web'), ['198.51.100.0'])
    remove(early, 'Service', 'web')
    assert.match(readFileSync(recordIn(folder), 'utf8'), /default\/web.*# released/)
  }))

test('an agent that has not heard of a removal yet does not move the Service that got the address since', () =>
  inFolder((folder) => {
    const agent = (): Translator =>
      translatorWith(smallestPolicy + node + pool.replace('/28', '/32') + service('old'), {
        addressBook: openFileBook(folder, folder),
      })
    const [early, late] = [agent(), agent()]
    early.flush()
    late.flush()
    remove(early, 'Service', 'old')
    assert.deepEqual(addressesOf(change(early, service('web')), 'web'), ['198.51.100.0'])
    const behind = change(late, service('web'))
    assert.deepEqual([addressesOf(behind, 'web'), verdictOf(serviceOf(behind, 'web'), 'allocated')?.ok], [[''], false])
    assert.deepEqual(read(folder), { 'default/web': ['198.51.100.0'] })
    assert.deepEqual(addressesOf(remove(late, 'Service', 'old'), 'web'), ['198.51.100.0'])
    assert.deepEqual(read(folder), { 'default/web': ['198.51.100.0'] })
  }))

test(
  'a recorded Service that was absent at the start, perhaps in a broken file, gives way only when its ' +
    'address is needed',
  () =>
    inFolder((folder) => {
      const record = openFileBook(folder, folder)
      for (let i = 0; i < 16; i++) put(record, `default/old${i}`, `198.51.100.${i}`)
      const translator = agentOn(folder, service('old3') + service('old4'))
      assert.deepEqual(addressesOf(translator.flush(), 'old3', 'old4'), ['198.51.100.3', '198.51.100.4'])
      assert.deepEqual(addressesOf(change(translator, service('old0')), 'old0'), ['198.51.100.0'])
      assert.deepEqual(
        addressesOf(change(translator, service('web', '', '{lbipam.cilium.io/ips: 198.51.100.9}')), 'web'),
        ['198.51.100.9'],
      )
      assert.equal(Object.keys(Object(read(folder))).length, 16)
      assert.deepEqual(addressesOf(change(translator, service('more')), 'more'), ['198.51.100.1'])
      const left = Object.keys(Object(read(folder)))
      assert.deepEqual([left.length, left.includes('default/old1'), left.includes('default/old9')], [16, false, false])
    }),
)

test('a Service finds its address again when its pool comes back', () =>
  inFolder((folder) => {
    const translator = agentOn(folder, service('aaa') + service('bbb') + service('web'))
    translator.flush()
    remove(translator, 'Service', 'aaa')
    remove(translator, 'Service', 'bbb')
    assert.deepEqual(addressesOf(remove(translator, 'CiliumLoadBalancerIPPool', 'pool'), 'web'), [''])
    assert.deepEqual(addressesOf(change(translator, pool + service('aab') + service('bbb')), 'aab', 'bbb', 'web'), [
      '198.51.100.3',
      '198.51.100.1',
      '198.51.100.2',
    ])
  }))

test('three agents in processes of their own come to the same addresses, whatever order they see', () =>
  inFolder(async (folder) => {
    const names = Array.from({ length: 30 }, (_, i) => `s${i}`)
    const script = fileURLToPath(new URL('concurrent-agent.ts', import.meta.url))
    const orders = [names, [...names].reverse(), [...names.slice(15), ...names.slice(0, 15)]]
    const outputs = await Promise.all(
      orders.map((order) => promisify(execFile)(process.execPath, [script, folder, ...order])),
    )
    const [first, ...others] = outputs.map(({ stdout }) => JSON.parse(stdout) as [string, string][])
    assert.equal(new Set(first?.map(([, address]) => address)).size, names.length)
    for (const other of others) assert.deepEqual(other, first)
    assert.equal(Object.keys(Object(read(folder))).length, names.length)
  }))
