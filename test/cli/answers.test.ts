/** What answers in place of an agent, or answers half: every verb says so in a line, with the exit code of its kind. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { FlowResponse } from '../../src/api/flow-types.ts'
import { explained, hostile, peers, routes, services, status } from '../api/memory-views.ts'
import { newFlow } from './flows.ts'
import { CommandLine, type Outcome } from './in-worker.ts'

const folder = mkdtempSync(join(tmpdir(), 'herald-answers-'))
const socket = join(folder, 'herald.sock')
const asked: string[] = []
let line: CommandLine
let server: Server
/** What is done with a connection once a request is there. */
let answer: (connection: Socket, request: string) => void

before(async () => {
  line = new CommandLine()
  server = createServer((connection) => {
    connection.on('error', () => undefined)
    connection.once('data', (chunk) => {
      const request = chunk.toString('latin1')
      asked.push(request.split(' ').slice(0, 2).join(' '))
      answer(connection, request)
    })
  })
  await new Promise<void>((resolve) => server.listen(socket, resolve))
})

after(async () => {
  await line.end()
  server.close()
  rmSync(folder, { recursive: true })
})

/** Every verb that asks the agent, with what a good answer is. */
const verbs: readonly (readonly [words: readonly string[], path: RegExp, body: unknown, code: number])[] = [
  [['status'], /^GET \/api\/v1\/status$/, status, 1],
  [['bgp', 'peers'], /^GET \/api\/v1\/peers$/, peers, 0],
  [
    ['bgp', 'routes', 'advertised'],
    /^GET \/api\/v1\/routes\?table=advertised&family=ipv4-unicast/,
    { items: routes },
    0,
  ],
  [['lb', 'list'], /^GET \/api\/v1\/services\?limit=\d+$/, { items: services }, 0],
  [
    ['explain', 'service', 'web'],
    /^GET \/api\/v1\/explain\?kind=service&name=default%2Fweb$/,
    explained('service', 'default/web'),
    0,
  ],
  [['explain', 'peer', '192.0.2.7'], /^GET \/api\/v1\/explain\?kind=peer&name=192.0.2.7$/, explained('peer', 'x'), 1],
  [['drain'], /^POST \/api\/v1\/commands\/drain\?undo=false$/, { what: 'drain', applied: [], refused: [] }, 0],
  [
    ['bgp', 'reset', '192.0.2.1', '--soft', 'in'],
    /^POST \/api\/v1\/commands\/reset\?peer=192.0.2.1&soft=in$/,
    { what: 'reset', applied: [], refused: [{ peer: '1/192.0.2.1', reason: hostile }] },
    1,
  ],
  [
    ['bgp', 'refresh', '*'],
    /^POST \/api\/v1\/commands\/refresh\?peer=\*$/,
    { what: 'refresh', applied: ['65001/192.0.2.1'], refused: [] },
    0,
  ],
]

const says =
  (code: number, body: string, more = 'content-type: application/json\r\n') =>
  (connection: Socket): void => {
    const length = Buffer.byteLength(body)
    connection.end(`HTTP/1.1 ${code} Said\r\n${more}content-length: ${length}\r\nconnection: close\r\n\r\n${body}`)
  }
const raw =
  (bytes: string, isCut = false) =>
  (connection: Socket): void => {
    connection.write(bytes, () => (isCut ? connection.destroy() : connection.end()))
  }
const head = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n'
const control = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e]/

const run = async (words: readonly string[]): Promise<Outcome> => {
  const outcome = await line.run(...words, '--socket', socket)
  assert.doesNotMatch(outcome.stdout + outcome.stderr, control, words.join(' '))
  return outcome
}

test('every verb asks for what it is for, and means by its exit code what the answer says', async () => {
  for (const [words, path, body, code] of verbs) {
    answer = says(200, JSON.stringify(body))
    const found = await run(words)
    assert.deepEqual([found.code, found.stderr], [code, ''], words.join(' '))
    assert.match(asked.at(-1) ?? '', path)
    assert.notEqual(found.stdout, '')
    const json = await run([...words, '-o', 'json'])
    assert.equal(json.code, code, words.join(' '))
    const items: unknown = typeof body === 'object' && body !== null && 'items' in body ? body.items : body
    assert.deepEqual(JSON.parse(json.stdout), items, words.join(' '))
  }
})

