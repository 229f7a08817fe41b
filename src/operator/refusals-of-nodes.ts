/** What agents say of Services that their nodes refuse: by node, as their objects have it. Pure. */
import { sameValue } from '../desired/same-value.ts'
import { type Refusal, reportedRefusals } from '../k8s/dialects/refusals.ts'
import type { RawObject } from '../k8s/source.ts'

export class RefusalsOfNodes {
  readonly #refusals = new Map<string, readonly Refusal[]>()

  /** The object in which the agent of a node has its say; undefined: it is gone. Answers whether anything is new. */
  read(node: string, object: RawObject | undefined): boolean {
    const [before, now] = [this.#refusals.get(node) ?? [], object === undefined ? [] : reportedRefusals(object)]
    if (sameValue(before, now)) return false
    if (now.length === 0) this.#refusals.delete(node)
    else this.#refusals.set(node, now)
    return true
  }

  /** Each refusal once, whatever number of nodes it is of: told of the first of them by name. */
  list(): readonly Refusal[] {
    const found = new Map<string, Refusal>()
    for (const [node, refusals] of [...this.#refusals].sort(([a], [b]) => (a < b ? -1 : 1)))
      for (const { service, code, message } of refusals) {
        const id = `${service} ${code}`
        if (!found.has(id)) found.set(id, { service, code, message: `${message} (node ${node})` })
      }
    return [...found.values()]
  }
}
