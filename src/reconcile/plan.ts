/**
 * What to do next about some Services: wanted and held go in, steps come out, as a value that can be printed. Nothing
 * is decided anywhere else about the order of things; `agent/order.ts` runs the steps.
 *
 *     frontend of the Service            wanted   held       claimed by others   step
 *     -----------------------------------------------------------------------------------------------
 *     new                                yes      no         -                   program
 *     its backends changed               yes      otherwise  -                   program
 *     as it is                           yes      the same   -                   keep (Held)
 *     another Service owns it            yes      any        the owner           keep (OtherOwner), no announcement
 *     no more wanted                     no       yes        -                   drain, later remove
 *     no more wanted, another wants it   no       yes        yes                 hand over: it is never removed
 *     no more wanted, never held         no       no         -                   -
 *     nobody's, of an earlier process    -        yes        -                   drain (LeftOver), later remove
 *
 *     route of the Service               wanted   announced                      step
 *     -----------------------------------------------------------------------------------------------
 *     no more wanted                     no       yes                            withdraw, before everything else
 *     the same, a successor wants it     no       yes                            hand over: never withdrawn
 *     wanted                             yes      any                            announce, after every program step
 *     no uplink has our programs         yes      yes                            withdraw (NoUplink)
 *     no uplink has our programs         yes      no                             keep (NoUplink)
 *
 * Withdrawals of all Services come first, announcements of a Service last: what is announced is served at each point
 * in between. Pure.
 */
import type { ProgrammedFrontend } from '../datapath/datapath.ts'
import type { DesiredService, Frontend, Route } from '../desired/model.ts'
import { isHeld } from './frontends.ts'

export type Step =
  | { readonly do: 'withdraw'; readonly service: string; readonly prefixes: readonly string[]; readonly why: Reason }
  /** The prefixes stay announced until the successors have announced them. */
  | { readonly do: 'release'; readonly service: string; readonly prefixes: readonly string[]; readonly to: string }
  | { readonly do: 'hand over'; readonly frontend: string; readonly from: string; readonly to: string }
  | { readonly do: 'drain'; readonly frontend: string; readonly why: Reason }
  /** Write and read back. */
  | { readonly do: 'program'; readonly service: string; readonly frontend: Frontend }
  | { readonly do: 'keep'; readonly service: string; readonly what: string; readonly why: Reason }
  /** Only when every program step of the Service in this plan was done. */
  | { readonly do: 'announce'; readonly service: string; readonly routes: readonly Route[] }

type Reason = 'Held' | 'OtherOwner' | 'NoUplink' | 'NotWanted' | 'LeftOver'

/** What is known when a plan is made. */
export interface PlanView {
  /** False where nothing is programmed (--datapath none): then nothing waits for the datapath. */
  readonly isGated: boolean
  /** Our programs are on an uplink: what they hold is served. */
  readonly isServing: boolean
  wanted(service: string): DesiredService | undefined
  /** Ids of the frontends that the Service claims by an earlier plan or claims now. */
  claimed(service: string): readonly string[]
  /** Services that want a frontend now, in the order in which they succeed each other. */
  claimants(frontend: string): readonly string[]
  /** The Service for which a frontend is in the kernel. */
  owner(frontend: string): string | undefined
  held(frontend: string): ProgrammedFrontend | undefined
  announced(service: string): readonly Route[]
}

export interface Plan {
  /** The Services that were asked for, and those that take something over from them. */
  readonly services: readonly string[]
  readonly steps: readonly Step[]
}

/** The steps for these Services, in their order. */
export function planServices(asked: readonly string[], view: PlanView): Plan {
  const heirs = heirsOf(asked, view)
  const services = [...new Set([...asked, ...heirs.values()])]
  const owners = ownersAfter(services, heirs, view)
  const announcing = new Set(services.filter((service) => mayAnnounce(view.wanted(service), owners, view)))
  return {
    services,
    steps: [
      ...services.flatMap((service) => leaving(service, announcing, view)),
      ...services.flatMap((service) => giving(service, heirs, view)),
      ...services.flatMap((service) => growing(service, owners, view)),
    ],
  }
}

/** What an earlier process left and nobody wants, once everything that is wanted is known. */
export function planLeftovers(held: Iterable<string>, view: Pick<PlanView, 'claimants' | 'owner'>): readonly Step[] {
  return [...held]
    .filter((frontend) => view.owner(frontend) === undefined && view.claimants(frontend).length === 0)
    .map((frontend) => ({ do: 'drain', frontend, why: 'LeftOver' }))
}

/** By frontend: who takes over what a Service of these owns and wants no more. */
function heirsOf(services: readonly string[], view: PlanView): ReadonlyMap<string, string> {
  const heirs = new Map<string, string>()
  for (const service of services)
    for (const frontend of givenUp(service, view)) {
      const heir = successor(frontend, view)
      if (heir !== undefined) heirs.set(frontend, heir)
    }
  return heirs
}

/** Frontends that a Service owns and wants no more. */
function givenUp(service: string, view: PlanView): readonly string[] {
  const owned = view.claimed(service).filter((frontend) => view.owner(frontend) === service)
  if (owned.length === 0) return owned
  const wanted = new Set(view.wanted(service)?.frontends.map(({ id }) => id))
  return owned.filter((frontend) => !wanted.has(frontend))
}

