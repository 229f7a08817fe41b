/**
 * The socket programs: loaded, attached to a group of cgroup v2 and pinned, so that sockets are served while no agent
 * runs. They share nothing with the programs on the uplinks.
 *
 *     <bpffs>/herald/sockets-v<schema>/maps/<name>   links/<hook>
 */
import { existsSync, readdirSync, rmdirSync, rmSync, unlinkSync } from 'node:fs'
import { release, totalmem } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { HeraldError, messageOf } from '../errors.ts'
import { detachLink, linkProgramId, updateLink } from '../sys/bpf-attach.ts'
import { BpfObject, closeFd, mapInfo, openPinned, openProgram, pin, programInfo, programName } from '../sys/bpf.ts'
import { type Cgroup, cgroupOfLink, cgroupProgramIds, createCgroupLink, findCgroup, withCgroup } from '../sys/cgroup.ts'
import { makeFolder } from '../sys/folder.ts'
import { isBpffs } from '../sys/mount.ts'
import { namedRefusal } from './refusal.ts'
import { socketLimits } from './capacity.ts'
import type { SocketBalancer, SocketStatus } from './datapath.ts'
import { KernelMap } from './kernel-maps.ts'
import { pinMapsOf } from './lasting.ts'
import { aside, atOnce, type Loading } from './loading.ts'
import type { MapStore } from './maps.ts'
import { LedSockets } from './socket-ends.ts'
import { socketMapNames, socketSchema, type SocketStoreName, socketStoreNames } from './socket-layout.ts'
import { socketsOver } from './socket-served.ts'

export interface SocketOptions {
  readonly bpffs: string
  /** The compiled programs: build/bpf/socket.bpf.o. */
  readonly objectFile: string
  /** A group of cgroup v2, or where one is mounted below. */
  readonly cgroupRoot: string
  readonly log?: (message: string) => void
  /** Entries of maps when they are made, in place of what suits the machine's memory. */
  readonly maxEntries?: Readonly<Partial<Record<SocketStoreName, number>>>
}

/**
 * By their numbers of linux/bpf.h. In this order: a socket that is led to a backend is told of the frontend from the
 * first on.
 */
const hooks = {
  recvmsg4: 19,
  recvmsg6: 20,
  getpeername4: 29,
  getpeername6: 30,
  sendmsg4: 14,
  sendmsg6: 15,
  connect4: 10,
  connect6: 11,
} as const

type Hook = keyof typeof hooks
const hookNames = Object.keys(hooks) as readonly Hook[]
const folderName = /^sockets-v(\d+)$/
/** The one constant of the programs: see socket.bpf.c. */
const mayNotSayWhy = { section: '.rodata.say_why', value: Uint8Array.of(0, 0, 0, 0) } as const

function foldersIn(bpffs: string): readonly string[] {
  const base = join(bpffs, 'herald')
  if (!existsSync(base)) return []
  return readdirSync(base)
    .filter((name) => folderName.test(name))
    .map((name) => join(base, name))
}

/** Where maps of socket programs are pinned, of every schema. */
export function socketMapFolders(bpffs: string): readonly { readonly folder: string; readonly schema: number }[] {
  return foldersIn(bpffs).map((path) => ({
    folder: join(path, 'maps'),
    schema: Number(folderName.exec(basename(path))?.[1]),
  }))
}

const ownFolder = (bpffs: string): string => join(bpffs, 'herald', `sockets-v${socketSchema}`)

/** Where maps of this version are pinned while its programs lead sockets. */
export const ownSocketMaps = (bpffs: string): string => join(ownFolder(bpffs), 'maps')

/** Whether socket programs of ours, of any schema, are pinned. */
export function areSocketsPinned(bpffs: string): boolean {
  return foldersIn(bpffs).some((folder) => linksIn(folder).length > 0)
}

function linksIn(folder: string): readonly string[] {
  const links = join(folder, 'links')
  return existsSync(links) ? readdirSync(links).map((name) => join(links, name)) : []
}

/**
 * Attaches the socket programs, taking over what is pinned. Throws ERR_CGROUP, ERR_BPF_OBJECT_MISSING,
 * ERR_LIBBPF_MISSING, ERR_BPF_LOAD, ERR_ATTACH and ERR_SYSCALL; what it made is gone then.
 */
export function openSockets(options: SocketOptions): SocketBalancer {
  return atOnce(openedBy(options))
}

