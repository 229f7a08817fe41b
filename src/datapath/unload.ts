/** `herald lb unload`: takes everything of ours out of the kernel, while no agent runs. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { lockPath } from '../sys/flock.ts'
import { listLinks } from '../sys/links.ts'
import { detachAllXdp } from './acceleration.ts'
import { detachFilters, detachLinks } from './attachment.ts'
import { Pins } from './pins.ts'
import { removeSockets } from './sockets.ts'
import { detachAllPods } from './pod-carriers.ts'

/**
 * Detaches from every interface, then removes every pin: with the last reference the kernel frees programs and maps.
 * Answers one line per thing removed, none when there was nothing. Throws ERR_BPFFS, ERR_SYSCALL, and
 * ERR_ALREADY_RUNNING while an agent runs.
 */
export function unloadDatapath(bpffs: string): readonly string[] {
  const pins = new Pins(bpffs)
  const base = join(bpffs, 'herald')
  // An agent would go on announcing what nobody serves any more.
  const release = existsSync(base) ? lockPath(base, 'directory') : () => {}
  try {
    const others = existsSync(base) ? pins.others() : []
    const linked = [...new Set(pins.links().map(({ ifindex }) => ifindex))]
    return [
      ...removeSockets(bpffs),
      ...(['tcx', 'clsact'] as const).flatMap((mode) =>
        detachAllPods(pins, mode).map((ifindex) => `program for pods of interface ${ifindex}`),
      ),
      ...[pins, ...others].flatMap(detachAllXdp),
      ...linked.flatMap((ifindex) => detachLinks(pins, ifindex)),
      ...listLinks().flatMap(({ index }) => detachFilters(index)),
      ...pins.removeAll(),
    ]
  } finally {
    release()
  }
}
