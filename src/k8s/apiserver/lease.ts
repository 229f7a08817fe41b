/** A Lease on an API server. What others wrote into the object besides its spec stays. */
import type { LeaseAnswer, LeaseMetadata, LeaseSpec, LeaseStore } from '../lease.ts'
import { type ApiRequests, isSuccess, type Reply } from './requests.ts'
import { recordOf } from '../source.ts'

const apiVersion = 'coordination.k8s.io/v1'
/** What client-go takes where a Lease does not say how long it lasts. */
const usualDurationSec = 15

/** `own`: what of its metadata is ours to say, asked at each write. */
export function leaseOnServer(
  requests: ApiRequests,
  namespace: string,
  name: string,
  own: () => LeaseMetadata = () => ({}),
): LeaseStore {
  return new ServerLease(requests, namespace, name, own)
}

class ServerLease implements LeaseStore {
  readonly #requests: ApiRequests
  readonly #namespace: string
  readonly #name: string
  readonly #own: () => LeaseMetadata
  /** As it was read or written last. */
  #metadata: Readonly<Record<string, unknown>> = {}

  constructor(requests: ApiRequests, namespace: string, name: string, own: () => LeaseMetadata) {
    this.#requests = requests
    this.#namespace = namespace
    this.#name = name
    this.#own = own
  }

  async read(): Promise<LeaseAnswer> {
    return this.#answerOf(await this.#requests.get(this.#path(this.#name)))
  }

  async create(spec: LeaseSpec): Promise<LeaseAnswer> {
    const reply = await this.#send('POST', this.#path(), { ...this.#own(), name: this.#name }, spec)
    // There is no such namespace.
    return reply.status === 404 ? { kind: 'failed', message: reply.message } : this.#answerOf(reply)
  }

  async update(spec: LeaseSpec, resourceVersion: string): Promise<LeaseAnswer> {
    const { labels, annotations, ...own } = this.#own()
    const metadata = {
      ...this.#metadata,
      ...own,
      ...(labels === undefined ? {} : { labels: { ...recordOf(this.#metadata['labels']), ...labels } }),
      ...(annotations === undefined
        ? {}
        : { annotations: { ...recordOf(this.#metadata['annotations']), ...annotations } }),
      name: this.#name,
      resourceVersion,
    }
    return this.#answerOf(await this.#send('PUT', this.#path(this.#name), metadata, spec))
  }

  #path(name?: string): string {
    const leases = `/apis/${apiVersion}/namespaces/${encodeURIComponent(this.#namespace)}/leases`
    return name === undefined ? leases : `${leases}/${encodeURIComponent(name)}`
  }

  #send(method: 'POST' | 'PUT', path: string, metadata: object, spec: LeaseSpec): Promise<Reply> {
    const body = JSON.stringify({
      apiVersion,
      kind: 'Lease',
      metadata: { ...metadata, namespace: this.#namespace },
      spec: {
        holderIdentity: spec.holder,
        leaseDurationSeconds: spec.durationSec,
        acquireTime: spec.acquireTime,
        renewTime: spec.renewTime,
        leaseTransitions: spec.transitions,
      },
    })
    return this.#requests.change({ method, path, contentType: 'application/json', body })
  }

  #answerOf({ status, object, message }: Reply): LeaseAnswer {
    if (status === 404) return { kind: 'absent' }
    if (status === 409) return { kind: 'taken' }
    const metadata = recordOf(object['metadata'])
    const { resourceVersion } = metadata
    if (!isSuccess(status)) return { kind: 'failed', message }
    if (typeof resourceVersion !== 'string') return { kind: 'failed', message: 'the answer is no Lease' }
    this.#metadata = metadata
    return { kind: 'found', lease: { spec: specOf(recordOf(object['spec'])), resourceVersion } }
  }
}

function specOf(spec: Readonly<Record<string, unknown>>): LeaseSpec {
  const text = (value: unknown): string => (typeof value === 'string' ? value : '')
  const count = (value: unknown, fallback: number): number =>
    typeof value === 'number' && Number.isFinite(value) ? value : fallback
  return {
    holder: text(spec['holderIdentity']),
    durationSec: count(spec['leaseDurationSeconds'], usualDurationSec),
    acquireTime: text(spec['acquireTime']),
    renewTime: text(spec['renewTime']),
    transitions: count(spec['leaseTransitions'], 0),
  }
}
