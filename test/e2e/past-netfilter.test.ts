/** A whole agent as it is started without a word about netfilter, on a node whose rules come and are named. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { whyNoKernel } from '../datapath/fixture.ts'
import { harmless, inTheWay, natTable } from '../datapath/node-rules.ts'
import { client, deployRack, vip } from '../datapath/rack.ts'
import { waitFor } from '../wait.ts'
import { oneService } from './policy.ts'
import { RackAgent } from './rack-agent.ts'

test('an agent lets flows past the rules of a node that are about others, and neither past a proxy of the node nor ' +
  'past a firewall, which it names; what it served goes on without it', {
  skip: whyNoKernel() ?? false,
  timeout: 120_000,
}, async (t) => {
  const rack = deployRack(t)
  const lay = (rules: string): string =>
    rack.run(
      'node',
      ['iptables-nft-restore'],
      natTable('iptables-nft', `${Object.values(harmless).join('\n')}\n${rules}`),
    )
  lay('')
  const [node, live, late] = [rack.actor('node'), rack.actor('client'), rack.actor('client')]
  await rack.actor('pod').tell({ do: 'serve', port: 8080 })
  const agents = new RackAgent(t, rack, oneService)
  const agent = agents.start()
  let said = ''
  for (const stream of [agent.stdout, agent.stderr]) stream?.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const open = (): Promise<string> =>
    late.tell<string>({ do: 'tcp', address: vip, port: 80, size: 1 }).catch((error: Error) => error.message)
  const isServed = async (): Promise<boolean> => (await open()).startsWith(client)
  await waitFor('the Service to be served', isServed, { deadlineMs: 30_000, everyMs: 200 })
  const isOf = (mode: string, reason: RegExp) => (): boolean => {
    const { mode: now, modeReason = '' } = agents.status().datapath ?? {}
    return now === mode && reason.test(modeReason)
  }
  const waiting = { deadlineMs: 30_000, everyMs: 300 }
  await waitFor('flows to go past netfilter', isOf('redirect', /^$/), waiting).catch((error: unknown) =>
    assert.fail(`${String(error)}\n${JSON.stringify(agents.status().datapath)}\n${said}`),
  )
  await live.tell({ do: 'connect', address: vip, port: 80 })
  const handedOn = await node.tell<number>({ do: 'forwarded' })
  assert.equal(await live.tell({ do: 'exchange', size: 20_000 }), 20_000)
  assert.equal(await node.tell<number>({ do: 'forwarded' }), handedOn, 'past netfilter')
  lay(inTheWay['a transparent proxy of the node']?.rules ?? '')
  await waitFor('the proxy to be named', isOf('stack', /^chain PREROUTING of table ip nat .* may meet flows/), waiting)
  assert.equal(await isServed(), false, 'a new flow meets it, and there is nobody')
  assert.equal(await live.tell({ do: 'exchange', size: 20_000 }), 20_000, 'a live one does not, as in the stack')
  assert.match(said, /flows go through the stack: chain PREROUTING of table ip nat/)
  lay('')
  rack.run('node', ['iptables-nft', '-A', 'FORWARD', '-s', '203.0.113.9', '-j', 'DROP'])
  await waitFor('the firewall to be named', isOf('stack', /^chain FORWARD of table ip filter .* drop$/), waiting)
  const before = await node.tell<number>({ do: 'forwarded' })
  assert.equal(await live.tell({ do: 'exchange', size: 20_000 }), 20_000)
  assert.ok((await node.tell<number>({ do: 'forwarded' })) > before, 'a live one meets this too')
  assert.equal(await isServed(), true)
  agent.kill('SIGKILL')
  assert.equal(await live.tell({ do: 'exchange', size: 20_000 }), 20_000)
  assert.equal(await isServed(), true)
})
