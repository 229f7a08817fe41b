/**
 * What this machine can do, found by trying rather than by version, and what it lacks: each lack says what is
 * missing, how to get it, what does not run without it and what still does.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { release } from 'node:os'
import { missingPackages, type Need } from './packages.ts'

export interface Lack {
  readonly what: string
  readonly getIt: string
  readonly lost: string
  readonly stillRuns: string
}

export interface Machine {
  readonly distribution: string
  readonly kernel: string
  readonly isRoot: boolean
  /** Network namespaces with FRR: the least that the lab and the interop tests need. */
  readonly canDeploy: boolean
  /** Loading and pinning BPF programs. */
  readonly canBpf: boolean
  readonly lacks: readonly Lack[]
}

const capabilities = { NET_ADMIN: 12, NET_RAW: 13, SYS_ADMIN: 21 } as const
const rootless = '`npm test -- unit`, `herald validate`'

/** Looks at the machine; `needs` are the packages of which a lack is reported. */
export function inspectMachine(needs: readonly Need[]): Machine {
  const isRoot = process.geteuid?.() === 0
  const distribution = distributionName()
  const lacks: Lack[] = []
  if (!isRoot) {
    lacks.push({
      what: 'root',
      getIt: 'run it again with sudo, or as root',
      lost: 'the lab, the datapath and the interop tests',
      stillRuns: rootless,
    })
  }
  const withheld = isRoot ? withheldCapabilities() : []
  if (withheld.length > 0) {
    lacks.push({
      what: `the capabilities ${withheld.join(', ')}`,
      getIt: 'run outside the container, or start it with --privileged',
      lost: 'the lab, the datapath and the interop tests',
      stillRuns: rootless,
    })
  }
  const hasNamespaces =
    isRoot && withheld.length === 0 && succeeds('unshare', '--net', '--mount', '--pid', '--fork', 'true')
  if (isRoot && withheld.length === 0 && !hasNamespaces) {
    lacks.push({
      what: 'network namespaces',
      getIt: 'a kernel with CONFIG_NET_NS, CONFIG_PID_NS and util-linux',
      lost: 'the lab, the datapath and the interop tests',
      stillRuns: rootless,
    })
  }
  const bpf = bpfLack(hasNamespaces)
  if (bpf !== undefined) lacks.push(bpf)
  const missing = missingPackages(needs)
  for (const need of missing) {
    const isAbsent = need.packages[0] === 'libbpf1' && /Ubuntu 22\.04/.test(distribution)
    const getIt = isAbsent
      ? 'Ubuntu 24.04 or Debian 12; Ubuntu 22.04 only has libbpf.so.0'
      : `apt-get install ${need.packages[0]}`
    lacks.push({
      what: `${need.what} (package ${need.packages.join(' or ')})`,
      getIt,
      lost: need.lost,
      stillRuns: 'everything else',
    })
  }
  const canDeploy = hasNamespaces && !missing.some((need) => need.isVital)
  return {
    distribution,
    kernel: release(),
    isRoot,
    canDeploy,
    canBpf: hasNamespaces && bpf === undefined && !missing.some((need) => need.isForBpf),
    lacks,
  }
}

/** One line for people. */
export function lackText(lack: Lack): string {
  return `missing: ${lack.what}; get it: ${lack.getIt}; does not run: ${lack.lost}; still runs: ${lack.stillRuns}`
}

function bpfLack(hasNamespaces: boolean): Lack | undefined {
  const lost = 'the eBPF datapath (the lab runs with --datapath none) and its tests'
  const stillRuns = 'sessions and routes'
  if (!existsSync('/sys/kernel/btf/vmlinux')) {
    return {
      what: '/sys/kernel/btf/vmlinux',
      getIt: `a kernel 5.10 or later with CONFIG_DEBUG_INFO_BTF (this is ${release()})`,
      lost,
      stillRuns,
    }
  }
  if (hasNamespaces && !succeeds('unshare', '--mount', 'mount', '-t', 'bpf', 'bpf', '/sys/fs/bpf')) {
    return {
      what: 'a BPF file system',
      getIt: 'run outside the container, or on a kernel with CONFIG_BPF_SYSCALL',
      lost,
      stillRuns,
    }
  }
  return undefined
}

function withheldCapabilities(): string[] {
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'}`)
  return Object.entries(capabilities)
    .filter(([, bit]) => (effective & (1n << BigInt(bit))) === 0n)
    .map(([name]) => `CAP_${name}`)
}

function distributionName(): string {
  if (!existsSync('/etc/os-release')) return 'Linux'
  return /^PRETTY_NAME="?([^"\n]*)"?/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'Linux'
}

function succeeds(program: string, ...args: string[]): boolean {
  return spawnSync(program, args, { stdio: 'ignore', timeout: 10_000 }).status === 0
}
