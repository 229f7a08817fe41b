/** What the caller of a benchmark wants otherwise; handed to the namespace it runs in by the environment. */
import { parseArgs } from 'node:util'
import { HeraldError, messageOf } from '../src/errors.ts'

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

/** Throws ERR_USAGE for a flag that there is not, or whose value is none. */
export function readFlags(args: readonly string[]): Flags {
  const { positionals, values } = parsed(args)
  if (values.manifests !== undefined && values.announcer === undefined)
    throw new HeraldError('ERR_USAGE', '--manifests is what --announcer is configured by: give both')
  const isWithRows = positionals[0] === partWithRows
  const [parts, namedRows] = isWithRows ? [[partWithRows], positionals.slice(1)] : [positionals, []]
  const given = [
    [services, numberOf('--services', values.services, 0)],
    [announcer, values.announcer],
    [manifests, values.manifests],
    [flows, numberOf('--flows', values.flows, 1)],
    [rows, namedRows.length > 0 ? namedRows.join(' ') : undefined],
  ].flatMap(([name, value]) => (name === undefined || value === undefined ? [] : [[name, value] as const]))
  return { parts, rows: namedRows, env: Object.fromEntries(given) }
}

const options = {
  services: { type: 'string' },
  announcer: { type: 'string' },
  manifests: { type: 'string' },
  flows: { type: 'string' },
} as const

function parsed(args: readonly string[]): ReturnType<typeof parse> {
  try {
    return parse(args)
  } catch (error) {
    throw new HeraldError('ERR_USAGE', messageOf(error), { cause: error })
  }
}

const parse = (args: readonly string[]) => parseArgs({ args: [...args], allowPositionals: true, options })

function numberOf(flag: string, given: string | undefined, least: number): string | undefined {
  if (given === undefined) return undefined
  if (!/^\d{1,7}$/.test(given) || Number(given) < least)
    throw new HeraldError('ERR_USAGE', `${flag} wants a number from ${least} on, not ${given}`)
  return given
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
