/** `herald migrate metallb|cilium`: what a move would change. Reads only; exit 1 when something needs a decision. */
import { Argument, type Command, Option } from 'commander'
import { HeraldError } from '../errors.ts'
import type { Finding, Inventory, MovingReport, SessionRow, Unread } from '../k8s/dialects/moving/report.ts'
import type { MovingOptions } from '../k8s/moving.ts'
import { exitCode } from './exit.ts'
import { nothingRead, readFound } from './manifests.ts'
import { formatTable } from './table.ts'
import { asciiJson, isPrintable, printable } from './text.ts'

interface Flags {
  readonly kubeconfig?: string
  readonly values?: string
  readonly node?: string
  readonly backend?: 'frr-k8s' | 'frr' | 'native'
  readonly loadBalancerClass?: string
  readonly requireLoadBalancerClass: boolean
  readonly bgpSecretsNamespace: string
  readonly output: 'table' | 'json' | 'yaml'
}

export function addMigrate(program: Command): void {
  program
    .command('migrate')
    .description('what moving from MetalLB or Cilium would change; reads only')
    .addArgument(new Argument('<from>', 'whose configuration it is').choices(['metallb', 'cilium']))
    .argument('[file...]', 'files or folders of YAML')
    .option('--kubeconfig <file>', 'read the API server of this kubeconfig in place of files')
    .option(
      '--values <file>',
      'Helm values of theirs: print the values of our chart that mean the same, and nothing else',
    )
    .option('--node <name>', 'the node to look at; by default every Node')
    .addOption(
      new Option('--backend <mode>', 'how MetalLB speaks BGP, by default as its DaemonSet says').choices([
        'frr-k8s',
        'frr',
        'native',
      ]),
    )
    .option('--load-balancer-class <class>', 'loadBalancerClass that Herald will serve besides the built-in ones')
    .option('--require-load-balancer-class', 'Herald will leave Services without a loadBalancerClass alone', false)
    .option('--bgp-secrets-namespace <ns>', 'namespace of the Secrets that authSecretRef names', 'kube-system')
    .addOption(new Option('-o, --output <format>', 'output format').choices(['table', 'json', 'yaml']).default('table'))
    .action(async (from: 'metallb' | 'cilium', paths: string[], flags: Flags) => {
      if (flags.values !== undefined) return showValues(from, flags.values, paths, flags)
      const { kubeconfig, node, backend, loadBalancerClass, bgpSecretsNamespace: secretsNamespace } = flags
      const options: MovingOptions = {
        from,
        secretsNamespace,
        isClassRequired: flags.requireLoadBalancerClass,
        ...(node === undefined ? {} : { nodeName: node }),
        ...(backend === undefined ? {} : { backend }),
        ...(loadBalancerClass === undefined ? {} : { loadBalancerClass }),
      }
      const inventory = await inventoryOf(paths, kubeconfig, options)
      if (node !== undefined && !inventory.objects.some(({ key }) => key.kind === 'Node' && key.name === node))
        throw new HeraldError('ERR_USAGE', `--node ${node}: there is no such Node in what was read`)
      const { movingReport } = await import('../k8s/moving.ts')
      const report = movingReport(inventory, options)
      process.stdout.write(await rendered(report, flags.output))
      process.exitCode = undecided(report).length > 0 ? exitCode.degraded : exitCode.ok
    })
}

async function showValues(from: 'metallb' | 'cilium', file: string, paths: string[], flags: Flags): Promise<void> {
  if (paths.length > 0 || flags.kubeconfig !== undefined)
    throw new HeraldError('ERR_USAGE', 'migrate --values: the values alone, without files or --kubeconfig')
  const { migratedValues, valuesText } = await import('./migrate-values.ts')
  const moved = migratedValues(from, file)
  process.stdout.write(valuesText(moved, flags.output))
  process.exitCode = moved.notes.some(({ needsDecision }) => needsDecision) ? exitCode.degraded : exitCode.ok
}

function undecided({ differences, preflight }: MovingReport): readonly Finding[] {
  return [...differences, ...preflight].filter(({ needsDecision }) => needsDecision)
}

async function inventoryOf(
  paths: readonly string[],
  kubeconfig: string | undefined,
  options: MovingOptions,
): Promise<Inventory> {
  if ((kubeconfig === undefined) === (paths.length === 0))
    throw new HeraldError('ERR_USAGE', 'migrate: give files or folders, or --kubeconfig FILE, one of the two')
  return kubeconfig === undefined ? inventoryOfFiles(paths) : inventoryOfCluster(kubeconfig, options)
}

/** A file that cannot be read, or a document in it, is told as anything else that is lacking. */
async function inventoryOfFiles(paths: readonly string[]): Promise<Inventory> {
  const { files, problems } = await readFound(paths)
  const { readDocuments } = await import('../k8s/documents.ts')
  const documents = files.flatMap(({ name, text }) => readDocuments(name, text))
  const broken = [...problems, ...documents.flatMap((document) => document.problems)]
  const unread = broken
    .filter(({ severity }) => severity === 'error')
    .map(
      ({ object: { name, line }, message }): Unread => ({
        what: line === undefined ? name : `${name}:${line}`,
        status: 0,
        why: message,
      }),
    )
  const objects = documents.flatMap((document) => document.objects)
  if (objects.length + unread.length === 0) throw nothingRead(paths)
  return { objects, unread, isWhole: false }
}

