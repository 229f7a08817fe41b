/** Who is at the other end of a unix socket, as the kernel knows it (unix(7), SO_PEERCRED). */
import type net from 'node:net'
import { checked, libc } from './libc.ts'
import { SOL_SOCKET } from './socket.ts'

const getsockoptCall = libc.func(
  'int getsockopt(int fd, int level, int name, _Out_ uint8_t *value, _Inout_ uint32_t *length)',
)
const SO_PEERCRED = 17
/** struct ucred: pid:s32 uid:u32 gid:u32 */
const ucredBytes = 12

export interface PeerCredentials {
  readonly pid: number
  readonly uid: number
  readonly gid: number
}

/** Of who connected; undefined for a socket that is gone. Throws ERR_SYSCALL. */
export function peerCredentials(socket: net.Socket): PeerCredentials | undefined {
  const fd = (socket as net.Socket & { readonly _handle?: { readonly fd?: number } | null })._handle?.fd
  if (fd === undefined || fd < 0) return undefined
  const value = Buffer.alloc(ucredBytes)
  checked('getsockopt(SO_PEERCRED)', Number(getsockoptCall(fd, SOL_SOCKET, SO_PEERCRED, value, [ucredBytes])))
  return { pid: value.readInt32LE(0), uid: value.readUInt32LE(4), gid: value.readUInt32LE(8) }
}
