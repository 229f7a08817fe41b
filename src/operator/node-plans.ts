/**
 * What the configuration comes to on each node of the cluster, as the node itself works it out: which sessions it has,
 * and what is wrong with which object there. A change of the configuration has every node looked at anew, some in each
 * turn of the loop. Pure but for its clock.
 */
import type { Clock } from '../clock/clock.ts'
import { Due } from '../clock/due.ts'
import type { Neighbor, Problem } from '../desired/model.ts'
import type { StoredObjects } from '../k8s/kinds/table.ts'
import { NodeTranslation } from '../k8s/translate/node.ts'
import { sameValue } from '../desired/same-value.ts'

/** How long the loop is kept in one turn, and for how many nodes. */
const turnMs = 5
const turnNodes = 64

/** Of a node to which some configuration applies. */
export interface PlannedNode {
  readonly neighbors: readonly Neighbor[]
  /** The objects that ask for them, by name. */
  readonly names: readonly string[]
}

export interface NodePlansParts {
  readonly clock: Clock
  readonly objects: () => StoredObjects
  /** Another plan than before, or none any more. */
  readonly onPlan: (node: string) => void
  /** Every node was looked at. */
  readonly onSwept: () => void
}

export class NodePlans {
  readonly #parts: NodePlansParts
  readonly #translations = new Map<string, NodeTranslation>()
  readonly #plans = new Map<string, PlannedNode>()
  readonly #problems = new Map<string, readonly Problem[]>()
  #waiting = new Set<string>()
  readonly #turns: Due

  constructor(parts: NodePlansParts) {
    this.#parts = parts
    this.#turns = new Due(parts.clock, () => this.#turn())
  }

  /** undefined: nothing applies to the node, or there is no such node. */
  planOf(node: string): PlannedNode | undefined {
    return this.#plans.get(node)
  }

  /** Nodes wait to be looked at anew. */
  get isSweeping(): boolean {
    return this.#waiting.size > 0 || this.#turns.isDue
  }

  /** Nodes with a plan. */
  get nodes(): readonly string[] {
    return [...this.#plans.keys()]
  }

  /** What nodes say of objects, each thing once: nodes that share a policy say the same of it. */
  problems(): readonly Problem[] {
    const said = new Map<string, Problem>()
    for (const problem of [...this.#problems.values()].flat()) {
      const { object, field, code, message } = problem
      const key = JSON.stringify([object.kind, object.namespace, object.name, field, code, message])
      if (!said.has(key)) said.set(key, problem)
    }
    return [...said.values()]
  }

  /** What one node says. */
  problemsOf(node: string): readonly Problem[] {
    return this.#problems.get(node) ?? []
  }

  /** Something changed of which any node may be another one. */
  sweep(): void {
    const { Node: nodes } = this.#parts.objects()
    for (const node of this.#translations.keys()) if (!nodes.has(node)) this.#forget(node)
    this.#waiting = new Set(nodes.keys())
    this.#turns.soon()
  }

  #forget(node: string): void {
    this.#translations.delete(node)
    this.#problems.delete(node)
    if (this.#plans.delete(node)) this.#parts.onPlan(node)
  }

  #turn(): void {
    const { clock, onSwept } = this.#parts
    const endMs = clock.monotonic() + turnMs
    let left = turnNodes
    for (const node of this.#waiting) {
      if (left === 0 || (left < turnNodes && clock.monotonic() >= endMs)) break
      left--
      this.#waiting.delete(node)
      this.#look(node)
    }
    if (this.#waiting.size > 0) this.#turns.soon()
    else onSwept()
  }

  #look(node: string): void {
    const { objects, onPlan } = this.#parts
    const translation =
      this.#translations.get(node) ??
      new NodeTranslation({ nodeName: node, datapath: 'none', secretsNamespace: '', isElsewhere: true })
    this.#translations.set(node, translation)
    const { exports, problems } = translation.translate(objects())
    this.#problems.set(node, problems)
    const before = this.#plans.get(node)
    const plan =
      exports === undefined ? undefined : { neighbors: [...exports.inForce.values()].flat(), names: exports.names }
    if (sameValue(before, plan)) return
    if (plan === undefined) this.#plans.delete(node)
    else this.#plans.set(node, plan)
    onPlan(node)
  }
}
