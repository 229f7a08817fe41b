/**
 * A whole agent under a hostile network and a careless operator, beside a session whose hold time is 3 s: whatever is
 * done to the listener, the API and the folder of manifests, that session stays up and its routes stay as they are.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, afterEach, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { encodeOpen } from '../../src/bgp/messages/open.ts'
import { keepaliveBytes } from '../../src/bgp/messages/keepalive.ts'
import { unpackAnswer } from '../../src/speaker/packed-paths.ts'
import type { FromSpeaker, PeerSnapshot, RouteSnapshot } from '../../src/speaker/protocol.ts'
import { system } from '../../src/speaker/session/system.ts'
import { Speaker } from '../../src/speaker/speaker.ts'
import { waitFor } from '../wait.ts'

const herald = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'bin/herald')
const port = 20_000 + (process.pid % 12_000)
const routerAddress = '127.0.0.41'
/** A neighbor of the agent that nobody good answers for. */
const hostileAddress = '127.0.0.42'
const strangerAddress = '127.0.0.43'
const agentAddress = '127.0.0.44'
const maxRssGrowthBytes = 96 * 2 ** 20

const neighbor = (address: string): string =>
  `    - {peerAddress: ${address}/32, peerPort: ${port}, peerASN: 65000, holdTimeSeconds: 3, ` +
  `keepAliveTimeSeconds: 1, connectRetryTimeSeconds: 1, families: [{afi: ipv4, safi: unicast}]}`
const policy = `apiVersion: cilium.io/v2alpha1
kind: CiliumBGPPeeringPolicy
metadata:
  name: bgp-peering
  annotations: {herald.dev/neighbors: '{"*": {nextHop: 192.0.2.9}}'}
spec:
  nodeSelector: {matchLabels: {kubernetes.io/os: linux}}
  virtualRouters:
  - localASN: 65001
    exportPodCIDR: true
    neighbors:
${neighbor(routerAddress)}
${neighbor(hostileAddress)}
`
const node = (podCidr = '10.1.1.0/24'): string => `apiVersion: v1
kind: Node
metadata: {name: node1, labels: {kubernetes.io/os: linux}}
spec: {podCIDRs: [${podCidr}]}
status: {addresses: [{type: InternalIP, address: 192.0.2.9}]}
`
const held = '10.1.1.0/24 via 192.0.2.9'

const folder = mkdtempSync(join(tmpdir(), 'herald-attack-'))
const manifests = join(folder, 'manifests')
const state = join(folder, 'state')
const socket = join(folder, 'herald.sock')
const sockets = new Set<net.Socket>()
const transitions: string[] = []
let peer: PeerSnapshot | undefined
let agent: ChildProcess | undefined
let output = ''
let restingRss = 0
let answered: ((routes: readonly RouteSnapshot[]) => void) | undefined
const router = new Speaker(
  { listen: { host: routerAddress, port }, isRestart: false, isForwardingPreserved: false },
  system,
  (message: FromSpeaker) => {
    if (message.type === 'peer') {
      peer = message.peer
      transitions.push(message.peer.state)
    }
    if (message.type === 'answer') answered?.(unpackAnswer(message).routes ?? [])
  },
)

function received(): Promise<string> {
  return new Promise((resolve) => {
    answered = (routes) =>
      resolve(
        routes
          .map((route) => `${route.prefix} via ${route.nextHop}`)
          .sort()
          .join(', '),
      )
    router.handle({ type: 'query', id: 1, query: { what: 'routes', table: 'received', family: 'ipv4-unicast' } })
  })
}

const routes = (expected: string): Promise<boolean> =>
  waitFor(`the router to hold ${expected}`, async () => (await received()) === expected)

