/**
 * The thread that watches paths, with its sockets: two processes in two namespaces, and who floods, forges or takes its
 * port.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { after, before, test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { BfdDrops } from '../../src/bfd/counters.ts'
import type { BfdPath, BfdReport } from '../../src/bfd/path.ts'
import type { BfdSettings } from '../../src/desired/model.ts'
import { settings } from '../bfd/stand.ts'
import { waitFor } from '../wait.ts'
import { missing } from './link.ts'

const names = { a: `it-watch-a-${process.pid}`, b: `it-watch-b-${process.pid}` } as const
type Side = keyof typeof names
const skip = missing('ip')
const run = (...command: readonly string[]): string =>
  execFileSync(command[0] ?? '', command.slice(1), { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
const inside = (side: Side, ...command: readonly string[]): ChildProcess =>
  spawn('ip', ['netns', 'exec', names[side], ...command], { stdio: ['pipe', 'pipe', 'inherit'] })

before(() => {
  if (skip !== false) return
  for (const namespace of Object.values(names)) {
    run('ip', 'netns', 'add', namespace)
    const quiet = ['all', 'default'].map((each) => `net.ipv6.conf.${each}.accept_dad=0`)
    run('ip', 'netns', 'exec', namespace, 'sysctl', '-qw', ...quiet, 'net.ipv6.conf.default.addr_gen_mode=1')
  }
  run('ip', 'link', 'add', 'eth0', 'netns', names.a, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', names.b)
  for (const [i, namespace] of Object.values(names).entries()) {
    for (const address of [`10.98.7.${i + 1}/24`, `fd98::${i + 1}/64`, `fe80::${i + 1}/64`])
      run('ip', '-n', namespace, 'address', 'add', address, 'dev', 'eth0', 'nodad')
    for (const device of ['lo', 'eth0']) run('ip', '-n', namespace, 'link', 'set', device, 'up')
  }
})
after(() => {
  for (const namespace of Object.values(names))
    if (existsSync(`/run/netns/${namespace}`)) run('ip', 'netns', 'delete', namespace)
})

class Watcher {
  readonly child: ChildProcess
  readonly reports: BfdReport[] = []
  drops: BfdDrops | undefined

  constructor(t: TestContext, side: Side, path: Partial<BfdPath>, own: BfdSettings = settings()) {
    const file = fileURLToPath(new URL('watch-process.ts', import.meta.url))
    const whole = { peer: '', isMultihop: false, minimumTtl: 1, ...path }
    this.child = inside(side, process.execPath, file, JSON.stringify(whole), JSON.stringify(own))
    t.after(() => this.child.kill('SIGKILL'))
    this.child.stdin?.on('error', () => {})
    if (this.child.stdout !== null)
      createInterface({ input: this.child.stdout }).on('line', (line) => {
        const { report, drops } = JSON.parse(line)
        if (report !== undefined) this.reports.push(report)
        if (drops !== undefined) this.drops = drops
      })
  }

  get report(): BfdReport | undefined {
    return this.reports.at(-1)
  }

  say(line: string): void {
    this.child.stdin?.write(`${line}\n`)
  }

  is(what: string, isTrue: (report: BfdReport) => boolean): Promise<BfdReport> {
    const limits = { deadlineMs: 30_000 }
    return waitFor(what, () => this.report !== undefined && isTrue(this.report) && this.report, limits)
  }

  async dropped(what: string, isTrue: (drops: BfdDrops) => boolean): Promise<void> {
    await waitFor(what, () => {
      this.say('drops')
      return this.drops !== undefined && isTrue(this.drops)
    })
  }
}

function pair(
  t: TestContext,
  a: string,
  b: string,
  more: Partial<BfdPath> = {},
  own?: BfdSettings,
): [Watcher, Watcher] {
  return [new Watcher(t, 'a', { peer: b, ...more }, own), new Watcher(t, 'b', { peer: a, ...more }, own)]
}

const isUp = ({ state }: BfdReport): boolean => state === 'Up'
/** Nothing of it changes by itself any more. */
const isSettled =
  (detectionMs: number) =>
  ({ state, remoteState, detectionTimeMs, transmitIntervalMs }: BfdReport): boolean =>
    state === 'Up' && remoteState === 'Up' && detectionTimeMs === detectionMs && transmitIntervalMs < 1_000

/** Sends octets from a side to UDP port `port` of an address, `count` times, from a source port of its own. */
const senderOf = (host: string, port: number, ttl: number, octets: string, count: number): string => `
  const socket = require('node:dgram').createSocket({ type: '${host.includes(':') ? 'udp6' : 'udp4'}' })
  const octets = Buffer.from('${octets}', 'hex')
  let left = ${count}
  const next = () => left-- > 0 ? socket.send(octets, ${port}, '${host}', next) : socket.close()
  socket.bind(0, () => { socket.setTTL(${ttl}); next() })`

function send(side: Side, host: string, port: number, ttl: number, octets: string, count: number): void {
  run('ip', 'netns', 'exec', names[side], process.execPath, '-e', senderOf(host, port, ttl, octets, count))
}

/** Intervals of 100 ms, and so many of them that no machine is too slow for it. */
const patient = settings({ detectMultiplier: 60 })

/** Version 1, Down, multiplier 3, my discriminator 99, your discriminator 0. */
const down = '204003180000006300000000000f4240000f424000000000'

