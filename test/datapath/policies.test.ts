/** What netfilter does to packets for pods, as real tables of this kernel tell it, and as single rules are read. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { closeSync } from 'node:fs'
import { test } from 'node:test'
import type { Traffic } from '../../src/datapath/datapath.ts'
import { NetfilterLook } from '../../src/datapath/netfilter-look.ts'
import { lookThrough } from '../../src/datapath/policies.ts'
import type { BaseChain, Effect, Rule } from '../../src/sys/filter-rules.ts'
import { AF_INET, AF_INET6 } from '../../src/sys/socket.ts'
import { dropAtHook } from '../sys/raw-bpf.ts'
import { whyNoKernel } from './fixture.ts'
import { addBaseChain } from './netfilter.ts'
import { enterNetwork, ip } from './network.ts'
import { layNft } from './nft-text.ts'

const skip = whyNoKernel()
if (skip === undefined) enterNetwork()

const run = (program: string, ...args: readonly string[]): void =>
  void execFileSync(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
const traffic: Traffic = {
  pods: new Map(['10.1.0.2', 'fd00:10:1::2'].map((pod) => [pod, ['cni0']])),
  ...{ former: new Set(), shown: new Set(), uplinks: ['up0'], elsewhere: [] },
}
const foundBy = (look: NetfilterLook): string | undefined => look.policies() ?? look.rules(traffic).policy
const found = (): string | undefined => foundBy(new NetfilterLook())
const makers = ['iptables-nft', 'ip6tables-nft', 'iptables-legacy', 'ip6tables-legacy'] as const

/** What kube-proxy, flannel and the plugins of CNI have on a node on which nobody enforces anything. */
function layPlainNode(program: string): void {
  const lines = [
    '*raw',
    '-A PREROUTING -p udp -m udp --dport 53 -j CT --notrack',
    'COMMIT',
    '*mangle',
    ':KUBE-KUBELET-CANARY - [0:0]',
    ':KUBE-PROXY-CANARY - [0:0]',
    'COMMIT',
    '*filter',
    ...['KUBE-FORWARD', 'KUBE-SERVICES', 'KUBE-EXTERNAL-SERVICES', 'KUBE-PROXY-FIREWALL', 'KUBE-FIREWALL'].map(
      (chain) => `:${chain} - [0:0]`,
    ),
    ':FLANNEL-FWD - [0:0]',
    '-A INPUT -j KUBE-FIREWALL',
    '-A INPUT -p tcp -m tcp --dport 10250 -j DROP',
    ...['KUBE-PROXY-FIREWALL', 'KUBE-FORWARD', 'KUBE-SERVICES', 'KUBE-EXTERNAL-SERVICES', 'FLANNEL-FWD'].map(
      (chain) => `-A FORWARD -m comment --comment "${chain}" -j ${chain}`,
    ),
    '-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP',
    '-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
    '-A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP',
    '-A FLANNEL-FWD -m comment --comment "flanneld forward" -j ACCEPT',
    'COMMIT',
    '*nat',
    ':KUBE-POSTROUTING - [0:0]',
    '-A POSTROUTING -j KUBE-POSTROUTING',
    '-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN',
    '-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0',
    '-A KUBE-POSTROUTING -j MASQUERADE --random-fully',
    'COMMIT',
  ]
  const restore = program.replace(/^(ip6?tables)-(nft|legacy)$/, '$1-$2-restore')
  execFileSync(restore, [], { input: `${lines.join('\n')}\n`, stdio: ['pipe', 'pipe', 'pipe'] })
}

test('on a node with kube-proxy and a CNI that only accepts nothing is in the way', { skip }, () => {
  assert.equal(found(), undefined, 'an empty netfilter')
  for (const program of makers) {
    layPlainNode(program)
    assert.equal(found(), undefined, program)
    run(program, '-P', 'FORWARD', 'DROP')
    assert.equal(found(), undefined, `${program}: the CNI accepts all, as beside Docker`)
    run(program, '-D', 'FORWARD', '-m', 'comment', '--comment', 'FLANNEL-FWD', '-j', 'FLANNEL-FWD')
    assert.match(found() ?? '', /^chain FORWARD of table .*filter.* drops what no rule accepts$/, 'new flows')
    run(program, '-P', 'FORWARD', 'ACCEPT')
  }
})

test('who enforces policies is named, once the kernel comes to its chain', { skip }, () => {
  for (const [program, chain, who] of [
    ['iptables-nft', 'cali-FORWARD', 'Calico'],
    ['ip6tables-nft', 'KUBE-ROUTER-FORWARD', 'kube-router'],
    ['iptables-legacy', 'WEAVE-NPC-DEFAULT', 'Weave Net'],
    ['ip6tables-legacy', 'KUBE-POD-FW-ABCDEF0123456789', 'kube-router'],
  ] as const) {
    run(program, '-N', chain)
    assert.equal(found(), undefined, `nobody calls ${chain}`)
    run(program, '-I', 'FORWARD', '-j', chain)
    assert.equal(found(), `${who} enforces policies by netfilter (${chain})`)
    run(program, '-D', 'FORWARD', '-j', chain)
    run(program, '-X', chain)
    assert.equal(found(), undefined, `without ${chain}`)
  }
})

