/** Entry of the built agent and operator, and of the speaker's thread: each runs its bundle, which lies beside. */
import { join } from 'node:path'
import { isMainThread } from 'node:worker_threads'
import { firstSignal } from './sys/first-signal.ts'
import { runBuilt } from './sys/parts.ts'

// Before the bundle is read, which takes several times what came until here.
if (isMainThread) firstSignal()
runBuilt(join(__dirname, isMainThread ? 'herald.cjs' : 'worker.cjs'))
