/**
 * A Map for the many that have one entry: the engine makes room for four in each Map, and a node has thousands of
 * backends of one frontend each. Pure.
 */
export class Few<Value extends NonNullable<unknown>> {
  #key: string | undefined
  #value: Value | undefined
  /** All of them, once there was a second one. */
  #more: Map<string, Value> | undefined

  get size(): number {
    return this.#more?.size ?? (this.#value === undefined ? 0 : 1)
  }

  get(key: string): Value | undefined {
    if (this.#more !== undefined) return this.#more.get(key)
    return this.#key === key ? this.#value : undefined
  }

  set(key: string, value: Value): void {
    if (this.#more === undefined && this.#value !== undefined && this.#key !== key) {
      this.#more = new Map([[this.#key ?? '', this.#value]])
      this.#key = this.#value = undefined
    }
    if (this.#more !== undefined) this.#more.set(key, value)
    else [this.#key, this.#value] = [key, value]
  }

  /** False when there was no such key. */
  delete(key: string): boolean {
    if (this.#more !== undefined) return this.#more.delete(key)
    if (this.#key !== key) return false
    this.#key = this.#value = undefined
    return true
  }

  /** In the order in which their keys came. */
  values(): Iterable<Value> {
    return this.#more?.values() ?? (this.#value === undefined ? [] : [this.#value])
  }
}
