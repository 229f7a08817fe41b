/** When the place of kube-proxy is taken and left, and what status says of it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { KubeProxyMode } from '../../src/agent/kube-proxy.ts'
import { proxyFailures, proxyNotes, type ProxyParts, proxyView } from '../../src/agent/proxy-views.ts'
import { ProxyWatch } from '../../src/agent/proxy-watch.ts'
import { explain, type ExplainParts } from '../../src/agent/explain-views.ts'
import { countServices, servicesPage, type ServiceParts } from '../../src/agent/service-views.ts'
import { VirtualClock } from '../../src/clock/virtual-clock.ts'
import type { DesiredService, Verdict } from '../../src/desired/model.ts'

function partsOf(more: Partial<ProxyParts> = {}): ProxyParts {
  return {
    isReplacing: true,
    hasDatapath: true,
    hasSockets: true,
    kubeProxy: () => 'absent',
    nodePortAddresses: () => ['192.0.2.1'],
    healthProblems: () => [],
    ...more,
  }
}

test('the place of kube-proxy is taken at once where there is none, and where it cannot be seen', () => {
  for (const mode of ['absent', 'unknown'] as const) {
    const watch = new ProxyWatch({
      kubeProxy: () => mode,
      listeners: () => new Set(['22/TCP']),
      clock: new VirtualClock(),
    })
    assert.equal(watch.isReplacing, false)
    assert.deepEqual([watch.look(), watch.isReplacing], [{ listeners: new Set(['22/TCP']) }, true])
  }
})

test('it is left to rules of kube-proxy at once, and taken when none were there for a while', () => {
  const clock = new VirtualClock()
  let mode: KubeProxyMode = 'iptables'
  const watch = new ProxyWatch({ kubeProxy: () => mode, listeners: () => new Set(), clock })
  assert.equal(watch.look(), undefined)
  mode = 'absent'
  // As while rules are replaced by others.
  assert.equal(watch.look(), undefined)
  clock.advance(4_999)
  assert.equal(watch.look(), undefined)
  mode = 'nftables'
  clock.advance(1)
  assert.equal(watch.look(), undefined)
  mode = 'absent'
  clock.advance(4_999)
  assert.equal(watch.look(), undefined)
  clock.advance(1)
  assert.notEqual(watch.look(), undefined)
  for (const back of ['ipvs', 'iptables', 'nftables'] as const) {
    mode = back
    assert.deepEqual([watch.look(), watch.isReplacing], [undefined, false], back)
  }
})

test('status says of each kind whether it is served, from outside and for sockets, and what nobody serves', () => {
  const view = proxyView(partsOf())
  assert.deepEqual([view.isReplaced, view.reason, view.nodePortAddresses], [true, undefined, ['192.0.2.1']])
  assert.deepEqual(view.fromOutside, {
    clusterIP: 'advertised',
    externalIP: true,
    nodePort: true,
    loadBalancerIP: 'own',
    healthCheckNodePort: true,
  })
  assert.ok(Object.values(view.fromInside).every((is) => is))
  assert.ok(view.notServed.includes('SCTP by node ports') && view.notServed.some((each) => each.startsWith('hostPort')))
  assert.deepEqual([proxyFailures(partsOf()), proxyNotes(partsOf())], [[], []])
  const blind = proxyView(partsOf({ hasSockets: false }))
  assert.ok(Object.values(blind.fromInside).every((is) => !is) && blind.fromOutside.nodePort)
  assert.match(proxyNotes(partsOf({ hasSockets: false })).join(), /clients on this node reach none of it/)
})

test('beside rules of kube-proxy nothing of its place is said to be served, and the reason is a warning', () => {
  for (const [mode, name] of [
    ['iptables', 'iptables'],
    ['nftables', 'nftables'],
    ['ipvs', 'IPVS'],
  ] as const) {
    const parts = partsOf({ isReplacing: false, kubeProxy: () => mode, nodePortAddresses: () => [] })
    const { isReplaced, reason, fromOutside, fromInside } = proxyView(parts)
    assert.deepEqual(
      [isReplaced, fromOutside.externalIP, fromOutside.nodePort, fromInside.nodePort],
      Array(4).fill(false),
    )
    // Cluster IPs are led all the same: a socket that is led has nothing left for its rules.
    assert.equal(fromInside.clusterIP, true)
    assert.match(reason ?? '', new RegExp(`rules of kube-proxy \\(${name}\\) are there`))
    assert.deepEqual([proxyFailures(parts), proxyNotes(parts).length], [[], 1])
  }
  const moment = proxyNotes(partsOf({ isReplacing: false }))
  assert.match(moment.join(), /were there a moment ago/)
})

test('what may be meant otherwise is warned of: rules that cannot be seen, no address for node ports', () => {
  const notes = proxyNotes(partsOf({ kubeProxy: () => 'unknown', nodePortAddresses: () => [] }))
  assert.match(notes[0] ?? '', /cannot be seen among rules of the old iptables/)
  assert.match(notes[1] ?? '', /no address for node ports; see --nodeport-addresses/)
})

test('without a datapath kube-proxy is not replaced, which degrades the node', () => {
  const parts = partsOf({ hasDatapath: false, isReplacing: false })
  assert.deepEqual([proxyView(parts).isReplaced, proxyNotes(parts)], [false, []])
  assert.match(proxyFailures(parts).join(), /there is no eBPF datapath/)
  assert.deepEqual([proxyFailures(undefined), proxyNotes(undefined)], [[], []])
})

test('a Service that is served and not to be announced waits for nothing, and no verdict says no', async () => {
  const yes = (step: Verdict['step'], code: Verdict['code']): Verdict => ({ step, ok: true, code, message: code })
  const proxied = [yes('class', 'NoClassNeeded'), yes('proxied', 'Proxied')]
  const service = (key: string, more: Partial<DesiredService>): DesiredService => ({
    ...{ key, source: { kind: 'Service', name: key }, addresses: ['203.0.113.7'], frontends: [], routes: [] },
    ...{ externalTrafficPolicy: 'Cluster', remoteBackends: 0, verdicts: proxied },
    ...more,
  })
  const announced = {
    routes: [{ prefix: '192.0.2.10/32', neighbors: ['65001/192.0.2.1'], attributes: {} }],
    ...{ addresses: ['192.0.2.10'], verdicts: [...proxied, yes('selected', 'PolicySelects')] },
  }
  const all = new Map([
    ['shop/web', service('shop/web', {})],
    ['shop/lb', service('shop/lb', announced)],
  ])
  const parts: ServiceParts & ExplainParts = {
    ...{ nodeName: 'node1', source: { detail: 'a folder' } },
    agent: {
      order: {
        ...{ services: all, service: (key) => all.get(key), isProgrammed: () => true },
        verdict: () => yes('programmed', 'Programmed'),
      },
      ...{ speaker: undefined, isDrained: false, podCidrs: [], problems: [] },
    },
    speaker: { peers: async () => [], route: async () => [], paths: async () => [], isAtAnyPeer: () => false },
    datapath: { counters: () => undefined, status: {} },
  }
  const { total, states } = await countServices(parts)
  assert.deepEqual([total, states.Served, states.Programmed, states.Pending], [2, 1, 1, 0])
  const { items } = servicesPage(parts, { limit: 10 })
  assert.deepEqual(
    items.map(({ service: name, state }) => [name, state]),
    [
      ['shop/lb', 'Programmed'],
      ['shop/web', 'Served'],
    ],
  )
  const own = await explain(parts, { kind: 'service', name: 'shop/web' })
  assert.deepEqual([own.ok, own.verdicts.map(({ step }) => step)], [true, ['class', 'proxied', 'programmed']])
  const byAddress = await explain(parts, { kind: 'route', name: '203.0.113.7' })
  assert.deepEqual([byAddress.ok, byAddress.announcedTo], [true, []])
  const other = await explain(parts, { kind: 'service', name: 'shop/lb' })
  assert.equal(other.verdicts.find(({ step }) => step === 'announced')?.code, 'NotAnnounced')
})
