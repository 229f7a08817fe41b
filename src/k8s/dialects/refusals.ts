/**
 * What a node says of Services that it refuses, in a condition of its object, and what the operator reads of it: who
 * may write the status of a node says nothing here but a code of the list, of a Service by its name. Pure.
 */
import type { VerdictCode } from '../../desired/codes.ts'
import { conditionsOf, type SaidCondition } from '../status.ts'
import type { RawObject } from '../source.ts'
import { isOwnObject, refusedCondition } from './node-report.ts'

/** Those that an operator cannot know: of a Service that nothing selects, or that has no pods, nothing is refused. */
const codes = [
  'ReservedAddress',
  'NotInPool',
  'PortTaken',
  'AddressLeftOut',
  'FamilyNotSpoken',
  'SctpPortChanged',
  'ProgrammingFailed',
] as const satisfies readonly VerdictCode[]
const known: ReadonlySet<string> = new Set(codes)

export interface Refusal {
  /** `namespace/name` */
  readonly service: string
  readonly code: VerdictCode
  readonly message: string
}

/** A node tells of so many at a time, each with so many characters: a condition has room for 32 KiB. */
export const maxRefusals = 32
const maxMessage = 400

export function isRefusalCode(code: string): code is VerdictCode {
  return known.has(code)
}

export function refusedSaying(refusals: readonly Refusal[]): SaidCondition {
  const texts = refusals.map(({ service, code, message }) => `${service} ${code}: ${message.slice(0, maxMessage)}`)
  const isAny = texts.length > 0
  return {
    type: refusedCondition,
    status: isAny ? 'True' : 'False',
    reason: isAny ? 'Refused' : 'NothingRefused',
    message: texts.join('; '),
  }
}

/** One of a row: the next begins with a Service and a code. */
const one = /^(?<service>[a-z0-9-]{1,63}\/[a-z0-9-]{1,63}) (?<code>[A-Z]\w{1,40}): (?<message>.+)$/s
const between = /; (?=[a-z0-9-]{1,63}\/[a-z0-9-]{1,63} [A-Z]\w{1,40}: )/

export function reportedRefusals(object: RawObject): readonly Refusal[] {
  if (!isOwnObject(object)) return []
  const condition = conditionsOf(object['status']).find(({ type }) => type === refusedCondition)
  if (condition?.status !== 'True') return []
  return condition.message.split(between, maxRefusals).flatMap((text) => {
    const { service = '', code = '', message = '' } = one.exec(text)?.groups ?? {}
    return isRefusalCode(code)
      ? [{ service, code, message: message.slice(0, maxMessage).replace(/\p{Cc}/gu, ' ') }]
      : []
  })
}
