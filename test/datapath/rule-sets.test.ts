/** Whole rule sets of those who make them: by `auto` a connection is what it is through the stack, whatever it decides. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { buildBpf } from '../../scripts/build-bpf.ts'
import type { DatapathStatus } from '../../src/datapath/datapath.ts'
import { bridgePods } from './bridged.ts'
import { frontendOf, whyNoKernel } from './fixture.ts'
import * as rackPlaces from './rack.ts'
import { deployRack, uplink } from './rack.ts'
import { layRuleSet, ruleSets, type Outcome } from './rule-sets.ts'

const skip = whyNoKernel()
const family = import.meta.url.endsWith('?ipv6') ? 'ipv6' : 'ipv4'
/** Once more over IPv6: see family.ts. */
const { client, vip, pods } = family === 'ipv6' ? rackPlaces.ipv6 : rackPlaces
const frontends = [
  frontendOf(
    vip,
    80,
    pods.map((address) => ({ address, port: 8080 })),
  ),
]
const modes = ['stack', 'auto', 'redirect'] as const

test('auto decides by what whole rule sets do to flows to pods: past those that do nothing, and through the stack where ' +
  'something would be missed, with the reason; what becomes of a connection is the same', { skip }, async (t) => {
  const rack = deployRack(t)
  bridgePods(
    rack,
    ['link', 'add', 'docker0', 'type', 'bridge'],
    ['link', 'set', 'docker0', 'up'],
    ['address', 'add', '172.17.0.1/16', 'dev', 'docker0'],
    ['address', 'add', 'fd00:172:17::1/64', 'dev', 'docker0', 'nodad'],
  )
  const [node, user] = [rack.actor('node'), rack.actor('client')]
  await rack.actor('pod').tell({ do: 'serve', port: 8080 })
  // What is dropped is known after the second SYN.
  rack.run('client', ['sysctl', '-qw', 'net.ipv4.tcp_syn_retries=1'])
  const outcome = async (): Promise<Outcome> => {
    const asked = { do: 'tcp', address: vip, port: 80, size: 1 } as const
    const seen = await user.tell<string>(asked).catch(({ message }: Error) => {
      assert.match(message, /ETIMEDOUT|ECONNREFUSED|EHOSTUNREACH|EACCES/)
      return undefined
    })
    return seen === undefined ? 'denied' : seen.startsWith(`${client} `) ? 'served' : 'masqueraded'
  }
  const past: string[] = []
  for (const mode of modes) {
    layRuleSet(rack, family, {})
    await node.tell({
      ...{ do: 'datapath', bpffs: rack.bpffs, objectFile: buildBpf(), attach: 'tcx', mode, interfaces: [uplink] },
      frontends,
    })
    for (const [who, set] of Object.entries(ruleSets)) {
      // Where auto takes the stack it is the stack that is seen.
      if (mode === 'stack' && set.said !== undefined) continue
      layRuleSet(rack, family, set)
      const status = await node.tell<DatapathStatus>({ do: 'look' })
      const found = await outcome()
      if (mode !== 'redirect') assert.equal(found, set.outcome, `${mode}: ${who}`)
      else if (found !== set.outcome) past.push(who)
      if (mode !== 'auto') continue
      assert.equal(status.mode, set.said === undefined ? 'redirect' : 'stack', `${who}: ${status.modeReason}`)
      if (set.said === undefined) assert.equal(status.modeReason, undefined, who)
      else assert.match(status.modeReason ?? '', set.said, who)
    }
  }
  // Of each that is missed past it auto has known.
  for (const who of past) assert.notEqual(ruleSets[who]?.said, undefined, `past netfilter it is otherwise: ${who}`)
  assert.ok(past.length >= 8, `those that redirect alone would pass by: ${past.join('; ')}`)
})
