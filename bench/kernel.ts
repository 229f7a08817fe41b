/**
 * The kernel's side: map writes for 10 000 Services, and what the program costs a packet beside an empty one.
 *
 * Packets are measured by BPF_PROG_TEST_RUN in long repetitions. A driver program writes the next flow's headers over
 * what the last run left and calls ours; what remains when it calls an empty program instead is subtracted. The least
 * that a stateful one can do (bench/bpf/floor.bpf.c) is measured in the same run.
 */
import { mkdtempSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { buildBpf } from '../scripts/build-bpf.ts'
import { openKernelDatapath, type KernelDatapath } from '../src/datapath/kernel.ts'
import { unloadDatapath } from '../src/datapath/unload.ts'
import { frontendId, type Frontend } from '../src/desired/model.ts'
import { HeraldError } from '../src/errors.ts'
import { schema } from '../src/datapath/layout.ts'
import { BpfMap, BpfObject, closeFd, openPinned, programInfo, runProgram } from '../src/sys/bpf.ts'
import { mountBpffs, unmountBpffs } from '../src/sys/mount.ts'
import { tcpFrame, tcpFlag } from '../test/datapath/frames.ts'
import { median, ms, nowMs, printTable, type Row } from './report.ts'

const services = 10_000
const flowCounts = [1, 1_024, 65_536] as const
const rounds = 9
const packetsPerRound = 500_000

export async function benchKernel(): Promise<void> {
  const bpffs = mkdtempSync(join(tmpdir(), 'bn-bpf-'))
  mountBpffs(bpffs)
  const objectFile = buildBpf()
  const datapath = openKernelDatapath({ bpffs, objectFile, attach: 'auto', openingsPerSec: 0 })
  try {
    printTable('Programs', programRows(datapath))
    printTable(`Map writes, ${services} Services x 2 backends`, mapRows(datapath))
    printTable(
      'One packet of an established flow (BPF_PROG_TEST_RUN); the least is that of IPv4',
      packetRows(datapath, dirname(objectFile), bpffs),
    )
  } finally {
    datapath.close()
    unloadDatapath(bpffs)
    unmountBpffs(bpffs)
    rmdirSync(bpffs)
  }
}

function frontend(n: number): Frontend {
  const address = `10.${128 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`
  const backends = [1, 2].map((i) => ({ address: `10.1.${(n >> 6) & 255}.${((n & 63) << 1) + i}`, port: 8080 }))
  return {
    id: frontendId(address, 'TCP', 80),
    service: `default/svc-${n}`,
    address,
    protocol: 'TCP',
    port: 80,
    backends,
  }
}

/** What packets are measured with, by family; an octet of the destination tells whether the packet was translated. */
const families = {
  IPv4: { vip: '10.128.0.7', client: '198.18.0.0', pod: (i: number) => `10.1.0.${i}`, mark: { at: 31, of: 1 } },
  IPv6: {
    vip: '2001:db8:128::7',
    client: '2001:db8:51::',
    pod: (i: number) => `fd00:1::${i}`,
    mark: { at: 38, of: 0xfd },
  },
} as const
type FamilyName = keyof typeof families

function serveIpv6(datapath: KernelDatapath): void {
  const { vip: address, pod } = families.IPv6
  const backends = [1, 2].map((i) => ({ address: pod(i), port: 8080 }))
  const id = frontendId(address, 'TCP', 80)
  datapath.upsert({ id, service: 'default/svc', address, protocol: 'TCP', port: 80, backends })
}

function programRows({ programs: { ingress, egress }, podProgram }: KernelDatapath): Row[] {
  return [ingress, egress, podProgram].map((fd) => {
    const { name, verifiedInstructions } = programInfo(fd)
    const isMet = verifiedInstructions < 60_000
    return { what: `${name}, instructions verified`, value: `${verifiedInstructions}`, goal: '< 60000', isMet }
  })
}

/** As the agent writes them. */
const inARow = 32
/** Of Services of which each had its backends since the start. */
const changes = 100

function mapRows(datapath: KernelDatapath): Row[] {
  const each: number[] = []
  const started = nowMs()
  for (let first = 0; first < services; first += inARow) {
    const at = nowMs()
    const row = Array.from({ length: Math.min(inARow, services - first) }, (_, n) => frontend(first + n))
    for (const result of datapath.upsertAll(row)) if ('error' in result) throw result.error
    each.push(nowMs() - at)
  }
  const all = nowMs() - started
  const changed = Array.from({ length: changes }, (_, n) => {
    const at = nowMs()
    datapath.upsert({ ...frontend(n), backends: frontend(n + changes).backends })
    return nowMs() - at
  })
  const change = median(changed)
  return [
    { what: 'all, Maglev tables included', value: ms(all), goal: '<= 1000 ms', isMet: all <= 1_000 },
    { what: `a row of ${inARow}, p50`, value: ms(median(each)) },
    { what: 'a row, longest', value: ms(Math.max(...each)), goal: '<= 20 ms', isMet: Math.max(...each) <= 20 },
    {
      what: 'backends of one Service changed, all present, p50 / the first',
      value: `${ms(change)} / ${ms(changed[0] ?? Number.NaN)}`,
      goal: '<= 1 ms',
      isMet: change <= 1,
    },
  ]
}

function packetRows(datapath: KernelDatapath, objectFolder: string, bpffs: string): Row[] {
  const empty = new BpfObject(join(objectFolder, 'empty.bpf.o'))
  const driver = new BpfObject(join(objectFolder, 'driver.bpf.o'))
  const floor = new BpfObject(join(objectFolder, 'floor.bpf.o'))
  empty.load()
  driver.load()
  floor.load()
  try {
    const run = (program: number, flows: number, flags: number, repeat: number, family: FamilyName): number => {
      const { mark } = families[family]
      const headers = segment(flags, family)
      const job = new Uint8Array(jobBytes)
      job.set([...word(flows - 1), ...word(0), ...word(family === 'IPv6' ? 1 : 0), ...headers])
      driver.openMap('target').update(word(0), word(program))
      driver.openMap('jobs').update(word(0), job)
      const { packet, durationNs } = runProgram(driver.programFd('driver'), headers, repeat)
      // The last packet shows whether the work was done: its destination is a backend, or was left alone.
      if ((packet[mark.at] === mark.of) !== (program !== empty.programFd('empty')))
        throw new HeraldError('ERR_READ_BACK', 'the measured program did not translate')
      return durationNs
    }
    serveIpv6(datapath)
    const subjects = [
      { program: datapath.programs.ingress, family: 'IPv4' },
      { program: datapath.programs.ingress, family: 'IPv6' },
      { program: floor.programFd('least'), family: 'IPv4' },
    ] as const
    return flowCounts.flatMap((flows) => {
      for (const { program, family } of subjects) run(program, flows, tcpFlag.SYN, flows, family)
      establish(bpffs)
      const each = Array.from({ length: rounds }, () =>
        subjects.map(({ program, family }) => {
          const nothing = run(empty.programFd('empty'), flows, tcpFlag.ACK, packetsPerRound, family)
          return run(program, flows, tcpFlag.ACK, packetsPerRound, family) - nothing
        }),
      )
      const [ipv4 = 0, ipv6 = 0, least = 0] = subjects.map((_, i) => median(each.map((round) => round[i] ?? 0)))
      return [
        {
          what: `${flows} flows of IPv4 (the least: ${least} ns)`,
          value: `${ipv4} ns`,
          goal: '<= 2x the least',
          isMet: ipv4 <= 2 * least,
        },
        { what: `${flows} flows of IPv6`, value: `${ipv6} ns` },
      ]
    })
  } finally {
    driver.close()
    floor.close()
    empty.close()
  }
}

/** What the answers of the pods do: flows are known of by both ends. */
function establish(bpffs: string): void {
  const [openings, connections] = ['openings', 'connections'].map((name) => {
    const fd = openPinned(join(bpffs, 'herald', `v${schema}`, 'maps', name))
    if (fd === undefined) throw new HeraldError('ERR_BPFFS', `${name} is not pinned`)
    return new BpfMap(name, fd)
  })
  for (const [key, value] of [...(openings?.entries() ?? [])]) {
    connections?.update(key, value)
    openings?.delete(key)
  }
  for (const map of [openings, connections]) if (map !== undefined) closeFd(map.fd)
}

const word = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer)

/** `struct job` of bench/bpf/driver.bpf.c. */
const jobBytes = 88

function segment(flags: number, family: FamilyName): Uint8Array {
  const { client: source, vip: destination } = families[family]
  return tcpFrame({ source, destination, sourcePort: 40_000, destinationPort: 80, flags })
}