/** Read by those who need it: the Kubernetes client is larger than all of the rest. */
async function inventoryOfCluster(kubeconfig: string, options: MovingOptions): Promise<Inventory> {
  const file = import.meta.url.endsWith('.ts') ? '../k8s/apiserver/connect.ts' : '../apiserver.cjs'
  const { connectApiServer }: typeof import('../k8s/apiserver/connect.ts') = await import(
    new URL(file, import.meta.url).href
  )
  const { readCluster } = await import('../k8s/moving-cluster.ts')
  const { transport } = connectApiServer(kubeconfig)
  try {
    return await readCluster(transport, options)
  } finally {
    await transport.close()
  }
}

async function rendered(report: MovingReport, output: Flags['output']): Promise<string> {
  if (output === 'table') return screen(report)
  if (output === 'json') return asciiJson(report)
  const yaml = (await import('./yaml.ts')).stringify(report)
  // JSON is YAML too, and can escape everything.
  return isPrintable(yaml) ? yaml : asciiJson(report)
}

function screen(report: MovingReport): string {
  const { sessions, pools, advertisements, services, differences, preflight } = report
  const kept = services.filter(({ before, after }) => before.length > 0 && before.join() === after.join())
  const holders = services.filter(({ before }) => before.length > 0)
  const count = undecided(report).length
  const parts = [
    section('Sessions', sessionHeader, sessions.flatMap(sessionLines)),
    section(
      'Pools',
      ['Pool', 'Addresses', 'Before', 'After'],
      pools.map(({ object, before, after }) => [
        object,
        (after ?? before)?.addresses.join(',') ?? '-',
        poolWord(before),
        poolWord(after),
      ]),
    ),
    section(
      'Advertisements',
      ['Node', 'Peer', 'Family', 'Object', 'What', 'Before', 'After'],
      advertisements.map(({ node, peer, family, object, before, after }) => [
        node,
        peer,
        family,
        object,
        advertisementWord(after ?? before),
        attributesWord(before),
        attributesWord(after),
      ]),
    ),
    `Services: ${kept.length} of ${holders.length} with an address keep it, ${services.length} in all\n`,
    findings('Differences', differences),
    findings('Look at first', preflight),
    count === 0 ? 'nothing needs a decision\n' : `${count} need${count === 1 ? 's' : ''} a decision: marked with !\n`,
  ]
  return parts.filter((part) => part !== '').join('\n')
}

function section(title: string, header: readonly string[], rows: readonly (readonly string[])[]): string {
  return rows.length === 0 ? '' : `${title}\n${formatTable(header, rows)}`
}

const sessionHeader = [
  'Node',
  'Object',
  'Side',
  'Peer',
  'AS',
  'Source',
  'Hold/Keepalive/Retry',
  'TTL',
  'GR',
  'Key',
  'Families',
  'Router ID',
]

/** One line where nothing is another, else one for each side. */
function sessionLines({ node, object, before, after }: SessionRow): readonly (readonly string[])[] {
  const [was, is] = [sessionCells(before), sessionCells(after)]
  if (was.join('\0') === is.join('\0')) return [[node, object, 'both', ...was]]
  return [
    [node, object, 'before', ...was],
    ['', '', 'after', ...is],
  ]
}

function sessionCells(view: SessionRow['before']): readonly string[] {
  if (view === undefined) return ['none', ...sessionHeader.slice(4).map(() => '-')]
  const host = view.interface === undefined ? view.peerAddress : `${view.peerAddress}%${view.interface}`
  return [
    view.peerPort === 179 ? host : `${host} port ${view.peerPort}`,
    `${view.localAs}-${view.peerAs}`,
    view.sourceAddress ?? '-',
    `${view.holdTimeSeconds}/${view.keepaliveSeconds}/${view.connectRetrySeconds}s`,
    String(view.ttl),
    view.gracefulRestartSeconds === undefined ? '-' : `${view.gracefulRestartSeconds}s`,
    view.password ?? '-',
    view.families.join(','),
    view.routerId ?? '-',
  ]
}

function poolWord(pool: MovingReport['pools'][number]['before']): string {
  if (pool === undefined) return 'none'
  return pool.closed ?? (pool.autoAssign ? 'gives' : 'gives by name')
}

type Heard = MovingReport['advertisements'][number]['before']

function advertisementWord(view: Heard): string {
  if (view === undefined) return '-'
  return view.type === 'PodCIDR' ? view.type : `${view.type} of ${view.services}, pools ${view.pools}`
}

function attributesWord(view: Heard): string {
  if (view === undefined) return 'none'
  const { aggregationLength, communities, localPreference, med, asPathPrepend, extendedCommunities } = view
  const words = [
    ...(aggregationLength === undefined ? [] : [`/${aggregationLength}`]),
    ...communities,
    ...extendedCommunities,
    ...(localPreference === undefined ? [] : [`local-pref ${localPreference}`]),
    ...(med === undefined ? [] : [`med ${med}`]),
    ...(asPathPrepend === undefined ? [] : [`prepend ${asPathPrepend}`]),
  ]
  return words.join(' ') || 'announced'
}

function findings(title: string, all: readonly Finding[]): string {
  const lines = all.map(({ needsDecision, code, object, node, field, before, after, reason, remedy }) => {
    const place = `${object}${node === undefined ? '' : ` on ${node}`}${field === '' ? '' : ` ${field}`}`
    const change = before === undefined && after === undefined ? '' : ` ${before ?? 'none'} -> ${after ?? 'none'}`
    const head = printable(`${needsDecision ? '!' : '.'} ${code}  ${place}${change}`)
    return `${head}\n    ${printable(reason)}\n    -> ${printable(remedy)}\n`
  })
  return lines.length === 0 ? '' : `${title}\n${lines.join('')}`
}
