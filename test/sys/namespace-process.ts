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
  hasEthernetHeader,
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
steps['bound to none'] = [hop('192.0.2.77', 'gone0'), hop('2001:db8:f::1', 'gone0')]
ip('tuntap add dev tun0 mode tun')
ip('address add 10.9.0.1 peer 10.9.0.2 dev tun0')
ip('-6 address add 2001:db8:9::1/64 dev tun0 nodad')
ip('link set tun0 up')
ip('-6 route add 2001:db8:99::/48 via 2001:db8:9::2')
steps['not asked'] = [hop('10.9.0.2'), hop('2001:db8:99::1'), hop('192.0.2.1'), hop('127.0.0.1'), hop('::1')]
steps['Ethernet'] = ['lan0', 'lo', 'tun0'].map((name) => hasEthernetHeader(ifnameToIndex(name)))
steps['no Ethernet'] = thrown(() => hasEthernetHeader(0x7fff_fff0))
ip('link delete tun0')
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

tc('qdisc add dev lan0 clsact')
const asFilter = (priority: number, direction: string): void =>
  void execFileSync(
    'tc',
    [...`filter add dev lan0 ${direction} prio ${priority} protocol ip bpf bytecode`.split(' '), '1,6 0 0 0'],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  )
asFilter(9, 'ingress')
asFilter(7, 'ingress')
asFilter(0xffff, 'egress')
/** Of handle 0 is what holds the others. */
const filters = (direction: 'ingress' | 'egress'): readonly unknown[] =>
  listFilters(lan0, direction)
    .filter(({ handle }) => handle !== 0)
    .map(({ priority, kind, handle }) => [priority, kind, handle])
steps['filters'] = [filters('ingress'), filters('egress'), listFilters(ifnameToIndex('lan1'), 'ingress')]
tc('qdisc delete dev lan0 clsact')

/** Many commands of iproute2 in one process; the loop of this one stands still meanwhile. */
const batch = (lines: readonly string[]): void =>
  void execFileSync('ip', ['-batch', '-'], { input: `${lines.join('\n')}\n`, stdio: ['pipe', 'ignore', 'inherit'] })
const told: string[] = []
const endTold = subscribe(0x11, {
  events: (messages) => told.push(...messages.map(({ type }) => `message ${type}`)),
  lost: (errno) => told.push(errno),
})
batch(Array.from({ length: 4_000 }, (_, i) => `address add 10.200.${i >> 8}.${i & 255}/32 dev far0`))
await waitFor('news that are lost', () => told.includes('ENOBUFS'))
told.splice(0)
ip('address add 10.201.0.1/32 dev far0')
await waitFor('news after that', () => told.includes('message 20'))
steps['a flood'] = [
  told.filter((each) => each.startsWith('E')),
  listAddresses().filter(({ device }) => device === 'far0').length,
]
endTold()

// A link with so many names that the news of it are longer than the memory for them.
const names = Array.from({ length: 494 }, (_, i) => `${i}`.padEnd(127, '-'))
const rows = Array.from({ length: 71 }, (_, i) => names.slice(7 * i, 7 * i + 7))
ip('link add veth6 type veth peer name veth7')
batch(rows.map((row) => `link property add dev veth6 ${row.map((name) => `altname ${name}`).join(' ')}`))
const long: string[] = []
const endLong = subscribe(1, {
  events: (messages) => long.push(...messages.map(({ type }) => `message ${type}`)),
  lost: (errno) => long.push(errno),
})
ip('link set dev veth6 mtu 1400')
await waitFor('news that are too long', () => long.length > 0)
ip('link delete veth7')
await waitFor('news of normal length', () => long.includes('message 17'))
steps['long news'] = [long[0], listLinks().some(({ name }) => name === 'veth6')]
endLong()

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
