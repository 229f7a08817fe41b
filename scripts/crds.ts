/**
 * `node scripts/crds.ts`: writes the CustomResourceDefinitions of the chart from the schemas in src/k8s/kinds.
 *
 *     charts/herald/crds/            CiliumBGPPeeringPolicy and CiliumBGPNodeConfig: installed by helm where there are
 *                                    none, and kept
 *     charts/herald/files/crds/<g>/  the kinds that others bring, for clusters where nobody did and who asks for them
 */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { stringify } from 'yaml'
import { kinds, type ServedKind } from '../src/k8s/kinds/table.ts'
import { ipPool, peeringPolicy } from './crds/cilium.ts'
import { advertisement, clusterConfig, nodeConfig, nodeConfigOverride, peerConfig } from './crds/cilium-v2.ts'
import { bfdProfile, bgpAdvertisement, bgpPeer, community, ipAddressPool, l2Advertisement } from './crds/metallb.ts'
import { type Definition, definitionOf } from './crds/definitions.ts'
import { takeNoArguments } from './setup/arguments.ts'

/** Kinds that Kubernetes itself has, and what Cilium alone writes: where it is not, there is nothing to say. */
type BuiltIn = 'Service' | 'EndpointSlice' | 'Namespace' | 'Node' | 'Secret' | 'Lease' | 'CiliumNode'

const definitions: Readonly<Record<Exclude<ServedKind, BuiltIn>, Definition>> = {
  CiliumBGPPeeringPolicy: peeringPolicy,
  CiliumLoadBalancerIPPool: ipPool,
  CiliumBGPClusterConfig: clusterConfig,
  CiliumBGPPeerConfig: peerConfig,
  CiliumBGPAdvertisement: advertisement,
  CiliumBGPNodeConfigOverride: nodeConfigOverride,
  CiliumBGPNodeConfig: nodeConfig,
  IPAddressPool: ipAddressPool,
  BGPPeer: bgpPeer,
  BGPAdvertisement: bgpAdvertisement,
  Community: community,
  BFDProfile: bfdProfile,
  L2Advertisement: l2Advertisement,
}

/** Not in Cilium any more, or what we say ourselves whatever the configuration is: ours wherever there is none. */
const ours: readonly string[] = ['CiliumBGPPeeringPolicy', 'CiliumBGPNodeConfig']

const head = '# Made by `node scripts/crds.ts` from the schemas in src/k8s/kinds: do not edit.\n'
const chart = join(dirname(dirname(fileURLToPath(import.meta.url))), 'charts/herald')

/** Path below charts/herald to content, of every CustomResourceDefinition. */
export function crdFiles(): ReadonlyMap<string, string> {
  return new Map(
    (Object.keys(definitions) as (keyof typeof definitions)[]).map((kind) => {
      const { resource, versions } = kinds[kind]
      const group = String(versions[0]).split('/')[0]
      const folder = ours.includes(kind) ? 'crds' : `files/crds/${group}`
      return [`${folder}/${resource}.yaml`, `${head}${stringify(crdOf(kind), { lineWidth: 0, version: '1.1' })}`]
    }),
  )
}

/** One of them, as an object. */
export function crdOf(kind: keyof typeof definitions): object {
  return definitionOf(kind, definitions[kind])
}

/** Every file that is there now, below charts/herald. */
export function presentCrdFiles(): readonly string[] {
  return ['crds', 'files/crds'].flatMap((folder) =>
    readdirSync(join(chart, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.yaml'))
      .map((name) => `${folder}/${name}`),
  )
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  takeNoArguments('node scripts/crds.ts')
  const files = crdFiles()
  for (const folder of ['crds', 'files/crds']) rmSync(join(chart, folder), { recursive: true, force: true })
  for (const [path, text] of files) {
    mkdirSync(dirname(join(chart, path)), { recursive: true })
    writeFileSync(join(chart, path), text)
    console.log(`charts/herald/${path}`)
  }
}
