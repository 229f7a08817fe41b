/**
 * What `npm run lab -- --check` asserts of backends on other nodes: requests go through every node to the one that has
 * the backend, and a connection goes on when the routers send it through another one.
 */
import { HeraldError } from '../src/errors.ts'
import { startFlow } from './flow.ts'
import type { Rack } from './rack.ts'
import { hostPrefix, spreadText } from './routes.ts'
import { until } from './until.ts'

/** Its only backend is on node3; the one of IPv6 as well. */
const services = ['default/wiki', 'default/wiki6']
const clients = { 4: '203.0.113.10', 6: '2001:db8:c::10' } as const
const requests = 20

/** Answers the evidence. Throws ERR_LAB. */
export async function backendsElsewhere(rack: Rack): Promise<string> {
  const lines: string[] = []
  for (const service of services) lines.push(await throughEveryNode(rack, service))
  return lines.join('\n')
}

async function throughEveryNode(rack: Rack, service: string): Promise<string> {
  const address = await rack.addressOf(service)
  const isIpv6 = address.includes(':')
  const url = `http://${isIpv6 ? `[${address}]` : address}/`
  const client = clients[isIpv6 ? 6 : 4]
  const flow = startFlow(rack, url)
  try {
    await carriesOn(rack, flow)
    for (const node of rack.nodes) {
      const undo = await sendThrough(rack, hostPrefix(address), node)
      try {
        await carriesOn(rack, flow)
        const answers = await rack.ask('http', url, String(requests))
        const isWhole = answers.errors.length === 0 && answers.answered['pod3a on node3'] === requests
        if (!isWhole || answers.clients.join() !== client)
          throw new HeraldError(
            'ERR_LAB',
            `${url} through ${node}: ${spreadText(answers)}, of ${answers.clients.join()}`,
          )
      } finally {
        await undo()
      }
    }
    await carriesOn(rack, flow)
    const last = flow.last()
    if (last?.failed !== 0 || last.connections !== 1)
      throw new HeraldError('ERR_LAB', `${url}: the connection broke as it moved: ${JSON.stringify(last)}`)
    const nodes = rack.nodes.join(', ')
    return (
      `${url} by pod3a on node3 through each of ${nodes}, of ${client}; ` +
      `${last.requests} requests on 1 TCP connection that moved over all of them, 0 failed`
    )
  } finally {
    flow.stop()
  }
}

async function carriesOn(rack: Rack, flow: ReturnType<typeof startFlow>): Promise<void> {
  const from = flow.last()?.requests ?? 0
  await until(
    'the connection carries on',
    async () => flow.last(),
    (now) => (now?.requests ?? 0) >= from + 5,
    { signal: rack.lab.signal },
  )
}

/** Every router hands the prefix to one of its next hops alone, until the answer undoes it. */
async function sendThrough(rack: Rack, prefix: string, node: string): Promise<() => Promise<void>> {
  const routes: { readonly router: string; readonly words: readonly string[] }[] = []
  for (const router of rack.routers) {
    const hop = (await rack.hops(router)).get(prefix)?.find((each) => rack.nodeOf(each) === node)
    if (hop === undefined) throw new HeraldError('ERR_LAB', `${router} has no route to ${prefix} via ${node}`)
    // Preferred to the one of BGP, which stays.
    routes.push({ router, words: [prefix, 'via', hop, 'metric', '1'] })
  }
  for (const { router, words } of routes) await rack.lab.node(router).must(['ip', 'route', 'add', ...words])
  return async () => {
    for (const { router, words } of routes) await rack.lab.node(router).must(['ip', 'route', 'del', ...words])
  }
}
