/** Pure comparison of the frontends that should be served with those that the kernel holds. */
import type { Backend, Frontend } from '../desired/model.ts'
import type { ProgrammedFrontend } from '../datapath/datapath.ts'

/** True when the kernel holds exactly what is wanted: nothing needs to be written. */
export function isHeld(wanted: Pick<Frontend, 'backends' | 'resting'>, held: ProgrammedFrontend | undefined): boolean {
  return (
    held !== undefined &&
    sameBackends(wanted.backends, held.backends) &&
    sameBackends(wanted.resting ?? [], held.resting ?? [])
  )
}

function sameBackends(a: readonly Backend[], b: readonly Backend[]): boolean {
  return (
    a.length === b.length && a.every((backend, i) => backend.address === b[i]?.address && backend.port === b[i]?.port)
  )
}
