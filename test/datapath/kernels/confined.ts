/**
 * What runs in the machine of another kernel: the pod of the chart under the profile of AppArmor that container
 * runtimes give every pod of a node that has AppArmor. The machine is the node.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { linkSync, readdirSync, readFileSync } from 'node:fs'
import { get } from 'node:http'
import { release } from 'node:os'
import { after, before, test } from 'node:test'
import { errorTable } from '../../../src/errors.ts'
import { mountBpffs } from '../../../src/sys/mount.ts'
import { Pod, type PodSpec } from '../../chart/pod.ts'
import { waitFor } from '../../wait.ts'
import { ip, layCable } from '../network.ts'
import { confined } from './profile.ts'

interface Status {
  readonly warnings: readonly string[]
  readonly datapath: { readonly kind: string; readonly interfaces: readonly string[]; readonly problems?: unknown }
  readonly socketLb?: { readonly isOn: boolean; readonly frontends?: number; readonly isDone?: boolean }
}

const { name: profile, folder, nodeProgram } = confined
const spec: PodSpec = JSON.parse(readFileSync(`${folder}/pod.json`, 'utf8'))
const bpffs = '/sys/fs/bpf'
const pods: Pod[] = []

before(() => {
  execFileSync('apparmor_parser', ['--skip-cache', '--replace', `${folder}/profile`])
  linkSync('/bin/node', `${folder}/image${nodeProgram}`)
  mountBpffs(bpffs)
  layCable('up0', ['192.0.2.1'])
  ip('route', 'add', 'default', 'via', '192.0.2.2')
})
after(async () => {
  for (const pod of pods) await pod.end('KILL')
})

function start(name: string, pod: PodSpec): Pod {
  const started = new Pod(pod, {
    folder: `${folder}/${name}`,
    node: '/',
    image: `${folder}/image`,
    entrypoint: ['/usr/local/bin/herald'],
    network: '/proc/self/ns/net',
    fields: { 'spec.nodeName': 'node1', 'metadata.name': name, 'metadata.namespace': 'herald-system' },
    server: { host: '192.0.2.2', port: '6443' },
    token: '',
    authority: '',
    runtime: 'containerd',
    profile,
    isInMemory: true,
  })
  pods.push(started)
  return started
}

const seen = <T>(what: string, pod: Pod, read: () => T | Promise<T>): Promise<Exclude<T, undefined | false>> =>
  waitFor(what, () => (pod.hasEnded ? assert.fail('the pod has ended') : read()), {
    deadlineMs: 120_000,
    everyMs: 500,
  }).catch((error: unknown) => assert.fail(`${String(error)}\n${pod.output}`))

/** Of the agent in this pod, by the socket that it has in a folder of its own; undefined while it does not answer. */
function statusOf(name: string): Promise<Status | undefined> {
  return new Promise((resolve) => {
    const socketPath = `${folder}/${name}/run/herald.sock`
    get({ socketPath, path: '/api/v1/status', agent: false }, (answer) => {
      let text = ''
      answer.setEncoding('utf8').on('data', (part: string) => (text += part))
      answer.on('end', () => resolve(answer.statusCode === 200 ? JSON.parse(text) : undefined))
    }).on('error', () => resolve(undefined))
  })
}

/** What each process that is not this machine's own is held to. */
const heldTo = (): readonly string[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const isAgent = readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('\0agent\0')
        return isAgent ? [readFileSync(`/proc/${pid}/attr/apparmor/current`, 'latin1').trim()] : []
      } catch {
        return []
      }
    })

// Before the other one: of an agent that served, something would serve on.
test('confined | what its profile refuses is said with its name', async () => {
  // As a manifest has it that mounts the bpf file system where the node does.
  const elsewhere: PodSpec = JSON.parse(JSON.stringify(spec).replaceAll('/run/bpffs', bpffs))
  const pod = start('refused', elsewhere)
  await seen('the remedy', pod, () => pod.output.includes(errorTable.ERR_CONFINED))
  assert.ok(pod.output.includes(`the AppArmor profile ${profile} may refuse it`), pod.output)
  const { datapath, warnings } = await seen('an answer', pod, () => statusOf('refused'))
  assert.equal(datapath.kind, 'none')
  assert.match(warnings.join('\n'), /no eBPF datapath: .*AppArmor/)
  assert.equal(await pod.end(), 0, pod.output)
})

test('confined | programs, pins and sockets under the profile of the runtime', async (t) => {
  const pod = start('agent', spec)
  const { warnings, datapath, socketLb } = await seen('programs attached and sockets led', pod, async () => {
    const status = await statusOf('agent')
    return status?.datapath.interfaces.join() === 'up0' && status.socketLb?.frontends === 1 ? status : undefined
  })
  assert.deepEqual(heldTo(), [`${profile} (enforce)`])
  assert.deepEqual([datapath.kind, datapath.problems, socketLb?.isOn], ['ebpf', undefined, true])
  assert.deepEqual(
    warnings.filter((text) => /EPERM|EACCES|permitted|permission|AppArmor|cannot/i.test(text)),
    [],
  )
  assert.doesNotMatch(pod.output, /EACCES|EPERM|EROFS/)
  const [version = ''] = readdirSync(`${bpffs}/herald`).filter((name) => /^v\d/.test(name))
  const pinned = (kind: string): readonly string[] => readdirSync(`${bpffs}/herald/${version}/${kind}`)
  assert.deepEqual(pinned('programs').toSorted(), ['herald_egress', 'herald_ingress'])
  assert.ok(pinned('maps').includes('frontends'))
  assert.ok(readdirSync(`${bpffs}/herald`).some((name) => name.startsWith('sockets-v')))
  // What is run beside the agent is held to it as well.
  const maps = await pod.exec('herald', 'lb', 'maps')
  assert.equal(maps.code, 0, maps.output)
  t.diagnostic(`Linux ${release()}: served under ${heldTo().join()}`)
  assert.equal(await pod.end(), 0, pod.output)
})