test('status says of each interface what runs in front of the kernel, and why not', async () => {
  const shown = async (acceleration: object | undefined): Promise<string> => {
    const { datapath } = status as { readonly datapath: object }
    answer = says(200, JSON.stringify({ ...status, datapath: { ...datapath, acceleration } }))
    return (await run(['status'])).stdout
  }
  const reason = `its driver takes no XDP program ${hostile}`
  const interfaces = [
    { interface: 'br0', mode: 'none', reason },
    { interface: 'eth0', mode: 'native' },
    { interface: 'eth1', mode: 'native', packets: { handedOn: 7, answered: 0, dropped: 12 } },
  ]
  const text = await shown({ wanted: 'best-effort', interfaces })
  assert.match(text, /^XDP +best-effort\n +br0 +none: its driver takes no XDP program .*\n +eth0 +native$/m)
  assert.match(text, /^ +eth1 +native, 7 handed on, 0 answered, 12 dropped$/m)
  const old = await shown({ wanted: 'native', interfaces, problem: 'this kernel is too old' })
  assert.match(old, /^XDP +native, and no interface has it: this kernel is too old$/m)
  assert.doesNotMatch(old, /br0/)
  assert.doesNotMatch(await shown(undefined), /^XDP/m)
})

test('explain says what XDP takes of each frontend of a Service, and what each interface takes', async () => {
  const shown = async (acceleration: object): Promise<string> => {
    answer = says(
      200,
      JSON.stringify({ subject: 's', exists: true, ok: true, verdicts: [], announcedTo: [], acceleration }),
    )
    return (await run(['explain', 'service', 'shop/web'])).stdout
  }
  const frontends = [
    { frontend: '203.0.113.10:80/TCP', takes: ['handedOn', 'answered', 'dropped'] },
    { frontend: '0.0.0.0:30080/TCP', takes: [], why: `node ports are left to TC ${hostile}` },
  ]
  const interfaces = [{ interface: 'br0', mode: 'none', reason: `its driver takes none ${hostile}` }]
  const text = await shown({ frontends, interfaces })
  assert.match(text, /^ +XDP +203\.0\.113\.10:80\/TCP +packets for other nodes, echo requests, drops$/m)
  assert.match(text, /^ +XDP +0\.0\.0\.0:30080\/TCP +nothing: node ports are left to TC .*\n +br0 +none: its driver/m)
  assert.match(await shown({ frontends, interfaces, problem: 'too old' }), /^ +no interface has it: too old$/m)
})

test('status says in words what sockets are led to, and what serves the rest', async () => {
  const covers = { clusterIP: true, loadBalancerIP: true, externalIP: false, nodePort: false }
  const counts = { translated: 7, refused: 1, unrecorded: 0 }
  const on = { isOn: true, covers, cgroup: '/sys/fs/cgroup', isWholeNode: true, frontends: 12, isDone: true, counts }
  const shown = async (socketLb: object): Promise<string> => {
    answer = says(200, JSON.stringify({ ...status, socketLb }))
    return (await run(['status'])).stdout
  }
  const text = await shown({ ...on, kubeProxy: 'iptables' })
  assert.match(text, /^Socket LB +on, whole node \(\/sys\/fs\/cgroup\), 12 frontends, 7 led, 1 refused$/m)
  assert.match(
    text,
    /ClusterIP yes, LoadBalancer yes, externalIPs no, NodePort no; kube-proxy \(iptables\) serves the rest/,
  )
  const part = await shown({ ...on, kubeProxy: 'absent', isWholeNode: false, isDone: false })
  assert.match(part, /on, part of the node .*, being written.*\n.*; no kube-proxy: the rest is not served$/m)
  assert.doesNotMatch(part, /ended/)
  const ended = { count: 3, protocols: ['UDP', 'TCP'], areOfPods: true }
  assert.match(
    await shown({ ...on, kubeProxy: 'absent', ended }),
    /3 ended whose backend is gone: UDP and TCP, .* pods$/m,
  )
  const ofNode = { count: 0, protocols: ['UDP'], areOfPods: false }
  assert.match(await shown({ ...on, kubeProxy: 'absent', ended: ofNode }), /0 ended .*: UDP, .* not of pods/)
  const none = { clusterIP: false, loadBalancerIP: false, externalIP: false, nodePort: false }
  const off = await shown({ isOn: false, covers: none, kubeProxy: 'unknown', problem: `no cgroup ${hostile}` })
  assert.match(off, /^Socket LB +off: no cgroup /m)
  answer = says(200, JSON.stringify(status))
  assert.doesNotMatch((await run(['status'])).stdout, /Socket LB/)
})

