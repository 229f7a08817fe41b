/**
 * Netlink (RFC 3549): questions, each on a socket of its own, and events as they happen, on one socket that is kept.
 */
import koffi from 'koffi'
import type { Errno } from '../errors.ts'
import { checked, closeCall, errnoName, lastErrno, syscallError } from './libc.ts'
import {
  AF_NETLINK,
  bindSocket,
  openSocket,
  preparedSocket,
  recvfromCall,
  sendCall,
  SOCK_NONBLOCK,
  SOCK_RAW,
} from './socket.ts'

// linux/netlink.h
const NETLINK_ROUTE = 0
const NLM_F_REQUEST = 1
const NLM_F_ACK = 4
const NLM_F_DUMP_INTR = 0x10
const NLM_F_DUMP = 0x300
const NLMSG_NOOP = 1
const NLMSG_ERROR = 2
const NLMSG_DONE = 3
/** Data was lost. */
const NLMSG_OVERRUN = 4
const headerBytes = 16
/** Of a question, which is answered before the next one is asked: what is kept is copied out. */
const replyMemory = new Uint8Array(1 << 17)
/** A list that changes faster than it can be read is read so often, then taken as it is. */
const maxDumps = 8

export interface NetlinkMessage {
  /** RTM_*. */
  readonly type: number
  readonly body: Uint8Array
}

interface Replies {
  readonly messages: NetlinkMessage[]
  isDone: boolean
  /** Something changed while it was listed, or a length was wrong: an entry may be missing or stand twice. */
  isTorn: boolean
}

/** The answer to one question. Throws ERR_SYSCALL with the errno that the kernel answers. */
export function askOne(
  what: string,
  type: number,
  body: Uint8Array,
  family = NETLINK_ROUTE,
): readonly NetlinkMessage[] {
  return ask(what, type, 0, body, family).messages
}

/** Has the kernel do something; it is done then. Throws ERR_SYSCALL with the errno that the kernel answers. */
export function order(what: string, type: number, body: Uint8Array, family = NETLINK_ROUTE): void {
  ask(what, type, NLM_F_ACK, body, family)
}

/**
 * Every entry of a list of the kernel; one that was torn by a change is read again. Once there are more than `most` the
 * rest is not read; `weigh`: for how many one counts. Throws ERR_SYSCALL.
 */
export function askAll(
  what: string,
  type: number,
  body: Uint8Array,
  family = NETLINK_ROUTE,
  most = Infinity,
  weigh: (message: NetlinkMessage) => number = () => 1,
): readonly NetlinkMessage[] {
  return untorn(() => ask(what, type, NLM_F_DUMP, body, family, undefined, most, weigh))
}

/** The first list that was not torn; after too many the last one, which is as true as a list can be here. */
export function untorn(list: () => Pick<Replies, 'messages' | 'isTorn'>): readonly NetlinkMessage[] {
  for (let dumps = 1; ; dumps++) {
    const { messages, isTorn } = list()
    if (!isTorn || dumps >= maxDumps) return messages
  }
}

/**
 * The entries of a list for which `isWanted` holds, where nearly none are: it is told of each in the buffer that they
 * are read into, from one octet to another. A list that was torn is read again, as above. Throws ERR_SYSCALL.
 */
export function askSome(
  what: string,
  type: number,
  body: Uint8Array,
  family: number,
  isWanted: (view: DataView, from: number, to: number) => boolean,
): readonly NetlinkMessage[] {
  return untorn(() => ask(what, type, NLM_F_DUMP, body, family, isWanted))
}

function ask(
  what: string,
  type: number,
  flags: number,
  body: Uint8Array,
  family = NETLINK_ROUTE,
  isWanted?: (view: DataView, from: number, to: number) => boolean,
  most = Infinity,
  weigh: (message: NetlinkMessage) => number = () => 1,
): Replies {
  const message = new Uint8Array(headerBytes + body.length)
  const header = new DataView(message.buffer)
  header.setUint32(0, message.length, true)
  header.setUint16(4, type, true)
  header.setUint16(6, NLM_F_REQUEST | flags, true)
  message.set(body, headerBytes)
  const fd = openSocket('netlink socket', AF_NETLINK, SOCK_RAW, family)
  try {
    checked(what, Number(sendCall(fd, message, message.length, 0)))
    const replies: Replies = { messages: [], isDone: false, isTorn: false }
    const inbox = new Inbox(fd, replyMemory)
    for (let [read, weight] = [0, 0]; ; ) {
      checked(what, inbox.receive())
      if (!inbox.isOfKernel) continue
      readReplies(what, inbox.datagram, replies, isWanted)
      if (replies.isDone || (flags & NLM_F_DUMP) === 0) return replies
      for (const message of replies.messages.slice(read)) weight += weigh(message)
      read = replies.messages.length
      if (weight > most) return replies
    }
  } finally {
    closeCall(fd)
  }
}

/** Any process with CAP_NET_ADMIN may send to a netlink socket: who has sent is looked at (netlink(7)). */
class Inbox {
  readonly #fd: number
  readonly #octets: Uint8Array
  /** struct sockaddr_nl: family:u16 pad:u16 port:u32 groups:u32 */
  readonly #sender = Buffer.alloc(12)
  readonly #senderLength = Buffer.alloc(4)
  datagram: Uint8Array = new Uint8Array()

  constructor(fd: number, octets: Uint8Array) {
    this.#fd = fd
    this.#octets = octets
  }

