/** cgroup v2: where it is mounted, and programs that are attached to a group of it. */
import { openSync, closeSync, readFileSync, statfsSync, statSync } from 'node:fs'
import { HeraldError, messageOf } from '../errors.ts'
import { checkedBpf, libbpfInt } from './libbpf.ts'

/** CGROUP2_SUPER_MAGIC of linux/magic.h. */
const cgroup2Magic = 0x63677270
/** Of the root of a hierarchy; every other group has a larger one. */
const rootInode = 1n
/** BPF_LINK_TYPE_CGROUP */
const cgroupLinkType = 3

export interface Cgroup {
  readonly path: string
  /** As the kernel names it, for as long as it is there. */
  readonly id: bigint
  /** It holds every process of the machine. */
  readonly isRoot: boolean
}

/**
 * The group at a path; where another file system is there, as on machines with cgroup v1, a mount of cgroup v2 below
 * it. Throws ERR_CGROUP.
 */
export function findCgroup(path: string, mountTable = readFileSync('/proc/self/mountinfo', 'utf8')): Cgroup {
  const found = isCgroup2(path) ? path : mountsBelow(path, mountTable).find(isCgroup2)
  if (found === undefined) throw new HeraldError('ERR_CGROUP', whyNone(path, mountTable))
  const { ino } = statSync(found, { bigint: true })
  return { path: found, id: ino, isRoot: ino === rootInode }
}

function isCgroup2(path: string): boolean {
  try {
    return statfsSync(path).type === cgroup2Magic
  } catch {
    return false
  }
}

interface Mount {
  readonly path: string
  readonly type: string
}

/** Lines of mountinfo: `36 35 98:0 /root /path options - type source options`; blanks in a path are `\040`. */
function mountsOf(mountTable: string): readonly Mount[] {
  return mountTable.split('\n').flatMap((line) => {
    const [before = '', after = ''] = line.split(' - ')
    const path = before.split(' ')[4]
    const [type] = after.split(' ')
    if (path === undefined || type === undefined) return []
    return {
      path: path.replace(/\\(\d{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))),
      type,
    }
  })
}

function mountsBelow(path: string, mountTable: string): readonly string[] {
  return mountsOf(mountTable)
    .filter((mount) => mount.type === 'cgroup2' && mount.path.startsWith(`${path.replace(/\/+$/, '')}/`))
    .map((mount) => mount.path)
}

function whyNone(path: string, mountTable: string): string {
  const mounts = mountsOf(mountTable)
  const [elsewhere] = mounts.filter(({ type }) => type === 'cgroup2').map((mount) => mount.path)
  if (elsewhere !== undefined) return `${path} is no cgroup v2; one is at ${elsewhere}`
  if (mounts.some(({ type }) => type === 'cgroup')) return `${path} is no cgroup v2: this machine has cgroup v1 alone`
  return `${path} is no cgroup v2, and none is mounted`
}

/** Runs `use` with a descriptor of the group. Throws ERR_CGROUP when it cannot be opened. */
export function withCgroup<Result>({ path }: Pick<Cgroup, 'path'>, use: (fd: number) => Result): Result {
  let fd: number
  try {
    fd = openSync(path, 'r')
  } catch (error) {
    throw new HeraldError('ERR_CGROUP', `${path}: ${messageOf(error)}`, { cause: error })
  }
  try {
    return use(fd)
  } finally {
    closeSync(fd)
  }
}

/** A new link, beside those of others. The descriptor is the caller's to pin and close. Throws ERR_SYSCALL. */
export function createCgroupLink(programFd: number, cgroupFd: number, attachType: number): number {
  return checkedBpf('attach to the cgroup', libbpfInt('bpf_link_create', programFd, cgroupFd, attachType, null))
}

/** The group of a link: 0n when it is gone, undefined when this is no link of a group. */
export function cgroupOfLink(linkFd: number): bigint | undefined {
  const info = new Uint8Array(48)
  checkedBpf('bpf_obj_get_info_by_fd', libbpfInt('bpf_obj_get_info_by_fd', linkFd, info, Uint32Array.of(info.length)))
  const view = new DataView(info.buffer)
  return view.getUint32(0, true) === cgroupLinkType ? view.getBigUint64(16, true) : undefined
}

/** Ids of the programs that are attached to a group itself. Throws ERR_SYSCALL. */
export function cgroupProgramIds(cgroupFd: number, attachType: number): readonly number[] {
  const ids = new Uint32Array(64)
  const count = Uint32Array.of(ids.length)
  const args = [cgroupFd, attachType, 0, new Uint32Array(1), new Uint8Array(ids.buffer), count] as const
  checkedBpf('list the programs of the cgroup', libbpfInt('bpf_prog_query', ...args))
  return [...ids.subarray(0, count[0])]
}
