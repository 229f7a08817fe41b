/** A folder whose file system does not answer, as one of a server that is away: it holds nobody, and costs nothing. */
import assert from 'node:assert/strict'
import { symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import { directorySource } from '../../src/k8s/directory.ts'
import { Door, knock } from '../../src/k8s/directory/knock.ts'
import { following, withPort } from './directory-world.ts'
import { inFolder, service } from './manifests.ts'

/** A file system that answers while it is there; what was asked meanwhile is answered when it is back. */
class Server {
  readonly asked: (readonly string[])[] = []
  #answered = Promise.resolve()
  #back: () => void = () => {}

  readonly knock = (folders: readonly string[]): Promise<void> => {
    this.asked.push(folders)
    return this.#answered
  }

  goes(): void {
    this.#answered = new Promise((resolve) => (this.#back = resolve))
  }

  async comes(): Promise<void> {
    this.#back()
    this.#answered = Promise.resolve()
    await settled()
  }
}

/** What promises that are kept lead to. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('a file system that does not answer is asked once, told of after five seconds, and nothing is read or lost', () => {
  const server = new Server()
  return following(
    (folder) => writeFileSync(join(folder, 'a.yaml'), service('one')),
    async ({ folder, source, clock, log, objects, port, problems }) => {
      assert.deepEqual([log, source.state.isReachable], [['+one', 'synced'], true])
      server.goes()
      const before = server.asked.length
      source.rescan()
      clock.advance(1)
      unlinkSync(join(folder, 'a.yaml'))
      writeFileSync(join(folder, 'b.yaml'), withPort('two', 81))
      clock.advance(4_900)
      assert.deepEqual([source.state.isReachable, problems()], [true, []], 'who is slow is not away')
      clock.advance(200)
      assert.equal(source.state.isReachable, false)
      assert.match(source.state.ofKind('Service').problem ?? '', /has not answered for 5 s$/)
      assert.deepEqual(
        problems().map(({ severity, object, code }) => [severity, object.name, code]),
        [['error', folder, 'Unreadable']],
      )
      source.rescan()
      clock.advance(3_600_000)
      await settled()
      assert.deepEqual([server.asked.length, [...objects.keys()]], [before + 1, ['Service one']], 'one call hangs')
      await server.comes()
      clock.advance(60)
      await settled()
      assert.deepEqual([source.state.isReachable, port('two')], [true, '81'])
      assert.ok(objects.has('Service one'), 'what is not there any more is confirmed first')
      for (let i = 0; i < 8; i++) {
        clock.advance(1_000)
        await settled()
      }
      assert.deepEqual([[...objects.keys()], problems()], [['Service two'], []])
    },
    { knock: server.knock },
  )
})

test('a folder that does not answer from the start is not read yet, and is not awaited by who starts', () => {
  const server = new Server()
  server.goes()
  return inFolder(async (directory) => {
    const seen: string[] = []
    const clock = new VirtualClock()
    const source = directorySource({ directory, clock, knock: server.knock })
    const started = source.start({
      upsert: () => {},
      remove: () => {},
      problems: (list) => seen.push(...list.map(({ message }) => message)),
      flush: () => {},
      synced: () => seen.push('synced'),
    })
    clock.advance(5_100)
    await started
    assert.deepEqual(seen, ['its file system has not answered for 5 s'])
    await source.stop()
    await server.comes()
    assert.equal(clock.pending, 0, 'after a stop nothing waits')
    assert.equal(seen.length, 1)
  })
})

test('each file system that the folder reaches into is asked, once in a look', () => {
  const server = new Server()
  return following(
    (folder) => {
      writeFileSync(join(folder, 'a.yaml'), service('one'))
      symlinkSync('/proc/self/fdinfo', join(folder, 'elsewhere'))
    },
    async ({ folder, source, clock }) => {
      source.rescan()
      clock.advance(60)
      await settled()
      const last = server.asked.at(-1)?.map((path) => path.slice(folder.length))
      assert.deepEqual(last, ['/', '/elsewhere/'])
    },
    { knock: server.knock },
  )
})

test('that a folder is not there is an answer, and so is one of each kind of file system', async () => {
  assert.equal(await knock(['/proc/self/fdinfo', '/dev', '/nowhere/at/all', '/']), undefined)
})

test('who uses a folder beside its reader knows after half a second without an answer, and when it answers again', async () => {
  const [server, clock] = [new Server(), new VirtualClock()]
  const door = new Door('/folder', clock, server.knock)
  const silentAfter = (ms: number): boolean => {
    clock.advance(ms)
    return door.isSilent
  }
  await door.knock(['/folder/a'])
  assert.equal(silentAfter(60_000), false, 'nobody has asked since')
  server.goes()
  door.doubt()
  door.doubt()
  assert.deepEqual(server.asked, [['/folder/a'], ['/folder']], 'one question of that kind at a time')
  assert.deepEqual([silentAfter(400), silentAfter(200)], [false, true])
  void door.knock(['/folder/b'])
  assert.equal(silentAfter(1), true, 'who asks now finds it as silent as before')
  await server.comes()
  assert.equal(door.isSilent, false)
  assert.equal(silentAfter(60_000), false)
})
