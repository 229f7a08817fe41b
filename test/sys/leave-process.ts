/** Leaves while a thread of it opens a FIFO, named on the command line, at whose other end nobody is. */
import { open } from 'node:fs/promises'
import { leave } from '../../src/sys/leave.ts'

const [fifo = '', code = ''] = process.argv.slice(2)
if (fifo !== '') void open(fifo)
// Its thread has begun by then: it waits for the FIFO, as one that asks a file system which does not answer.
setImmediate(() => {
  process.stdout.write('said before the end\n')
  leave(Number(code))
})
