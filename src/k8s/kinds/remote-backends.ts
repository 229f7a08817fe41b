/** How backends of a Service on other nodes are reached, as the annotation `herald.dev/remote-backends` says. Pure. */
import { fault, type Fault, type Metadata } from './narrow.ts'

export const remoteBackendsAnnotation = 'herald.dev/remote-backends'

/** The first is what counts where nothing is written. */
const ways = ['tunnel', 'tunnel-or-snat'] as const

/** An annotation may be 256 KiB long. */
const mostShown = 40

interface Asking {
  readonly metadata: Pick<Metadata, 'annotations'>
  readonly spec: { readonly externalTrafficPolicy: 'Cluster' | 'Local' }
}

/** Whether a pod of the Service may see an address of a node in place of the client's. */
export function allowsSnat({ metadata: { annotations }, spec }: Asking): boolean {
  return spec.externalTrafficPolicy === 'Cluster' && annotations[remoteBackendsAnnotation]?.trim() === ways[1]
}

export function remoteBackendsFaults({ metadata: { annotations }, spec }: Asking): readonly Fault[] {
  const text = annotations[remoteBackendsAnnotation]?.trim() ?? ''
  if (text === '' || text === ways[0]) return []
  const path = ['metadata', 'annotations', remoteBackendsAnnotation]
  if (text !== ways[1]) {
    const shown = text.length > mostShown ? `${text.slice(0, mostShown).toWellFormed()}...` : text
    const message = `${JSON.stringify(shown)} is neither ${ways.join(' nor ')}: taken as ${ways[0]}`
    return [fault('warning', path, 'InvalidAnnotation', message, `Write ${ways.join(' or ')}.`)]
  }
  if (spec.externalTrafficPolicy === 'Cluster') return []
  const message = 'with externalTrafficPolicy Local no backend on another node is served: it has no effect'
  return [fault('warning', path, 'ConflictingRequest', message, 'Write externalTrafficPolicy: Cluster, or remove it.')]
}
