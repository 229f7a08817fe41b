/**
 * Through which proxy an API server is reached, as client-go decides it: `proxy-url` of the kubeconfig, else
 * HTTPS_PROXY but for what NO_PROXY names. Each is read as golang.org/x/net/http/httpproxy reads it.
 */
import { BlockList, isIP } from 'node:net'
import { HeraldError } from '../../errors.ts'

type Variables = Readonly<Record<string, string | undefined>>

/**
 * undefined: the server is dialled directly. `proxyUrl`: of the kubeconfig, which has the last word, also for what is
 * on this machine. Throws ERR_KUBECONFIG for a proxy that cannot be used; what it says holds no password.
 */
export function proxyOf(server: URL, proxyUrl: string | undefined, environment: Variables): URL | undefined {
  if (proxyUrl !== undefined && proxyUrl !== '') return proxyAt(proxyUrl, 'proxy-url')
  const [name, text] = firstOf(environment, 'HTTPS_PROXY', 'https_proxy')
  if (text === '' || isExempt(server, firstOf(environment, 'NO_PROXY', 'no_proxy')[1])) return undefined
  return proxyAt(/^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`, name)
}

function firstOf(environment: Variables, ...names: readonly [string, string]): readonly [string, string] {
  const name = names.find((each) => (environment[each] ?? '') !== '') ?? names[0]
  return [name, environment[name] ?? '']
}

function proxyAt(text: string, source: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || url.hostname === '' || !isDecodable(url))
    throw new HeraldError('ERR_KUBECONFIG', `${source} is no URL: write http://HOST:PORT`)
  if (url.protocol === 'http:' || url.protocol === 'https:') return url
  const scheme = url.protocol.replace(/:$/, '')
  throw new HeraldError(
    'ERR_KUBECONFIG',
    `${source} names a proxy of the kind ${scheme}, and only http and https are known: give an HTTP proxy that takes ` +
      'CONNECT, or none',
  )
}

function isDecodable({ username, password }: URL): boolean {
  try {
    return decodeURIComponent(username + password) !== undefined
  } catch {
    // A % that stands for nothing.
    return false
  }
}

/** Of a server that is dialled in spite of HTTPS_PROXY. */
function isExempt({ hostname, port }: URL, noProxy: string): boolean {
  const host = withoutBrackets(hostname.toLowerCase())
  if (host === 'localhost' || isWithin(host, '127.0.0.0', 8) || isWithin(host, '::1', 128)) return true
  return noProxy
    .split(',')
    .map((entry) => entry.trim().toLowerCase())
    .some((entry) => entry !== '' && isNamed(host, port || '443', entry))
}

/** `*`, a prefix, or an address or name with a port or without; a name stands for all below it. */
function isNamed(host: string, port: string, entry: string): boolean {
  if (entry === '*') return true
  const [network = '', length, ...rest] = entry.split('/')
  if (length !== undefined && rest.length === 0 && isIP(network) !== 0 && /^\d{1,3}$/.test(length))
    return isWithin(host, network, Number(length))
  const [, named = entry, only] = /^(\[[^\]]*\]|[^:]*):(\d+)$/.exec(entry) ?? []
  if (only !== undefined && only !== port) return false
  const name = withoutBrackets(named)
  if (isIP(name) !== 0) return isIP(host) !== 0 && isWithin(host, name, isIP(name) === 4 ? 32 : 128)
  if (name.startsWith('*.') || name.startsWith('.')) return host.endsWith(name.replace(/^\*/, ''))
  return name !== '' && (host === name || host.endsWith(`.${name}`))
}

const withoutBrackets = (host: string): string => host.replace(/^\[(.*)\]$/, '$1')

/** Addresses are compared as values. */
function isWithin(host: string, network: string, length: number): boolean {
  const [family, bits] = isIP(network) === 4 ? (['ipv4', 32] as const) : (['ipv6', 128] as const)
  if (isIP(host) === 0 || length > bits) return false
  const list = new BlockList()
  list.addSubnet(network, length, family)
  return list.check(host, isIP(host) === 4 ? 'ipv4' : 'ipv6')
}
