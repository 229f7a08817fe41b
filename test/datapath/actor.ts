/**
 * A process that plays a part inside a network namespace, told what to do by JSON lines on its standard input and
 * answering each with one: a pod's echo server, a client, or the owner of the node's datapath.
 */
import { createSocket } from 'node:dgram'
import { readFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import type { Acceleration, ClusterNodes } from '../../src/datapath/datapath.ts'
import { openKernelDatapath, type KernelDatapath } from '../../src/datapath/kernel.ts'
import { mapNames, schema, type MapName } from '../../src/datapath/layout.ts'
import { unloadDatapath } from '../../src/datapath/unload.ts'
import { MemoryLog } from '../../src/agent/agent-log.ts'
import { Faults } from '../../src/agent/faults.ts'
import { forwardingOf } from '../../src/agent/restart-marker.ts'
import { Uplinks } from '../../src/agent/uplinks.ts'
import { systemClock } from '../../src/clock/system-clock.ts'
import type { Frontend } from '../../src/desired/model.ts'
import { messageOf } from '../../src/errors.ts'
import { Pins } from '../../src/datapath/pins.ts'
import { BpfObject, pin } from '../../src/sys/bpf.ts'
import { createTcxLink } from '../../src/sys/bpf-attach.ts'
import { lockPath } from '../../src/sys/flock.ts'
import { ifnameToIndex, lookAtLinks, watchLinks } from '../../src/sys/links.ts'
import { finishChecksums, keepQueue, keepTags } from './features.ts'
import { type FormerOptions, leaveFormer } from './former.ts'
import { type Pieces, sendPieces } from './pieces.ts'

export type Command =
  | { readonly do: 'serve'; readonly port: number }
  | {
      readonly do: 'tcp'
      readonly address: string
      readonly port: number
      readonly size: number
      readonly localPort?: number
    }
  | { readonly do: 'udp'; readonly address: string; readonly port: number; readonly size: number }
  | { readonly do: 'pieces'; readonly pieces: Pieces }
  | { readonly do: 'connect'; readonly address: string; readonly port: number }
  | { readonly do: 'exchange'; readonly size: number }
  /** So many octets that the other end says unasked. */
  | { readonly do: 'hear'; readonly size: number }
  /** To everybody who is connected. */
  | { readonly do: 'say'; readonly size: number }
  /** So many octets to the echo and back, each compared with what was sent. */
  | { readonly do: 'transfer'; readonly size: number }
  | {
      readonly do: 'datapath'
      readonly bpffs: string
      readonly objectFile: string
      readonly attach: 'tcx' | 'clsact'
      readonly interfaces: readonly string[]
      readonly frontends: readonly Frontend[]
      readonly nodes?: ClusterNodes
      readonly mode?: 'stack' | 'redirect' | 'auto'
      readonly acceleration?: Acceleration
      /** As a version with the next schema would, which takes this one's maps over. */
      readonly isNext?: boolean
      /** Instead of few of each. */
      readonly maxEntries?: Readonly<Partial<Record<MapName, number>>>
      readonly mostEntries?: Readonly<Partial<Record<MapName, number>>>
    }
  | { readonly do: 'upsert'; readonly frontends: readonly Frontend[] }
  | { readonly do: 'status' }
  /** Rules of netfilter, or interfaces, may have changed: answers with the status then. */
  | { readonly do: 'look' }
  /** How many packets the stack has handed on here, of both families. */
  | { readonly do: 'forwarded' }
  /** Connections that exchange all the time, beside others that are opened and closed. */
  | { readonly do: 'load'; readonly address: string; readonly port: number; readonly connections: number }
  | { readonly do: 'load-so-far' }
  | { readonly do: 'load-end' }
  | { readonly do: 'reasons' }
  | { readonly do: 'counters'; readonly id: string }
  | { readonly do: 'uplinks'; readonly neighbors: readonly string[] }
  /** Keeps the programs on the uplinks from here on, by the kernel's events. */
  | { readonly do: 'follow'; readonly neighbors: readonly string[] }
  | { readonly do: 'followed' }
  | { readonly do: 'unfollow' }
  | { readonly do: 'fault-texts' }
  /** Puts a program before all others at ingress of a device, as a TCX link or as the first filter. */
  | { readonly do: 'foreign'; readonly objectFile: string; readonly device: string }
  /** Leaves a link as a version with schema 1 would. */
  | { readonly do: 'former'; readonly bpffs: string; readonly objectFile: string; readonly device: string }
  /** Leaves programs and maps of an earlier schema that serve a frontend, as its agent would: see former.ts. */
  | ({ readonly do: 'former-schema' } & FormerOptions)
  | { readonly do: 'lock'; readonly bpffs: string }
  /** Holds the loop, so that events wait. */
  | { readonly do: 'busy'; readonly ms: number }
  | { readonly do: 'finish-checksums'; readonly device: string }
  /** Tags of VLANs stay in frames, so that XDP sees them. */
  | { readonly do: 'keep-tags'; readonly device: string }
  | { readonly do: 'keep-queue'; readonly device: string }
  | { readonly do: 'unload'; readonly bpffs: string }

let datapath: KernelDatapath | undefined
let connection: Socket | undefined
let uplinks: Uplinks | undefined
let faults: Faults | undefined
const serving: boolean[] = []
const served = new Set<Socket>()
const said: string[] = []

function follow(neighbors: readonly string[]): unknown {
  if (datapath === undefined) return 'no datapath'
  const log = new MemoryLog()
  faults = new Faults(systemClock, log)
  uplinks = new Uplinks({
    datapath,
    links: { look: (reaches) => lookAtLinks(reaches), watch: watchLinks },
    clock: systemClock,
    faults,
    log,
    serving: (isServing) => {
      if (serving.at(-1) !== isServing) serving.push(isServing)
    },
  })
  uplinks.start()
  uplinks.setNeighbors(neighbors.map((address) => ({ address })))
  return datapath.status.interfaces
}

function busy(ms: number): number {
  const until = performance.now() + ms
  while (performance.now() < until);
  return ms
}

/** Echoes over TCP and UDP; each TCP connection starts with a line that says who is talking to whom. */
async function serve(port: number): Promise<string> {
  for (const type of ['udp4', 'udp6'] as const) {
    const udp = createSocket({ type, ipv6Only: type === 'udp6' })
    udp.on('message', (message, from) => udp.send(message, from.port, from.address))
    udp.bind(port)
  }
  const server = createServer((socket) => {
    served.add(socket)
    socket.on('error', () => socket.destroy()).on('close', () => served.delete(socket))
    const [from, to] = [socket.remoteAddress, socket.localAddress].map((text) => text?.replace(/^::ffff:/, ''))
    socket.write(`${from} ${to}\n`)
    socket.pipe(socket)
  })
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, '::', resolve))
  return 'serving'
}

