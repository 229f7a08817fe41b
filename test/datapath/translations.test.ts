/** Rules that translate addresses, of real tables of this kernel: which may meet a flow that goes past netfilter. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Traffic } from '../../src/datapath/datapath.ts'
import { NetfilterLook } from '../../src/datapath/netfilter-look.ts'
import { mostElements } from '../../src/sys/nft-sets.ts'
import { whyNoKernel } from './fixture.ts'
import { addTranslations, attributesOf, big, expression, verdict } from './netfilter.ts'
import { enterNetwork } from './network.ts'
import { layNft } from './nft-text.ts'
import { harmless, inTheWay, layNatTable, makers } from './node-rules.ts'

const skip = whyNoKernel()
if (skip === undefined) enterNetwork()

const trafficOf = (...pods: readonly string[]): Traffic => ({
  pods: new Map(pods.map((pod) => [pod, ['cni0']])),
  ...{ former: new Set(), shown: new Set(), uplinks: ['up0'], elsewhere: [] },
})
const traffic = trafficOf('10.1.0.2', '10.1.0.3', 'fd00:10:1::2', 'fd00:10:1::3')
/** A look that has read the rules as they are now. */
function looked(): NetfilterLook {
  const look = new NetfilterLook()
  assert.equal(look.policies(), undefined)
  return look
}
const found = (): string | undefined => looked().rules(traffic).translation

test('what CNI, kube-proxy and others of a node have for what pods begin is in the way of nothing', { skip }, () => {
  for (const maker of makers) {
    for (const [who, rules] of Object.entries(harmless)) {
      const remove = layNatTable(maker, rules)
      assert.equal(found(), undefined, `${maker}: ${who}`)
      remove()
    }
    const removeAll = layNatTable(maker, Object.values(harmless).join('\n'))
    assert.equal(found(), undefined, `${maker}: all of them`)
    removeAll()
  }
})

test('a rule that may translate what comes for a pod is in the way, and named', { skip }, () => {
  for (const maker of makers)
    for (const [what, { rules, said }] of Object.entries(inTheWay)) {
      const remove = layNatTable(maker, `${harmless['kube-proxy'] ?? ''}\n${harmless.portmap ?? ''}\n${rules}`)
      assert.match(found() ?? 'nothing', said, `${maker}: ${what}`)
      remove()
      assert.equal(found(), undefined, `${maker}, without it: ${what}`)
    }
})

test('it is in the way of the pods that it is about, and asked again for pods that come', { skip }, () => {
  for (const maker of makers) {
    const [isIpv6, look] = [maker.startsWith('ip6'), new NetfilterLook()]
    const [inside, outside] = isIpv6 ? ['fd00:10:1::2', 'fd00:10:2::2'] : ['10.1.0.2', '10.2.0.2']
    const remove = layNatTable(maker, harmless['kindnet, ip-masq-agent'] ?? '')
    look.policies()
    assert.equal(look.rules(trafficOf(inside)).translation, undefined)
    assert.match(look.rules(trafficOf(inside, outside)).translation ?? '', /^chain KIND-MASQ-AGENT of table .*nat/)
    assert.equal(look.rules(trafficOf(inside)).translation, undefined)
    assert.equal(
      look.rules(trafficOf(isIpv6 ? '10.2.0.2' : 'fd00:10:2::2')).translation,
      undefined,
      'of the other family',
    )
    remove()
  }
})

test('a rule of a thousand pods is asked once for all that it cannot tell apart', { skip }, () => {
  const pods = Array.from({ length: 1000 }, (_, n) => `10.1.${n >> 8}.${n & 255}`)
  const rules = pods.map(
    (pod, n) => `:CNI-${n}\n-A POSTROUTING -s ${pod}/32 -j CNI-${n}
    -A CNI-${n} -d CLUSTER -j ACCEPT\n-A CNI-${n} ! -d GROUPS -j MASQUERADE`,
  )
  const remove = layNatTable('iptables-nft', rules.slice(0, 300).join('\n'))
  assert.equal(looked().rules(trafficOf(...pods)).translation, undefined)
  remove()
  const removeAll = layNatTable('iptables-nft', rules.join('\n'))
  assert.match(looked().rules(trafficOf(...pods)).translation ?? '', /has too many rules to look through/)
  removeAll()
})

