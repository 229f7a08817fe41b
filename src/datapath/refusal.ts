/** Why a kernel does not take the programs, in one line: what libbpf and the verifier have to say are pages. Pure. */
import { HeraldError } from '../errors.ts'

type Release = readonly [major: number, minor: number]

/** The first Linux with all that the programs call, `bpf_redirect_neigh` last of it. */
const least: Release = [5, 10]

/**
 * An error of loading whose first line names the kernel, the program and what the verifier ended with; the words behind
 * it stay. Another error is as it was. `release` as of `uname -r`; `needed`: the first Linux that can have them.
 */
export function namedRefusal(error: unknown, release: string, needed: Release = least): unknown {
  if (!(error instanceof HeraldError) || error.code !== 'ERR_BPF_LOAD') return error
  const [first = '', ...words] = error.message.split('\n')
  if (/: (?:EMFILE|ENFILE)$/.test(first)) return new HeraldError('ERR_FILE_LIMIT', first, { cause: error })
  const why = reasonIn(words)
  const old = isBefore(release, needed) ? `; ${needed.join('.')} is the least that the programs need` : ''
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

/** Whether a kernel, as of `uname -r`, is older than a version; one that says nothing of itself is not. */
export function isBefore(release: string, needed: Release): boolean {
  const [, major = '', minor = ''] = /^(\d+)\.(\d+)/.exec(release) ?? []
  return major !== '' && (Number(major) < needed[0] || (Number(major) === needed[0] && Number(minor) < needed[1]))
}
