/**
 * What outlives this process stays pinned while it runs: where somebody has unmounted the bpf file system, or removed
 * what is in it, all of it is pinned again. Until it is, the descriptors of this process keep maps, programs and links.
 */
import { existsSync } from 'node:fs'
import { HeraldError, messageOf } from '../errors.ts'
import { BpfMap, closeFd, openPinned, openProgram, pin, programMaps } from '../sys/bpf.ts'
import { mountBpffs } from '../sys/mount.ts'
import type { DatapathProblem, DatapathStatus } from './datapath.ts'
import type { KernelMaps } from './kernel-maps.ts'
import { mapNames } from './layout.ts'
import { indexKey } from './maps.ts'
import { directions, type Pins, stageProgramNames } from './pins.ts'
import type { ProgramFds } from './attachment.ts'

/**
 * Before anything is taken over: maps whose pins somebody has removed while no agent ran are pinned again, as the
 * programs that serve have them. In an unfinished hand-over it is not theirs that are missing.
 */
export function pinMissingMaps(pins: Pins, log: (message: string) => void): void {
  if ([pins.aside, pins.arriving, pins.swapped].some((path) => existsSync(path))) return
  const wanted = new Map<string, string>([
    ...mapNames.map((name) => [name, pins.map(name)] as const),
    ['stages', pins.stages],
  ])
  for (const [name, path] of wanted) if (existsSync(path)) wanted.delete(name)
  if (wanted.size === 0) return
  const found: string[] = []
  const findIn = (program: number | undefined): void => void found.push(...pinMapsOf(program, wanted))
  for (const direction of directions) findIn(openPinned(pins.program(direction)))
  // What is had by these alone is found when their map is.
  const stages = openPinned(pins.stages)
  if (stages !== undefined && wanted.size > 0) stagePrograms(stages).forEach((id) => findIn(openProgram(id)))
  if (stages !== undefined) closeFd(stages)
  if (found.length > 0) log(`pinned again in ${pins.folder} what somebody had removed: ${found.join(', ')}`)
}

/** The kernel keeps so many characters of the name of a map. */
const nameCharacters = 15

/**
 * Pins maps of a program at the paths that `wanted` has for their names; takes those out of it and answers their names.
 * `program`: its descriptor, which is closed.
 */
export function pinMapsOf(program: number | undefined, wanted: Map<string, string>): readonly string[] {
  if (program === undefined) return []
  const found = programMaps(program).flatMap((map) => {
    const names = [...wanted].filter(([name]) => name.slice(0, nameCharacters) === map.name)
    for (const [name, path] of names) {
      pin(map.fd, path)
      wanted.delete(name)
    }
    closeFd(map.fd)
    return names.map(([name]) => name)
  })
  closeFd(program)
  return found
}

function stagePrograms(fd: number): readonly number[] {
  const map = new BpfMap('stages', fd)
  return stageProgramNames.flatMap((_, stage) => {
    const id = new Uint32Array(1)
    return map.lookup(indexKey(stage), new Uint8Array(id.buffer)) ? [...id] : []
  })
}

export interface LastingParts {
  readonly pins: Pins
  readonly log: (message: string) => void
  /** Takes the file system for this agent alone, as it was when it was opened. */
  readonly relock: () => void
}

export class Lasting {
  readonly #parts: LastingParts
  #problem: DatapathProblem | undefined

  constructor(parts: LastingParts) {
    this.#parts = parts
  }

  get problems(): NonNullable<DatapathStatus['problems']> {
    return this.#problem === undefined ? [] : [this.#problem]
  }

  /** Pins again what is not there any more. What keeps it from being is a problem until it is, and ends nothing. */
  look(maps: KernelMaps, programs: ProgramFds): void {
    const { pins, log } = this.#parts
    const programPaths = directions.map((direction) => pins.program(direction))
    const paths = [...mapNames.map((name) => pins.map(name)), pins.stages, ...programPaths, ...pins.keptLinks.keys()]
    if (paths.every((path) => existsSync(path))) return this.#mended()
    try {
      log(`pinned again in ${pins.folder} what somebody had removed: ${this.#pinAll(maps, programs).join(', ')}`)
      this.#mended()
    } catch (error) {
      const reason = messageOf(error).split('\n')[0] ?? ''
      const text = `what outlives this agent is not pinned in ${pins.folder} any more, and cannot be: ${reason}`
      if (this.#problem?.text !== text) log(text)
      this.#problem = { subject: 'pins', text, times: (this.#problem?.times ?? 0) + 1 }
    }
  }

  /** The same; throws ERR_BPFFS where it is not. */
  check(maps: KernelMaps, programs: ProgramFds): void {
    this.look(maps, programs)
    if (this.#problem !== undefined) throw new HeraldError('ERR_BPFFS', this.#problem.text)
  }

  #pinAll(maps: KernelMaps, programs: ProgramFds): readonly string[] {
    const { pins, relock } = this.#parts
    mountBpffs(pins.bpffs)
    pins.makeFolders()
    relock()
    const all: readonly (readonly [path: string, fd: number])[] = [
      ...mapNames.map((name) => [pins.map(name), maps.descriptor(name)] as const),
      [pins.stages, maps.descriptor('stages')],
      ...directions.map((direction) => [pins.program(direction), programs[direction]] as const),
      ...pins.keptLinks,
    ]
    const missing = all.filter(([path]) => !existsSync(path))
    for (const [path, fd] of missing) pin(fd, path)
    return missing.map(([path]) => path.slice(pins.folder.length + 1))
  }

  #mended(): void {
    this.#problem = undefined
  }
}
