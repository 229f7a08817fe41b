/**
 * Leaves with a code while another thread of it is held, as the command line says: `fifo PATH`, by opening a FIFO at
 * whose other end nobody is; `call`, in a system call that does not come back; `thrown`, the same, by an error that
 * nobody takes; `free`, none is.
 */
import { open } from 'node:fs/promises'
import { isMainThread, Worker } from 'node:worker_threads'
import { leave, leaveByUncaught } from '../../src/sys/leave.ts'
import { libc } from '../../src/sys/libc.ts'

function main(held: string, code: number, fifo: string): void {
  const end = (): void => {
    process.stdout.write('said before the end\n')
    if (held !== 'thrown') leave(code)
    leaveByUncaught()
    throw new Error('nobody takes this')
  }
  if (held === 'fifo') void open(fifo)
  // Its thread has begun by then: it waits for the FIFO, as one that asks a file system which does not answer.
  if (held === 'fifo' || held === 'free') setImmediate(end)
  else new Worker(new URL(import.meta.url)).once('message', end)
}

async function hang(): Promise<void> {
  const { parentPort } = await import('node:worker_threads')
  parentPort?.postMessage('called')
  libc.func('int pause()')()
}

const [held = '', code = '', fifo = ''] = process.argv.slice(2)
if (isMainThread) main(held, Number(code), fifo)
else void hang()
