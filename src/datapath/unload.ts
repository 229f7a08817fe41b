/** `herald lb unload`: takes everything of ours out of the kernel. Works without a running agent, and under one. */
import { listLinks } from '../sys/links.ts'
import { detachFilters, detachLinks } from './attachment.ts'
import { Pins } from './pins.ts'

/**
 * Detaches from every interface, then removes every pin: with the last reference the kernel frees programs and maps.
 * Answers one line per thing removed, none when there was nothing. Throws ERR_BPFFS or ERR_SYSCALL.
 */
export function unloadDatapath(bpffs: string): readonly string[] {
  const pins = new Pins(bpffs)
  const linked = [...new Set(pins.links().map(({ ifindex }) => ifindex))]
  return [
    ...linked.flatMap((ifindex) => detachLinks(pins, ifindex)),
    ...listLinks().flatMap(({ index }) => detachFilters(index)),
    ...pins.removeAll(),
  ]
}