test('status says in words what is served in the place of kube-proxy and what is not, or why it is left to it', async () => {
  const fromOutside = {
    ...{ clusterIP: 'advertised', loadBalancerIP: 'own', externalIP: true, nodePort: true },
    healthCheckNodePort: true,
  }
  const fromInside = { clusterIP: true, loadBalancerIP: true, externalIP: true, nodePort: false }
  const on = { isReplaced: true, rules: 'absent', nodePortAddresses: ['192.0.2.1', '2001:db8::1'] }
  const shown = async (more: object, services = {}): Promise<string> => {
    const kubeProxy = { ...on, fromOutside, fromInside, notServed: ['SCTP', `hostPort ${hostile}`], ...more }
    answer = says(200, JSON.stringify({ ...status, kubeProxy, services: { ...status.services, ...services } }))
    return (await run(['status'])).stdout
  }
  const text = await shown({}, { served: 3 })
  assert.match(text, /^Proxy +kube-proxy replaced; node ports at 192\.0\.2\.1 2001:db8::1$/m)
  assert.match(text, /from outside: ClusterIP advertised, LoadBalancer own, externalIPs yes, NodePort yes, healthCheck/)
  assert.match(text, /from sockets here: ClusterIP yes, LoadBalancer yes, externalIPs yes, NodePort no$/m)
  assert.match(text, /by nobody: SCTP, hostPort /)
  assert.match(text, /, 3 served and not to be announced, /)
  const left = await shown({ isReplaced: false, reason: `rules ${hostile}`, nodePortAddresses: [] })
  assert.match(left, /^Proxy +kube-proxy not replaced: rules /m)
  assert.match(await shown({ nodePortAddresses: [] }), /replaced; node ports at no address$/m)
  answer = says(200, JSON.stringify(status))
  assert.doesNotMatch((await run(['status'])).stdout, /^Proxy/m)
})

test('what this version does not know in an answer is shown as it came, and changes nothing else', async () => {
  const added = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(added)
    if (typeof value !== 'object' || value === null) return value
    const entries = Object.entries(value).map(([key, each]): [string, unknown] => [key, added(each)])
    return { ...Object.fromEntries(entries), laterKey: { of: ['another', 1] } }
  }
  for (const [words, , body, code] of verbs) {
    answer = says(200, JSON.stringify(body))
    const plain = await run(words)
    answer = says(200, JSON.stringify(words[0] === 'status' ? { ...(body as object), laterKey: 1 } : added(body)))
    assert.deepEqual(await run(words), { ...plain, code }, words.join(' '))
  }
})

const torn: readonly (readonly [what: string, answer: (connection: Socket) => void])[] = [
  ['ends at once', (connection) => void connection.end()],
  ['is gone at once', (connection) => void connection.destroy()],
  ['speaks no HTTP', raw('SSH-2.0-OpenSSH_9.2\r\n')],
  ['speaks TLS', raw('\x15\x03\x01\x00\x02\x02\x28')],
  ['says half a head', raw('HTTP/1.1 200 OK\r\ncontent-le')],
  ['says half a body', raw(`${head}content-length: 500\r\n\r\n{"node":"node1"`)],
  ['is cut in the body', raw(`${head}content-length: 500\r\n\r\n{"node":"node1"`, true)],
  ['says half a chunk', raw(`${head}transfer-encoding: chunked\r\n\r\n40\r\n{"node":`)],
  ['says a chunk of no length', raw(`${head}transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n`)],
]

test('an answer that ends in its middle is an agent that cannot be reached: exit 3, nothing on stdout', async () => {
  for (const [what, how] of torn)
    for (const [words] of verbs) {
      answer = how
      const { code, stdout, stderr } = await run(words)
      assert.deepEqual([code, stdout], [3, ''], `${words.join(' ')}: ${what}`)
      assert.match(stderr, /^herald: cannot reach the agent at [^\n]*herald\.sock: [^\n]+\n[^\n]+\n$/, what)
    }
})

const wrong: readonly (readonly [what: string, body: string])[] = [
  ['nothing', ''],
  ['no JSON', '{"node": '],
  ['a page', '<html><body>nginx</body></html>'],
  ['null', 'null'],
  ['a number', '7'],
  ['a text', '"ok"'],
  ['another map', '{"status": "ok"}'],
  ['a list of others', '[[], null, 7]'],
  ['a page of others', '{"items": [7]}'],
]

test('an answer of another form is no agent of this version: exit 1, what is wrong, nothing on stdout', async () => {
  for (const [what, body] of wrong)
    for (const [words] of verbs) {
      answer = says(200, body)
      const { code, stdout, stderr } = await run(words)
      assert.deepEqual([code, stdout], [1, ''], `${words.join(' ')}: ${what}`)
      assert.match(stderr, /is no agent of this version: answer[.\w[\]]* is no \w+\n[^\n]+\n$/, what)
    }
})

