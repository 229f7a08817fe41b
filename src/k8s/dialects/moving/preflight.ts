/** What has to be looked at before a move, of what stands around the configuration. Pure. */
import { at, flagOf, isOf, listAt, textAt, textsAt } from './raw.ts'
import {
  type FoundObject,
  finding,
  type Finding,
  type Inventory,
  type MovingFrom,
  nameOf,
  type Said,
} from './report.ts'
import { olderConfiguration, olderPoolRemedy } from '../../kinds/older.ts'
import { configOf, isAbout, type Machinery } from './speakers.ts'

export interface PreflightInput {
  readonly from: MovingFrom
  readonly inventory: Inventory
  readonly machinery: Machinery
}

type Check = (input: PreflightInput) => readonly Finding[]

const object = (said: Omit<Said, 'field' | 'object'> & { readonly field?: string }, found: FoundObject): Said => ({
  field: '',
  ...said,
  object: nameOf(found.key),
})

const crdsOf = ({ objects }: Inventory): readonly FoundObject[] =>
  objects.filter(
    (found) =>
      isOf(found, 'apiextensions.k8s.io', 'CustomResourceDefinition') && found.key.name.endsWith('.metallb.io'),
  )

/** P1: helm uninstall takes the CRDs of its templates away, and every object with them. */
const crdsOfRelease: Check = ({ inventory }) =>
  crdsOf(inventory).flatMap((found) => {
    const release = textAt(found.object, 'metadata', 'annotations', 'meta.helm.sh/release-name')
    const isKept = textAt(found.object, 'metadata', 'annotations', 'helm.sh/resource-policy') === 'keep'
    if (release === '' || isKept) return []
    const { name } = found.key
    const reason = `helm uninstall ${release} deletes it, and with it every object of its kind`
    const remedy = `kubectl annotate crd ${name} helm.sh/resource-policy=keep, and save the objects first.`
    return [finding('CrdOfRelease', object({ field: 'metadata.annotations', reason, remedy }, found))]
  })

/** What releases before this one were configured by, and nothing reads any more. */
const olderKinds: Check = ({ inventory }) =>
  inventory.objects.flatMap((found) => {
    const older = olderConfiguration(found.object)
    if (older !== undefined) {
      const { message: reason, remedy, path } = older
      return [finding('OlderConfiguration', object({ field: path.join('.'), reason, remedy }, found))]
    }
    if (!isOf(found, 'metallb.io', 'AddressPool')) return []
    const reason = 'it is of MetalLB up to 0.13 and is not read: none of its addresses is given away or announced'
    return [finding('OlderConfiguration', object({ reason, remedy: olderPoolRemedy }, found))]
  })

/** P2: a webhook with nobody behind it refuses every edit. */
const webhooks: Check = ({ inventory }) =>
  inventory.objects
    .filter((found) => isOf(found, 'admissionregistration.k8s.io', 'ValidatingWebhookConfiguration'))
    .flatMap((found) => {
      const all = listAt(found.object, 'webhooks')
      const failing = all.filter(
        (each) => isAbout(each, 'metallb.io') && (textAt(each, 'failurePolicy') || 'Fail') === 'Fail',
      )
      if (failing.length === 0) return []
      const names = failing.map((each) => textAt(each, 'name'))
      const reason = 'without the controller behind it the API server refuses every edit of pools, peers and the rest'
      const remedy = `kubectl delete validatingwebhookconfiguration ${found.key.name}, when the controller is at 0.`
      return [finding('WebhookRefuses', object({ field: 'webhooks', before: names.join(', '), reason, remedy }, found))]
    })

