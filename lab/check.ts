/**
 * `npm run lab -- --check`: asserts on a deployed rack what a router operator would want proven. Each check is one
 * line with its evidence; a failed one does not stop the others.
 */
import { HeraldError } from '../src/errors.ts'
import { apiChecks } from './api-check.ts'
import { pinnedObjects } from './leftovers.ts'
import { hops, hostPrefix, isSame, routersHave, spreadText } from './routes.ts'
import { backendsElsewhere } from './remote-check.ts'
import type { Rack, RouteTable } from './rack.ts'
import { type Flow, startFlow } from './flow.ts'
import type { Note, StepList } from './steps.ts'
import { until } from './until.ts'
import { Walk } from './walk.ts'
import { RouteMonitor, type Capture } from './watch.ts'

export interface CheckContext {
  readonly rack: Rack
  readonly steps: StepList
  /** False: the agents run with `--datapath none`, nothing serves a VIP and what needs that is skipped. */
  readonly hasDatapath: boolean
  /** Undefined where tcpdump or tshark is missing. */
  readonly capture: Capture | undefined
}

export interface CheckResult {
  readonly passed: number
  readonly failed: readonly string[]
  readonly skipped: readonly string[]
}

interface Check {
  readonly title: string
  readonly needs: 'routes' | 'datapath' | 'capture'
  run(context: CheckContext, note: Note): Promise<string>
}

const web = 'default/web'
const echo = 'default/echo'

export async function checkRack(context: CheckContext): Promise<CheckResult> {
  const failed: string[] = []
  const skipped: string[] = []
  let passed = 0
  const { cluster } = context.rack
  const walk = cluster && new Walk(context.rack, cluster, context.hasDatapath)
  for (const check of [...checks, ...checksOfCluster(context.rack, walk)]) {
    const isPossible =
      check.needs === 'routes' || (check.needs === 'datapath' ? context.hasDatapath : context.capture !== undefined)
    if (!isPossible) {
      skipped.push(check.title)
      context.steps.line(
        `  - ${check.title}: skipped, no ${check.needs === 'datapath' ? 'eBPF here' : 'tcpdump or tshark'}`,
      )
      continue
    }
    try {
      await context.steps.step(
        check.title,
        (note) => check.run(context, note),
        (evidence) => evidence,
      )
      passed++
    } catch {
      failed.push(check.title) // the step list has printed why
    }
    if (context.rack.lab.signal.aborted) break
  }
  walk?.stop()
  return { passed, failed, skipped }
}

/** Throws ERR_LAB with `evidence` unless it holds. */
function assert(holds: boolean, evidence: string): void {
  if (!holds) throw new HeraldError('ERR_LAB', evidence)
}

const checks: readonly Check[] = [
  { title: 'PodCIDR routes', needs: 'routes', run: podCidrRoutes },
  { title: 'Service routes', needs: 'routes', run: serviceRoutes },
  { title: 'HTTP requests', needs: 'datapath', run: httpRequests },
  { title: 'UDP echoes', needs: 'datapath', run: udpEchoes },
  { title: 'backend elsewhere', needs: 'datapath', run: ({ rack }) => backendsElsewhere(rack) },
  { title: 'past netfilter', needs: 'datapath', run: pastNetfilter },
  { title: 'backend dies', needs: 'routes', run: backendDies },
  { title: 'Service deleted', needs: 'routes', run: serviceDeleted },
  { title: 'agent killed', needs: 'routes', run: agentKilled },
  { title: 'session capture', needs: 'capture', run: sessionCapture },
]

function checksOfCluster(rack: Rack, walk: Walk | undefined): readonly Check[] {
  const { cluster } = rack
  if (cluster === undefined) return []
  const views = Object.entries(apiChecks).map(([title, run]) => [title, () => run(rack, cluster)] as const)
  return [...views, ...Object.entries(walk?.steps ?? {})].map(([title, run]) => ({ title, needs: 'routes', run }))
}

/** Nothing of netfilter is in the namespaces of nodes: an agent finds so by itself. */
async function pastNetfilter({ rack }: CheckContext): Promise<string> {
  const modes: string[] = []
  for (const node of rack.nodes) {
    const { mode, modeReason } = (await rack.status(node)).datapath
    assert(mode === 'redirect', `${node}: ${mode}, ${modeReason}`)
    modes.push(`${node} ${mode}`)
  }
  return modes.join(', ')
}

async function podCidrRoutes({ rack }: CheckContext): Promise<string> {
  const { podCidrs } = rack.wanted()
  for (const [prefix, node] of podCidrs) await routersHave(rack, prefix, [node])
  return `${[...podCidrs].map(([prefix, node]) => `${prefix} via ${node}`).join(', ')} on ${rack.routers.join(' and ')}`
}

