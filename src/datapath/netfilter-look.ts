/**
 * What netfilter has on this node that packets to pods must not go past, read again only where it may have changed:
 * nftables says so by a number, the older iptables by the sizes of its tables, which a rule put in place of one of the
 * same size does not change. So what iptables has is read with every {@link NetfilterLook.policies}.
 */
import { ipsecPolicies } from '../sys/ipsec.ts'
import { iptablesBaseChains, iptablesSizes } from '../sys/iptables-rules.ts'
import { nftBaseChains, nftGeneration } from '../sys/nft-rules.ts'
import type { Netfilter, Traffic } from './datapath.ts'
import { type Look, lookThrough } from './policies.ts'
import { Translations } from './translations.ts'

interface Found {
  readonly obstacle: string | undefined
  readonly translations: Translations
}

export class NetfilterLook implements Netfilter {
  /** As they were before they were read. */
  #generation: number | undefined
  #sizes: string | undefined
  /** Of nftables; undefined: not read yet. */
  #nftables: Found | undefined
  #iptables: Found | undefined

  /** Whether anything may be otherwise than when it was read: some system calls. Throws ERR_SYSCALL. */
  hasChanged(): boolean {
    return this.#nftables === undefined || nftGeneration() !== this.#generation || iptablesSizes() !== this.#sizes
  }

  /** Reads them. Throws ERR_SYSCALL. */
  policies(): string | undefined {
    const generation = nftGeneration()
    if (this.#nftables === undefined || generation !== this.#generation) {
      this.#nftables = undefined
      this.#nftables = foundIn(generation === undefined ? noRules : lookThrough(nftBaseChains()))
      this.#generation = generation
    }
    this.#sizes = iptablesSizes()
    this.#iptables = foundIn(lookThrough(iptablesBaseChains()))
    return this.#nftables.obstacle ?? this.#iptables.obstacle ?? ipsecObstacle()
  }

  /** Of the rules as they were read. */
  translation({ pods, uplinks }: Traffic, fresh: Iterable<string> = pods): string | undefined {
    const found = [this.#nftables, this.#iptables].map((each) => each?.translations.obstacle(fresh, uplinks))
    return found.find((each) => each !== undefined)
  }
}

const noRules: Look = { obstacle: undefined, translations: [] }

function foundIn({ obstacle, translations }: Look): Found {
  return { obstacle, translations: new Translations(translations) }
}

function ipsecObstacle(): string | undefined {
  const count = ipsecPolicies()
  return count === 0 ? undefined : `IPsec has ${count} policies for what leaves or is handed on (ip xfrm policy)`
}
