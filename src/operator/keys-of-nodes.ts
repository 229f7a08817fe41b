/** What agents say of the keys that they may read and the operator may not: by node, as their objects have it. Pure. */
import type { Problem } from '../desired/model.ts'
import { sameValue } from '../desired/same-value.ts'
import type { KeyReports } from '../k8s/dialects/node-plan.ts'
import { errorCondition, isOwnObject, reportedKeyFaults } from '../k8s/dialects/node-report.ts'
import type { RawObject } from '../k8s/source.ts'
import { conditionsOf } from '../k8s/status.ts'

export class KeysOfNodes {
  readonly #faults = new Map<string, readonly Problem[]>()

  /** The object in which the agent of a node has its say; undefined: it is gone. Answers whether anything is new. */
  read(node: string, object: RawObject | undefined): boolean {
    const before = this.#faults.get(node)
    if (object === undefined || !hasSpoken(object)) return this.#faults.delete(node)
    const faults = reportedKeyFaults(object)
    if (before !== undefined && sameValue(before, faults)) return false
    this.#faults.set(node, faults)
    return before === undefined || before.length + faults.length > 0
  }

  /** Each fault once: nodes that share a configuration lack the same key. */
  reports(): KeyReports {
    const all = [...this.#faults.values()].flat()
    const faults = new Map(all.map((fault) => [JSON.stringify([fault.object, fault.field, fault.message]), fault]))
    return { isAny: this.#faults.size > 0, faults: [...faults.values()] }
  }
}

/** An agent of ours has said what is wrong, or that nothing is. */
function hasSpoken(object: RawObject): boolean {
  return isOwnObject(object) && conditionsOf(object['status']).some(({ type }) => type === errorCondition)
}
