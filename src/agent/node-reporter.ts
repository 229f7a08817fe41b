/**
 * What this node's sessions are, told to the cluster: the status of the object of this node, which the operator makes.
 *
 *     object read, session moved, every 15 s --> due --> sessions asked --> status, if it is another --> sink
 *
 * One write at a time, and never two within three seconds: a session that comes or goes is told at once, counts and
 * words alone every 15 s at most. A server that is away, or takes nothing, costs a fault that is shown and a try in a
 * while.
 */
import type { Clock, Wait } from '../clock/clock.ts'
import { backOff, spreadBehind } from '../clock/spread.ts'
import type { DatapathStatus } from '../datapath/datapath.ts'
import type { Neighbor, Problem } from '../desired/model.ts'
import {
  drainedCondition,
  errorCondition,
  healthyCondition,
  isOwnObject,
  nodeReportKind,
  nodeReportResource,
  nodeStatus,
  pastNetfilterCondition,
  pressingPart,
  problemText,
  someOf,
  stackReason,
} from '../k8s/dialects/node-report.ts'
import { type Refusal, refusedSaying } from '../k8s/dialects/refusals.ts'
import { type ObjectKey, type ObjectVersion, type RawObject, recordOf } from '../k8s/source.ts'
import {
  conditionFrom,
  conditionsOf,
  type ObjectVersionRef,
  type SaidCondition,
  type StatusOutcome,
  type StatusSink,
} from '../k8s/status.ts'
import { sameValue } from '../desired/same-value.ts'
import type { PeerSnapshot } from '../speaker/protocol.ts'
import type { Faults } from './faults.ts'

/** What the node has to say of itself beside its sessions. */
export interface NodeFigures {
  readonly neighbors: readonly Neighbor[]
  readonly problems: readonly Problem[]
  /** What fails now, in words. */
  readonly failures: readonly string[]
  /** Services that this node alone refuses. */
  readonly refusals: readonly Refusal[]
  readonly isSynced: boolean
  /** By the command or the annotation. */
  readonly isDrained: boolean
  readonly datapath: Pick<DatapathStatus, 'mode' | 'modeReason'>
}

export interface NodeReporterParts {
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly sink: Pick<StatusSink, 'apply'>
  readonly faults: Pick<Faults, 'raise' | 'clear'>
  readonly peers: () => Promise<readonly PeerSnapshot[]>
  readonly figures: () => NodeFigures
}

/** Sessions that move together are told together. */
const settleMs = 500
const leastMs = 3_000
const roundMs = 15_000
const retryMs = { first: 5_000, most: 120_000 } as const
const fault = 'node status'

/** Whether it is the object that is told of a node. */
export function isReportObject({ kind }: ObjectKey): boolean {
  return kind === nodeReportKind
}

export class NodeReporter {
  readonly #parts: NodeReporterParts
  #target: ObjectVersionRef | undefined
  #status: RawObject = {}
  #isBusy = false
  #due: Wait | undefined
  #dueMs = 0
  #wroteMs = Number.NEGATIVE_INFINITY
  /** When counts and words alone were written last. */
  #countedMs = Number.NEGATIVE_INFINITY
  #failures = 0
  #isPressed = false

  constructor(parts: NodeReporterParts) {
    this.#parts = parts
  }

