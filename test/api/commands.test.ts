/**
 * Commands: over the unix socket only, of a caller that the kernel names, logged, and remembered where they must be.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync } from 'node:fs'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { createCommands } from '../../src/agent/commands.ts'
import { DrainMark } from '../../src/agent/drain-mark.ts'
import { sendCommand } from '../../src/api/client.ts'
import { type ApiServer, createApiServer } from '../../src/api/server.ts'
import type { AgentCommand } from '../../src/api/types.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import type { CommandAnswer, SpeakerCommand } from '../../src/speaker/protocol.ts'
import { peerCredentials } from '../../src/sys/unix-socket.ts'
import { memoryViews } from './memory-views.ts'

const herald = fileURLToPath(new URL('../../bin/herald', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'herald-commands-'))
const socket = join(folder, 'herald.sock')
const state = join(folder, 'state')
const asked: SpeakerCommand[] = []
const logged: unknown[] = []
const drained: boolean[] = []
let outcome: CommandAnswer = { applied: ['65001/192.0.2.1'], refused: [] }
let server: ApiServer

before(async () => {
  mkdirSync(state)
  const commands = createCommands({
    agent: { setDrained: (isDrained) => void drained.push(isDrained) },
    speaker: {
      command: async (command) => {
        asked.push(command)
        return outcome
      },
    },
    drain: new DrainMark(state),
    log: { info: (...line: readonly unknown[]) => void logged.push(line[0]) },
  })
  server = await createApiServer({
    views: memoryViews(),
    socket,
    http: { host: '127.0.0.1', port: 0 },
    commands: { ...commands, callerOf: peerCredentials },
  })
})

beforeEach(() => {
  for (const list of [asked, logged, drained]) list.length = 0
  outcome = { applied: ['65001/192.0.2.1'], refused: [] }
})

after(async () => {
  await server.close()
  rmSync(folder, { recursive: true })
})

/** The status of a request over the socket. */
const over = (method: string, path: string): Promise<number | undefined> =>
  new Promise((resolve, reject) => {
    http
      .request({ socketPath: socket, method, path, agent: false }, (response) => {
        response.resume()
        resolve(response.statusCode)
      })
      .on('error', reject)
      .end()
  })

const run = (
  ...words: string[]
): Promise<{ readonly code: unknown; readonly stdout: string; readonly stderr: string }> =>
  new Promise((resolve) => {
    const env = { PATH: process.env['PATH'], HERALD_SOCKET: socket }
    execFile(herald, words, { env, timeout: 60_000 }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : error.code, stdout, stderr }),
    )
  })

test('a command goes to the speaker as it was given, and the log says who gave it', async () => {
  const commands: AgentCommand[] = [
    { what: 'reset', peer: '192.0.2.1' },
    { what: 'reset', peer: 'fe80::1%eth0', soft: 'in' },
    { what: 'refresh', peer: '*' },
  ]
  for (const command of commands) {
    const view = await sendCommand(socket, command)
    assert.deepEqual(view, { ...command, applied: ['65001/192.0.2.1'], refused: [] })
  }
  assert.deepEqual(asked, commands)
  const by = { pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.() }
  assert.deepEqual(logged, [
    { command: 'reset', peer: '192.0.2.1', by },
    { command: 'reset', peer: 'fe80::1%eth0', soft: 'in', by },
    { command: 'refresh', peer: '*', by },
  ])
})

test('HTTP takes no command, whatever the method', async () => {
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE'])
    for (const path of ['/api/v1/commands/drain', '/api/v1/commands/reset?peer=*', '/api/v1/status']) {
      const { status } = await fetch(`http://127.0.0.1:${server.port}${path}`, { method })
      assert.equal(status, 405, `${method} ${path}`)
    }
  assert.equal((await fetch(`http://127.0.0.1:${server.port}/api/v1/commands/drain`)).status, 404)
  assert.deepEqual([asked, logged, drained], [[], [], []])
})

test('a command that is none, and one whose words make no sense, change nothing', async () => {
  const wanted: readonly [string, string, number][] = [
    ['POST', '/api/v1/commands/stop', 404],
    ['POST', '/api/v1/status', 404],
    ['POST', '/api/v1/commands/reset', 400],
    ['POST', '/api/v1/commands/reset?peer=', 400],
    ['POST', '/api/v1/commands/reset?peer=x&soft=both', 400],
    ['PUT', '/api/v1/commands/drain', 405],
    ['GET', '/api/v1/commands/drain', 404],
  ]
  for (const [method, path, status] of wanted) assert.equal(await over(method, path), status, `${method} ${path}`)
  assert.deepEqual([asked, drained], [[], []])
})

