/**
 * The statuses of configuration objects: whether each is understood, what its dialect says of it beside, and of pools
 * how many of their addresses are held. One write carries all of it, a second after it changed, and only then.
 *
 *     read, forget --> known --judge(problems), count()--> what is to be said --write--> what is not said yet
 *
 * A field that somebody else owns, or that the kind has not on this server, is left out until it is to say something
 * else: what is wrong with the object is an event as well.
 */
import type { Clock } from '../clock/clock.ts'
import type { Problem } from '../desired/model.ts'
import { sameValue } from '../desired/same-value.ts'
import { acceptedCondition, type ToldProblem, toldProblems } from '../k8s/dialects/accepted.ts'
import type { KeyReports } from '../k8s/dialects/node-plan.ts'
import { poolStatus } from '../k8s/dialects/pool-status.ts'
import { poolKinds } from '../k8s/dialects/pools.ts'
import { conditionsOfObjects, configurationKinds } from '../k8s/dialects/table.ts'
import { kinds, type ServedKind, type StoredObjects } from '../k8s/kinds/table.ts'
import { type ObjectKey, type ObjectVersion, type RawObject, recordOf } from '../k8s/source.ts'
import {
  conditionFrom,
  conditionsOf,
  type ObjectVersionRef,
  type SaidCondition,
  type StatusOutcome,
  type StatusSink,
} from '../k8s/status.ts'
import type { Allocation, CountedPool } from './allocation.ts'

interface Known {
  readonly target: ObjectVersionRef
  readonly generation: number | undefined
  readonly status: RawObject
}

interface Judgement {
  readonly generation: number | undefined
  readonly isAccepted: boolean
  /** It is written in a way that cannot be read: an older version, or nothing of it, is in force. */
  readonly isBroken: boolean
  readonly conditions: readonly SaidCondition[]
}

/** What there is to say of an object: conditions by `conditions <type>`, other fields by their name. */
type Sayings = ReadonlyMap<string, unknown>

export interface ConfigurationWritesParts {
  readonly clock: Clock
  readonly allocation: Allocation
  readonly sink: StatusSink
}

export class ConfigurationWrites {
  readonly #parts: ConfigurationWritesParts
  readonly #known = new Map<string, Known>()
  /** What is wrong with whom, and in which generation. */
  readonly #judged = new Map<string, Judgement>()
  /** What each pool is to say, as of the last count. */
  #counted: ReadonlyMap<string, CountedPool> = new Map()
  /** What cannot be written to an object, with what it was to say. */
  readonly #untaken = new Map<string, Sayings>()

  constructor(parts: ConfigurationWritesParts) {
    this.#parts = parts
  }

