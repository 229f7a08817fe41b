/**
 * Loaded into the process of each test file: when its tests are over and something keeps it, as a socket that a failed
 * test left open, it ends with a failure that says what that is.
 */
import { isMainThread } from 'node:worker_threads'

/** For what is cleared away after the tests; HERALD_TESTS_GRACE_MS is for the test of this. */
const graceMs = Number(process.env['HERALD_TESTS_GRACE_MS'] ?? 60_000)

if (isMainThread) {
  const { after } = await import('node:test')
  after(() => {
    const end = (): void => {
      const open = process.getActiveResourcesInfo().join(', ')
      process.stderr.write(`the tests are over, and this is still open: ${open}\n`)
      process.exit(1)
    }
    setTimeout(end, graceMs).unref()
  })
}
