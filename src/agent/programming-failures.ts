/**
 * Services that could not be programmed: each has at most one fault, that of its last failure, and one retry under way,
 * with waits that double.
 */
import type { Clock } from '../clock/clock.ts'
import { type ErrorCode, HeraldError, messageOf } from '../errors.ts'
import type { Faults } from './faults.ts'

interface Failure {
  readonly code: ErrorCode
  readonly message: string
  readonly attempts: number
}

export interface RetryTimes {
  /** First wait after a failed write; doubles up to `retryMaxMs`. */
  readonly retryMs: number
  readonly retryMaxMs: number
}

export class ProgrammingFailures {
  readonly #clock: Clock
  readonly #faults: Pick<Faults, 'raise' | 'clear'>
  readonly #times: RetryTimes
  /** It is time to try a Service again. */
  readonly #retry: (service: string) => void
  readonly #failures = new Map<string, Failure>()
  /** By Service: the fault that it is part of. */
  readonly #faultOf = new Map<string, string>()

  constructor(
    { clock, faults }: { readonly clock: Clock; readonly faults: Pick<Faults, 'raise' | 'clear'> },
    times: RetryTimes,
    retry: (service: string) => void,
  ) {
    this.#clock = clock
    this.#faults = faults
    this.#times = times
    this.#retry = retry
  }

  of(service: string): Failure | undefined {
    return this.#failures.get(service)
  }

  get all(): ReadonlyMap<string, Failure> {
    return this.#failures
  }

  add(service: string, error: unknown): void {
    const code = error instanceof HeraldError ? error.code : 'ERR_SYSCALL'
    const attempts = (this.#failures.get(service)?.attempts ?? 0) + 1
    const failure = { code, message: messageOf(error), attempts }
    this.#raise(service, `program ${code}`, failure.message)
    this.#failures.set(service, failure)
    this.#clock.after(Math.min(this.#times.retryMs * 2 ** (attempts - 1), this.#times.retryMaxMs), () => {
      // Done, or failed anew since: then the newer failure's timer is the one that counts.
      if (this.#failures.get(service) === failure) this.#retry(service)
    })
  }

  /** Something else is wanted of it: it is tried at once, and is a fault until that is done. */
  forget(service: string): void {
    this.#failures.delete(service)
  }

  /** It is programmed, or gone. */
  clear(service: string): void {
    this.#failures.delete(service)
    const fault = this.#faultOf.get(service)
    if (fault === undefined) return
    this.#faultOf.delete(service)
    this.#faults.clear(fault, service)
  }

  #raise(service: string, fault: string, message: string): void {
    const before = this.#faultOf.get(service)
    this.#faultOf.set(service, fault)
    if (before !== undefined && before !== fault) this.#faults.clear(before, service)
    this.#faults.raise(fault, service, message)
  }
}
