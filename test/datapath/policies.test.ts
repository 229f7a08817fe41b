/** Who enforces policies by netfilter, as real tables of this kernel tell it. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { policyEnforcer } from '../../src/datapath/policies.ts'
import { legacyWords, nftChains } from '../../src/sys/netfilter-chains.ts'
import { whyNoKernel } from './fixture.ts'
import { enterNetwork } from './network.ts'

const skip = whyNoKernel()
if (skip === undefined) enterNetwork()

const run = (program: string, ...args: readonly string[]): void =>
  void execFileSync(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
const found = (): string | undefined => policyEnforcer(nftChains(), legacyWords())

test('chains that enforce policies are found in each kind of table, and those of kube-proxy are none', { skip }, () => {
  assert.equal(found(), undefined, 'an empty netfilter')
  for (const program of ['iptables-nft', 'ip6tables-nft', 'iptables-legacy', 'ip6tables-legacy'])
    for (const chain of ['KUBE-FORWARD', 'KUBE-PROXY-FIREWALL', 'FLANNEL-FWD']) {
      run(program, '-N', chain)
      run(program, '-A', 'FORWARD', '-j', chain)
    }
  assert.equal(found(), undefined)
  for (const [program, chain, who] of [
    ['iptables-nft', 'cali-FORWARD', 'Calico'],
    ['ip6tables-nft', 'KUBE-ROUTER-FORWARD', 'kube-router'],
    ['iptables-legacy', 'WEAVE-NPC-DEFAULT', 'Weave Net'],
    ['ip6tables-legacy', 'KUBE-POD-FW-ABCDEF0123456789', 'kube-router'],
  ] as const) {
    run(program, '-N', chain)
    assert.equal(found(), `${who} enforces policies by netfilter (${chain})`)
    run(program, '-X', chain)
    assert.equal(found(), undefined, `without ${chain}`)
  }
})

test('a table of nftables is known by its own name too', () => {
  const nothing: readonly string[] = []
  for (const [table, name, who] of [
    ['calico', 'filter-forward', 'Calico'],
    ['kube-network-policies', 'postrouting', 'kube-network-policies'],
    ['kube-proxy', 'filter-forward', undefined],
    ['my-calico-notes', 'forward', undefined],
  ] as const)
    assert.equal(policyEnforcer([{ table, name }], nothing)?.split(' ')[0], who?.split(' ')[0])
})
