/** Labels and label selectors, judged as the API server judges them (apimachinery's metav1 validation). Pure. */
import * as z from 'zod'

const namePattern = /^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/
const domainPattern = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/

/** Why a text is no key of a label; undefined when it is one. */
function labelKeyFault(key: string): string | undefined {
  const slash = key.indexOf('/')
  const [domain, name] = slash < 0 ? [undefined, key] : [key.slice(0, slash), key.slice(slash + 1)]
  if (domain !== undefined && (domain.length > 253 || !domainPattern.test(domain)))
    return `${shorten(key)} is no key of a label: what stands before the slash is no DNS name`
  return name.length <= 63 && namePattern.test(name) ? undefined : `${shorten(key)} is no key of a label`
}

function labelValueFault(value: string): string | undefined {
  return value === '' || (value.length <= 63 && namePattern.test(value))
    ? undefined
    : `${shorten(value)} is no value of a label`
}

const syntax = 'Use at most 63 letters, digits, "-", "_" and ".", with a letter or digit at both ends'

const shorten = (text: string): string => JSON.stringify(text.length > 40 ? `${text.slice(0, 37)}...` : text)

const textOrNull = z
  .string()
  .nullable()
  .transform((text) => text ?? '')

const labelKey = z.string().superRefine((key, context) => {
  const message = labelKeyFault(key)
  if (message !== undefined) context.addIssue({ code: 'custom', message, params: { remedy: syntax } })
})

const labelValue = textOrNull.superRefine((value, context) => {
  const message = labelValueFault(value)
  if (message !== undefined) context.addIssue({ code: 'custom', message, params: { remedy: syntax } })
})

const matchLabels = z.record(z.string(), labelValue).superRefine((labels, context) => {
  for (const key of Object.keys(labels)) {
    const message = labelKeyFault(key)
    if (message !== undefined) context.addIssue({ code: 'custom', message, path: [key], params: { remedy: syntax } })
  }
})

const requirement = z
  .strictObject({
    key: labelKey,
    operator: z.enum(['In', 'NotIn', 'Exists', 'DoesNotExist']),
    values: z
      .array(labelValue)
      .nullish()
      .transform((values) => values ?? undefined),
  })
  .superRefine(({ operator, values = [] }, context) => {
    const needsValues = operator === 'In' || operator === 'NotIn'
    if (needsValues === values.length > 0) return
    context.addIssue({
      code: 'custom',
      path: ['values'],
      message: needsValues ? `${operator} needs at least one value, and there is none` : `${operator} takes no values`,
      params: { remedy: needsValues ? 'Write at least one value, as values: [web]' : 'Remove the values' },
    })
  })

/** Selects everything when it is empty; what a missing one means is up to the field. */
export const labelSelectorSchema = z.strictObject({
  matchLabels: matchLabels.nullish().transform((labels) => labels ?? undefined),
  matchExpressions: z
    .array(requirement)
    .nullish()
    .transform((requirements) => requirements ?? undefined),
})
