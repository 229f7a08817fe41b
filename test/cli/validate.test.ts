/** `herald validate` as a process. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import * as z from 'zod'
import { problemSchema } from '../../src/api/types.ts'

const herald = fileURLToPath(new URL('../../bin/herald', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'herald-validate-'))
after(() => rmSync(folder, { recursive: true }))
const run = (...words: string[]) => spawnSync(herald, ['validate', ...words], { encoding: 'utf8', timeout: 20_000 })

test('a broken file is exit 1 with place and remedy on one line, and JSON in the form of the API', () => {
  const file = join(folder, 'broken.yaml')
  writeFileSync(
    file,
    'apiVersion: v1\nkind: Service\nmetadata: {name: "a\\eb", namespace: default}\nspec: {type: LoadBalancer, ' +
      'ports: [{port: 99999999, protocol: TCP}]}\n',
  )
  const { status, stdout } = run(file)
  assert.equal(status, 1)
  assert.match(stdout, /broken\.yaml:\d+(:\d+)?: error: /)
  assert.doesNotMatch(stdout, /\u001b/)
  const problems = z.array(problemSchema.strict()).parse(JSON.parse(run(file, '-o', 'json').stdout))
  assert.ok(
    problems.some(({ severity, file: place, remedy }) => severity === 'error' && place === file && remedy !== ''),
  )
})

test('a folder without a fault is exit 0', () => {
  const good = join(folder, 'good.yaml')
  writeFileSync(good, 'apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n')
  const { status, stdout } = run(good)
  assert.deepEqual([status, stdout], [0, '1 file(s) ok\n'])
})

test('what the agent of a node would say is said, for every Node or for the one that is named', () => {
  const text = (name: string, address: string): string =>
    `apiVersion: v1\nkind: Node\nmetadata: {name: ${name}}\nstatus: {addresses: [{type: InternalIP, address: ${address}}]}\n---\n`
  const policy =
    'apiVersion: cilium.io/v2alpha1\nkind: CiliumBGPPeeringPolicy\nmetadata: {name: p}\nspec:\n  nodeSelector: {}\n' +
    '  virtualRouters:\n  - localASN: 1\n    serviceSelector: {}\n    neighbors: [{peerAddress: "::/128", peerASN: 2}]\n'
  const file = join(folder, 'nodes.yaml')
  writeFileSync(file, text('n1', '10.0.0.1') + text('n2', 'fd00::2') + policy)
  const all = run(file)
  assert.equal(all.status, 1)
  assert.match(all.stdout, /nodes\.yaml:\d+:\d+: error: CiliumBGPPeeringPolicy\/p .*peerAddress: .* needs an interface/)
  assert.match(all.stdout, /Node\/n2 .*: router ID \d+\.\d+\.\d+\.\d+ is derived|node n2 has no IPv4 InternalIP/)
  assert.doesNotMatch(run(file, '--node-name', 'n1').stdout, /n2/)
  assert.match(run(file, '--node-name', 'n3').stdout, /there is no Node n3/)
})
