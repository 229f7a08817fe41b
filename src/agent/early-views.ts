/** Which packets of a Service XDP takes in front of TC, and why not (ADR 25): for `explain` and `lb list`. Pure. */
import type { ExplainView } from '../api/types.ts'
import type { AccelerationStatus, EarlyKind } from '../datapath/datapath.ts'
import { type DesiredService, type Frontend, isAnyNodeAddress, translatedNode } from '../desired/model.ts'

type EarlyServiceView = NonNullable<ExplainView['acceleration']>
type EarlyFrontendView = EarlyServiceView['frontends'][number]

/** undefined: nobody asked for it, or there is nothing to take. */
export function earlyServiceView(
  acceleration: AccelerationStatus | undefined,
  { frontends }: Pick<DesiredService, 'frontends'>,
): EarlyServiceView | undefined {
  if (acceleration === undefined || frontends.length === 0) return undefined
  const { interfaces, problem } = acceleration
  return { frontends: frontends.map(earlyFrontend), interfaces, ...(problem === undefined ? {} : { problem }) }
}

/** What is taken of a frontend at some interface; undefined: nobody asked for it. */
export function takenEarly(
  acceleration: AccelerationStatus | undefined,
): ((frontend: Frontend) => EarlyKind[]) | undefined {
  if (acceleration === undefined) return undefined
  const taken = new Set(acceleration.interfaces.flatMap(({ takes = [] }) => takes))
  return (frontend) => earlyFrontend(frontend).takes.filter((kind) => taken.has(kind))
}

function earlyFrontend(frontend: Frontend): EarlyFrontendView {
  const { id, address } = frontend
  if (isAnyNodeAddress(address)) return { frontend: id, takes: [], why: 'node ports are left to TC' }
  const why = whyNotHandedOn(frontend)
  if (why === undefined) return { frontend: id, takes: ['handedOn', 'answered', 'dropped'] }
  return { frontend: id, takes: ['answered', 'dropped'], why }
}

function whyNotHandedOn({ protocol, backends, resting = [] }: Frontend): string | undefined {
  const elsewhere = [...backends, ...resting].filter(({ node }) => node !== undefined)
  if (elsewhere.length === 0) return 'it has no backend on another node'
  if (elsewhere.every(({ node }) => node === translatedNode)) return 'all that goes to other nodes is translated (SNAT)'
  return protocol === 'SCTP' ? 'SCTP is left to TC' : undefined
}
