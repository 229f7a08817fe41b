/**
 * Rules that mean more than they say where they stand: what packets do to their sets, what a bridge does to packets
 * before they are asked, and sets in which one pod is and another one is not. By `auto` it is as through the stack.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { buildBpf } from '../../scripts/build-bpf.ts'
import type { DatapathStatus } from '../../src/datapath/datapath.ts'
import { bridgePods } from './bridged.ts'
import { frontendOf, whyNoKernel } from './fixture.ts'
import * as rackPlaces from './rack.ts'
import { deployRack, uplink } from './rack.ts'
import { layRuleSet } from './rule-sets.ts'

const skip = whyNoKernel()
const family = import.meta.url.endsWith('?ipv6') ? 'ipv6' : 'ipv4'
/** Once more over IPv6: see family.ts. */
const { client, vip, pods } = family === 'ipv6' ? rackPlaces.ipv6 : rackPlaces
const node = family === 'ipv6' ? '2001:db8:51:100::1' : '198.51.100.1'
/** At port 80 the first pod answers, at 81 the second one. */
const frontends = pods.map((address, n) => frontendOf(vip, 80 + n, [{ address, port: 8080 }]))
/** More than those that clients are told apart by. */
const others = Array.from({ length: 299 }, (_, n) =>
  family === 'ipv6' ? `fd00:9::${n + 1}` : `10.9.${n >> 8}.${n & 255}`,
)

interface Trap {
  readonly nft: string
  readonly denied: readonly number[]
  /** undefined: flows of others go past it. */
  readonly said?: RegExp
  /** An address of the client, behind its own. */
  readonly from?: string
  readonly isShown?: boolean
}

const guard = (hook: string, rules: string, more = ''): string => `
table IP site {
  ${more}
  chain guard {
    type filter hook ${hook}; policy accept;
    ${rules}
  }
}`

/** Of pods kept out, in a set with all those of other nodes. */
const setOf = (pod: string): string => `set closed {
    type ADDR
    elements = { ${[pod, ...others].join(', ')} }
  }`

const traps: Readonly<Record<string, Trap>> = {
  ...Object.fromEntries(
    pods.map((pod, n) => [
      `a large set with ${pod}`,
      {
        nft: guard('forward priority filter', 'ct state new IP daddr @closed drop', setOf(pod)),
        ...{ denied: [80 + n], said: /^chain guard of table ip6? site \(nftables\) has a rule with the verdict drop$/ },
      },
    ]),
  ),
  ...Object.fromEntries(
    Object.entries(family === 'ipv6' ? {} : { '240.0.0.7': '240.0.0.0/4', '169.254.0.7': '169.254.0.0/16' }).map(
      ([from, net]) => [
        `a client that has ${from}, which none should`,
        { nft: guard('forward priority filter', `IP saddr ${net} drop`), denied: [80, 81], from },
      ],
    ),
  ),
  'a set that does not say that packets fill it': {
    nft: guard(
      'forward priority filter',
      'IP saddr @seen drop',
      `set seen {
    type ADDR
  }
  chain knock {
    type filter hook input priority filter; policy accept;
    add @seen { IP saddr }
  }`,
    ),
    ...{ denied: [80, 81], said: /the verdict drop \(what the set seen holds changes with packets or time\)$/ },
  },
  'a bridge that marks what its ports hand it': {
    nft: `${guard('forward priority filter', 'meta mark 7 drop')}
table bridge site {
  chain marks {
    type filter hook prerouting priority raw; policy accept;
    meta mark set 7
  }
}`,
    ...{ denied: [80, 81], said: /^chain guard of table ip6? site \(nftables\) has a rule with the verdict drop$/ },
  },
  'pods that begin nothing, where a bridge shows netfilter their replies': {
    nft: guard('prerouting priority mangle', 'iifname "cni0" ct state new drop'),
    ...{ denied: [], said: /has a rule with the verdict drop$/, isShown: true },
  },
  'nothing invalid, where a bridge shows netfilter half a connection': {
    nft: guard('prerouting priority mangle', 'ct state invalid drop'),
    ...{ denied: [], said: /has a rule with the verdict drop$/, isShown: true },
  },
}

test('what rules mean by what packets do to sets, bridges to packets, and one set to two pods, is found', {
  skip,
}, async (t) => {
  const rack = deployRack(t)
  bridgePods(rack)
  const [actor, user] = [rack.actor('node'), rack.actor('client')]
  await rack.actor('pod').tell({ do: 'serve', port: 8080 })
  rack.run('client', ['sysctl', '-qw', 'net.ipv4.tcp_syn_retries=1'])
  const shows = (isShown: boolean): void =>
    void rack.run('node', [
      'sysctl',
      '-qw',
      ...['iptables', 'ip6tables'].map((each) => `net.bridge.bridge-nf-call-${each}=${Number(isShown)}`),
    ])
  const isServed = (port: number): Promise<boolean> =>
    user.tell<string>({ do: 'tcp', address: vip, port, size: 1 }).then(
      (seen) => seen.startsWith(`${client} `),
      () => false,
    )
  const route = (...words: readonly string[]): void => void rack.run('client', ['ip', 'route', ...words])
  for (const mode of ['stack', 'auto'] as const) {
    shows(false)
    layRuleSet(rack, family, {})
    await actor.tell({
      ...{ do: 'datapath', bpffs: rack.bpffs, objectFile: buildBpf(), attach: 'tcx', mode, interfaces: [uplink] },
      frontends,
    })
    for (const [what, { nft, denied, said, from, isShown = false }] of Object.entries(traps)) {
      shows(isShown)
      layRuleSet(rack, family, { nft })
      if (from !== undefined) {
        rack.run('client', ['ip', 'address', 'replace', `${from}/32`, 'dev', 'eth0'])
        rack.run('node', ['ip', 'route', 'replace', from, 'via', client])
        route('replace', vip, 'via', node, 'src', from)
      }
      const status = await actor.tell<DatapathStatus>({ do: 'look' })
      rack.run('client', ['ping', '-c', '1', '-w', '1', '-i', '0.2', node])
      const served = [await isServed(80), await isServed(81)]
      assert.deepEqual(
        [80, 81].filter((_, n) => !served[n]),
        denied,
        `${mode}: ${what}`,
      )
      if (from !== undefined) route('delete', vip)
      if (mode === 'auto' && said !== undefined) assert.match(status.modeReason ?? '', said, what)
      else assert.equal(status.modeReason, undefined, what)
    }
    shows(true)
    layRuleSet(rack, family, { nft: guard('prerouting priority mangle', 'ct state established accept') })
    assert.equal((await actor.tell<DatapathStatus>({ do: 'look' })).modeReason, undefined, 'nothing is in the way')
  }
})