/** Where a firewall of the operator's own may stand, and what it may do. */
const firewalls = [
  [
    ['filter', 'FORWARD', '-s', 'SOURCE', '-j', 'DROP'],
    /chain FORWARD of table .*filter.* has a rule with the (verdict drop|target DROP)/,
  ],
  [['filter', 'FORWARD', '-j', 'REJECT'], /chain FORWARD .* the (target|statement) [rR][eE][jJ][eE][cC][tT]/],
  [['filter', 'FORWARD', '-j', 'NFQUEUE'], /chain FORWARD .* the (target NFQUEUE|verdict queue|statement queue)/],
  [
    ['filter', 'FORWARD', '-m', 'recent', '--name', 'seen', '--set', '-j', 'ACCEPT'],
    /has a rule with the match recent/,
  ],
  [['filter', 'FORWARD', '-p', 'tcp'], /chain FORWARD .* no verdict, which counts packets/],
  [['raw', 'PREROUTING', '-s', 'SOURCE', '-j', 'DROP'], /chain PREROUTING of table .*raw/],
  [['mangle', 'FORWARD', '-p', 'tcp', '--syn', '-j', 'TCPMSS', '--clamp-mss-to-pmtu'], /the (target|statement) TCPMSS/],
  [['mangle', 'POSTROUTING', '-j', 'MARK', '--set-mark', '1'], /chain POSTROUTING of table .*mangle.* MARK/],
] as const

for (const program of makers)
  test(`${program}: a firewall is found wherever it stands and whatever it is called, and what is for the node is none`, {
    skip,
  }, () => {
    const source = program.startsWith('ip6') ? 'fd00:66::/64' : '10.66.0.0/16'
    for (const [[table, chain, ...rule], said] of firewalls) {
      const words = rule.map((word) => (word === 'SOURCE' ? source : word))
      run(program, '-t', table, '-A', chain, ...words)
      assert.match(found() ?? '', said, `${program} ${table} ${words.join(' ')}`)
      run(program, '-t', table, '-D', chain, ...words)
      assert.equal(found(), undefined, `${program} without ${words.join(' ')}`)
    }
    for (const call of ['-j', '-g']) {
      for (const chain of ['site-a', 'site-b']) run(program, '-N', chain)
      run(program, '-A', 'FORWARD', '-j', 'site-a')
      run(program, '-A', 'site-a', call, 'site-b')
      run(program, '-A', 'site-b', '-s', source, '-j', 'ACCEPT')
      assert.equal(found(), undefined, 'it accepts')
      run(program, '-A', 'site-b', '-s', source, '-j', 'DROP')
      assert.equal(found(), undefined, 'what it drops it has accepted before')
      run(program, '-A', 'site-b', '-j', 'DROP')
      assert.match(found() ?? '', /chain site-b of table/)
      run(program, '-D', 'FORWARD', '-j', 'site-a')
      assert.equal(found(), undefined, 'nobody calls it')
      for (const chain of ['site-a', 'site-b']) run(program, '-F', chain)
      for (const chain of ['site-a', 'site-b']) run(program, '-X', chain)
    }
    run(program, '-P', 'FORWARD', 'DROP')
    assert.match(found() ?? '', /^chain FORWARD of table .*filter.* drops what no rule accepts$/)
    run(program, '-P', 'FORWARD', 'ACCEPT')
    for (const chain of ['INPUT', 'OUTPUT']) run(program, '-A', chain, '-s', source, '-j', 'DROP')
    assert.equal(found(), undefined)
    for (const chain of ['INPUT', 'OUTPUT']) run(program, '-D', chain, '-s', source, '-j', 'DROP')
  })

