/**
 * Debian packages that the lab and the tests use, and their installation. Installing a routing daemon on Debian
 * also starts it, on the host and with the host's port 179: apt runs under a policy that forbids every start, and
 * what was newly installed is kept from starting at the next boot.
 */
import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import type { Readable } from 'node:stream'
import { HeraldError } from '../../src/errors.ts'

export interface Need {
  readonly what: string
  /** The first that the distribution has is installed. */
  readonly packages: readonly string[]
  /** One of these exists when the package is there; a name without a slash is a shared library. */
  readonly proofs: readonly string[]
  readonly lost: string
  /** Without it nothing can be deployed. */
  readonly isVital?: boolean
  /** Without it no kernel program can be built or loaded. */
  readonly isForBpf?: boolean
  /** Services that the package brings. */
  readonly services?: readonly string[]
}

const datapathLost = 'the eBPF datapath and its tests'
const program = (name: string): string[] =>
  ['/usr/sbin', '/usr/bin', '/sbin', '/bin'].map((folder) => `${folder}/${name}`)

export const labNeeds: readonly Need[] = [
  {
    what: 'ip',
    packages: ['iproute2'],
    proofs: program('ip'),
    lost: 'the lab, the datapath and the interop tests',
    isVital: true,
  },
  {
    what: 'unshare and nsenter',
    packages: ['util-linux'],
    proofs: program('nsenter'),
    lost: 'the lab, the datapath and the interop tests',
    isVital: true,
  },
  {
    what: 'FRR',
    packages: ['frr'],
    proofs: ['/usr/lib/frr/bgpd'],
    lost: 'the lab and the interop tests with FRR',
    isVital: true,
    services: ['frr'],
  },
  { what: 'libbpf.so.1', packages: ['libbpf1'], proofs: ['libbpf.so.1'], lost: datapathLost, isForBpf: true },
  {
    what: 'libbpf headers',
    packages: ['libbpf-dev'],
    proofs: ['/usr/include/bpf/bpf_helpers.h'],
    lost: datapathLost,
    isForBpf: true,
  },
  {
    what: 'kernel headers for programs',
    packages: ['linux-libc-dev'],
    proofs: ['/usr/include/linux/bpf.h'],
    lost: datapathLost,
    isForBpf: true,
  },
  { what: 'clang', packages: ['clang'], proofs: program('clang'), lost: datapathLost, isForBpf: true },
  {
    what: 'bpftool',
    packages: ['bpftool', 'linux-tools-generic'],
    proofs: program('bpftool'),
    lost: 'the evidence of pinned programs in the lab check',
  },
  { what: 'tcpdump', packages: ['tcpdump'], proofs: program('tcpdump'), lost: 'the capture in the lab check' },
  { what: 'tshark', packages: ['tshark'], proofs: program('tshark'), lost: 'the decoding of captures' },
  { what: 'curl', packages: ['curl'], proofs: program('curl'), lost: 'the request in the lab' },
]

export const testNeeds: readonly Need[] = [
  ...labNeeds,
  {
    what: 'BIRD',
    packages: ['bird2'],
    proofs: program('bird'),
    lost: 'the interop tests with BIRD',
    services: ['bird'],
  },
  {
    what: 'GoBGP',
    packages: ['gobgpd'],
    proofs: program('gobgpd'),
    lost: 'the interop tests with GoBGP',
    services: ['gobgpd'],
  },
  {
    what: 'OpenBGPD',
    packages: ['openbgpd'],
    proofs: program('bgpctl'),
    lost: 'the interop tests with OpenBGPD',
    services: ['openbgpd'],
  },
  {
    what: 'ExaBGP',
    packages: ['exabgp'],
    proofs: program('exabgp'),
    lost: 'the interop tests with ExaBGP',
    services: ['exabgp'],
  },
  {
    what: 'promtool',
    packages: ['prometheus'],
    proofs: program('promtool'),
    lost: 'the tests of the alerts',
    services: ['prometheus'],
  },
  { what: 'runc', packages: ['runc'], proofs: program('runc'), lost: 'the tests of the pods of the chart' },
  { what: 'llvm-objdump', packages: ['llvm'], proofs: program('llvm-objdump'), lost: 'the tests of the BPF object' },
  { what: 'fish', packages: ['fish'], proofs: program('fish'), lost: 'the test of its completion' },
  { what: 'zsh', packages: ['zsh'], proofs: program('zsh'), lost: 'the test of its completion' },
  {
    what: 'QEMU',
    packages: ['qemu-system-x86'],
    proofs: program('qemu-system-x86_64'),
    lost: 'the datapath tests on other kernels',
  },
  { what: 'xz', packages: ['xz-utils'], proofs: program('xz'), lost: 'the datapath tests on other kernels' },
  { what: 'sysctl', packages: ['procps'], proofs: program('sysctl'), lost: 'the datapath tests in namespaces' },
  {
    what: 'iptables',
    packages: ['iptables'],
    proofs: program('iptables'),
    lost: 'the datapath tests beside netfilter',
  },
  { what: 'ping', packages: ['iputils-ping'], proofs: program('ping'), lost: 'the reachability tests in namespaces' },
]

