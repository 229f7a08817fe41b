/** What is shown of BFD sessions, and what of them an operator should know. */
import type { BfdView } from '../api/bfd-view.ts'
import { diagnosticText } from '../bfd/packet.ts'
import type { BfdReport } from '../bfd/path.ts'
import type { BfdSnapshot, PeerSnapshot } from '../speaker/protocol.ts'
import { secondsSince } from './route-view.ts'

/** FRR's words. */
const statusOf: Readonly<Record<BfdReport['state'], BfdView['status']>> = {
  AdminDown: 'shutdown',
  Down: 'down',
  Init: 'init',
  Up: 'up',
}

export function bfdView({ settings, since, report, counts }: BfdSnapshot): BfdView {
  const { detectMultiplier, receiveIntervalMs, transmitIntervalMs } = settings
  return {
    id: report.discriminator,
    remoteId: report.remoteDiscriminator,
    status: statusOf[report.state],
    sinceSeconds: secondsSince(Date.parse(since)),
    diagnostic: diagnosticText(report.diagnostic),
    remoteStatus: statusOf[report.remoteState],
    remoteDiagnostic: diagnosticText(report.remoteDiagnostic),
    multihop: report.isMultihop,
    passive: settings.isPassive,
    intervalMs: report.transmitIntervalMs,
    local: { detectMultiplier, receiveIntervalMs, transmitIntervalMs },
    remote: {
      detectMultiplier: report.remoteDetectMultiplier,
      receiveIntervalMs: report.remoteReceiveIntervalMs,
      transmitIntervalMs: report.remoteTransmitIntervalMs,
    },
    ...counts,
    ...(report.source === undefined ? {} : { localAddress: report.source }),
    ...(report.detectionTimeMs === undefined ? {} : { detectionTimeMs: report.detectionTimeMs }),
    ...(report.problem === undefined ? {} : { problem: report.problem }),
  }
}

/** In one sentence, for explain. */
export function bfdText({ settings, since, report }: BfdSnapshot): string {
  const { state, problem, detectionTimeMs, diagnostic, remoteState } = report
  if (problem !== undefined) return `BFD is ${statusOf[state]}: ${problem}`
  if (state === 'Up') return `BFD is up since ${since}: silence of ${detectionTimeMs ?? 0} ms ends the session`
  const { receiveIntervalMs, transmitIntervalMs, detectMultiplier } = settings
  const asked = `${receiveIntervalMs}/${transmitIntervalMs} ms x ${detectMultiplier}`
  const what = `BFD is ${statusOf[state]} (${diagnosticText(diagnostic)})`
  if (report.remoteDiscriminator === 0) return `${what}: nothing is heard of the peer; asked for: ${asked}`
  return `${what}: the peer says ${statusOf[remoteState]}`
}

/** Of sessions that are up, since nobody sees there that their path is not watched. */
export function bfdNotes(peers: readonly PeerSnapshot[]): readonly string[] {
  return peers.flatMap(({ peerAddress, state, bfdSession }) =>
    state === 'Established' && bfdSession !== undefined && bfdSession.report.state !== 'Up'
      ? [`peer ${peerAddress}: ${bfdText(bfdSession)}; its path is not watched`]
      : [],
  )
}
