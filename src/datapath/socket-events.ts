/** `struct socket_event` of bpf/socket.h: whom sockets were led to, as events beside those of packets. Pure. */
import type { DatapathEvent, SocketEventDetail } from './events.ts'
import { anyNodeAddress } from '../desired/model.ts'
import { familyOfText } from '../ip/address.ts'
import { decodeEndpoint, socketOffsets, socketSizes } from './socket-layout.ts'

/** In the order of `enum socket_event_type`. */
export const socketEventTypes = ['connect', 'send', 'refused'] as const

const detailOf = { connect: 'by_connect', send: 'by_send' } as const satisfies Record<string, SocketEventDetail>

/** undefined for what this version does not know. */
export function decodeSocketEvent(view: DataView, at: number): DatapathEvent | undefined {
  const place = socketOffsets.socket_event
  const type = socketEventTypes[view.getUint8(at + place.type)]
  if (type === undefined) return undefined
  const octets = (from: number, length: number): Uint8Array =>
    new Uint8Array(view.buffer, view.byteOffset + from, length)
  const destination = decodeEndpoint(octets(at + place.frontend, socketSizes.endpoint))
  const command = Buffer.from(octets(at + place.command, socketSizes.event - place.command)).toString()
  return {
    timeNs: view.getBigUint64(at + place.time_ns, true),
    ...(type === 'refused' ? { type: 'drop', detail: 'no_backend' } : { type: 'led', detail: detailOf[type] }),
    protocol: view.getUint8(at + place.protocol),
    source: { address: anyNodeAddress[familyOfText(destination.address)], port: 0 },
    destination,
    backend: type === 'refused' ? undefined : decodeEndpoint(octets(at + place.backend, socketSizes.endpoint)),
    tcpFlags: 0,
    length: 0,
    socket: {
      cookie: view.getBigUint64(at + place.cookie, true),
      cgroup: view.getBigUint64(at + place.cgroup, true),
      process: view.getUint32(at + place.process, true),
      command: command.slice(0, Math.max(0, command.indexOf('\0'))),
    },
  }
}
