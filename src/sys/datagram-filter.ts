/**
 * What the kernel drops of the datagrams of a socket before they take room in its queue and wake anybody: a program of
 * classic BPF (linux/filter.h), which is all that a socket takes without privilege.
 *
 *     TTL as it has to be? --> a source that is known, or a word that is? --> all of it, else nothing
 */
import koffi from 'koffi'
import { type Address, addressBytes } from '../ip/address.ts'
import { setOption, SOL_SOCKET } from './socket.ts'

const SO_ATTACH_FILTER = 26

export interface DatagramFilter {
  /** What has another TTL is dropped. */
  readonly onlyTtl?: number
  /** What comes from somebody else is dropped, unless it has one of the words at that octet of its payload. */
  readonly only?: {
    readonly sources: readonly Address[]
    readonly wordAt: number
    readonly words: readonly number[]
  }
}

/** In place of the one before, of a UDP socket of one family. Throws ERR_SYSCALL, also where it is too long. */
export function filterDatagrams(
  { fd, isIpv4 }: { readonly fd: number; readonly isIpv4: boolean },
  filter: DatagramFilter,
): void {
  const rows = rowsOf(isIpv4, filter)
  const instructions = Buffer.alloc(8 * rows.length)
  for (const [i, { code, onTrue = 0, onFalse = 0, k }] of rows.entries()) {
    instructions.writeUInt16LE(code, 8 * i)
    instructions[8 * i + 2] = onTrue
    instructions[8 * i + 3] = onFalse
    instructions.writeUInt32LE(k, 8 * i + 4)
  }
  const program = Buffer.alloc(16)
  program.writeUInt16LE(Math.min(rows.length, 0xffff), 0)
  program.writeBigUInt64LE(koffi.address(instructions), 8)
  setOption('SO_ATTACH_FILTER', fd, SOL_SOCKET, SO_ATTACH_FILTER, program)
}

interface Row {
  readonly code: number
  /** So many rows are passed over. */
  readonly onTrue?: number
  readonly onFalse?: number
  readonly k: number
}

// BPF_LD | BPF_W or BPF_B | BPF_ABS, BPF_JMP | BPF_JEQ | BPF_K, BPF_RET | BPF_K
const load32 = (k: number): Row => ({ code: 0x20, k })
const load8 = (k: number): Row => ({ code: 0x30, k })
const skipUnless = (k: number, rows: number): Row => ({ code: 0x15, onFalse: rows, k })
const skipIf = (k: number, rows: number): Row => ({ code: 0x15, onTrue: rows, k })
const takeAll: Row = { code: 0x06, k: 0xffffffff }
const drop: Row = { code: 0x06, k: 0 }
/** SKF_NET_OFF; other offsets are from the UDP header on. */
const network = 0xfff00000
const udpHeaderBytes = 8

function rowsOf(isIpv4: boolean, { onlyTtl, only }: DatagramFilter): readonly Row[] {
  const ttl = onlyTtl === undefined ? [] : [load8(network + (isIpv4 ? 8 : 7)), skipIf(onlyTtl, 1), drop]
  if (only === undefined) return [...ttl, takeAll]
  const sources = only.sources.filter((source) => isIpv4 === (typeof source === 'number')).map(addressBytes)
  const known = isIpv4
    ? [load32(network + 12), ...sources.flatMap((octets) => takeIf(wordsOf(octets)[0] ?? 0))]
    : sources.flatMap((octets) => takeIfSource6(wordsOf(octets)))
  const words = only.words.flatMap(takeIf)
  // Loading from where a datagram has no octets any more drops it: the word is asked for last.
  return [...ttl, ...known, load32(udpHeaderBytes + only.wordAt), ...words, drop]
}

const takeIf = (word: number): readonly Row[] => [skipUnless(word, 1), takeAll]

function wordsOf(octets: Uint8Array): readonly number[] {
  const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength)
  return Array.from({ length: octets.length / 4 }, (_, i) => view.getUint32(4 * i))
}

/** Word by word: where one is another the rest is passed over. */
const takeIfSource6 = (words: readonly number[]): readonly Row[] => [
  ...words.flatMap((word, i) => [load32(network + 8 + 4 * i), skipUnless(word, 2 * (words.length - 1 - i) + 1)]),
  takeAll,
]
