/** Reading verbs as processes, against a real server with views from memory. */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import { HeraldError } from '../../src/errors.ts'
import { type ApiServer, createApiServer } from '../../src/api/server.ts'
import { explained, hostile, memoryViews, peers, routes, services, status } from '../api/memory-views.ts'
import { waitFor } from '../wait.ts'

const herald = fileURLToPath(new URL('../../bin/herald', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'herald-cli-'))
const socket = join(folder, 'herald.sock')
const state = { status: () => status }
let server: ApiServer

before(async () => {
  server = await createApiServer({ views: memoryViews(state), socket, http: { host: '127.0.0.1', port: 0 } })
})

after(async () => {
  await server.close()
  rmSync(folder, { recursive: true })
})

interface Outcome {
  readonly code: number | string | null
  readonly stdout: string
  readonly stderr: string
}

const plainEnvironment = (): NodeJS.ProcessEnv => ({ PATH: process.env['PATH'], HERALD_SOCKET: socket })

function run(words: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Outcome> {
  return new Promise((resolve) => {
    execFile(herald, words, { env: { ...plainEnvironment(), ...env }, timeout: 60_000 }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : (error.code ?? null), stdout, stderr }),
    )
  })
}

const control = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e]/
const verbs: readonly [readonly string[], number, unknown][] = [
  [['status'], 1, status],
  [['bgp', 'peers'], 0, peers],
  [['bgp', 'routes', 'advertised'], 0, routes],
  [['lb', 'list'], 0, services],
  [['explain', 'service', 'web'], 0, explained('service', 'default/web')],
  [['explain', 'peer', '192.0.2.77'], 1, explained('peer', '192.0.2.77')],
]

test('JSON and YAML carry the whole view, and not one raw control character', async () => {
  for (const [words, code, view] of verbs) {
    const json = await run([...words, '-o', 'json'])
    assert.deepEqual([json.code, JSON.parse(json.stdout)], [code, view], words.join(' '))
    const yaml = await run([...words, '-o', 'yaml'])
    assert.deepEqual([yaml.code, parse(yaml.stdout)], [code, view], words.join(' '))
    for (const text of [json.stdout, yaml.stdout]) assert.doesNotMatch(text, control, words.join(' '))
  }
})

