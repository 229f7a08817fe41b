/**
 * Programs and maps of schema 2, the last one for IPv4 alone, as its agent left them on a node. Their sources lie in
 * former/schema-2.tar.gz as they were; what the maps hold is written here octet by octet.
 */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { directions, Pins, programNames } from '../../src/datapath/pins.ts'
import { maglevTable } from '../../src/datapath/maglev.ts'
import type { Frontend } from '../../src/desired/model.ts'
import { BpfObject, closeFd, pin } from '../../src/sys/bpf.ts'
import { createTcxLink } from '../../src/sys/bpf-attach.ts'
import { ifnameToIndex } from '../../src/sys/links.ts'
import { ipOctets } from './frames.ts'

export interface FormerOptions {
  readonly bpffs: string
  /** What {@link buildFormer} answered. */
  readonly objectFile: string
  readonly device: string
  /** Of IPv4 and TCP, with several backends. */
  readonly frontend: Frontend
}

export const formerSchema = 2
const maps = {
  ...{ addresses: 512, frontends: 64, backends: 256, tables: 4_096, sources: 512, counters: 64 },
  ...{ openings: 4_096, connections: 16_384, datagrams: 1_024, fragments: 128 },
  // As many as there were reasons and limits.
  ...{ drops: undefined, limits: undefined },
} as const
const tcp = 6
const tableSlots = 251

/** Compiles the sources into a folder; answers the object. */
export function buildFormer(folder: string): string {
  const archive = fileURLToPath(new URL(`former/schema-${formerSchema}.tar.gz`, import.meta.url))
  execFileSync('tar', ['-xzf', archive, '-C', folder])
  const output = join(folder, 'former.bpf.o')
  const machine = process.arch === 'arm64' ? 'aarch64' : 'x86_64'
  const flags = ['-target', 'bpf', '-mcpu=v3', '-O2', '-g', '-idirafter', `/usr/include/${machine}-linux-gnu`]
  execFileSync('clang', [...flags, '-c', join(folder, 'herald.bpf.c'), '-o', output], { stdio: 'pipe' })
  return output
}

/** Loads, writes, attaches and pins everything, and lets go of it. */
export function leaveFormer({ bpffs, objectFile, device, frontend }: FormerOptions): void {
  const pins = new Pins(bpffs, formerSchema)
  pins.makeFolders()
  const object = new BpfObject(objectFile)
  for (const [name, entries] of Object.entries(maps)) {
    if (entries !== undefined) object.setMaxEntries(name, entries)
    object.setPinPath(name, join(pins.mapsFolder, name))
  }
  object.load()
  serve(object, frontend)
  const ifindex = ifnameToIndex(device)
  for (const direction of directions) {
    const program = object.programFd(programNames[direction])
    pins.replaceProgram(direction, program)
    const link = createTcxLink(program, ifindex, direction)
    pin(link, pins.link(ifindex, direction))
    closeFd(link)
  }
  object.close()
}

const word = (value: number): readonly number[] => [
  value & 255,
  (value >>> 8) & 255,
  (value >>> 16) & 255,
  value >>> 24,
]
const port = (value: number): readonly number[] => [value >>> 8, value & 255]
const zeros = (count: number): readonly number[] => new Array<number>(count).fill(0)
const placeOf = (address: string, number: number): readonly number[] => [...ipOctets(address), ...port(number), tcp, 0]

function serve(object: BpfObject, { address: vip, port: vipPort, backends }: Frontend): void {
  const memory = (name: string, at: number, octets: readonly number[]): void => {
    const { buffer, unmap } = object.openMap(name).mapMemory()
    new Uint8Array(buffer).set(octets, at)
    unmap()
  }
  const put = (name: string, key: readonly number[], value: readonly number[]): void =>
    object.openMap(name).update(Uint8Array.from(key), Uint8Array.from(value))
  for (const [id, { address, port: podPort }] of backends.entries()) {
    const ref = [...word(id), ...word(1)]
    memory('backends', id * 24, [...placeOf(address, podPort), ...word(1), ...zeros(12)])
    const vips = [...ipOctets(vip), ...port(vipPort), ...zeros(2 + 3 * 8)]
    put('sources', placeOf(address, podPort), [...vips, ...word(1), ...ref, ...zeros(12)])
    put('addresses', ipOctets(address), [...word(0), ...word(1)])
  }
  const order = maglevTable(
    backends.map(({ address, port: podPort }) => `${address}:${podPort}/TCP`),
    tableSlots,
  )
  memory(
    'tables',
    0,
    [...order].flatMap((id) => [...word(id), ...word(1)]),
  )
  const [only, table, none] = [zeros(8), [...word(0), ...word(tableSlots)], zeros(8)]
  const value = [...word(0), ...word(backends.length), ...only, ...table, ...none, ...zeros(8), ...none]
  put('frontends', placeOf(vip, vipPort), value)
  put('addresses', ipOctets(vip), [...word(1), ...word(0)])
}