function opened(address: string, port: number, localPort?: number): Promise<Socket> {
  const socket = connect({ host: address, port, ...(localPort === undefined ? {} : { localPort }) })
  return new Promise((resolve, reject) => socket.once('connect', () => resolve(socket)).once('error', reject))
}

/** Resolves with everything received once it is `length` octets. */
function received(socket: Socket, length: (soFar: Buffer) => number): Promise<Buffer> {
  let soFar = Buffer.alloc(0)
  return new Promise((resolve, reject) => {
    const take = (chunk: Buffer): void => {
      soFar = Buffer.concat([soFar, chunk])
      if (soFar.length < length(soFar)) return
      socket.off('data', take).off('error', reject).off('close', ended)
      resolve(soFar)
    }
    const ended = (): void => reject(new Error(`closed after ${soFar.length} octets`))
    socket.on('data', take).once('error', reject).once('close', ended).resume()
  })
}

/** The same of the connection, which keeps for the next time what comes after it. */
async function heard(length: (soFar: Buffer) => number): Promise<Buffer> {
  if (connection === undefined) throw new Error('not connected')
  const octets = await received(connection, length)
  connection.pause()
  return octets
}

/** What differs between two places that lie apart by any power of two: a lost or doubled segment is seen. */
function pattern(size: number): Buffer {
  const octets = Buffer.alloc(size)
  for (let i = 0, state = 1; i < size; i++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    octets[i] = state >>> 24
  }
  return octets
}

