/** What an event cost, in words, and whether that is nothing. */
import type { Loss } from './stage.ts'

/** All, or of pods that `counts` says. */
export function lostFlows({ lostByPod }: Loss, counts: (pod: string) => boolean = () => true): number {
  return Object.entries(lostByPod).reduce((sum, [pod, lost]) => sum + (counts(pod) ? lost : 0), 0)
}

export function heldFlows({ heldByPod }: Loss, counts: (pod: string) => boolean): number {
  return Object.entries(heldByPod).reduce((sum, [pod, held]) => sum + (counts(pod) ? held : 0), 0)
}

/** No connection, held or new, and no datagram was lost, and none moved. */
export function isWithout(loss: Loss): boolean {
  return lostFlows(loss) + loss.moved + loss.refused + loss.failed + loss.datagramsLost === 0
}

/** Beside that no session and no route moved. */
export function isUndisturbed(loss: Loss): boolean {
  return isWithout(loss) && loss.sessions + loss.routes === 0
}

export function lossText(loss: Loss): string {
  const { flows, lostHow, moved, opened, refused, failed, datagrams, datagramsLost, sessions, routes } = loss
  return [
    `${lostFlows(loss)} of ${flows} flows, ${datagramsLost} of ${datagrams} datagrams lost`,
    ...(moved === 0 ? [] : [`${moved} answers from another pod`]),
    `${refused + failed} of ${opened + refused + failed} new connections failed`,
    ...(refused === 0 ? [] : [`${refused} of them refused`]),
    `${sessions} sessions, ${routes} routes moved`,
    ...Object.entries(lostHow).flatMap(([how, lost]) => (lost === 0 ? [] : [`${lost} lost by ${how}`])),
  ].join(', ')
}