/** As {@link openSockets}, and this thread goes on with something else while the kernel loads. */
export function openSocketsAside(options: SocketOptions): Promise<SocketBalancer> {
  return aside(openedBy(options))
}

function* openedBy(options: SocketOptions): Loading<SocketBalancer> {
  const { bpffs, objectFile, log = () => {} } = options
  const cgroup = findCgroup(options.cgroupRoot)
  if (!existsSync(objectFile)) throw new HeraldError('ERR_BPF_OBJECT_MISSING', `${objectFile} does not exist`)
  const folder = ownFolder(bpffs)
  const adopted = linksIn(folder).length > 0
  for (const kind of ['maps', 'links']) makeFolder(join(folder, kind), 0o700)
  pinMissingMaps(folder, log)
  const links = new Map<Hook, number>()
  let object: BpfObject | undefined
  let led: LedSockets | undefined
  const close = (): void => {
    for (const fd of links.values()) closeFd(fd)
    links.clear()
    object?.close()
    object = undefined
    led?.close()
    led = undefined
  }
  try {
    object = yield* loaded(options, folder, log)
    // What the maps say is put right before anything new asks them.
    const stores = new Map(socketStoreNames.map((name) => [name, storeOf(object, name)]))
    const served = socketsOver({ store: (name) => stores.get(name) ?? storeOf(object, name) })
    const attached: Attached = { object, bpffs, folder, links }
    let status = { ...attachAll(attached, cgroup), adopted }
    const listed = yield* ledSockets(options, folder, object)
    if (listed instanceof LedSockets) led = listed
    const ends = listed instanceof LedSockets ? {} : { whyNoEnds: listed }
    return {
      ...served,
      endSockets: (...asked) => led?.end(...asked) ?? [],
      get status() {
        return { ...status, ...ends }
      },
      attach: () => {
        status = { ...attachAll(attached, findCgroup(options.cgroupRoot)), adopted }
      },
      // Until then they are asked first, and lead sockets as they did.
      takeOver: () => {
        const others = foldersIn(bpffs).filter((former) => former !== folder)
        for (const what of others.flatMap(removeFolder)) log(`removed ${what}`)
        if (others.length > 0) status = { ...attachAll(attached, findCgroup(options.cgroupRoot)), adopted }
      },
      close,
    }
  } catch (error) {
    close()
    if (!adopted) removeFolder(folder)
    throw error
  }
}

/** Those whose pins somebody has removed while no agent ran, as the programs that serve have them. */
function pinMissingMaps(folder: string, log: (message: string) => void): void {
  const missing = socketMapNames.map((name) => [name, join(folder, 'maps', name)] as const)
  const wanted = new Map<string, string>(missing.filter(([, path]) => !existsSync(path)))
  if (wanted.size === 0) return
  const found = linksIn(folder).flatMap((path) => {
    const link = openPinned(path)
    if (link === undefined) return []
    const program = linkProgramId(link)
    closeFd(link)
    return program === undefined ? [] : pinMapsOf(openProgram(program), wanted)
  })
  if (found.length > 0) log(`pinned again in ${folder} what somebody had removed: ${found.join(', ')}`)
}

function storeOf(object: BpfObject | undefined, name: SocketStoreName): MapStore {
  if (object === undefined) throw new HeraldError('ERR_SYSCALL', 'the socket programs were closed', { errno: 'EBADF' })
  return new KernelMap(name, object.openMap(name))
}

/** Kernels before 6.1 have no word for why a call is refused: there it is EPERM. */
function* loaded(options: SocketOptions, folder: string, log: (text: string) => void): Loading<BpfObject> {
  try {
    return yield { prepare: () => preparedObject(options, folder, true) }
  } catch (error) {
    if (!(error instanceof HeraldError && /unknown func|invalid func|bpf_set_retval/.test(error.message))) throw error
    log('this kernel has no bpf_set_retval here: a Service without backends answers EPERM, not ECONNREFUSED')
    return yield { prepare: () => preparedObject(options, folder, false) }
  }
}

/** Or why there are none: the program asks for more of a kernel than those that lead. */
function* ledSockets(options: SocketOptions, folder: string, socket: BpfObject): Loading<LedSockets | string> {
  const objectFile = join(dirname(options.objectFile), 'led.bpf.o')
  let object: BpfObject | undefined
  try {
    object = yield { prepare: () => preparedObject({ ...options, objectFile }, folder, true) }
    return new LedSockets(socket.openMap('sockets_connected').fd, object)
  } catch (error) {
    object?.close()
    return messageOf(namedRefusal(error, release(), [5, 12])).split('\n')[0] ?? ''
  }
}