async function transfer(size: number): Promise<string> {
  if (connection === undefined) return 'not connected'
  const sent = pattern(size)
  const parts: Buffer[] = []
  let length = 0
  const answer = new Promise<void>((resolve, reject) => {
    connection?.on('data', (part: Buffer) => {
      parts.push(part)
      length += part.length
      if (length >= size) resolve()
    })
    connection?.once('error', reject).once('close', () => reject(new Error(`closed after ${length} octets`)))
    connection?.resume()
  })
  connection.write(sent)
  await answer.finally(() => connection?.removeAllListeners('data'))
  return Buffer.concat(parts).equals(sent) ? 'the same' : `another answer of ${length} octets`
}

async function tcp(address: string, port: number, size: number, localPort?: number): Promise<string> {
  const socket = await opened(address, port, localPort)
  const answer = received(socket, (soFar) => {
    const line = soFar.indexOf(10)
    return line < 0 ? Infinity : line + 1 + size
  })
  socket.write(Buffer.alloc(size, 'x'))
  const [greeting] = (await answer).toString('latin1').split('\n')
  await new Promise<void>((resolve) => socket.once('close', () => resolve()).end())
  return greeting ?? ''
}

function udp(address: string, port: number, size: number): Promise<number> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4')
  return new Promise<number>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('ETIMEDOUT')), 1000)
    socket
      .once('message', (message) => resolve(message.length))
      .once('error', reject)
      .once('close', () => clearTimeout(timer))
    // A connected socket hears of ICMP errors.
    socket.connect(port, address, () => socket.send(Buffer.alloc(size, 'u')))
  }).finally(() => socket.close())
}

/** What the load met. */
export interface Load {
  exchanges: number
  opened: number
  readonly failures: string[]
}

let load: Load | undefined
let isLoaded = false
let loading: Promise<unknown> = Promise.resolve()

function begin(address: string, port: number, connections: number): void {
  const met: Load = { exchanges: 0, opened: 0, failures: [] }
  load = met
  isLoaded = true
  const failed = (error: unknown): void => void met.failures.push(messageOf(error))
  const exchange = async (socket: Socket): Promise<void> => {
    const answer = received(socket, () => 200)
    socket.write(Buffer.alloc(200, 'z'))
    await answer
    met.exchanges++
  }
  const greeted = async (): Promise<Socket> => {
    const socket = await opened(address, port)
    await received(socket, (soFar) => soFar.indexOf(10) + 1 || Infinity)
    return socket
  }
  const lasting = async (): Promise<void> => {
    const socket = await greeted()
    while (isLoaded) await exchange(socket)
    socket.end()
  }
  const passing = async (): Promise<void> => {
    while (isLoaded) {
      const socket = await greeted()
      await exchange(socket)
      socket.end()
      met.opened++
    }
  }
  loading = Promise.all([...Array.from({ length: connections }, lasting), passing()].map((each) => each.catch(failed)))
}

async function endLoad(): Promise<unknown> {
  isLoaded = false
  await loading
  return load
}

function openDatapath(command: Extract<Command, { readonly do: 'datapath' }>): unknown {
  datapath?.close()
  const converters = [{ from: schema, maps: Object.fromEntries(mapNames.map((name) => [name, 'same' as const])) }]
  datapath = openKernelDatapath({
    ...command,
    maxEntries: {
      tables: 4096,
      connections: 16384,
      snat: 4096,
      snat_openings: 4096,
      counters: 64,
      backends: 64,
      backend_counts: 64,
      ...command.maxEntries,
    },
    ...(command.isNext === true ? { version: { schema: schema + 1, converters } } : {}),
    log: (message) => said.push(message),
  })
  const forwarding = forwardingOf(datapath.status)
  datapath.attach(command.interfaces)
  if (command.nodes !== undefined) datapath.setNodes(command.nodes)
  for (const frontend of command.frontends) datapath.upsert(frontend)
  return {
    forwarding,
    status: datapath.status,
    served: datapath
      .readAll()
      .map(({ id }) => id)
      .sort(),
  }
}

