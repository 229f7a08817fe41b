/** Manifests of MetalLB's kinds that several tests start from. */

const meta = (name: string, more = ''): string => `metadata: {name: ${name}, namespace: metallb-system${more}}`

/** `spec` is the inside of a YAML map. */
export function peer(name: string, spec: string, more = ''): string {
  return `---\napiVersion: metallb.io/v1beta2\nkind: BGPPeer\n${meta(name, more)}\nspec: {${spec}}\n`
}

export function ipPool(name: string, spec: string, more = ''): string {
  return `---\napiVersion: metallb.io/v1beta1\nkind: IPAddressPool\n${meta(name, more)}\nspec: {${spec}}\n`
}

export function advertisement(name: string, spec = '', more = ''): string {
  return `---\napiVersion: metallb.io/v1beta1\nkind: BGPAdvertisement\n${meta(name, more)}\nspec: {${spec}}\n`
}

export function community(name: string, ...entries: readonly (readonly [string, string])[]): string {
  const list = entries.map(([alias, value]) => `{name: ${alias}, value: "${value}"}`).join(', ')
  return `---\napiVersion: metallb.io/v1beta1\nkind: Community\n${meta(name)}\nspec: {communities: [${list}]}\n`
}

/** What a first page of MetalLB's documentation has. */
export const tor = peer('tor', 'myASN: 64512, peerASN: 64513, peerAddress: 192.168.1.1')
export const production = ipPool('production', 'addresses: [192.168.10.0/24]')
export const everywhere = advertisement('everywhere')
