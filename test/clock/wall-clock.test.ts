/** The clock on the wall is put right now and then: it tells moments to others, and measures no time that passes. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { stripCommentsAndStrings } from '../source-text.ts'

const source = join(import.meta.dirname, '../../src')

/** Who reads it, and what for; all else measures by monotonic(), uptimeSec() or performance.now(). */
const readers: Readonly<Record<string, string>> = {
  'agent/agent.ts': 'when a delta was applied, for a metric that is a moment',
  'agent/faults.ts': 'since when a fault is there, for people',
  'agent/heartbeat.ts': 'renewTime of a Lease',
  'agent/node-reporter.ts': 'lastTransitionTime of a condition',
  'agent/route-view.ts': 'ages of moments that the speaker tells as such',
  'agent/tunnel-teller.ts': 'renewTime of a Lease',
  'agent/views.ts': 'which process a walk belongs to',
  'allocation/file-book.ts': 'moments in a file that other processes read, also after a reboot',
  'allocation/lock-file.ts': 'the time of a lock file, of which only that it changes counts',
  'api/health-checks.ts': 'lastUpdated and currentTime, as kube-proxy says them',
  'cli/cluster.ts': 'the age of a moment that another node wrote',
  'cli/observe.ts': 'a moment in the past that a person asks for',
  'clock/scoped-clock.ts': 'passes it on',
  'clock/system-clock.ts': 'is it',
  'flows/flow-worker.ts': 'moments of events',
  'flows/flows-thread.ts': 'since which moment events are wanted',
  'k8s/apiserver/exec-plugin.ts': 'expirationTimestamp of a credential',
  'k8s/directory.ts': 'beside the times of files',
  'operator/configuration-writes.ts': 'lastTransitionTime of a condition',
  'operator/election.ts': 'renewTime of a Lease, which nobody judges it by',
  'operator/event-log.ts': 'times and names of events',
  'operator/service-writes.ts': 'lastTransitionTime of a condition',
  'operator/state-writes.ts': 'lastTransitionTime of a condition',
  'speaker/peer-path.ts': 'since when',
  'speaker/peer.ts': 'since when a state is, and when a route came',
  'speaker/peers.ts': 'since when a state is',
  'speaker/recording/record.ts': 'when a recording began',
  'speaker/session/session-report.ts': 'when a session ended',
  'speaker/session/system.ts': 'is it',
  'speaker/speaker.ts': 'when a route came, and when it went out',
}

test('whoever reads the clock on the wall is known, with what it is for: no duration is measured by it', () => {
  const found = readdirSync(source, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .filter((name) => {
      const text = stripCommentsAndStrings(readFileSync(join(source, name), 'utf8'))
      return /\bDate\.now\b|\bnew Date\(\)|(clock|environment|\breal)\.now\(\)|\.\.\.now\(\)/i.test(text)
    })
  assert.deepEqual(found.sort(), Object.keys(readers).sort())
})
