import assert from 'node:assert/strict'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Problem } from '../../src/desired/model.ts'
import { directorySource } from '../../src/k8s/directory.ts'
import { openAllocationRecord } from '../../src/k8s/ipam/record.ts'
import { validateManifests } from '../../src/k8s/validate.ts'
import { waitFor } from '../wait.ts'
import { node, pool, service, smallestPolicy, translatorWith } from './manifests.ts'

async function inFolder(run: (folder: string) => Promise<void> | void): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'herald-k8s-'))
  try {
    await run(folder)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

test('a folder delivers, follows changes, and keeps the last good version of a broken document', () =>
  inFolder(async (folder) => {
    const write = (name: string, text: string): void => {
      writeFileSync(join(folder, '.new'), text)
      renameSync(join(folder, '.new'), join(folder, name))
    }
    write('a.yaml', service('one') + service('two'))
    const objects = new Set<string>()
    let upserts = 0
    let problems: readonly Problem[] = []
    const source = directorySource({ directory: folder })
    await source.start({
      upsert: ({ name }) => { objects.add(name); upserts++ },
      remove: ({ name }) => { objects.delete(name) },
      problems: (list) => { problems = list },
      flush: () => {},
      synced: () => {},
    })
    try {
      assert.deepEqual([...objects], ['one', 'two'])
      write('a.yaml', service('one') + service('two').replace('port: 80', 'port: 81'))
      await waitFor('one more upsert', () => upserts === 3)
      write('a.yaml', `${service('one')}---\nkind: [broken\n`)
      await waitFor('a problem', () => problems.length === 1)
      assert.deepEqual([problems[0]?.code, problems[0]?.object.file, [...objects]], ['InvalidYaml', 'a.yaml', ['one', 'two']])
      write('a.yaml', service('one'))
      await waitFor('the other one to go', () => objects.size === 1 && problems.length === 0)
      write('b.yaml', service('one'))
      await waitFor('a duplicate', () => problems[0]?.code === 'DuplicateObject')
    } finally {
      await source.stop()
    }
  }))

test('two agents that share a record see what the other one wrote', () =>
  inFolder((folder) => {
    const first = openAllocationRecord(folder, folder)
    const second = openAllocationRecord(folder, folder)
    first.exchange(() => new Map([['default/web', ['198.51.100.1']]]))
    let seen: readonly string[] | undefined
    second.exchange((recorded) => {
      seen = recorded.get('default/web')
      return new Map()
    })
    assert.deepEqual(seen, ['198.51.100.1'])
  }))

test('every bad input is named with its field and line', () => {
  const cases: readonly (readonly [string, string, string, number])[] = [
    [smallestPolicy.replace('192.168.1.1/32', '192.168.1.0/24'), 'InvalidPeerMask', 'spec.virtualRouters[0].neighbors[0].peerAddress', 11],
    [smallestPolicy.replace('192.168.1.1/32', 'router'), 'InvalidPeerAddress', 'spec.virtualRouters[0].neighbors[0].peerAddress', 11],
    [smallestPolicy.replace('65000}', '65000, holdTimeSeconds: 9, keepAliveTimeSeconds: 30}'), 'KeepaliveAboveHold', 'spec.virtualRouters[0].neighbors[0].keepAliveTimeSeconds', 11],
    [`${smallestPolicy}    - {peerAddress: 192.168.1.1/32, peerASN: 65000}\n`, 'DuplicateNeighbor', 'spec.virtualRouters[0].neighbors[1].peerAddress', 12],
    [smallestPolicy.replace('exportPodCIDR', 'exportPodCidr'), 'UnknownField', 'spec.virtualRouters[0].exportPodCidr', 8],
    [pool.replace('cidr: 198.51.100.0/28', 'start: 10.0.0.9, stop: 10.0.0.1'), 'ReversedRange', 'spec.blocks[0].stop', 5],
    ['apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata: {name: p}\n', 'KindNotServed', '', 1],
  ]
  for (const [text, code, field, line] of cases) {
    assert.deepEqual(validateManifests([{ name: 'f.yaml', text }]).map((problem) => [problem.code, problem.field, problem.object.line]), [[code, field, line]])
  }
  assert.deepEqual(validateManifests([{ name: 'f.yaml', text: 'apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n' }]), [])
})

test('after a restart a recorded allocation wins over the order of names', () =>
  inFolder((folder) => {
    const start = (services: string): readonly (string | undefined)[] => {
      const delta = translatorWith(smallestPolicy + node + pool + services, { allocations: { directory: folder, stateDir: folder } }).flush()
      return ['aaa', 'web'].map((name) => delta.services.get(`default/${name}`)?.addresses.join())
    }
    assert.deepEqual(start(service('web')), [undefined, '198.51.100.0'])
    assert.deepEqual(start(service('aaa') + service('web')), ['198.51.100.1', '198.51.100.0'])
    assert.deepEqual(start(service('aaa')), ['198.51.100.1', undefined])
  }))
