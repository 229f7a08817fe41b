/**
 * The real datapath: loads the compiled programs, pins everything, and writes what is to be served into the maps.
 *
 *     open:    pinned maps of an earlier process --reused--> new programs --link update--> same interfaces
 *                  of another schema, or too small --copied (hand-over.ts)--'
 *     run:     upsert / remove --> tables/ --> maps <-- programs <-- packets
 *     close:   descriptors only; pins and links keep serving
 */
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { cpus, release, totalmem } from 'node:os'
import type { Frontend } from '../desired/model.ts'
import { HeraldError, messageOf } from '../errors.ts'
import { programInfo } from '../sys/bpf.ts'
import { Accelerator } from './acceleration.ts'
import { chooseAttachMode, replyProgramId, type ProgramFds } from './attachment.ts'
import { mapLimits } from './capacity.ts'
import { adoptInterfaces, attachExactly, type Attachments } from './carriers.ts'
import { converters } from './converters.ts'
import {
  type AttachMode,
  type Datapath,
  type DatapathProblem,
  type DatapathStatus,
  type ProgrammedFrontend,
  upserted,
} from './datapath.ts'
import { Growth } from './growth.ts'
import { planHandOver, type HandOver } from './hand-over.ts'
import { KernelMaps } from './kernel-maps.ts'
import { Lasting, pinMissingMaps } from './lasting.ts'
import { flowNames, mapShapes, type MapName } from './layout.ts'
import {
  aside,
  atOnce,
  isRedirecting,
  type KernelDatapathOptions,
  type Loaded,
  loaded,
  type Loading,
  type Opening,
  type Sizes,
} from './loading.ts'
import { indexKey } from './maps.ts'
import { NetfilterLook } from './netfilter-look.ts'
import { directions, Pins, podProgramName, programNames, replyProgramName, stageProgramNames } from './pins.ts'
import { placeOf, probe, probesOf } from './probe.ts'
import { Redirection } from './redirection.ts'
import { servedOver, type Served } from './served.ts'
import { Unfinished } from './unfinished.ts'

export interface KernelDatapath extends Datapath {
  /** For test runs of the programs: see `runProgram` in sys/bpf.ts. They are others once a map was made larger. */
  readonly programs: ProgramFds
  /** herald_pod. */
  readonly podProgram: number
  /** In the order of `stageProgramNames`. */
  readonly stagePrograms: readonly number[]
  /** herald_xdp; undefined: it was not asked for, or cannot be had. */
  readonly earlyProgram: number | undefined
}

/** Programs and maps that serve. */
interface Running {
  readonly maps: KernelMaps
  readonly served: Served
  readonly attachments: Attachments
  readonly redirection: Redirection
  readonly accelerator: Accelerator
  readonly podProgram: number
  readonly stagePrograms: readonly number[]
  readonly isTranslating: boolean
  readonly lostUplinks: number
  /** Flows of an earlier schema were taken over. */
  readonly isUpgrade: boolean
}

/**
 * Opens the datapath of this node, taking over what is pinned. Throws ERR_BPFFS, ERR_BPF_OBJECT_MISSING,
 * ERR_LIBBPF_MISSING, ERR_BPF_LOAD (with the verifier's words) or ERR_SYSCALL.
 */
export function openKernelDatapath(options: KernelDatapathOptions): KernelDatapath {
  return atOnce(openedBy(options))
}

/** As {@link openKernelDatapath}, and this thread goes on with something else while the kernel loads. */
export function openKernelDatapathAside(options: KernelDatapathOptions): Promise<KernelDatapath> {
  return aside(openedBy(options))
}