test('a refusal is said in the words of who refuses, printable and short', async () => {
  const long = 'x'.repeat(5000)
  for (const [status, body, code, said] of [
    [500, JSON.stringify({ error: { code: 'ERR_INTERNAL', message: `on fire ${hostile}` } }), 1, /500: on fire bye/],
    [503, JSON.stringify({ error: { code: 'ERR_BUSY', message: 'too many' } }), 1, /503: too many/],
    [404, '<html>\n  <h1>Not Found</h1>\n', 1, /is no agent: 404 <html> <h1>Not Found<\/h1>\n/],
    [302, '', 1, /is no agent: 302/],
    [401, '{"error": 7}', 1, /is no agent: 401 \{"error": 7\}/],
    [400, JSON.stringify({ error: { code: 'ERR_USAGE', message: 'what is this?' } }), 2, /400: what is this\?/],
    [502, long, 1, /502 x{100}\n/],
  ] as const)
    for (const [words] of verbs) {
      answer = says(status, body)
      const found = await run(words)
      assert.deepEqual([found.code, found.stdout], [code, ''], `${words.join(' ')}: ${status}`)
      assert.match(found.stderr, said)
      assert.ok(found.stderr.length < 1000, `${found.stderr.length} characters`)
    }
})

test('a list that breaks on its second page shows the first one, and is no success', async () => {
  for (const [words, body] of [
    [['bgp', 'routes', 'advertised'], routes],
    [['lb', 'list'], services],
  ] as const)
    for (const [how, code] of [
      [says(200, '{"items": [{}]}'), 1],
      [says(410, JSON.stringify({ error: { code: 'ERR_EXPIRED', message: 'the list has changed' } })), 1],
      [raw('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{'), 3],
    ] as const) {
      answer = (connection, request) =>
        request.includes('continue=')
          ? how(connection)
          : says(200, JSON.stringify({ items: body, continue: 'a b&c' }))(connection)
      const found = await run(words)
      assert.equal(found.code, code, found.stderr)
      assert.notEqual(found.stdout, '')
      assert.match(asked.at(-1) ?? '', /&continue=a%20b%26c$/, 'the token is passed on as it is')
    }
})

const flow: FlowResponse = { node_name: 'node1', time: newFlow.time, flow: newFlow }
const lines = (...responses: readonly unknown[]): string =>
  responses.map((each) => `${JSON.stringify(each)}\n`).join('')

test('observe ends with the answer, and shows what came before an answer that is torn or is none', async () => {
  answer = says(200, lines(flow, flow))
  const whole = await run(['observe'])
  assert.deepEqual([whole.code, whole.stdout.split('\n').length, whole.stderr], [0, 3, ''])
  answer = says(200, '')
  const empty = await run(['observe'])
  assert.deepEqual([empty.code, empty.stdout], [0, ''])
  assert.match(empty.stderr, /--flow-events always/)
  answer = raw(`HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n${lines(flow)}{"no`)
  const cut = await run(['observe'])
  assert.deepEqual([cut.code, cut.stdout], [3, whole.stdout.split('\n').slice(0, 1).join('') + '\n'])
  for (const body of ['7\n', '{}\n', '<html>\n', lines(flow, { node_name: 'a' })]) {
    answer = says(200, body)
    const { code, stderr } = await run(['observe'])
    assert.equal(code, 1, body)
    assert.match(stderr, /is no agent of this version: answer[.\w]* is no \w+\n/, body)
  }
  answer = says(200, 'x'.repeat(1024 * 1024 + 1))
  const endless = await run(['observe'])
  assert.deepEqual([endless.code, endless.stdout], [1, ''])
  assert.match(endless.stderr, /a line without an end/)
})

test('an event that has not the form of one is no agent of this version, in whatever format it is asked for', async () => {
  for (const spoilt of [7, {}, { ...flow.flow, IP: undefined }, { ...flow.flow, herald: 7 }, { ...flow.flow, time: 5 }])
    for (const format of ['compact', 'dict', 'table']) {
      answer = says(200, lines({ ...flow, flow: spoilt }))
      const { code, stdout, stderr } = await run(['observe', '-o', format])
      assert.deepEqual([code, stdout], [1, ''], `${format} ${JSON.stringify(spoilt)}`)
      assert.match(stderr, /is no agent of this version/, JSON.stringify(spoilt))
    }
})

