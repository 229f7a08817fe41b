/** The API server as a source keeps the contract of sources. */
import { systemClock } from '../../../src/clock/system-clock.ts'
import { apiServerSource } from '../../../src/k8s/apiserver/source.ts'
import { connectTransport } from '../../../src/k8s/apiserver/transport.ts'
import type { RawObject } from '../../../src/k8s/source.ts'
import { waitFor } from '../../wait.ts'
import { ownPrefix, service, sourceContract } from '../source-contract.ts'
import { FakeApiServer, status } from './fake-server.ts'

const path = '/api/v1/services'
const marker = `${ownPrefix}-marker`

/** Versions are the server's. */
const unversioned = ({ metadata, ...rest }: RawObject): RawObject => {
  const { resourceVersion: _given, ...kept } = metadata as RawObject
  return { ...rest, metadata: kept }
}

sourceContract('an API server', async () => {
  const server = new FakeApiServer()
  const source = apiServerSource({
    transport: connectTransport(await server.start()),
    clock: systemClock,
    random: () => 0.5,
    nodeName: 'node1',
  })
  server.serve(path)
  const heard = new Set<string>()
  let isReachable = true
  const hears = (said: string): Promise<unknown> => waitFor(said, () => heard.has(said))
  return {
    source,
    put: (...objects) => {
      for (const object of objects) server.store(path, unversioned(object))
    },
    recreate: (object) => {
      server.store(path, unversioned(object))
    },
    delete: (...names) => {
      for (const name of names) server.delete(path, name)
    },
    setReachable: (isNowReachable) => {
      isReachable = isNowReachable
      server.fault = ({ stream }) => {
        if (!isReachable) status(stream, 503, 'etcdserver: no leader')
        return !isReachable
      }
      server.endWatches()
    },
    settle: async () => {
      if (heard.has('stopped')) return
      await hears('synced')
      await waitFor('its state follows', () => source.state.isReachable === isReachable)
      if (!isReachable || (source.state.objects === 0 && !source.state.hasHadObjects && server.isEmpty(path))) return
      heard.clear()
      heard.add('synced')
      server.store(path, service(marker))
      await hears(`+${marker}`)
      server.delete(path, marker)
      await hears(`-${marker}`)
    },
    hear: (said) => void heard.add(said),
    end: async () => {
      await source.stop()
      await server.stop()
    },
  }
})
