/** `npm run lab`: brings the rack to the point where everything is announced and served, shows it, and stays. */
import type { Lab } from './runner.ts'
import { drawPicture, type Served } from './picture.ts'
import type { Rack } from './rack.ts'
import { hostPrefix } from './routes.ts'
import type { StepList } from './steps.ts'
import { until } from './until.ts'

export interface DemoOptions {
  readonly rack: Rack
  readonly steps: StepList
  readonly hasDatapath: boolean
}

const startDeadlineMs = 60_000
/** As kubelet would, after the first crash. */
const restartAfterMs = 3_000

function endedAgent(lab: Lab): string | undefined {
  const name = lab.heraldNodes.find((node) => lab.hasEnded(node))
  return name === undefined ? undefined : `the agent on ${name} ended by itself`
}

/** Waits for every session and every wanted route. Throws ERR_LAB with what is still missing at the deadline. */
export async function waitForRoutes({ rack, steps }: DemoOptions): Promise<void> {
  const signal = rack.lab.signal
  const total = rack.routers.length * rack.nodes.length
  await steps.step('sessions', async (note) => {
    await until(
      `${total} sessions are Established`,
      async () => {
        const states = (await Promise.all(rack.routers.map((router) => rack.sessions(router)))).flatMap((sessions) => [
          ...sessions.values(),
        ])
        const up = states.filter((state) => state === 'Established').length
        note(`${up}/${total} Established`)
        return up
      },
      (up) => up === total,
      { deadlineMs: startDeadlineMs, signal, hopeless: () => endedAgent(rack.lab) },
    )
  })
  await steps.step('routes', async (note) => {
    const wanted = rack.wanted()
    const services = [...wanted.services.values()].filter((nodes) => nodes.length > 0).length
    for (const router of rack.routers) {
      await until(
        `${router} has ${wanted.podCidrs.size} PodCIDRs and ${services} Service addresses`,
        () => rack.routes(router),
        (table) => table.size === wanted.podCidrs.size + services,
        { deadlineMs: startDeadlineMs, signal },
      )
    }
    note(`${wanted.podCidrs.size} PodCIDRs and ${services} Service addresses on ${rack.routers.join(' and ')}`)
  })
}

/** One request as a person would send it, then 40 to see the spread; undefined where nothing is served. */
async function serve(
  options: DemoOptions,
  address: string,
): Promise<{ served: Served; spread: Readonly<Record<string, number>> } | undefined> {
  const { rack, steps, hasDatapath } = options
  if (!hasDatapath) return undefined
  const url = `http://${address}/`
  return steps.step('a request', async (note) => {
    const started = performance.now()
    const text = await rack.lab
      .node('client')
      .must(['curl', '--silent', '--show-error', '--fail', '--max-time', '5', '--write-out', '%{time_total}', url])
    const [line = '', seconds = ''] = text.trim().split('\n')
    const { pod, node, client } = JSON.parse(line) as Pick<Served, 'pod' | 'node' | 'client'>
    const tookMs = Number(seconds) * 1000 || performance.now() - started
    const { answered } = await rack.ask('http', url, '40')
    note(`${url} answered by ${pod} on ${node}`)
    return { served: { url, pod, node, client, tookMs }, spread: answered }
  })
}

/** Sends the first requests and prints the picture. */
export async function showRack(options: DemoOptions): Promise<void> {
  const { rack, steps } = options
  const services = [...rack.wanted().services.keys()]
  const addresses = new Map<string, string>()
  for (const service of services) addresses.set(service, await rack.addressOf(service))
  const webAddress = addresses.get('default/web')
  const result = webAddress === undefined ? undefined : await serve(options, webAddress)
  const meaning = new Map<string, string>(
    [...rack.wanted().podCidrs].map(([prefix, node]) => [prefix, `PodCIDR of ${node}`]),
  )
  for (const [service, address] of addresses) meaning.set(hostPrefix(address), service)
  const sessions = new Map(
    await Promise.all(rack.routers.map(async (router) => [router, await rack.sessions(router)] as const)),
  )
  const routes = new Map(
    await Promise.all(rack.routers.map(async (router) => [router, await rack.routes(router)] as const)),
  )
  const picture = {
    nodes: rack.nodes,
    sessions,
    routes,
    meaning,
    served: result?.served,
    spread: result?.spread ?? {},
    workFolder: rack.lab.workFolder,
    folder: rack.lab.folder,
    api: rack.cluster,
    webAddress,
  }
  for (const line of drawPicture(picture, (text) => steps.style('bold', text))) steps.line(line)
}

/** Starts agents and the operator again when they end, as Kubernetes would, and says so, until the lab ends. */
export function superviseAgents(lab: Lab, steps: StepList): void {
  const watch = (name: string): void => {
    lab.command(name)?.once('exit', (code, signal) => {
      if (lab.signal.aborted) return
      steps.line(
        `  ${name}: its process ended (${signal ?? `exit ${code}`}); it is started again in ${restartAfterMs / 1000} s`,
      )
      setTimeout(() => {
        if (lab.signal.aborted) return
        lab.startCommand(name)
        watch(name)
      }, restartAfterMs)
    })
  }
  for (const name of [...lab.heraldNodes, 'operator']) watch(name)
}