test('a filter that means nothing is a usage error before anybody is asked', async () => {
  answer = says(200, lines(flow))
  const before = asked.length
  for (const [flag, value, words] of [
    ['--type', 'gone', /one of new, close, rehash, drop, led is wanted/],
    ['--verdict', 'MAYBE', /FORWARDED, DROPPED/],
    ['--drop-reason-desc', 'bored', /no_backend/],
    ['--protocol', 'quic', /udp/],
    ['--tcp-flags', 'SYN,HELLO', /flags are FIN, SYN/],
    ['--ip', '192.0.2.300', /an address, or a prefix/],
    ['--from-ip', 'router', /an address, or a prefix/],
    ['--to-ip', '192.0.2.0/33', /an address, or a prefix/],
    ['--port', '0', /a port from 1 to 65535/],
    ['--from-port', '65536', /a port from 1 to 65535/],
    ['--to-port', 'http', /a port from 1 to 65535/],
    ['--service', 'Web', /NAMESPACE\/NAME/],
    ['--pod', '', /NAMESPACE\/NAME/],
    ['--from-pod', 'a/b/c', /NAMESPACE\/NAME/],
    ['--to-pod', 'a b', /NAMESPACE\/NAME/],
    ['--namespace', 'a/b', /a namespace is wanted/],
  ] as const)
    for (const not of [[], ['--not']]) {
      const { code, stdout, stderr } = await run(['observe', ...not, flag, value])
      assert.deepEqual([code, stdout], [2, ''], `${flag} ${value}`)
      assert.match(stderr, words)
      assert.ok(stderr.includes(`${flag} ${value}:`), stderr)
    }
  assert.equal(asked.length, before)
})

test('a list that names its next page again and again ends in a fault, after what it had', async () => {
  for (const [words, body] of [
    [['lb', 'list', '-o', 'json'], { items: services, continue: 'more' }],
    [['bgp', 'routes', 'advertised', '-o', 'yaml'], { items: [], continue: 'more' }],
  ] as const) {
    answer = says(200, JSON.stringify(body))
    const before = asked.length
    const { code, stderr } = await run(words)
    assert.equal(code, 1)
    assert.match(stderr, /a list without an end/)
    assert.equal(asked.length - before, 2)
  }
})

test('flags of observe become the question, and those behind --not leave out', async () => {
  answer = says(200, '')
  const since = Date.now()
  const cases: readonly (readonly [words: readonly string[], query: Readonly<Record<string, string>>])[] = [
    [[], { follow: 'false' }],
    [['--last', '7'], { last: '7' }],
    [['--all'], { last: '999999' }],
    [['--since', '2026-01-02T03:04:05Z'], { since: String(Date.UTC(2026, 0, 2, 3, 4, 5)) }],
    [['--until', '2026-01-02T03:04:05.5+01:00'], { until: String(Date.UTC(2026, 0, 2, 2, 4, 5, 500)) }],
    [['-t', 'drop', '--verdict', 'DROPPED'], { type: 'drop', verdict: 'DROPPED' }],
    [['--not', '--port', '53', '--port', '80'], { 'not.port': '53', port: '80' }],
    [['--not', '-4', '-6'], { 'not.ip-version': '4', 'ip-version': '6' }],
    [['--pod', 'shop/a-b.c', '--service', 'default/web'], { pod: 'shop/a-b.c', service: 'default/web' }],
    [['--from-ip', '10.0.0.0/8', '--to-ip', '2001:db8::/32'], { 'from-ip': '10.0.0.0/8', 'to-ip': '2001:db8::/32' }],
    [['--tcp-flags', 'SYN,ACK', '-n', 'default'], { 'tcp-flags': 'SYN,ACK', namespace: 'default' }],
  ]
  for (const [words, query] of cases) {
    assert.equal((await run(['observe', ...words])).code, 0, words.join(' '))
    const found = new URL(asked.at(-1)?.slice('GET '.length) ?? '', 'http://localhost').searchParams
    assert.deepEqual(Object.fromEntries(found), { follow: 'false', ...query }, words.join(' '))
  }
  await run(['observe', '--since', '1h30m'])
  const ago = new URL(asked.at(-1)?.slice('GET '.length) ?? '', 'http://localhost').searchParams.get('since')
  assert.ok(Math.abs(since - 5_400_000 - Number(ago)) < 60_000)
  for (const words of [['--since', 'yesterday'], ['--last', '-1'], ['--not'], ['--last', '1e3'], ['--until', '5']])
    assert.equal((await run(['observe', ...words])).code, 2, words.join(' '))
})
