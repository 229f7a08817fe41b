/** `herald agent`: flags, environment and --config become AgentOptions; everything else is main's. */
import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { hostname } from 'node:os'
import { fileURLToPath } from 'node:url'
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { AgentOptions } from '../agent/options.ts'
import { HeraldError, messageOf } from '../errors.ts'
import { agentFlags, withOptions } from './hand-over.ts'
import { bpffsOption, socketOption } from './reading.ts'

interface Flags extends Omit<AgentOptions, 'bgpListen' | 'http' | 'source'> {
  readonly manifests?: string
  readonly bgpListen: Endpoint | 'none'
  readonly http: Endpoint | 'none'
  readonly config?: string
  readonly kubeconfig?: string
}

export interface Endpoint {
  readonly host: string
  readonly port: number
}

/** `start` gets what flags, environment, file and defaults say together. */
export function addAgent(program: Command, start: (options: AgentOptions) => Promise<void> = becomeAgent): void {
  program
    .command('agent')
    .description('the per-node daemon: BGP speaker and eBPF load balancer')
    .addOption(
      new Option('--node-name <name>', 'name of this Node')
        .env('NODE_NAME')
        .argParser(nodeName)
        .default(hostname().trim().toLowerCase(), 'the host name'),
    )
    .option('--manifests <dir>', 'read a folder of Kubernetes YAML, and allocate addresses by itself')
    .option('--kubeconfig <file>', 'read the API server of this kubeconfig; in a pod, its own without either flag')
    .option('--lease-namespace <ns>', 'namespace of the Leases of agents: that they live, and where', 'kube-system')
    .addOption(serviceStatusOption())
    .addOption(datapathOption())
    .addOption(remoteBackendsOption())
    .addOption(
      new Option(
        '--interfaces <regex>',
        'interfaces on which VIP traffic arrives, by default those that route to a neighbor or hold the default route',
      ).argParser(regex),
    )
    .addOption(
      new Option('--bgp-listen <addr:port>', 'BGP listener, or none')
        .argParser(endpointOrNone)
        .default({ host: '::', port: 179 }, '[::]:179'),
    )
    .option('--state-dir <dir>', 'folder for what outlives the process', '/var/lib/herald')
    .addOption(socketOption('unix socket of the API'))
    .addOption(
      new Option('--http <addr:port>', 'HTTP address of the API and /metrics, or none')
        .argParser(endpointOrNone)
        .default({ host: '127.0.0.1', port: 9472 }, '127.0.0.1:9472'),
    )
    .addOption(bpffsOption('bpf file system, mounted when absent'))
    .addOption(attachOption())
    .option('--socket-lb', 'lead sockets on this node to backends of ClusterIPs and LoadBalancer addresses', false)
    .option('--cgroup-root <dir>', 'cgroup v2 whose sockets --socket-lb leads, or a folder above it', '/sys/fs/cgroup')
    .option('--pod-networks <dir>', podNetworksDescription)
    .option('--end-tcp', 'end also TCP sockets that --socket-lb led to a backend that is gone', false)
    .option('--kube-proxy-replacement', replacementDescription, false)
    .addOption(nodeportAddressesOption())
    .addOption(datapathModeOption())
    .addOption(accelerationOption())
    .addOption(flowEventsOption())
    .option('--bgp-secrets-namespace <ns>', 'namespace of the Secrets that authSecretRef names', 'kube-system')
    .option('--load-balancer-class <class>', 'loadBalancerClass served besides the built-in ones')
    .option('--require-load-balancer-class', 'leave Services without a loadBalancerClass alone', false)
    .option('--ignore-exclude-lb', 'announce in spite of the label exclude-from-external-load-balancers', false)
    .addOption(
      new Option(
        '--withdraw-on <list>',
        'what of the Node withdraws its Services: unschedulable, not-ready, disk-pressure, memory-pressure, ' +
          'pid-pressure, taint:KEY, separated by commas',
      )
        .argParser(withdrawals)
        .default([], 'nothing'),
    )
    .option('--metric-aliases', 'metrics also under the names of other load balancers (docs/metrics.md)', false)
    .addOption(recordOption())
    .addOption(logLevelOption())
    .addOption(new Option('--log-format <format>', 'how lines look').choices(['json', 'text']).default('json'))
    .option('--config <file>', 'YAML file with the same keys as flags, in camelCase; flags and environment win')
    .action(async (_flags: Flags, command: Command) => {
      await applyConfig(command)
      await start(optionsOf(command.opts<Flags>()))
    })
}

