/** Why a kernel does not take the programs, in one line: what libbpf and the verifier have to say are pages. Pure. */
import { HeraldError } from '../errors.ts'

/** The first Linux with all that the programs call, `bpf_redirect_neigh` last of it. */
const least = [5, 10] as const

/**
 * An error of loading whose first line names the kernel, the program and what the verifier ended with; the words behind
 * it stay. Another error is as it was. `release` as of `uname -r`.
 */
export function namedRefusal(error: unknown, release: string): unknown {
  if (!(error instanceof HeraldError) || error.code !== 'ERR_BPF_LOAD') return error
  const [first = '', ...words] = error.message.split('\n')
  const why = reasonIn(words)
  const old = isTooOld(release) ? `; ${least.join('.')} is the least that the programs need` : ''
  const named = `${first} (Linux ${release})${why === undefined ? '' : `: ${why}`}${old}`
  return new HeraldError('ERR_BPF_LOAD', [named, ...words].join('\n'), { cause: error })
}

/** The verifier's last line before its summary, with the program that it is about. */
function reasonIn(words: readonly string[]): string | undefined {
  const program = words
    .map((line) => /^libbpf: prog '(.*?)': (?:BPF program load failed|failed to load)/.exec(line)?.[1])
    .find(Boolean)
  const end = words.findIndex((line) => /^(processed \d+ insns|-- END PROG LOAD LOG --)/.test(line))
  const last = words[end - 1]
  if (program !== undefined && last !== undefined) return `${program}: ${last.trim()}`
  return words.map((line) => /^libbpf: (Error in bpf_create_map_xattr.*|map .*failed.*)$/.exec(line)?.[1]).find(Boolean)
}

function isTooOld(release: string): boolean {
  const [, major = '', minor = ''] = /^(\d+)\.(\d+)/.exec(release) ?? []
  return major !== '' && (Number(major) < least[0] || (Number(major) === least[0] && Number(minor) < least[1]))
}