/** P3: versions that only a webhook converts. */
const conversions: Check = ({ inventory, machinery }) => [
  ...crdsOf(inventory).flatMap((found) => {
    const said: Finding[] = []
    if (textAt(found.object, 'spec', 'conversion', 'strategy') === 'Webhook') {
      const reason = 'without the controller that converts, lists of its kind fail: agents would read nothing'
      const patch = '[{"op":"replace","path":"/spec/conversion","value":{"strategy":"None"}}]'
      const remedy = `kubectl patch crd ${found.key.name} --type=json -p '${patch}', before the controller stops.`
      said.push(finding('ConversionWebhook', object({ field: 'spec.conversion', reason, remedy }, found)))
    }
    const stored = textsAt(found.object, 'status', 'storedVersions')
    const current = listAt(found.object, 'spec', 'versions').find((each) => at(each, 'storage') === true)
    const name = textAt(current, 'name')
    if (stored.some((each) => each !== name)) {
      const kind = found.key.name.split('.')[0] ?? ''
      const reason = `objects may be stored as ${stored.filter((each) => each !== name).join(', ')}, and not as ${name}`
      const remedy = `kubectl get ${kind}.metallb.io -A -o json | kubectl replace -f -, while the controller runs.`
      const before = stored.join(', ')
      said.push(finding('StoredVersion', object({ field: 'status.storedVersions', before, reason, remedy }, found)))
    }
    return said
  }),
  ...(machinery.metallbControllers.length > 0 ? [] : orphaned(inventory)),
]

/** The list itself failed, which is how a conversion without its webhook shows. */
function orphaned({ unread }: Inventory): readonly Finding[] {
  return unread
    .filter(({ status, why }) => status >= 500 && /conversion/i.test(why))
    .map(({ what, why }) =>
      finding('ConversionWebhook', {
        object: what,
        field: '',
        reason: `the list fails: ${why}`,
        remedy: 'Set spec.conversion.strategy of its CustomResourceDefinition to None.',
      }),
    )
}

const isEnabled = (text: string | undefined): boolean => /^(true|strict|partial|probe)$/i.test(text ?? '')

/** P4: whoever else has sessions from these nodes. */
const speakers: Check = (input) => {
  const { from, machinery, inventory } = input
  const config = configOf(inventory, 'cilium-config')
  const ciliumSpeaks = isEnabled(config?.get('enable-bgp-control-plane'))
  const own = [...machinery.metallbSpeakers, ...machinery.frrK8s]
  const ciliums = ciliumSpeaks ? machinery.cilium : []
  const rivals = [
    ...(from === 'metallb' ? ciliums : own),
    ...machinery.calico,
    ...machinery.kubeRouters.filter(({ container }) => flagOf(container, '--run-router') !== 'false'),
    ...machinery.kubeVips,
  ]
  return [
    ...(from === 'metallb' ? own : ciliums).map(({ found }) =>
      finding(
        'SpeakerRuns',
        object(
          {
            reason: 'it has the sessions now: a router takes one session of a node, so that each node moves as a whole',
            remedy: 'Take it off a node before an agent starts there (docs/migrate.md).',
          },
          found,
        ),
      ),
    ),
    ...rivals.map(({ found }) =>
      finding(
        'OtherSpeaker',
        object(
          {
            reason: 'it speaks BGP on these nodes too: two speakers of a node want one session, and port 179',
            remedy: 'Turn its BGP off, or give agents other peers, another source address and --bgp-listen none.',
          },
          found,
        ),
      ),
    ),
  ]
}

/** P7: two that give addresses to Services without a class. */
const allocators: Check = ({ from, inventory, machinery }) => {
  const pools = (group: string, kind: string): readonly FoundObject[] =>
    inventory.objects.filter((found) => isOf(found, group, kind))
  const foreign =
    from === 'metallb' ? pools('cilium.io', 'CiliumLoadBalancerIPPool') : pools('metallb.io', 'IPAddressPool')
  return [
    ...machinery.metallbControllers
      .filter(({ replicas }) => replicas !== 0)
      .map(({ found }) =>
        finding(
          'AllocatorRuns',
          object(
            {
              reason: 'it gives addresses: together with an operator of Herald a new Service would get two answers',
              remedy: 'Scale it to 0 before the operator starts; statuses stay as they are.',
            },
            found,
          ),
        ),
      ),
    ...foreign.map((found) =>
      finding(
        'OtherAllocator',
        object(
          {
            reason: 'its addresses are given to Services without a class as well, by another allocator and by Herald',
            remedy:
              'Delete the pool or give it a selector, or set operator.enabled=false and leave allocation to the other.',
          },
          found,
        ),
      ),
    ),
  ]
}