function* openedBy(options: KernelDatapathOptions): Loading<KernelDatapath> {
  const pins = new Pins(options.bpffs, options.version?.schema)
  if (!existsSync(options.objectFile))
    throw new HeraldError('ERR_BPF_OBJECT_MISSING', `${options.objectFile} does not exist`)
  const log = options.log ?? (() => {})
  const { initially, most } = sizesOf(options)
  const opening: Opening = { options, pins, log, initially }
  const growth = new Growth(most, log)
  const wasWhole = pins.isWhole
  const current = new Current(opening, growth, yield* firstStart(opening, growth))
  const { lostUplinks, isUpgrade } = current.running
  const adopted = wasWhole || isUpgrade
  if (adopted) log(`adopted ${current.running.served.readAll().length} frontends from ${pins.folder}`)
  const withRoom = <Result>(write: (running: Running) => Result): Result => {
    current.open()
    return growth.withRoom(
      () => current.running.served.filling(),
      (sizes) => current.grow(sizes),
      () => write(current.writable()),
    )
  }
  const upsert = (frontend: Frontend): ProgrammedFrontend =>
    withRoom((running) => {
      const held = running.served.upsert(frontend)
      whenWritten(running, frontend)
      return held
    })
  return {
    get programs() {
      return current.running.attachments.programs
    },
    get podProgram() {
      return current.running.podProgram
    },
    get stagePrograms() {
      return current.running.stagePrograms
    },
    get earlyProgram() {
      return current.running.accelerator.program
    },
    get status() {
      return statusOf(current.running, { adopted, lostUplinks, schema: pins.version, problems: current.problems })
    },
    readAll: () => current.open().served.readAll(),
    read: (id) => current.open().served.read(id),
    upsert,
    upsertAll: (frontends) => {
      const together = togetherOf(() => withRoom(({ served }) => served.upsertTogether(frontends)))
      return frontends.map((frontend, n) =>
        upserted(() => {
          const held = together[n]
          if (held === undefined) return upsert(frontend)
          whenWritten(current.running, frontend)
          return held
        }),
      )
    },
    remove: (id) => current.remove(id),
    setNodes: (nodes) => withRoom(({ served }) => served.setNodes(nodes)),
    counters: (id) => current.open().served.counters(id),
    reasons: () => current.open().served.reasons(),
    drops: () => current.open().served.drops(),
    usage: () => current.open().served.usage(),
    attach: (names, others = []) => current.attach(names, others),
    follow: () => current.follow(),
    close: () => current.close(),
  }
}

/** What is done for a frontend once it is written. */
function whenWritten({ attachments, redirection, served }: Running, frontend: Frontend): void {
  redirection.serve(frontend.id, frontend.backends)
  const place = placeOf(frontend, served.nodePorts)
  if (place !== undefined) probe(attachments.programs.ingress, place, frontend.backends)
}

/** None where the maps cannot be written at all: each by itself says why. */
function togetherOf(
  write: () => readonly (ProgrammedFrontend | undefined)[],
): readonly (ProgrammedFrontend | undefined)[] {
  try {
    return write()
  } catch {
    return []
  }
}

/** What runs now: something else after maps were made larger. */
class Current {
  readonly #opening: Opening
  readonly #growth: Growth
  readonly #unfinished: Unfinished
  readonly #lasting: Lasting
  #running: Running
  #isClosed = false

  constructor(opening: Opening, growth: Growth, running: Running) {
    this.#opening = opening
    this.#growth = growth
    this.#unfinished = new Unfinished(opening.log)
    this.#lasting = new Lasting({ relock: () => {}, ...opening.options, ...opening })
    this.#running = running
  }

  get running(): Running {
    return this.#running
  }

  get problems(): readonly DatapathProblem[] {
    return [
      ...this.#unfinished.problems,
      ...this.#lasting.problems,
      ...this.#growth.problems,
      ...this.#running.accelerator.problems,
    ]
  }

