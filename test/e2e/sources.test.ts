/** Source ranges and affinity from YAML to real connections, of both families, through a restart of the agent. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { whyNoKernel } from '../datapath/fixture.ts'
import { client, deployRack, ipv6, pods, vip } from '../datapath/rack.ts'
import { waitFor } from '../wait.ts'
import { policyAndNode } from './policy.ts'
import { RackAgent } from './rack-agent.ts'

const elsewhere = { ipv4: '203.0.113.77', ipv6: '2001:db8:99::77' }
const slice = (family: string, addresses: readonly string[]): string => `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-${family.toLowerCase()}, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: ${family}
endpoints:
${addresses.map((each) => `- {addresses: ["${each}"], nodeName: node1, conditions: {ready: true}}`).join('\n')}
ports: [{port: 8080, protocol: TCP}]
`
const manifests = (ranges: string): string => `${policyAndNode}apiVersion: cilium.io/v2
kind: CiliumLoadBalancerIPPool
metadata: {name: pool}
spec: {blocks: [{start: ${vip}, stop: ${vip}}, {start: "${ipv6.vip}", stop: "${ipv6.vip}"}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, labels: {expose-via-bgp: "true"}}
spec:
  type: LoadBalancer
  ipFamilyPolicy: RequireDualStack
  ipFamilies: [IPv4, IPv6]
  sessionAffinity: ClientIP
  loadBalancerSourceRanges: ${ranges}
  ports: [{port: 80, protocol: TCP}]
${slice('IPv4', pods)}${slice('IPv6', ipv6.pods)}`

test('a client of the ranges is served, by one pod; another one gets no answer; also while no agent runs, and after a ' +
  'change', { skip: whyNoKernel() ?? false, timeout: 90_000 }, async (t) => {
  const rack = deployRack(t)
  const [pod, user] = [rack.actor('pod'), rack.actor('client')]
  await pod.tell({ do: 'serve', port: 8080 })
  const agents = new RackAgent(t, rack, manifests('[198.51.100.0/24, "2001:db8:51:100::/64"]'))
  const vips = { ipv4: vip, ipv6: ipv6.vip }
  const routers = { ipv4: '198.51.100.1', ipv6: '2001:db8:51:100::1' }
  /** From which address the client speaks. */
  const speakFrom = (family: 'ipv4' | 'ipv6', source: string): void =>
    void rack.run('client', ['ip', 'route', 'replace', 'default', 'via', routers[family], 'src', source])
  const met = (family: 'ipv4' | 'ipv6'): Promise<string> =>
    user.tell<string>({ do: 'tcp', address: vips[family], port: 80, size: 1 })
  const isSilent = (family: 'ipv4' | 'ipv6'): boolean => {
    const attempt = `timeout 0.7 bash -c 'exec 3<>/dev/tcp/${vips[family]}/80'; echo $?`
    return rack.run('client', ['bash', '-c', attempt]).trim() === '124'
  }
  for (const [family, other] of [
    ['ipv4', client],
    ['ipv6', ipv6.client],
  ] as const) {
    rack.run('client', ['ip', 'address', 'add', elsewhere[family], 'dev', 'lo'])
    rack.run('node', ['ip', 'route', 'add', elsewhere[family], 'via', other])
  }
  const agent = agents.start()
  for (const family of ['ipv4', 'ipv6'] as const)
    await waitFor('the Service to be served', () =>
      met(family).then(
        () => true,
        () => false,
      ),
    )
  const check = async (own: readonly [string, string], isIn: boolean, isOtherIn: boolean): Promise<void> => {
    for (const [n, family] of (['ipv4', 'ipv6'] as const).entries()) {
      for (const [source, isServed] of [
        [own[n] ?? '', isIn],
        [elsewhere[family], isOtherIn],
      ] as const) {
        speakFrom(family, source)
        if (!isServed) assert.ok(isSilent(family), `${source} is let in`)
        else {
          const seen = new Set<string>()
          for (let round = 0; round < 6; round++) seen.add(await met(family))
          assert.equal(seen.size, 1, `${source} meets one pod`)
          assert.ok([...seen].every((line) => line.startsWith(`${source} `)))
        }
      }
      speakFrom(family, own[n] ?? '')
    }
  }
  const own = [client, ipv6.client] as const
  await check(own, true, false)
  // No router is there to hear of it.
  const explained = agents.ask('explain', 'service', 'shop/web')
  assert.match(explained, /flows from 198\.51\.100\.0\/24 alone are let in by IPv4/)
  assert.match(explained, /a client stays with its pod for 10800 s/)
  assert.match(
    agents.ask('lb', 'list', '-o', 'json'),
    /"prefix": ?"198\.51\.100\.0\/24",\s*"allowed": ?true[\s\S]*"affinitySeconds": ?10800/,
  )
  agent.kill('SIGKILL')
  await check(own, true, false)
  agents.start()
  agents.write(manifests(`[${elsewhere.ipv4}/32, "${elsewhere.ipv6}/128"]`))
  await waitFor('the change', () => isSilent('ipv4') && isSilent('ipv6'))
  await check(own, false, true)
})