const value = (octets: Uint8Array): Uint8Array => attributesOf([[1, octets]])
const loadOf = (at: number, length: number): Uint8Array =>
  expression('payload', [1, big(1)], [2, big(1)], [3, big(at)], [4, big(length)])
const equals = (octets: Uint8Array, isNot = false): Uint8Array =>
  expression('cmp', [1, big(1)], [2, big(isNot ? 1 : 0)], [3, value(octets)])
const maskedBy = (mask: Uint8Array): Uint8Array =>
  expression(
    'bitwise',
    [1, big(1)],
    [2, big(1)],
    [3, big(mask.length)],
    [4, value(mask)],
    [5, value(new Uint8Array(mask.length))],
  )
const meta = (key: number): Uint8Array => expression('meta', [1, big(1)], [2, big(key)])
const fib = (flags: number): Uint8Array => expression('fib', [1, big(1)], [2, big(3)], [3, big(flags)])
const masquerade = expression('masq')
const [accept, returns] = [verdict(1), verdict(-5)]
const ipv4 = [meta(15), equals(Uint8Array.of(2))]
const [toCluster, fromCluster] = [16, 12].map((at) => [loadOf(at, 2), equals(Uint8Array.of(10, 1))])
const isNotTo = (bits: number, ...octets: readonly number[]): readonly Uint8Array[] => [
  loadOf(16, 4),
  maskedBy(Uint8Array.from({ length: 4 }, (_, n) => (n < bits / 8 ? 255 : 0))),
  equals(Uint8Array.of(...octets), true),
]
const toNode = [fib(2), equals(Uint8Array.of(2, 0, 0, 0))]
const marked = [meta(3), maskedBy(Uint8Array.of(0, 64, 0, 0)), equals(Uint8Array.of(0, 64, 0, 0))]
const toPod6 = [loadOf(24, 6), equals(Uint8Array.of(0xfd, 0, 0, 0x10, 0, 1))]
const by = (name: string, isNot = false): readonly Uint8Array[] => [
  meta(7),
  equals(Buffer.from(name.padEnd(16, '\0')), isNot),
]

test('rules of nftables itself are read as the kernel lists them, of a table of both families too', { skip }, () => {
  assert.ok(toCluster !== undefined && fromCluster !== undefined)
  const postrouting = 4
  for (const [what, family, hook, rules, said] of [
    ['to pods', 'ip', postrouting, [[...toCluster, returns], [masquerade]], undefined],
    [
      'to pods, of both',
      'inet',
      postrouting,
      [
        [...ipv4, ...toCluster, accept],
        [...ipv4, masquerade],
      ],
      undefined,
    ],
    ['but of the other', 'inet', postrouting, [[...ipv4, ...toCluster, accept], [masquerade]], /statement masq/],
    [
      'without its family',
      'inet',
      postrouting,
      [
        [...toCluster, accept],
        [...ipv4, masquerade],
      ],
      /statement masq/,
    ],
    ['not to pods', 'ip', postrouting, [[...isNotTo(16, 10, 1, 0, 0), masquerade]], undefined],
    ['not to groups', 'ip', postrouting, [[...isNotTo(8, 224, 0, 0, 0), masquerade]], /statement masq/],
    ['never what it says', 'ip', postrouting, [[...isNotTo(8, 10, 1, 2, 3), masquerade]], /statement masq/],
    ['from pods', 'ip', postrouting, [[...fromCluster, masquerade]], /statement masq/],
    [
      'both ends',
      'ip',
      postrouting,
      [[loadOf(12, 8), equals(Uint8Array.of(10, 1, 0, 9, 10, 2, 0, 9)), masquerade]],
      undefined,
    ],
    [
      'both ends, a pod',
      'ip',
      postrouting,
      [[loadOf(12, 8), equals(Uint8Array.of(203, 0, 113, 9, 10, 1, 0, 2)), masquerade]],
      /masq/,
    ],
    [
      'not both ends',
      'ip',
      postrouting,
      [[loadOf(12, 8), equals(Uint8Array.of(10, 1, 0, 9, 10, 2, 0, 9), true), masquerade]],
      /masq/,
    ],
    ['to the node', 'ip', 0, [[...toNode, expression('redir')]], undefined],
    ['by the node', 'ip', 0, [[fib(1), equals(Uint8Array.of(2, 0, 0, 0)), expression('redir')]], /statement redir/],
    ['a broadcast', 'ip', 0, [[fib(2), equals(Uint8Array.of(3, 0, 0, 0)), expression('redir')]], /statement redir/],
    ['marked', 'ip', postrouting, [[...marked, masquerade]], undefined],
    ['by an uplink', 'ip', postrouting, [[...by('up0'), masquerade]], undefined],
    ['by another', 'ip', postrouting, [[...by('cni0'), masquerade]], /statement masq/],
    ['not by an uplink', 'ip', postrouting, [[...by('up0', true), masquerade]], /statement masq/],
    ['of IPv6', 'ip6', postrouting, [[...toPod6, accept], [masquerade]], undefined],
    ['of IPv6, first', 'ip6', postrouting, [[masquerade], [...toPod6, accept]], /table ip6 site .* statement masq/],
    [
      'to a port',
      'ip',
      0,
      [
        [
          expression('payload', [1, big(1)], [2, big(2)], [3, big(2)], [4, big(2)]),
          equals(Uint8Array.of(31, 144)),
          expression('redir'),
        ],
      ],
      /statement redir/,
    ],
    [
      'a limit',
      'ip',
      postrouting,
      [[...toCluster, meta(16), equals(Uint8Array.of(6)), accept], [masquerade]],
      /statement masq/,
    ],
  ] as const) {
    const remove = addTranslations(family, hook, rules)
    if (said === undefined) assert.equal(found(), undefined, what)
    else assert.match(found() ?? 'nothing', said, what)
    remove()
  }
})

