/**
 * A cursor over bytes that cannot leave them. Nested lengths get a reader of their own, exactly their bytes long
 * (`sub`), so that an inner length can never reach past its container.
 */

/** Internal to decoding: a read past the end. Every decode function turns it into a returned fault. */
class Overrun extends RangeError {
  constructor(wanted: number, left: number) {
    super(`${wanted} octets wanted, ${left} left`)
    this.name = 'Overrun'
  }
}

export class Reader {
  readonly #bytes: Uint8Array
  readonly #end: number
  #at: number

  constructor(bytes: Uint8Array, start = 0, end = bytes.length) {
    this.#bytes = bytes
    this.#at = start
    this.#end = end
  }

  get left(): number {
    return this.#end - this.#at
  }

  u8(): number {
    const at = this.#take(1)
    return this.#bytes[at] as number
  }

  u16(): number {
    const at = this.#take(2)
    return ((this.#bytes[at] as number) << 8) | (this.#bytes[at + 1] as number)
  }

  u32(): number {
    const at = this.#take(4)
    return u32At(this.#bytes, at)
  }

  /** A copy of the next octets: what is kept outlives the receive buffer. */
  copy(length: number): Uint8Array {
    const at = this.#take(length)
    return this.#bytes.slice(at, at + length)
  }

  /** A reader of exactly the next octets. */
  sub(length: number): Reader {
    const at = this.#take(length)
    return new Reader(this.#bytes, at, at + length)
  }

  /** Another reader of what is left, without moving this one. */
  peek(): Reader {
    return new Reader(this.#bytes, this.#at, this.#end)
  }

  #take(length: number): number {
    const at = this.#at
    if (length > this.#end - at) throw new Overrun(length, this.#end - at)
    this.#at = at + length
    return at
  }
}

/** Runs a decoder; an Overrun becomes `onOverrun`, everything else is a bug and passes. */
export function bounded<T>(decode: () => T, onOverrun: (reason: string) => T): T {
  try {
    return decode()
  } catch (error) {
    if (error instanceof Overrun) return onOverrun(error.message)
    throw error
  }
}

/** Four octets as a number, for who has looked that they are there. */
export function u32At(bytes: Uint8Array, at: number): number {
  return (
    (((bytes[at] as number) << 24) |
      ((bytes[at + 1] as number) << 16) |
      ((bytes[at + 2] as number) << 8) |
      (bytes[at + 3] as number)) >>>
    0
  )
}
