import assert from 'node:assert/strict'
import {
  appendFileSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Clock, Wait } from '../../src/clock/clock.ts'
import type { Problem } from '../../src/desired/model.ts'
import { directorySource, type DirectoryOptions } from '../../src/k8s/directory.ts'
import { waitFor } from '../wait.ts'
import { codesOf, inFolder, service, write } from './manifests.ts'

interface Watched {
  /** `port` of each Service in force, by name. */
  readonly ports: Map<string, unknown>
  readonly log: string[]
  readonly problems: () => readonly Problem[]
  readonly flushes: () => number
}

const withPort = (name: string, port: number): string => service(name).replace('port: 80', `port: ${port}`)

/** Follows a folder while `run` changes it. */
async function watching(
  folder: string,
  run: (watched: Watched) => Promise<void>,
  options: Partial<DirectoryOptions> = {},
): Promise<void> {
  const ports = new Map<string, unknown>()
  const log: string[] = []
  let problems: readonly Problem[] = []
  let flushes = 0
  const source = directorySource({ directory: folder, ...options })
  await source.start({
    upsert: ({ name }, object) => {
      ports.set(name, /"port":(\d+)/.exec(JSON.stringify(object))?.[1])
      log.push(`+${name}`)
    },
    remove: ({ name }) => {
      ports.delete(name)
      log.push(`-${name}`)
    },
    problems: (list) => {
      problems = list
    },
    flush: () => {
      flushes++
    },
    synced: () => log.push('synced'),
  })
  try {
    await run({ ports, log, problems: () => problems, flushes: () => flushes })
  } finally {
    await source.stop()
  }
}

test('a folder delivers everything, then says that it has, then delivers what changes and nothing else', () =>
  inFolder(async (folder) => {
    write(folder, 'a.yaml', service('one') + service('two'))
    await watching(folder, async ({ log, ports }) => {
      assert.deepEqual(log, ['+one', '+two', 'synced'])
      write(folder, 'a.yaml', service('one') + withPort('two', 81))
      await waitFor('the new port', () => ports.get('two') === '81')
      write(folder, 'b.yaml', service('three'))
      unlinkSync(join(folder, 'a.yaml'))
      await waitFor('the others to go', () => ports.size === 1)
      assert.deepEqual(log.slice(3).sort(), ['+three', '+two', '-one', '-two'])
    })
  }))

test('a broken document keeps its last good version and everything of its file that is gone, and says so', () =>
  inFolder(async (folder) => {
    write(folder, 'a.yaml', service('one') + service('two') + service('three'))
    await watching(folder, async ({ ports, problems }) => {
      write(folder, 'a.yaml', `${withPort('one', 81)}---\nkind: [broken\n`)
      await waitFor('a problem', () => problems().length === 1)
      assert.deepEqual(
        [...ports],
        [
          ['one', '81'],
          ['two', '80'],
          ['three', '80'],
        ],
      )
      const [problem] = problems()
      assert.deepEqual(
        [problem?.code, problem?.object.file, problem?.object.line, problem?.severity],
        ['InvalidYaml', 'a.yaml', 8, 'error'],
      )
      assert.match(problem?.remedy ?? '', /what was deleted from it too/)
      write(folder, 'a.yaml', withPort('one', 81))
      await waitFor('the others to go', () => ports.size === 1 && problems().length === 0)
    })
  }))

test('of an object in two files the first file wins, the other is named; moving between files is no removal', () =>
  inFolder(async (folder) => {
    write(folder, 'b.yaml', withPort('one', 2))
    await watching(folder, async ({ ports, problems, log }) => {
      write(folder, 'a.yaml', withPort('one', 1))
      await waitFor('the first file to win', () => ports.get('one') === '1')
      assert.deepEqual(
        problems().map(({ code, object }) => [code, object.file]),
        [['DuplicateObject', 'b.yaml']],
      )
      unlinkSync(join(folder, 'a.yaml'))
      await waitFor('the second file to take over', () => ports.get('one') === '2' && problems().length === 0)
      renameSync(join(folder, 'b.yaml'), join(folder, 'c.yaml'))
      write(folder, 'z.yaml', service('another'))
      await waitFor('a look at the folder', () => ports.has('another'))
      assert.deepEqual(log, ['+one', 'synced', '+one', '+one', '+another'])
    })
  }))

