/** What a container runtime keeps from this process beside the capabilities that it does not give. */
import { readFileSync } from 'node:fs'

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