export function missingPackages(needs: readonly Need[]): Need[] {
  const libraries = needs.some((need) => need.proofs.some(isLibrary))
    ? (spawnSync('/sbin/ldconfig', ['-p'], { encoding: 'utf8' }).stdout ?? '')
    : ''
  return needs.filter(
    (need) => !need.proofs.some((proof) => (isLibrary(proof) ? libraries.includes(proof) : existsSync(proof))),
  )
}

/**
 * Installs packages with apt-get; `note` hears about the progress. Packages that the distribution does not have are
 * left out: what they are needed for is reported afterwards. Throws ERR_LAB with apt's last words.
 */
export async function installPackages(needs: readonly Need[], note: (text: string) => void): Promise<void> {
  if (!existsSync('/usr/bin/apt-get'))
    throw new HeraldError(
      'ERR_LAB',
      `no apt-get here; install by hand: ${needs.map((need) => need.packages[0]).join(' ')}`,
    )
  note('reading package lists')
  // Old lists are good enough when a mirror is away for a moment.
  await apt(['update'], note).catch((error: unknown) =>
    note(`apt-get update failed, using the lists there are: ${String(error)}`),
  )
  const names = needs.flatMap((need) => need.packages.find(hasCandidate) ?? [])
  if (names.length === 0) return
  const restore = forbidServiceStarts()
  const onSignal = (): void => restore()
  process.once('exit', onSignal)
  try {
    await apt(['install', '--no-install-recommends', '--yes', ...names], note)
  } finally {
    restore()
    process.off('exit', onSignal)
  }
  disableServices(needs.flatMap((need) => need.services ?? []))
}

function isLibrary(proof: string): boolean {
  return !proof.startsWith('/')
}

function hasCandidate(name: string): boolean {
  return /Candidate: (?!\(none\))/.test(
    spawnSync('apt-cache', ['policy', name], { encoding: 'utf8', env: { ...process.env, LC_ALL: 'C' } }).stdout ?? '',
  )
}

function apt(args: readonly string[], note: (text: string) => void): Promise<void> {
  const options = [
    '-o',
    'APT::Status-Fd=3',
    '-o',
    'DPkg::Lock::Timeout=300',
    '-o',
    'Acquire::Retries=3',
    '-o',
    'Dpkg::Options::=--force-confold',
    '-qq',
  ]
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', NEEDRESTART_SUSPEND: '1', LC_ALL: 'C' }
  const child = spawn('apt-get', [...options, ...args], { stdio: ['ignore', 'pipe', 'pipe', 'pipe'], env })
  let words = ''
  const keep = (text: string): void => void (words = (words + text).slice(-2000))
  child.stdout?.setEncoding('utf8').on('data', keep)
  child.stderr?.setEncoding('utf8').on('data', keep)
  const status = child.stdio[3] as Readable
  status.setEncoding('utf8').on('data', (text: string) => {
    // `pmstatus:frr:42.8571:Unpacking frr`, `dlstatus:3:17.2:Retrieving file 3 of 9`
    const last = [...text.matchAll(/^(?:pm|dl)status:[^:]*:([\d.]+):(.*)$/gm)].at(-1)
    if (last) note(`${Math.round(Number(last[1]))} % ${last[2]}`)
  })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) =>
      code === 0
        ? resolve()
        : reject(
            new HeraldError(
              'ERR_LAB',
              `apt-get ${args[0]} ended with ${code}: ${words.trim().split('\n').slice(-5).join(' | ')}`,
            ),
          ),
    )
  })
}

const policyFile = '/usr/sbin/policy-rc.d'
const savedPolicy = `${policyFile}.herald-saved`
const policyText =
  '#!/bin/sh\n# Written by herald while it installs packages, removed afterwards: no service may start.\nexit 101\n'

/** Answers how to undo it. What an interrupted earlier run left is taken over. */
function forbidServiceStarts(): () => void {
  const isOurs = existsSync(policyFile) && readFileSync(policyFile, 'utf8') === policyText
  if (existsSync(policyFile) && !isOurs) renameSync(policyFile, savedPolicy)
  writeFileSync(policyFile, policyText)
  chmodSync(policyFile, 0o755)
  return () => {
    rmSync(policyFile, { force: true })
    if (existsSync(savedPolicy)) renameSync(savedPolicy, policyFile)
  }
}

/** Only for packages that were not there before: the machine's own services are not touched. */
function disableServices(services: readonly string[]): void {
  if (!existsSync('/run/systemd/system')) return
  for (const service of services) spawnSync('systemctl', ['disable', '--quiet', service], { stdio: 'ignore' })
}