  read({ apiVersion, kind, namespace, name }: ObjectKey, object: RawObject, version: ObjectVersion): void {
    // Somebody else's operator made it, and its agents have their say in it.
    if (!isOwnObject(object)) return this.forget()
    this.#target = {
      apiVersion,
      kind,
      resource: nodeReportResource,
      namespace,
      name,
      uid: version.uid ?? '',
      resourceVersion: version.resourceVersion ?? '',
    }
    this.#status = recordOf(object['status'])
    this.#wake(settleMs)
  }

  forget(): void {
    this.#target = undefined
    this.#due?.cancel()
    this.#due = undefined
    this.#parts.faults.clear(fault, '')
  }

  /** A session has another state. */
  touch(): void {
    this.#isPressed = true
    this.#wake(settleMs)
  }

  /** In `ms`, or sooner where that is due already; never sooner than a write may follow the last one. */
  #wake(ms: number): void {
    const { clock } = this.#parts
    if (this.#target === undefined || this.#isBusy) return
    const atMs = Math.max(clock.monotonic() + ms, this.#wroteMs + leastMs)
    if (this.#due !== undefined && this.#dueMs <= atMs) return
    this.#due?.cancel()
    this.#dueMs = atMs
    this.#due = clock.after(atMs - clock.monotonic(), () => {
      this.#due = undefined
      void this.#run()
    })
  }

  async #run(): Promise<void> {
    const target = this.#target
    if (target === undefined || this.#isBusy) return
    this.#isBusy = true
    this.#isPressed = false
    const nextMs = await this.#report(target)
    this.#isBusy = false
    this.#wake(this.#isPressed ? settleMs : nextMs)
  }

  /** Answers when the next look is due. */
  async #report(target: ObjectVersionRef): Promise<number> {
    const { clock, sink, peers, random } = this.#parts
    const spreadMs = roundMs * (0.8 + random() * 0.4)
    // A speaker that does not answer in time is asked with the next round.
    const snapshots = await peers().catch(() => undefined)
    if (snapshots === undefined || target !== this.#target) return settleMs
    const status = this.#statusOf(snapshots)
    if (isSaid(status, this.#status)) return spreadMs
    const nowMs = clock.monotonic()
    const isPressing = !sameValue(pressingPart(status), pressingPart(this.#status))
    if (!isPressing) {
      if (nowMs - this.#countedMs < roundMs) return roundMs - (nowMs - this.#countedMs)
      this.#countedMs = nowMs
    }
    this.#wroteMs = nowMs
    const outcome = await sink.apply({ target, status })
    if (outcome.kind === 'written' && this.#target?.uid === target.uid) {
      this.#status = { ...this.#status, ...status }
      if (this.#target === target) this.#target = { ...target, resourceVersion: outcome.resourceVersion }
    }
    // Routes follow a session that comes.
    return this.#ended(outcome, isPressing ? leastMs : spreadMs)
  }

  #ended(outcome: StatusOutcome, nextMs: number): number {
    const { faults, random } = this.#parts
    switch (outcome.kind) {
      case 'written':
        this.#failures = 0
        faults.clear(fault, '')
        return nextMs
      // The version that it is follows by the watch.
      case 'stale':
      case 'gone':
        return leastMs
      case 'limited':
        return spreadBehind(Math.max(outcome.afterMs, leastMs), random)
      case 'owned':
      case 'undeclared':
      case 'refused':
      case 'failed': {
        const what = 'what this node says of its sessions cannot be written'
        faults.raise(fault, '', `${what}: ${outcome.message}`)
        return backOff(retryMs, this.#failures++, random)
      }
    }
  }

  #statusOf(snapshots: readonly PeerSnapshot[]): RawObject {
    const { clock, figures } = this.#parts
    const now = new Date(clock.now()).toISOString().replace(/\.\d+Z$/, 'Z')
    const byId = new Map(snapshots.map((peer) => [peer.id, peer]))
    const said = figures()
    const before = conditionsOf(this.#status)
    const told = [healthOf(snapshots, said), errorsOf(said), refusedSaying(said.refusals), wayOf(said), drainOf(said)]
    const conditions = told.map((each) => conditionFrom(before, each, now))
    return nodeStatus(
      said.neighbors,
      (id) => {
        const peer = byId.get(id)
        return peer === undefined ? undefined : { ...peer, establishedTime: peer.since.replace(/\.\d+Z$/, 'Z') }
      },
      conditions,
    )
  }
}

function healthOf(peers: readonly PeerSnapshot[], { failures, problems, isSynced }: NodeFigures): SaidCondition {
  const down = peers.filter(({ state }) => state !== 'Established')
  const reasons = [
    ...(isSynced ? [] : ['objects are being read']),
    ...failures,
    // How long a session still waits changes with every look.
    ...down.map((peer) => `peer ${peer.peerAddress}: ${peer.lastReset?.text ?? peer.reason ?? peer.state}`),
    ...problems.filter(({ severity }) => severity === 'error').map(problemText),
  ]
  const sessions = `${peers.length - down.length} of ${peers.length} sessions are established`
  const reason =
    reasons.length === 0 ? 'Ok' : down.length > 0 && reasons.length === down.length ? 'SessionsDown' : 'Degraded'
  return {
    type: healthyCondition,
    status: reasons.length === 0 ? 'True' : 'False',
    reason,
    message: [sessions, ...someOf(reasons)].join('; '),
  }
}

function errorsOf({ problems }: NodeFigures): SaidCondition {
  const errors = problems.filter(({ severity }) => severity === 'error').map(problemText)
  const isFaulty = errors.length > 0
  return {
    type: errorCondition,
    status: isFaulty ? 'True' : 'False',
    reason: errorCondition.slice(errorCondition.indexOf('/') + 1),
    message: someOf(errors).join('; '),
  }
}

function wayOf({ datapath: { mode, modeReason } }: NodeFigures): SaidCondition {
  const type = pastNetfilterCondition
  if (mode === undefined)
    return { type, status: 'Unknown', reason: 'NoDatapath', message: 'this node serves no addresses itself' }
  // It may be so of some pods alone.
  if (mode === 'redirect') return { type, status: 'True', reason: 'Redirect', message: modeReason ?? '' }
  const message = modeReason ?? 'it was asked for (--datapath-mode stack)'
  return { type, status: 'False', reason: modeReason === undefined ? 'AskedFor' : stackReason, message }
}

function drainOf({ isDrained }: NodeFigures): SaidCondition {
  const type = drainedCondition
  return isDrained
    ? { type, status: 'True', reason: 'Drained', message: 'routes are withdrawn, sessions stay' }
    : { type, status: 'False', reason: 'NotDrained', message: '' }
}

/** Whether the status there has all of these fields. */
function isSaid(wanted: RawObject, status: RawObject): boolean {
  const { conditions, ...rest } = wanted
  const there = conditionsOf(status)
  return (
    Object.entries(rest).every(([name, value]) => sameValue(value, status[name])) &&
    conditionsOf({ conditions }).every((each) => there.some((other) => sameValue(each, other)))
  )
}
