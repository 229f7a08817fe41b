/** What an operator may want, in words of no family of configuration, and how each family writes it. */
import fc from 'fast-check'

export interface IntendedPeer {
  /** Number of the peer, of which its name and address are made. */
  readonly isIpv6: boolean
  readonly peerAs: number
  readonly port: number
  readonly holdSec: number
  readonly keepaliveSec: number
  readonly retrySec: number
  readonly isFar: boolean
  readonly restarts: boolean
  readonly key: string | undefined
  readonly sourceAddress: string | undefined
  readonly hasBothFamilies: boolean
  /** What our annotation adds, by its own names. */
  readonly keys: Readonly<Record<string, unknown>>
  readonly standard: readonly string[]
  readonly large: readonly string[]
  readonly preference: number | undefined
  readonly med: number | undefined
}

export interface Intent {
  readonly localAs: number
  readonly peers: readonly IntendedPeer[]
  readonly nodes: object
  readonly services: object
  readonly blocks: readonly string[]
}

const asn = fc.constantFrom(1, 64512, 65000, 65535, 65536, 4_294_967_295)
const selector = (...labels: readonly object[]): fc.Arbitrary<object> =>
  fc.constantFrom(
    {},
    ...labels.map((matchLabels) => ({ matchLabels })),
    { matchExpressions: [{ key: 'tier', operator: 'In', values: ['gold', 'iron'] }] },
    { matchExpressions: [{ key: 'tier', operator: 'NotIn', values: ['gold'] }] },
    { matchExpressions: [{ key: 'tier', operator: 'Exists' }] },
    { matchLabels: labels[0] ?? {}, matchExpressions: [{ key: 'tier', operator: 'DoesNotExist' }] },
  )
const half = fc.integer({ min: 0, max: 65_535 })
const word = fc.integer({ min: 0, max: 4_294_967_295 })
const optional = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(value, { nil: undefined })
const keys = fc.record(
  {
    passive: fc.boolean(),
    ttlSecurity: fc.integer({ min: 1, max: 254 }),
    localAs: fc.constantFrom(64999, 70_000),
    maxPrefixes: fc.integer({ min: 1, max: 1000 }),
    maxPrefixesOut: fc.integer({ min: 1, max: 1000 }),
    role: fc.constantFrom('provider', 'customer', 'peer'),
    notification: fc.boolean(),
    importPrefixes: fc.constantFrom(['10.0.0.0/8'], ['10.0.0.0/8 ge 16 le 24', '2001:db8::/32']),
    tcpUserTimeout: fc.integer({ min: 1, max: 3600 }),
    delayOpen: fc.integer({ min: 0, max: 240 }),
    addPathReceive: fc.boolean(),
    nextHop: fc.constantFrom('192.168.1.77', { ipv4: '192.168.1.77', ipv6: '2001:db8::77' }),
  },
  { requiredKeys: [] },
)

const peer: fc.Arbitrary<IntendedPeer> = fc
  .record({
    isIpv6: fc.boolean(),
    peerAs: asn,
    port: fc.constantFrom(179, 1, 1790, 16_384),
    holdSec: fc.oneof(fc.integer({ min: 3, max: 90 }), fc.constant(65_535)),
    retrySec: fc.constantFrom(1, 5, 120, 65_535),
    isFar: fc.boolean(),
    restarts: fc.boolean(),
    key: optional(fc.constantFrom('k', 'top secret', 'x'.repeat(80), '\u00fc')),
    sourceAddress: optional(fc.constantFrom('192.168.1.10', '2001:db8::a')),
    hasBothFamilies: fc.boolean(),
    keys,
    standard: fc.uniqueArray(
      fc.tuple(half, half).map((halves) => halves.join(':')),
      { maxLength: 3 },
    ),
    large: fc.uniqueArray(
      fc.tuple(word, word, word).map((parts) => parts.join(':')),
      { maxLength: 2 },
    ),
    preference: optional(fc.constantFrom(1, 100, 4_294_967_295)),
    med: optional(fc.constantFrom(0, 5, 4_294_967_295)),
    share: fc.integer({ min: 1, max: 3 }),
  })
  .map(({ share, ...rest }) => ({ ...rest, keepaliveSec: Math.floor(rest.holdSec / Math.max(share, 3)) }))

