/** `herald agent`: flags, environment and --config become AgentOptions; everything else is main's. */
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { AgentOptions } from '../agent/options.ts'
import { HeraldError, messageOf } from '../errors.ts'
import { defaultSocket } from './reading.ts'

interface Flags extends Omit<AgentOptions, 'bgpListen' | 'http' | 'manifests'> {
  readonly manifests?: string
  readonly bgpListen: Endpoint | 'none'
  readonly http: Endpoint | 'none'
  readonly config?: string
  readonly kubeconfig?: string
  readonly record?: string
  readonly socketLb?: boolean
}

interface Endpoint {
  readonly host: string
  readonly port: number
}

/** What the contract names and this version does not do: better refused than ignored. */
const notYet: Readonly<Record<'kubeconfig' | 'record' | 'socketLb', string>> = {
  kubeconfig: '--kubeconfig: this version reads a folder of manifests only; give --manifests DIR',
  record: '--record: not in this version',
  socketLb: '--socket-lb: not in this version',
}

export function addAgent(program: Command): void {
  program
    .command('agent')
    .description('the per-node daemon: BGP speaker and eBPF load balancer')
    .addOption(new Option('--node-name <name>', 'name of this Node').env('NODE_NAME').default(hostname(), 'the host name'))
    .option('--manifests <dir>', 'folder of Kubernetes YAML to read')
    .option('--kubeconfig <file>', 'not in this version')
    .addOption(new Option('--datapath <kind>', 'what serves announced addresses').choices(['auto', 'ebpf', 'none']).default('auto'))
    .option('--interfaces <regex>', 'interfaces on which VIP traffic arrives (default: those that route to a neighbor)', regex)
    .option('--bgp-listen <addr:port>', 'BGP listener, or none', endpointOrNone, { host: '::', port: 179 })
    .option('--state-dir <dir>', 'what outlives the process', '/var/lib/herald')
    .option('--socket <path>', 'unix socket of the API', defaultSocket)
    .option('--http <addr:port>', 'HTTP address of the API and /metrics, or none', endpointOrNone, { host: '127.0.0.1', port: 9472 })
    .option('--bpffs <dir>', 'bpf file system, mounted when absent', '/sys/fs/bpf')
    .addOption(new Option('--attach <mode>', 'how programs are attached').choices(['auto', 'tcx', 'clsact']).default('auto'))
    .option('--bgp-secrets-namespace <ns>', 'namespace of the Secrets that authSecretRef names', 'kube-system')
    .option('--load-balancer-class <class>', 'loadBalancerClass served besides the built-in ones')
    .option('--socket-lb', 'not in this version')
    .option('--record <file>', 'not in this version')
    .addOption(new Option('--log-level <level>', 'least level logged').choices(['debug', 'info', 'warn', 'error']).default('info'))
    .addOption(new Option('--log-format <format>', 'how lines look').choices(['json', 'text']).default('json'))
    .option('--config <file>', 'YAML file with the same keys as flags, in camelCase; flags win')
    .action(async (_flags: Flags, command: Command) => {
      await applyConfig(command)
      const { runAgent } = await import('../main.ts')
      process.exit(await runAgent(optionsOf(command.opts<Flags>())))
    })
}

function optionsOf({ bgpListen, http, manifests, config: _config, ...flags }: Flags): AgentOptions {
  for (const name of ['kubeconfig', 'record', 'socketLb'] as const) if (flags[name] !== undefined) throw new HeraldError('ERR_USAGE', notYet[name])
  if (manifests === undefined) throw new HeraldError('ERR_USAGE', '--manifests DIR is needed: the folder of Kubernetes YAML to read')
  return { ...flags, manifests, ...(bgpListen === 'none' ? {} : { bgpListen }), ...(http === 'none' ? {} : { http }) }
}

/** Sets what the file gives and the command line does not, through the same checks. */
async function applyConfig(command: Command): Promise<void> {
  const { config } = command.opts<Flags>()
  if (config === undefined) return
  const { parse } = await import('yaml')
  const values: unknown = parse(readConfig(config))
  if (typeof values !== 'object' || values === null || Array.isArray(values)) throw new HeraldError('ERR_USAGE', `--config ${config}: a YAML map of flags is wanted`)
  for (const [name, value] of Object.entries(values)) {
    const option = command.options.find((known) => known.attributeName() === name)
    if (option === undefined) throw new HeraldError('ERR_USAGE', `--config ${config}: unknown key ${name}`)
    const source = command.getOptionValueSource(name)
    if (source !== 'default' && source !== undefined) continue
    if (option.argChoices !== undefined && !option.argChoices.includes(String(value))) throw new HeraldError('ERR_USAGE', `--config ${config}: ${name} is one of ${option.argChoices.join(', ')}`)
    command.setOptionValueWithSource(name, option.parseArg === undefined ? value : option.parseArg(String(value), undefined), 'config')
  }
}

function readConfig(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new HeraldError('ERR_USAGE', `--config ${file}: ${messageOf(error)}`, { cause: error })
  }
}

/** `[::]:179`, `127.0.0.1:9472`, `none`. */
function endpointOrNone(text: string): Endpoint | 'none' {
  if (text === 'none') return 'none'
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):([0-9]{1,5})$/.exec(text)
  const port = Number(match?.[3])
  if (match === null || port > 65535) throw new InvalidArgumentError('Write ADDRESS:PORT, as 127.0.0.1:9472 or [::]:179, or none.')
  return { host: match[1] ?? match[2] ?? '', port }
}

function regex(text: string): string {
  try {
    new RegExp(text)
    return text
  } catch (error) {
    throw new InvalidArgumentError(messageOf(error))
  }
}