function serviceStatusOption(): Option {
  const description =
    'tell in ServiceBGPStatuses there to whom each Service is announced: an object per node and Service'
  return new Option('--service-status-namespace <ns>', description)
}

function datapathOption(): Option {
  const description = 'what serves announced addresses'
  return new Option('--datapath <kind>', description).choices(['auto', 'ebpf', 'none']).default('auto')
}

function remoteBackendsOption(): Option {
  const description = 'how backends on other nodes are served, where the eBPF datapath is: in a tunnel, or not at all'
  return new Option('--remote-backends <how>', description).choices(['tunnel', 'none']).default('tunnel')
}

function attachOption(): Option {
  return new Option('--attach <mode>', 'how programs are attached').choices(['auto', 'tcx', 'clsact']).default('auto')
}

function datapathModeOption(): Option {
  const description =
    'how packets go to pods of this node: through the stack, past netfilter, or that where it has nothing for them'
  return new Option('--datapath-mode <mode>', description).choices(['stack', 'redirect', 'auto']).default('auto')
}

function accelerationOption(): Option {
  const description =
    'a program in front of the kernel drops, answers and hands on what it can: in drivers that take it, where they ' +
    'do, or without any driver, for tests'
  const choices = ['disabled', 'native', 'best-effort', 'generic']
  return new Option('--lb-acceleration <how>', description).choices(choices).default('disabled')
}

function logLevelOption(): Option {
  const levels = ['debug', 'info', 'warn', 'error']
  return new Option('--log-level <level>', 'least level logged').choices(levels).default('info')
}

const podNetworksDescription =
  'network namespaces of pods, as /run/netns: sockets of backends that are gone are ended there, too (CAP_SYS_ADMIN)'
const replacementDescription = 'serve external IPs and node ports in the place of kube-proxy; --socket-lb is part of it'

function nodeportAddressesOption(): Option {
  const description = 'where node ports are served: primary (the addresses of the Node), or prefixes by commas'
  return new Option('--nodeport-addresses <list>', description).argParser(nodeportAddresses).default('primary')
}

/** `primary`, or `192.0.2.0/24,2001:db8::/64`. */
function nodeportAddresses(text: string): 'primary' | readonly string[] {
  if (text === 'primary') return text
  const words = text.split(',').map((word) => word.trim())
  for (const word of words)
    if (!isPrefix(word)) throw new InvalidArgumentError(`${word} is neither primary nor a prefix.`)
  return words
}

function isPrefix(text: string): boolean {
  const [address = '', length = ''] = text.split('/', 2)
  const bits = { 0: -1, 4: 32, 6: 128 }[isIP(address)] ?? -1
  return /^(0|[1-9][0-9]{0,2})$/.test(length) && Number(length) <= bits && text === `${address}/${length}`
}

function recordOption(): Option {
  const description = 'write every input and output of the BGP speaker to this file, without keys; see `herald replay`'
  return new Option('--record <file>', description)
}

function flowEventsOption(): Option {
  const description = 'when events of flows are read, for `herald observe`: while somebody looks, or always'
  return new Option('--flow-events <when>', description).choices(['observed', 'always']).default('observed')
}

/**
 * Becomes the agent, or the operator: the same process id, with another program. Its file lies beside this folder, in
 * the sources and in the built program.
 */
export function becomeDaemon(environment: NodeJS.ProcessEnv, flags: readonly string[]): void {
  const file = import.meta.url.endsWith('.ts') ? '../herald.ts' : '../start.cjs'
  const program = fileURLToPath(new URL(file, import.meta.url))
  // The words are for those who look at the list of processes.
  const words = [process.execPath, ...flags, program, ...process.argv.slice(2)]
  process.execve?.(process.execPath, words, environment)
}

async function becomeAgent(options: AgentOptions): Promise<void> {
  becomeDaemon(withOptions(process.env, options), agentFlags)
}

function optionsOf({ bgpListen, http, manifests, kubeconfig, config: _config, ...flags }: Flags): AgentOptions {
  if (manifests !== undefined && flags.serviceStatusNamespace !== undefined)
    throw new HeraldError('ERR_USAGE', '--service-status-namespace is told to an API server: leave out --manifests')
  return {
    ...flags,
    source: sourceOf(manifests, kubeconfig),
    ...(bgpListen === 'none' ? {} : { bgpListen }),
    ...(http === 'none' ? {} : { http }),
  }
}

