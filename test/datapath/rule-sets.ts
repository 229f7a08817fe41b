/**
 * What makers of rules have on a node, whole, as nft and iptables-save list it, written by what they make of their
 * configuration; for nodes with pods of 10.1.0.0/24 and fd00:10:1::/64 behind cni0, and one uplink, up0.
 */
import type { Rack } from './rack.ts'

/** What becomes of a connection of a client to a Service, through the stack. */
export type Outcome = 'served' | 'masqueraded' | 'denied'

export interface RuleSet {
  readonly nft?: string
  /** Lines for iptables-restore, of the family that is asked for. */
  readonly iptables?: string
  readonly outcome: Outcome
  /** Why `auto` takes the stack; undefined: flows go past them. */
  readonly said?: RegExp
}

const places = {
  ipv4: {
    ...{ IP: 'ip', ADDR: 'ipv4_addr', PODS: '10.1.0.0/24', CLUSTER: '10.1.0.0/16', POD: '10.1.0.5', POD2: '10.1.0.6' },
    ...{ SERVICE: '10.96.0.10', EXTERNAL: '203.0.113.7', CLIENT: '198.51.100.7', CLIENTS: '198.51.100.0/24' },
    ...{
      NODE: '198.51.100.1',
      DOCKER_NET: '172.17.0.0/16',
      CONTAINER: '172.17.0.2',
      ANY: '0.0.0.0/0',
      OTHER: '10.2.0.0/16',
    },
  },
  ipv6: {
    ...{ IP: 'ip6', ADDR: 'ipv6_addr', PODS: 'fd00:10:1::/64', CLUSTER: 'fd00:10:1::/48' },
    ...{ POD: 'fd00:10:1::5', POD2: 'fd00:10:1::6', SERVICE: 'fd00:10:96::10', EXTERNAL: '2001:db8:113::7' },
    ...{ CLIENT: '2001:db8:51:100::7', CLIENTS: '2001:db8:51:100::/64', NODE: '2001:db8:51:100::1' },
    ...{ DOCKER_NET: 'fd00:172:17::/64', CONTAINER: 'fd00:172:17::2', ANY: '::/0', OTHER: 'fd00:10:2::/48' },
  },
} as const

/** kube-proxy 1.33 in mode nftables, with a Service, an external IP, a node port and one Service without endpoints. */
const kubeProxy = `
table IP kube-proxy {
  set cluster-ips {
    type ADDR
    elements = { SERVICE }
  }
  set nodeport-ips {
    type ADDR
    elements = { NODE }
  }
  map no-endpoint-services {
    type ADDR . inet_proto . inet_service : verdict
    elements = { EXTERNAL . tcp . 81 : goto reject-chain }
  }
  map no-endpoint-nodeports {
    type inet_proto . inet_service : verdict
  }
  map firewall-ips {
    type ADDR . inet_proto . inet_service : verdict
  }
  map service-ips {
    type ADDR . inet_proto . inet_service : verdict
    elements = { SERVICE . tcp . 80 : goto service-web, EXTERNAL . tcp . 80 : goto external-web }
  }
  map service-nodeports {
    type inet_proto . inet_service : verdict
    elements = { tcp . 30080 : goto external-web }
  }
  chain filter-prerouting {
    type filter hook prerouting priority dstnat - 10; policy accept;
    ct state new jump firewall-check
  }
  chain filter-forward {
    type filter hook forward priority dstnat - 10; policy accept;
    ct state new jump service-endpoints-check
    ct state new jump cluster-ips-check
  }
  chain nat-prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    jump services
  }
  chain nat-postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    jump masquerading
  }
  chain firewall-check {
    IP daddr . meta l4proto . th dport vmap @firewall-ips
  }
  chain service-endpoints-check {
    IP daddr . meta l4proto . th dport vmap @no-endpoint-services
    fib daddr type local IP daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports
  }
  chain cluster-ips-check {
    IP daddr @cluster-ips reject
  }
  chain reject-chain {
    reject
  }
  chain services {
    IP daddr . meta l4proto . th dport vmap @service-ips
    IP daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
  }
  chain masquerading {
    meta mark & 0x4000 == 0 return
    meta mark set 0
    masquerade
  }
  chain mark-for-masquerade {
    meta mark set 0x4000
  }
  chain service-web {
    IP daddr SERVICE tcp dport 80 IP saddr != CLUSTER jump mark-for-masquerade
  }
  chain external-web {
    jump mark-for-masquerade
  }
}`