  /** Of objects that are no configuration only the version is kept. */
  read(key: ObjectKey, object: RawObject, version: ObjectVersion): void {
    const id = idOf(key)
    const target = targetOf(key, version)
    if (this.#known.get(id)?.target.uid !== target.uid) this.#untaken.delete(id)
    const status = isConfiguration(key) ? recordOf(object['status']) : {}
    this.#known.set(id, { target, generation: version.generation, status })
  }

  forget(key: ObjectKey): void {
    for (const each of [this.#known, this.#judged, this.#untaken]) each.delete(idOf(key))
  }

  targetOf(kind: string, namespace: string, name: string): ObjectVersionRef | undefined {
    return this.#known.get(idOf({ kind, namespace, name }))?.target
  }

  /** Counts anew; answers the pools that may have something to say. */
  count(): readonly string[] {
    const { allocation } = this.#parts
    this.#counted = new Map(allocation.pools().map((counted) => [idOf(counted.key), counted]))
    return [...this.#counted.keys()].filter((id) => this.#judged.has(id))
  }

  counted(): readonly CountedPool[] {
    return [...this.#counted.values()]
  }

  /** How many objects are not accepted as they are written. */
  get notAccepted(): number {
    return [...this.#judged.values()].filter(({ isAccepted }) => !isAccepted).length
  }

  /** How many of these are no kind that has no effect, but are wrong. */
  get broken(): number {
    return [...this.#judged.values()].filter(({ isBroken }) => isBroken).length
  }

  /** Answers the objects that may have something to say. */
  judge(problems: readonly Problem[], objects: StoredObjects, keys: KeyReports): readonly string[] {
    const ofObjects = byObject(problems)
    const told = new Map([...ofObjects].map(([id, of]) => [id, toldProblems(of)]))
    const own = conditionsOfObjects(objects, keys)
    for (const [id, { target, generation }] of this.#known) {
      if (!isConfiguration(target)) continue
      const { kind, namespace, name } = target
      const ofDialect = own[kind as ServedKind]?.get(namespace === '' ? name : `${namespace}/${name}`) ?? []
      const accepted = acceptedCondition(told.get(id) ?? [])
      const isAccepted = accepted.status === 'True'
      const isBroken = ofObjects.get(id)?.some(({ severity }) => severity === 'error') === true
      this.#judged.set(id, { generation, isAccepted, isBroken, conditions: [...ofDialect, accepted] })
    }
    return [...this.#judged.keys()]
  }

  write(id: string): Promise<StatusOutcome> | undefined {
    const [known, judged] = [this.#known.get(id), this.#judged.get(id)]
    // Before it is judged what an earlier leader said of it stays.
    if (known === undefined || judged === undefined) return undefined
    const said = this.#sayingsOf(id, known, judged)
    const status = statusOf(said)
    if (said.size === 0 || isSaid(status, known.status)) return undefined
    return this.#parts.sink.apply({ target: known.target, status }).then((outcome) => {
      this.#wrote(id, known, said, status, outcome)
      return outcome
    })
  }

  #sayingsOf(id: string, { target, status }: Known, { conditions, generation }: Judgement): Sayings {
    const counted = this.#counted.get(id)
    const ofPool = counted === undefined ? undefined : poolStatus(target.kind, counted)
    const before = conditionsOf(status)
    const now = new Date(this.#parts.clock.now()).toISOString().replace(/\.\d+Z$/, 'Z')
    const untaken = this.#untaken.get(id)
    const all: readonly (readonly [string, unknown])[] = [
      ...Object.entries(ofPool?.fields ?? {}),
      ...[...(ofPool?.conditions ?? []), ...conditions].map(
        (each) => [`${conditionMark}${each.type}`, conditionFrom(before, each, now, generation)] as const,
      ),
    ]
    return new Map(
      all.filter(([name, value]) => untaken?.has(name) !== true || !isSameSaying(untaken.get(name), value)),
    )
  }

  #wrote(id: string, known: Known, said: Sayings, status: RawObject, outcome: StatusOutcome): void {
    const now = this.#known.get(id)
    switch (outcome.kind) {
      case 'written':
        if (now !== known) return
        this.#known.set(id, {
          ...known,
          target: { ...known.target, resourceVersion: outcome.resourceVersion },
          status: { ...known.status, ...status, ...mergedConditions(known.status, status) },
        })
        return
      case 'owned': {
        const fields = [...said].filter(([name]) => outcome.fields.some((field) => isWithin(field, name)))
        return this.#leave(id, new Map(fields.length > 0 ? fields : said))
      }
      case 'undeclared': {
        const conditions = [...said].filter(([name]) => name.startsWith(conditionMark))
        return this.#leave(id, new Map(conditions.length > 0 ? conditions : said))
      }
      case 'gone':
        // It is there as far as we know: its kind has no status of its own then.
        return now?.target.uid === known.target.uid ? this.#leave(id, said) : undefined
    }
  }

  #leave(id: string, sayings: Sayings): void {
    this.#untaken.set(id, new Map([...(this.#untaken.get(id) ?? []), ...sayings]))
  }
}

const pools: ReadonlySet<string> = poolKinds
const configuration: ReadonlySet<string> = configurationKinds

export function isPool({ kind }: Pick<ObjectKey, 'kind'>): boolean {
  return pools.has(kind)
}

export function isConfiguration({ kind }: Pick<ObjectKey, 'kind'>): boolean {
  return configuration.has(kind)
}

/** Those of the configuration, as they are told: once for each object. */
export function toldOfConfiguration(
  problems: readonly Problem[],
): readonly (readonly [Problem['object'], readonly ToldProblem[]])[] {
  return [...byObject(problems).values()].flatMap((of) =>
    of[0] === undefined ? [] : [[of[0].object, toldProblems(of)]],
  )
}

function byObject(problems: readonly Problem[]): ReadonlyMap<string, readonly Problem[]> {
  const found = new Map<string, Problem[]>()
  for (const problem of problems) {
    const { kind, namespace = '', name } = problem.object
    if (!isConfiguration({ kind })) continue
    const id = idOf({ kind, namespace, name })
    const known = found.get(id)
    if (known === undefined) found.set(id, [problem])
    else known.push(problem)
  }
  return found
}

const conditionMark = 'conditions '

/** Whether a field, as the server names it, is a part of what is said. */
function isWithin(field: string, name: string): boolean {
  return name.startsWith(conditionMark)
    ? field.includes(`conditions[type="${name.slice(conditionMark.length)}"]`) || field === '.status.conditions'
    : field === `.status.${name}` || field.startsWith(`.status.${name}.`)
}

/** Times and generations aside, which are others at each look. */
function isSameSaying(before: unknown, now: unknown): boolean {
  const wordsOf = (value: unknown): unknown => {
    if (typeof value !== 'object' || value === null) return value
    const { status, reason, message } = recordOf(value)
    return [status, reason, message]
  }
  return sameValue(wordsOf(before), wordsOf(now))
}

function statusOf(said: Sayings): RawObject {
  const conditions = [...said].filter(([name]) => name.startsWith(conditionMark)).map(([, value]) => value)
  const fields = [...said].filter(([name]) => !name.startsWith(conditionMark))
  return { ...Object.fromEntries(fields), ...(conditions.length === 0 ? {} : { conditions }) }
}

/** Conditions that others wrote stay beside ours. */
function mergedConditions(before: RawObject, status: RawObject): RawObject {
  const now = conditionsOf(status)
  const others = conditionsOf(before).filter(({ type }) => now.every((each) => each.type !== type))
  return now.length + others.length === 0 ? {} : { conditions: [...others, ...now] }
}

/** An object of a kind that is read. */
function targetOf(key: ObjectKey, { uid, resourceVersion }: ObjectVersion): ObjectVersionRef {
  const resource = Object.hasOwn(kinds, key.kind) ? kinds[key.kind as ServedKind].resource : ''
  return { ...key, resource, uid: uid ?? '', resourceVersion: resourceVersion ?? '' }
}

/** Whether a status has all of these fields with these values; of conditions each by itself. */
function isSaid(wanted: RawObject, status: RawObject): boolean {
  const there = conditionsOf(status)
  return (
    Object.entries(wanted).every(([name, value]) => name === 'conditions' || sameValue(status[name], value)) &&
    conditionsOf(wanted).every((each) => there.some((other) => sameValue(other, each)))
  )
}

function idOf({ kind, namespace, name }: Pick<ObjectKey, 'kind' | 'namespace' | 'name'>): string {
  return `${kind}/${namespace}/${name}`
}
