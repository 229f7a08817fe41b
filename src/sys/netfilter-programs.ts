/** Programs that netfilter calls as it calls chains (BPF_PROG_TYPE_NETFILTER, Linux 6.4). */
import { closeFd } from './bpf.ts'
import { errnoNumber } from './libc.ts'
import { checkedBpf, libbpfInt } from './libbpf.ts'

// linux/bpf.h
const BPF_LINK_TYPE_NETFILTER = 10
/** struct bpf_link_info: type, id, program; then the family, the hook. */
const info = { bytes: 48, program: 8, hook: 20 } as const
/** NF_INET_PRE_ROUTING, _FORWARD, _POST_ROUTING. */
const passed: ReadonlySet<number> = new Set([0, 2, 4])

/**
 * The ids of those that meet packets on their way through, in whatever network: the kernel does not say in which. None
 * where the links of a node may not be listed (CAP_SYS_ADMIN), or the kernel has no such list. Throws ERR_SYSCALL.
 */
export function netfilterPrograms(): readonly number[] {
  const found: number[] = []
  const next = new Uint32Array(1)
  for (let last = 0; libbpfInt('bpf_link_get_next_id', last, next) === 0; last = next[0] ?? 0) {
    const fd = libbpfInt('bpf_link_get_fd_by_id', next[0])
    // It has ended meanwhile.
    if (fd === -errnoNumber('ENOENT')) continue
    checkedBpf('bpf_link_get_fd_by_id', fd)
    try {
      const view = new DataView(new ArrayBuffer(info.bytes))
      const octets = new Uint8Array(view.buffer)
      checkedBpf('bpf_obj_get_info_by_fd', libbpfInt('bpf_obj_get_info_by_fd', fd, octets, Uint32Array.of(info.bytes)))
      if (view.getUint32(0, true) === BPF_LINK_TYPE_NETFILTER && passed.has(view.getUint32(info.hook, true)))
        found.push(view.getUint32(info.program, true))
    } finally {
      closeFd(fd)
    }
  }
  return found
}
