/** A folder of manifests and what a source says of it, with a clock that the test turns. */
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import type { Problem } from '../../src/desired/model.ts'
import { directorySource, type DirectoryOptions } from '../../src/k8s/directory.ts'
import type { ObjectKey, ObjectSource, Origin, RawObject } from '../../src/k8s/source.ts'
import { inFolder, service } from './manifests.ts'

export interface Followed {
  readonly folder: string
  readonly source: ObjectSource
  readonly clock: VirtualClock
  /** What is in force, by `Kind name`. */
  readonly objects: Map<string, RawObject>
  readonly origins: Map<string, Origin | undefined>
  /** `+name`, `-name`, `synced`, in order. */
  readonly log: string[]
  readonly notes: string[]
  readonly problems: () => readonly Problem[]
  readonly flushes: () => number
  /** Looks at the folder `times` times, so far from each other that nothing is confirmed. */
  look(times?: number): void
  /** Lets the time go by in which what is missing is confirmed. */
  confirm(): void
  port(name: string): unknown
}

export const withPort = (name: string, port: number, more = ''): string =>
  service(name, more).replace('port: 80', `port: ${port}`)

const nameOf = ({ kind, name }: ObjectKey): string => `${kind} ${name}`

/** Follows a folder while `run` changes it; nothing is looked at but when the test says so. */
export async function following(
  prepare: (folder: string) => void,
  run: (followed: Followed) => Promise<void> | void,
  options: Partial<DirectoryOptions> = {},
): Promise<void> {
  await inFolder(async (folder) => {
    prepare(folder)
    const clock = new VirtualClock()
    const source = directorySource({ directory: folder, clock, ...options })
    const objects = new Map<string, RawObject>()
    const origins = new Map<string, Origin | undefined>()
    const [log, notes]: [string[], string[]] = [[], []]
    let problems: readonly Problem[] = []
    let flushes = 0
    const started = source.start({
      upsert: (key, object, origin) => {
        objects.set(nameOf(key), object)
        origins.set(nameOf(key), origin)
        log.push(`+${key.name}`)
      },
      remove: (key) => {
        objects.delete(nameOf(key))
        log.push(`-${key.name}`)
      },
      problems: (list) => {
        problems = list
      },
      flush: () => {
        flushes++
      },
      synced: () => log.push('synced'),
      note: (message) => notes.push(message),
    })
    clock.advance(1)
    await started
    try {
      await run({
        folder,
        source,
        clock,
        objects,
        origins,
        log,
        notes,
        problems: () => problems,
        flushes: () => flushes,
        look: (times = 1) => {
          for (let time = 0; time < times; time++) {
            source.rescan()
            clock.advance(60)
          }
        },
        confirm: () => {
          source.rescan()
          clock.advance(4000)
        },
        port: (name) => /"port":(\d+)/.exec(JSON.stringify(objects.get(`Service ${name}`)) ?? '')?.[1],
      })
    } finally {
      await source.stop()
    }
  })
}
