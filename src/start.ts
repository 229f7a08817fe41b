/** Entry of the built agent and operator, and of the speaker's thread: each runs its bundle, which lies beside. */
import { join } from 'node:path'
import { isMainThread } from 'node:worker_threads'
import { runBuilt } from './sys/parts.ts'

runBuilt(join(__dirname, isMainThread ? 'herald.cjs' : 'worker.cjs'))
