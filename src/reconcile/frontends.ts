/** Pure comparison of the frontends that should be served with those that the kernel holds. */
import type { Backend, Frontend, SourceRange } from '../desired/model.ts'
import type { ProgrammedFrontend } from '../datapath/datapath.ts'

/** True when the kernel holds exactly what is wanted: nothing needs to be written. */
export function isHeld(
  wanted: Pick<Frontend, 'backends' | 'resting' | 'sources' | 'affinitySec'>,
  held: ProgrammedFrontend | undefined,
): boolean {
  return (
    held !== undefined &&
    held.isEdited !== true &&
    sameBackends(wanted.backends, held.backends) &&
    sameBackends(wanted.resting ?? [], held.resting ?? []) &&
    sameSources(wanted.sources, held.sources) &&
    wanted.affinitySec === held.affinitySec
  )
}

/** By list: the one that was found the same last. Lists do not change, and each port of a Service has the same one. */
const known = new WeakMap<readonly SourceRange[], readonly SourceRange[]>()

function sameSources(a: readonly SourceRange[] | undefined, b: readonly SourceRange[] | undefined): boolean {
  if (a === undefined || b === undefined || a === b) return a === b
  if (known.get(a) === b) return true
  const isSame = isSameSet(a, b)
  if (isSame) known.set(a, b)
  return isSame
}

/** In any order: a list is a set. */
function isSameSet(a: readonly SourceRange[], b: readonly SourceRange[]): boolean {
  // They are in order nearly always, and a Service may have a thousand of them at each of its ports.
  const isSameAt = ({ prefix, isAllowed }: SourceRange, i: number): boolean =>
    prefix === b[i]?.prefix && isAllowed === b[i].isAllowed
  if (a.length === b.length && a.every(isSameAt)) return true
  const [ours, theirs] = [a, b].map((list) => new Map(list.map(({ prefix, isAllowed }) => [prefix, isAllowed])))
  if (ours === undefined || theirs === undefined || ours.size !== theirs.size) return false
  return [...ours].every(([prefix, isAllowed]) => theirs.get(prefix) === isAllowed)
}

function sameBackends(a: readonly Backend[], b: readonly Backend[]): boolean {
  return a.length === b.length && a.every((backend, i) => isSame(backend, b[i]))
}

function isSame(a: Backend, b: Backend | undefined): boolean {
  return a.address === b?.address && a.port === b.port && a.node === b.node && a.weight === b.weight
}