/** kindnetd: what it masquerades. */
const kindnet = (nets: string): string => `
table inet kindnet-ipmasq {
  set noMasqIPv4 {
    type ipv4_addr
    flags interval
    elements = { ${nets} }
  }
  set noMasqIPv6 {
    type ipv6_addr
    flags interval
    elements = { ${nets} }
  }
  chain postrouting {
    type nat hook postrouting priority srcnat - 5; policy accept;
    ct state established,related accept
    fib daddr type local accept
    ip daddr @noMasqIPv4 accept
    ip6 daddr @noMasqIPv6 accept
    masquerade
  }
}`

/** kindnetd and kube-network-policies: pods with a policy are asked for in user space. */
const policies = (pods: string): string => `
table inet kindnet-network-policies {
  set podips-v4 {
    type ipv4_addr
    elements = { ${pods} }
  }
  set podips-v6 {
    type ipv6_addr
    elements = { ${pods} }
  }
  chain postrouting {
    type filter hook postrouting priority srcnat - 5; policy accept;
    udp dport 53 accept
    meta l4proto ipv6-icmp accept
    ct state established,related accept
    ip saddr @podips-v4 queue
    ip daddr @podips-v4 queue
    ip6 saddr @podips-v6 queue
    ip6 daddr @podips-v6 queue
  }
}`

/** firewalld 2: the zones of the interfaces named, of sources, and what the zones do to what is handed on. */
const firewalld = (zones: string): string => `
table inet firewalld {
  chain mangle_PREROUTING {
    type filter hook prerouting priority mangle + 10; policy accept;
    jump mangle_PREROUTING_ZONES
  }
  chain mangle_PREROUTING_ZONES {
    iifname "up0" goto mangle_PRE_public
    goto mangle_PRE_public
  }
  chain mangle_PRE_public {
    return
  }
  chain nat_POSTROUTING {
    type nat hook postrouting priority srcnat + 10; policy accept;
    oifname "up0" goto nat_POST_public
    goto nat_POST_public
  }
  chain nat_POST_public {
    return
  }
  chain filter_INPUT {
    type filter hook input priority filter + 10; policy accept;
    ct state established,related accept
    ct status dnat accept
    iifname "lo" accept
    ct state invalid drop
  }
  chain filter_FORWARD {
    type filter hook forward priority filter + 10; policy accept;
    ct state established,related accept
    ct status dnat accept
    iifname "lo" accept
    ct state invalid drop
    ip6 daddr { ::/96, ::ffff:0.0.0.0/96, 2002::/24, 2002:a00::/24, 2002:7f00::/24, 2002:c0a8::/32 } reject
    jump filter_FORWARD_ZONES
    reject
  }
  chain filter_FORWARD_ZONES {
    ${zones}
    goto filter_FWD_public
  }
  chain filter_FWD_public {
    meta l4proto { icmp, ipv6-icmp } accept
    reject
  }
  chain filter_FWD_trusted {
    accept
  }
}`

/** Docker 27: what it has for its first bridge, with one container. */
const docker = (more: string): string => `
*raw
COMMIT
*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s DOCKER_NET ! -o docker0 -j MASQUERADE
-A POSTROUTING -s CONTAINER -d CONTAINER -p tcp -m tcp --dport 80 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8088 -j DNAT --to-destination CONTAINER
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
${more}
-A DOCKER -d CONTAINER ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT`

const flannelForward = `-N FLANNEL-FWD
-A FORWARD -j FLANNEL-FWD
-A FLANNEL-FWD -s CLUSTER -j ACCEPT
-A FLANNEL-FWD -d CLUSTER -j ACCEPT`

