/** A client: `connect.ts ADDRESS PORT` connects by blocking calls and prints the median of it in microseconds. */
import { checked, closeCall, libc } from '../src/sys/libc.ts'
import { parseAddress } from '../src/ip/address.ts'
import { openSocket, AF_INET, setOption, SOCK_STREAM, socketAddress, SOL_SOCKET } from '../src/sys/socket.ts'
import { HeraldError } from '../src/errors.ts'
import { median } from './report.ts'

const connectCall = libc.func('int connect(int fd, const void *address, uint32_t length)')
const SO_LINGER = 13
/** On, and for no time: closing resets. */
const linger = new Uint8Array(Int32Array.of(1, 0).buffer)
/** Few enough for the queue of a listener that takes them in turns of its loop, which it is given time for. */
const [batches, perBatch, restMs] = [12, 60, 25]

const [, , text = '', port = ''] = process.argv
const address = parseAddress(text)
if (address === undefined) throw new HeraldError('ERR_USAGE', `${text} is no address`)
const to = socketAddress(address, Number(port))
const taken: number[] = []
for (let batch = 0; batch < batches; batch++) {
  for (let n = 0; n < perBatch; n++) {
    const fd = openSocket('socket', AF_INET, SOCK_STREAM)
    setOption('linger', fd, SOL_SOCKET, SO_LINGER, linger)
    const began = process.hrtime.bigint()
    checked('connect', Number(connectCall(fd, to, to.length)))
    taken.push(Number(process.hrtime.bigint() - began) / 1000)
    closeCall(fd)
  }
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, restMs)
}
console.log(median(taken.slice(perBatch)).toFixed(1))
