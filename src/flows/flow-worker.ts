/**
 * Entry of the thread that reads flow events: ring buffer, names, observers. It lives while somebody looks, and says to
 * the programs again and again that somebody does; what it does in one turn is bounded.
 *
 *     programs --rings--> EventNames --named--> Observers --chunks of lines--> main thread --> sockets
 *                           `--questions--> main thread
 */
import { parentPort, workerData } from 'node:worker_threads'
import type { DatapathEvent } from '../datapath/events.ts'
import { HeraldError } from '../errors.ts'
import { EventNames } from './event-names.ts'
import { EventRing, ringKinds } from './event-ring.ts'
import { Observers } from './observers.ts'
import type { FromReader, ReaderOptions, ToReader } from './protocol.ts'

if (parentPort === null) throw new HeraldError('ERR_USAGE', 'flow events are read in a worker thread only')
const port = parentPort
const { mapsFolder, socketMapsFolder, nodeName }: ReaderOptions = workerData

/** Between two looks at the rings. */
const tickMs = 50
const maxEventsPerTick = 8_192
/** The programs tell nothing any more when nobody has said for so long that somebody looks. */
const observedNs = 3_000_000_000n
const renewMs = 1_000

const post = (message: FromReader): void => port.postMessage(message)

const rings = [
  new EventRing(ringKinds.packets, mapsFolder),
  ...(socketMapsFolder === undefined ? [] : [new EventRing(ringKinds.sockets, socketMapsFolder)]),
]
const names = new EventNames((questions) => post({ type: 'ask', questions }))
const observers = new Observers({
  nodeName,
  chunk: (id, text) => post({ type: 'chunk', id, text }),
  end: (id) => post({ type: 'end', id }),
})

let renewAtMs = 0

/** In the order of time: who connects is led before his first packet leaves. */
function readAll(nowNs: bigint): readonly DatapathEvent[] {
  const found = rings.map((ring) => ring.read(Math.min(maxEventsPerTick, Math.floor(names.room / rings.length)), nowNs))
  const all = found.flat()
  return found.filter(({ length }) => length > 0).length < 2 ? all : all.sort((a, b) => Number(a.timeNs - b.timeNs))
}

function tick(): void {
  const [nowMs, nowNs] = [Date.now(), process.hrtime.bigint()]
  const wallMs = (timeNs: bigint): number => nowMs - Number(nowNs - timeNs) / 1e6
  if (performance.now() >= renewAtMs) {
    renewAtMs = performance.now() + renewMs
    for (const ring of rings) ring.observe(nowNs + observedNs)
    observers.untold(rings.reduce((sum, ring) => sum + ring.untold(), 0))
  }
  for (const event of readAll(nowNs)) names.add(event, wallMs(event.timeNs), nowMs)
  for (const event of names.take(nowMs)) observers.take(event)
  observers.flush(nowMs)
}

tick()
const timer = setInterval(tick, tickMs)

function stop(): void {
  clearInterval(timer)
  for (const ring of rings) ring.close()
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
