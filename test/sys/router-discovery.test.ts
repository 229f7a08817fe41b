/** Router Advertisements of a real daemon (BIRD's radv) and of a forger, from the other end of a link. */
import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { openRouterDiscovery } from '../../src/sys/router-discovery.ts'
import { waitFor } from '../wait.ts'

const skip =
  process.getuid?.() !== 0
    ? 'needs root for network namespaces'
    : existsSync('/usr/sbin/bird')
      ? false
      : 'needs bird (apt-get install bird2)'
const run = (...command: readonly string[]): string =>
  execFileSync(command[0] ?? '', command.slice(1), { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })

/** A node and a router at the ends of a link, both `eth0`; `inside` runs a command in the namespace of one. */
function openLink(t: TestContext): {
  readonly node: string
  readonly router: string
  inside(namespace: string, ...command: readonly string[]): ChildProcess
  discovered(): readonly string[]
} {
  const [node, router] = [`sy-node-${process.pid}`, `sy-router-${process.pid}`]
  const children: ChildProcess[] = []
  t.after(() => {
    for (const child of children) child.kill('SIGKILL')
    for (const namespace of [node, router])
      if (existsSync(`/run/netns/${namespace}`)) run('ip', 'netns', 'delete', namespace)
  })
  const inside = (namespace: string, ...command: readonly string[]): ChildProcess => {
    const child = spawn('ip', ['netns', 'exec', namespace, ...command], { stdio: ['ignore', 'pipe', 'inherit'] })
    children.push(child)
    return child
  }
  for (const namespace of [node, router]) {
    run('ip', 'netns', 'add', namespace)
    run(
      'ip',
      'netns',
      'exec',
      namespace,
      'sysctl',
      '-qw',
      'net.ipv6.conf.all.accept_dad=0',
      'net.ipv6.conf.default.accept_dad=0',
      'net.ipv6.conf.all.forwarding=1',
    )
  }
  run('ip', 'link', 'add', 'eth0', 'netns', node, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', router)
  for (const namespace of [node, router])
    for (const device of ['lo', 'eth0']) run('ip', '-n', namespace, 'link', 'set', device, 'up')
  const found: string[] = []
  inside(node, process.execPath, fileURLToPath(new URL('discovery-process.ts', import.meta.url)), 'eth0').stdout?.on(
    'data',
    (chunk: Buffer) => found.push(...chunk.toString().trim().split('\n')),
  )
  return { node, router, inside, discovered: () => found }
}

test('a router is found by its advertisement, and again after it was asked for (RFC 4861 4.2)', { skip }, async (t) => {
  const { router, inside, discovered } = openLink(t)
  const folder = mkdtempSync(join(tmpdir(), 'herald-discovery-'))
  t.after(() => rmSync(folder, { recursive: true }))
  // The least interval is 3 s: what comes sooner was asked for.
  writeFileSync(
    join(folder, 'bird.conf'),
    'log "/dev/null" all;\nrouter id 192.0.2.1;\nprotocol device {}\nprotocol radv { interface "eth0" { min ra ' +
      'interval 400; max ra interval 600; }; }\n',
  )
  inside(router, 'bird', '-f', '-c', join(folder, 'bird.conf'), '-s', join(folder, 'bird.ctl'))
  await waitFor('the daemon', () => existsSync(join(folder, 'bird.ctl')))
  const linkLocal = await waitFor(
    'its link-local address',
    () => /inet6 (fe80::[0-9a-f:]+)/.exec(run('ip', '-n', router, '-6', 'address', 'show', 'dev', 'eth0'))?.[1],
  )
  await waitFor('the router, twice', () => discovered().length >= 2)
  assert.deepEqual(new Set(discovered()), new Set([linkLocal]))
})

/** Advertises from two addresses in turn, with the hop limit that is given for each. */
const advertise = `use Socket qw(:DEFAULT inet_pton pack_sockaddr_in6); $| = 1;
open(I, '/sys/class/net/eth0/ifindex'); my $index = <I> + 0;
my @senders = map {
  my ($source, $hops) = split /=/;
  socket(my $s, AF_INET6, SOCK_RAW, 58) or die $!;
  setsockopt($s, 41, 18, pack('i', $hops)) or die $!;
  bind($s, pack_sockaddr_in6(0, inet_pton(AF_INET6, $source), $index)) or die $!;
  $s } @ARGV;
my $all = pack_sockaddr_in6(0, inet_pton(AF_INET6, 'ff02::1'), $index);
while (1) { send($_, pack('CCnC12', 134, (0) x 14), 0, $all) for @senders; select(undef, undef, undef, 0.1) }`

test('an advertisement with a hop limit below 255 was forwarded, and finds nobody (RFC 4861 6.1.2)', {
  skip: skip === false && !existsSync('/usr/bin/perl') ? 'needs perl' : skip,
}, async (t) => {
  const { router, inside, discovered } = openLink(t)
  for (const address of ['fe80::a', 'fe80::b', 'fe80::c'])
    run('ip', '-n', router, 'address', 'add', `${address}/64`, 'dev', 'eth0', 'nodad')
  inside(router, 'perl', '-e', advertise, 'fe80::a=254', 'fe80::b=255', 'fe80::c=1')
  await waitFor('one of the three, three times', () => discovered().length >= 3)
  assert.deepEqual(new Set(discovered()), new Set(['fe80::b']))
})

test('an interface that is not there is named', { skip: skip !== false && 'needs root' }, () => {
  assert.throws(() => openRouterDiscovery('nothere0'), /no interface nothere0/)
})
