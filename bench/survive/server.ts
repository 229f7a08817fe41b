/** Events of the table "Nothing lost" at an API server: it or its store goes, its watches expire, it holds nonsense. */
import { unasked } from './adversity.ts'
import { type Event, pause } from './events.ts'
import type { Stage } from './stage.ts'

/**
 * Longer than every clock by which an agent or the operator judges: the Lease of who leads (15 s), that of a node
 * (40 s), and the longest wait between two tries (30 s).
 */
const awayMs = 100_000
const nonsenseMs = 20_000
const momentMs = 3_000
const etcd = 'http://192.168.100.2:2379/v3/kv'

function ofServer(what: string, change: (stage: Stage) => Promise<string>): Event {
  return { ...unasked(what, change), isOfServer: true }
}

export const serverAway = ofServer(`API server gone for ${awayMs / 1_000} s (an hour, cut short)`, async (stage) => {
  await stage.lab.killCommand('apiserver', 'KILL')
  await pause(awayMs)
  stage.lab.startCommand('apiserver')
  await stage.serverAnswers()
  await pause(momentMs)
  return ''
})

export const storeRestarted = ofServer('etcd restarted, away for 20 s', async (stage) => {
  await stage.lab.killCommand('etcd', 'KILL')
  await pause(nonsenseMs)
  stage.lab.startCommand('etcd')
  await stage.serverAnswers()
  await pause(momentMs)
  return ''
})

/** What was seen last is compacted away meanwhile: no watch can go on from there, and all is listed anew. */
export const watchExpired = ofServer('watches answered with 410, all listed anew', async (stage) => {
  await stage.lab.killCommand('apiserver', 'KILL')
  const ask = async (verb: string, body: object): Promise<string> =>
    stage.lab.node('etcd').must(['curl', '--silent', '--fail', '--data', JSON.stringify(body), `${etcd}/${verb}`])
  const key = Buffer.from('/survive').toString('base64')
  let revision = 0
  for (let n = 0; n < 100; n++) {
    const answer: { readonly header: { readonly revision: string } } = JSON.parse(await ask('put', { key, value: key }))
    revision = Number(answer.header.revision)
  }
  await ask('compaction', { revision, physical: true })
  stage.lab.startCommand('apiserver')
  await stage.serverAnswers()
  await pause(momentMs)
  const figures = await stage.cluster?.kubectl('get', '--raw', '/metrics')
  const lists = [
    ...(figures ?? '').matchAll(/^apiserver_request_total\{.*resource="services".*verb="LIST".*\} (\d+)/gm),
  ]
  const count = lists.reduce((sum, [, number]) => sum + Number(number), 0)
  return `Services listed ${count} times since`
})

/** What the server takes and no reader of ours understands: every request for an address, every policy, every node. */
export const objectsMalformed = ofServer('objects malformed for 20 s', async (stage) => {
  const { cluster, size } = stage
  if (cluster === undefined) return ''
  const services = Array.from({ length: size.services }, (_, n) => `service/lasting-${n}`)
  const nodes = stage.rack.nodes.map((node) => `node/${node}`)
  const address = 'lbipam.cilium.io/ips'
  const nonsense = 'herald.dev/neighbors={"*": {bfd: ['
  const pool = ['patch', 'ciliumloadbalancerippool', 'stage', '--type', 'merge', '--patch']
  const serviceSelector = { matchLabels: { pool: 'lasting' }, matchExpressions: [] as object[] }
  const selecting = (expressions: readonly object[]): string =>
    JSON.stringify({ spec: { serviceSelector: { ...serviceSelector, matchExpressions: expressions } } })
  await cluster.kubectl('annotate', '--overwrite', ...services, `${address}=nobody,300.1.2.3`)
  await cluster.kubectl('annotate', '--overwrite', ...nodes, nonsense)
  await cluster.kubectl('annotate', '--overwrite', 'ciliumbgppeeringpolicy/bgp-peering', nonsense)
  await cluster.kubectl(...pool, selecting([{ key: 'pool', operator: 'In', values: [] }])).catch(() => '')
  await pause(nonsenseMs)
  await cluster.kubectl(...pool, selecting([]))
  await cluster.kubectl('annotate', ...nodes, 'ciliumbgppeeringpolicy/bgp-peering', 'herald.dev/neighbors-')
  await stage.applyAll()
  await pause(momentMs)
  return ''
})
