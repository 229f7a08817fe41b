/**
 * etcd, kube-apiserver and the operator beside a topology whose agents then read the API server: every one a node of
 * the lab with a process of its own, so that all of it goes with the lab, however that ends.
 *
 *     kubectl, helm --relay--> apiserver ---- segment 192.168.100.0/24 ---- etcd, operator, node1, node2, node3
 */
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Topology, TopologyLink, TopologyNode } from './topology.ts'

export interface ControlPlanePrograms {
  readonly etcd: string
  readonly apiserver: string
  readonly kubectl: string
  readonly helm: string
}

/** Of the API server on the segment that it shares with its clients. */
export const apiserverAddress = '192.168.100.1'
export const apiserverPort = 6443
const etcdUrl = 'http://192.168.100.2:2379'
/** Interface of each client on that segment; no link of a topology has this name. */
const segment = 'mgmt0'

/** Below the work folder of the lab. */
export const controlPlaneFile = {
  tokens: 'control-plane/tokens.csv',
  key: 'control-plane/service-account.key',
  certificates: 'control-plane/certificates',
  etcd: 'control-plane/etcd',
  socket: 'control-plane/apiserver.sock',
  kubeconfig: 'kubeconfig',
  kubeconfigOf: (name: string): string => `control-plane/kubeconfig-${name}`,
} as const

const isAgent = (node: TopologyNode): boolean => node.cmd[0] === 'agent'

/** The nodes and links of a control plane added, and agents with `--kubeconfig` in place of `--manifests`. Pure. */
export function withControlPlane(topology: Topology, workFolder: string, programs: ControlPlanePrograms): Topology {
  const file = (name: string): string => join(workFolder, name)
  const agents = topology.nodes.filter(isAgent)
  const clients = ['etcd', 'operator', ...agents.map(({ name }) => name)]
  const addressOf = (name: string): string =>
    `192.168.100.${name === 'etcd' ? 2 : name === 'operator' ? 3 : 11 + agents.findIndex((each) => each.name === name)}`
  const tool = (name: string, cmd: readonly string[], exec: readonly string[]): TopologyNode => {
    const words = exec.map((line) => line.split(' '))
    const env = { POD_NAME: name, POD_NAMESPACE: 'herald-system' }
    return { name, image: 'host', group: undefined, cmd, binds: [], exec: words, env, sysctls: {}, line: 0 }
  }
  const onSegment = (name: string): string => `ip address add ${addressOf(name)}/24 dev ${segment}`
  const nodes = topology.nodes.map((node) =>
    isAgent(node)
      ? { ...node, ...kubeconfigFor(node, file), exec: [...node.exec, onSegment(node.name).split(' ')] }
      : node,
  )
  const operator = ['herald', 'operator', '--kubeconfig', file(controlPlaneFile.kubeconfigOf('operator'))]
  const bridge = [
    ...['ip link add br0 type bridge', `ip address add ${apiserverAddress}/24 dev br0`, 'ip link set br0 up'],
    ...clients.map((_, index) => `ip link set eth${index + 1} master br0`),
  ]
  const links = clients.map((name, index): TopologyLink => {
    const ends = [
      { node: 'apiserver', interface: `eth${index + 1}` },
      { node: name, interface: segment },
    ] as const
    return { ends, mtu: undefined, line: 0 }
  })
  return {
    ...topology,
    nodes: [
      ...nodes,
      tool('etcd', etcdCommand(programs.etcd, file), [onSegment('etcd')]),
      tool('apiserver', apiserverCommand(programs.apiserver, file), bridge),
      tool('operator', operator, [onSegment('operator')]),
    ],
    links: [...topology.links, ...links],
  }
}

/** The agent's command and binds: what it reads comes from the API server, and from nowhere else. */
function kubeconfigFor(node: TopologyNode, file: (name: string) => string): Pick<TopologyNode, 'cmd' | 'binds'> {
  const at = node.cmd.indexOf('--manifests')
  const folder = node.cmd[at + 1]
  const leases = ['--lease-namespace', 'herald-system-herald-node-lease']
  const kubeconfig = ['--kubeconfig', file(controlPlaneFile.kubeconfigOf(node.name)), ...leases]
  return {
    cmd: at < 0 ? [...node.cmd, ...kubeconfig] : node.cmd.toSpliced(at, 2, ...kubeconfig),
    binds: node.binds.filter(({ target }) => target !== folder),
  }
}

function etcdCommand(program: string, file: (name: string) => string): readonly string[] {
  return [
    program,
    ...['--data-dir', file(controlPlaneFile.etcd), '--unsafe-no-fsync', '--log-level', 'error'],
    ...['--listen-client-urls', etcdUrl, '--advertise-client-urls', etcdUrl],
  ]
}

function apiserverCommand(program: string, file: (name: string) => string): readonly string[] {
  const key = file(controlPlaneFile.key)
  return [
    program,
    ...['--etcd-servers', etcdUrl, '--secure-port', String(apiserverPort)],
    ...['--bind-address', '0.0.0.0', '--advertise-address', apiserverAddress],
    ...['--cert-dir', file(controlPlaneFile.certificates), '--service-account-issuer', 'https://localhost'],
    ...['--service-account-key-file', key, '--service-account-signing-key-file', key],
    ...[
      '--service-cluster-ip-range',
      '10.96.0.0/12,fd00:96::/112',
      '--authorization-mode',
      'RBAC',
      '--allow-privileged',
    ],
    ...['--token-auth-file', file(controlPlaneFile.tokens)],
    // No controller runs here that would make default service accounts or take the taint of a new Node away.
    ...['--disable-admission-plugins', 'ServiceAccount,TaintNodesByCondition'],
  ]
}

/** What kube-apiserver reads at its start. Answers the administrator's token. */
export function writeControlPlaneFiles(workFolder: string): string {
  mkdirSync(join(workFolder, 'control-plane'), { recursive: true })
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const write = (name: string, text: string): void => writeFileSync(join(workFolder, name), text, { mode: 0o600 })
  write(controlPlaneFile.key, String(privateKey.export({ type: 'pkcs8', format: 'pem' })))
  const token = randomBytes(24).toString('base64url')
  write(controlPlaneFile.tokens, `${token},admin,admin,"system:masters"\n`)
  return token
}
