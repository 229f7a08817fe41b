/**
 * The API server of a lab as a person and its processes use it: kubectl and helm on the host, one service account's
 * token for each process.
 *
 *     start -> installHerald (helm) -> Rack.apply (kubectl) -> logIn: tokens, operator; then the lab starts the agents
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { HeraldError } from '../src/errors.ts'
import {
  apiserverAddress,
  apiserverPort,
  controlPlaneFile,
  type ControlPlanePrograms,
  writeControlPlaneFiles,
} from './control-plane.ts'
import { run } from './namespaces.ts'
import { relay } from './relay.ts'
import type { Lab } from './runner.ts'
import { until } from './until.ts'

const namespace = 'herald-system'
const startDeadlineMs = 90_000
const commandTimeoutMs = 90_000
/** Nobody renews a token here, as kubelet would: a lab that stays up for a month is enough. */
const tokenDuration = '720h'

export class LabCluster {
  readonly #lab: Lab
  readonly #programs: ControlPlanePrograms
  /** The administrator's, for the host. */
  readonly kubeconfig: string
  /** The folders that kubectl and helm are in, as in PATH. */
  readonly programs: string

  private constructor(lab: Lab, programs: ControlPlanePrograms) {
    this.#lab = lab
    this.#programs = programs
    this.programs = [...new Set([programs.kubectl, programs.helm].map((path) => dirname(path)))].join(':')
    this.kubeconfig = join(lab.workFolder, controlPlaneFile.kubeconfig)
  }

  /** etcd and kube-apiserver, up to the moment when the server says that it is ready. */
  static async start(lab: Lab, programs: ControlPlanePrograms): Promise<LabCluster> {
    const cluster = new LabCluster(lab, programs)
    const token = writeControlPlaneFiles(lab.workFolder)
    for (const name of ['etcd', 'apiserver']) lab.startCommand(name)
    const socket = join(lab.workFolder, controlPlaneFile.socket)
    const program = fileURLToPath(new URL('relay.ts', import.meta.url))
    lab.node('apiserver').start([process.execPath, program, socket, '127.0.0.1', String(apiserverPort)])
    const server = await relay({ host: '127.0.0.1', port: 0 }, { path: socket }, lab.signal)
    const { port } = server.address() as AddressInfo
    await until(
      'kube-apiserver is ready',
      async () => {
        const certificate = readFileSync(join(lab.workFolder, controlPlaneFile.certificates, 'apiserver.crt'))
        // Its certificate names no loopback address, but localhost.
        cluster.#writeKubeconfig(cluster.kubeconfig, { server: `https://localhost:${port}`, certificate, token })
        return cluster.kubectl('get', '--raw', '/readyz')
      },
      (answer) => answer === 'ok',
      { deadlineMs: startDeadlineMs, everyMs: 500, signal: lab.signal, hopeless: () => cluster.#ended() },
    )
    return cluster
  }

  /** Runs kubectl as the administrator. Throws ERR_LAB with its words. */
  kubectl(...args: readonly string[]): Promise<string> {
    return this.#must([this.#programs.kubectl, '--kubeconfig', this.kubeconfig, ...args])
  }

  helm(...args: readonly string[]): Promise<string> {
    return this.#must([this.#programs.helm, '--kubeconfig', this.kubeconfig, '--namespace', namespace, ...args])
  }

  /** The chart with the kinds that others bring; resolves when the server serves all of them. */
  async installHerald(chart: string): Promise<void> {
    // The server makes it a moment after it is ready.
    await this.kubectl('wait', '--for=create', '--timeout=60s', 'namespace/kube-system')
    await this.helm('install', 'herald', chart, '--create-namespace', '--set', 'crds.cilium=true,crds.metallb=true')
    await this.kubectl('wait', '--for=condition=Established', '--timeout=60s', 'crd', '--all')
  }

  /** Who one of the lab's processes is, by its own kubeconfig. */
  async userOf(name: string): Promise<string> {
    const path = join(this.#lab.workFolder, controlPlaneFile.kubeconfigOf(name))
    const question = ['auth', 'whoami', '-o', 'jsonpath={.status.userInfo.username}']
    // From where the process is: on its segment the server has another address.
    return this.#lab.node(name).must([this.#programs.kubectl, '--kubeconfig', path, ...question])
  }

  /** Starts the operator and readies the kubeconfigs of the agents: each process logs in with a token of its own. */
  async logIn(): Promise<void> {
    const agents = this.#lab.heraldNodes.map((name) => [name, 'herald-agent'] as const)
    for (const [name, account] of [...agents, ['operator', 'herald-operator'] as const]) {
      const token = await this.kubectl('create', 'token', account, '-n', namespace, '--duration', tokenDuration)
      const certificate = readFileSync(join(this.#lab.workFolder, controlPlaneFile.certificates, 'apiserver.crt'))
      const server = `https://${apiserverAddress}:${apiserverPort}`
      const path = join(this.#lab.workFolder, controlPlaneFile.kubeconfigOf(name))
      this.#writeKubeconfig(path, { server, certificate, token: token.trim() })
    }
    this.#lab.startCommand('operator')
  }

  #writeKubeconfig(path: string, to: { readonly server: string; certificate: Buffer; token: string }): void {
    const cluster = { server: to.server, 'certificate-authority-data': to.certificate.toString('base64') }
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'rack',
      clusters: [{ name: 'rack', cluster }],
      users: [{ name: 'rack', user: { token: to.token } }],
      contexts: [{ name: 'rack', context: { cluster: 'rack', user: 'rack' } }],
    }
    writeFileSync(path, JSON.stringify(config), { mode: 0o600 })
  }

  async #must(argv: readonly string[]): Promise<string> {
    const home = join(this.#lab.workFolder, 'helm')
    mkdirSync(home, { recursive: true })
    const env = { ...process.env, HELM_CACHE_HOME: home, HELM_CONFIG_HOME: home, HELM_DATA_HOME: home }
    const { code, stdout, stderr } = await run(argv, { timeoutMs: commandTimeoutMs, env, signal: this.#lab.signal })
    if (code === 0) return stdout
    const [program = '', , , ...words] = argv
    throw new HeraldError('ERR_LAB', `${program.split('/').at(-1)} ${words.join(' ')}: ${stderr.trim()}`)
  }

  #ended(): string | undefined {
    const name = ['etcd', 'apiserver'].find((each) => this.#lab.hasEnded(each))
    if (name === undefined) return undefined
    const last = readFileSync(this.#lab.logFile(name), 'utf8').trimEnd().split('\n').at(-1)
    return `${name} ended by itself: ${last}`
  }
}
