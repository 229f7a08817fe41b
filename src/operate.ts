/**
 * Composition root of `herald operator`: builds the graph, starts it, handles signals. No logic lives here.
 *
 * SIGTERM and SIGINT let another operator lead at once. Who loses the Lease writes nothing any more and ends with 1, so
 * that what it knew is read anew.
 */
import { readFileSync } from 'node:fs'
import { findPackageJSON } from 'node:module'
import { createProbeServer, type ProbeServer } from './api/probes.ts'
import { systemClock } from './clock/system-clock.ts'
import { leaseOnServer } from './k8s/apiserver/lease.ts'
import { ApiRequests } from './k8s/apiserver/requests.ts'
import { apiServerSource } from './k8s/apiserver/source.ts'
import { objectsOnServer, statusOnServer } from './k8s/apiserver/status-writer.ts'
import { createLogger, type Logger, LogOutput } from './observe/logger.ts'
import { operatorKinds } from './operator/allocation.ts'
import { Election } from './operator/election.ts'
import { Operator } from './operator/operator.ts'
import type { OperatorOptions } from './operator/options.ts'
import { createOperatorViews } from './operator/views.ts'
import type { FirstSignal } from './sys/first-signal.ts'
import { loadPart } from './sys/parts.ts'

const version = String(JSON.parse(readFileSync(findPackageJSON(import.meta.url) ?? 'package.json', 'utf8')).version)
const leaseName = 'herald-operator'
/** A write that was sent is over before another operator may lead: 10 s of leading and these are less than 15. */
const requestMs = 4_000

/** Runs the operator until a signal or the loss of the Lease ends it; the answer is the exit code. */
export async function runOperator(options: OperatorOptions, signals: FirstSignal): Promise<number> {
  const output = new LogOutput()
  const log = createLogger({ level: options.logLevel, format: options.logFormat }, output)
  process.stderr.on('error', () => {})
  // A hang-up during the start is no reason to die.
  process.on('SIGHUP', () => {})
  // Read by those who need it: the Kubernetes client is larger than all of the rest.
  const { connectApiServer }: typeof import('./k8s/apiserver/connect.ts') = await loadPart(
    import.meta.url,
    './k8s/apiserver/connect.ts',
    './apiserver.cjs',
  )
  const reading = connectApiServer(options.kubeconfig)
  // Renewals and writes do not wait behind lists of thousands of objects.
  const writing = connectApiServer(options.kubeconfig)
  const requests = new ApiRequests(writing.transport, requestMs)
  const ended = signalled(signals)
  const election = new Election({
    store: leaseOnServer(requests, options.namespace, leaseName),
    clock: systemClock,
    random: Math.random,
    identity: options.identity,
    log,
    onLeading: () => void operator.start(),
    onLost: (why) => ended.end({ code: 1, why }),
  })
  const source = apiServerSource({
    transport: reading.transport,
    clock: systemClock,
    random: Math.random,
    kinds: operatorKinds,
  })
  const operator = new Operator({
    source,
    sink: statusOnServer(requests, options.identity),
    objects: objectsOnServer(requests),
    namespace: options.namespace,
    clock: systemClock,
    random: Math.random,
    log,
    isLeader: () => election.isLeader,
    isClassRequired: options.requireLoadBalancerClass,
    ...(options.loadBalancerClass === undefined ? {} : { loadBalancerClass: options.loadBalancerClass }),
  })
  const probes = await startProbes(options, election, operator, output, log)
  process.on('SIGHUP', () => {
    log.info('SIGHUP: everything is read again')
    source.rescan()
  })
  log.info({ identity: options.identity, version, server: reading.detail }, 'operator started')
  election.start()

  const { code, why } = await ended.promise
  log[code === 0 ? 'info' : 'error']({ why }, 'operator stopping')
  if (code === 0) {
    await operator.stop()
    await election.stop()
  }
  await probes?.close()
  return code
}

async function startProbes(
  { http, metricAliases }: OperatorOptions,
  election: Election,
  operator: Operator,
  output: LogOutput,
  log: Logger,
): Promise<ProbeServer | undefined> {
  if (http === undefined) return undefined
  const views = createOperatorViews({
    version,
    election,
    operator,
    lostLogLines: () => output.lostLines,
    hasMetricAliases: metricAliases,
  })
  const server = await createProbeServer(views, http)
  log.info({ host: http.host, port: server.port }, 'probes and metrics are served')
  return server
}

interface End {
  readonly code: number
  readonly why: string
}

function signalled(signals: FirstSignal): { readonly promise: Promise<End>; readonly end: (how: End) => void } {
  const { promise, resolve } = Promise.withResolvers<End>()
  signals.hear((why) => resolve({ code: 0, why }))
  return { promise, end: resolve }
}