/** P8: who serves the addresses on a node. */
const servers: Check = ({ inventory, machinery }) => {
  const replacement = configOf(inventory, 'cilium-config')?.get('kube-proxy-replacement')
  const [cilium] = machinery.cilium
  if (cilium === undefined || !isEnabled(replacement)) return []
  const reason = 'it serves addresses of Services in the kernel: two load balancers before one packet do not get on'
  const remedy = 'Set agent.datapath=none: Cilium serves and Herald announces.'
  const before = `kube-proxy-replacement: ${replacement ?? ''}`
  return [finding('ServedElsewhere', object({ before, reason, remedy }, cilium.found))]
}

/** P9 */
const strictArp: Check = ({ inventory }) => {
  const text = configOf(inventory, 'kube-proxy')?.get('config.conf') ?? ''
  if (!/^\s*mode:\s*"?ipvs"?\s*$/m.test(text)) return []
  const isStrict = /^\s*strictARP:\s*true\s*$/m.test(text)
  const before = `ipvs, strictARP ${isStrict}`
  const where = { object: 'ConfigMap/kube-system/kube-proxy', field: 'data.config.conf', before }
  const reason = isStrict
    ? 'strictARP was for announcements at layer 2; nothing here needs it'
    : 'without strictARP every node answers for addresses at layer 2; announcements by BGP do not depend on it'
  return [finding('StrictArp', { ...where, reason, remedy: 'Nothing has to be done for BGP.' })]
}

/** P10 */
const strictExternalIps: Check = ({ machinery: { kubeRouters } }) =>
  kubeRouters
    .filter(
      ({ container }) =>
        flagOf(container, '--run-service-proxy') !== 'false' &&
        flagOf(container, '--strict-external-ip-validation') !== 'false' &&
        flagOf(container, '--loadbalancer-ip-range') === undefined,
    )
    .map(({ found }) =>
      finding(
        'StrictExternalIps',
        object(
          {
            reason: 'its service proxy drops packets for addresses outside its ranges, also those of these pools',
            remedy: 'Give it --loadbalancer-ip-range with the pools.',
          },
          found,
        ),
      ),
    )

/** P13, P14 and listening: what is otherwise in any move. */
const always: Check = ({ from, machinery }) => {
  const [workload] = from === 'metallb' ? machinery.metallbSpeakers : machinery.cilium
  const where = { object: workload === undefined ? '-' : nameOf(workload.found.key), field: '' }
  return [
    finding('ListensNow', {
      ...where,
      before: 'dials only',
      after: 'dials, and listens on [::]:179',
      reason: 'agents take sessions that a router opens',
      remedy: 'Set agent.bgpListen=none where that port is not to be open.',
    }),
    ...(from === 'metallb'
      ? [
          finding('PingAnswered', {
            ...where,
            before: 'no answer',
            after: 'answered while announced',
            reason: 'an announced address answers ICMP echo, and RST on ports that no Service has',
            remedy: 'Tell who watches the addresses by ping; with agent.datapath=none nothing answers for Herald.',
          }),
        ]
      : []),
    finding('HashingMoves', {
      ...where,
      reason: 'a router spreads flows anew when its next hops change, so that connections may meet another node',
      remedy:
        'Move when some may end: between nodes with an agent and its datapath they go on, to and from others not.',
    }),
  ]
}

const checks: readonly Check[] = [
  crdsOfRelease,
  olderKinds,
  webhooks,
  conversions,
  speakers,
  allocators,
  servers,
  strictArp,
  strictExternalIps,
  always,
]

/** Findings that need a decision first. */
export function preflightOf(input: PreflightInput): readonly Finding[] {
  return checks.flatMap((check) => check(input))
}

/** What could not be read: then a report is not whole. */
export function unreadable({ unread }: Inventory): readonly Finding[] {
  return unread.map(({ what, status, why }) =>
    finding('Unreadable', {
      object: what,
      field: '',
      reason: `it could not be read (${status}): ${why}`,
      remedy: 'Give the user of the kubeconfig get and list of it: the report is not whole without.',
    }),
  )
}