/** A folder, or an API server; in a pod without either flag its own. */
function sourceOf(manifests: string | undefined, kubeconfig: string | undefined): AgentOptions['source'] {
  if (manifests !== undefined && kubeconfig !== undefined)
    throw new HeraldError('ERR_USAGE', '--manifests and --kubeconfig exclude each other: give one of the two')
  if (manifests !== undefined) return { kind: 'manifests', directory: manifests }
  if (kubeconfig !== undefined) return { kind: 'kubernetes', kubeconfig }
  if (process.env['KUBERNETES_SERVICE_HOST']) return { kind: 'kubernetes' }
  throw new HeraldError(
    'ERR_USAGE',
    '--manifests DIR (a folder of Kubernetes YAML) or --kubeconfig FILE (an API server) is needed outside of a pod',
  )
}

/** Sets what the file gives and neither command line nor environment does, through the same checks. */
async function applyConfig(command: Command): Promise<void> {
  const { config } = command.opts<Flags>()
  if (config === undefined) return
  for (const [name, value] of Object.entries(await readConfig(config))) {
    const option = command.options.find((known) => known.attributeName() === name && name !== 'config')
    if (option === undefined) throw new HeraldError('ERR_USAGE', `--config ${config}: unknown key ${name}`)
    // What is wrong in the file is said also where a flag overrides it.
    const checked = configValue(option, value, `--config ${config}: ${name}`)
    const source = command.getOptionValueSource(name)
    if (source === 'default' || source === undefined) command.setOptionValueWithSource(name, checked, 'config')
  }
}

/** `value` as the flag would have it. Throws ERR_USAGE. */
function configValue(option: Option, value: unknown, where: string): unknown {
  const wanted = option.isBoolean() ? 'boolean' : 'string'
  if (typeof value !== wanted || value === '')
    throw new HeraldError(
      'ERR_USAGE',
      `${where}: a ${wanted === 'string' ? 'text' : 'true or false'} is wanted, not ${JSON.stringify(value)}`,
    )
  if (typeof value !== 'string') return value
  try {
    return option.parseArg === undefined ? value : option.parseArg(value, undefined)
  } catch (error) {
    throw new HeraldError('ERR_USAGE', `${where}: ${messageOf(error)}`, { cause: error })
  }
}

async function readConfig(file: string): Promise<object> {
  const { parse } = await import('./yaml.ts')
  let values: unknown
  try {
    values = parse(readFileSync(file, 'utf8'), { merge: true })
  } catch (error) {
    throw new HeraldError('ERR_USAGE', `--config ${file}: ${messageOf(error)}`, { cause: error })
  }
  if (typeof values !== 'object' || values === null || Array.isArray(values))
    throw new HeraldError('ERR_USAGE', `--config ${file}: a YAML map of flags is wanted`)
  return values
}

/** `[::]:179`, `127.0.0.1:9472`, `none`. */
export function endpointOrNone(text: string): Endpoint | 'none' {
  if (text === 'none') return 'none'
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):([0-9]{1,5})$/.exec(text)
  const port = Number(match?.[3])
  const host = match?.[1] ?? match?.[2] ?? ''
  if (isIP(host) === 0 || port > 65535)
    throw new InvalidArgumentError('Write ADDRESS:PORT, as 127.0.0.1:9472 or [::]:179, or none.')
  return { host, port }
}

/** As kubelet takes a host name, also a given one: lower case, without blanks around it. */
function nodeName(text: string): string {
  const name = text.trim().toLowerCase()
  if (name === '') throw new InvalidArgumentError('A name is wanted.')
  return name
}

const withdrawalWords = ['unschedulable', 'not-ready', 'disk-pressure', 'memory-pressure', 'pid-pressure']

/** `unschedulable,not-ready,taint:example.org/maintenance` */
function withdrawals(text: string): readonly string[] {
  const words = text.split(',').map((word) => word.trim())
  for (const word of words)
    if (!withdrawalWords.includes(word) && !/^taint:\S+$/.test(word))
      throw new InvalidArgumentError(`${word} is none of ${withdrawalWords.join(', ')} and taint:KEY.`)
  return words
}

function regex(text: string): string {
  try {
    new RegExp(text)
    return text
  } catch (error) {
    throw new InvalidArgumentError(messageOf(error))
  }
}
