/** Requests and pools that tests of the allocation start from, without any Kubernetes. */
import type { AddressBook, AllocationChanges, Recorded } from '../../src/allocation/address-book.ts'
import type { AddressRequest } from '../../src/allocation/allocate.ts'
import { FolderAllocator } from '../../src/allocation/folder-allocator.ts'
import type { AddressRange, Pool } from '../../src/allocation/pool-table.ts'
import { rangeOfPlace } from '../../src/allocation/reserved.ts'
import { allOf } from '../../src/allocation/work.ts'

export function range(place: string, sparesEnds = false): AddressRange {
  const [first = '', last = first] = place.split('-')
  const [from, to] = [rangeOfPlace(first), rangeOfPlace(last)]
  if (from === undefined || to === undefined) throw new TypeError(`${place} is no range`)
  return { family: from.family, first: from.first, last: to.last, sparesEnds }
}

export function pool(name: string, places: readonly string[], more: Partial<Pool> = {}): Pool {
  return {
    kind: 'Pool',
    name,
    labels: {},
    ranges: places.map((place) => range(place)),
    selectors: [],
    autoAssign: true,
    priority: 0,
    ...more,
  }
}

export function request(name: string, more: Partial<AddressRequest> = {}): AddressRequest {
  return {
    key: `default/${name}`,
    createdMs: Number.POSITIVE_INFINITY,
    namespace: 'default',
    labels: {},
    families: ['ipv4'],
    needsAllFamilies: false,
    explicit: [],
    status: [],
    sharing: undefined,
    ...more,
  }
}

/** An exchange in one turn. */
export function exchanged(
  book: AddressBook,
  choose: (recorded: Recorded) => AllocationChanges,
): 'recorded' | 'busy' | 'failed' {
  return allOf(
    book.exchange(function* (recorded) {
      yield
      return choose(recorded)
    }),
  )
}

/** An agent that is told of Services one by one. */
export class FolderAgent {
  readonly allocator: FolderAllocator
  readonly #requests = new Map<string, AddressRequest>()

  constructor(book: AddressBook, pools: readonly Pool[]) {
    this.allocator = new FolderAllocator(book)
    this.allocator.setPools(pools)
  }

  /** Adds or changes Services, and settles; answers whose addresses changed. */
  put(...requests: readonly AddressRequest[]): readonly string[] {
    for (const each of requests) this.#requests.set(each.key, each)
    return this.settle(requests.map(({ key }) => key))
  }

  remove(...names: readonly string[]): readonly string[] {
    for (const name of names) this.#requests.delete(`default/${name}`)
    return this.settle(names.map((name) => `default/${name}`))
  }

  settle(keys: Iterable<string> = this.#requests.keys()): readonly string[] {
    return allOf(
      this.allocator.settle(keys, (key) => {
        const found = this.#requests.get(key)
        return found === undefined ? undefined : { subject: found, request: () => found }
      }),
    )
  }

  of(name: string): string {
    return this.allocator.answerOf(`default/${name}`).addresses.join()
  }

  /** By key, of those that have one. */
  all(): ReadonlyMap<string, readonly string[]> {
    const found = [...this.#requests.keys()].map((key) => [key, this.allocator.answerOf(key).addresses] as const)
    return new Map(found.filter(([, addresses]) => addresses.length > 0))
  }
}
