/** Sessions, advertisements, pools and addresses before and after: every difference by its field. Pure. */
import {
  type AdvertisementRow,
  type AdvertisementView,
  type Backend,
  finding,
  type Finding,
  type MovingCode,
  type SessionRow,
  type SessionView,
} from './report.ts'

/** What a difference in a field is, and what to do. */
interface Rule {
  readonly code: MovingCode
  readonly reason: string
  readonly remedy: string
}

const other = (what: string): Rule => ({
  code: 'SessionDiffers',
  reason: `${what} is another one`,
  remedy: 'Compare with the configuration of the router; herald.dev/neighbors and the object decide here.',
})
const timers: Rule = {
  code: 'TimersDiffer',
  reason: 'the default is another one where the object says nothing; the session proposes it when it opens',
  remedy: 'Write the times into the object to choose them.',
}

/** A field that is not in it does not compile. */
const sessionRules: Readonly<Record<keyof SessionView, Rule>> = {
  peerAddress: other('the address'),
  peerPort: other('the port'),
  peerAs: other("the peer's AS"),
  sourceAddress: {
    code: 'SourceAddressInForce',
    reason: 'the session leaves from this address now; before the kernel chose one, as frr-k8s does not get it',
    remedy: 'Make sure that the router has this address as its neighbor, or remove sourceAddress.',
  },
  localAs: {
    code: 'LocalAsInForce',
    reason: 'the router sees this AS now; frr-k8s does not get localASN, so that it saw myASN',
    remedy: 'Make sure that the router expects this AS, or remove localASN.',
  },
  holdTimeSeconds: timers,
  keepaliveSeconds: timers,
  connectRetrySeconds: timers,
  ttl: other('the TTL'),
  gracefulRestartSeconds: other('graceful restart'),
  password: {
    code: 'SessionDiffers',
    reason: 'the session is signed by another key',
    remedy: 'Compare the Secret with the key of the router.',
  },
  families: other('the list of families'),
  routerId: {
    code: 'RouterIdDiffers',
    reason: "the BGP Identifier is the node's IPv4 InternalIP now; before it was the highest address that FRR found",
    remedy: 'Nothing, unless the router knows nodes by their identifier: then write routerID.',
  },
  interface: other('the interface'),
  bfd: {
    code: 'BfdDiffers',
    reason: 'the path is watched otherwise: no echo packets are sent, and a profile that is missing watches nothing',
    remedy: 'Write short intervals in place of echoMode, and create the BFDProfile that is named.',
  },
}

const text = (value: SessionView[keyof SessionView] | readonly string[]): string | undefined =>
  value === undefined ? undefined : Array.isArray(value) ? value.join(',') : String(value)

/** `why` answers why a session is not there before, or not after. */
export function sessionDifferences(
  { node, object, before, after }: SessionRow,
  why: { readonly before?: Pick<Finding, 'reason' | 'remedy'>; readonly after?: Pick<Finding, 'reason' | 'remedy'> },
): readonly Finding[] {
  const where = { object, node }
  const peerOf = ({ localAs, peerAddress }: SessionView): string => `${localAs}/${peerAddress}`
  if (before === undefined && after !== undefined) {
    const said = why.before ?? {
      reason: 'there is no such session now',
      remedy: 'Remove what asks for it, or let the router have it.',
    }
    return [finding('SessionNew', { ...where, field: '', after: peerOf(after), ...said })]
  }
  if (before !== undefined && after === undefined) {
    const said = why.after ?? { reason: 'it is left out', remedy: 'See `herald validate`.' }
    return [finding('SessionLeftOut', { ...where, field: '', before: peerOf(before), ...said })]
  }
  if (before === undefined || after === undefined) return []
  return (Object.keys(sessionRules) as (keyof SessionView)[]).flatMap((field) => {
    const [was, is] = [text(before[field]), text(after[field])]
    if (was === is) return []
    const { code, ...said } = sessionRules[field]
    return [finding(code, { ...where, field, ...sides(was, is), ...said })]
  })
}

function sides(before: string | undefined, after: string | undefined): Pick<Finding, 'before' | 'after'> {
  return { ...(before === undefined ? {} : { before }), ...(after === undefined ? {} : { after }) }
}

export function advertisementDifferences(
  { node, object, peer, family, before, after }: AdvertisementRow,
  backend: Backend | undefined,
): readonly Finding[] {
  // With its session it comes and goes; that is said of the session.
  if (before === undefined || after === undefined) return []
  const fields = Object.keys({ ...before, ...after }) as (keyof AdvertisementView)[]
  return fields.flatMap((field) => {
    const [was, is] = [text(before[field]), text(after[field])]
    if (was === is) return []
    const where = { object, node, field: `${peer} ${family} ${field}`, ...sides(was, is) }
    if (field === 'localPreference' && backend === 'native' && was === '0')
      return [
        finding('LocalPreferenceDiffers', {
          ...where,
          reason: 'the native speaker sends a LOCAL_PREF of 0 to internal peers; here it is 100 where none is written',
          remedy: 'Write localPref into the BGPAdvertisement if other routes of the AS compete with these.',
        }),
      ]
    return [
      finding('AdvertisementDiffers', {
        ...where,
        reason: 'the route has another attribute than before',
        remedy: 'Compare with the policy of the router; annotations of herald.dev have their say here.',
      }),
    ]
  })
}
