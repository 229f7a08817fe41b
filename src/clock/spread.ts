/**
 * How long one of many waits: what befell all of them in one moment, as a server that asks them to come again, would
 * have them come again in one moment. `random` is chance, from 0 up to 1. Pure.
 */

/** Sooner or later by up to a quarter. */
export function spread(ms: number, random: () => number): number {
  return ms * (0.75 + random() / 2)
}

/** Never sooner: somebody asked for it. */
export function spreadBehind(ms: number, random: () => number): number {
  return ms * (1 + random() / 2)
}

/** After so many failures before the last one: twice as long each time. */
export function backOff(
  { first, most }: { readonly first: number; readonly most: number },
  failures: number,
  random: () => number,
): number {
  return spread(Math.min(first * 2 ** Math.min(failures, 10), most), random)
}
