/**
 * The kernel's side: map writes for 10 000 Services, and what the program costs a packet beside an empty one.
 *
 * Packets are measured by BPF_PROG_TEST_RUN, one run a call: repeating would feed the program its own output. The kernel
 * times each run; the empty program's time holds what the measuring itself costs.
 */
import { mkdtempSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { buildBpf } from '../scripts/build-bpf.ts'
import { openKernelDatapath, type KernelDatapath } from '../src/datapath/kernel.ts'
import { unloadDatapath } from '../src/datapath/unload.ts'
import { frontendId, type Frontend } from '../src/desired/model.ts'
import { BpfObject, runProgram } from '../src/sys/bpf.ts'
import { mountBpffs, unmountBpffs } from '../src/sys/mount.ts'
import { tcpFrame, tcpFlag } from '../test/datapath/frames.ts'
import { median, ms, nowMs, printTable, quantile, type Row } from './report.ts'

const services = 10_000
const flowCounts = [1, 1_024, 65_536] as const
const samples = 100_000

export async function benchKernel(): Promise<void> {
  const bpffs = mkdtempSync(join(tmpdir(), 'bn-bpf-'))
  mountBpffs(bpffs)
  const objectFile = buildBpf()
  const datapath = openKernelDatapath({ bpffs, objectFile, attach: 'auto' })
  try {
    printTable(`Map writes, ${services} Services x 2 backends`, mapRows(datapath))
    printTable('One packet of an established flow (BPF_PROG_TEST_RUN)', packetRows(datapath, join(dirname(objectFile), 'empty.bpf.o')))
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
  return { id: frontendId(address, 'TCP', 80), service: `default/svc-${n}`, address, protocol: 'TCP', port: 80, backends }
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

function packetRows(datapath: KernelDatapath, emptyObject: string): Row[] {
  const object = new BpfObject(emptyObject)
  object.load()
  try {
    const empty = object.programFd('empty')
    const rows: Row[] = []
    for (const flows of flowCounts) {
      const frames = Array.from({ length: flows }, (_, i) => segment(i, tcpFlag.ACK))
      for (let i = 0; i < flows; i++) runProgram(datapath.programs.ingress, segment(i, tcpFlag.SYN))
      const ours: number[] = []
      const least: number[] = []
      for (let i = 0; i < samples; i++) {
        const frame = frames[(i * 7_919) % flows] ?? frames[0]
        if (frame === undefined) continue
        ours.push(runProgram(datapath.programs.ingress, frame).durationNs)
        least.push(runProgram(empty, frame).durationNs)
      }
      const own = quantile(ours, 0.5) - quantile(least, 0.5)
      rows.push({ what: `${flows} flows: program - empty program, p50`, value: `${own} ns (${quantile(ours, 0.5)} - ${quantile(least, 0.5)})` })
    }
    return rows
  } finally {
    object.close()
  }
}

function segment(flow: number, flags: number): Uint8Array {
  return tcpFrame({ source: `198.18.${(flow >> 8) & 255}.${flow & 255}`, destination: '10.128.0.7', sourcePort: 40_000 + (flow >> 16), destinationPort: 80, flags })
}
