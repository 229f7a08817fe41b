/** What kube-proxy makes in nftables, as far as it is known by it; without the program nft. */
import { closeCall, checked } from '../../src/sys/libc.ts'
import { AF_INET, AF_INET6, AF_NETLINK, openSocket, recvfromCall, SOCK_RAW, sendCall } from '../../src/sys/socket.ts'

// linux/netfilter/nfnetlink.h, nf_tables.h
const NETLINK_NETFILTER = 12
const [NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END] = [0x10, 0x11]
const [NFT_MSG_NEWTABLE, NFT_MSG_NEWCHAIN] = [0x0a00, 0x0a03]
const NFNL_SUBSYS_NFTABLES = 10
/** NLM_F_REQUEST | NLM_F_CREATE, and NLM_F_ACK. */
const [request, acknowledged] = [0x401, 4]

function message(
  type: number,
  flags: number,
  family: number,
  resource: number,
  texts: readonly [number, string][],
): Buffer {
  const attributes = texts.map(([name, text]) => {
    const octets = Buffer.alloc(4 + ((text.length + 4) & ~3))
    octets.writeUInt16LE(5 + text.length, 0)
    octets.writeUInt16LE(name, 2)
    octets.write(text, 4)
    return octets
  })
  const body = Buffer.concat([Buffer.of(family, 0, 0, resource), ...attributes])
  const header = Buffer.alloc(16)
  header.writeUInt32LE(16 + body.length, 0)
  header.writeUInt16LE(type, 4)
  header.writeUInt16LE(flags, 6)
  return Buffer.concat([header, body])
}

/** The table `ip6 kube-proxy`, and the chain `KUBE-SERVICES` in `ip nat`, in the network of who asks. */
export function addNftables(): void {
  const batch = Buffer.concat([
    message(NFNL_MSG_BATCH_BEGIN, 1, 0, NFNL_SUBSYS_NFTABLES, []),
    message(NFT_MSG_NEWTABLE, request, AF_INET6, 0, [[1, 'kube-proxy']]),
    message(NFT_MSG_NEWTABLE, request, AF_INET, 0, [[1, 'nat']]),
    message(NFT_MSG_NEWCHAIN, request | acknowledged, AF_INET, 0, [
      [1, 'nat'],
      [3, 'KUBE-SERVICES'],
    ]),
    message(NFNL_MSG_BATCH_END, 1, 0, NFNL_SUBSYS_NFTABLES, []),
  ])
  const fd = openSocket('netlink socket', AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER)
  try {
    checked('send a batch', Number(sendCall(fd, batch, batch.length, 0)))
    const answer = Buffer.alloc(4096)
    checked('hear of a batch', Number(recvfromCall(fd, answer, answer.length, 0, null, null)))
    const errno = -answer.readInt32LE(16)
    if (errno !== 0) throw new Error(`nftables: errno ${errno}`)
  } finally {
    closeCall(fd)
  }
}
