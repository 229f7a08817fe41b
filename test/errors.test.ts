/**
 * The table of errors, row by row: each is provoked, here by the program itself or by a test that is named, and what is
 * printed has the hint of its row. A code without a row here does not compile.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { openFileBook } from '../src/allocation/file-book.ts'
import { type ErrorCode, errorTable } from '../src/errors.ts'
import { startSpeakerThread } from '../src/speaker/speaker-thread.ts'
import { exchanged } from './allocation/requests.ts'

const root = new URL('../', import.meta.url)
const herald = fileURLToPath(new URL('bin/herald', root))
const folder = mkdtempSync(join(tmpdir(), 'herald-errors-'))
after(() => rmSync(folder, { recursive: true }))
const at = (name: string): string => join(folder, name)

interface Run {
  readonly words: readonly string[]
  readonly code: number
  readonly says: RegExp
}

/** Shown by another test: its file, and its title or the beginning of it. */
type Shown = readonly [file: string, title: string]

const kubeconfig = {
  apiVersion: 'v1',
  kind: 'Config',
  'current-context': 'c',
  clusters: [{ name: 'c', cluster: { server: 'https://127.0.0.1:1', 'insecure-skip-tls-verify': true } }],
  users: [{ name: 'u', user: { token: 't' } }],
  contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
}
writeFileSync(at('kubeconfig'), JSON.stringify(kubeconfig))
const quiet = ['--http', 'none', '--bgp-listen', 'none', '--datapath', 'none', '--log-format', 'text']

const rows: Readonly<Record<ErrorCode, Run | Shown | (() => unknown)>> = {
  ERR_USAGE: { words: ['nope'], code: 2, says: /unknown command 'nope'/ },
  ERR_AGENT_UNREACHABLE: { words: ['status', '--socket', at('none')], code: 3, says: /cannot reach the agent at/ },
  ERR_AGENT_ANSWER: ['test/cli/answers.test.ts', 'a list that names its next page again and again'],
  ERR_ALREADY_RUNNING: ['test/api/server.test.ts', 'a second agent on a live socket is refused'],
  ERR_MANIFESTS: {
    words: ['agent', '--manifests', at('none'), '--state-dir', at('state'), '--socket', at('sock'), ...quiet],
    code: 1,
    says: /--manifests \S+ is not a folder/,
  },
  ERR_ADDRESS_BOOK: bookInItsPlace,
  ERR_KUBECONFIG: { words: ['status', '--kubeconfig', at('none')], code: 2, says: /none/ },
  ERR_API_SERVER: {
    words: ['status', '--kubeconfig', at('kubeconfig')],
    code: 3,
    says: /127\.0\.0\.1:1: .*ECONNREFUSED/,
  },
  ERR_ADDRESS: ['test/datapath/backends.test.ts', 'an address is a VIP or a backend of ours, never both'],
  ERR_BGP_LISTEN: ['test/speaker/session/listener.test.ts', 'a port that is taken is ERR_BGP_LISTEN naming it'],
  ERR_HTTP: ['test/api/probes.test.ts', 'a port that is taken is an error that names the flag'],
  ERR_BUSY: ['test/cli/answers.test.ts', 'a refusal is said in the words of who refuses'],
  ERR_EXPIRED: ['test/agent/views.test.ts', 'a walk of another process is not gone on with'],
  ERR_OUTPUT: ['test/cli/exit-codes.test.ts', 'an answer that stdout does not take is one line on stderr'],
  ERR_NO_NEIGHBOR: strangerIsAsked,
  ERR_SPEAKER_EXITED: ['test/speaker/speaker-thread.test.ts', 'an error that nobody handles ends the thread'],
  ERR_SYSCALL: ['test/agent/own-addresses.test.ts', 'own addresses are listed once a second at most'],
  ERR_LIBBPF_MISSING: brokenLibrary,
  ERR_BPF_REFUSED: ['test/chart/container.test.ts', 'where the runtime keeps bpf(2) from it the agent says so'],
  ERR_CONFINED: ['test/datapath/kernels/confined.ts', 'confined | what its profile refuses is said with its name'],
  ERR_BPF_OBJECT_MISSING: ['test/datapath/loading.test.ts', 'what keeps the datapath from loading is said with a code'],
  ERR_FILE_LIMIT: ['test/datapath/refusal.test.ts', 'a limit of open files is no fault of the kernel'],
  ERR_BPF_LOAD: ['test/datapath/loading.test.ts', 'what keeps the datapath from loading is said with a code'],
  ERR_ATTACH: ['test/datapath/uplinks.test.ts', 'an interface without an Ethernet header is refused with the reason'],
  ERR_NO_EVENTS: ['test/flows/flows-thread.test.ts', 'an agent without the eBPF datapath says so'],
  ERR_BPFFS: ['test/sys/flock.test.ts', 'what is no bpf file system is said with the errno of the call'],
  ERR_CGROUP: ['test/sys/cgroup.test.ts', 'what is no cgroup v2 is said, and where one is'],
  ERR_MAP_FULL: ['test/agent/agent.test.ts', 'full maps are one fault, said once, which ends with its cause'],
  ERR_READ_BACK: ['test/datapath/backends.test.ts', 'what is written is proved by a first packet'],
  ERR_RECORDING: ['test/speaker/recording/replay.test.ts', 'what is no recording is refused by a line number'],
  ERR_LAB: ['test/lab/runner.test.ts', 'a failing exec line is told with its node and words'],
}

