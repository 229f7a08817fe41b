/**
 * `npm run lab [-- --check] [--api] [--datapath none]`: everything from a bare machine to a served request.
 *
 *     preflight -> packages -> kernel programs -> topology -> sessions -> routes -> picture, until Ctrl-C
 *                                              |            |                 `-> --check: assert, end
 *        --api: kube-apiserver, helm (built) --'            `-- API server -> chart -> objects -> tokens
 *
 * Exit codes: 0 ok, 1 a check or step failed, 2 usage, 3 this machine cannot run it.
 */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { HeraldError, messageOf } from '../src/errors.ts'
import { checkRack, type CheckResult } from '../lab/check.ts'
import { LabCluster } from '../lab/cluster.ts'
import { type ControlPlanePrograms, withControlPlane } from '../lab/control-plane.ts'
import { showRack, superviseAgents, waitForRoutes } from '../lab/demo.ts'
import { leftovers, tracesOf, type Traces } from '../lab/leftovers.ts'
import { Rack } from '../lab/rack.ts'
import { Lab } from '../lab/runner.ts'
import { type Note, StepList } from '../lab/steps.ts'
import { until } from '../lab/until.ts'
import { Capture } from '../lab/watch.ts'
import { ensureBinaries } from '../test/apiserver/binaries.ts'
import { ensureHelm } from '../test/helm/binary.ts'
import { refuse } from './setup/arguments.ts'
import { inspectMachine, lackText, type Machine } from './setup/machine.ts'
import { installPackages, labNeeds, missingPackages } from './setup/packages.ts'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const usage = 'npm run lab [-- [--check] [--api] [--datapath none]]'
const steps = new StepList(process.stdout)

let lab: Lab | undefined
let isStopping = false
/** For what is built before there is a lab. */
const building = new AbortController()
let stopped: () => void = () => {}
const whenStopped = new Promise<void>((resolve) => (stopped = resolve))

/** The first signal ends the lab in order, the second at once: the kernel takes the namespaces down either way. */
function onSignal(): void {
  if (isStopping) {
    lab?.abandon()
    process.exit(130)
  }
  isStopping = true
  steps.line('\n  stopping …')
  building.abort()
  void lab?.destroy()
  stopped()
}

async function main(): Promise<number> {
  const given = readArguments()
  if (typeof given === 'number') return given
  const { isCheck, hasApi } = given
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal)
  steps.line(
    `\n  ${steps.style('bold', 'Herald lab')}  containerlab/rack: two ToR routers, three nodes, four pods, a client` +
      `${hasApi ? '; an API server' : ''}\n`,
  )
  const machine = await prepare(given.hasDatapath)
  if (machine === undefined) return 3
  const programs = hasApi ? await buildControlPlane() : undefined
  if (hasApi && programs === undefined) return isStopping ? 130 : 3
  if (isStopping) return 130
  let traces: Traces | undefined
  let result: CheckResult | undefined
  let hasFailed = false
  try {
    const { rack, capture } = await deploy(machine, isCheck, programs)
    traces = await tracesOf(rack.lab)
    if (isCheck) {
      result = await checkRack({ rack, steps, hasDatapath: machine.canBpf, capture })
      // Programs that a restarted agent loaded must go as well.
      if (!isStopping) traces = { ...traces, bpf: [...new Set([...traces.bpf, ...(await tracesOf(rack.lab)).bpf])] }
    } else {
      await stay(rack, machine)
    }
  } catch (error) {
    hasFailed = !isStopping
    if (hasFailed && !(error instanceof HeraldError)) console.error(error)
    if (hasFailed) printLogs()
  }
  if (result !== undefined && result.failed.length > 0) printLogs()
  const isClean = await tearDown(traces)
  if (result !== undefined) printResult(result, isClean)
  return hasFailed || !isClean || (result?.failed.length ?? 0) > 0 ? 1 : isStopping && isCheck ? 130 : 0
}

