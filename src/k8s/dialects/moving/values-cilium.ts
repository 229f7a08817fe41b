/** The values of Cilium's chart (1.14 to 1.19): those of its BGP and of its addresses mean something here. Pure. */
import { isEmpty, type Tree, valueAt, type ValueNote, type ValueRow, type ValueTable } from './values.ts'

const isTrue = (value: unknown): boolean => value === true || value === 'true'
const isFalse = (value: unknown): boolean => value === false || value === 'false'

/** `eth+ bond0`, or a list: `+` stands for anything. */
function interfacesOf(devices: unknown): string | undefined {
  const names = (Array.isArray(devices) ? devices : String(devices).split(/[\s,]+/)).map(String).filter(Boolean)
  const patterns = names.map((name) => name.replace(/[^\w+-]/g, '\\$&').replaceAll('+', '.*'))
  return names.length === 0 ? undefined : `^(${patterns.join('|')})$`
}

const rows: readonly ValueRow[] = [
  {
    from: 'bgpControlPlane.enabled',
    why: "of one node only one speaker can have the routers' sessions: false in Cilium's values once Herald speaks",
    decides: isTrue,
  },
  { from: 'bgpControlPlane.secretsNamespace.name', to: 'bgpControlPlane.secretsNamespace.name' },
  { from: 'bgpControlPlane.secretNamespace.name', to: 'bgpControlPlane.secretsNamespace.name' },
  { from: 'bgpControlPlane.secretsNamespace.create', why: "the namespace is there: it is of Cilium's release" },
  { from: 'bgpControlPlane.secretNamespace.create', why: "the namespace is there: it is of Cilium's release" },
  { from: 'bgpControlPlane.statusReport.enabled', why: 'nodes always say what their sessions are', decides: isFalse },
  {
    from: 'bgpControlPlane.routerIDAllocation',
    why: 'router IDs are the InternalIP of the node, or cilium.io/bgp-virtual-router.ASN of the Node',
    decides: (value) => valueAt(value, 'mode') === 'ip-pool',
  },
  {
    from: 'bgpControlPlane.legacyOriginAttribute',
    why: 'ORIGIN is IGP for every route',
    decides: (value) => isTrue(valueAt(value, 'enabled')),
  },
  { from: 'k8sServiceHost', to: 'k8sServiceHost', as: (value) => (value === 'auto' ? undefined : value) },
  { from: 'k8sServicePort', to: 'k8sServicePort' },
  { from: 'imagePullSecrets', to: 'imagePullSecrets' },
  {
    from: 'kubeProxyReplacement',
    to: 'agent.datapath',
    as: (value) => (isFalse(value) || value === 'disabled' ? undefined : 'none'),
    why: "Cilium's kube-proxy replacement serves the addresses, Herald announces them",
  },
  { from: 'devices', to: 'agent.interfaces', as: interfacesOf, why: 'as a regular expression' },
  {
    from: 'l2announcements',
    why: 'layer 2 is not served: what it announces has to be announced by Cilium further on',
    decides: (value) => isTrue(valueAt(value, 'enabled')),
  },
  {
    from: 'defaultLBServiceIPAM',
    to: 'requireLoadBalancerClass',
    as: (value) => (value === 'lbipam' ? undefined : true),
    why: 'LB-IPAM leaves Services without a class alone',
  },
]

function together(values: Readonly<Record<string, unknown>>, moved: Tree): readonly ValueNote[] {
  const notes: ValueNote[] = []
  if (values['k8sServiceHost'] === 'auto') {
    const reason = 'auto is found by Cilium alone: give the address of the API server'
    notes.push({ needsDecision: true, key: 'k8sServiceHost', reason })
  }
  if (values['defaultLBServiceIPAM'] === 'nodeipam') {
    const reason = 'addresses of nodes are not announced: Services without a class stay with Cilium'
    notes.push({ needsDecision: true, key: 'defaultLBServiceIPAM', reason })
  }
  if (moved.get('agent.datapath') === 'none' && !isEmpty(moved.get('agent.interfaces'))) {
    const reason = 'without a datapath of its own Herald attaches to no interface'
    notes.push({ needsDecision: false, key: 'devices', becomes: 'agent.interfaces', reason })
  }
  return notes
}

export const ciliumValues: ValueTable = { rows, others: "Cilium's own: it stays with Cilium", together }
