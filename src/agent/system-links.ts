/** The network interfaces of the node itself. */
import { lookAtLinks, watchLinks } from '../sys/links.ts'
import type { Links } from './links.ts'

/** `interfaces`: a pattern of those that are uplinks; `doubt` is told of each change before whoever watches. */
export function systemLinks(
  { interfaces }: { readonly interfaces?: string },
  doubt: () => void = () => undefined,
): Links {
  const pattern = interfaces === undefined ? undefined : new RegExp(interfaces)
  const watch: Links['watch'] = (changed) =>
    watchLinks(() => {
      doubt()
      changed()
    })
  return { look: (neighbors) => lookAtLinks(neighbors, pattern), watch }
}
