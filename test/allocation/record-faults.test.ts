/** Whatever happens to the record of allocations: nothing is given away, nothing changes hands, and it heals. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { AddressBook } from '../../src/allocation/address-book.ts'
import { openFileBook, type FileBookOptions } from '../../src/allocation/file-book.ts'
import { inFolder } from '../k8s/manifests.ts'
import { exchanged, FolderAgent, pool, request } from './requests.ts'

const pools = [pool('p', ['10.0.0.0/28'])]
const recordIn = (folder: string): string => join(folder, '.herald', 'allocations.yaml')
const lockIn = (folder: string): string => join(folder, '.herald', 'allocations.lock')
const bookIn = (folder: string, options: FileBookOptions = {}): AddressBook =>
  openFileBook(folder, join(folder, 'state'), { lockWaitMs: 0, ...options })
const agentIn = (folder: string, options: FileBookOptions = {}): FolderAgent =>
  new FolderAgent(bookIn(folder, options), pools)

/** Each puts something in the way and answers how to take it away again. */
const faults: Readonly<Record<string, (folder: string) => () => void>> = {
  'a directory in the place of the record': (folder) => replaced(recordIn(folder), (path) => mkdirSync(path)),
  'a link in the place of the record': (folder) =>
    replaced(recordIn(folder), (path) => symlinkSync(join(folder, 'elsewhere'), path)),
  'a link to nothing in the place of the record': (folder) =>
    replaced(recordIn(folder), (path) => symlinkSync('/nowhere/at/all', path)),
  'a pipe in the place of the record': (folder) => replaced(recordIn(folder), (path) => execFileSync('mkfifo', [path])),
  'a record of NULs': (folder) => replaced(recordIn(folder), (path) => writeFileSync(path, Buffer.alloc(4_096))),
  'a record of which the end is NULs': (folder) =>
    replaced(recordIn(folder), (path) => writeFileSync(path, `"default/one": ["10.0.0.7"]\n\0\0\0`)),
  'a record in another encoding': (folder) =>
    replaced(recordIn(folder), (path) => writeFileSync(path, Buffer.from('"default/één": []\n', 'latin1'))),
  'a link in the place of the folder': (folder) =>
    replaced(join(folder, '.herald'), (path) => symlinkSync(join(folder, 'elsewhere'), path)),
  'a link to itself in the place of the folder': (folder) =>
    replaced(join(folder, '.herald'), (path) => symlinkSync(path, path)),
  'a directory in the place of the new record': (folder) => {
    // An append needs no new file.
    appendFileSync(recordIn(folder), '"default/half": ["10.0.')
    return planted(`${recordIn(folder)}.new`, (path) => mkdirSync(path))
  },
  'a lock that is never given back': (folder) => planted(lockIn(folder), (path) => writeFileSync(path, '')),
  'a directory in the place of the lock': (folder) => planted(lockIn(folder), (path) => mkdirSync(path)),
}

function planted(path: string, plant: (path: string) => unknown): () => void {
  plant(path)
  return () => rmSync(path, { recursive: true })
}

function replaced(path: string, plant: (path: string) => unknown): () => void {
  const aside = `${path}.aside`
  renameSync(path, aside)
  plant(path)
  return () => {
    rmSync(path, { recursive: true })
    renameSync(aside, path)
  }
}

test('a file system that does not answer is not touched: holders keep their addresses, and nobody gets one', () =>
  inFolder((folder) => {
    let isSilent = false
    const agent = agentIn(folder, { isSilent: () => isSilent })
    agent.put(request('web'), request('api'))
    const before = agent.all()
    isSilent = true
    const away = join(folder, '.herald')
    renameSync(away, `${away}.aside`)
    agent.put(request('new'))
    agent.settle()
    assert.deepEqual([agent.all(), agent.of('new')], [before, ''])
    assert.match(agent.allocator.warning?.message ?? '', /none is made: the file system of .* does not answer$/)
    assert.equal(agent.allocator.warning?.severity, 'error')
    assert.deepEqual([existsSync(away), existsSync(join(folder, 'state'))], [false, false])
    renameSync(`${away}.aside`, away)
    isSilent = false
    agent.settle()
    assert.deepEqual([agent.of('new'), agent.allocator.warning], ['10.0.0.2', undefined])
  }))