interface Arguments {
  readonly isCheck: boolean
  readonly hasApi: boolean
  readonly hasDatapath: boolean
}

/** Or the exit code. */
function readArguments(): Arguments | number {
  try {
    const { values } = parseArgs({
      options: {
        check: { type: 'boolean', default: false },
        api: { type: 'boolean', default: false },
        datapath: { type: 'string', default: 'auto' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
    if (values.help) return refuse(usage)
    if (!['auto', 'none'].includes(values.datapath))
      return refuse(usage, `--datapath is auto or none, not ${values.datapath}`)
    return { isCheck: values.check, hasApi: values.api, hasDatapath: values.datapath === 'auto' }
  } catch (error) {
    return refuse(usage, messageOf(error))
  }
}

/** Installs and builds what is missing; undefined when the lab cannot run here at all. */
async function prepare(wantsDatapath: boolean): Promise<Machine | undefined> {
  const missing = missingPackages(labNeeds)
  const isRoot = process.geteuid?.() === 0
  if (isRoot && missing.length > 0) {
    await steps
      .step(
        'packages',
        (note) => installPackages(missing, note),
        () => `installed ${missing.map((need) => need.packages[0]).join(' ')}`,
      )
      .catch(() => {}) // what is still missing is reported next
  }
  const machine = inspectMachine(labNeeds)
  const verdict =
    `${machine.distribution}, Linux ` +
    `${machine.kernel}${machine.isRoot ? ', root' : ''}${machine.canBpf ? ', eBPF' : ''}`
  await steps.step(
    'machine',
    async () => verdict,
    (text) => text,
  )
  for (const lack of machine.lacks) steps.line(`    ${lackText(lack)}`)
  if (!machine.canDeploy) {
    steps.line('\n  The lab cannot run here; nothing was changed.')
    return undefined
  }
  if (!machine.canBpf || !wantsDatapath) return { ...machine, canBpf: false }
  try {
    await steps.step(
      'kernel programs',
      async (note) => {
        note('compiling')
        const { buildBpf } = await import('./build-bpf.ts')
        return buildBpf()
      },
      (path) => `${relative(root, path)}, ${Math.round(statSync(path).size / 1024)} KiB`,
    )
    return machine
  } catch {
    steps.line('    the kernel programs could not be built: the lab runs with --datapath none')
    return { ...machine, canBpf: false }
  }
}

/** What the API server is made of, found or built; undefined when it cannot be had, which is said. */
async function buildControlPlane(): Promise<ControlPlanePrograms | undefined> {
  const server = await foundIn(
    'kube-apiserver',
    (note) => ensureBinaries(note, building.signal),
    ({ version }) => `Kubernetes ${version}`,
  )
  if (isStopping) return undefined
  const helm = await foundIn(
    'helm',
    async (note) => {
      const answer = await ensureHelm(note, building.signal)
      return 'reason' in answer ? answer.reason : answer
    },
    ({ path }) => path,
  )
  if (server !== undefined && helm !== undefined) return { ...server, helm: helm.path }
  if (!isStopping)
    steps.line(
      '\n  The lab cannot have its API server; nothing was changed. Still runs: npm run lab, without --api.' +
        '\n  Go is at https://go.dev/dl: unpack it to /usr/local, put /usr/local/go/bin into PATH, run this again.',
    )
  return undefined
}

/** One step; undefined where it answers a reason, which then stands behind its title. */
async function foundIn<T extends object>(
  title: string,
  find: (note: Note) => Promise<T | string>,
  describe: (found: T) => string,
): Promise<T | undefined> {
  const action = async (note: Note): Promise<T> => {
    const answer = await find(note)
    if (typeof answer === 'string') throw new HeraldError('ERR_LAB', answer)
    return answer
  }
  return steps.step(title, action, describe).catch(() => undefined)
}

async function deploy(
  machine: Machine,
  isCheck: boolean,
  programs: ControlPlanePrograms | undefined,
): Promise<{ rack: Rack; capture: Capture | undefined }> {
  const canCapture =
    isCheck &&
    ['/usr/bin/tcpdump', '/usr/sbin/tcpdump'].some((path) => existsSync(path)) &&
    existsSync('/usr/bin/tshark')
  const opened = await steps.step(
    'topology',
    async () => {
      lab = Lab.open({
        file: join(root, 'containerlab/rack/topology.clab.yml'),
        root,
        heraldArguments: machine.canBpf ? [] : ['--datapath', 'none'],
        ...(programs && { reshape: (topology, workFolder) => withControlPlane(topology, workFolder, programs) }),
      })
      await lab.make()
      return lab
    },
    (up) => `${up.names.length} nodes, ${up.topology.links.length} links, in ${up.workFolder}`,
  )
  const capture = canCapture ? await Capture.start(opened, 'tor1', 'br0') : undefined
  const rack = new Rack(opened, programs && (await startCluster(opened, programs)))
  opened.startCommands()
  await waitForRoutes({ rack, steps, hasDatapath: machine.canBpf })
  return { rack, capture }
}

/** As a user does it: the chart, then what is in the folder. */
async function startCluster(opened: Lab, programs: ControlPlanePrograms): Promise<LabCluster> {
  const cluster = await steps.step(
    'API server',
    () => LabCluster.start(opened, programs),
    () => 'etcd and kube-apiserver are ready',
  )
  await steps.step(
    'helm install',
    () => cluster.installHerald(join(root, 'charts/herald')),
    () => 'CRDs, service accounts and roles of charts/herald',
  )
  await steps.step(
    'kubectl apply',
    () => new Rack(opened, cluster).apply(),
    () => 'Nodes, Services, EndpointSlices, pool and policy',
  )
  await steps.step(
    'log in',
    () => cluster.logIn(),
    () => 'the operator, and for each agent a token of its own',
  )
  return cluster
}

async function stay(rack: Rack, machine: Machine): Promise<void> {
  await showRack({ rack, steps, hasDatapath: machine.canBpf })
  superviseAgents(rack.lab, steps)
  steps.line(`\n  ${steps.style('bold', 'The lab is up. Ctrl-C ends it and leaves nothing behind.')}`)
  // A pending promise alone does not keep the process alive.
  const alive = setInterval(() => {}, 60_000)
  await whenStopped
  clearInterval(alive)
}

/** True when nothing is left. */
async function tearDown(traces: Traces | undefined): Promise<boolean> {
  try {
    await steps.step(
      'tear-down',
      async () => {
        await lab?.destroy()
        // The kernel frees programs a moment after their last reference is gone.
        if (traces !== undefined)
          await until(
            'nothing is left',
            () => leftovers(traces),
            (left) => left.length === 0,
          )
      },
      () => 'no process, namespace, pinned program or file is left',
    )
    return true
  } catch {
    return false // the step list has printed what is left
  }
}

/** The last lines of what the agents printed, for whoever must find out why. */
function printLogs(): void {
  for (const name of [...(lab?.heraldNodes ?? []), 'operator', 'apiserver']) {
    const file = lab?.logFile(name) ?? ''
    if (!existsSync(file)) continue
    steps.line(`\n  ${name}, last lines of its log:`)
    for (const line of readFileSync(file, 'utf8').trimEnd().split('\n').slice(-12)) steps.line(`    ${line}`)
  }
}

function printResult({ passed, failed, skipped }: CheckResult, isClean: boolean): void {
  const count = passed + (isClean ? 1 : 0)
  steps.line(
    `\n  ${count} checks passed, ${failed.length + (isClean ? 0 : 1)} ` +
      `failed${failed.length > 0 ? ` (${failed.join(', ')})` : ''}, ${skipped.length} ` +
      `skipped${skipped.length > 0 ? ` (${skipped.join(', ')})` : ''}`,
  )
}

// Whatever ends this process (a closed pipe, a defect), the work folder goes as well.
process.on('exit', () => lab?.abandon())
process.stdout.on('error', () => process.exit(1))
process.exitCode = await main()
