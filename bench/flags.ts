/** What the caller of a benchmark wants otherwise; handed to the namespace it runs in by the environment. */
import { parseArgs } from 'node:util'

const services = 'HERALD_BENCH_SERVICES'
const announcer = 'HERALD_BENCH_ANNOUNCER'
const manifests = 'HERALD_BENCH_MANIFESTS'
const flows = 'HERALD_BENCH_FLOWS'
const rows = 'HERALD_BENCH_ROWS'
/** The part whose rows may be named behind it. */
const partWithRows = 'survive'

export interface Flags {
  readonly parts: readonly string[]
  /** Of the part `survive`; none means all. */
  readonly rows: readonly string[]
  readonly env: Readonly<Record<string, string>>
}

/** Throws TypeError for a flag that there is not. */
export function readFlags(args: readonly string[]): Flags {
  const { positionals, values } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      services: { type: 'string' },
      announcer: { type: 'string' },
      manifests: { type: 'string' },
      flows: { type: 'string' },
    },
  })
  const isWithRows = positionals[0] === partWithRows
  const [parts, namedRows] = isWithRows ? [[partWithRows], positionals.slice(1)] : [positionals, []]
  const given = [
    [services, values.services],
    [announcer, values.announcer],
    [manifests, values.manifests],
    [flows, values.flows],
    [rows, namedRows.length > 0 ? namedRows.join(' ') : undefined],
  ].flatMap(([name, value]) => (name === undefined || value === undefined ? [] : [[name, value] as const]))
  return { parts, rows: namedRows, env: Object.fromEntries(given) }
}

/** `--services N`: how many Services are there. */
export function benchServices(): number | undefined {
  const given = process.env[services]
  return given === undefined ? undefined : Number(given)
}

/** `--announcer CMD`, in place of Herald's operator and agent, and `--manifests FILE` with what it is configured by. */
export function benchAnnouncer(): { readonly command: string; readonly manifests: string | undefined } | undefined {
  const command = process.env[announcer]
  return command === undefined ? undefined : { command, manifests: process.env[manifests] }
}

/** `--flows N`: how many connections are held. */
export function benchFlows(): number | undefined {
  const given = process.env[flows]
  return given === undefined ? undefined : Number(given)
}

/** Behind `survive`: the rows that are asked for; none means all. */
export function benchRows(): readonly string[] {
  return (process.env[rows] ?? '').split(' ').filter((name) => name !== '')
}