function preparedObject({ objectFile, maxEntries = {} }: SocketOptions, folder: string, saysWhy: boolean): BpfObject {
  const object = new BpfObject(objectFile)
  try {
    for (const name of socketMapNames) object.setPinPath(name, join(folder, 'maps', name))
    for (const [name, entries] of Object.entries({ ...socketLimits(totalmem()), ...maxEntries }))
      object.setMaxEntries(name, pinnedEntries(join(folder, 'maps', name)) ?? entries)
    if (!saysWhy) object.setConstant(mayNotSayWhy.section, mayNotSayWhy.value)
    return object
  } catch (error) {
    object.close()
    throw error
  }
}

/** What is taken over has the size that it was made with. */
function pinnedEntries(path: string): number | undefined {
  const fd = openPinned(path)
  if (fd === undefined) return undefined
  try {
    return mapInfo(fd).maxEntries
  } finally {
    closeFd(fd)
  }
}

interface Attached {
  readonly object: BpfObject
  readonly bpffs: string
  readonly folder: string
  /** Their descriptors: what is pinned nowhere any more is attached for as long as this process has it. */
  readonly links: Map<Hook, number>
}

/** Throws ERR_ATTACH, ERR_BPFFS, ERR_CGROUP, ERR_SYSCALL. */
function attachAll(attached: Attached, cgroup: Cgroup): Omit<SocketStatus, 'adopted'> {
  const others = withCgroup(cgroup, (fd) => {
    for (const hook of hookNames) attach(attached, hook, cgroup, fd)
    const ours = programInfo(attached.object.programFd('herald_connect4')).id
    const ids = cgroupProgramIds(fd, hooks.connect4)
    if (!ids.includes(ours))
      throw new HeraldError('ERR_ATTACH', `our program is not in ${cgroup.path} although it was attached`)
    return ids.filter((id) => id !== ours).map(programName)
  })
  pinAll(attached)
  return { cgroup: cgroup.path, isWholeNode: cgroup.isRoot, others }
}

function attach({ object, folder, links }: Attached, hook: Hook, cgroup: Cgroup, cgroupFd: number): void {
  const program = object.programFd(`herald_${hook}`)
  const path = join(folder, 'links', hook)
  const held = links.get(hook) ?? openPinned(path)
  if (held !== undefined) {
    links.set(hook, held)
    if (cgroupOfLink(held) === cgroup.id) return updateLink(held, program)
    // The group is gone, or another one is meant now.
    detachLink(held)
    closeFd(held)
    links.delete(hook)
    rmSync(path, { force: true })
  }
  links.set(hook, createCgroupLink(program, cgroupFd, hooks[hook]))
}

/** What an earlier call pinned is there no more where the bpf file system was mounted anew. */
function pinAll({ object, bpffs, folder, links }: Attached): void {
  if (!isBpffs(bpffs)) throw new HeraldError('ERR_BPFFS', `${bpffs} is no bpf file system: nothing outlives this agent`)
  for (const kind of ['maps', 'links']) makeFolder(join(folder, kind), 0o700)
  const maps = socketMapNames.map((name) => [join(folder, 'maps', name), object.openMap(name).fd] as const)
  const all = [...maps, ...[...links].map(([hook, fd]) => [join(folder, 'links', hook), fd] as const)]
  for (const [path, fd] of all) if (!existsSync(path)) pin(fd, path)
}

/** Ends every link of every schema, also while another process holds it, and removes the pins; answers what went. */
export function removeSockets(bpffs: string): readonly string[] {
  return foldersIn(bpffs).flatMap(removeFolder)
}

function removeFolder(folder: string): readonly string[] {
  // Sockets that were led to a backend are told of the frontend to the last.
  const links = [...linksIn(folder)].sort((a, b) => orderOf(b) - orderOf(a))
  const removed = links.map((path) => {
    const fd = openPinned(path)
    if (fd !== undefined) {
      detachLink(fd)
      closeFd(fd)
    }
    unlinkSync(path)
    return path
  })
  const maps = join(folder, 'maps')
  for (const path of existsSync(maps) ? readdirSync(maps).map((name) => join(maps, name)) : []) {
    unlinkSync(path)
    removed.push(path)
  }
  for (const path of [join(folder, 'links'), maps, folder]) if (existsSync(path)) rmdirSync(path)
  return removed
}

function orderOf(path: string): number {
  return hookNames.findIndex((hook) => path.endsWith(`/${hook}`))
}