function putBefore(objectFile: string, device: string): number {
  const object = new BpfObject(objectFile)
  object.load()
  return createTcxLink(object.programFd('foreign'), ifnameToIndex(device), 'ingress')
}

/** RFC 4293: ipIfStatsOutForwDatagrams, of each family in a file of its own form. */
function forwarded(): number {
  const [names = [], values = []] = readFileSync('/proc/net/snmp', 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('Ip: '))
    .map((line) => line.split(' '))
  const ipv6 = /^Ip6OutForwDatagrams\s+(\d+)/m.exec(readFileSync('/proc/net/snmp6', 'utf8'))?.[1]
  return Number(values[names.indexOf('ForwDatagrams')] ?? 0) + Number(ipv6 ?? 0)
}

async function perform(command: Command): Promise<unknown> {
  switch (command.do) {
    case 'serve':
      return serve(command.port)
    case 'tcp':
      return tcp(command.address, command.port, command.size, command.localPort)
    case 'udp':
      return udp(command.address, command.port, command.size)
    case 'connect': {
      connection = await opened(command.address, command.port)
      return (await heard((soFar) => soFar.indexOf(10) + 1 || Infinity)).toString().trim()
    }
    case 'exchange': {
      const answer = heard(() => command.size)
      connection?.write(Buffer.alloc(command.size, 'y'))
      return (await answer).length
    }
    case 'hear':
      return (await heard(() => command.size)).length
    case 'say':
      for (const socket of served) socket.write(Buffer.alloc(command.size, 's'))
      return served.size
    case 'transfer':
      return transfer(command.size)
    case 'datapath':
      return openDatapath(command)
    case 'upsert':
      for (const frontend of command.frontends) datapath?.upsert(frontend)
      return 'written'
    case 'status':
      return { status: datapath?.status, said, usage: datapath?.usage(), reasons: datapath?.reasons() }
    case 'look':
      datapath?.follow()
      return datapath?.status
    case 'forwarded':
      return forwarded()
    case 'load':
      begin(command.address, command.port, command.connections)
      return 'begun'
    case 'load-so-far':
      return load
    case 'load-end':
      return endLoad()
    case 'pieces':
      return sendPieces(command.pieces)
    case 'reasons':
      return datapath?.reasons()
    case 'counters':
      return datapath?.counters(command.id)
    case 'uplinks':
      return lookAtLinks(command.neighbors.map((address) => ({ address }))).uplinks.map(({ name }) => name)
    case 'follow':
      return follow(command.neighbors)
    case 'followed':
      return { interfaces: datapath?.status.interfaces, serving, faults: faults?.current.map(({ key }) => key) }
    case 'unfollow':
      uplinks?.stop()
      serving.length = 0
      return 'stopped'
    case 'fault-texts':
      return faults?.current.map(({ text }) => text)
    case 'foreign':
      return putBefore(command.objectFile, command.device)
    case 'former': {
      const pins = new Pins(command.bpffs, 1)
      pins.makeFolders()
      pin(putBefore(command.objectFile, command.device), pins.link(ifnameToIndex(command.device), 'ingress'))
      return 'left'
    }
    case 'former-schema':
      leaveFormer(command)
      return 'left'
    case 'lock':
      lockPath(`${command.bpffs}/herald`, 'directory')
      return 'locked'
    case 'busy':
      return busy(command.ms)
    case 'finish-checksums':
      return finishChecksums(command.device)
    case 'keep-queue':
      return keepQueue(command.device)
    case 'keep-tags':
      return keepTags(command.device)
    case 'unload':
      return unloadDatapath(command.bpffs)
  }
}

createInterface({ input: process.stdin }).on('line', (line) => {
  perform(JSON.parse(line) as Command).then(
    (value) => console.log(JSON.stringify({ value: value ?? null })),
    (error: unknown) => console.log(JSON.stringify({ error: messageOf(error) })),
  )
})
