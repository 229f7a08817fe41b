/** A descriptor that one thread of the process makes readable to wake another one that waits for it (eventfd(2)). */
import { checked, closeCall, libc } from './libc.ts'

const eventfdCall = libc.func('int eventfd(unsigned int initial, int flags)')
const readCall = libc.func('intptr_t read(int fd, void *data, size_t length)')
const writeCall = libc.func('intptr_t write(int fd, const void *data, size_t length)')
const EFD_NONBLOCK = 0o4000
const EFD_CLOEXEC = 0o2000000
const one = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0)

/** Throws ERR_SYSCALL. Closed by {@link closeEventFd}. */
export function openEventFd(): number {
  return checked('eventfd', Number(eventfdCall(0, EFD_NONBLOCK | EFD_CLOEXEC)))
}

/** Readable until it is cleared; never waits. */
export function raiseEventFd(fd: number): void {
  writeCall(fd, one, one.length)
}

export function clearEventFd(fd: number): void {
  readCall(fd, new Uint8Array(8), 8)
}

export function closeEventFd(fd: number): void {
  closeCall(fd)
}
