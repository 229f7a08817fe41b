/**
 * Which Services want which frontend, and for which of them it is in the kernel. A frontend that two want has one
 * owner, and passes on to the next when that one wants it no more: it never goes with the first of them. Pure.
 */
export class Claims {
  /** Of nearly all Services and frontends it is one, and there are thousands: it needs no list. */
  readonly #byService = new Map<string, string | readonly string[]>()
  /** By frontend, sorted: who succeeds must not depend on who came first. */
  readonly #byFrontend = new Map<string, string | readonly string[]>()
  readonly #owners = new Map<string, string>()
  /** What a Service claimed before and may still own. */
  readonly #former = new Map<string, Set<string>>()

  /** Replaces what a Service wants. */
  want(service: string, frontends: readonly string[]): void {
    for (const id of listOf(this.#byService.get(service))) {
      this.#withdrawClaim(id, service)
      this.#remember(service, id)
    }
    if (frontends.length === 0) this.#byService.delete(service)
    else this.#byService.set(service, shortOf(frontends))
    for (const id of frontends) {
      const others = this.on(id).filter((other) => other !== service)
      this.#byFrontend.set(id, others.length === 0 ? service : [...others, service].sort())
    }
  }

  #withdrawClaim(id: string, service: string): void {
    const left = this.on(id).filter((other) => other !== service)
    if (left.length === 0) this.#byFrontend.delete(id)
    else this.#byFrontend.set(id, shortOf(left))
  }

  #remember(service: string, id: string): void {
    const former = this.#former.get(service)
    if (former === undefined) this.#former.set(service, new Set([id]))
    else former.add(id)
  }

  /** What a Service wants, or wanted and may still own. */
  of(service: string): readonly string[] {
    const [wanted, former] = [listOf(this.#byService.get(service)), this.#former.get(service)]
    return former === undefined ? wanted : [...new Set([...wanted, ...former])]
  }

  /** Who wants a frontend now. */
  on(frontend: string): readonly string[] {
    return listOf(this.#byFrontend.get(frontend))
  }

  owner(frontend: string): string | undefined {
    return this.#owners.get(frontend)
  }

  own(frontend: string, service: string | undefined): void {
    if (service === undefined) this.#owners.delete(frontend)
    else this.#owners.set(frontend, service)
  }

  /** The plan of a Service was run: it owns nothing any more that it does not want. */
  settle(service: string): void {
    this.#former.delete(service)
  }
}

function shortOf(list: readonly string[]): string | readonly string[] {
  return list.length === 1 ? (list[0] ?? '') : list
}

function listOf(short: string | readonly string[] = []): readonly string[] {
  return typeof short === 'string' ? [short] : short
}