function start(...flags: string[]): ChildProcess {
  const child = spawn(
    herald,
    [
      'agent',
      '--node-name',
      'node1',
      '--manifests',
      manifests,
      '--datapath',
      'none',
      '--state-dir',
      state,
      '--http',
      'none',
      '--bgp-listen',
      'none',
      '--socket',
      socket,
      ...flags,
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  return child
}

function exited(child: ChildProcess): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve(child.exitCode)
  return new Promise((resolve) => child.once('exit', (code) => resolve(code)))
}

/** What an agent that must not start says, and its exit code. */
async function refusal(...flags: string[]): Promise<{ readonly code: number | null; readonly text: string }> {
  const child = start(...flags)
  const patience = setTimeout(() => child.kill('SIGKILL'), 60_000)
  let text = ''
  child.stderr?.on('data', (chunk: Buffer) => (text += chunk.toString()))
  const code = await exited(child)
  clearTimeout(patience)
  return { code, text }
}

function write(name: string, text: string): void {
  writeFileSync(join(manifests, `.${name}.new`), text)
  renameSync(join(manifests, `.${name}.new`), join(manifests, name))
}

/** Connects to the agent's listener from an address; resolves when connected or refused. */
function connect(localAddress: string): Promise<net.Socket> {
  const attacker = net.connect({ host: agentAddress, port, localAddress })
  sockets.add(attacker)
  attacker.on('error', () => attacker.destroy())
  attacker.on('close', () => sockets.delete(attacker))
  return new Promise((resolve) =>
    attacker.once('connect', () => resolve(attacker)).once('close', () => resolve(attacker)),
  )
}

const isGone = (attacker: net.Socket): Promise<boolean> =>
  waitFor('the connection to be closed', () => attacker.destroyed)

/** A connection that the agent's session takes: the neighbor waits out its idle hold after each fault. */
function taken(): Promise<net.Socket> {
  return waitFor(
    'the agent to take a connection',
    async () => {
      const attacker = await connect(hostileAddress)
      const isOpen = await new Promise<boolean>((resolve) =>
        attacker.once('data', () => resolve(true)).once('close', () => resolve(false)),
      )
      return isOpen && attacker
    },
    { deadlineMs: 60_000 },
  )
}

function rssBytes(): number {
  return 1024 * Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${agent?.pid}/status`, 'utf8'))?.[1])
}

before(async () => {
  mkdirSync(manifests)
  write('policy.yaml', policy)
  write('node.yaml', node())
  await router.start()
  router.handle({
    type: 'configure',
    neighbors: [
      {
        id: 'node1',
        source: { kind: 'test', name: 'router' },
        virtualRouter: 'router',
        localAsn: 65000,
        peerAsn: 65001,
        peerAddress: '127.0.0.1',
        peerPort: 179,
        routerId: '192.0.2.1',
        families: ['ipv4-unicast'],
        holdTimeSec: 3,
        keepaliveSec: 1,
        connectRetrySec: 1,
        multihopTtl: 1,
        passive: true,
      },
    ],
  })
  agent = start('--bgp-listen', `${agentAddress}:${port}`)
  for (const stream of [agent.stdout, agent.stderr]) stream?.on('data', (chunk: Buffer) => (output += chunk.toString()))
  await routes(held)
  restingRss = rssBytes()
})

afterEach(async () => {
  assert.deepEqual([agent?.exitCode, agent?.signalCode], [null, null], `the agent ended: ${output.slice(-2000)}`)
  assert.equal(peer?.state, 'Established', peer?.lastReset?.text)
  assert.equal(transitions.filter((name) => name === 'Established').length, 1, transitions.join(' '))
  const grown = rssBytes() - restingRss
  assert.ok(grown < maxRssGrowthBytes, `${Math.round(grown / 2 ** 20)} MB more than at rest`)
})

after(async () => {
  for (const attacker of sockets) attacker.destroy()
  agent?.kill('SIGKILL')
  if (agent !== undefined) await exited(agent)
  router.handle({ type: 'stop', mode: 'shutdown', text: '' })
  rmSync(folder, { recursive: true, force: true })
})

test('500 connections of a stranger are all closed without an octet being read', async () => {
  const strangers = await Promise.all(Array.from({ length: 500 }, () => connect(strangerAddress)))
  for (const stranger of strangers) await isGone(stranger)
  assert.ok(output.includes(`refused a connection of ${strangerAddress}`))
  assert.ok(output.split('refused a connection of').length < 10, 'a line for each connection')
})

test('500 connections of one neighbor that say nothing: one is kept and waits for its OPEN', async () => {
  const silent = await Promise.all(Array.from({ length: 500 }, () => connect(hostileAddress)))
  // Our OPEN is read, or its end would not be seen behind it.
  for (const attacker of silent) attacker.resume()
  await waitFor('all but two to be closed', () => silent.filter((attacker) => !attacker.destroyed).length <= 2)
  for (const attacker of silent) attacker.destroy()
})

test('a neighbor that sends random octets is answered with a NOTIFICATION and closed', async () => {
  const attacker = await taken()
  let said = Buffer.alloc(0)
  attacker.on('data', (chunk: Buffer) => (said = Buffer.concat([said, chunk])))
  attacker.write(randomFillSync(Buffer.alloc(1_000_000)))
  await isGone(attacker)
  // RFC 4271 6.1: Message Header Error, Connection Not Synchronized. A reset may overtake it.
  if (said.length > 0) assert.deepEqual([said[18], said[19], said[20]], [3, 1, 1])
})

test('a neighbor that establishes and then floods KEEPALIVEs without reading keeps nobody else from its hold time', async () => {
  const attacker = await taken()
  attacker.write(
    encodeOpen({
      type: 'open',
      version: 4,
      myAs: 65000,
      holdTimeSec: 3,
      bgpId: 0xc0000263,
      capabilities: [{ type: 'fourOctetAs', asn: 65000 }],
    }),
  )
  attacker.pause()
  const flood = Buffer.concat(Array.from({ length: 2000 }, () => keepaliveBytes))
  const gone = new Promise<void>((resolve) => attacker.once('close', () => resolve()))
  const endsAt = Date.now() + 4000
  while (Date.now() < endsAt && !attacker.destroyed) {
    if (!attacker.write(flood))
      await Promise.race([gone, new Promise<void>((resolve) => attacker.once('drain', resolve))])
  }
  assert.ok(!attacker.destroyed, 'the flooding session was to be held up too')
  attacker.destroy()
  // Until the agent has read what was under way, a further connection of this neighbor is a collision (RFC 4271 6.8).
  await waitFor('the end of the flooding session', () => output.includes('session lost'))
})

test('an OPEN that arrives one octet at a time is waited for without a disturbance', async () => {
  const attacker = await taken()
  const open = encodeOpen({
    type: 'open',
    version: 4,
    myAs: 65000,
    holdTimeSec: 3,
    bgpId: 0xc0000263,
    capabilities: [{ type: 'fourOctetAs', asn: 65000 }],
  })
  attacker.setNoDelay(true)
  const answer = new Promise<Buffer>((resolve) => attacker.once('data', (chunk: Buffer) => resolve(chunk)))
  for (const octet of open)
    await new Promise<void>((resolve) => attacker.write(Uint8Array.of(octet), () => setImmediate(resolve)))
  assert.deepEqual([...(await answer)], [...keepaliveBytes])
  attacker.destroy()
})

test('500 connections to the unix socket, some with garbage, leave the session alone', async () => {
  const clients = Array.from({ length: 500 }, (_, i) => {
    const client = net.connect(socket)
    sockets.add(client)
    client.on('error', () => client.destroy())
    client.on('close', () => sockets.delete(client))
    // Whoever does not read the answer does not see the end behind it either.
    client.resume()
    if (i % 2 === 0) client.write(randomFillSync(Buffer.alloc(10_000)))
    return client
  })
  await waitFor('the garbage to be refused', () => clients.every((client, i) => i % 2 === 1 || client.destroyed))
  for (const client of clients) client.destroy()
})

test('200 rewrites in a row end with the last one', async () => {
  for (let i = 0; i < 200; i++) writeFileSync(join(manifests, 'node.yaml'), node(`10.1.${i}.0/24`))
  await routes('10.1.199.0/24 via 192.0.2.9')
  write('node.yaml', node())
  await routes(held)
})

test(
  "a symlink loop, a folder that is a file's name and a bomb of YAML aliases beside good manifests change " + 'nothing',
  async () => {
    symlinkSync('loop.yaml', join(manifests, 'loop.yaml'))
    symlinkSync('.', join(manifests, 'again'))
    mkdirSync(join(manifests, 'folder.yaml'))
    const levels = Array.from(
      { length: 12 },
      (_, i) => `a${i}: &a${i} [${Array.from({ length: 10 }, () => (i === 0 ? 'x' : `*a${i - 1}`)).join(', ')}]`,
    )
    write('bomb.yaml', `apiVersion: v1\nkind: Service\nmetadata: {name: bomb}\n${levels.join('\n')}\n`)
    await waitFor('the bomb to be named', () => output.includes('bomb.yaml'))
    assert.equal(await received(), held)
    for (const name of ['loop.yaml', 'again', 'folder.yaml', 'bomb.yaml'])
      rmSync(join(manifests, name), { recursive: true, force: true })
  },
)

test('the folder deleted, a file in its place, and the folder back: what was read last stays in force', async () => {
  renameSync(manifests, `${manifests}.away`)
  await waitFor('the problem to be told', () => output.includes('ENOENT'))
  assert.equal(await received(), held)
  writeFileSync(manifests, 'no folder')
  await waitFor('the problem to be told', () => output.includes('ENOTDIR'))
  assert.equal(await received(), held)
  rmSync(manifests)
  renameSync(`${manifests}.away`, manifests)
  write('node.yaml', node('10.1.2.0/24'))
  await routes('10.1.2.0/24 via 192.0.2.9')
  write('node.yaml', node())
  await routes(held)
})

test('a state directory that goes away costs the mark of a restart for a while, not the process', async () => {
  renameSync(state, `${state}.away`)
  write('policy.yaml', policy.replace(neighbor(hostileAddress), ''))
  await waitFor('the problem to be told', () => output.includes('takes no record'))
  assert.equal(await received(), held)
  // Made anew, it is locked anew as well: see below.
  await waitFor('the mark to be there again', () => existsSync(join(state, 'sessions')))
})

test(
  'of two agents on one state directory the second one refuses with a line, and so does one whose state ' +
    'directory is a file',
  async () => {
    const second = await refusal('--socket', join(folder, 'second.sock'))
    assert.equal(second.code, 1)
    assert.match(second.text, /another herald agent holds/)
    writeFileSync(join(folder, 'file'), '')
    const misled = await refusal('--state-dir', join(folder, 'file'), '--socket', join(folder, 'second.sock'))
    assert.equal(misled.code, 1)
    assert.match(misled.text, /--state-dir .* cannot be used: EEXIST/)
  },
)
