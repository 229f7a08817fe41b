/**
 * Services of which this node serves or announces less than they ask for, where nobody but the node can know: what it
 * has at its own interfaces, what its neighbors speak, what its kernel has room for. Pure.
 */
import { inTurns } from '../desired/in-turns.ts'
import type { DesiredService } from '../desired/model.ts'
import { isRefusalCode, maxRefusals, type Refusal } from '../k8s/dialects/refusals.ts'

export class Refusals {
  readonly #translated = new Map<string, Refusal>()

  /** What is wanted of a Service; undefined: it is gone. */
  want(service: string, desired: DesiredService | undefined): void {
    const refusal = desired?.verdicts.find(({ code }) => isRefusalCode(code))
    if (refusal === undefined) this.#translated.delete(service)
    else this.#translated.set(service, { service, code: refusal.code, message: refusal.message })
  }

  /** As many as are told, of each namespace in turn. `failed`: by Service why it could not be programmed. */
  list(failed: Iterable<readonly [string, { readonly message: string }]>): readonly Refusal[] {
    const all = new Map(this.#translated)
    for (const [service, { message }] of failed) all.set(service, { service, code: 'ProgrammingFailed', message })
    const sorted = [...all.values()].sort((a, b) => (a.service < b.service ? -1 : 1))
    return inTurns(sorted, ({ service }) => service.slice(0, service.indexOf('/')), maxRefusals)
  }
}
