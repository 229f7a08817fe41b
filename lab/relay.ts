/**
 * Hands connections on from one listener to one address. A unix socket is a file, so it leads into a network namespace
 * without an interface or a route on the host:
 *
 *     kubectl -> 127.0.0.1:PORT -> relay of the lab -> unix socket -> relay in the namespace -> kube-apiserver
 */
import { connect, createServer, type ListenOptions, type NetConnectOpts, type Server } from 'node:net'

export function relay(at: ListenOptions, to: NetConnectOpts, signal?: AbortSignal): Promise<Server> {
  const server = createServer((near) => {
    const far = connect(to)
    near.pipe(far).pipe(near)
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const)
      one.on('error', () => other.destroy()).on('close', () => other.destroy())
    signal?.addEventListener('abort', () => near.destroy(), { once: true })
  })
  signal?.addEventListener('abort', () => server.close(), { once: true })
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(at, () => resolve(server))
  })
}

// `relay.ts SOCKET HOST PORT`, in the namespace of the server.
if (import.meta.main) {
  const [path = '', host = '', port = ''] = process.argv.slice(2)
  await relay({ path }, { host, port: Number(port) })
}
