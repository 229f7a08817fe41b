/**
 * Whether this node serves external IPs and node ports in the place of kube-proxy. Two who serve one address are one
 * too many: as long as rules of kube-proxy are there they are left to it, and taken over when none were there for a
 * while. What a kube-proxy that ended has left behind counts as well: it still serves.
 */
import type { Clock } from '../clock/clock.ts'
import type { KubeProxyMode } from './kube-proxy.ts'

/** Rules that are replaced may be gone for a moment. */
const goneForMs = 5_000

export interface ProxyFacts {
  readonly listeners: ReadonlySet<string>
}

export interface ProxyWatchParts {
  readonly kubeProxy: () => KubeProxyMode
  /** Ports on which processes of this node listen. */
  readonly listeners: () => ReadonlySet<string>
  readonly clock: Pick<Clock, 'monotonic'>
}

export class ProxyWatch {
  readonly #parts: ProxyWatchParts
  #seenMs = -Infinity
  #isReplacing = false

  constructor(parts: ProxyWatchParts) {
    this.#parts = parts
  }

  /** By the last look. */
  get isReplacing(): boolean {
    return this.#isReplacing
  }

  /** undefined: kube-proxy serves. */
  look(): ProxyFacts | undefined {
    const { kubeProxy, listeners, clock } = this.#parts
    const now = clock.monotonic()
    const mode = kubeProxy()
    // Where it cannot be seen nobody can be waited for: status says so.
    if (mode !== 'absent' && mode !== 'unknown') this.#seenMs = now
    this.#isReplacing = now - this.#seenMs >= goneForMs
    return this.#isReplacing ? { listeners: listeners() } : undefined
  }
}
