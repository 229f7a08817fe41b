/**
 * What an operator tells the speaker to do with peers: the closed set of commands, and what came of each.
 *
 *     command --peers that are meant--> reset: Cease 6/4, then dial      soft out: our routes again
 *                                       soft in, refresh: ROUTE-REFRESH of every family
 */

import { Cease } from '../bgp/messages/numbers.ts'
import type { Peer } from './peer.ts'
import type { CommandAnswer, SpeakerCommand } from './protocol.ts'
import { isSameFamily, unicastFamilies } from './stale-routes.ts'

/** Does it with each of `peers`, which the command names; `sendAgain` has all routes of a family go out again. */
export function runCommand(
  command: SpeakerCommand,
  peers: readonly Peer[],
  sendAgain: (peer: Peer, family: (typeof unicastFamilies)[number][1]) => void,
): CommandAnswer {
  if (peers.length === 0)
    return {
      applied: [],
      refused: [{ peer: command.peer, reason: command.peer === '*' ? 'there is no neighbor' : 'no such neighbor' }],
    }
  const outcomes = peers.map((peer) => ({ peer: peer.neighbor.id, reason: run(command, peer, sendAgain) }))
  return {
    applied: outcomes.flatMap(({ peer, reason }) => (reason === undefined ? [peer] : [])),
    refused: outcomes.flatMap(({ peer, reason }) => (reason === undefined ? [] : [{ peer, reason }])),
  }
}

/** undefined when it was done, else why not. */
function run(command: SpeakerCommand, peer: Peer, sendAgain: Parameters<typeof runCommand>[2]): string | undefined {
  const { session } = peer
  // RFC 8538 leaves it to the user whether 6/4 is a Hard Reset. It is: who resets a session wants nothing kept of it,
  // and
  // who wants to keep the routes has the soft ones.
  if (command.what === 'reset' && command.soft === undefined) {
    const refusal = session.reset(Cease.administrativeReset)
    // Also of a peer that is away.
    if (refusal === undefined) peer.forget()
    return refusal
  }
  if (session.negotiated === undefined) return `the session is not Established: ${session.reason ?? session.state}`
  if (command.what === 'refresh' || command.soft === 'in')
    return peer.askForRoutes()
      ? undefined
      : 'the peer offers no route refresh (RFC 2918): only a reset brings them again'
  for (const [family, name] of unicastFamilies)
    if (session.negotiated.families.some((one) => isSameFamily(one, family))) sendAgain(peer, name)
  return undefined
}