test('tables print what a peer or an object says escaped, on one line, also in colour', async () => {
  const said = hostile
    .replace('\u001b', '\\x1b')
    .replace('\u202e', '\\u{202e}')
    .replace('\u009b', '\\x9b')
    .replace('\n', '\\x0a')
  for (const words of [['status'], ['bgp', 'peers', '-o', 'wide'], ['lb', 'list', '-o', 'wide']]) {
    const { stdout } = await run(words)
    assert.doesNotMatch(stdout, control, words.join(' '))
    assert.ok(stdout.includes(said), stdout)
  }
  const { stdout } = await run(['status'], { FORCE_COLOR: '1' })
  assert.ok(stdout.includes(said))
  assert.match(stdout, /\u001b\[31m/)
})

test('colours appear only where they are wanted', async () => {
  assert.doesNotMatch((await run(['status'])).stdout, /\u001b/)
  assert.doesNotMatch((await run(['status'], { NO_COLOR: '1' })).stdout, /\u001b/)
})

test(
  "bgp peers has Cilium's columns, one row per family, and wide adds timers, capabilities and the last " + 'reset',
  async () => {
    const narrow = (await run(['bgp', 'peers'])).stdout
    assert.equal(
      narrow.split('\n')[0]?.replace(/ {3,}/g, '|'),
      'Node|Local AS|Peer AS|Peer Address|Session State|Uptime|Family|Received|Advertised',
    )
    assert.match(
      narrow,
      /^node1 +65001 +65000 +192\.0\.2\.1 +Established +2m5s +ipv4\/unicast +1 +3\n +ipv6\/unicast +0 +2$/m,
    )
    const wide = (await run(['bgp', 'peers', '-o', 'wide'])).stdout
    assert.match(wide, / {3}Hold\/Keepalive {3}BFD +Capabilities +Last Reset +Next Session +Reason$/m)
    assert.match(wide, / 9s\/3s +up +four-octet-as,graceful-restart +- +- +-$/m)
    assert.match(wide, / Cease: bye.* - +connection refused$/m)
  },
)

test('bgp routes and lb list show attributes, backends with their state, counters and reasons', async () => {
  assert.match(
    (await run(['bgp', 'routes', 'advertised'])).stdout,
    /^65001 +192\.0\.2\.1 +203\.0\.113\.10\/32 +192\.0\.2\.9 +1m1s +\[Origin: IGP, AsPath: 65001, Med: 5, Communities: 65001:1, LargeCommunities: 65001:1:2\]$/m,
  )
  assert.deepEqual(
    JSON.parse(
      (await run(['bgp', 'routes', 'advertised', 'ipv4', 'unicast', 'peer', '192.0.2.99', '-o', 'json'])).stdout,
    ),
    [],
  )
  const wide = (await run(['lb', 'list', '-o', 'wide'])).stdout
  assert.match(wide, /^default\/web +203\.0\.113\.10:80\/TCP +Announced +2 +200 +1200\/1000 +pool +- +-$/m)
  assert.match(wide, /^ {20,}10\.1\.1\.5:8080 +200 +1200\/1000\n {20,}10\.1\.1\.6:8080 \(pending\) +- +-$/m)
  assert.match(
    (await run(['lb', 'list'])).stdout,
    /^default\/web +203\.0\.113\.10:80\/TCP +Announced +10\.1\.1\.5:8080,10\.1\.1\.6:8080 \(pending\) +200 +1200\/1000$/m,
  )
  assert.match(wide, /^default\/shop .* no pool bye/m)
})

test('explain shows each step, the remedy of a no, and whom it was sent to', async () => {
  assert.equal(
    (await run(['explain', 'service', 'web'])).stdout,
    'service default/web\n  yes  class       no loadBalancerClass\n       sent to     192.0.2.1  ' +
      '203.0.113.10/32 next hop 192.0.2.9, communities 65001:1\n',
  )
  assert.equal(
    (await run(['explain', 'route', '192.0.2.0/24'])).stdout,
    'route 192.0.2.0/24\n  no   valid       not there\n                   -> look elsewhere\n',
  )
})

test('the same answers come over HTTP', async () => {
  const { code, stdout } = await run(['bgp', 'peers', '--server', `http://127.0.0.1:${server.port}`, '-o', 'json'], {
    HERALD_SOCKET: '/nonexistent',
  })
  assert.deepEqual([code, JSON.parse(stdout)], [0, peers])
})

test('what the agent refuses is exit 1 with its words, and what is no agent is told apart', async () => {
  state.status = () => {
    throw new TypeError('the disk is on fire')
  }
  const refused = await run(['status'])
  assert.equal(refused.code, 1)
  assert.match(refused.stderr, /answered 500: the disk is on fire/)
  state.status = () => JSON.parse('{"node": "node1"}')
  const odd = await run(['status'])
  assert.equal(odd.code, 1)
  assert.match(odd.stderr, /answer\.version is no string/)
  state.status = () => status
})

test('--watch prints on change and ends on SIGINT with the code of the last answer', { timeout: 60_000 }, async () => {
  const plain = { ...status, warnings: [], problems: [] }
  state.status = () => plain
  const watching = spawn(herald, ['status', '--watch', '-o', 'yaml'], {
    env: plainEnvironment(),
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  watching.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const ended = new Promise((resolve) => watching.once('exit', (code, signal) => resolve(code ?? signal)))
  try {
    await waitFor('the degraded answer', () => output.includes('health: degraded'))
    state.status = () => ({ ...plain, health: 'ok' })
    await waitFor('the changed answer', () => output.includes('health: ok'))
  } finally {
    watching.kill('SIGINT')
  }
  assert.equal(await ended, 0)
  assert.equal(output.split('---\n').length, 3)
  state.status = () => status
})

test('status --wait returns as soon as all is ok, and with 1 when the time is up', { timeout: 60_000 }, async () => {
  const waiting = run(['status', '--wait', '--timeout', '30'])
  const asked = new Promise<void>((resolve) => {
    state.status = () => {
      resolve()
      return status
    }
  })
  await asked
  state.status = () => ({ ...status, health: 'ok' })
  assert.equal((await waiting).code, 0)
  state.status = () => status
  assert.equal((await run(['status', '--wait', '--timeout', '1'])).code, 1)
  assert.equal((await run(['status', '--wait', '--timeout', '1', '--socket', join(folder, 'none')])).code, 3)
})

test('a reader that closes the pipe is no failure', { timeout: 60_000 }, async () => {
  const reading = spawn(herald, ['lb', 'list', '--watch'], {
    env: plainEnvironment(),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let complaint = ''
  reading.stderr.on('data', (chunk: Buffer) => (complaint += chunk.toString()))
  reading.stdout.destroy()
  const code = await new Promise((resolve) => reading.once('exit', (exit, signal) => resolve(exit ?? signal)))
  assert.deepEqual([code, complaint], [0, ''])
})

test('--wait goes on waiting for an agent that is busy', async () => {
  let asked = 0
  state.status = () => {
    if (++asked < 3) throw new HeraldError('ERR_BUSY', '64 requests wait already')
    return { ...status, health: 'ok' }
  }
  try {
    assert.equal((await run(['status', '--wait', '--timeout', '15'])).code, 0)
  } finally {
    state.status = () => status
  }
})
