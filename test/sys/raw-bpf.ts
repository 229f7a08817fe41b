/** bpf(2) itself, for maps and programs that no object of the program has. */
import { closeSync } from 'node:fs'
import koffi from 'koffi'

const syscall = koffi.load('libc.so.6').func('long syscall(long number, int command, void *attributes, uint32_t size)')
/** bpf(2) of amd64 and of arm64. */
const bpfCall = process.arch === 'arm64' ? 280 : 321
const [mapCreate, programLoad, mapFreeze, linkCreate] = [0, 5, 22, 28]
/** The kernel has no batches of devices by hash: it answers ENOTSUPP. */
export const mapTypes = { hash: 1, array: 2, trie: 11, devices: 25, ring: 27 } as const
/** BPF_PROG_TYPE_SCHED_CLS */
const classifier = 3

/** BPF_MAP_CREATE; negative where it may not be made. */
export function createMap(
  type: keyof typeof mapTypes,
  valueSize: number,
  maxEntries: number,
  flags = 0,
  keySize = 4,
): number {
  const words = Uint32Array.of(mapTypes[type], keySize, valueSize, maxEntries, flags, 0, 0, 0)
  const attributes = new Uint8Array(words.buffer)
  return Number(syscall(bpfCall, mapCreate, attributes, attributes.length))
}

/** BPF_MAP_FREEZE: from here on nobody but programs writes; negative where somebody has it mapped to write. */
export function freezeMap(fd: number): number {
  const attributes = Uint8Array.from({ length: 4 }, (_, octet) => fd >> (8 * octet))
  return Number(syscall(bpfCall, mapFreeze, attributes, attributes.length))
}

/** struct bpf_insn: the code, destination and source, offset, and a constant. */
export type Instruction = readonly [code: number, destination: number, source: number, offset: number, k: number]

/** BPF_PROG_LOAD of a TC program; negative where the verifier takes it for none. */
export function loadProgram(instructions: readonly Instruction[], type = classifier, attachType = 0): number {
  const code = Buffer.alloc(8 * instructions.length)
  for (const [i, [operation, destination, source, offset, k]] of instructions.entries()) {
    code.set([operation, destination | (source << 4)], 8 * i)
    code.writeInt16LE(offset, 8 * i + 2)
    code.writeInt32LE(k, 8 * i + 4)
  }
  const license = Buffer.from('GPL\0')
  const attributes = Buffer.alloc(72)
  attributes.writeUInt32LE(type, 0)
  attributes.writeUInt32LE(instructions.length, 4)
  attributes.writeBigUInt64LE(koffi.address(code), 8)
  attributes.writeBigUInt64LE(koffi.address(license), 16)
  attributes.writeUInt32LE(attachType, 68)
  return Number(syscall(bpfCall, programLoad, attributes, attributes.length))
}

/** BPF_PROG_TYPE_NETFILTER, BPF_NETFILTER */
const [netfilterProgram, netfilterAttach] = [32, 45]
/** That no table has. */
const ownPriority = 7

/**
 * A program that drops what netfilter asks it about, at a hook (NF_INET_*) of this network until the answer is closed;
 * negative where the kernel has no such programs (before Linux 6.4).
 */
export function dropAtHook(family: number, hook: number): number {
  const program = loadProgram(
    [
      [0xb7, 0, 0, 0, 0],
      [0x95, 0, 0, 0, 0],
    ],
    netfilterProgram,
    netfilterAttach,
  )
  if (program < 0) return program
  const attributes = new Uint8Array(Uint32Array.of(program, 0, netfilterAttach, 0, family, hook, ownPriority, 0).buffer)
  const link = Number(syscall(bpfCall, linkCreate, attributes, attributes.length))
  closeSync(program)
  return link
}

/** Why nothing of this can be had here, for a test that needs it. */
export function whyNoBpf(): string | false {
  const probe = createMap('hash', 4, 1)
  if (probe < 0) return 'needs CAP_BPF'
  closeSync(probe)
  return false
}
