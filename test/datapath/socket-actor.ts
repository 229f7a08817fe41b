/**
 * A client in a group of cgroup v2 and a network of its own, or the owner of the socket programs: told what to do by
 * JSON lines on its standard input, and answering each with one. Its argument is the group that it enters.
 */
import { createSocket, type RemoteInfo, type Socket as Datagrams } from 'node:dgram'
import { readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { openSockets, type SocketOptions } from '../../src/datapath/sockets.ts'
import type { Frontend } from '../../src/desired/model.ts'
import { messageOf } from '../../src/errors.ts'
import { type Address, formatAddress, parseAddress } from '../../src/ip/address.ts'
import { checked, closeCall, lastErrno, libc } from '../../src/sys/libc.ts'
import {
  AF_INET,
  AF_INET6,
  openSocket,
  recvfromCall,
  sendtoCall,
  setOption,
  SOCK_STREAM,
  SOL_SOCKET,
  socketAddress,
} from '../../src/sys/socket.ts'

export type SocketCommand =
  /** Connects, is greeted, and keeps the connection under its name. */
  | { readonly do: 'connect'; readonly name: string; readonly address: string; readonly port: number }
  /** One more answer of a connection that was made before. */
  | { readonly do: 'ask'; readonly name: string }
  /** Waits until a connection that was made before fails, and answers with its error. */
  | { readonly do: 'end of'; readonly name: string }
  /** Of a socket without a connection, kept under its name. */
  | { readonly do: 'send'; readonly name: string; readonly address: string; readonly port: number }
  /** Of a socket that is connected to whom it sends to. */
  | { readonly do: 'datagram'; readonly address: string; readonly port: number }
  /** One TCP socket, connected to one place after the other, each `address port` of IPv4: answers its peers. */
  | { readonly do: 'connect again'; readonly places: readonly string[] }
  /** One call of the C library on a UDP socket that is kept under its name, of IPv4 or IPv6 by its address. */
  | {
      readonly do: 'call'
      readonly name: string
      readonly call: 'sendto' | 'connect' | 'disconnect' | 'receive' | 'peer'
      readonly address?: string
      readonly port?: number
    }
  /** So many sockets of UDP, connected to a place of IPv4: to whom they really are, and what was answered instead. */
  | { readonly do: 'connect many'; readonly address: string; readonly port: number; readonly count: number }
  | { readonly do: 'open'; readonly options: SocketOptions; readonly frontends: readonly Frontend[] }

const connections = new Map<string, Socket>()
/** How each of them failed, whoever hears of it first. */
const failures = new Map<string, Promise<unknown>>()
const senders = new Map<string, Datagrams>()

function line(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    socket.once('data', (data) => resolve(data.toString().trim())).once('error', reject)
  })
}

/** What the client takes its peer for, and what the server says of itself. */
async function connected(name: string, address: string, port: number): Promise<unknown> {
  const socket = connect({ host: address, port })
  await new Promise<void>((resolve, reject) => socket.once('connect', () => resolve()).once('error', reject))
  connections.set(name, socket)
  failures.set(name, new Promise((resolve) => socket.once('error', (error) => resolve(Reflect.get(error, 'code')))))
  const by = await line(socket)
  return { peer: `${socket.remoteAddress} ${socket.remotePort}`, by }
}

async function asked(name: string): Promise<unknown> {
  const socket = connections.get(name)
  if (socket === undefined) return 'no such connection'
  const answer = line(socket)
  socket.write('again\n')
  return answer
}

const typeOf = (address: string): 'udp4' | 'udp6' => (address.includes(':') ? 'udp6' : 'udp4')

/** `send` gets who is told of an error. */
function answer(socket: Datagrams, send: (failed: (error: Error | null) => void) => void): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const settle = (result: () => void): void => {
      socket.removeAllListeners('message').removeAllListeners('error')
      result()
    }
    socket
      .once('message', (message: Buffer, from: RemoteInfo) =>
        settle(() => resolve({ from: `${from.address} ${from.port}`, by: message.toString() })),
      )
      .once('error', (error) => settle(() => reject(error)))
    send((error) => {
      if (error !== null) settle(() => reject(error))
    })
  })
}

function sent(name: string, address: string, port: number): Promise<unknown> {
  const socket = senders.get(name) ?? createSocket(typeOf(address))
  senders.set(name, socket)
  return answer(socket, (failed) => socket.send('ask', port, address, failed))
}

async function datagram(address: string, port: number): Promise<unknown> {
  const socket = createSocket(typeOf(address))
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', () => resolve()).once('error', reject)
      socket.connect(port, address)
    })
    const peer = socket.remoteAddress()
    return {
      peer: `${peer.address} ${peer.port}`,
      ...((await answer(socket, (failed) => socket.send('ask', failed))) as object),
    }
  } finally {
    socket.close()
  }
}

const connectCall = libc.func('int connect(int fd, const void *address, uint32_t length)')
const peerCall = libc.func('int getpeername(int fd, void *address, void *length)')

