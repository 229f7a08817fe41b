// A pod's workload: HTTP on 8080 and UDP on 7007, each answering who served whom.
import { createSocket } from 'node:dgram'
import { createServer } from 'node:http'

const pod = process.env.POD_NAME ?? 'pod'
const node = process.env.NODE_NAME ?? 'node'

createServer((request, response) => {
  const { remoteAddress, remotePort } = request.socket
  response.setHeader('content-type', 'application/json')
  response.end(
    `${JSON.stringify({ pod, node, client: `${remoteAddress?.replace('::ffff:', '')}:${remotePort}`, host: request.headers.host, path: request.url })}\n`,
  )
}).listen(8080)

const udp = createSocket('udp4')
udp.on('message', (message, from) =>
  udp.send(
    JSON.stringify({ pod, node, client: `${from.address}:${from.port}`, echo: message.toString() }),
    from.port,
    from.address,
  ),
)
udp.bind(7007)
