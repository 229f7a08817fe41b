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
import { BpfMap, BpfObject, closeFd, openPinned, runProgram } from '../src/sys/bpf.ts'
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
  const datapath = openKernelDatapath({ bpffs, objectFile, attach: 'auto' })
  try {
    printTable(`Map writes, ${services} Services x 2 backends`, mapRows(datapath))
    printTable(
      'One packet of an established flow (BPF_PROG_TEST_RUN)',
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

function mapRows(datapath: KernelDatapath): Row[] {
  const each: number[] = []
  const started = nowMs()
  for (let n = 0; n < services; n++) {
    const at = nowMs()
    datapath.upsert(frontend(n))
    each.push(nowMs() - at)
  }
  const all = nowMs() - started
  const at = nowMs()
  datapath.upsert({ ...frontend(0), backends: frontend(1).backends })
  const change = nowMs() - at
  return [
    { what: 'all, Maglev tables included', value: ms(all), goal: '<= 1000 ms', isMet: all <= 1_000 },
    { what: 'one Service, p50', value: `${(median(each) * 1000).toFixed(0)} us` },
    { what: 'one Service, longest', value: ms(Math.max(...each)), goal: '<= 20 ms', isMet: Math.max(...each) <= 20 },
    { what: 'backends of one Service changed, all present', value: ms(change), goal: '<= 1 ms', isMet: change <= 1 },
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
    const run = (program: number, flows: number, flags: number, repeat: number): number => {
      driver.openMap('target').update(word(0), word(program))
      driver.openMap('jobs').update(word(0), Uint8Array.from([...word(flows - 1), ...word(0), ...segment(flags), 0, 0]))
      const { packet, durationNs } = runProgram(driver.programFd('driver'), segment(flags), repeat)
      // The last packet shows whether the work was done: its destination is a backend, or was left alone.
      if ((packet[31] === 1) !== (program !== empty.programFd('empty')))
        throw new HeraldError('ERR_READ_BACK', 'the measured program did not translate')
      return durationNs
    }
    return flowCounts.map((flows) => {
      for (const program of [datapath.programs.ingress, floor.programFd('least')])
        run(program, flows, tcpFlag.SYN, flows)
      establish(bpffs)
      const each = Array.from({ length: rounds }, () => {
        const nothing = run(empty.programFd('empty'), flows, tcpFlag.ACK, packetsPerRound)
        const [ours, least] = [datapath.programs.ingress, floor.programFd('least')].map(
          (program) => run(program, flows, tcpFlag.ACK, packetsPerRound) - nothing,
        )
        return { ours: ours ?? 0, least: least ?? 0 }
      })
      const [ours, least] = [median(each.map((round) => round.ours)), median(each.map((round) => round.least))]
      const isMet = ours <= 2 * least
      return { what: `${flows} flows (the least: ${least} ns)`, value: `${ours} ns`, goal: '<= 2x the least', isMet }
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

function segment(flags: number): Uint8Array {
  return tcpFrame({ source: '198.18.0.0', destination: '10.128.0.7', sourcePort: 40_000, destinationPort: 80, flags })
}
