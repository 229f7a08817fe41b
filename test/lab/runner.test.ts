import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { leftovers, tracesOf } from '../../lab/leftovers.ts'
import { Lab } from '../../lab/runner.ts'
import { waitFor } from '../wait.ts'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const skip = process.geteuid?.() === 0 ? false : 'needs root for network namespaces'

const pair = `
name: pair
topology:
  defaults: {kind: linux, image: alpine, network-mode: none}
  nodes:
    a:
      binds: [greeting.txt:/run/greeting.txt:ro]
      env: {WHO: a}
      sysctls: {net.ipv4.ip_forward: 1}
      cmd: sh -c 'echo started as $WHO; exec sleep infinity'
      exec:
        - ip addr add 192.0.2.1/30 dev eth1
    b:
      exec:
        - ip addr add 192.0.2.2/30 dev eth1
  links:
    - endpoints: ["a:eth1", "b:eth1"]
      mtu: 1400
`

function openPair(context: TestContext, text = pair): Lab {
  const folder = mkdtempSync(join(tmpdir(), 'herald-test-pair-'))
  writeFileSync(join(folder, 'pair.clab.yml'), text)
  writeFileSync(join(folder, 'greeting.txt'), 'hello\n')
  const lab = Lab.open({ file: join(folder, 'pair.clab.yml'), root })
  context.after(async () => {
    await lab.destroy()
    rmSync(folder, { recursive: true, force: true })
  })
  return lab
}

test('two nodes come up with their link, name, binds, environment and kernel settings, and reach each other', {
  skip,
}, async (context) => {
  const lab = openPair(context)
  await lab.up()
  const [a, b] = [lab.node('a'), lab.node('b')]
  await a.must(['ping', '-c1', '-W2', '192.0.2.2'])
  assert.equal((await a.must(['uname', '-n'])).trim(), 'a')
  assert.equal(await a.must(['cat', '/run/greeting.txt']), 'hello\n')
  assert.notEqual((await a.run(['sh', '-c', 'echo x > /run/greeting.txt'])).code, 0, 'a read-only bind was written')
  assert.equal((await a.must(['cat', '/proc/sys/net/ipv4/ip_forward'])).trim(), '1')
  assert.match(await b.must(['ip', 'link', 'show', 'eth1']), /mtu 1400/)
  await waitFor('the command runs', async () =>
    (await a.run(['sh', '-c', 'tr "\\0" " " < /proc/$(cat /run/cmd.pid)/cmdline'])).stdout.startsWith('sleep infinity'),
  )
  assert.equal((await b.must(['cat', '/proc/1/comm'])).trim(), 'cat', 'b sees processes of others')
})

test('a killed command can be started again, and its node stays', { skip }, async (context) => {
  const lab = openPair(context)
  await lab.up()
  const before = lab.node('a').netns
  await waitFor('the command runs', async () => (await lab.node('a').run(['test', '-s', '/run/cmd.pid'])).code === 0)
  await lab.killCommand('a', 'KILL')
  assert.ok(lab.hasEnded('a'))
  lab.startCommand('a')
  assert.ok(!lab.hasEnded('a'))
  assert.equal(lab.node('a').netns, before)
  await lab.node('a').must(['ping', '-c1', '-W2', '192.0.2.2'])
})

test('the script of a node in the work folder runs a command inside it', { skip }, async (context) => {
  const lab = openPair(context)
  await lab.up()
  const child = spawn(join(lab.workFolder, 'a'), ['sh', '-c', 'uname -n; echo $WHO'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  assert.deepEqual([(await lines.next()).value, (await lines.next()).value], ['a', 'a'])
})

test('tear-down leaves no process, namespace or file, also when it is asked for twice', { skip }, async (context) => {
  const lab = openPair(context)
  await lab.up()
  const traces = await tracesOf(lab)
  assert.equal(traces.namespaces.size, 2)
  assert.notDeepEqual(await leftovers(traces), [], 'a running lab must be seen by the search for leftovers')
  await Promise.all([lab.destroy(), lab.destroy()])
  assert.deepEqual(await leftovers(traces), [])
})

test('a lab whose process is killed with SIGKILL takes its namespaces and processes with it', {
  skip,
}, async (context) => {
  const lab = openPair(context)
  const file = join(lab.workFolder, 'pair.clab.yml')
  writeFileSync(file, pair)
  writeFileSync(join(lab.workFolder, 'greeting.txt'), 'hello\n')
  const program = `
    import { Lab } from ${JSON.stringify(join(root, 'lab/runner.ts'))}
    const lab = Lab.open({ file: ${JSON.stringify(file)}, root: ${JSON.stringify(root)} })
    await lab.up()
    console.log(JSON.stringify([lab.workFolder, ...lab.names.map((name) => lab.node(name).netns)]))
  `
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string]
  const [workFolder = '', ...namespaces] = JSON.parse(line) as string[]
  context.after(() => rmSync(workFolder, { recursive: true, force: true }))
  const traces = { workFolder: '/nonexistent', namespaces: new Set(namespaces), bpf: [] }
  assert.notDeepEqual(await leftovers(traces), [])
  const ended = once(child, 'exit')
  child.kill('SIGKILL')
  await ended
  await waitFor('nothing runs in the namespaces', async () => (await leftovers(traces)).length === 0)
  assert.ok(existsSync(workFolder))
  openPair(context)
  assert.ok(!existsSync(workFolder), 'the next lab of that name sweeps the folder')
})

test('a failing exec line is told with its node and words, and the lab can still be torn down', {
  skip,
}, async (context) => {
  const lab = openPair(context, pair.replace('ip addr add 192.0.2.2/30 dev eth1', 'ip addr add 192.0.2.2/30 dev eth9'))
  await assert.rejects(lab.up(), {
    code: 'ERR_LAB',
    message: /^b: ip addr add 192\.0\.2\.2\/30 dev eth9: exit 1: .*eth9/,
  })
  await lab.destroy()
  assert.ok(!existsSync(lab.workFolder))
})

test('a bind whose mount point would have to be made on this machine is refused', { skip }, async (context) => {
  const lab = openPair(context, pair.replace('/run/greeting.txt:ro', '/herald-nowhere/greeting.txt'))
  await assert.rejects(lab.up(), {
    code: 'ERR_LAB',
    message: /pair\.clab\.yml:6: node a: bind .* must exist on this machine or lie below \/run/,
  })
  assert.ok(!existsSync('/herald-nowhere'))
})
