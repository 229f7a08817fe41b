/**
 * What plugins of CNI, kube-proxy and others of a node have in tables of netfilter that translates addresses, written
 * by what their documentation says of it, for nodes with pods of 10.1.0.0/24 and fd00:10:1::/112.
 */
import { execFileSync } from 'node:child_process'

export type Maker = 'iptables-nft' | 'ip6tables-nft' | 'iptables-legacy' | 'ip6tables-legacy'
export const makers: readonly Maker[] = ['iptables-nft', 'ip6tables-nft', 'iptables-legacy', 'ip6tables-legacy']

const places = {
  ipv4: {
    ...{
      POD: '10.1.0.2/32',
      PODS: '10.1.0.0/24',
      CLUSTER: '10.1.0.0/16',
      PRIVATE: '10.0.0.0/8',
      GROUPS: '224.0.0.0/4',
    },
    ...{ METADATA: '169.254.169.254/32', SERVICE: '10.96.0.10/32', SITE: '203.0.113.0/24', LINK: '169.254.7.127' },
  },
  ipv6: {
    ...{ POD: 'fd00:10:1::2/128', PODS: 'fd00:10:1::/112', CLUSTER: 'fd00:10:1::/48', PRIVATE: 'fd00:10::/32' },
    ...{ METADATA: 'fe80::a9fe:a9fe/128', SERVICE: 'fd00:10:96::10/128', SITE: '2001:db8:113::/64', LINK: 'fd16::7f' },
    GROUPS: 'ff00::/8',
  },
} as const

/** Which do nothing to a flow from a client behind an uplink to a pod; lines of table nat. */
export const harmless: Readonly<Record<string, string>> = {
  'kube-proxy': `
    :KUBE-SERVICES :KUBE-POSTROUTING :KUBE-MARK-MASQ :KUBE-NODEPORTS :KUBE-SVC-ABC :KUBE-SEP-ABC
    -A PREROUTING -j KUBE-SERVICES
    -A POSTROUTING -j KUBE-POSTROUTING
    -A KUBE-SERVICES -d SERVICE -p tcp -m tcp --dport 80 -j KUBE-SVC-ABC
    -A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
    -A KUBE-SVC-ABC ! -s CLUSTER -d SERVICE -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ
    -A KUBE-SVC-ABC -j KUBE-SEP-ABC
    -A KUBE-SEP-ABC -p tcp -m tcp -j DNAT --to-destination POD-ADDRESS
    -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
    -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
    -A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
    -A KUBE-POSTROUTING -j MASQUERADE --random-fully`,
  flannel: `
    :FLANNEL-POSTRTG
    -A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
    -A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -j RETURN
    -A FLANNEL-POSTRTG -s PODS -d CLUSTER -j RETURN
    -A FLANNEL-POSTRTG -s CLUSTER -d PODS -j RETURN
    -A FLANNEL-POSTRTG ! -s CLUSTER -d PODS -j RETURN
    -A FLANNEL-POSTRTG -s CLUSTER ! -d GROUPS -j MASQUERADE --random-fully
    -A FLANNEL-POSTRTG ! -s CLUSTER -d CLUSTER -j MASQUERADE --random-fully`,
  'kindnet, ip-masq-agent': `
    :KIND-MASQ-AGENT :IP-MASQ-AGENT
    -A POSTROUTING -m addrtype ! --dst-type LOCAL -j KIND-MASQ-AGENT
    -A POSTROUTING -m addrtype ! --dst-type LOCAL -j IP-MASQ-AGENT
    -A KIND-MASQ-AGENT -d CLUSTER -j RETURN
    -A KIND-MASQ-AGENT -j MASQUERADE
    -A IP-MASQ-AGENT -d METADATA -j RETURN
    -A IP-MASQ-AGENT -d PRIVATE -j RETURN
    -A IP-MASQ-AGENT -j MASQUERADE --random-fully`,
  'bridge and ptp with ipMasq': `
    :CNI-0123456789abcdef01234567
    -A POSTROUTING -s POD -m comment --comment "name: cbr0" -j CNI-0123456789abcdef01234567
    -A CNI-0123456789abcdef01234567 -d PODS -j ACCEPT
    -A CNI-0123456789abcdef01234567 ! -d GROUPS -j MASQUERADE`,
  portmap: `
    :CNI-HOSTPORT-DNAT :CNI-HOSTPORT-SETMARK :CNI-HOSTPORT-MASQ :CNI-DN-0123456789abcdef01234
    -A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
    -A POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ
    -A CNI-HOSTPORT-DNAT -p tcp -m multiport --dports 8081 -j CNI-DN-0123456789abcdef01234
    -A CNI-DN-0123456789abcdef01234 -s PODS -p tcp -m tcp --dport 8081 -j CNI-HOSTPORT-SETMARK
    -A CNI-DN-0123456789abcdef01234 -p tcp -m tcp --dport 8081 -j DNAT --to-destination POD-ADDRESS
    -A CNI-HOSTPORT-SETMARK -j MARK --set-xmark 0x2000/0x2000
    -A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE`,
  'Podman, CRI-O': `
    :NETAVARK-HOSTPORT-DNAT :CRIO-HOSTPORTS
    -A PREROUTING -m addrtype --dst-type LOCAL -j NETAVARK-HOSTPORT-DNAT
    -A PREROUTING -m addrtype --dst-type LOCAL -j CRIO-HOSTPORTS
    -A NETAVARK-HOSTPORT-DNAT -p tcp -m tcp --dport 8082 -j DNAT --to-destination POD-ADDRESS
    -A CRIO-HOSTPORTS -p tcp -m tcp --dport 8083 -j DNAT --to-destination POD-ADDRESS`,
  'Istio ambient': `
    :ISTIO_POSTRT
    -A POSTROUTING -j ISTIO_POSTRT
    -A ISTIO_POSTRT -p tcp -m owner --socket-exists -j SNAT --to-source LINK`,
  kube2iam: `
    -A PREROUTING -d METADATA -i cni+ -p tcp -m tcp --dport 80 -j DNAT --to-destination POD-ADDRESS`,
  'of an operator: what pods begin': `
    -A POSTROUTING -s CLUSTER ! -d CLUSTER -j MASQUERADE
    -A POSTROUTING -o up0 -j MASQUERADE`,
  'of an operator: all but what goes to pods': `
    :site
    -A POSTROUTING -j site
    -A site -d CLUSTER -g accepted
    -A site -j MASQUERADE
    :accepted
    -A accepted -s PRIVATE -j ACCEPT
    -A accepted -j RETURN`,
}