async function serviceRoutes({ rack }: CheckContext): Promise<string> {
  const lines: string[] = []
  for (const [service, nodes] of rack.wanted().services) {
    const prefix = hostPrefix(await rack.addressOf(service))
    await routersHave(rack, prefix, nodes)
    lines.push(`${service} ${prefix} ${hops(nodes)}`)
  }
  return `${lines.join(', ')} on ${rack.routers.join(' and ')}`
}

async function httpRequests({ rack }: CheckContext): Promise<string> {
  const answers = await rack.ask('http', `http://${await rack.addressOf(web)}/`, '200')
  assert(
    answers.errors.length === 0 && Object.keys(answers.answered).length === 4,
    `${spreadText(answers)}; wanted 200 over 4 pods`,
  )
  return spreadText(answers)
}

async function udpEchoes({ rack }: CheckContext): Promise<string> {
  const answers = await rack.ask('udp', await rack.addressOf(echo), '7', '100')
  assert(
    answers.errors.length === 0 && Object.keys(answers.answered).length === 2,
    `${spreadText(answers)}; wanted 100 over 2 pods`,
  )
  return spreadText(answers)
}

/** The process dies, then its endpoints leave the EndpointSlices, as kubelet and the control plane do it. */
async function backendDies({ rack, hasDatapath }: CheckContext): Promise<string> {
  const prefix = `${await rack.addressOf(web)}/32`
  const before = rack.wanted().services.get(web) ?? []
  await rack.lab.killCommand('pod2a', 'KILL')
  const restore = await rack.removePod('pod2a')
  try {
    const without = before.filter((node) => node !== 'node2')
    await routersHave(rack, prefix, without)
    const answers = hasDatapath ? await rack.ask('http', `http://${prefix.replace('/32', '')}/`, '60') : undefined
    assert(answers === undefined || answers.errors.length === 0, answers === undefined ? '' : spreadText(answers))
    return `pod2a killed: ${prefix} ${hops(without)}${answers === undefined ? '' : `; ${spreadText(answers)}`}`
  } finally {
    rack.lab.startCommand('pod2a')
    await restore()
    await routersHave(rack, prefix, before)
  }
}

async function serviceDeleted({ rack, hasDatapath }: CheckContext): Promise<string> {
  const prefix = `${await rack.addressOf(echo)}/32`
  const other = `${await rack.addressOf(web)}/32`
  const monitors = rack.routers.map((router) => new RouteMonitor(rack.lab, router))
  const restore = await rack.removeFile('echo.yaml')
  try {
    await routersHave(rack, prefix, [])
    const answers = hasDatapath ? await rack.ask('http', `http://${other.replace('/32', '')}/`, '20') : undefined
    assert(answers === undefined || answers.errors.length === 0, answers === undefined ? '' : spreadText(answers))
    const disturbed = monitors.flatMap((monitor) => monitor.about(other))
    assert(disturbed.length === 0, `${web} was disturbed: ${disturbed.join(' | ')}`)
    return `${echo}: ${prefix} gone from ${rack.routers.join(' and ')}; ${other} untouched`
  } finally {
    for (const monitor of monitors) monitor.stop()
    await restore()
    await routersHave(rack, `${await untilAddress(rack, echo)}/32`, rack.wanted().services.get(echo) ?? [])
  }
}

function untilAddress(rack: Rack, service: string): Promise<string> {
  return until(
    `${service} has an address`,
    () => rack.addressOf(service),
    () => true,
    { signal: rack.lab.signal },
  )
}

async function agentKilled(context: CheckContext, note: Note): Promise<string> {
  const { rack, hasDatapath } = context
  const address = await rack.addressOf(web)
  const monitors = rack.routers.map((router) => new RouteMonitor(rack.lab, router))
  const flow = hasDatapath ? startFlow(rack, `http://${address}/`) : undefined
  const flowed = async (more: number, what: string): Promise<Flow | undefined> => {
    if (flow === undefined) return undefined
    const from = flow.last()?.requests ?? 0
    return until(
      `the connection carries ${more} more requests ${what}`,
      async () => flow.last(),
      (now) => (now?.requests ?? 0) >= from + more,
      { signal: rack.lab.signal },
    )
  }
  try {
    const pod = (await flowed(5, 'at the start'))?.pods[0]
    const node = rack.lab.topology.nodes.find((spec) => spec.name === pod)?.env['NODE_NAME'] ?? 'node1'
    const before = await Promise.all(rack.routers.map((router) => rack.routes(router)))
    await rack.lab.killCommand(node, 'KILL')
    note(`${node}'s agent killed`)
    const kept = await whileDead(context, node, before, async () => void (await flowed(30, 'without an agent')))
    rack.lab.startCommand(node)
    note(`${node}'s agent started again`)
    await afterRestart(context, node, before)
    const end = await flowed(10, 'after the restart')
    await assertUndisturbed(rack, monitors, before, node)
    assert(
      end === undefined || (end.failed === 0 && end.connections === 1),
      `the connection broke: ${JSON.stringify(end)}`,
    )
    return [
      kept,
      `restarted: ${hasDatapath ? 'adopted, ' : ''}no route withdrawn`,
      end === undefined ? '' : `${end.requests} requests on 1 TCP connection, 0 failed`,
    ]
      .filter((text) => text !== '')
      .join('; ')
  } finally {
    flow?.stop()
    for (const monitor of monitors) monitor.stop()
    if (!rack.lab.signal.aborted)
      for (const name of rack.nodes) if (rack.lab.hasEnded(name)) rack.lab.startCommand(name)
  }
}

