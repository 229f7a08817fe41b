/**
 * MetalLB's ConfigurationState: whether the configuration is understood, one object for the operator and one for each
 * node. Names, labels, conditions and words are MetalLB's, so that what reads them there reads them here. Pure.
 *
 *     errors of a component --stateStatus--> status: result, errorSummary, a condition
 */
import type { Problem } from '../../desired/model.ts'
import type { RawObject } from '../source.ts'
import { conditionFrom, conditionsOf } from '../status.ts'
import { ownLabels } from './node-report.ts'

export const stateKind = { apiVersion: 'metallb.io/v1beta1', kind: 'ConfigurationState' } as const
export const stateResource = 'configurationstates'

/** Whose configuration it is: that of who gives addresses away, or of a node. */
export type Component =
  | { readonly kind: 'controller' }
  | { readonly kind: 'speaker'; readonly node: string; readonly nodeUid: string }

export const controllerState = 'controller'
const ofNode = 'speaker-'
const maxName = 253
const maxLabel = 63

export function stateNameOf(node: string): string {
  return `${ofNode}${node}`
}

/** undefined: it is no state of a node. */
export function nodeOfState(name: string): string | undefined {
  return name.startsWith(ofNode) ? name.slice(ofNode.length) : undefined
}

/** Without what the server adds; undefined where no object can have the name. */
export function stateObject(namespace: string, component: Component): RawObject | undefined {
  const isController = component.kind === 'controller'
  const name = isController ? controllerState : stateNameOf(component.node)
  if (name.length > maxName) return undefined
  return {
    ...stateKind,
    metadata: {
      name,
      namespace,
      labels: {
        ...ownLabels,
        'metallb.io/component-type': component.kind,
        // Longer names are no value of a label.
        ...(isController || component.node.length > maxLabel ? {} : { 'metallb.io/node-name': component.node }),
      },
      // It goes with its Node.
      ...(isController
        ? {}
        : { ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: component.node, uid: component.nodeUid }] }),
    },
  }
}

/**
 * A profile that is not there is no fault of the session without it, and in MetalLB's eyes one of the configuration.
 */
export function isStateError({ severity, code, field }: Problem): boolean {
  return severity === 'error' || (code === 'UnknownName' && field === 'spec.bfdProfile')
}

/**
 * Of more errors no status says more, each of which names an object; in letters, of what a condition has room for.
 */
export const mostErrors = 128
const mostLetters = 2_048

/** As many of them as a condition has room for: of each node there may be ten thousand. */
function joined(errors: readonly string[]): string {
  let text = ''
  for (const error of errors) {
    text += text === '' ? error : `; ${error}`
    if (text.length > mostLetters) break
  }
  return text
}

/** `before`: the status that is there; `now`: RFC 3339. */
export function stateStatus(
  kind: Component['kind'],
  errors: readonly string[],
  before: RawObject,
  now: string,
): RawObject {
  const isValid = errors.length === 0
  const condition = conditionFrom(
    conditionsOf(before),
    {
      type: kind === 'controller' ? 'poolReconcilerValid' : 'configReconcilerValid',
      status: isValid ? 'True' : 'False',
      reason: isValid ? 'Reconciled' : 'ConfigurationError',
      message: joined(errors),
    },
    now,
  )
  return {
    result: isValid ? 'Valid' : 'Invalid',
    ...(isValid ? {} : { errorSummary: condition.message }),
    conditions: [condition],
  }
}
