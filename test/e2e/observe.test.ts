/** `herald observe` of a real agent: what real connections through the kernel look like, and what ends it. */
import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { test } from 'node:test'
import type { FlowResponse } from '../../src/api/flow-types.ts'
import { whyNoKernel } from '../datapath/fixture.ts'
import { client, deployRack, pods, vip } from '../datapath/rack.ts'
import { waitFor } from '../wait.ts'
import { oneService } from './policy.ts'
import { herald, RackAgent } from './rack-agent.ts'

interface Running {
  readonly child: ChildProcess
  text(): string
  exited(): Promise<number | null>
}

function reading(child: ChildProcess): Running {
  let text = ''
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk: Buffer) => (text += chunk.toString()))
  const exit = new Promise<number | null>((resolve) => child.once('exit', resolve))
  return { child, text: () => text, exited: () => exit }
}

test('herald observe -f shows connections through a real agent with Service and pod, and every drop; who is killed ' +
  'takes nothing from others, ^C is no failure, the end of the agent is said', {
  skip: whyNoKernel() ?? false,
  timeout: 90_000,
}, async (t) => {
  const rack = deployRack(t)
  const [pod, user] = [rack.actor('pod'), rack.actor('client')]
  await pod.tell({ do: 'serve', port: 8080 })
  const agents = new RackAgent(t, rack, oneService)
  const agent = reading(agents.start())
  await waitFor(
    'the Service to be served',
    () =>
      user.tell({ do: 'tcp', address: vip, port: 80, size: 1 }).then(
        () => true,
        () => false,
      ),
    { everyMs: 200 },
  ).catch((error: unknown) => assert.fail(`${String(error)}\n${agent.text()}`))
  const observe = (...args: string[]): Running =>
    reading(rack.start('node', [herald, 'observe', '--socket', agents.socket, ...args]))
  const lines = observe('-f')
  const json = observe('-f', '-o', 'json', '--verdict', 'DROPPED', '--not', '--port', '82')
  const doomed = observe('-f')
  // Until all of them look, something may pass unseen: it is done again and again.
  const isSeen = async (): Promise<boolean> => {
    await user.tell({ do: 'tcp', address: vip, port: 80, size: 1 })
    for (const port of [81, 82]) await user.tell({ do: 'tcp', address: vip, port, size: 1 }).catch(() => undefined)
    return / close .*\n/.test(lines.text()) && json.text().includes('\n') && doomed.text().includes('\n')
  }
  await waitFor('all of them to see something', isSeen, { everyMs: 100 }).catch((error: unknown) =>
    assert.fail(`${String(error)}\n${lines.text()}\n${json.text()}\n${agent.text()}`),
  )
  const stamp = String.raw`^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d\.\d{3}: ${client}:\d+ -> `
  const backend = String.raw`; backend shop/web-0 ${pods[0]}:8080\)$`
  const web = String.raw`shop/web:80 \(${vip}\)`
  assert.match(lines.text(), new RegExp(`${stamp}${web} new FORWARDED \\(TCP Flags: SYN${backend}`, 'm'))
  assert.match(lines.text(), new RegExp(`${stamp}${web} close FORWARDED \\(TCP Flags: .*; fin${backend}`, 'm'))
  assert.match(lines.text(), new RegExp(`${stamp}${vip}:81 unowned_port DROPPED \\(TCP Flags: SYN; refused\\)$`, 'm'))
  const drops = json
    .text()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as FlowResponse)
  for (const { flow, node_name: node } of drops)
    assert.deepEqual(
      [flow?.verdict, flow?.drop_reason_desc, flow?.l4?.TCP?.destination_port, node],
      ['DROPPED', 'UNOWNED_PORT', 81, 'node1'],
    )
  doomed.child.kill('SIGKILL')
  await doomed.exited()
  const seen = lines.text().length
  await user.tell({ do: 'tcp', address: vip, port: 80, size: 1 })
  await waitFor('the next connection', () => lines.text().length > seen)
  const past = observe('--last', '2', '-o', 'dict', '--type', 'new')
  assert.equal(await past.exited(), 0)
  assert.equal(past.text().match(/^ {4}VERDICT: FORWARDED$/gm)?.length, 2, past.text())
  const wrong = observe('--ip', 'nobody')
  assert.equal(await wrong.exited(), 2, wrong.text())
  assert.match(wrong.text(), /--ip nobody: an address/)
  json.child.kill('SIGINT')
  assert.equal(await json.exited(), 0)
  agent.child.kill('SIGTERM')
  await agent.exited()
  assert.equal(await lines.exited(), 3)
  assert.match(lines.text(), /the agent/)
})
