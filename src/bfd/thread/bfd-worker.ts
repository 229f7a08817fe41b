/**
 * Entry of the thread that watches paths by BFD (RFC 5880). It has no event loop of its own making: it waits for
 * packets, for the next timer or for a word of its owner, whatever comes first, so that an interval of 10 ms holds
 * whatever the other threads do. What it does in one turn is bounded.
 *
 *     poll --> packets --> BfdSessions --> timers --> reports to the owner
 */
import { randomInt } from 'node:crypto'
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { HeraldError } from '../../errors.ts'
import { waitReadable } from '../../sys/datagram-socket.ts'
import { clearEventFd } from '../../sys/event-fd.ts'
import { BfdCounters } from '../counters.ts'
import type { FromWatcher, ToWatcher } from '../path.ts'
import { BfdSessions } from '../sessions.ts'
import { BfdNetwork } from './network.ts'

/** What the owner gives as workerData. */
export interface BfdWorkerData {
  /** Readable when there is a message. */
  readonly wakeFd: number
  readonly counters: SharedArrayBuffer
}

if (parentPort === null) throw new HeraldError('ERR_USAGE', 'paths are watched in a worker thread only')
const port = parentPort
const { wakeFd, counters: buffer }: BfdWorkerData = workerData

/** A process that ends waits for this thread no longer. */
const maxWaitMs = 200
/** Of 32 datagrams, each socket in a turn: what a flood leaves over waits in the kernel's bounded queue. */
const maxBatches = 32
const countEveryMs = 1_000

const counters = new BfdCounters(buffer)
const network = new BfdNetwork()
const sessions = new BfdSessions(
  {
    random: () => randomInt(2 ** 32) / 2 ** 32,
    open: (path) => network.openLink(path),
    problem: (path) => network.problem(path),
    tell: (message) => port.postMessage(message satisfies FromWatcher),
  },
  counters,
)

/** False: the thread is to end. */
function handle(message: ToWatcher, nowMs: number): boolean {
  switch (message.type) {
    case 'watch':
      network.need(message.path, nowMs)
      sessions.watch(message.id, message.path, message.settings, nowMs)
      return true
    case 'configure':
      sessions.configure(message.id, message.settings, nowMs)
      return true
    case 'close':
      sessions.close(message.id, nowMs)
      return true
    case 'stop':
      sessions.stop(nowMs)
      return false
  }
}

function takeMessages(): boolean {
  clearEventFd(wakeFd)
  for (;;) {
    const received: { readonly message: ToWatcher } | undefined = receiveMessageOnPort(port)
    if (received === undefined) return true
    if (!handle(received.message, performance.now())) return false
  }
}

function run(): void {
  let [countedMs, generation] = [0, 0]
  while (takeMessages()) {
    if (generation !== sessions.generation) network.admit(sessions.admission)
    generation = sessions.generation
    const leftMs = Math.ceil(Math.min(sessions.dueMs, network.dueMs) - performance.now())
    waitReadable([wakeFd, ...network.fds], Math.min(leftMs, maxWaitMs))
    const nowMs = performance.now()
    // What had come by now is heard before anybody is called silent.
    network.read(maxBatches, (datagram) => sessions.receive(datagram, nowMs))
    sessions.expire(nowMs)
    if (network.retry(nowMs)) sessions.retell()
    if (nowMs - countedMs < countEveryMs) continue
    countedMs = nowMs
    counters.setKernelDrops(network.droppedByKernel)
  }
  port.close()
}

run()