export const anyIntent: fc.Arbitrary<Intent> = fc.record({
  localAs: fc.constantFrom(65001, 4_200_000_000),
  peers: fc.array(peer, { minLength: 1, maxLength: 3 }),
  nodes: selector({ 'kubernetes.io/os': 'linux' }, { 'kubernetes.io/os': 'windows' }),
  services: selector({ app: 'web' }, { app: 'shop' }),
  blocks: fc.uniqueArray(
    fc.constantFrom('198.51.100.0/30', '198.51.100.8/29', '198.51.100.32-198.51.100.33', '198.51.100.77/32'),
    { minLength: 1, maxLength: 3 },
  ),
})

export const peerAddress = ({ isIpv6 }: IntendedPeer, index: number): string =>
  isIpv6 ? `2001:db8::${index + 1}` : `192.168.1.${index + 1}`
const peerName = (index: number): string => `tor-${index}`

const text = (...objects: readonly object[]): string => objects.map((each) => `---\n${JSON.stringify(each)}\n`).join('')
const rangeOf = (block: string): object => {
  const [start, stop] = block.split('-')
  return stop === undefined ? { cidr: block } : { start, stop }
}

/** `addressOf`: how the family keys the neighbor; MED of the routes where it has no place of its own. */
function annotationOf({ peers }: Intent, withSource: boolean, withMed: boolean): Readonly<Record<string, string>> {
  const entries = peers.map((each, index): readonly [string, object] => [
    peerAddress(each, index),
    {
      ...each.keys,
      ...(withSource && each.sourceAddress !== undefined ? { sourceAddress: each.sourceAddress } : {}),
      ...(withMed && each.med !== undefined ? { med: each.med } : {}),
    },
  ])
  return { 'herald.dev/neighbors': JSON.stringify(Object.fromEntries(entries)) }
}

const attributesOf = ({ med }: IntendedPeer): Readonly<Record<string, string>> =>
  med === undefined ? {} : { 'herald.dev/attributes': JSON.stringify({ med }) }

const familiesOf = (peer: IntendedPeer, index: number): readonly string[] =>
  peer.hasBothFamilies ? ['ipv4', 'ipv6'] : [peerAddress(peer, index).includes(':') ? 'ipv6' : 'ipv4']

const ciliumAttributes = ({ standard, large, preference }: IntendedPeer): object => ({
  communities: { standard, large },
  ...(preference === undefined ? {} : { localPreference: preference }),
})

const ciliumRest = ({ peers, blocks }: Intent): string =>
  text(
    ...peers.flatMap(({ key }, index) =>
      key === undefined ? [] : [secret(peerName(index), 'kube-system', 'Opaque', key)],
    ),
    {
      apiVersion: 'cilium.io/v2',
      kind: 'CiliumLoadBalancerIPPool',
      metadata: { name: 'pool' },
      spec: { blocks: blocks.map(rangeOf) },
    },
  )

const secret = (name: string, namespace: string, type: string, password: string): object => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { name, namespace },
  type,
  stringData: { password },
})

export function asCiliumV1(intent: Intent): string {
  const { localAs, peers, nodes, services } = intent
  const neighbors = peers.map((each, index) => ({
    peerAddress: `${peerAddress(each, index)}/${each.isIpv6 ? 128 : 32}`,
    peerASN: each.peerAs,
    peerPort: each.port,
    holdTimeSeconds: each.holdSec,
    keepAliveTimeSeconds: each.keepaliveSec,
    connectRetryTimeSeconds: each.retrySec,
    eBGPMultihopTTL: each.isFar ? 255 : 1,
    gracefulRestart: { enabled: each.restarts },
    ...(each.key === undefined ? {} : { authSecretRef: peerName(index) }),
    families: familiesOf(each, index).map((afi) => ({ afi, safi: 'unicast' })),
    advertisedPathAttributes: [{ selectorType: 'CiliumLoadBalancerIPPool', ...ciliumAttributes(each) }],
  }))
  const policy = {
    apiVersion: 'cilium.io/v2alpha1',
    kind: 'CiliumBGPPeeringPolicy',
    metadata: { name: 'rack', annotations: annotationOf(intent, true, true) },
    spec: { nodeSelector: nodes, virtualRouters: [{ localASN: localAs, serviceSelector: services, neighbors }] },
  }
  return text(policy) + ciliumRest(intent)
}

