/**
 * A connection to a server through an HTTP proxy (CONNECT, RFC 9110 9.3.6): what goes through it is TLS with the server
 * itself, which the proxy cannot read.
 */
import { connect, isIP, type Socket } from 'node:net'
import { connect as connectTls, rootCertificates } from 'node:tls'
import { deadline } from '../../clock/deadline.ts'
import { systemClock } from '../../clock/system-clock.ts'
import { HeraldError, messageOf } from '../../errors.ts'

/** More is no answer of a proxy. */
const maxHeadOctets = 16_384

export interface TunnelTarget {
  readonly hostname: string
  readonly port: number
}

/**
 * `authority`: of the server, which may have signed an https proxy too. Rejects with ERR_API_SERVER, which names the
 * proxy and no password, also when `signal` aborts before it stands.
 */
export function openTunnel(
  proxy: URL,
  target: TunnelTarget,
  authority: string | Buffer | undefined,
  withinMs: number,
  signal: AbortSignal,
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = dialled(proxy, authority)
    const late = deadline(systemClock, withinMs, () => fail(`did not answer within ${withinMs / 1000} s`))
    let head = Buffer.alloc(0)
    const abort = (): void => fail('is not needed any more')
    const end = (): void => {
      late.cancel()
      signal.removeEventListener('abort', abort)
      socket.off('data', read)
    }
    function fail(why: string): void {
      end()
      socket.destroy()
      reject(new HeraldError('ERR_API_SERVER', `the proxy ${proxy.host} ${why}`))
    }
    function read(chunk: Buffer): void {
      head = Buffer.concat([head, chunk])
      const at = head.indexOf('\r\n\r\n')
      if (at < 0) return head.length > maxHeadOctets ? fail('answers with no HTTP') : undefined
      const problem = refusalIn(head.toString('latin1', 0, at), target)
      if (problem !== undefined) return fail(problem)
      end()
      socket.pause()
      const rest = head.subarray(at + 4)
      if (rest.length > 0) socket.unshift(rest)
      resolve(socket)
    }
    signal.addEventListener('abort', abort, { once: true })
    if (signal.aborted) abort()
    socket.on('data', read)
    socket.on('error', (error) => fail(`cannot be used: ${messageOf(error)}`))
    socket.on('close', () => fail('ended the connection'))
    socket.once(proxy.protocol === 'https:' ? 'secureConnect' : 'connect', () => socket.write(request(proxy, target)))
  })
}

function dialled(proxy: URL, authority: string | Buffer | undefined): Socket {
  const host = proxy.hostname.replace(/^\[(.*)\]$/, '$1')
  if (proxy.protocol === 'http:') return connect({ host, port: Number(proxy.port || 80) })
  return connectTls({
    ...{ host, port: Number(proxy.port || 443), ALPNProtocols: ['http/1.1'] },
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...(authority === undefined ? {} : { ca: [...rootCertificates, authority] }),
  })
}

function request({ username, password }: URL, { hostname, port }: TunnelTarget): string {
  const authority = `${isIP(hostname) === 6 ? `[${hostname}]` : hostname}:${port}`
  const user = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
  const lines = [
    `CONNECT ${authority} HTTP/1.1`,
    `Host: ${authority}`,
    'User-Agent: herald',
    ...(user === ':' ? [] : [`Proxy-Authorization: Basic ${Buffer.from(user).toString('base64')}`]),
  ]
  return `${lines.join('\r\n')}\r\n\r\n`
}

/** undefined: the tunnel stands. */
function refusalIn(head: string, { hostname, port }: TunnelTarget): string | undefined {
  const [, status, reason = ''] = /^HTTP\/1\.[01] (\d{3})(?: ([\x20-\x7e]{0,100}))?/.exec(head) ?? []
  if (status === undefined) return 'answers with no HTTP'
  if (status.startsWith('2')) return undefined
  const said = `refuses to connect to ${hostname}:${port}: ${status} ${reason}`.trim()
  return status === '407' ? `${said}; write who asks into its URL, http://USER:PASSWORD@HOST:PORT` : said
}
