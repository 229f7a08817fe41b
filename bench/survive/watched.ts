/** BFD between the routers of the stage and its nodes, 100 ms x 3, for as long as an event wants it. */
import { readFileSync } from 'node:fs'
import { until } from '../../lab/until.ts'
import type { Stage } from './stage.ts'

const asked = `herald.dev/neighbors: '{"*": {bfd: {receiveInterval: 100, transmitInterval: 100}}}'`
const profile = ['bfd', 'profile fast', 'receive-interval 100', 'transmit-interval 100', 'detect-multiplier 3']
const limitMs = 30_000

/** Runs `event` while every path is watched by both of its ends. Throws ERR_LAB when that does not come about. */
export async function whileWatched<T>(stage: Stage, event: () => Promise<T>): Promise<T> {
  const { lab, rack } = stage
  const bgp = readFileSync(stage.manifest('bgp.yaml'), 'utf8')
  const tell = (router: string, ...lines: readonly string[]): Promise<string> =>
    lab.node(router).must(['vtysh', ...['configure terminal', ...lines].flatMap((line) => ['-c', line])])
  for (const router of rack.routers) {
    await lab.node(router).must(['/usr/lib/frr/bfdd', '-d', '-A', '127.0.0.1'])
    await tell(router, ...profile)
    await tell(router, 'router bgp 65000', 'neighbor nodes bfd profile fast')
  }
  stage.write('bgp.yaml', bgp.replace(/^ {2}name: bgp-peering$/m, `$&\n  annotations:\n    ${asked}`))
  await until(
    'every path is watched',
    () => Promise.all(rack.routers.map((router) => watchedPaths(stage, router))),
    (counts) => counts.every((count) => count === rack.nodes.length),
    { deadlineMs: limitMs, signal: lab.signal },
  )
  try {
    return await event()
  } finally {
    stage.write('bgp.yaml', bgp)
    for (const router of rack.routers) await tell(router, 'router bgp 65000', 'no neighbor nodes bfd')
  }
}

async function watchedPaths({ lab }: Stage, router: string): Promise<number> {
  const text = await lab.node(router).must(['vtysh', '-c', 'show bfd peers json'])
  const peers: readonly { readonly status: string }[] = JSON.parse(text)
  return peers.filter(({ status }) => status === 'up').length
}