/** Which may: `isSure` where they do it to every flow. */
export const inTheWay: Readonly<
  Record<string, { readonly rules: string; readonly said: RegExp; readonly isSure?: true }>
> = {
  'a transparent proxy of the node': {
    rules: '-A PREROUTING -p tcp -m tcp --dport 8080 -j REDIRECT --to-ports 3128',
    said: /^chain PREROUTING of table .*nat.* may meet flows with the (target REDIRECT|statement redir)$/,
    isSure: true,
  },
  'a transparent proxy of what pods begin': {
    rules: '-A PREROUTING -i cni0 -p tcp -m tcp --dport 443 -j REDIRECT --to-ports 3129',
    said: /chain PREROUTING .* (REDIRECT|redir)/,
  },
  'a pod in the place of another one': {
    rules: '-A PREROUTING -d PODS -p tcp -j DNAT --to-destination POD-ADDRESS',
    said: /chain PREROUTING .* DNAT/,
  },
  'everything is masqueraded': {
    rules: '-A POSTROUTING -j MASQUERADE',
    said: /chain POSTROUTING .* (MASQUERADE|masq)/,
    isSure: true,
  },
  'what goes to pods is masqueraded': {
    rules: ':site\n-A POSTROUTING -j site\n-A site -d PODS -j MASQUERADE',
    said: /chain site .* (MASQUERADE|masq)/,
    isSure: true,
  },
  'what is from a site is masqueraded': {
    rules: '-A POSTROUTING -s SITE ! -d GROUPS -j MASQUERADE',
    said: /chain POSTROUTING .* (MASQUERADE|masq)/,
  },
  'what goes by an interface to pods is masqueraded': {
    rules: '-A POSTROUTING -o cni0 -j MASQUERADE\n-A POSTROUTING ! -o up0 -j MASQUERADE',
    said: /chain POSTROUTING .* (MASQUERADE|masq)/,
    isSure: true,
  },
  'containers of Docker, which may be clients': {
    rules: `:DOCKER\n-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
      -A DOCKER -i docker0 -j RETURN\n-A POSTROUTING -s SITE ! -o docker0 -j MASQUERADE`,
    said: /chain POSTROUTING .* (MASQUERADE|masq)/,
  },
  'what is marked, where a rule before it marks': {
    rules:
      '-A PREROUTING -m state --state NEW -j MARK --set-mark 0x10\n-A POSTROUTING -m mark --mark 0x10 -j MASQUERADE',
    said: /chain PREROUTING .* MARK/,
    isSure: true,
  },
  'flannel on a node whose pods are of another range': {
    rules: ':FLANNEL-POSTRTG\n-A POSTROUTING -j FLANNEL-POSTRTG\n-A FLANNEL-POSTRTG ! -s SITE -d CLUSTER -j MASQUERADE',
    said: /chain FLANNEL-POSTRTG .* (MASQUERADE|masq)/,
    isSure: true,
  },
  'what one chain gives back, and not the one that was gone to': {
    rules: `:first\n:second\n-A POSTROUTING -j first\n-A POSTROUTING -j MASQUERADE
      -A first -d CLUSTER -g second\n-A first -j ACCEPT\n-A second -d SITE -j ACCEPT`,
    said: /chain POSTROUTING .* (MASQUERADE|masq)/,
    isSure: true,
  },
  'what is counted': { rules: '-A PREROUTING -p tcp', said: /chain PREROUTING .* no verdict, which counts packets/ },
}

/** Lines of iptables-restore for table nat of a maker's family. */
export function natTable(maker: Maker, rules: string): string {
  const names = places[maker.startsWith('ip6') ? 'ipv6' : 'ipv4']
  const lines = rules
    .replace(/:(\S+)/g, (word, chain: string, at: number) =>
      /[\s]|^$/.test(rules[at - 1] ?? ' ') ? `\n:${chain} - [0:0]\n` : word,
    )
    .replace(/\bPOD-ADDRESS\b/g, names.POD.split('/')[0] ?? '')
    .replace(/\b[A-Z]+\b/g, (word) => (word in names ? names[word as keyof typeof names] : word))
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
  const isChain = (line: string): boolean => line.startsWith(':')
  return `${['*nat', ...lines.filter(isChain), ...lines.filter((line) => !isChain(line)), 'COMMIT'].join('\n')}\n`
}

/** In the network of who asks; the table had nothing, and has nothing once the answer was called. */
export function layNatTable(maker: Maker, rules: string): () => void {
  const restore = maker.replace(/^(ip6?tables)-(nft|legacy)$/, '$1-$2-restore')
  execFileSync(restore, [], { input: natTable(maker, rules), stdio: ['pipe', 'pipe', 'pipe'] })
  return () => execFileSync(restore, [], { input: '*nat\nCOMMIT\n', stdio: ['pipe', 'pipe', 'pipe'] })
}
