/** A thread that writes the entries of a pinned map as they are, again and again, until it is told to stop. */
import { parentPort, workerData } from 'node:worker_threads'
import { HeraldError } from '../../src/errors.ts'
import { BpfMap, closeFd, openPinned } from '../../src/sys/bpf.ts'

/** `stop`: not 0 when it is to stop. */
export interface Rewriting {
  readonly path: string
  readonly stop: SharedArrayBuffer
}

const { path, stop } = workerData as Rewriting
const fd = openPinned(path)
if (fd === undefined) throw new HeraldError('ERR_BPFFS', `nothing is pinned at ${path}`)
const map = new BpfMap('rewritten', fd)
const entries = [...map.entries()]
const isOver = new Int32Array(stop)
parentPort?.postMessage('begun')
let written = 0
while (Atomics.load(isOver, 0) === 0)
  for (const [key, value] of entries) {
    map.update(key, value)
    written++
  }
closeFd(fd)
parentPort?.postMessage(written)