for (const [name, plant] of Object.entries(faults))
  test(`${name}: holders keep their addresses, nobody gets one, and afterwards all is as before`, () =>
    inFolder((folder) => {
      mkdirSync(join(folder, 'elsewhere'))
      const agent = agentIn(folder)
      agent.put(request('web'), request('api'))
      const before = agent.all()
      const heal = plant(folder)
      agent.put(request('aaa'), request('more', { explicit: ['10.0.0.9'] }))
      agent.put(request('web', { labels: { changed: 'yes' } }))
      assert.deepEqual(agent.all(), before)
      assert.match(agent.allocator.answerOf('default/aaa').verdict.code, /^(NotRecorded|RecordBusy)$/)
      // In words: what the kernel calls a link that is not followed sends people elsewhere.
      assert.doesNotMatch(agent.allocator.warning?.message ?? 'ELOOP', /ELOOP/)
      agent.remove('web')
      agent.put(request('bbb'), request('web', { labels: { back: 'again' } }))
      const restarted = agentIn(folder)
      restarted.put(request('aaa'), request('bbb'), request('web'), request('api'))
      for (const [key, addresses] of restarted.all()) assert.deepEqual(addresses, before.get(key))
      heal()
      agent.settle()
      restarted.settle()
      for (const each of [agent, restarted]) {
        assert.deepEqual([each.of('api'), each.of('web')], ['10.0.0.0', '10.0.0.1'])
        assert.equal(new Set([...each.all().values()].flat()).size, each.all().size)
      }
      assert.deepEqual([agent.of('aaa'), agent.of('bbb')], [restarted.of('aaa'), restarted.of('bbb')])
      assert.equal(existsSync(join(folder, 'elsewhere', 'allocations.yaml')), false)
    }))

test('a record that is gone, emptied or cut while agents run is written anew from what they know', () =>
  inFolder((folder) => {
    const agent = agentIn(folder)
    agent.put(request('a'), request('b'), request('c'))
    const before = readFileSync(recordIn(folder), 'utf8')
    const accidents: readonly (() => void)[] = [
      () => rmSync(recordIn(folder)),
      () => rmSync(join(folder, '.herald'), { recursive: true }),
      () => truncateSync(recordIn(folder), 0),
      () => writeFileSync(recordIn(folder), ''),
      () => truncateSync(recordIn(folder), before.length - 20),
      () => truncateSync(recordIn(folder), 3),
    ]
    for (const accident of accidents) {
      accident()
      agent.put(request('a', { labels: { n: String(Math.floor(statIno(folder))) } }))
      assert.equal(readFileSync(recordIn(folder), 'utf8'), before)
      assert.deepEqual([agent.of('a'), agent.of('b'), agent.of('c')], ['10.0.0.0', '10.0.0.1', '10.0.0.2'])
    }
  }))

function statIno(folder: string): number {
  return statSync(folder).mtimeMs
}

test('a line that cannot be read stays, its addresses are given to nobody, and its Service is told', () =>
  inFolder((folder) => {
    mkdirSync(join(folder, '.herald'))
    const odd = '"default/web": ["10.0.0.0", "10.0.0.1"'
    writeFileSync(recordIn(folder), `# mine\n${odd}\n"default/api": ["10.0.0.3"]\n`)
    const agent = agentIn(folder)
    agent.put(request('web'), request('api'), request('new'))
    assert.deepEqual([agent.of('web'), agent.of('api'), agent.of('new')], ['', '10.0.0.3', '10.0.0.2'])
    const { verdict } = agent.allocator.answerOf('default/web')
    assert.deepEqual([verdict.ok, verdict.code], [false, 'RecordDamaged'])
    assert.equal(agent.allocator.warning?.code, 'RecordDamaged')
    agent.remove('new')
    assert.ok(readFileSync(recordIn(folder), 'utf8').includes(odd), 'a rewrite keeps it')
    writeFileSync(recordIn(folder), readFileSync(recordIn(folder), 'utf8').replace(odd, `${odd}]`))
    agent.put(request('web', { labels: { looked: 'again' } }))
    assert.equal(agent.of('web'), '10.0.0.0,10.0.0.1')
  }))

test('the line of a Service that is gone is kept for 15 minutes by the clock, and its address for it', () =>
  inFolder((folder) => {
    let nowMs = Date.UTC(2026, 0, 1)
    const agent = agentIn(folder, { now: () => nowMs })
    agent.put(request('old'), request('web'))
    agent.remove('old')
    nowMs += 14 * 60_000
    agent.put(request('new'))
    assert.equal(agent.of('new'), '10.0.0.2')
    agent.put(request('old'))
    assert.equal(agent.of('old'), '10.0.0.0', 'it came back in time')
    agent.remove('old')
    nowMs += 15 * 60_000
    agent.put(request('late'))
    assert.equal(agent.of('late'), '10.0.0.0')
    assert.doesNotMatch(readFileSync(recordIn(folder), 'utf8'), /old/)
  }))