/** A link where the record is to be: nothing is written through it, and nothing given away. */
function bookInItsPlace(): void {
  mkdirSync(at('elsewhere'))
  mkdirSync(at('manifests'))
  symlinkSync(at('elsewhere'), at('manifests/.herald'))
  const book = openFileBook(at('manifests'), at('no-state'))
  exchanged(book, () => new Map([['default/web', { addresses: ['203.0.113.1'] }]]))
  assert.match(String(book.warning?.message ?? ''), /is a link/)
  assert.ok(!existsSync(at('elsewhere/allocations.yaml')))
}

/** What the loader finds first is no library: said as what the command line says it. */
function brokenLibrary(): void {
  mkdirSync(at('libraries'))
  writeFileSync(at('libraries/libbpf.so.1'), '')
  const [libbpf, exit] = ['src/sys/libbpf.ts', 'src/cli/exit.ts'].map((path) => new URL(path, root).href)
  const script = `import { libbpfInt } from '${libbpf}'
import { reportFailure } from '${exit}'
try { libbpfInt('libbpf_num_possible_cpus') } catch (error) { process.exitCode = reportFailure(error) }`
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', script], {
    encoding: 'utf8',
    env: { LD_LIBRARY_PATH: at('libraries') },
  })
  assert.equal(status, 3)
  assert.match(stderr, /libbpf\.so\.1 cannot be loaded: /)
  assert.ok(stderr.includes(errorTable.ERR_LIBBPF_MISSING), stderr)
}

/** A table of a peer that this node does not have. */
async function strangerIsAsked(): Promise<void> {
  const thread = startSpeakerThread({ isRestart: false, isForwardingPreserved: false })
  try {
    const asked = thread.routes({ table: 'received', family: 'ipv4-unicast', peer: '192.0.2.9' }, 1)
    await assert.rejects(asked, { code: 'ERR_NO_NEIGHBOR', hint: errorTable.ERR_NO_NEIGHBOR })
  } finally {
    await thread.stop('shutdown', '')
  }
}

const titles = (file: string): readonly string[] =>
  [...readFileSync(new URL(file, root), 'utf8').matchAll(/^\s*test\(\s*(['"`])((?:\\.|(?!\1).)*)\1/gm)].map(
    ([, , title = '']) => title.replaceAll("\\'", "'"),
  )

for (const [code, row] of Object.entries(rows) as [ErrorCode, (typeof rows)[ErrorCode]][])
  test(`${code} is provoked, and what is said has what to do next`, async () => {
    if (typeof row === 'function') return void (await row())
    if (!('words' in row)) {
      const [file, title] = row
      assert.ok(
        titles(file).some((each) => each.startsWith(title)),
        `${file} has no test "${title}"`,
      )
      return
    }
    const { words, code: exit, says } = row
    const { status, stdout, stderr } = spawnSync(herald, words, {
      encoding: 'utf8',
      timeout: 60_000,
      env: { PATH: process.env['PATH'] },
    })
    assert.deepEqual([status, stdout], [exit, ''], stderr)
    assert.match(stderr, says)
    assert.ok(stderr.includes(errorTable[code]), stderr)
  })