/** ufw 0.36: what is handed on, with what the operator routes. */
const ufw = (routed: string): string => `
*filter
:FORWARD DROP [0:0]
:ufw-before-logging-forward - [0:0]
:ufw-before-forward - [0:0]
:ufw-after-forward - [0:0]
:ufw-reject-forward - [0:0]
:ufw-user-forward - [0:0]
:ufw-user-limit - [0:0]
-A FORWARD -j ufw-before-logging-forward
-A FORWARD -j ufw-before-forward
-A FORWARD -j ufw-after-forward
-A FORWARD -j ufw-reject-forward
-A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-forward -p icmp -m icmp --icmp-type 3 -j ACCEPT
-A ufw-before-forward -j ufw-user-forward
${routed}
-A ufw-user-limit -j REJECT
COMMIT`

/** Calico 3.29 with iptables: what of its chains the kernel calls first. */
const calico = `
*filter
:FORWARD ACCEPT [0:0]
:cali-FORWARD - [0:0]
:cali-from-wl-dispatch - [0:0]
:cali-to-wl-dispatch - [0:0]
:cali-to-hep-forward - [0:0]
-A FORWARD -m comment --comment "cali:wUHhoiAYhphO9Mso" -j cali-FORWARD
-A FORWARD -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-FORWARD -j MARK --set-xmark 0x0/0xe0000
-A cali-FORWARD -i cali+ -j cali-from-wl-dispatch
-A cali-FORWARD -o cali+ -j cali-to-wl-dispatch
-A cali-FORWARD -j cali-to-hep-forward
-A cali-from-wl-dispatch -j DROP
-A cali-to-wl-dispatch -j DROP
COMMIT`

const guarded = (rule: string, more = ''): string => `
table inet site {
  ${more}
  chain forward {
    type filter hook forward priority filter; policy accept;
    ${rule}
  }
}`
const closed = (place: string): string => `map closed {
    type ADDR . inet_proto . inet_service : verdict
    elements = { ${place} . tcp . 8080 : drop, EXTERNAL . tcp . 80 : goto other }
  }
  chain other {
    drop
  }`
const blocked = (flags: string, elements: string): string => `set blocked {
    type ADDR
    flags ${flags}
    elements = { ${elements} }
  }`

