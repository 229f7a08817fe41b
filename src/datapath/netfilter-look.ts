/**
 * What netfilter has on this node that packets to pods must not go past, read again only where it may have changed:
 * nftables says so by a number, the older iptables by the sizes of its tables, which a rule put in place of one of the
 * same size does not change. So what iptables has is read with every {@link NetfilterLook.read}.
 */
import { ipsecPolicies } from '../sys/ipsec.ts'
import { iptablesBaseChains, iptablesSizes } from '../sys/iptables-rules.ts'
import { nftBaseChains, nftGeneration } from '../sys/nft-rules.ts'
import { policyObstacle } from './policies.ts'

export class NetfilterLook {
  /** As they were before they were read. */
  #generation: number | undefined
  #sizes: string | undefined
  /** Of nftables; undefined: not read yet. */
  #nftables: { readonly obstacle: string | undefined } | undefined

  /** Whether anything may be otherwise than when it was read: some system calls. Throws ERR_SYSCALL. */
  hasChanged(): boolean {
    return this.#nftables === undefined || nftGeneration() !== this.#generation || iptablesSizes() !== this.#sizes
  }

  /** For people: what is in the way; undefined: nothing. Throws ERR_SYSCALL. */
  read(): string | undefined {
    const generation = nftGeneration()
    if (this.#nftables === undefined || generation !== this.#generation) {
      this.#nftables = undefined
      this.#nftables = { obstacle: generation === undefined ? undefined : policyObstacle(nftBaseChains()) }
      this.#generation = generation
    }
    this.#sizes = iptablesSizes()
    return this.#nftables.obstacle ?? policyObstacle(iptablesBaseChains()) ?? ipsecObstacle()
  }
}

function ipsecObstacle(): string | undefined {
  const count = ipsecPolicies()
  return count === 0 ? undefined : `IPsec has ${count} policies for what leaves or is handed on (ip xfrm policy)`
}
