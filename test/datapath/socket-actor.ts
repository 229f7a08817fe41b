/**
 * A client in a group of cgroup v2 and a network of its own, or the owner of the socket programs: told what to do by
 * JSON lines on its standard input, and answering each with one. Its argument is the group that it enters.
 */
import { createSocket, type RemoteInfo, type Socket as Datagrams } from 'node:dgram'
import { writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { openSockets, type SocketOptions } from '../../src/datapath/sockets.ts'
import type { Frontend } from '../../src/desired/model.ts'
import { messageOf } from '../../src/errors.ts'
import { parseAddress } from '../../src/ip/address.ts'
import { checked, closeCall, libc } from '../../src/sys/libc.ts'
import { AF_INET, openSocket, SOCK_STREAM, socketAddress } from '../../src/sys/socket.ts'

export type SocketCommand =
  /** Connects, is greeted, and keeps the connection under its name. */
  | { readonly do: 'connect'; readonly name: string; readonly address: string; readonly port: number }
  /** One more answer of a connection that was made before. */
  | { readonly do: 'ask'; readonly name: string }
  /** Of a socket without a connection, kept under its name. */
  | { readonly do: 'send'; readonly name: string; readonly address: string; readonly port: number }
  /** Of a socket that is connected to whom it sends to. */
  | { readonly do: 'datagram'; readonly address: string; readonly port: number }
  /** One TCP socket, connected to one place after the other, each `address port` of IPv4: answers its peers. */
  | { readonly do: 'connect again'; readonly places: readonly string[] }
  | { readonly do: 'open'; readonly options: SocketOptions; readonly frontends: readonly Frontend[] }

const connections = new Map<string, Socket>()
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

async function perform(command: SocketCommand): Promise<unknown> {
  switch (command.do) {
    case 'connect':
      return connected(command.name, command.address, command.port)
    case 'ask':
      return asked(command.name)
    case 'send':
      return sent(command.name, command.address, command.port)
    case 'datagram':
      return datagram(command.address, command.port)
    case 'connect again':
      return connectedAgain(command.places)
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
