/**
 * A control plane of one etcd and one kube-apiserver on loopback, for one test file. Nothing is left when it stops.
 *
 *     startCluster -> etcd, kube-apiserver with RBAC -> kubeconfigs by user -> kubectl, raw requests
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { waitFor } from '../wait.ts'
import type { Binaries } from './binaries.ts'

export interface Cluster {
  readonly folder: string
  readonly url: string
  /** Of etcd, without TLS. */
  readonly etcdUrl: string
  /** Its own certificate authority, PEM file. */
  readonly caFile: string
  /** The administrator's. */
  readonly kubeconfig: string
  /** One that logs in as a user of no group; roles are given by RBAC objects. The token is `token-<user>`. */
  kubeconfigOf(user: string): string
  /** Runs kubectl as the administrator; rejects with its words. */
  kubectl(args: readonly string[], stdin?: string): Promise<string>
  apply(manifests: string): Promise<void>
  /** SIGKILL, or SIGSTOP and SIGCONT for a server that stalls. */
  signal(which: 'apiserver' | 'etcd', signal: NodeJS.Signals): void
  /** Starts it again after it was killed, on the same ports and data. */
  restart(which: 'apiserver' | 'etcd'): Promise<void>
  /** Kills both; `between` finds their files at rest; then both run again. */
  pause(between: () => void): Promise<void>
  stop(): Promise<void>
}

const users = ['admin', 'agent', 'operator', 'nobody'] as const

async function freePorts(count: number): Promise<readonly number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, () => {
      const server = createServer()
      return new Promise<typeof server>((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)))
    }),
  )
  const ports = servers.map((server) => {
    const address = server.address()
    return typeof address === 'object' && address !== null ? address.port : 0
  })
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve()
    else child.once('exit', () => resolve())
  })
}

/** `flags` go to kube-apiserver beside the usual ones, which listens at `address`. */
export async function startCluster(
  binaries: Binaries,
  flags: readonly string[] = [],
  address = '127.0.0.1',
): Promise<Cluster> {
  const folder = mkdtempSync(join(tmpdir(), 'herald-cluster-'))
  const [client = 0, peer = 0, secure = 0] = await freePorts(3)
  const file = (name: string): string => join(folder, name)
  const key = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs8', format: 'pem' })
  writeFileSync(file('service-account.key'), key)
  const groups: Readonly<Record<string, string>> = { admin: 'system:masters' }
  const line = (user: string): string => `token-${user},${user},${user}${groups[user] ? `,"${groups[user]}"` : ''}`
  writeFileSync(file('tokens.csv'), `${users.map(line).join('\n')}\n`)
  const etcdUrl = `http://127.0.0.1:${client}`
  const commands: Readonly<Record<'etcd' | 'apiserver', readonly [string, readonly string[]]>> = {
    etcd: [
      binaries.etcd,
      [
        ...['--data-dir', file('etcd'), '--unsafe-no-fsync', '--log-level', 'error'],
        ...['--listen-client-urls', etcdUrl, '--advertise-client-urls', etcdUrl],
        ...['--listen-peer-urls', `http://127.0.0.1:${peer}`],
      ],
    ],
    apiserver: [
      binaries.apiserver,
      [
        ...['--etcd-servers', etcdUrl, '--secure-port', String(secure), '--bind-address', address],
        ...['--cert-dir', file('certificates'), '--service-account-issuer', 'https://localhost'],
        ...['--service-account-key-file', file('service-account.key')],
        ...['--service-account-signing-key-file', file('service-account.key')],
        ...['--service-cluster-ip-range', '10.96.0.0/12,fd00:10:96::/112', '--authorization-mode', 'RBAC'],
        ...['--token-auth-file', file('tokens.csv'), '--disable-admission-plugins', 'ServiceAccount'],
        ...['--allow-privileged', ...flags],
      ],
    ],
  }
  const running = new Map<'etcd' | 'apiserver', ChildProcess>()
  const start = (which: 'etcd' | 'apiserver'): void => {
    const [program, args] = commands[which]
    running.set(which, spawn(program, args, { stdio: 'ignore' }))
  }
  const url = `https://${address}:${secure}`
  const isReady = (): Promise<boolean> =>
    new Promise((resolve) => {
      const headers = { authorization: 'Bearer token-admin' }
      const asked = request(`${url}/readyz`, { headers, rejectUnauthorized: false, timeout: 1000 }, (answer) => {
        answer.resume()
        resolve(answer.statusCode === 200)
      })
      asked.on('timeout', () => asked.destroy())
      asked.on('error', () => resolve(false))
      asked.end()
    })
  const kill = async (): Promise<void> => {
    for (const child of running.values()) child.kill('SIGKILL')
    await Promise.all([...running.values()].map(ended))
  }
  const stop = async (): Promise<void> => {
    await kill()
    rmSync(folder, { recursive: true, force: true })
  }
  start('etcd')
  start('apiserver')
  try {
    await waitFor('kube-apiserver is ready', isReady, { deadlineMs: 90_000, everyMs: 100 })
  } catch (error) {
    await stop()
    throw error
  }
  const caFile = join(file('certificates'), 'apiserver.crt')
  const kubeconfigOf = (user: string): string => {
    const path = file(`kubeconfig-${user}`)
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': user,
      clusters: [{ name: 'test', cluster: { server: url, 'certificate-authority': caFile } }],
      users: [{ name: user, user: { token: `token-${user}` } }],
      contexts: [{ name: user, context: { cluster: 'test', user } }],
    }
    writeFileSync(path, JSON.stringify(config))
    return path
  }
  const kubeconfig = kubeconfigOf('admin')
  const kubectl = (args: readonly string[], stdin = ''): Promise<string> =>
    new Promise((resolve, reject) => {
      const full = ['--kubeconfig', kubeconfig, ...args]
      const child = execFile(binaries.kubectl, full, { maxBuffer: 64 * 2 ** 20 }, (error, stdout, stderr) =>
        error === null ? resolve(stdout) : reject(new Error(`kubectl ${args.join(' ')}: ${stderr.trim()}`)),
      )
      // Who ends without reading it has said why.
      child.stdin?.on('error', () => {}).end(stdin)
    })
  return {
    folder,
    url,
    etcdUrl,
    caFile,
    kubeconfig,
    kubeconfigOf,
    kubectl,
    apply: async (manifests) => void (await kubectl(['apply', '-f', '-'], manifests)),
    signal: (which, signal) => void running.get(which)?.kill(signal),
    restart: async (which) => {
      const child = running.get(which)
      child?.kill('SIGKILL')
      if (child !== undefined) await ended(child)
      start(which)
      await waitFor('kube-apiserver is ready again', isReady, { deadlineMs: 60_000, everyMs: 100 })
    },
    pause: async (between) => {
      await kill()
      between()
      start('etcd')
      start('apiserver')
      await waitFor('kube-apiserver is ready again', isReady, { deadlineMs: 60_000, everyMs: 100 })
    },
    stop,
  }
}
