/** Durations of the state machine, seconds. Jitter comes from outside: `random` is uniform in [0, 1). */

/** A peer that accepts TCP and then stays silent holds us no longer than this (RFC 4271 suggests 240). */
export const openHoldSec = 30

/**
 * A connection that answers at all has its OPEN by now. Where two connections meet, one side may else see the new one
 * Established in the moment in which the other closes it; and a dial of ours would meet what the peer has just opened.
 */
export const collisionWaitSec = 2

/** A SYN that is not answered. */
export const dialTimeoutSec = 10

const idleHoldFirstSec = 1
const idleHoldMaxSec = 60
const dialFirstSec = 5
const dialMaxSec = 30

/** 1, 2, 4 ... 60 s, x 0.75 to 1.25, after the given number of failures in a row. */
export function idleHoldSec(failures: number, random: number): number {
  return Math.min(idleHoldFirstSec * 2 ** Math.min(failures, 16), idleHoldMaxSec) * (0.75 + random / 2)
}

/** After an end that somebody decided: no failure, so the wait never grows. */
const refusedHoldSec = 3

/**
 * After a Cease that is a decision (see {@link isDecision}): as after a first failure; where the peer ended the attempt
 * before the session was Established, a little longer, since it may do so at every attempt. x 0.75 to 1.25.
 */
export function decisionHoldSec(wasEstablished: boolean, random: number): number {
  return (wasEstablished ? idleHoldFirstSec : refusedHoldSec) * (0.75 + random / 2)
}

/** The confirmation of our OPEN is awaited no longer than the OPEN was, whatever was negotiated, also 0. */
export function confirmHoldSec(holdTimeSec: number): number {
  return holdTimeSec === 0 ? openHoldSec : Math.min(holdTimeSec, openHoldSec)
}

/** 5, 10, 20, 30 s, never more than configured, x 0.75 to 1.0 (RFC 4271 10). */
export function connectRetrySec(failures: number, configuredSec: number, random: number): number {
  return Math.min(dialFirstSec * 2 ** Math.min(failures, 16), dialMaxSec, configuredSec) * (0.75 + random / 4)
}

/** x 0.75 to 1.0 (RFC 4271 10); 0 stays off. */
export function keepaliveIntervalSec(keepaliveSec: number, random: number): number {
  return keepaliveSec * (0.75 + random / 4)
}

/** RFC 9687 asks for more than the hold time; with hold 0 there is no send hold timer either. */
export function sendHoldSec(holdTimeSec: number): number {
  return holdTimeSec === 0 ? 0 : Math.max(2 * holdTimeSec, 30)
}
