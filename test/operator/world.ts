/** An API server in memory with operators beside it, over one turned clock. */
import assert from 'node:assert/strict'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import { type Follower, MemoryCluster } from '../../src/k8s/memory-cluster.ts'
import type { ObjectKey, RawObject } from '../../src/k8s/source.ts'
import { fieldManager, type StatusSink } from '../../src/k8s/status.ts'
import { MemoryOperatorLog } from '../../src/operator/log.ts'
import { Operator } from '../../src/operator/operator.ts'

export const serviceKey = (name: string, namespace = 'default'): ObjectKey => ({
  apiVersion: 'v1',
  kind: 'Service',
  namespace,
  name,
})
export const poolKey = (name: string): ObjectKey => ({
  apiVersion: 'cilium.io/v2',
  kind: 'CiliumLoadBalancerIPPool',
  namespace: '',
  name,
})

export interface ServiceParts {
  readonly created?: number
  readonly annotations?: Readonly<Record<string, string>>
  readonly spec?: RawObject
  readonly ingress?: readonly RawObject[]
  readonly metadata?: RawObject
}

export function service(name: string, parts: ServiceParts = {}, namespace = 'default'): RawObject {
  const { created = 0, annotations = {}, spec = {}, ingress, metadata = {} } = parts
  const creationTimestamp = new Date(1_700_000_000_000 + created * 1000).toISOString()
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace, annotations, creationTimestamp, ...metadata },
    spec: { type: 'LoadBalancer', ipFamilies: ['IPv4'], ipFamilyPolicy: 'SingleStack', ports: [{ port: 80 }], ...spec },
    status: { loadBalancer: ingress === undefined ? {} : { ingress } },
  }
}

export function pool(name: string, cidrs: readonly string[], spec: RawObject = {}): RawObject {
  return {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumLoadBalancerIPPool',
    metadata: { name, creationTimestamp: '2023-01-01T00:00:00Z' },
    spec: { blocks: cidrs.map((cidr) => ({ cidr })), allowFirstLastIPs: 'Yes', ...spec },
  }
}

export interface Running {
  readonly operator: Operator
  readonly follower: Follower
  readonly log: MemoryOperatorLog
  isLeader: boolean
}

/** Each look at it finds that the turn is over: whatever may be laid down is. */
export class SlicedClock extends VirtualClock {
  #looks = 0
  readonly #soon: (() => void)[] = []

  override monotonic(): number {
    return super.monotonic() + 6 * this.#looks++
  }

  override soon(action: () => void): void {
    this.#soon.push(action)
  }

  override settle(): void {
    while (this.#soon.length > 0) this.some(1)
  }

  /** Runs at most so many of what was asked for `soon`. */
  some(most: number): void {
    for (let left = most; left > 0; left--) this.#soon.shift()?.()
  }
}

export class World {
  readonly cluster = new MemoryCluster()
  readonly clock: VirtualClock
  readonly running: Running[] = []
  objects = this.cluster.objectSink()
  /** How statuses get to the server. */
  sinkOf = (manager: string): StatusSink => this.cluster.sink(manager)
  statesIn: string | undefined

  constructor(clock = new VirtualClock()) {
    this.clock = clock
    this.cluster.put(poolKey('blue'), pool('blue', ['203.0.113.0/28']))
  }

  /** An operator that leads from the start. */
  async lead(manager = fieldManager): Promise<Running> {
    const follower = this.cluster.follower()
    const log = new MemoryOperatorLog()
    const running: Running = {
      follower,
      log,
      isLeader: true,
      operator: new Operator({
        source: follower,
        sink: this.sinkOf(manager),
        objects: this.objects,
        clock: this.clock,
        random: () => 0.5,
        log,
        ...(this.statesIn === undefined ? {} : { namespace: this.statesIn }),
        isLeader: () => running.isLeader,
      }),
    }
    this.running.push(running)
    await running.operator.start()
    return running
  }

  /**
   * Until nothing moves any more without time going by. Two that lead at once, which no Lease allows, may each take
   * back what the other one writes for as long as they do: that goes on when the time does.
   */
  async settle(): Promise<void> {
    const areSeveral = this.running.filter(({ isLeader }) => isLeader).length > 1
    for (let quiet = 0, rounds = 0; quiet < 3; rounds++) {
      if (areSeveral && rounds === 200) return
      assert.ok(rounds < 2_000, 'what is written has an answer that is written, without end')
      this.clock.settle()
      for (let i = 0; i < 10; i++) await Promise.resolve()
      const moved = this.running.map(({ follower }) => follower.deliver()).some(Boolean)
      quiet = moved ? 0 : quiet + 1
    }
  }

  async pass(ms: number): Promise<void> {
    for (let gone = 0; gone < ms; gone += 500) {
      this.clock.advance(500)
      await this.settle()
    }
  }

  put(name: string, parts: ServiceParts = {}, namespace = 'default'): void {
    this.cluster.put(serviceKey(name, namespace), service(name, parts, namespace))
  }

  ingress(name: string, namespace = 'default'): readonly RawObject[] {
    const { loadBalancer } = this.#status(name, namespace)
    return (loadBalancer as { readonly ingress?: readonly RawObject[] } | undefined)?.ingress ?? []
  }

  addresses(name: string, namespace = 'default'): readonly string[] {
    return this.ingress(name, namespace).map(({ ip }) => String(ip))
  }

  /** `status reason: message` of our condition; empty without one. */
  condition(name: string, namespace = 'default'): string {
    const { conditions } = this.#status(name, namespace)
    const found = (conditions as readonly RawObject[] | undefined)?.find(
      ({ type }) => type === 'herald.dev/AddressAllocated',
    )
    return found === undefined
      ? ''
      : `${String(found['status'])} ${String(found['reason'])}: ${String(found['message'])}`
  }

  #status(name: string, namespace: string): RawObject {
    const { status } = this.cluster.objectOf(serviceKey(name, namespace)) ?? {}
    return (status as RawObject | undefined) ?? {}
  }
}