/**
 * Of those who want a frontend that nobody owns: the one for whom the kernel serves it (after a restart that is the
 * former owner), else one that is announced, else the first by name; never the first to come.
 */
function successor(id: string, view: PlanView): string | undefined {
  const claimants = view.claimants(id)
  const held = view.held(id)
  const isServed = (key: string): boolean =>
    view.wanted(key)?.frontends.some((frontend) => frontend.id === id && isHeld(frontend, held)) === true
  const hasRoutes = (key: string): boolean => (view.wanted(key)?.routes.length ?? 0) > 0
  return claimants.find(isServed) ?? claimants.find(hasRoutes) ?? claimants[0]
}

/** Who owns each frontend that these Services want, when the plan was run. */
function ownersAfter(
  services: readonly string[],
  heirs: ReadonlyMap<string, string>,
  view: PlanView,
): ReadonlyMap<string, string> {
  const owners = new Map<string, string>()
  for (const service of services)
    for (const { id } of view.wanted(service)?.frontends ?? [])
      owners.set(id, heirs.get(id) ?? view.owner(id) ?? successor(id, view) ?? service)
  return owners
}

function mayAnnounce(
  service: DesiredService | undefined,
  owners: ReadonlyMap<string, string>,
  view: PlanView,
): boolean {
  if (service === undefined) return false
  if (!view.isGated) return true
  return view.isServing && service.frontends.every(({ id }) => owners.get(id) === service.key)
}

/** Routes that end, apart from those that another Service of this plan goes on announcing. */
function leaving(service: string, announcing: ReadonlySet<string>, view: PlanView): Step[] {
  const routes = view.announced(service)
  if (routes.length === 0) return []
  const announced = routes.map(({ prefix }) => prefix)
  if (view.isGated && !view.isServing) return [{ do: 'withdraw', service, prefixes: announced, why: 'NoUplink' }]
  const { routes: wished = [] } = view.wanted(service) ?? {}
  // Nearly always.
  if (announced.length === 1 && wished[0]?.prefix === announced[0]) return []
  const wanted = new Set(wished.map(({ prefix }) => prefix))
  const ending = announced.filter((prefix) => !wanted.has(prefix))
  if (ending.length === 0) return []
  const successors = new Map(
    [...announcing]
      .filter((other) => other !== service)
      .flatMap((other) => (view.wanted(other)?.routes ?? []).map(({ prefix }) => [prefix, other] as const)),
  )
  const prefixes = ending.filter((prefix) => !successors.has(prefix))
  const released = Map.groupBy(
    ending.filter((prefix) => successors.has(prefix)),
    (prefix) => successors.get(prefix) ?? '',
  )
  return [
    ...(prefixes.length === 0 ? [] : [{ do: 'withdraw' as const, service, prefixes, why: 'NotWanted' as const }]),
    ...[...released].map(([to, moved]) => ({ do: 'release' as const, service, prefixes: moved, to })),
  ]
}

/** Frontends that the Service owns and wants no more: to an heir, or out through a drain. */
function giving(service: string, heirs: ReadonlyMap<string, string>, view: PlanView): Step[] {
  return givenUp(service, view).map((frontend) => {
    const to = heirs.get(frontend)
    return to === undefined
      ? { do: 'drain', frontend, why: 'NotWanted' }
      : { do: 'hand over', frontend, from: service, to }
  })
}

function growing(service: string, owners: ReadonlyMap<string, string>, view: PlanView): Step[] {
  const wanted = view.wanted(service)
  if (wanted === undefined) return []
  const frontends = view.isGated
    ? wanted.frontends.map((frontend) => frontendStep(service, frontend, owners, view))
    : []
  if (mayAnnounce(wanted, owners, view)) return [...frontends, { do: 'announce', service, routes: wanted.routes }]
  const waits = wanted.routes.map(({ prefix }) => ({ do: 'keep', service, what: prefix, why: 'NoUplink' }) as const)
  return [...frontends, ...(view.isServing ? [] : waits)]
}

function frontendStep(service: string, frontend: Frontend, owners: ReadonlyMap<string, string>, view: PlanView): Step {
  if (owners.get(frontend.id) !== service) return { do: 'keep', service, what: frontend.id, why: 'OtherOwner' }
  if (isHeld(frontend, view.held(frontend.id))) return { do: 'keep', service, what: frontend.id, why: 'Held' }
  return { do: 'program', service, frontend }
}

/** One line for the log and for tests. */
export function formatStep(step: Step): string {
  switch (step.do) {
    case 'withdraw':
      return `withdraw ${step.prefixes.join(' ')} of ${step.service} (${step.why})`
    case 'release':
      return `release ${step.prefixes.join(' ')} of ${step.service} to ${step.to}`
    case 'hand over':
      return `hand over ${step.frontend} from ${step.from} to ${step.to}`
    case 'drain':
      return `drain ${step.frontend} (${step.why})`
    case 'program':
      return `program ${step.frontend.id} of ${step.service} with ${step.frontend.backends.length} backends`
    case 'keep':
      return `keep ${step.what} of ${step.service} (${step.why})`
    case 'announce':
      return `announce ${step.routes.map(({ prefix }) => prefix).join(' ') || 'nothing'} of ${step.service}`
  }
}