test('a drain is remembered over a restart of the agent until it is undone', async () => {
  await sendCommand(socket, { what: 'drain', undo: false })
  await sendCommand(socket, { what: 'drain', undo: false })
  assert.deepEqual([drained, new DrainMark(state).isSet], [[true, true], true])
  assert.equal(statSync(join(state, 'drained')).mode & 0o777, 0o600)
  await sendCommand(socket, { what: 'drain', undo: true })
  await sendCommand(socket, { what: 'drain', undo: true })
  assert.deepEqual([drained.slice(2), new DrainMark(state).isSet], [[false, false], false])
})

test('a link that lies at the place of the mark is not followed', async () => {
  const target = join(folder, 'precious')
  symlinkSync(target, join(state, 'drained'))
  await new DrainMark(state).set()
  assert.equal(existsSync(target), false)
  await new DrainMark(state).clear()
})

test('a state directory that does not answer in time fails the command, and holds nobody meanwhile', async () => {
  const place = join(folder, 'silent')
  mkdirSync(place)
  for (const what of ['set', 'clear'] as const) {
    const clock = new VirtualClock()
    const answer = new DrainMark(place, clock)[what]()
    clock.advance(5_000)
    await assert.rejects(answer, { code: 'ERR_SYSCALL', message: /does not answer; should it answer later/ })
  }
})

test('a state directory that takes no mark: the command fails and nothing is drained', async () => {
  const odd = createCommands({
    agent: { setDrained: (isDrained) => void drained.push(isDrained) },
    speaker: { command: async () => outcome },
    drain: new DrainMark(join(folder, 'none')),
    log: { info: () => {} },
  })
  await assert.rejects(odd.run({ what: 'drain', undo: false }, { pid: 1, uid: 0, gid: 0 }), {
    code: 'ERR_SYSCALL',
    message: /nothing is changed: ENOENT/,
  })
  assert.deepEqual(drained, [])
})

test('the verbs say what was done, with JSON on request; a refusal is exit 1, no agent 3, a wrong word 2', async () => {
  assert.deepEqual(await run('bgp', 'reset', '192.0.2.1', '--soft', 'out'), {
    code: 0,
    stdout: '192.0.2.1: our routes are sent again\n',
    stderr: '',
  })
  const json = await run('bgp', 'refresh', '192.0.2.1', '-o', 'json')
  assert.deepEqual(JSON.parse(json.stdout), {
    what: 'refresh',
    peer: '192.0.2.1',
    applied: ['65001/192.0.2.1'],
    refused: [],
  })
  outcome = { applied: [], refused: [{ peer: '192.0.2.7', reason: 'no such neighbor \u001b[2J' }] }
  const refused = await run('bgp', 'reset', '192.0.2.7')
  assert.deepEqual([refused.code, refused.stdout], [1, 'not done: 192.0.2.7: no such neighbor \\x1b[2J\n'])
  assert.match((await run('drain')).stdout, /^draining: .*herald drain --undo/)
  assert.match((await run('drain', '--undo')).stdout, /^drain undone/)
  assert.equal((await run('drain', '--socket', join(folder, 'none.sock'))).code, 3)
  for (const words of [
    ['bgp', 'reset'],
    ['bgp', 'reset', 'x', '--soft', 'both'],
    ['drain', '--server', 'http://x:1'],
  ])
    assert.equal((await run(...words)).code, 2, words.join(' '))
})

test('the end of a caller that is gone has no credentials', () => {
  assert.equal(peerCredentials({} as Parameters<typeof peerCredentials>[0]), undefined)
})

test('a parameter that is misspelt, given twice or of no known value is no other command', async () => {
  for (const query of [
    ...['', '1', 'TRUE', 'true&undo=false'].map((value) => `drain?undo=${value}`),
    ...['Undo=true', 'peer=192.0.2.1'].map((word) => `drain?${word}`),
    ...['sof=out', 'Soft=out', 'soft=', 'soft=out&soft=in', 'peer=*'].map((word) => `reset?peer=192.0.2.1&${word}`),
    'refresh?peer=192.0.2.1&soft=in',
  ])
    assert.equal(await over('POST', `/api/v1/commands/${query}`), 400, query)
  assert.deepEqual([asked, drained], [[], []])
})