  /** The length of the next datagram; negative when there is none. */
  receive(): number {
    this.#senderLength.writeUInt32LE(this.#sender.length)
    const length = Number(
      recvfromCall(this.#fd, this.#octets, this.#octets.length, 0, this.#sender, this.#senderLength),
    )
    this.datagram = this.#octets.subarray(0, Math.max(0, length))
    return length
  }

  get isOfKernel(): boolean {
    return this.#sender.readUInt32LE(4) === 0
  }
}

/**
 * Copies the bodies of one datagram out. Throws ERR_SYSCALL with the errno of an NLMSG_ERROR, or of the NLMSG_DONE of a
 * list that broke off.
 */
export function readReplies(
  what: string,
  data: Uint8Array,
  replies: Replies,
  isWanted: (view: DataView, from: number, to: number) => boolean = () => true,
): void {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  for (let at = 0; at + headerBytes <= data.length && !replies.isDone; ) {
    const length = view.getUint32(at, true)
    const type = view.getUint16(at + 4, true)
    if ((view.getUint16(at + 6, true) & NLM_F_DUMP_INTR) !== 0) replies.isTorn = true
    if (length < headerBytes || length > data.length - at) {
      ;[replies.isDone, replies.isTorn] = [true, true]
      return
    }
    if (type === NLMSG_ERROR) {
      if (errorOf(view, at + headerBytes) !== 0) throw syscallError(what, errnoName(errorOf(view, at + headerBytes)))
      replies.isDone = true
      return
    }
    if (type === NLMSG_DONE) {
      if (length >= headerBytes + 4 && view.getInt32(at + headerBytes, true) < 0)
        throw syscallError(what, errnoName(errorOf(view, at + headerBytes)))
      replies.isDone = true
      return
    }
    if (type === NLMSG_OVERRUN) replies.isTorn = true
    else if (type !== NLMSG_NOOP && isWanted(view, at + headerBytes, at + length))
      replies.messages.push({ type, body: data.slice(at + headerBytes, at + length) })
    at += (length + 3) & ~3
  }
}

/** struct nlmsgerr begins with -errno; 0 is an acknowledgement. One that is cut off is no errno that anybody knows. */
function errorOf(view: DataView, at: number): number {
  return at + 4 <= view.byteLength ? -view.getInt32(at, true) : -1
}

/** Attributes by type, from an offset on; of a type that repeats, the last. A length that cannot be ends them. */
export function attributes(body: Uint8Array, from: number): Map<number, Uint8Array> {
  return new Map(eachAttribute(body, from))
}

/** Attributes in their order, as above. */
export function* eachAttribute(body: Uint8Array, from: number): Generator<readonly [number, Uint8Array]> {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength)
  for (let at = from; at + 4 <= body.length; ) {
    const length = view.getUint16(at, true)
    if (length < 4 || length > body.length - at) return
    yield [view.getUint16(at + 2, true) & 0x3fff, body.subarray(at + 4, at + length)]
    at += (length + 3) & ~3
  }
}

/** Datagrams taken in one turn of the loop: a flood waits in the socket's buffer, which the kernel bounds. */
const maxPerTurn = 32
/** The largest datagram of events: the kernel makes them of pages. */
const maxEventBytes = 1 << 16

export interface NetlinkEvents {
  /** What the kernel tells about, in its order. */
  events(messages: readonly NetlinkMessage[]): void
  /** Events were lost (ENOBUFS, EMSGSIZE), or the socket failed: everything may have changed. */
  lost(errno: Errno): void
}

/**
 * Subscribes to groups of events (RTMGRP_*) on the event loop of this thread; nothing blocks and the process may end
 * meanwhile. The answer ends it. Throws ERR_SYSCALL.
 */
export function subscribe(groups: number, listener: NetlinkEvents): () => void {
  const fd = openSocket('netlink events', AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK)
  preparedSocket(fd, () => {
    const address = Buffer.alloc(12)
    address.writeUInt16LE(AF_NETLINK, 0)
    address.writeUInt32LE(groups, 8)
    bindSocket('subscribe to netlink events', fd, address)
  })
  const inbox = new Inbox(fd, new Uint8Array(maxEventBytes))
  const options = { readable: true }
  const read = (): void => {
    // After an error (events were lost) libuv has stopped to look at the socket.
    if (!readEvents(inbox, listener)) poll.start(options, read)
  }
  const poll = koffi.node.poll(fd, options, read)
  poll.unref()
  return () => {
    poll.close()
    closeCall(fd)
  }
}

/** False after an error of the socket. News that are longer than their memory are lost like those that never came. */
function readEvents(inbox: Inbox, listener: NetlinkEvents): boolean {
  const replies: Replies = { messages: [], isDone: false, isTorn: false }
  let lost: Errno | undefined
  for (let taken = 0; taken < maxPerTurn; taken++) {
    const length = inbox.receive()
    if (length <= 0) {
      const errno = lastErrno()
      if (length < 0 && errno !== 'EAGAIN' && errno !== 'EINTR') lost = errno
      break
    }
    if (!inbox.isOfKernel) continue
    replies.isDone = false
    readReplies('netlink event', inbox.datagram, replies)
  }
  if (replies.messages.length > 0) listener.events(replies.messages)
  if (lost !== undefined || replies.isTorn) listener.lost(lost ?? 'EMSGSIZE')
  return lost === undefined
}
