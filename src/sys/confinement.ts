/** What a container runtime keeps from this process beside the capabilities that it does not give. */
import { readFileSync } from 'node:fs'
import { HeraldError, messageOf } from '../errors.ts'

const capBpf = 39n

/**
 * Whether a filter of system calls may be why bpf(2) is refused: there is one, and CAP_BPF is not what is missing.
 * `status` is of proc(5).
 */
export function mayBeFiltered(status = readFileSync('/proc/self/status', 'latin1')): boolean {
  const isFiltered = /^Seccomp:\s*2$/m.test(status)
  const [, effective = '0'] = /^CapEff:\s*([0-9a-f]+)$/m.exec(status) ?? []
  return isFiltered && ((BigInt(`0x${effective}`) >> capBpf) & 1n) === 1n
}

/** What a security module says of this process, as proc(5) has it; undefined where there is no such module. */
export interface Attributes {
  readonly appArmor: string | undefined
  /** Of SELinux, or of AppArmor once more. */
  readonly current: string | undefined
}

/** The profile or type that this process is held to, in words; undefined where nothing is kept from it. */
export function confinementIn({ appArmor, current }: Attributes): string | undefined {
  const [, profile] = /^(.+) \((?:enforce|kill)\)\s*$/.exec(appArmor ?? '') ?? []
  if (profile !== undefined) return `the AppArmor profile ${profile}`
  const [, type] = /^[^:\s]+:[^:\s]+:([^:\s\0]+)/.exec(current ?? '') ?? []
  return type === undefined || unconfined.test(type) ? undefined : `the SELinux type ${type}`
}

/** Types of which the policy refuses nothing. */
const unconfined = /^(?:spc|unconfined|kernel|initrc|unconfined_service)_t$/

function attributes(): Attributes {
  const read = (name: string): string | undefined => {
    try {
      return readFileSync(`/proc/self/attr/${name}`, 'latin1')
    } catch {
      // No module, or one that has nothing to say.
      return undefined
    }
  }
  return { appArmor: read('apparmor/current'), current: read('current') }
}

/**
 * An error of a call that was refused, with what may have refused it and what to do about that; another error is as it
 * was. EPERM and EACCES by themselves would send whoever reads them to capabilities and modes.
 */
export function confinedFrom(error: unknown, isFiltered = mayBeFiltered, told = attributes): unknown {
  const errno = refusalOf(error)
  if (errno === undefined) return error
  const more = { errno, cause: error } as const
  if (errno === 'EPERM' && error instanceof HeraldError && isFiltered()) {
    const message = `${error.message}: a seccomp profile may keep bpf(2) from this process, which has CAP_BPF`
    return new HeraldError('ERR_BPF_REFUSED', message, more)
  }
  const by = confinementIn(told())
  if (by === undefined) return error
  const [first = '', ...words] = messageOf(error).split('\n')
  return new HeraldError('ERR_CONFINED', [`${first}: ${by} may refuse it to this process`, ...words].join('\n'), more)
}

/** Also of what Node calls, and where it is the cause of something else; the verifier answers EACCES as well. */
function refusalOf(error: unknown): 'EACCES' | 'EPERM' | undefined {
  if (!(error instanceof Error) || verifierSpoke.test(error.message)) return undefined
  const errno: unknown = error instanceof HeraldError ? error.errno : Reflect.get(error, 'code')
  return errno === 'EACCES' || errno === 'EPERM' ? errno : refusalOf(error.cause)
}

const verifierSpoke = /PROG LOAD LOG|processed \d+ insns/
