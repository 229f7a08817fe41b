// The client's side, one JSON line on stdout each:
//   http URL COUNT           COUNT requests, each on a connection of its own
//   udp ADDRESS PORT COUNT   COUNT datagrams, each from a port of its own
//   flow URL                 one kept connection, a request every 50 ms, a line every 250 ms until killed
import { createSocket } from 'node:dgram'
import { Agent, get } from 'node:http'

const timeoutMs = 2000
const maxErrors = 10
const [mode, target = '', ...rest] = process.argv.slice(2)
const print = (value) => process.stdout.write(`${JSON.stringify(value)}\n`)

function request(url, agent) {
  return new Promise((resolve, reject) => {
    const sent = get(url, { agent, timeout: timeoutMs }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (part) => (text += part))
      response.on('error', reject)
      response.on('end', () => resolve(JSON.parse(text)))
    })
    sent.on('timeout', () => sent.destroy(new Error(`no answer within ${timeoutMs} ms`)))
    sent.on('error', reject)
  })
}

function datagram(address, port, text) {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp4')
    const timer = setTimeout(() => finish(() => reject(new Error(`no answer within ${timeoutMs} ms`))), timeoutMs)
    const finish = (then) => {
      clearTimeout(timer)
      socket.close()
      then()
    }
    socket.on('error', (error) => finish(() => reject(error)))
    // Connected, so that an answer from any other address than the one asked does not count.
    socket.connect(port, address, () => socket.send(text))
    socket.on('message', (message) => finish(() => resolve(JSON.parse(message.toString()))))
  })
}

async function repeat(count, once) {
  const answered = {}
  const clients = new Set()
  const errors = []
  // What does not answer ten times is not waited for a hundred times.
  for (let i = 0; i < count && errors.length < maxErrors; i++) {
    try {
      const { pod, node, client } = await once(i)
      clients.add(client.replace(/:\d+$/, ''))
      const by = `${pod} on ${node}`
      answered[by] = (answered[by] ?? 0) + 1
    } catch (error) {
      errors.push(error.code ?? error.message)
    }
  }
  print({
    count: Object.values(answered).reduce((sum, each) => sum + each, errors.length),
    answered,
    clients: [...clients],
    errors,
  })
}

async function flow(url) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1, maxFreeSockets: 1 })
  const ports = new Set()
  const pods = new Set()
  let [requests, failed] = [0, 0]
  setInterval(() => print({ requests, failed, connections: ports.size, pods: [...pods] }), 250)
  for (;;) {
    try {
      const answer = await request(url, agent)
      requests++
      ports.add(answer.client)
      pods.add(answer.pod)
    } catch {
      failed++ // counted and printed: the reader decides
    }
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

if (mode === 'http') await repeat(Number(rest[0] ?? 1), () => request(target, new Agent({ keepAlive: false })))
else if (mode === 'udp') await repeat(Number(rest[1] ?? 1), (i) => datagram(target, Number(rest[0]), `echo ${i}`))
else if (mode === 'flow') await flow(target)
else {
  console.error('usage: client.mjs http URL COUNT | udp ADDRESS PORT COUNT | flow URL')
  process.exit(2)
}