export const ruleSets: Readonly<Record<string, RuleSet>> = {
  'kube-proxy in mode nftables': { nft: kubeProxy, outcome: 'served' },
  'kindnet on a node of the cluster': { nft: kindnet('CLUSTER'), outcome: 'served' },
  'kindnet that does not know these pods': {
    nft: kindnet('OTHER'),
    outcome: 'masqueraded',
    said: /^chain postrouting of table inet kindnet-ipmasq \(nftables\) may meet flows with the statement masq$/,
  },
  'kindnet with policies for other pods': { nft: policies('OTHER_POD'), outcome: 'served' },
  'kindnet with policies for a pod, and nobody who lets it through': {
    nft: policies('POD, POD2'),
    outcome: 'denied',
    said: /^chain postrouting of table inet kindnet-network-policies \(nftables\) has a rule with the verdict drop$/,
  },
  'firewalld in its default zone': {
    nft: firewalld(''),
    outcome: 'denied',
    said: /^chain filter_FWD_public of table inet firewalld \(nftables\) has a rule with the statement reject$/,
  },
  'firewalld that trusts the uplink': {
    nft: firewalld('iifname "up0" goto filter_FWD_trusted'),
    outcome: 'served',
  },
  'firewalld that trusts the pods, and no client': {
    nft: firewalld('IP saddr PODS goto filter_FWD_trusted\n    iifname "cni0" goto filter_FWD_trusted'),
    outcome: 'denied',
    said: /firewalld .* the statement reject$/,
  },
  'Docker beside a CNI that says nothing': {
    iptables: docker(''),
    outcome: 'denied',
    said: /^chain FORWARD of table .*filter.* drops what no rule accepts$/,
  },
  'Docker beside flannel': { iptables: docker(flannelForward), outcome: 'served' },
  'ufw as it comes': { iptables: ufw(''), outcome: 'denied', said: /^chain FORWARD of .* drops what no rule accepts$/ },
  'ufw that routes from the uplink to pods': {
    iptables: ufw('-A ufw-user-forward -i up0 -o cni0 -d PODS -j ACCEPT'),
    outcome: 'served',
  },
  'ufw that routes to other pods': {
    iptables: ufw('-A ufw-user-forward -i up0 -o cni0 -d OTHER -j ACCEPT'),
    outcome: 'denied',
    said: /drops what no rule accepts$/,
  },
  Calico: { iptables: calico, outcome: 'served', said: /^Calico enforces policies by netfilter \(cali-FORWARD\)$/ },
  'a set of clients that are kept out': {
    nft: guarded('IP saddr @blocked drop', blocked('interval', 'CLIENT')),
    outcome: 'denied',
    said: /^chain forward of table inet site \(nftables\) has a rule with the verdict drop$/,
  },
  'a map of verdicts about others': {
    nft: guarded('iifname "up0" IP daddr . meta l4proto . th dport vmap @closed', closed('OTHER_POD')),
    outcome: 'served',
  },
  'a map of verdicts about pods': {
    nft: guarded(
      'iifname "up0" IP daddr . meta l4proto . th dport vmap @closed',
      closed('POD . tcp . 8080 : drop, POD2'),
    ),
    outcome: 'denied',
    said: /^chain forward of table inet site \(nftables\) has a rule with the verdict drop$/,
  },
  'a set that packets fill': {
    nft: guarded('IP daddr @blocked drop', blocked('dynamic', 'OTHER_POD')),
    outcome: 'served',
    said: /has a rule with the verdict drop \(what the set blocked holds changes with packets or time\)$/,
  },
  'a set of pods of another node': {
    nft: guarded('IP saddr != ANY drop\n    iifname { "up0", "lo" } IP daddr { OTHER } drop'),
    outcome: 'served',
  },
  'what leaves by the interface of pods': {
    nft: `
table netdev site {
  chain out {
    type filter hook egress device "cni0" priority 0; policy drop;
  }
}`,
    outcome: 'denied',
    said: /^chain out of table netdev site \(nftables\) drops what no rule accepts$/,
  },
  'what comes in by the uplink': {
    nft: `
table netdev site {
  chain in {
    type filter hook ingress device "up0" priority 0; policy accept;
    meta l4proto tcp drop
  }
}`,
    outcome: 'denied',
    said: /^chain in of table netdev site \(nftables\) has a rule with the verdict drop$/,
  },
  'what goes to pods through the bridge': {
    nft: `
table bridge site {
  chain out {
    type filter hook postrouting priority 0; policy accept;
    meta l4proto tcp drop
  }
}`,
    outcome: 'denied',
  },
}

/** In place of all that was there. */
export function layRuleSet(rack: Rack, family: 'ipv4' | 'ipv6', { nft = '', iptables }: Partial<RuleSet>): void {
  const names: Readonly<Record<string, string>> = {
    ...places[family],
    OTHER_POD: family === 'ipv4' ? '10.1.0.99' : 'fd00:10:1::99',
  }
  const filled = (text: string): string => text.replace(/(?<![-:])\b[A-Z][A-Z_0-9]*\b/g, (word) => names[word] ?? word)
  const nftText = new URL('nft-text.ts', import.meta.url).pathname
  // Of a set for one family and one for the other each has its own.
  const ofFamily = (_: string, before: string, type: string, elements: string): string =>
    `${before}${elements.split(',').filter((each) => each.includes(':') === (type === 'ipv6_addr'))} }`
  const split = filled(nft).replace(/(type (ipv[46]_addr)\n(?: +flags .*\n)? +elements = \{)([^}]*)\}/g, ofFamily)
  rack.run('node', [process.execPath, nftText], split)
  if (iptables === undefined) return
  const restore = family === 'ipv4' ? 'iptables-nft-restore' : 'ip6tables-nft-restore'
  const icmp = family === 'ipv4' ? iptables : iptables.replace('-p icmp -m icmp --icmp-type 3', '-p ipv6-icmp')
  // Chains of one rule set stand where it has them.
  const lines = filled(icmp.replace(/^-N (\S+)$/gm, ''))
  const chains = [...icmp.matchAll(/^-N (\S+)$/gm)].map(([, chain]) => `:${chain} - [0:0]`)
  rack.run(
    'node',
    [restore],
    `${lines.replace(':FORWARD DROP [0:0]', [':FORWARD DROP [0:0]', ...chains].join('\n'))}\n`,
  )
}