test('sub-folders are followed, also new ones and ones that come back; dots and other files are not input', () =>
  inFolder(async (folder) => {
    mkdirSync(join(folder, '.herald'))
    writeFileSync(join(folder, '.herald', 'x.yaml'), service('hidden'))
    writeFileSync(join(folder, 'notes.txt'), service('text'))
    await watching(
      folder,
      async ({ ports }) => {
        assert.equal(ports.size, 0)
        for (const name of ['one', 'two']) {
          mkdirSync(join(folder, 'team', 'web'), { recursive: true })
          write(join(folder, 'team', 'web'), 'a.yaml', service(name))
          await waitFor(name, () => ports.has(name))
          write(join(folder, 'team', 'web'), 'b.yaml', service(`${name}-more`))
          await waitFor(`${name}-more`, () => ports.has(`${name}-more`))
          rmSync(join(folder, 'team'), { recursive: true })
          await waitFor(`${name} to go`, () => ports.size === 0)
        }
      },
      { rescanMs: 60_000 },
    )
  }))

test('a mounted ConfigMap is followed when its ..data link is swapped', () =>
  inFolder(async (folder) => {
    const publish = (version: string, text: string): void => {
      mkdirSync(join(folder, version))
      writeFileSync(join(folder, version, 'web.yaml'), text)
      symlinkSync(version, join(folder, '..data_tmp'))
      renameSync(join(folder, '..data_tmp'), join(folder, '..data'))
    }
    publish('..2026_01', withPort('web', 1))
    symlinkSync('..data/web.yaml', join(folder, 'web.yaml'))
    await watching(folder, async ({ ports, log }) => {
      assert.deepEqual([...ports], [['web', '1']])
      publish('..2026_02', withPort('web', 2))
      await waitFor('the new version', () => ports.get('web') === '2')
      assert.deepEqual(log, ['+web', 'synced', '+web'])
    })
  }))

test('the items of a List are objects, in YAML and in JSON', () =>
  inFolder(async (folder) => {
    const items = ['one', 'two'].map((name) => ({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name },
      spec: { ports: [{ port: 80 }] },
    }))
    write(
      folder,
      'a.yaml',
      `apiVersion: v1\nkind: List\nitems:\n${items
        .slice(0, 1)
        .map((item) => `- ${JSON.stringify(item)}\n`)
        .join('')}`,
    )
    write(folder, 'b.json', JSON.stringify({ apiVersion: 'v1', kind: 'ServiceList', items: items.slice(1) }))
    await watching(folder, async ({ ports }) => assert.deepEqual([...ports.keys()], ['one', 'two']))
  }))

test('a file that cannot be read is named and keeps what it gave', () =>
  inFolder(async (folder) => {
    write(folder, 'a.yaml', service('one'))
    mkdirSync(join(folder, 'folder.yaml'))
    await watching(folder, async ({ ports, problems }) => {
      assert.deepEqual(
        problems().map(({ code, object }) => [code, object.name]),
        [['Unreadable', 'folder.yaml']],
      )
      unlinkSync(join(folder, 'a.yaml'))
      symlinkSync('a.yaml', join(folder, 'a.yaml'))
      await waitFor('two problems', () => problems().length === 2)
      assert.deepEqual([...ports.keys()], ['one'])
      unlinkSync(join(folder, 'a.yaml'))
      write(folder, 'a.yaml', withPort('one', 81))
      await waitFor('the file to be read again', () => ports.get('one') === '81' && problems().length === 1)
    })
  }))

test('a file that is written in place is not taken for empty meanwhile', () =>
  inFolder(async (folder) => {
    writeFileSync(join(folder, 'a.yaml'), service('one') + service('two'))
    await watching(
      folder,
      async ({ ports, log }) => {
        truncateSync(join(folder, 'a.yaml'))
        // Another file, to know that the folder was looked at meanwhile.
        for (const [name, part] of [
          ['first', withPort('one', 81)],
          ['second', withPort('two', 81)],
        ] as const) {
          write(folder, `${name}.yaml`, service(name))
          await waitFor('a look at the folder', () => ports.has(name))
          appendFileSync(join(folder, 'a.yaml'), part)
        }
        await waitFor('the new version', () => ports.get('one') === '81' && ports.get('two') === '81')
        assert.deepEqual(
          log.filter((entry) => entry.startsWith('-')),
          [],
        )
      },
      { confirmMs: 60_000, confirmAllMs: 60_000 },
    )
  }))

test('a file that stays empty counts in the end', () =>
  inFolder(async (folder) => {
    writeFileSync(join(folder, 'a.yaml'), service('one'))
    await watching(folder, async ({ ports }) => {
      truncateSync(join(folder, 'a.yaml'))
      await waitFor('the object to go', () => ports.size === 0)
    })
  }))