for (const [what, a, b, more] of [
  ['IPv4', '10.98.7.1', '10.98.7.2', {}],
  ['IPv6', 'fd98::1', 'fd98::2', {}],
  ['link-local addresses', 'fe80::1', 'fe80::2', { device: 'eth0' }],
  ['several hops (RFC 5883)', '10.98.7.1', '10.98.7.2', { isMultihop: true }],
] as const)
  test(`two processes watch each other over ${what}, and each sees when the other is gone`, { skip }, async (t) => {
    const [one, other] = pair(t, a, b, more, settings({ detectMultiplier: 10 }))
    const agreed = await one.is('100 ms agreed', isSettled(1_000))
    await other.is('100 ms agreed', isSettled(1_000))
    assert.deepEqual([agreed.source, agreed.transmitIntervalMs], [a, 100])
    other.child.kill('SIGKILL')
    await one.is('the loss', ({ state, diagnostic }) => state === 'Down' && diagnostic === 1)
  })

test('a loop that does not come round keeps no packet back, and 10 ms hold beside it', { skip }, async (t) => {
  const fast = settings({ receiveIntervalMs: 20, transmitIntervalMs: 20, detectMultiplier: 100 })
  const [one, other] = pair(t, '10.98.7.1', '10.98.7.2', {}, fast)
  await one.is('20 ms agreed', isSettled(2_000))
  await other.is('20 ms agreed', isSettled(2_000))
  const [before, beside] = [one.reports.length, other.reports.length]
  // More than two detection times.
  one.say('busy 5000')
  one.say('drops')
  await waitFor('the end of the standstill', () => one.drops)
  assert.deepEqual([one.reports.slice(before), other.reports.slice(beside)], [[], []])
})

test('other timers take effect on a live session, a closed one says AdminDown', { skip }, async (t) => {
  const [one, other] = pair(t, '10.98.7.1', '10.98.7.2', {}, patient)
  await one.is('Up', isSettled(6_000))
  await other.is('Up', isSettled(6_000))
  one.say(`configure ${JSON.stringify(settings({ transmitIntervalMs: 250, detectMultiplier: 40 }))}`)
  await other.is('40 x 250 ms', ({ state, detectionTimeMs }) => state === 'Up' && detectionTimeMs === 10_000)
  const ups = other.reports.filter(isUp).length
  assert.ok(other.reports.slice(-ups).every(isUp), 'it stayed Up all the time')
  one.say('close')
  const told = await other.is('AdminDown', ({ remoteState }) => remoteState === 'AdminDown')
  assert.deepEqual([told.state, told.remoteDiagnostic], ['Down', 7])
})

test('RFC 5881 5: what comes over a router or of a stranger costs no session, and is counted', { skip }, async (t) => {
  const [one, other] = pair(t, '10.98.7.1', '10.98.7.2', {}, patient)
  await one.is('Up', isSettled(6_000))
  await other.is('Up', isSettled(6_000))
  const before = one.reports.length
  // From the address of the peer, which is all that is needed on the link.
  send('b', '10.98.7.1', 3784, 254, down, 5_000)
  await one.dropped('packets of another TTL', ({ kernel }) => kernel >= 1_000)
  run('ip', '-n', names.b, 'address', 'add', '10.98.7.66/24', 'dev', 'eth0')
  t.after(() => run('ip', '-n', names.b, 'address', 'del', '10.98.7.66/24', 'dev', 'eth0'))
  const strange = senderOf('10.98.7.1', 3784, 255, down, 20_000).replace('bind(0,', "bind(0, '10.98.7.66',")
  run('ip', 'netns', 'exec', names.b, process.execPath, '-e', strange)
  await one.dropped('of strangers', ({ kernel }) => kernel >= 10_000)
  send('b', '10.98.7.1', 3784, 255, `${down.slice(0, 16)}0badcafe${down.slice(24)}`, 5_000)
  send('b', '10.98.7.1', 3784, 255, 'ff'.repeat(64), 100)
  // A TTL of 255 and the address of the peer: what is missing is that it has heard us.
  send('b', '10.98.7.1', 3784, 255, down, 5_000)
  await one.dropped('of whoever has the address of the peer', ({ noSession, yourDiscriminator, version }) => {
    return noSession === 0 && yourDiscriminator >= 200 && version >= 10
  })
  assert.deepEqual(one.reports.slice(before), [])
})

test('a port that another daemon has is named, and had as soon as it is free', { skip }, async (t) => {
  const squatter = inside(
    'a',
    process.execPath,
    '-e',
    // Whoever watched in the test before may be about to end still.
    `
    const bind = () => {
      const socket = require('node:dgram').createSocket('udp4')
      socket.once('error', () => setImmediate(bind)).bind(3784, () => console.log('bound'))
    }
    bind()`,
  )
  t.after(() => squatter.kill('SIGKILL'))
  let isBound = false
  squatter.stdout?.once('data', () => (isBound = true))
  await waitFor('the port taken', () => isBound)
  const [one] = pair(t, '10.98.7.1', '10.98.7.2', {}, patient)
  const told = await one.is('the port named', ({ problem }) => problem !== undefined)
  assert.match(told.problem ?? '', /UDP port 3784 is taken: another BFD daemon/)
  squatter.kill('SIGKILL')
  assert.equal((await one.is('Up', isUp)).problem, undefined)
})
