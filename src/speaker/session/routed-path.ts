/**
 * The watch over a path of which nobody says whether routers are on it: the routing table does, and is asked again for
 * as long as BFD is not up: the peer may be reached by another way by now.
 */
import type { BfdReport, BfdPath, PathWatch, WantedPath } from '../../bfd/path.ts'
import type { BfdSettings } from '../../desired/model.ts'

export interface RoutedPathPorts {
  watch(path: BfdPath, settings: BfdSettings, told: (report: BfdReport) => void): PathWatch
  isBehindRouter(path: WantedPath): boolean
  /** Again and again; answers how to end it. */
  every(ms: number, action: () => void): () => void
}

const lookMs = 5_000

export function watchRouted(
  ports: RoutedPathPorts,
  path: WantedPath,
  settings: BfdSettings,
  told: (report: BfdReport) => void,
): PathWatch {
  const { isMultihop } = path
  return isMultihop === undefined
    ? new RoutedPath(ports, path, settings, told)
    : ports.watch({ ...path, isMultihop }, settings, told)
}

class RoutedPath implements PathWatch {
  readonly #ports: RoutedPathPorts
  readonly #path: WantedPath
  readonly #told: (report: BfdReport) => void
  readonly #endLooking: () => void
  #settings: BfdSettings
  #isMultihop: boolean
  #isUp = false
  #watch: PathWatch

  constructor(ports: RoutedPathPorts, path: WantedPath, settings: BfdSettings, told: (report: BfdReport) => void) {
    this.#ports = ports
    this.#path = path
    this.#settings = settings
    this.#told = told
    this.#isMultihop = ports.isBehindRouter(path)
    this.#watch = this.#begin()
    this.#endLooking = ports.every(lookMs, () => this.#look())
  }

  configure(settings: BfdSettings): void {
    this.#settings = settings
    this.#watch.configure(settings)
  }

  close(isLast?: boolean): void {
    this.#endLooking()
    this.#watch.close(isLast)
  }

  #begin(): PathWatch {
    const isMultihop = this.#isMultihop
    return this.#ports.watch({ ...this.#path, isMultihop }, this.#settings, (report) => {
      // Of the way before something may be under way still.
      if (isMultihop !== this.#isMultihop) return
      this.#isUp = report.state === 'Up'
      this.#told(report)
    })
  }

  #look(): void {
    if (this.#isUp) return
    const isMultihop = this.#ports.isBehindRouter(this.#path)
    if (isMultihop === this.#isMultihop) return
    this.#watch.close()
    this.#isMultihop = isMultihop
    this.#watch = this.#begin()
  }
}
