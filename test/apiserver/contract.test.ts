/** A real API server as a source keeps the contract of sources. */
import { after, before } from 'node:test'
import { systemClock } from '../../src/clock/system-clock.ts'
import { loadCredentials } from '../../src/k8s/apiserver/credentials.ts'
import { apiServerSource } from '../../src/k8s/apiserver/source.ts'
import { connectTransport } from '../../src/k8s/apiserver/transport.ts'
import type { RawObject } from '../../src/k8s/source.ts'
import { ownPrefix, service, sourceContract } from '../k8s/source-contract.ts'
import { waitFor } from '../wait.ts'
import { presentBinaries } from './binaries.ts'
import { type Cluster, startCluster } from './cluster.ts'

const binaries = presentBinaries()
const skip = binaries === undefined ? 'no kube-apiserver here (see test/apiserver/binaries.ts)' : false
const marker = `${ownPrefix}-marker`
const deadlineMs = 60_000

let cluster: Cluster

before(async () => {
  if (binaries !== undefined) cluster = await startCluster(binaries)
})

after(async () => {
  await cluster?.stop()
})

/** As a user writes it: uid and versions are the server's. */
const written = ({ metadata, ...rest }: RawObject): string => {
  const { name } = metadata as { readonly name: string }
  return JSON.stringify({ ...rest, metadata: { name, namespace: 'default', labels: { contract: 'yes' } } })
}

sourceContract(
  'a real API server',
  async () => {
    const source = apiServerSource({
      transport: connectTransport(loadCredentials(cluster.kubeconfig), 1_000),
      clock: systemClock,
      random: () => 0.5,
      nodeName: 'node1',
    })
    const heard = new Set<string>()
    let isReachable = true
    const hears = (said: string): Promise<unknown> => waitFor(said, () => heard.has(said), { deadlineMs })
    const put = (...objects: readonly RawObject[]): Promise<void> => cluster.apply(objects.map(written).join('\n---\n'))
    return {
      source,
      isNeverEmpty: true,
      put,
      recreate: async (object) => void (await cluster.kubectl(['replace', '--force', '-f', '-'], written(object))),
      delete: async (...names) => void (await cluster.kubectl(['delete', 'service', ...names])),
      setReachable: async (isNowReachable) => {
        isReachable = isNowReachable
        if (isReachable) await cluster.restart('apiserver')
        else cluster.signal('apiserver', 'SIGKILL')
      },
      settle: async () => {
        if (heard.has('stopped')) return
        await hears('synced')
        await waitFor('its state follows', () => source.state.isReachable === isReachable, { deadlineMs })
        if (!isReachable) return
        heard.clear()
        heard.add('synced')
        await put(service(marker))
        await hears(`+${marker}`)
        await cluster.kubectl(['delete', 'service', marker])
        await hears(`-${marker}`)
      },
      hear: (said) => void heard.add(said),
      end: async () => {
        await source.stop()
        await cluster.kubectl(['delete', 'service', '-l', 'contract=yes'])
      },
    }
  },
  { skip },
)