test('a change is known without reading the rules, and one of the same size in iptables by reading them', {
  skip,
}, () => {
  const look = new NetfilterLook()
  assert.equal(look.hasChanged(), true, 'never read')
  assert.equal(foundBy(look), undefined)
  assert.equal(look.hasChanged(), false)
  for (const program of ['iptables-nft', 'ip6tables-legacy']) {
    run(program, '-A', 'FORWARD', '-p', 'tcp', '-j', 'ACCEPT')
    assert.equal(look.hasChanged(), true, program)
    assert.equal(foundBy(look), undefined)
    assert.equal(look.hasChanged(), false)
  }
  run('ip6tables-legacy', '-R', 'FORWARD', '5', '-p', 'tcp', '-j', 'DROP')
  assert.match(foundBy(look) ?? '', /chain FORWARD of table filter \(ip6tables\) has a rule with the verdict drop/)
  run('iptables-nft', '-R', 'FORWARD', '5', '-p', 'tcp', '-j', 'DROP')
  assert.equal(look.hasChanged(), true)
  assert.match(foundBy(look) ?? '', /chain FORWARD of table ip filter \(nftables\) has a rule with the verdict drop/)
  run('iptables-nft', '-D', 'FORWARD', '5')
  run('ip6tables-legacy', '-D', 'FORWARD', '5')
  assert.equal(foundBy(look), undefined)
})

test('a chain of nftables is known by where the kernel calls it, also at ingress of an interface', { skip }, () => {
  ip('link', 'add', 'out0', 'type', 'veth', 'peer', 'name', 'far0')
  for (const [family, table, hook, said] of [
    ['inet', 'site', 2, /chain guard of table inet site \(nftables\) drops what no rule accepts/],
    ['ip6', 'site', 0, /chain guard of table ip6 site \(nftables\) drops/],
    ['netdev', 'site', 0, /chain guard of table netdev site \(nftables\) drops/],
    ['ip', 'calico', 4, /^Calico enforces policies by netfilter \(calico\)$/],
    ['netdev', 'site', 1, /chain guard of table netdev site \(nftables\) drops/],
    ['inet', 'input-only', 1, undefined],
    ['ip', 'kube-proxy', 2, undefined],
    ['bridge', 'macspoof', 0, undefined],
  ] as const) {
    const remove = addBaseChain({ family, table, chain: 'guard', hook, device: 'out0' })
    if (said === undefined) assert.equal(found(), undefined, `${family} ${table}`)
    else assert.match(found() ?? '', said)
    remove()
  }
  assert.equal(found(), undefined)
})

test('an interface is asked for where the kernel tells it, and what is invalid to conntrack is of no flow', {
  skip,
}, () => {
  const chain = (hook: string, ...rules: readonly string[]): string => `
table inet site {
  chain guard {
    type filter hook ${hook} priority mangle; policy accept;
    ${rules.join('\n    ')}
  }
}`
  for (const [hook, rules, said] of [
    ['forward', ['iifname "up0" accept', 'oifname "up0" accept', 'drop'], undefined],
    ['forward', ['iifname { "up0", "cni0" } accept', 'drop'], undefined],
    ['forward', ['iifname "up0" accept', 'drop'], /verdict drop/],
    ['forward', ['iifname "up*" ct state new accept', 'ct state established,related accept', 'drop'], undefined],
    ['forward', ['ct state established accept', 'iifname "up0" accept', 'drop'], /verdict drop/],
    ['forward', ['iifname "docker0" drop', 'oifname "docker0" drop', 'iifname != "docker0" accept', 'drop'], undefined],
    ['prerouting', ['iifname "up0" accept', 'oifname "up0" accept', 'drop'], /verdict drop/],
    ['prerouting', ['iifname "up0" accept', 'iifname "cni0" accept', 'drop'], undefined],
    ['forward', ['ct state invalid drop'], undefined],
    ['forward', ['ct state invalid,new drop'], /verdict drop/],
    ['forward', ['ct state untracked drop'], undefined],
  ] as const) {
    layNft(chain(hook, ...rules))
    const what = `${hook}: ${rules.join('; ')}`
    if (said === undefined) assert.equal(found(), undefined, what)
    else assert.match(found() ?? 'nothing', said, what)
  }
  layNft(chain('forward', 'ct state new,established,related accept', 'drop'))
  assert.equal(found(), undefined)
  run('iptables-nft', '-t', 'raw', '-A', 'PREROUTING', '-p', 'udp', '-j', 'CT', '--notrack')
  assert.match(found() ?? '', /chain guard of table inet site .* verdict drop/, 'what is untracked has no such state')
  layNft('')
  // Before conntrack everything is invalid.
  layNft(chain('prerouting', 'ct state invalid drop').replace('priority mangle', 'priority raw'))
  assert.match(found() ?? '', /verdict drop/)
  layNft('')
})

test('policies of IPsec for what is handed on are in the way', { skip }, () => {
  const policy = ['src', '198.51.100.0/24', 'dst', '10.1.0.0/16', 'dir', 'fwd']
  ip('xfrm', 'policy', 'add', ...policy, 'action', 'block')
  assert.match(found() ?? '', /^IPsec has 1 policies/)
  ip('xfrm', 'policy', 'delete', ...policy)
  assert.equal(found(), undefined)
})

