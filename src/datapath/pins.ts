/**
 * What outlives the process, all under `<bpffs>/herald/v<schema>/`:
 *
 *     maps/<name>   programs/herald_ingress, herald_egress   links/<ifindex>-ingress, <ifindex>-egress (TCX only)
 *     maps/stages  the programs with which herald_ingress goes on
 *     maps/formers  while programs are replaced: those of before, to which replies are handed on
 *     xdp/<ifindex>-native, <ifindex>-generic  links of herald_xdp, where it is asked for
 *     pods/<ifindex>  links of herald_pod at ingress, where flows go past netfilter (TCX only)
 *     aside/<name>  maps whose larger successors are being filled
 *     arriving/     while maps of an earlier schema are being copied
 *     swapped/      beside one of these two: programs are being replaced, flows may be opened in the new maps
 */
import { existsSync, readdirSync, renameSync, rmdirSync, rmSync, unlinkSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { HeraldError } from '../errors.ts'
import { closeFd, mapInfo, openPinned, pin } from '../sys/bpf.ts'
import type { Direction } from '../sys/bpf-attach.ts'
import { makeFolder } from '../sys/folder.ts'
import { isBpffs } from '../sys/mount.ts'
import type { XdpMode } from '../sys/xdp.ts'
import { schema, type MapName } from './layout.ts'

export const programNames: Readonly<Record<Direction, string>> = { ingress: 'herald_ingress', egress: 'herald_egress' }
/** At egress of what is no uplink. */
export const replyProgramName = 'herald_reply'
/** At ingress of what pods are behind. */
export const podProgramName = 'herald_pod'
/** `enum stage` in bpf/herald.bpf.c: what herald_ingress goes on with. */
export const stageProgramNames = ['herald_snat', 'herald_snat_reply'] as const
export const directions: readonly Direction[] = ['ingress', 'egress']

/** Whether programs of ours, of any schema, are pinned: then they may serve. */
export function isServedByPins(bpffs: string): boolean {
  const root = join(bpffs, 'herald')
  if (!existsSync(root)) return false
  return readdirSync(root).some((version) => {
    const folder = join(root, version, 'programs')
    return existsSync(folder) && readdirSync(folder).length > 0
  })
}

export class Pins {
  readonly bpffs: string
  readonly version: number
  readonly folder: string
  /** Links of this process by their paths: attached for as long as it lives, whoever removes what is pinned. */
  readonly #kept = new Map<string, number>()

  /** Throws ERR_BPFFS when nothing can be pinned there. */
  constructor(bpffs: string, version = schema) {
    if (!isBpffs(bpffs)) throw new HeraldError('ERR_BPFFS', `${bpffs} is no bpf file system`)
    this.bpffs = bpffs
    this.version = version
    this.folder = join(bpffs, 'herald', `v${version}`)
  }

  /** The pins of versions with another schema. */
  others(): readonly Pins[] {
    return readdirSync(join(this.bpffs, 'herald'))
      .flatMap((name) => /^v(\d+)$/.exec(name)?.[1] ?? [])
      .map(Number)
      .filter((version) => version !== this.version)
      .map((version) => new Pins(this.bpffs, version))
  }

  makeFolders(): void {
    for (const kind of ['maps', 'programs', 'links']) makeFolder(join(this.folder, kind), 0o700)
    for (const folder of [this.pods, this.xdp]) if (this.#namesIn(folder).length > 0) makeFolder(folder, 0o700)
  }

  get mapsFolder(): string {
    return join(this.folder, 'maps')
  }

  map(name: MapName): string {
    return join(this.mapsFolder, name)
  }

  /** The map of {@link stageProgramNames}, which the kernel empties where nobody holds it. */
  get stages(): string {
    return join(this.mapsFolder, 'stages')
  }

  /** The map of the programs that a hand-over asks, which the kernel would empty with a process that ends in one. */
  get formers(): string {
    return join(this.mapsFolder, 'formers')
  }

  /** Where a map lies while its larger successor is filled. */
  moved(name: MapName): string {
    return join(this.aside, name)
  }

  get aside(): string {
    return join(this.folder, 'aside')
  }

  get arriving(): string {
    return join(this.folder, 'arriving')
  }

  get swapped(): string {
    return join(this.folder, 'swapped')
  }

  /** The programs of a hand-over are being replaced, or were not all of them. */
  get isSwapping(): boolean {
    return existsSync(this.swapped)
  }

  /** An agent of this schema came as far as serving. */
  get isWhole(): boolean {
    return directions.every((direction) => existsSync(this.program(direction)))
  }

  program(direction: Direction): string {
    return join(this.folder, 'programs', programNames[direction])
  }

  link(ifindex: number, direction: Direction): string {
    return join(this.folder, 'links', `${ifindex}-${direction}`)
  }

  /** The links that are pinned or kept, whether their interfaces still exist or not. */
  links(): { readonly ifindex: number; readonly direction: Direction; readonly path: string }[] {
    const folder = join(this.folder, 'links')
    return this.#namesIn(folder).flatMap((name) => {
      const match = /^(\d+)-(ingress|egress)$/.exec(name)
      return match === null
        ? []
        : [
            {
              ifindex: Number(match[1]),
              direction: match[2] === 'ingress' ? ('ingress' as const) : ('egress' as const),
              path: join(folder, name),
            },
          ]
    })
  }

  /** Of links that are pinned or kept. */
  #namesIn(folder: string): readonly string[] {
    const kept = [...this.#kept.keys()].filter((path) => dirname(path) === folder).map((path) => basename(path))
    return [...new Set([...(existsSync(folder) ? readdirSync(folder) : []), ...kept])]
  }

  /** The answer of `use` to the descriptor of a link, kept or pinned; undefined: there is none. */
  withLink<Answer>(path: string, use: (fd: number) => Answer): Answer | undefined {
    const kept = this.#kept.get(path)
    if (kept !== undefined) return use(kept)
    const fd = openPinned(path)
    if (fd === undefined) return undefined
    try {
      return use(fd)
    } finally {
      closeFd(fd)
    }
  }

  /** A link stays attached from here on for as long as this process lives; by default the one that is pinned. */
  keepLink(path: string, fd = this.#kept.get(path) ?? openPinned(path)): void {
    if (fd !== undefined) this.#kept.set(path, fd)
  }

  /** It is over, or was detached: neither the descriptor nor the pin is needed any more. */
  dropLink(path: string): void {
    const kept = this.#kept.get(path)
    if (kept !== undefined) closeFd(kept)
    this.#kept.delete(path)
    rmSync(path, { force: true })
  }

  /** What was pinned at a path, by the descriptors of this process. */
  get keptLinks(): ReadonlyMap<string, number> {
    return this.#kept
  }

  /** What is pinned goes on without this process. */
  close(): void {
    for (const fd of this.#kept.values()) closeFd(fd)
    this.#kept.clear()
  }

  get pods(): string {
    return join(this.folder, 'pods')
  }

  podLink(ifindex: number): string {
    return join(this.pods, String(ifindex))
  }

  /** Interfaces for which the link of herald_pod is pinned or kept, whether they still exist or not. */
  podLinks(): readonly number[] {
    return this.#namesIn(this.pods).map(Number)
  }

  get xdp(): string {
    return join(this.folder, 'xdp')
  }

  xdpLink(ifindex: number, mode: XdpMode): string {
    return join(this.xdp, `${ifindex}-${mode}`)
  }

  /** The links of herald_xdp that are pinned or kept, whether their interfaces still exist or not. */
  xdpLinks(): { readonly ifindex: number; readonly mode: XdpMode }[] {
    return this.#namesIn(this.xdp).flatMap((name) => {
      const match = /^(\d+)-(native|generic)$/.exec(name)
      return match === null ? [] : [{ ifindex: Number(match[1]), mode: match[2] as XdpMode }]
    })
  }

  /** Makes the links of another version ours; what they run is not touched. */
  takeLinks(former: Pins): void {
    for (const { ifindex, direction, path } of former.links()) renameSync(path, this.link(ifindex, direction))
    const pods = former.podLinks()
    if (pods.length > 0) makeFolder(this.pods, 0o700)
    for (const ifindex of pods) renameSync(former.podLink(ifindex), this.podLink(ifindex))
    const early = former.xdpLinks()
    if (early.length > 0) makeFolder(this.xdp, 0o700)
    for (const { ifindex, mode } of early) renameSync(former.xdpLink(ifindex, mode), this.xdpLink(ifindex, mode))
  }

  /** Entries of the pinned map; undefined when it is not pinned. */
  maxEntries(name: MapName): number | undefined {
    const fd = openPinned(this.map(name))
    if (fd === undefined) return undefined
    try {
      return mapInfo(fd).maxEntries
    } finally {
      closeFd(fd)
    }
  }

  /** Pins a program over the one of an earlier version; the name is never without one. */
  replaceProgram(direction: Direction, fd: number): void {
    const path = this.program(direction)
    const beside = `${path}_next`
    if (existsSync(beside)) unlinkSync(beside)
    pin(fd, beside)
    renameSync(beside, path)
  }

  /** Removes every pin of every schema version and the folders; answers what was removed. */
  removeAll(): string[] {
    return this.#remove(join(this.bpffs, 'herald'))
  }

  /** Removes the pins of this schema version; answers what was removed. */
  removeVersion(): string[] {
    return this.#remove(this.folder)
  }

  #remove(root: string): string[] {
    const removed: string[] = []
    const remove = (folder: string): void => {
      for (const entry of readdirSync(folder, { withFileTypes: true })) {
        const path = join(folder, entry.name)
        if (entry.isDirectory()) remove(path)
        else {
          unlinkSync(path)
          removed.push(path)
        }
      }
      rmdirSync(folder)
    }
    if (existsSync(root)) remove(root)
    return removed
  }
}