/** Session down, routes there, programs pinned, traffic flowing. */
async function whileDead(
  { rack, hasDatapath }: CheckContext,
  node: string,
  before: readonly RouteTable[],
  flows: () => Promise<void>,
): Promise<string> {
  for (const router of rack.routers) {
    await until(
      `${router} sees the session with ${node} down`,
      () => rack.sessions(router),
      (sessions) => sessions.get(node) !== 'Established',
      { signal: rack.lab.signal },
    )
  }
  await flows()
  const pins = hasDatapath ? await pinnedObjects(rack.lab, node) : []
  const programs = pins.filter((pin) => pin.kind === 'prog')
  assert(
    !hasDatapath || programs.length > 0,
    `bpftool finds no pinned program on ${node}; pins: ${pins.map((pin) => pin.path).join(' ')}`,
  )
  for (const [i, router] of rack.routers.entries()) {
    const now = await rack.routes(router)
    for (const [prefix, nodes] of before[i] ?? [])
      assert(isSame(now, prefix, nodes), `${router}: ${prefix} was ${hops(nodes)}, is ${hops(now.get(prefix) ?? [])}`)
  }
  const shown = hasDatapath
    ? `, bpftool shows ${programs.map((pin) => `${pin.name} (id ${pin.id})`).join(', ')} and ` +
      `${pins.length - programs.length} more pins`
    : ''
  return `${node}'s agent killed: sessions down, all routes kept${shown}`
}

/** Sessions up again, everything adopted, nothing stale any more. */
async function afterRestart(
  { rack, hasDatapath }: CheckContext,
  node: string,
  before: readonly RouteTable[],
): Promise<void> {
  const signal = rack.lab.signal
  for (const [i, router] of rack.routers.entries()) {
    await until(
      `${router} has its session with ${node} again`,
      () => rack.sessions(router),
      (sessions) => sessions.get(node) === 'Established',
      { deadlineMs: 30_000, signal },
    )
    await until(
      `${router} has no stale route`,
      () => rack.stalePrefixes(router),
      (stale) => stale.length === 0,
      { deadlineMs: 30_000, signal },
    )
    const now = await rack.routes(router)
    for (const [prefix, nodes] of before[i] ?? [])
      assert(
        isSame(now, prefix, nodes),
        `${router}: ${prefix} was ${hops(nodes)}, is ${hops(now.get(prefix) ?? [])} after the restart`,
      )
  }
  if (hasDatapath)
    await until(
      `${node} says adopted`,
      async () => (await rack.status(node)).datapath,
      (datapath) => datapath.adopted,
      { signal },
    )
}

/** The kernel's own log of route changes: no prefix of the node was deleted or lost it as a next hop. */
async function assertUndisturbed(
  rack: Rack,
  monitors: readonly RouteMonitor[],
  before: readonly RouteTable[],
  node: string,
): Promise<void> {
  const addresses = await rack.addressesOf(node)
  const prefixes = [...(before[0] ?? [])].filter(([, nodes]) => nodes.includes(node)).map(([prefix]) => prefix)
  const lines = monitors.flatMap((monitor) => prefixes.flatMap((prefix) => monitor.about(prefix)))
  const lost = lines.filter(
    (line) =>
      line.startsWith('Deleted') ||
      (line.includes(' via ') && !line.split(/[\s\\]+/).some((word) => addresses.includes(word))),
  )
  assert(lost.length === 0, `withdrawn meanwhile: ${lost.join(' | ')}`)
}

async function sessionCapture({ capture }: CheckContext): Promise<string> {
  if (capture === undefined) throw new HeraldError('ERR_LAB', 'there is no capture')
  const { frames, malformed, messages } = await capture.decode()
  const text = `${frames} frames: ${Object.entries(messages)
    .map(([name, count]) => `${count} ${name}`)
    .join(', ')}; ${malformed} malformed`
  assert(malformed === 0 && ['OPEN', 'UPDATE', 'KEEPALIVE'].every((name) => (messages[name] ?? 0) > 0), text)
  return `tshark: ${text}`
}
