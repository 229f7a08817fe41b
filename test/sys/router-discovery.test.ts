/** A real router advertisement daemon (BIRD's radv) on the other end of a link. */
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { openRouterDiscovery } from '../../src/sys/router-discovery.ts'
import { waitFor } from '../wait.ts'

const skip = process.getuid?.() !== 0 ? 'needs root for network namespaces' : existsSync('/usr/sbin/bird') ? false : 'needs bird (apt-get install bird2)'
const run = (...command: readonly string[]): string => execFileSync(command[0] ?? '', command.slice(1), { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })

test('a router is found by its advertisement, and again after it was asked for (RFC 4861 4.2)', { skip }, async (t) => {
  const [node, router] = [`sy-node-${process.pid}`, `sy-router-${process.pid}`]
  const folder = mkdtempSync(join(tmpdir(), 'herald-discovery-'))
  const children: ReturnType<typeof spawn>[] = []
  t.after(() => {
    for (const child of children) child.kill('SIGKILL')
    for (const namespace of [node, router]) if (existsSync(`/run/netns/${namespace}`)) run('ip', 'netns', 'delete', namespace)
    rmSync(folder, { recursive: true })
  })
  const inside = (namespace: string, ...command: readonly string[]) => {
    const child = spawn('ip', ['netns', 'exec', namespace, ...command], { stdio: ['ignore', 'pipe', 'inherit'] })
    children.push(child)
    return child
  }
  for (const namespace of [node, router]) {
    run('ip', 'netns', 'add', namespace)
    run('ip', 'netns', 'exec', namespace, 'sysctl', '-qw', 'net.ipv6.conf.all.accept_dad=0', 'net.ipv6.conf.default.accept_dad=0', 'net.ipv6.conf.all.forwarding=1')
  }
  run('ip', 'link', 'add', 'eth0', 'netns', node, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', router)
  for (const namespace of [node, router]) for (const device of ['lo', 'eth0']) run('ip', '-n', namespace, 'link', 'set', device, 'up')
  // The least interval is 3 s: what comes sooner was asked for.
  writeFileSync(join(folder, 'bird.conf'), 'log "/dev/null" all;\nrouter id 192.0.2.1;\nprotocol device {}\nprotocol radv { interface "eth0" { min ra interval 400; max ra interval 600; }; }\n')
  inside(router, 'bird', '-f', '-c', join(folder, 'bird.conf'), '-s', join(folder, 'bird.ctl'))
  await waitFor('the daemon', () => existsSync(join(folder, 'bird.ctl')))
  const linkLocal = await waitFor('its link-local address', () => /inet6 (fe80::[0-9a-f:]+)/.exec(run('ip', '-n', router, '-6', 'address', 'show', 'dev', 'eth0'))?.[1])
  const found: string[] = []
  inside(node, process.execPath, fileURLToPath(new URL('discovery-process.ts', import.meta.url)), 'eth0').stdout?.on('data', (chunk: Buffer) => found.push(...chunk.toString().trim().split('\n')))
  await waitFor('the router, twice', () => found.length >= 2, { deadlineMs: 20_000 })
  assert.deepEqual(new Set(found), new Set([linkLocal]))
})

test('an interface that is not there is named', { skip: skip !== false && 'needs root' }, () => {
  assert.throws(() => openRouterDiscovery('nothere0'), /no interface nothere0/)
})
