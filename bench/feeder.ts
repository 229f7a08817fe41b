/**
 * A router that has the whole table ready before it dials, in a thread of its own: once Established it writes prebuilt
 * octets as fast as the socket takes them. A second, quiet session with a hold time of 3 s watches how late the
 * KEEPALIVEs of the receiver are meanwhile.
 */
import net from 'node:net'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { nowMs } from './report.ts'

export interface FeedSettings {
  readonly receiver: string
  readonly asn: number
  readonly prefixes: number
  /** `full` by default; `hosts`: /32s with equal attributes. */
  readonly kind?: 'full' | 'hosts'
  /** How often the table is sent in a row; once by default. */
  readonly times?: number
}

export interface Feed {
  /** ms of nowMs() at which the session was Established. */
  readonly establishedAt: number
  /** When the last octet had been handed to the kernel; rejects when that takes more than a minute. */
  written(): Promise<number>
  /**
   * Longest time without a KEEPALIVE on the quiet session, ms, the one that lasts included; Infinity when it was lost.
   */
  longestGapMs(): Promise<number>
  stop(): Promise<void>
}

const perUpdate = 5
const header = Buffer.alloc(16, 0xff)

function message(type: number, body: Buffer): Buffer {
  const head = Buffer.alloc(3)
  head.writeUInt16BE(19 + body.length)
  head[2] = type
  return Buffer.concat([header, head, body])
}

const keepalive = message(4, Buffer.alloc(0))

function openMessage(asn: number, holdTimeSec: number, id: readonly number[]): Buffer {
  const as = Buffer.alloc(4)
  as.writeUInt32BE(asn)
  const capabilities = [1, 4, 0, 1, 0, 1, 65, 4, ...as]
  return message(
    1,
    Buffer.from([
      4,
      as[2] ?? 0,
      as[3] ?? 0,
      0,
      holdTimeSec,
      ...id,
      capabilities.length + 2,
      2,
      capabilities.length,
      ...capabilities,
    ]),
  )
}

/** `prefixes` /24s from 1.0.0.0 on, five to an attribute set: paths of 3 to 6 ASes and two communities. */
export function buildTable({ asn, prefixes }: FeedSettings): Buffer {
  let seed = 1
  const next = (): number => (seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fffffff)
  const updates: Buffer[] = []
  for (let first = 0; first < prefixes; first += perUpdate) {
    const asns = [asn, ...Array.from({ length: 2 + ((first / perUpdate) % 4) }, () => 1 + (next() % 60_000))]
    const path = Buffer.alloc(2 + 4 * asns.length)
    path.writeUInt16BE(0x0200 + asns.length)
    asns.forEach((one, i) => path.writeUInt32BE(one, 2 + 4 * i))
    const communities = Buffer.alloc(8)
    communities.writeUInt32BE((65_000 * 65_536 + (first % 60_000)) >>> 0)
    communities.writeUInt32BE((65_001 * 65_536 + (first >> 8)) >>> 0, 4)
    const attributes = Buffer.concat([
      Buffer.from([0x40, 1, 1, 0, 0x40, 2, path.length]),
      path,
      Buffer.from([0x40, 3, 4, 10, 98, 0, 2, 0xc0, 8, 8]),
      communities,
    ])
    const nlri = Buffer.concat(
      Array.from({ length: Math.min(perUpdate, prefixes - first) }, (_, i) =>
        Buffer.from([24, 1 + ((first + i) >> 16), ((first + i) >> 8) & 255, (first + i) & 255]),
      ),
    )
    const lengths = Buffer.alloc(4)
    lengths.writeUInt16BE(attributes.length, 2)
    updates.push(message(2, Buffer.concat([lengths, attributes, nlri])))
  }
  return Buffer.concat(updates)
}

/** `prefixes` host routes of 10.0.0.0/8 with equal attributes, 700 to an UPDATE. */
function buildHosts({ asn, prefixes }: FeedSettings): Buffer {
  const as = Buffer.alloc(4)
  as.writeUInt32BE(asn)
  const attributes = Buffer.concat([
    Buffer.from([0x40, 1, 1, 0, 0x40, 2, 6, 2, 1]),
    as,
    Buffer.from([0x40, 3, 4, 10, 98, 0, 2]),
  ])
  const lengths = Buffer.alloc(4)
  lengths.writeUInt16BE(attributes.length, 2)
  const updates: Buffer[] = []
  for (let first = 0; first < prefixes; first += 700) {
    const nlri = Buffer.concat(
      Array.from({ length: Math.min(700, prefixes - first) }, (_, i) =>
        Buffer.from([32, 10, ((first + i) >> 16) & 255, ((first + i) >> 8) & 255, (first + i) & 255]),
      ),
    )
    updates.push(message(2, Buffer.concat([lengths, attributes, nlri])))
  }
  return Buffer.concat(updates)
}

