/**
 * What `npm run lab -- --api --check` asserts besides: that a cluster says what the routers know, and with whose
 * rights.
 */
import { HeraldError } from '../src/errors.ts'
import type { LabCluster } from './cluster.ts'
import type { Rack } from './rack.ts'
import { until } from './until.ts'

/** Title to what asserts it and answers the evidence. Throws ERR_LAB. */
export const apiChecks: Readonly<Record<string, (rack: Rack, cluster: LabCluster) => Promise<string>>> = {
  'kubectl get svc': servicesHaveTheirAddress,
  'kubectl get bgpp': policyReadsWell,
  'own rights': processesLogIn,
}

async function servicesHaveTheirAddress(rack: Rack, cluster: LabCluster): Promise<string> {
  const shown: string[] = []
  for (const service of rack.wanted().services.keys()) {
    const [namespace = '', name = ''] = service.split('/')
    const address = await rack.addressOf(service)
    await until(
      `kubectl get svc ${name} shows ${address}, which the routers have`,
      () => cluster.kubectl('get', 'svc', name, '-n', namespace, '--no-headers'),
      (line) => line.trim().split(/\s+/)[3] === address,
      { signal: rack.lab.signal },
    )
    shown.push(`${name} ${address}`)
  }
  return `EXTERNAL-IP is what the routers have: ${shown.join(', ')}`
}

async function policyReadsWell(_: Rack, cluster: LabCluster): Promise<string> {
  const [head = '', line = ''] = (await cluster.kubectl('get', 'bgpp')).split('\n').map((each) => each.trimEnd())
  const columns = /^NAME +LOCAL AS +PEER AS +PEER ADDRESS +ACCEPTED +AGE$/.test(head)
  if (!columns || !/^bgp-peering +65001 +65000 +192\.168\.1\.1\/32 +True +\w+$/.test(line))
    throw new HeraldError('ERR_LAB', `unexpected: ${head} | ${line}`)
  return `${head}\n${line}`
}

/** Agents and operator are nobody but the chart's service accounts, and lack nothing. */
async function processesLogIn(rack: Rack, cluster: LabCluster): Promise<string> {
  for (const node of rack.nodes) {
    const { source, warnings, problems } = await until(
      `${node} has nothing to complain of`,
      () => rack.status(node),
      (status) => status.warnings.length + status.problems.length === 0,
      { signal: rack.lab.signal },
    )
    if (source.kind !== 'kubernetes' || !source.synced)
      throw new HeraldError('ERR_LAB', `${node}: ${JSON.stringify({ source, warnings, problems })}`)
  }
  const names: string[] = []
  for (const process of [...rack.nodes, 'operator']) names.push(await cluster.userOf(process))
  const wanted = [...rack.nodes.map(() => 'agent'), 'operator'].map(
    (who) => `system:serviceaccount:herald-system:herald-${who}`,
  )
  if (names.join() !== wanted.join()) throw new HeraldError('ERR_LAB', `they log in as ${names.join(', ')}`)
  return `${rack.nodes.length} agents and the operator read all they need as ${[...new Set(names)].join(' and ')}`
}