  /** Touching memory after it was unmapped would end the process. */
  open(): Running {
    if (this.#isClosed) throw new HeraldError('ERR_SYSCALL', 'the datapath was closed', { errno: 'EBADF' })
    this.#unfinished.retry()
    return this.#running
  }

  /** Throws ERR_SYSCALL while packets meet maps other than these. */
  writable(): Running {
    const running = this.open()
    this.#unfinished.check()
    return running
  }

  attach(names: readonly string[], others: readonly string[]): void {
    const { attachments, redirection, accelerator, maps } = this.writable()
    this.#lasting.look(maps, attachments.programs)
    try {
      attachExactly(attachments, names, others, this.#opening.log)
    } finally {
      redirection.judge(attachments.held)
      accelerator.attach(attachments.held)
    }
  }

  remove(id: string): void {
    const { served, redirection } = this.writable()
    served.remove(id)
    redirection.forget(id)
    this.#growth.judge(served.filling())
  }

  follow(): void {
    if (this.#isClosed) return
    const { attachments, redirection, accelerator } = this.open()
    redirection.follow(attachments.held)
    accelerator.follow()
  }

  grow(sizes: ReadonlyMap<string, number>): void {
    const renew = (): void => this.#renew((name) => sizes.get(name) ?? 0)
    // Larger maps are filled from those that are pinned.
    this.#lasting.check(this.#running.maps, this.#running.attachments.programs)
    try {
      renew()
    } catch (error) {
      if (this.#opening.pins.isSwapping) this.#unfinished.begin(renew, error)
      throw error
    }
  }

  #renew(wanted: Sizes): void {
    const next = atOnce(start(this.#opening, wanted))
    const { maps, attachments, accelerator } = this.#running
    next.attachments.isAlone = attachments.isAlone
    accelerator.close()
    maps.close()
    this.#running = next
    next.redirection.judge(next.attachments.held)
    this.#growth.judge(next.served.filling())
  }

  close(): void {
    this.#isClosed = true
    this.#running.accelerator.close()
    this.#running.maps.close()
    this.#opening.pins.close()
  }
}

function statusOf(
  { attachments: { mode: attach, held }, redirection: { mode, reason }, accelerator, isTranslating }: Running,
  more: Pick<DatapathStatus, 'adopted' | 'lostUplinks' | 'schema' | 'problems'>,
): DatapathStatus {
  const why = reason === undefined ? {} : { modeReason: reason }
  const noSnat = isTranslating ? {} : { whyNoSnat: 'its kernel takes no call from program to program' }
  const early = accelerator.status === undefined ? {} : { acceleration: accelerator.status }
  return { kind: 'ebpf', attach, mode, ...why, ...noSnat, interfaces: [...held.values()].sort(), ...early, ...more }
}

/** Flows have as much room as this version gives them, where there is memory for it. */
function* firstStart(opening: Opening, growth: Growth): Loading<Running> {
  const { pins, initially, log } = opening
  pins.makeFolders()
  pinMissingMaps(pins, log)
  const larger = flowNames.filter((name) => initially(name) > (pins.maxEntries(name) ?? Infinity))
  return yield* growth.firstly(
    larger,
    () => start(opening, (name) => (larger.some((each) => each === name) ? initially(name) : 0)),
    () => start(opening, () => 0),
  )
}

function sizesOf(options: KernelDatapathOptions): { initially: Sizes; most: Sizes } {
  const limits = mapLimits(totalmem(), cpus().length)
  const made = (name: MapName): number | undefined => options.maxEntries?.[name]
  return {
    initially: (name) => made(name) ?? limits[name]?.entries ?? mapShapes[name].maxEntries,
    most: (name) => options.mostEntries?.[name] ?? made(name) ?? limits[name]?.most ?? mapShapes[name].maxEntries,
  }
}

/** Loads and takes over; maps for which `wanted` asks more than they have are made larger. */
function* start(opening: Opening, wanted: Sizes): Loading<Running> {
  const { options, pins, log } = opening
  const handOver = planHandOver(pins, wanted, options.version?.converters ?? converters)
  if (handOver !== undefined) log(`taking over from ${handOver.what}`)
  else if (!pins.isWhole)
    for (const { version, isWhole } of pins.others())
      if (isWhole)
        log(
          `programs of schema ${version} serve, whose maps this version (schema ${pins.version}) cannot read: they ` +
            'go once ours are attached, and their flows are not carried over',
        )
  let maps: KernelMaps | undefined
  try {
    const found = yield* loaded(opening, wanted, handOver)
    maps = new KernelMaps(found.object)
    handOver?.fill(found.object)
    return serve(opening, found, maps, handOver)
  } catch (error) {
    maps?.close()
    // Until the swap the earlier programs serve from what they have; after it a next start finishes it.
    if (handOver?.isUndoable === true) handOver.undo()
    throw error
  }
}

function serve(
  { options, pins, log }: Opening,
  { object, refusal, isTranslating }: Loaded,
  maps: KernelMaps,
  handOver: HandOver | undefined,
): Running {
  const programs: ProgramFds = {
    ingress: object.programFd(programNames.ingress),
    egress: object.programFd(programNames.egress),
  }
  const mode = chooseAttachMode(options.attach, programs)
  const replies = { program: object.programFd(replyProgramName), held: new Map<number, string>() }
  const times = {
    nowNs: () => process.hrtime.bigint(),
    drainNs: BigInt(Math.round((options.drainSec ?? 30) * 1e9)),
    settleNs: BigInt(Math.round((options.settleSec ?? 600) * 1e9)),
    previousNs: BigInt(Math.round((options.previousSec ?? 86_400) * 1e9)),
  }
  const served = servedOver(maps, times)
  const attachments: Attachments = {
    pins,
    mode,
    programs,
    replies,
    probes: () => probesOf(served.readAll()),
    held: new Map(),
    isSwept: false,
    isAlone: false,
  }
  handOver?.bridge(object, replyProgramId(handOver.from))
  const stagePrograms = stageProgramNames.map((name) => object.programFd(name))
  const stages = object.openMap('stages')
  for (const [stage, program] of stagePrograms.entries()) stages.update(indexKey(stage), indexKey(program))
  // Replies before requests here too.
  const podProgram = object.programFd(podProgramName)
  const opened = { options, pins, log, refusal }
  const redirection = redirectionOf(opened, mode, [podProgram, programs.ingress], maps, served)
  const lostUplinks = adoptInterfaces(attachments, log)
  for (const direction of directions) pins.replaceProgram(direction, programs[direction])
  const accelerator = new Accelerator({
    wanted: options.acceleration ?? 'disabled',
    objectFile: join(dirname(options.objectFile), 'xdp.bpf.o'),
    ...{ pins, release: release(), log },
  })
  try {
    handOver?.finish(object)
  } catch (error) {
    log(`flows that began during the hand-over are not known any more: ${messageOf(error)}`)
  }
  const isUpgrade = handOver?.isOfSchema === true
  const running = { maps, served, attachments, redirection, accelerator, podProgram, stagePrograms, isTranslating }
  return { ...running, lostUplinks, isUpgrade }
}

function redirectionOf(
  { options, pins, log, refusal }: Pick<Opening, 'options' | 'pins' | 'log'> & Pick<Loaded, 'refusal'>,
  attach: AttachMode,
  [program, ingress]: readonly [number, number],
  maps: KernelMaps,
  served: Served,
): Redirection {
  const redirection = new Redirection({
    wanted: refusal === undefined ? (options.mode ?? 'stack') : 'stack',
    refusal,
    pins,
    attach,
    program,
    ingressId: programInfo(ingress).id,
    links: maps.store('links'),
    permit: maps.memory('permit'),
    nowNs: () => process.hrtime.bigint(),
    netfilter: options.netfilter ?? new NetfilterLook(),
    log,
  })
  if (isRedirecting(options))
    for (const { id, backends, resting = [] } of served.readAll()) redirection.serve(id, [...backends, ...resting])
  return redirection
}