test('lines of Services that are gone are bounded in number: the oldest go first', () =>
  inFolder((folder) => {
    let nowMs = Date.UTC(2026, 0, 1)
    const agent = new FolderAgent(bookIn(folder, { now: () => nowMs++ }), [pool('p', ['10.0.0.0/16'])])
    const names = Array.from({ length: 1100 }, (_, i) => `s${i}`)
    agent.put(...names.map((name) => request(name)))
    for (const name of names.slice(0, 40)) agent.remove(name)
    agent.remove(...names.slice(40))
    agent.put(request('x'))
    const text = readFileSync(recordIn(folder), 'utf8')
    assert.equal(text.match(/# released/g)?.length, 1024)
    assert.doesNotMatch(text, /default\/s39"/)
  }))

test('room is made only in the pool that lacks it, and one line at a time, whoever of all pools went first', async () => {
  const both = [
    pool('a', ['10.0.0.0-10.0.0.1'], { selectors: [{ matchLabels: { in: 'a' } }] }),
    pool('b', ['10.0.1.0-10.0.1.1'], { selectors: [{ matchLabels: { in: 'b' } }] }),
  ]
  const inPool = (name: string, letter: string): ReturnType<typeof request> => request(name, { labels: { in: letter } })
  for (const [lacking, first, second, ...others] of [
    ['a', '10.0.0.0', '10.0.0.1', 'b1', '10.0.1.0', 'b2', '10.0.1.1'],
    ['b', '10.0.1.0', '10.0.1.1', 'a1', '10.0.0.0', 'a2', '10.0.0.1'],
  ] as const)
    await inFolder((folder) => {
      const agent = new FolderAgent(bookIn(folder), both)
      agent.put(inPool('a1', 'a'), inPool('a2', 'a'), inPool('b1', 'b'), inPool('b2', 'b'))
      agent.remove('a1', 'a2', 'b1', 'b2')
      agent.put(inPool('new', lacking))
      assert.equal(agent.of('new'), first)
      const [one, oneAddress, two, twoAddress] = others
      agent.put(inPool(`${lacking}2`, lacking), inPool(one, one.charAt(0)), inPool(two, two.charAt(0)))
      assert.deepEqual(
        [`${lacking}2`, one, two].map((name) => agent.of(name)),
        [second, oneAddress, twoAddress],
      )
    })
})

test('room is made in the family that lacks it: a line of the other one stays', () =>
  inFolder((folder) => {
    const dual = [pool('p', ['10.0.0.0/30', '2001:db8::-2001:db8::1'])]
    const agent = new FolderAgent(bookIn(folder), dual)
    const six = { families: ['ipv6'] } as const
    agent.put(request('v4'), request('s1', six), request('s2', six))
    agent.remove('v4', 's1', 's2')
    agent.put(request('both', { families: ['ipv4', 'ipv6'], needsAllFamilies: true }))
    assert.equal(agent.of('both'), '10.0.0.1,2001:db8::')
    agent.put(request('v4'), request('s2', six))
    assert.deepEqual([agent.of('v4'), agent.of('s2')], ['10.0.0.0', '2001:db8::1'])
  }))

test('a planted link never makes the agent write through it', () =>
  inFolder((folder) => {
    const outside = join(folder, 'outside')
    writeFileSync(outside, 'precious')
    const agent = agentIn(folder)
    agent.put(request('a'))
    for (const path of [`${recordIn(folder)}.new`, lockIn(folder)]) {
      symlinkSync(outside, path)
      agent.remove('a')
      agent.put(request('a'))
      assert.equal(readFileSync(outside, 'utf8'), 'precious')
      rmSync(path, { force: true })
    }
    renameSync(recordIn(folder), join(folder, 'record'))
    symlinkSync(outside, recordIn(folder))
    agent.put(request('b'))
    assert.deepEqual([readFileSync(outside, 'utf8'), agent.of('b')], ['precious', ''])
  }))

test('who was taken for dead writes nothing, and does not remove the lock of another', () =>
  inFolder((folder) => {
    const book = bookIn(folder)
    const outcome = exchanged(book, () => {
      rmSync(lockIn(folder))
      writeFileSync(lockIn(folder), 'of another')
      return new Map([['default/web', { addresses: ['10.0.0.1'] }]])
    })
    assert.deepEqual([outcome, readFileSync(lockIn(folder), 'utf8')], ['failed', 'of another'])
    assert.equal(lstatSync(recordIn(folder), { throwIfNoEntry: false }), undefined)
  }))

test('a folder of manifests that went away is not made anew for the record', () =>
  inFolder((folder) => {
    const manifests = join(folder, 'manifests')
    mkdirSync(manifests)
    const agent = agentIn(manifests)
    agent.put(request('web'))
    renameSync(manifests, `${manifests}.moved`)
    agent.put(request('new'))
    assert.deepEqual([existsSync(manifests), agent.of('web'), agent.of('new')], [false, '10.0.0.0', ''])
    renameSync(`${manifests}.moved`, manifests)
    agent.settle()
    assert.equal(agent.of('new'), '10.0.0.1')
  }))
