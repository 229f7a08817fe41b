/**
 * An object whose programs two threads load, each a part of them: two objects of one file. All maps that are written by
 * one of them and read by another are pinned before.
 */
import { BpfObject } from './bpf.ts'

export class PartedObject extends BpfObject {
  readonly #beside: BpfObject
  readonly #others: ReadonlySet<string>

  /** `others`: the programs of the second thread. */
  constructor(path: string, programs: readonly string[], others: readonly string[]) {
    super(path)
    this.#others = new Set(others)
    try {
      this.leaveOut(others)
      this.#beside = new BpfObject(path)
    } catch (error) {
      super.close()
      throw error
    }
    this.#beside.leaveOut(programs)
  }

  override setPinPath(map: string, path: string): void {
    super.setPinPath(map, path)
    this.#beside.setPinPath(map, path)
  }

  override setConstant(section: string, value: Uint8Array): void {
    super.setConstant(section, value)
    this.#beside.setConstant(section, value)
  }

  override setMaxEntries(map: string, entries: number): void {
    super.setMaxEntries(map, entries)
    this.#beside.setMaxEntries(map, entries)
  }

  override async loadAside(): Promise<boolean> {
    const loaded = await Promise.all([super.loadAside(), this.#beside.loadAside()])
    return loaded.every(Boolean)
  }

  override programFd(name: string): number {
    return this.#others.has(name) ? this.#beside.programFd(name) : super.programFd(name)
  }

  override close(): void {
    super.close()
    this.#beside.close()
  }
}