test('a set of nftables is asked for the pod itself, of whatever size that can be read, and a larger one is named', {
  skip,
}, () => {
  const masquerading = (elements: readonly string[]): string => `
table ip site {
  set kept {
    type ipv4_addr
    flags interval
    elements = { ${elements.join(', ')} }
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip daddr @kept accept
    masquerade
  }
}`
  const others = (count: number): readonly string[] =>
    Array.from({ length: count }, (_, n) => `100.${64 + (n >> 8)}.${n & 255}.0/25`)
  for (const [elements, said] of [
    [['10.1.0.0/24'], undefined],
    [['10.1.0.2', '10.1.0.3/32'], undefined],
    [['10.1.0.2'], /^chain postrouting of table ip site \(nftables\) may meet flows with the statement masq$/],
    [['0.0.0.0/0'], undefined],
    [['128.0.0.0/1'], /statement masq$/],
    [[...others(mostElements - 1), '10.1.0.0/24'], undefined],
    [others(mostElements - 1), /statement masq$/],
    [[...others(mostElements), '10.1.0.0/24'], /statement masq$/],
  ] as const) {
    layNft(masquerading(elements))
    if (said === undefined) assert.equal(found(), undefined, `${elements.length} ${elements.at(-1)}`)
    else assert.match(found() ?? 'nothing', said, `${elements.length} ${elements.at(-1)}`)
  }
  const asked = `
table ip site {
  set met {
    type ipv4_addr
    flags FLAGS
    elements = { ELEMENTS }
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip daddr @met masquerade
  }
}`
  const laid = (flags: string, elements: readonly string[]): string =>
    asked.replace('FLAGS', flags).replace('ELEMENTS', elements.join(', '))
  layNft(laid('interval', others(mostElements)))
  assert.equal(found(), undefined)
  layNft(laid('interval', others(mostElements + 1)))
  assert.match(found() ?? '', /statement masq \(the set met has too many elements to be asked\)$/)
  for (const pod of ['10.1.0.2', '10.1.0.3']) {
    layNft(laid('interval', [...others(300), pod]))
    assert.match(found() ?? 'nothing', /statement masq$/, `of two pods ${pod} alone`)
  }
  for (const flags of ['timeout', 'dynamic']) {
    layNft(laid(flags, ['100.64.0.1']))
    assert.match(found() ?? '', /statement masq \(what the set met holds changes with packets or time\)$/)
  }
  layNft('')
  assert.equal(found(), undefined)
})
