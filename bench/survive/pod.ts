/** A pod's workload: answers every line over TCP and every datagram with its own name in front of it. */
import { createSocket } from 'node:dgram'
import { createServer } from 'node:net'
import { datagramPort, tcpPort } from './ports.ts'

const pod = process.env['POD_NAME'] ?? 'pod'
const backlog = 4_096

createServer({ noDelay: true }, (socket) => {
  let partial = ''
  socket.setEncoding('latin1').on('error', () => socket.destroy())
  socket.on('data', (text: string) => {
    const lines = (partial + text).split('\n')
    partial = lines.pop() ?? ''
    socket.write(lines.map((line) => `${pod} ${line}\n`).join(''))
  })
}).listen({ port: tcpPort, host: '0.0.0.0', backlog })

const socket = createSocket({ type: 'udp4', recvBufferSize: 1 << 20 })
socket.on('message', (message, from) => socket.send(`${pod} ${message.toString('latin1')}`, from.port, from.address))
socket.bind(datagramPort)
