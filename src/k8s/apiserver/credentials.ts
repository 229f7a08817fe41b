/**
 * Who we are to the API server: a kubeconfig (contexts, exec plugins, client certificates) or the service account of
 * the pod. The only file that knows the Kubernetes client, of which nothing but this is used.
 */
import type { RequestOptions } from 'node:https'
import { KubeConfig } from '@kubernetes/client-node'
import { HeraldError, messageOf } from '../../errors.ts'

/** Of one connection; asked for anew with each, since certificates and keys rotate. */
export interface TlsOptions {
  readonly ca?: string | Buffer
  readonly cert?: string | Buffer
  readonly key?: string | Buffer
  readonly servername?: string
  readonly rejectUnauthorized?: boolean
}

export interface Credentials {
  /** `https://10.0.0.1:6443`, with a path where the server has one. */
  readonly server: URL
  /** For people: where all this comes from. */
  readonly detail: string
  /** Of one request: tokens expire. Rejects with ERR_KUBECONFIG where a plugin or a file fails. */
  headers(): Promise<Readonly<Record<string, string>>>
  tls(): Promise<TlsOptions>
}

/** `path` undefined: that of the pod's service account. Throws ERR_KUBECONFIG. */
export function loadCredentials(path: string | undefined): Credentials {
  const config = new KubeConfig()
  const detail = path === undefined ? "the pod's service account" : path
  try {
    if (path === undefined) config.loadFromCluster()
    else config.loadFromFile(path)
  } catch (error) {
    throw new HeraldError('ERR_KUBECONFIG', `${detail} cannot be read: ${messageOf(error)}`, { cause: error })
  }
  const cluster = config.getCurrentCluster()
  if (cluster === null || !URL.canParse(cluster.server)) {
    const why = cluster === null ? `its context ${config.getCurrentContext()} names no cluster` : 'its server is no URL'
    throw new HeraldError('ERR_KUBECONFIG', `${detail}: ${why}`)
  }
  const asked = async (): Promise<RequestOptions> => {
    const options: RequestOptions = { headers: {} }
    try {
      await config.applyToHTTPSOptions(options)
    } catch (error) {
      throw new HeraldError('ERR_KUBECONFIG', `${detail}: ${messageOf(error)}`, { cause: error })
    }
    return options
  }
  return {
    server: new URL(cluster.server),
    detail: `${cluster.server} by ${detail}`,
    headers: async () => headersOf(await asked()),
    tls: async () => tlsOf(await asked()),
  }
}

function headersOf({ headers, auth }: RequestOptions): Readonly<Record<string, string>> {
  const named = Object.entries(headers ?? {}).map(([name, value]) => [name.toLowerCase(), String(value)] as const)
  const basic = typeof auth === 'string' ? { authorization: `Basic ${Buffer.from(auth).toString('base64')}` } : {}
  return { ...basic, ...Object.fromEntries(named) }
}

function tlsOf({ ca, cert, key, servername, rejectUnauthorized }: RequestOptions): TlsOptions {
  const octets = (value: unknown): string | Buffer | undefined =>
    typeof value === 'string' || Buffer.isBuffer(value) ? value : undefined
  const [authority, certificate, secret] = [octets(ca), octets(cert), octets(key)]
  return {
    ...(authority === undefined ? {} : { ca: authority }),
    ...(certificate === undefined ? {} : { cert: certificate }),
    ...(secret === undefined ? {} : { key: secret }),
    ...(servername === undefined ? {} : { servername }),
    ...(rejectUnauthorized === undefined ? {} : { rejectUnauthorized }),
  }
}