export function asCiliumV2(intent: Intent, version = 'v2'): string {
  const { localAs, peers, nodes, services } = intent
  const apiVersion = `cilium.io/${version}`
  const config = {
    apiVersion,
    kind: 'CiliumBGPClusterConfig',
    metadata: { name: 'rack', annotations: annotationOf(intent, true, false) },
    spec: {
      nodeSelector: nodes,
      bgpInstances: [
        {
          name: String(localAs),
          localASN: localAs,
          peers: peers.map((each, index) => ({
            name: peerName(index),
            peerASN: each.peerAs,
            peerAddress: peerAddress(each, index),
            peerConfigRef: { name: peerName(index) },
          })),
        },
      ],
    },
  }
  const rest = peers.flatMap((each, index) => [
    {
      apiVersion,
      kind: 'CiliumBGPPeerConfig',
      metadata: { name: peerName(index) },
      spec: {
        transport: { peerPort: each.port },
        timers: {
          holdTimeSeconds: each.holdSec,
          keepAliveTimeSeconds: each.keepaliveSec,
          connectRetryTimeSeconds: each.retrySec,
        },
        ...(each.key === undefined ? {} : { authSecretRef: peerName(index) }),
        gracefulRestart: { enabled: each.restarts },
        ebgpMultihop: each.isFar ? 255 : 1,
        families: familiesOf(each, index).map((afi) => ({
          afi,
          safi: 'unicast',
          advertisements: { matchLabels: { to: peerName(index) } },
        })),
      },
    },
    {
      apiVersion,
      kind: 'CiliumBGPAdvertisement',
      metadata: { name: peerName(index), labels: { to: peerName(index) }, annotations: attributesOf(each) },
      spec: {
        advertisements: [
          {
            advertisementType: 'Service',
            service: { addresses: ['LoadBalancerIP'] },
            selector: services,
            attributes: ciliumAttributes(each),
          },
        ],
      },
    },
  ])
  return text(config, ...rest) + ciliumRest(intent)
}

export function asMetallb(intent: Intent, version = 'v1beta2'): string {
  const { localAs, peers, nodes, services, blocks } = intent
  const namespace = 'metallb-system'
  const objects = peers.flatMap((each, index): readonly object[] => [
    {
      apiVersion: `metallb.io/${version}`,
      kind: 'BGPPeer',
      metadata: { name: peerName(index), namespace, annotations: ownEntry(intent, index) },
      spec: {
        myASN: localAs,
        peerASN: each.peerAs,
        peerAddress: peerAddress(each, index),
        peerPort: each.port,
        holdTime: `${each.holdSec}s`,
        keepaliveTime: `${each.keepaliveSec}s`,
        connectTime: `${each.retrySec}s`,
        ebgpMultiHop: each.isFar,
        enableGracefulRestart: each.restarts,
        dualStackAddressFamily: each.hasBothFamilies,
        nodeSelectors: [nodes],
        ...(each.sourceAddress === undefined ? {} : { sourceAddress: each.sourceAddress }),
        ...(each.key === undefined ? {} : { passwordSecret: { name: peerName(index) } }),
      },
    },
    ...(each.key === undefined ? [] : [secret(peerName(index), namespace, 'kubernetes.io/basic-auth', each.key)]),
    {
      apiVersion: 'metallb.io/v1beta1',
      kind: 'BGPAdvertisement',
      metadata: { name: peerName(index), namespace, annotations: attributesOf(each) },
      spec: {
        peers: [peerName(index)],
        serviceSelectors: [services],
        communities: [...each.standard, ...each.large.map((community) => `large:${community}`)],
        ...(each.preference === undefined ? {} : { localPref: each.preference }),
      },
    },
  ])
  const pool = {
    apiVersion: 'metallb.io/v1beta1',
    kind: 'IPAddressPool',
    metadata: { name: 'pool', namespace },
    spec: { addresses: blocks },
  }
  return text(...objects, pool)
}

/** The entry of one peer alone, for it is an object of its own. */
function ownEntry(intent: Intent, index: number): Readonly<Record<string, string>> {
  const [annotation = ''] = Object.values(annotationOf(intent, false, false))
  const own = Object.entries(JSON.parse(annotation) as object).filter((_, at) => at === index)
  return { 'herald.dev/neighbors': JSON.stringify(Object.fromEntries(own)) }
}