test('a folder that goes away keeps what it gave and is named', () =>
  inFolder(async (folder) => {
    const manifests = join(folder, 'manifests')
    mkdirSync(manifests)
    write(manifests, 'a.yaml', service('one'))
    await watching(
      manifests,
      async ({ ports, problems }) => {
        renameSync(manifests, join(folder, 'elsewhere'))
        await waitFor('a problem', () => codesOf(problems()).join() === 'Unreadable')
        assert.deepEqual([...ports.keys()], ['one'])
        renameSync(join(folder, 'elsewhere'), manifests)
        await waitFor('the problem to go', () => problems().length === 0)
      },
      { rescanMs: 20 },
    )
  }))

test('without any change there is a flush with each re-scan: what had to wait gets its turn', () =>
  inFolder(async (folder) => {
    write(folder, 'a.yaml', service('one'))
    await watching(
      folder,
      async ({ flushes, log }) => {
        const before = flushes()
        await waitFor('two more flushes', () => flushes() >= before + 2)
        assert.deepEqual(log, ['+one', 'synced'])
      },
      { rescanMs: 5 },
    )
  }))

/** A clock on which everything takes a tenth of a millisecond, and which counts the turns of the loop. */
class BusyClock implements Clock {
  turns = 0
  #elapsedMs = 0
  readonly #soon: (() => void)[] = []

  now(): number {
    return 0
  }

  monotonic(): number {
    this.#elapsedMs += 0.1
    return this.#elapsedMs
  }

  after(ms: number, action: () => void): Wait {
    if (ms === 0) this.#soon.push(action)
    return { cancel: () => {} }
  }

  soon(action: () => void): void {
    this.#soon.push(action)
  }

  run(): void {
    for (let action = this.#soon.shift(); action !== undefined; action = this.#soon.shift()) {
      this.turns++
      action()
    }
  }
}

test('a file of many objects, as documents or as a List, is read and delivered in many short turns', () =>
  inFolder(async (folder) => {
    const names = Array.from({ length: 5000 }, (_, i) => `s-${i}`)
    const item = (name: string): object => ({ apiVersion: 'v1', kind: 'Service', metadata: { name }, spec: {} })
    write(folder, 'a.yaml', names.map((name) => service(name)).join(''))
    write(folder, 'b.json', JSON.stringify({ kind: 'List', items: names.map((name) => item(`b${name}`)) }))
    const clock = new BusyClock()
    const source = directorySource({ directory: folder, clock })
    let objects = 0
    const perTurn = new Map<number, number>()
    const started = source.start({
      upsert: () => {
        objects++
        perTurn.set(clock.turns, (perTurn.get(clock.turns) ?? 0) + 1)
      },
      remove: () => {},
      problems: () => {},
      flush: () => {},
      synced: () => {},
    })
    clock.run()
    await started
    await source.stop()
    assert.equal(objects, 10_000)
    assert.ok(Math.max(...perTurn.values()) <= 50, `${Math.max(...perTurn.values())} objects in one turn`)
  }))

test('a folder that was made anew under its name is watched again, and so is one that a link leads to now', async () => {
  await inFolder(async (folder) => {
    for (const name of ['v1', 'v2']) {
      mkdirSync(join(folder, name, 'sub'), { recursive: true })
      write(join(folder, name, 'sub'), 'a.yaml', service('one'))
    }
    symlinkSync('v1', join(folder, 'now'))
    const source = directorySource({ directory: join(folder, 'now'), rescanMs: 600_000 })
    const ports: unknown[] = []
    await source.start({
      upsert: (_key, object) => ports.push(/"port":(\d+)/.exec(JSON.stringify(object))?.[1]),
      remove: () => ports.push('gone'),
      problems: () => {},
      flush: () => {},
      synced: () => {},
    })
    const seen = (port: string): Promise<unknown> => waitFor(`port ${port}`, () => ports.at(-1) === port)
    await seen('80')
    renameSync(join(folder, 'v1', 'sub'), join(folder, 'v1', '.old'))
    mkdirSync(join(folder, 'v1', 'sub'))
    write(join(folder, 'v1', 'sub'), 'a.yaml', service('one').replace('port: 80', 'port: 81'))
    await seen('81')
    write(join(folder, 'v1', 'sub'), 'a.yaml', service('one').replace('port: 80', 'port: 82'))
    await seen('82')
    symlinkSync('v2', join(folder, 'next'))
    renameSync(join(folder, 'next'), join(folder, 'now'))
    source.rescan()
    await seen('80')
    write(join(folder, 'v2', 'sub'), 'a.yaml', service('one').replace('port: 80', 'port: 83'))
    await seen('83')
    await source.stop()
  })
})
