/**
 * Entry of the thread that reads flow events: ring buffer, names, observers. It lives while somebody looks, and says to
 * the programs again and again that somebody does; what it does in one turn is bounded.
 *
 *     programs --ring--> EventNames --named--> Observers --chunks of lines--> main thread --> sockets
 *                          `--questions--> main thread
 */
import { join } from 'node:path'
import { parentPort, workerData } from 'node:worker_threads'
import { decodeEvent, decodeUntold, encodeObservation } from '../datapath/events.ts'
import { mapShapes, sizes } from '../datapath/layout.ts'
import { indexKey } from '../datapath/maps.ts'
import { HeraldError } from '../errors.ts'
import { BpfMap, closeFd, openPinned, possibleCpus } from '../sys/bpf.ts'
import { RingBuffer } from '../sys/ring-buffer.ts'
import { EventNames } from './event-names.ts'
import { Observers } from './observers.ts'
import type { FromReader, ReaderOptions, ToReader } from './protocol.ts'

if (parentPort === null) throw new HeraldError('ERR_USAGE', 'flow events are read in a worker thread only')
const port = parentPort
const { mapsFolder, nodeName }: ReaderOptions = workerData

/** Between two looks at the ring. */
const tickMs = 50
const maxEventsPerTick = 8_192
/** The programs tell nothing any more when nobody has said for so long that somebody looks. */
const observedNs = 3_000_000_000n
const renewMs = 1_000
/** Between two events of one kind on one CPU: 5000 a second, in bursts of 256. */
const intervalNs = 200_000n
/** An event may be a little younger than the look at the clock. */
const youngerNs = 1_000_000_000n

const post = (message: FromReader): void => port.postMessage(message)

function open(name: string): number {
  const fd = openPinned(join(mapsFolder, name))
  if (fd === undefined) throw new HeraldError('ERR_NO_EVENTS', `${join(mapsFolder, name)} is not pinned`)
  return fd
}

function openRing(): RingBuffer {
  const fd = open('events')
  try {
    return new RingBuffer(fd)
  } finally {
    closeFd(fd)
  }
}

const ring = openRing()
const observation = new BpfMap('observation', open('observation'))
const limits = new BpfMap('event_limits', open('event_limits'))
const names = new EventNames((questions) => post({ type: 'ask', questions }))
const observers = new Observers({
  nodeName,
  chunk: (id, text) => post({ type: 'chunk', id, text }),
  end: (id) => post({ type: 'end', id }),
})

function untoldEvents(): number {
  const value = new Uint8Array(sizes.eventLimit * possibleCpus())
  let untold = 0
  for (let kind = 0; kind < mapShapes.event_limits.maxEntries; kind++)
    if (limits.lookup(indexKey(kind), value)) untold += decodeUntold(value)
  return untold
}

const observe = (untilNs: bigint): void => observation.update(indexKey(0), encodeObservation(untilNs, intervalNs))

let untold = untoldEvents()
let renewAtMs = 0

function tick(): void {
  const [nowMs, nowNs] = [Date.now(), process.hrtime.bigint()]
  const wallMs = (timeNs: bigint): number => nowMs - Number(nowNs - timeNs) / 1e6
  if (performance.now() >= renewAtMs) {
    renewAtMs = performance.now() + renewMs
    observe(nowNs + observedNs)
    const now = untoldEvents()
    observers.untold(now - untold)
    untold = now
  }
  ring.read(Math.min(maxEventsPerTick, names.room), (data, at, length) => {
    const event = length < sizes.event ? undefined : decodeEvent(data, at, nowNs + youngerNs)
    if (event !== undefined) names.add(event, wallMs(event.timeNs), nowMs)
  })
  for (const event of names.take(nowMs)) observers.take(event)
  observers.flush(nowMs)
}

ring.skip()
tick()
const timer = setInterval(tick, tickMs)

function stop(): void {
  clearInterval(timer)
  observe(0n)
  ring.close()
  for (const { fd } of [observation, limits]) closeFd(fd)
  port.close()
}

port.on('message', (message: ToReader) => {
  switch (message.type) {
    case 'observe':
      return observers.join(message.id, message.query, Date.now(), message.askedMs)
    case 'taken':
      return observers.taken(message.id, Date.now())
    case 'leave':
      return observers.leave(message.id)
    case 'names':
      return names.answered(message.names, Date.now())
    case 'stop':
      return stop()
  }
})
