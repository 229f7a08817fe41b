/** What kube-proxy makes in nftables, as far as it is known by it, and chains of others; without the program nft. */
import type { Netfilter } from '../../src/datapath/datapath.ts'
import { closeCall, checked } from '../../src/sys/libc.ts'
import { AF_INET, AF_INET6, AF_NETLINK, openSocket, recvfromCall, SOCK_RAW, sendCall } from '../../src/sys/socket.ts'

// linux/netfilter/nfnetlink.h, nf_tables.h
const NETLINK_NETFILTER = 12
const [NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END] = [0x10, 0x11]
const [NFT_MSG_NEWTABLE, NFT_MSG_DELTABLE, NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE] = [0x0a00, 0x0a02, 0x0a03, 0x0a06]
const NFNL_SUBSYS_NFTABLES = 10
/** NLM_F_REQUEST | NLM_F_CREATE, and NLM_F_ACK. */
export const [request, acknowledged] = [0x401, 4]
/** NLM_F_APPEND. */
export const atTheEnd = 0x800

/** A number as netfilter takes it. */
export function big(value: number): Buffer {
  const octets = Buffer.alloc(4)
  octets.writeInt32BE(value)
  return octets
}

/** Attributes in a row; a text ends with a zero. */
export function attributesOf(values: readonly (readonly [number, Uint8Array | string])[]): Buffer {
  return Buffer.concat(
    values.map(([name, given]) => {
      const value = typeof given === 'string' ? Buffer.from(`${given}\0`) : given
      const octets = Buffer.alloc(4 + ((value.length + 3) & ~3))
      octets.writeUInt16LE(4 + value.length, 0)
      octets.writeUInt16LE(name, 2)
      octets.set(value, 4)
      return octets
    }),
  )
}

export function message(
  type: number,
  flags: number,
  family: number,
  resource: number,
  values: readonly (readonly [number, Uint8Array | string])[],
): Buffer {
  const body = Buffer.concat([Buffer.of(family, 0, 0, resource), attributesOf(values)])
  const header = Buffer.alloc(16)
  header.writeUInt32LE(16 + body.length, 0)
  header.writeUInt16LE(type, 4)
  header.writeUInt16LE(flags, 6)
  return Buffer.concat([header, body])
}

/** A batch of changes; the last one is acknowledged. */
export function change(...messages: readonly Buffer[]): void {
  const batch = Buffer.concat([
    message(NFNL_MSG_BATCH_BEGIN, 1, 0, NFNL_SUBSYS_NFTABLES, []),
    ...messages,
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

export const familyNumbers = { inet: 1, ip: AF_INET, netdev: 5, bridge: 7, ip6: AF_INET6 } as const

export interface GivenChain {
  readonly family: keyof typeof familyNumbers
  readonly table: string
  readonly chain: string
  /** NF_INET_*, of `netdev` NF_NETDEV_INGRESS. */
  readonly hook: number
  /** Of `netdev` alone. */
  readonly device: string
}

/** A table with a chain that the kernel calls and that drops everything; the answer removes it. */
export function addBaseChain({ family, table, chain, hook, device }: GivenChain): () => void {
  const number = familyNumbers[family]
  const place = [[1, big(hook)], [2, big(0)], ...(family === 'netdev' ? [[3, device] as const] : [])] as const
  change(
    message(NFT_MSG_NEWTABLE, request, number, 0, [[1, table]]),
    message(NFT_MSG_NEWCHAIN, request | acknowledged, number, 0, [
      [1, table],
      [3, chain],
      [4, attributesOf(place)],
      [5, big(0)],
      [7, 'filter'],
    ]),
  )
  return () => change(message(NFT_MSG_DELTABLE, 1 | acknowledged, number, 0, [[1, table]]))
}

/** An expression of a rule, with its attributes, as the kernel lists it. */
export const expression = (name: string, ...data: readonly (readonly [number, Uint8Array | string])[]): Uint8Array =>
  attributesOf([
    [
      1,
      attributesOf([
        [1, name],
        [2, attributesOf(data)],
      ]),
    ],
  ])

export const verdict = (code: number, chain?: string): Uint8Array =>
  expression(
    'immediate',
    [1, big(0)],
    [2, attributesOf([[2, attributesOf([[1, big(code)], ...(chain === undefined ? [] : [[2, chain] as const])])]])],
  )

/** A table with a chain for translations at a hook, and these rules in it; the answer removes it. */
export function addTranslations(
  family: 'inet' | 'ip' | 'ip6',
  hook: number,
  rules: readonly (readonly Uint8Array[])[],
): () => void {
  const [number, table, chain] = [familyNumbers[family], 'site', 'translate']
  const chainAttributes = [
    [1, table],
    [3, chain],
    [
      4,
      attributesOf([
        [1, big(hook)],
        [2, big(hook === 0 ? -100 : 100)],
      ]),
    ],
    [5, big(1)],
    [7, 'nat'],
  ] as const
  change(
    message(NFT_MSG_NEWTABLE, request, number, 0, [[1, table]]),
    message(NFT_MSG_NEWCHAIN, request | (rules.length === 0 ? acknowledged : 0), number, 0, chainAttributes),
    ...rules.map((expressions, n) =>
      message(NFT_MSG_NEWRULE, request | atTheEnd | (n === rules.length - 1 ? acknowledged : 0), number, 0, [
        [1, table],
        [2, chain],
        [4, Buffer.concat(expressions)],
      ]),
    ),
  )
  return () => change(message(NFT_MSG_DELTABLE, 1 | acknowledged, number, 0, [[1, table]]))
}

/** The table `ip6 kube-proxy`, and the chain `KUBE-SERVICES` in `ip nat`, in the network of who asks. */
export function addNftables(): void {
  change(
    message(NFT_MSG_NEWTABLE, request, AF_INET6, 0, [[1, 'kube-proxy']]),
    message(NFT_MSG_NEWTABLE, request, AF_INET, 0, [[1, 'nat']]),
    message(NFT_MSG_NEWCHAIN, request | acknowledged, AF_INET, 0, [
      [1, 'nat'],
      [3, 'KUBE-SERVICES'],
    ]),
  )
}

/** A netfilter that has these policies and translates nothing. */
export const policiesOf = (policies: Netfilter['policies']): Netfilter => ({
  policies,
  rules: () => ({ policy: undefined, translation: undefined }),
})
