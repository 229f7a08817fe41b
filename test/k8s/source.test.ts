/** The sources that there are keep the contract of sources. */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import { directorySource } from '../../src/k8s/directory.ts'
import { MemorySource, type MemoryObject } from '../../src/k8s/memory-source.ts'
import type { ObjectKey, ObjectVersion, RawObject } from '../../src/k8s/source.ts'
import { sourceContract } from './source-contract.ts'

const nameOf = ({ metadata }: RawObject): string => String((metadata as { readonly name: string }).name)

sourceContract('a folder', async () => {
  const base = mkdtempSync(join(tmpdir(), 'herald-source-'))
  const folder = join(base, 'manifests')
  renameSync(mkdtempSync(join(base, 'new-')), folder)
  const clock = new VirtualClock()
  const source = directorySource({ directory: folder, clock })
  const put = (...objects: readonly RawObject[]): void => {
    for (const object of objects) writeFileSync(join(folder, `${nameOf(object)}.json`), JSON.stringify(object))
  }
  return {
    source,
    put,
    recreate: put,
    delete: (...names) => {
      for (const name of names) rmSync(join(folder, `${name}.json`))
    },
    setReachable: (isReachable) => {
      const away = join(base, 'away')
      if (isReachable) renameSync(away, folder)
      else renameSync(folder, away)
    },
    settle: () => clock.advance(10_000),
    end: async () => {
      await source.stop()
      rmSync(base, { recursive: true })
    },
  }
})

sourceContract('memory', async () => {
  const source = new MemorySource()
  const key = (name: string): ObjectKey => ({ apiVersion: 'v1', kind: 'Service', namespace: 'default', name })
  const entry = (object: RawObject): MemoryObject => ({
    key: key(nameOf(object)),
    object,
    version: object['metadata'] as ObjectVersion,
  })
  const put = (...objects: readonly RawObject[]): void => source.put(...objects.map(entry))
  return {
    source,
    put,
    recreate: put,
    delete: (...names) => source.remove(...names.map(key)),
    setReachable: (isReachable) => {
      source.isReachable = isReachable
    },
    settle: () => source.flush(),
    end: () => source.stop(),
  }
})
