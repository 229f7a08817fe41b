/**
 * Runs in network and mount namespaces of its own: makes links, addresses and routes with iproute2, and prints what
 * src/sys says of them, by step.
 */
import { execFileSync } from 'node:child_process'
import { closeSync, mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { HeraldError } from '../../src/errors.ts'
import { formatAddress, parseAddress } from '../../src/ip/address.ts'
import { listAddresses } from '../../src/sys/addresses.ts'
import {
  hasIngressQdisc,
  ifnameToIndex,
  listFilters,
  listLinks,
  lookAtLinks,
  nextHopTo,
  watchLinks,
} from '../../src/sys/links.ts'
import { isBpffs, mountBpffs, unmountBpffs } from '../../src/sys/mount.ts'
import { defaultGateways } from '../../src/sys/gateways.ts'
import { errnoNumber } from '../../src/sys/libc.ts'
import { subscribe } from '../../src/sys/netlink.ts'
import { AF_NETLINK, openSocket, sendtoCall, SOCK_RAW } from '../../src/sys/socket.ts'
import { waitFor } from '../wait.ts'

const ip = (line: string): void => void execFileSync('ip', line.split(' '), { stdio: ['ignore', 'ignore', 'inherit'] })
const steps: Record<string, unknown> = {}
const address = (text: string): ReturnType<typeof parseAddress> & {} => parseAddress(text) ?? 0
const hop = (text: string, device?: string): unknown => {
  const found = nextHopTo(address(text), device)
  return found && { ...found, gateway: found.gateway === undefined ? undefined : formatAddress(found.gateway) }
}
/** The code and errno of what an action throws. */
const thrown = (action: () => unknown): unknown => {
  try {
    return action()
  } catch (error) {
    return error instanceof HeraldError ? [error.code, error.errno] : error
  }
}
const uplinks = (pattern?: RegExp, ...neighbors: readonly string[]): readonly string[] =>
  lookAtLinks(
    neighbors.map((each) => ({ address: each })),
    pattern,
  ).uplinks.map(({ name }) => name)

ip('link set lo up')
for (const number of [0, 1]) {
  ip(`link add lan${number} type veth peer name far${number}`)
  for (const name of [`lan${number}`, `far${number}`]) {
    ip(`link set ${name} addrgenmode none`)
    ip(`link set ${name} up`)
  }
}
ip('link add veth0 type veth peer name veth1')
steps['links'] = listLinks().map(({ name }) => name)
steps['indexes'] = listLinks().every(({ name, index }) => ifnameToIndex(name) === index)
steps['no such link'] = thrown(() => ifnameToIndex('nothing'))

ip('address add 192.0.2.1/24 dev lan0')
ip('address add 192.0.2.9/24 dev lan0')
ip('address add 198.51.100.1 peer 198.51.100.2 dev lan1')
ip('address add 2001:db8::1/64 dev lan0 nodad')
ip('address add 2001:db8::9/64 dev lan0 nodad preferred_lft 0')
ip('address add fe80::1/64 dev lan0 nodad')
steps['addresses'] = listAddresses()
  .filter(({ device }) => device !== 'lo')
  .map(({ device, address: own, isGlobal }) => `${device} ${formatAddress(own)}${isGlobal ? ' global' : ''}`)

steps['no route'] = [hop('203.0.113.1'), hop('2001:db8:f::1'), uplinks(undefined, '203.0.113.1')]
ip('route add default via 192.0.2.254')
ip('route add 203.0.113.0/24 dev lan1')
ip('route add unreachable 203.0.113.128/25')
ip('-6 route add 2001:db8:f::/48 via 2001:db8::fe')
steps['on the link'] = hop('192.0.2.77')
steps['by a gateway'] = [hop('8.8.8.8'), hop('2001:db8:f::1')]
steps['unreachable'] = hop('203.0.113.200')
steps['bound to an interface'] = hop('192.0.2.77', 'lan0')
ip('neighbor add 192.0.2.77 lladdr 02:00:00:00:00:01 dev lan0')
ip('-6 neighbor add 2001:db8::fe lladdr 02:00:00:00:00:02 dev lan0')
steps['answering'] = [hop('192.0.2.77'), hop('2001:db8:f::1')]
steps['uplinks'] = {
  byDefault: uplinks(),
  byRoute: uplinks(undefined, '203.0.113.1', '203.0.113.200'),
  byPattern: uplinks(/^veth/),
  none: uplinks(/^none$/, '203.0.113.1'),
}

const gateways = (): readonly string[] =>
  defaultGateways().map(({ address: router, device }) => `${formatAddress(router)} ${device}`)
steps['gateways'] = [gateways()]
ip('route add default via 198.51.100.2 dev lan1 metric 50')
ip('route change default via 192.0.2.254 dev lan0')
ip('route add default via 192.0.2.253 dev lan0 metric 10')
ip('-6 route add default via fe80::fe dev lan0 metric 7')
ip('-6 route add default via 2001:db8::fe metric 9')
steps['gateways'] = [...(steps['gateways'] as unknown[]), gateways()]
ip('route delete default via 192.0.2.254')
steps['gateways'] = [...(steps['gateways'] as unknown[]), gateways()]
ip('route add blackhole default metric 1')
ip('route add default via 192.0.2.111 dev lan0 table 77')
steps['gateways'] = [...(steps['gateways'] as unknown[]), gateways()]
ip('route delete blackhole default metric 1')

// Several next hops of one route: both of its interfaces are uplinks.
ip('route add 203.0.112.0/24 nexthop via 192.0.2.254 dev lan0 nexthop via 198.51.100.2 dev lan1')
ip('route delete default via 192.0.2.253')
ip('route delete default via 198.51.100.2')
ip('-6 route delete default metric 7')
ip('-6 route delete default metric 9')
ip('route add default nexthop via 192.0.2.254 dev lan0 nexthop via 198.51.100.2 dev lan1')
steps['several'] = [uplinks(), gateways(), uplinks(/^far/, '203.0.112.1')]
ip('route delete default')
ip('route add default via 192.0.2.254')

const lan0 = ifnameToIndex('lan0')
const tc = (line: string): void => void execFileSync('tc', line.split(' '), { stdio: ['ignore', 'ignore', 'inherit'] })
steps['qdiscs'] = ['clsact', 'ingress'].map((kind) => {
  const before = hasIngressQdisc(lan0)
  tc(`qdisc add dev lan0 ${kind}`)
  const found = [before, hasIngressQdisc(lan0), hasIngressQdisc(ifnameToIndex('lan1')), listFilters(lan0, 'ingress')]
  tc(`qdisc delete dev lan0 ${kind}`)
  return found
})

let news = 0
const end = watchLinks(() => news++)
const hears = async (what: string, change: () => void): Promise<boolean> => {
  const before = news
  change()
  return (await waitFor(what, () => news > before)) === true
}
steps['news'] = [
  await hears('a link', () => ip('link add veth2 type veth peer name veth3')),
  await hears('an address', () => ip('address add 192.0.2.33/32 dev lan1')),
  await hears('an IPv6 address', () => ip('address add 2001:db8:9::1/64 dev lan1 nodad')),
  await hears('a route', () => ip('route add 203.0.113.77/32 dev lan1')),
  await hears('an IPv6 route', () => ip('-6 route add 2001:db8:a::/48 dev lan1')),
  await hears('its end', () => ip('link delete veth2')),
]
end()

const heard: number[] = []
const hush = subscribe(1, {
  events: (messages) => heard.push(...messages.map(({ type }) => type)),
  lost: (errno) => heard.push(errnoNumber(errno)),
})
// struct sockaddr_nl of the kernel's own name for the subscription, and a message that pretends to be of the kernel.
const [port = 0] = readFileSync('/proc/net/netlink', 'utf8')
  .split('\n')
  .map((line) => line.trim().split(/\s+/))
  .filter(([, protocol, , groups]) => protocol === '0' && groups === '00000001')
  .map((words) => Number(words[2]))
const to = Buffer.alloc(12)
to.writeUInt16LE(AF_NETLINK, 0)
to.writeUInt32LE(port, 4)
const forged = Buffer.alloc(16)
forged.writeUInt32LE(16, 0)
forged.writeUInt16LE(0x7777, 4)
const forger = openSocket('forger', AF_NETLINK, SOCK_RAW)
const sent = Number(sendtoCall(forger, forged, forged.length, 0, to, to.length))
ip('link add veth4 type veth peer name veth5')
await waitFor('a link', () => heard.includes(16))
steps['forged'] = [sent, heard.includes(0x7777)]
hush()
closeSync(forger)

const folder = mkdtempSync(join(tmpdir(), 'herald-sys-'))
const bpffs = join(folder, 'below', 'bpf')
steps['bpffs'] = [
  isBpffs(bpffs),
  mountBpffs(bpffs),
  isBpffs(bpffs),
  mountBpffs(bpffs),
  unmountBpffs(bpffs),
  isBpffs(bpffs),
  thrown(() => unmountBpffs(bpffs)),
  thrown(() => mountBpffs('/dev/null/below')),
]
process.stdout.write(JSON.stringify(steps))
process.exit(0)
