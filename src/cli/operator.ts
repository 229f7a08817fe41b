/** `herald operator`: flags and environment become OperatorOptions; everything else is its process's. */
import { hostname } from 'node:os'
import { type Command, Option } from 'commander'
import { HeraldError } from '../errors.ts'
import type { OperatorOptions } from '../operator/options.ts'
import { becomeDaemon, endpointOrNone, type Endpoint } from './agent.ts'
import { operatorFlags, withOperatorOptions } from './hand-over.ts'

interface Flags extends Omit<OperatorOptions, 'http' | 'namespace' | 'identity'> {
  readonly leaseNamespace: string
  readonly identity: string
  readonly http: Endpoint | 'none'
}

export function addOperator(
  program: Command,
  start: (options: OperatorOptions) => void = (options) =>
    becomeDaemon(withOperatorOptions(process.env, options), operatorFlags),
): void {
  program
    .command('operator')
    .description('give addresses to the Services of a cluster and write their status; one of several leads')
    .option('--kubeconfig <file>', 'work on the API server of this kubeconfig; in a pod, its own without the flag')
    .addOption(
      new Option('--lease-namespace <ns>', 'namespace of the Lease herald-operator')
        .env('POD_NAMESPACE')
        .default('kube-system'),
    )
    .addOption(
      new Option('--identity <name>', 'the name by which this process holds the Lease')
        .env('POD_NAME')
        .default(hostname(), 'the host name'),
    )
    .addOption(
      new Option('--http <addr:port>', 'HTTP address of probes and /metrics, or none')
        .argParser(endpointOrNone)
        .default({ host: '127.0.0.1', port: 9473 }, '127.0.0.1:9473'),
    )
    .option('--load-balancer-class <class>', 'loadBalancerClass served besides the built-in ones')
    .option('--require-load-balancer-class', 'leave Services without a loadBalancerClass alone', false)
    .option('--metric-aliases', 'metrics also under the names of other load balancers (docs/metrics.md)', false)
    .addOption(
      new Option('--log-level <level>', 'least level logged')
        .choices(['debug', 'info', 'warn', 'error'])
        .default('info'),
    )
    .addOption(new Option('--log-format <format>', 'how lines look').choices(['json', 'text']).default('json'))
    .action((flags: Flags) => start(optionsOf(flags)))
}

function optionsOf({ http, leaseNamespace, ...flags }: Flags): OperatorOptions {
  if (flags.kubeconfig === undefined && !process.env['KUBERNETES_SERVICE_HOST'])
    throw new HeraldError('ERR_USAGE', '--kubeconfig FILE (an API server) is needed outside of a pod')
  for (const [flag, value] of [
    ['--lease-namespace', leaseNamespace],
    ['--identity', flags.identity],
  ] as const)
    if (value.trim() === '') throw new HeraldError('ERR_USAGE', `${flag}: a name is wanted`)
  return { ...flags, namespace: leaseNamespace, ...(http === 'none' ? {} : { http }) }
}
