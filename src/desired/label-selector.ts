/** Label selectors as Kubernetes has them (metav1.LabelSelector): all requirements must hold. Pure. */

export interface LabelSelector {
  readonly matchLabels?: Readonly<Record<string, string>> | undefined
  readonly matchExpressions?:
    | readonly {
        readonly key: string
        readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist'
        readonly values?: readonly string[] | undefined
      }[]
    | undefined
}

export type Labels = Readonly<Record<string, string>>

/** An empty selector matches everything; what a missing one means is up to the field. */
export function selectorMatches(selector: LabelSelector, labels: Labels): boolean {
  // Labels are somebody's text: `constructor` is not one of every object.
  const labelOf = (key: string): string | undefined => (Object.hasOwn(labels, key) ? labels[key] : undefined)
  const labelsHold = Object.entries(selector.matchLabels ?? {}).every(([key, value]) => labelOf(key) === value)
  return (
    labelsHold &&
    (selector.matchExpressions ?? []).every(({ key, operator, values = [] }) => {
      const value = labelOf(key)
      switch (operator) {
        case 'In':
          return value !== undefined && values.includes(value)
        // As in Kubernetes: an absent label is not in any list.
        case 'NotIn':
          return value === undefined || !values.includes(value)
        case 'Exists':
          return value !== undefined
        case 'DoesNotExist':
          return value === undefined
      }
    })
  )
}

/** `app=web,tier in (a,b)`, as kubectl writes it; `everything` for an empty selector. */
export function formatSelector(selector: LabelSelector): string {
  const parts = [
    ...Object.entries(selector.matchLabels ?? {}).map(([key, value]) => `${key}=${value}`),
    ...(selector.matchExpressions ?? []).map(({ key, operator, values = [] }) => {
      if (operator === 'Exists') return key
      if (operator === 'DoesNotExist') return `!${key}`
      return `${key} ${operator === 'In' ? 'in' : 'notin'} (${values.join(',')})`
    }),
  ]
  return parts.length === 0 ? 'everything' : parts.join(',')
}
