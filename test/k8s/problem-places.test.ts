/** Where a problem is, while the file around it changes. */
import assert from 'node:assert/strict'
import { renameSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Problem } from '../../src/desired/model.ts'
import { createTranslator } from '../../src/k8s/translate/translator.ts'
import { following } from './directory-world.ts'
import { node, policyWith, write } from './manifests.ts'

const odd = policyWith('{peerAddress: 127.0.0.1/32, peerASN: 65000}')
const lineOf = (text: string): number => text.split('\n').findIndex((line) => line.includes('127.0.0.1')) + 1

test('a problem is told at the line where its object stands now, also in another file, and again in JSON', () =>
  following(
    (folder) => write(folder, 'a.yaml', odd + node),
    ({ folder, objects, origins, confirm, look, log }) => {
      look()
      const translator = createTranslator({ nodeName: 'node-a', datapath: 'none', secretsNamespace: 'kube-system' })
      const kinds = { CiliumBGPPeeringPolicy: 'cilium.io/v2alpha1', Node: 'v1' }
      for (const [kind, apiVersion] of Object.entries(kinds)) {
        const [name] = [...objects.keys()].filter((each) => each.startsWith(`${kind} `))
        const object = objects.get(name ?? '')
        assert.ok(object !== undefined && name !== undefined)
        const key = { apiVersion, kind, namespace: '', name: name.split(' ')[1] ?? '' }
        translator.upsert(key, object, origins.get(name))
      }
      translator.synced()
      const found = translator.flush().problems?.find(({ code }) => code === 'LoopbackPeer')
      assert.ok(found)
      const place = (problem: Problem): unknown => [problem.object.file, problem.object.line]
      assert.deepEqual(place(found), ['a.yaml', lineOf(odd)])
      const before = log.length
      const moved = `# one\n# two\n\n${node}---\n${odd}`
      write(folder, 'a.yaml', moved)
      look()
      assert.deepEqual(place(found), ['a.yaml', lineOf(moved)])
      renameSync(join(folder, 'a.yaml'), join(folder, 'b.yaml'))
      confirm()
      assert.deepEqual(place(found), ['b.yaml', lineOf(moved)])
      const { object } = JSON.parse(JSON.stringify(found)) as Problem
      assert.deepEqual([object.file, object.line], ['b.yaml', lineOf(moved)])
      assert.equal(log.length, before, 'nothing was delivered anew')
    },
  ))