function connectedAgain(places: readonly string[]): readonly string[] {
  const fd = openSocket('socket', AF_INET, SOCK_STREAM)
  try {
    return places.map((place) => {
      const [address = '', port = ''] = place.split(' ')
      // connect(2): an address of AF_UNSPEC ends the connection, and the socket may have another one.
      checked('disconnect', Number(connectCall(fd, Buffer.alloc(16), 16)))
      const to = socketAddress(parseAddress(address) ?? 0, Number(port))
      checked(`connect to ${place}`, Number(connectCall(fd, to, to.length)))
      const peer = Buffer.alloc(16)
      checked('getpeername', Number(peerCall(fd, peer, Uint32Array.of(peer.length))))
      return `${peer.subarray(4, 8).join('.')} ${peer.readUInt16BE(2)}`
    })
  } finally {
    closeCall(fd)
  }
}

const raw = new Map<string, number>()
const dgram = 2 // SOCK_DGRAM
const soRcvtimeo = 20

/** `address port` of a sockaddr_in or sockaddr_in6. */
function placeOf(address: Buffer): string {
  const isIpv4 = address.readUInt16LE(0) === AF_INET
  return `${formatAddress(addressAt(address, isIpv4 ? 4 : 8, isIpv4 ? 4 : 16))} ${address.readUInt16BE(2)}`
}

function addressAt(octets: Buffer, at: number, length: number): Address {
  return length === 4 ? octets.readUInt32BE(at) : octets.toString('latin1', at, at + length)
}

function called({ name, call, address = '0.0.0.0', port = 0 }: SocketCommand & { do: 'call' }): unknown {
  const parsed = parseAddress(address) ?? 0
  const fd = raw.get(name) ?? openSocket('socket', address.includes(':') ? AF_INET6 : AF_INET, dgram)
  if (!raw.has(name)) setOption('time-out', fd, SOL_SOCKET, soRcvtimeo, Buffer.from(BigInt64Array.of(10n, 0n).buffer))
  raw.set(name, fd)
  const to = socketAddress(parsed, port)
  const [from, length] = [Buffer.alloc(28), Buffer.from(Uint32Array.of(28).buffer)]
  switch (call) {
    case 'sendto':
      return checked(`send to ${address}`, Number(sendtoCall(fd, Buffer.from('ask'), 3, 0, to, to.length)))
    case 'connect':
      return checked(`connect to ${address}`, Number(connectCall(fd, to, to.length)))
    case 'disconnect':
      return checked('disconnect', Number(connectCall(fd, Buffer.alloc(28), 28)))
    case 'peer':
      checked('getpeername', Number(peerCall(fd, from, length)))
      return placeOf(from)
    case 'receive': {
      const octets = Buffer.alloc(200)
      const count = checked('receive', Number(recvfromCall(fd, octets, octets.length, 0, from, length)))
      return { from: placeOf(from), by: octets.toString('utf8', 0, count) }
    }
  }
}

/** Addresses of the peers of sockets of UDP, as the kernel itself knows them. */
function peersOf(inodes: ReadonlySet<string>): readonly string[] {
  const lines = readFileSync('/proc/thread-self/net/udp', 'utf8').trim().split('\n').slice(1)
  return lines.flatMap((line) => {
    const [, , peer = '', , , , , , , inode = ''] = line.trim().split(/\s+/)
    if (!inodes.has(inode)) return []
    const [octets = '', port = ''] = peer.split(':')
    return `${formatAddress(Buffer.from(octets, 'hex').readUInt32LE(0))} ${Number.parseInt(port, 16)}`
  })
}

function connectedMany(address: string, port: number, count: number): Readonly<Record<string, number>> {
  const met = new Map<string, number>()
  const meet = (what: string): void => void met.set(what, (met.get(what) ?? 0) + 1)
  const to = socketAddress(parseAddress(address) ?? 0, port)
  for (let left = count; left > 0; left -= 200) {
    const fds = Array.from({ length: Math.min(left, 200) }, () => openSocket('socket', AF_INET, dgram))
    const inodes = new Set<string>()
    for (const fd of fds) {
      if (Number(connectCall(fd, to, to.length)) < 0) meet(lastErrno())
      else inodes.add(/\d+/.exec(readlinkSync(`/proc/self/fd/${fd}`))?.[0] ?? '')
    }
    peersOf(inodes).forEach(meet)
    for (const fd of fds) closeCall(fd)
  }
  return Object.fromEntries(met)
}

async function perform(command: SocketCommand): Promise<unknown> {
  switch (command.do) {
    case 'connect':
      return connected(command.name, command.address, command.port)
    case 'ask':
      return asked(command.name)
    case 'end of':
      return failures.get(command.name)
    case 'send':
      return sent(command.name, command.address, command.port)
    case 'datagram':
      return datagram(command.address, command.port)
    case 'connect again':
      return connectedAgain(command.places)
    case 'call':
      return called(command)
    case 'connect many':
      return connectedMany(command.address, command.port, command.count)
    case 'open': {
      const balancer = openSockets(command.options)
      for (const frontend of command.frontends) balancer.upsert(frontend)
      return balancer.status
    }
  }
}

const [, , group = ''] = process.argv
if (group !== '') writeFileSync(join(group, 'cgroup.procs'), String(process.pid))
createInterface({ input: process.stdin }).on('line', (text) => {
  perform(JSON.parse(text) as SocketCommand).then(
    (value) => console.log(JSON.stringify({ value: value ?? null })),
    (error: unknown) => console.log(JSON.stringify({ error: messageOf(error) })),
  )
})
