/** A Lease (coordination.k8s.io/v1), as a port: on an API server (apiserver/lease.ts), or in memory. Pure. */

export interface LeaseSpec {
  /** Empty: nobody holds it. */
  readonly holder: string
  readonly durationSec: number
  /** RFC 3339; for people. Nobody judges by the clock of another. */
  readonly acquireTime: string
  readonly renewTime: string
  readonly transitions: number
}

/** What a Lease has besides its spec and its name. */
export interface LeaseMetadata {
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  readonly ownerReferences?: readonly object[]
}

export interface LeaseRecord {
  readonly spec: LeaseSpec
  readonly resourceVersion: string
}

/**
 * Nothing rejects. `taken`: somebody else made or changed the Lease since it was read. `failed`: no answer, or no; it
 * is not known whether it was done.
 */
export type LeaseAnswer =
  | { readonly kind: 'found'; readonly lease: LeaseRecord }
  | { readonly kind: 'absent' | 'taken' }
  | { readonly kind: 'failed'; readonly message: string }

export interface LeaseStore {
  read(): Promise<LeaseAnswer>
  create(spec: LeaseSpec): Promise<LeaseAnswer>
  /** Only if it still has this resourceVersion. */
  update(spec: LeaseSpec, resourceVersion: string): Promise<LeaseAnswer>
}

/** One Lease for several processes of a test. */
export class MemoryLease implements LeaseStore {
  #lease: LeaseRecord | undefined
  #version = 0
  /** What {@link LeaseStore} answers while the server is said to be away. */
  isReachable = true

  get lease(): LeaseRecord | undefined {
    return this.#lease
  }

  /** As somebody does by hand. */
  remove(): void {
    this.#lease = undefined
  }

  async read(): Promise<LeaseAnswer> {
    return this.#reached(() => (this.#lease === undefined ? { kind: 'absent' } : { kind: 'found', lease: this.#lease }))
  }

  async create(spec: LeaseSpec): Promise<LeaseAnswer> {
    return this.#reached(() => (this.#lease === undefined ? this.#put(spec) : { kind: 'taken' }))
  }

  async update(spec: LeaseSpec, resourceVersion: string): Promise<LeaseAnswer> {
    return this.#reached(() => {
      if (this.#lease === undefined) return { kind: 'absent' }
      return this.#lease.resourceVersion === resourceVersion ? this.#put(spec) : { kind: 'taken' }
    })
  }

  #reached(answer: () => LeaseAnswer): LeaseAnswer {
    return this.isReachable ? answer() : { kind: 'failed', message: 'the server is said to be away' }
  }

  #put(spec: LeaseSpec): LeaseAnswer {
    this.#lease = { spec, resourceVersion: String(++this.#version) }
    return { kind: 'found', lease: this.#lease }
  }
}