type Told =
  | { readonly what: 'established'; readonly at: number }
  | { readonly what: 'written'; readonly at: number }
  | { readonly what: 'gap'; readonly ms: number }

/** Resolves when the session is Established; rejects, and leaves nothing, when it does not come up in a minute. */
export async function startFeed(settings: FeedSettings, isWatched: boolean): Promise<Feed> {
  const worker = new Worker(new URL(import.meta.url), { workerData: { ...settings, isWatched } })
  const told = <W extends Told['what']>(what: W): Promise<Extract<Told, { what: W }>> =>
    new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`the feeder has said nothing of '${what}' for a minute`)), 60_000)
      worker.once('error', reject)
      worker.on('message', (message: Told) => {
        if (message.what !== what) return
        clearTimeout(late)
        resolve(message as Extract<Told, { what: W }>)
      })
    })
  const written = told('written')
  written.catch(() => {}) // asked for later, or not at all
  try {
    return {
      establishedAt: (await told('established')).at,
      written: async () => (await written).at,
      longestGapMs: async () => {
        const gap = told('gap')
        worker.postMessage('gap')
        return (await gap).ms
      },
      stop: async () => void (await worker.terminate()),
    }
  } catch (error) {
    await worker.terminate()
    throw error
  }
}

if (!isMainThread && parentPort !== null) {
  const port = parentPort
  const { isWatched, ...settings } = workerData as FeedSettings & { readonly isWatched: boolean }
  const { receiver, asn, kind, times = 1 } = settings
  const table = kind === 'hosts' ? buildHosts(settings) : buildTable(settings)
  const session = (
    localAddress: string,
    holdTimeSec: number,
    heard: (type: number, socket: net.Socket) => void,
    lost: () => void = () => {},
  ): void => {
    const socket = net.connect({ host: receiver, port: 179, localAddress, noDelay: true })
    let received: Buffer = Buffer.alloc(0)
    socket.on('connect', () => socket.write(openMessage(asn, holdTimeSec, localAddress.split('.').map(Number))))
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk])
      while (received.length >= 19 && received.length >= received.readUInt16BE(16)) {
        const length = received.readUInt16BE(16)
        heard(received.readUInt8(18), socket)
        received = received.subarray(length)
      }
    })
    // A daemon that is not ready to be dialled yet is dialled again.
    socket.on('error', () => socket.destroy())
    let isOver = false
    socket.on('close', () => {
      if (isOver) return
      isOver = true
      lost()
      setTimeout(() => session(localAddress, holdTimeSec, heard, lost), 200)
    })
  }
  let isFed = false
  session('10.98.0.2', 90, (type, socket) => {
    if (type === 1) socket.write(keepalive)
    if (type !== 4) return
    if (isFed) return void socket.write(keepalive)
    isFed = true
    port.postMessage({ what: 'established', at: nowMs() } satisfies Told)
    for (let sent = 1; sent < times; sent++) socket.write(table)
    socket.write(table, () => port.postMessage({ what: 'written', at: nowMs() } satisfies Told))
    setInterval(() => socket.write(keepalive), 10_000).unref()
  })
  if (isWatched) {
    let lastAt = 0
    let longest = 0
    let isLost = false
    const heard = (type: number, socket: net.Socket): void => {
      if (type === 1) {
        socket.write(keepalive)
        setInterval(() => socket.write(keepalive), 500).unref()
      } else if (type === 4) {
        const at = nowMs()
        if (lastAt !== 0) longest = Math.max(longest, at - lastAt)
        lastAt = at
      }
    }
    // Before the first KEEPALIVE it is dialled as often as the receiver needs to be ready.
    session('10.98.0.3', 3, heard, () => (isLost ||= lastAt !== 0))
    port.on('message', () => {
      const ms = isLost || lastAt === 0 ? Number.POSITIVE_INFINITY : Math.max(longest, nowMs() - lastAt)
      port.postMessage({ what: 'gap', ms } satisfies Told)
    })
  }
}