test('what is no rule of netfilter is known without reading them: IPsec that drops what no policy is about, rules of ' +
  'routing that ask what a look-up does not tell', { skip }, () => {
  const defaults = ['xfrm', 'policy', 'setdefault']
  for (const [add, remove, said] of [
    [[...defaults, 'fwd', 'block'], [...defaults, 'fwd', 'accept'], /^IPsec drops what no policy is about/],
    [[...defaults, 'out', 'block'], [...defaults, 'out', 'accept'], /^IPsec drops what no policy is about/],
    ...[
      [['rule'], ['ipproto', 'tcp', 'dport', '8080', 'prohibit'], /^rule 99 of routing asks for ports \(ip rule\)$/],
      [['-6', 'rule'], ['ipproto', 'tcp', 'sport', '8080'], /^rule 99 of routing asks for ports \(ip -6 rule\)$/],
      [['rule'], ['tos', '0x10', 'prohibit'], /^rule 99 of routing asks for the TOS/],
      [['rule'], ['from', '10.1.0.2', 'ipproto', 'tcp'], undefined],
      [['-6', 'rule'], ['fwmark', '0x10', 'lookup', '100'], undefined],
    ].map(([rule = [], asks = [], said]) => {
      const words = [...(asks as readonly string[]), 'priority', '99']
      return [
        [...(rule as readonly string[]), 'add', ...words],
        [...(rule as readonly string[]), 'delete', ...words],
        said,
      ]
    }),
  ] as [readonly string[], readonly string[], RegExp | undefined][]) {
    const look = new NetfilterLook()
    assert.equal(look.policies(), undefined)
    ip(...add)
    assert.equal(look.hasChanged(), said !== undefined, add.join(' '))
    if (said === undefined) assert.equal(look.policies(), undefined)
    else assert.match(look.policies() ?? '', said)
    ip(...remove)
    assert.equal(look.policies(), undefined)
  }
})

test('a program that netfilter calls for packets on their way through is in the way', { skip }, (t) => {
  for (const family of [AF_INET, AF_INET6])
    for (const [hook, isOnTheWay] of [true, false, true, false, true].entries()) {
      const link = dropAtHook(family, hook)
      if (link < 0) return t.skip('needs Linux 6.4')
      const said = found()
      closeSync(link)
      if (isOnTheWay) assert.match(said ?? '', /^netfilter calls the program .* \(id \d+\)$/, `${family} ${hook}`)
      else assert.equal(said, undefined, `${family} ${hook}`)
      assert.equal(found(), undefined)
    }
})

test('rules that are replaced while they are read are read again', { skip }, () => {
  const drop: Effect = { does: 'other', what: 'the verdict drop' }
  let [generation, isTorn, reads] = [1, true, 0]
  const chain = (): BaseChain => ({
    ...{ table: 'table ip site (nftables)', tableName: 'site', name: 'forward', at: 'forward', family: 'ipv4' },
    ...{ isNat: false, isTracked: true, isAccepting: true },
    rules: (name) => {
      if (name === 'forward') return [{ when: [], effect: { does: 'ask', chain: `of-${generation}`, isGoto: false } }]
      reads++
      // Its rules are asked for when it has given way to another one.
      if (isTorn) generation++
      return name === `of-${generation}` ? [{ when: [], effect: drop }] : []
    },
  })
  const look = new NetfilterLook({ generation: () => generation, chains: () => [chain()] })
  assert.equal(foundBy(look), undefined)
  assert.deepEqual([reads, look.hasChanged()], [3, true], 'as long as it may take')
  const settled = new NetfilterLook({
    generation: () => generation,
    chains: () => {
      isTorn = reads++ === 3
      return [chain()]
    },
  })
  assert.match(foundBy(settled) ?? '', /^chain of-\d of table ip site .* the verdict drop$/)
  assert.equal(settled.hasChanged(), false)
})

test('more rules than can be looked through are in the way, and chains that call each other end', () => {
  const base = (effects: (chain: string) => readonly Effect[]): BaseChain => ({
    ...{ table: 'table ip site (nftables)', tableName: 'site', name: 'forward', at: 'forward', family: 'ipv4' },
    ...{ isNat: false, isTracked: true, isAccepting: true },
    rules: (chain) => effects(chain).map((effect): Rule => ({ when: [], effect })),
  })
  const obstacle = (effects: (chain: string) => readonly Effect[]): string | undefined =>
    lookThrough([base(effects)]).obstacle
  const many = Array.from({ length: 6000 }, (): Effect => ({ does: 'accept' }))
  const next = (chain: string): Effect => ({ does: 'ask', chain: chain === 'a' ? 'forward' : 'a', isGoto: false })
  assert.equal(
    obstacle(() => many),
    undefined,
  )
  assert.match(obstacle((chain) => [...many, next(chain)]) ?? '', /has too many rules to look through/)
  assert.equal(
    obstacle((chain) => [next(chain)]),
    undefined,
  )
})
