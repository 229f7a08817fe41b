/**
 * Who we are to the API server: a kubeconfig (contexts, exec plugins, client certificates) or the service account of
 * the pod. The only file that knows the Kubernetes client, of which nothing but this is used.
 */
import type { RequestOptions } from 'node:https'
// Not the whole package, which brings an HTTP client, tar and WebSockets along.
import { KubeConfig } from '@kubernetes/client-node/dist/config.js'
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
  /** Of the context. */
  readonly namespace?: string | undefined
  /** Of one request: tokens expire. Rejects with ERR_KUBECONFIG where a plugin or a file fails. */
  headers(): Promise<Readonly<Record<string, string>>>
  tls(): Promise<TlsOptions>
  /** The server refused them (401): the next ones are read, or made by the plugin, anew. */
  renew(): void
}

/** A plugin that asks a person for a password never ends here. */
const pluginMs = 60_000

/**
 * `path` undefined: that of the pod's service account; `context` undefined: the one that is current there. Throws
 * ERR_KUBECONFIG.
 */
export function loadCredentials(path: string | undefined, context?: string): Credentials {
  const detail = path === undefined ? "the pod's service account" : path
  const { config, server } = load(path, detail, context)
  return new KubeCredentials(config, server, { path, context, detail })
}

interface Place {
  readonly path: string | undefined
  readonly context: string | undefined
  readonly detail: string
}

function load(
  path: string | undefined,
  detail: string,
  context: string | undefined,
): { readonly config: KubeConfig; readonly server: URL } {
  const config = new KubeConfig()
  try {
    if (path === undefined) config.loadFromCluster()
    else config.loadFromFile(path)
    if (context !== undefined) config.setCurrentContext(context)
  } catch (error) {
    throw new HeraldError('ERR_KUBECONFIG', `${detail} cannot be read: ${messageOf(error)}`, { cause: error })
  }
  const cluster = config.getCurrentCluster()
  if (cluster === null || !URL.canParse(cluster.server)) {
    const why = cluster === null ? `its context ${config.getCurrentContext()} names no cluster` : 'its server is no URL'
    throw new HeraldError('ERR_KUBECONFIG', `${detail}: ${why}`)
  }
  if (cluster.proxyUrl !== undefined)
    throw new HeraldError('ERR_KUBECONFIG', `${detail}: proxy-url is not supported; the server is dialled directly`)
  return { config, server: new URL(cluster.server) }
}

class KubeCredentials implements Credentials {
  readonly server: URL
  readonly detail: string
  readonly namespace?: string | undefined
  readonly #place: Place
  readonly #from: string
  #config: KubeConfig
  /** Requests that need them at once ask once: a plugin is a process. */
  #asked: Promise<RequestOptions> | undefined

  constructor(config: KubeConfig, server: URL, place: Place) {
    this.#config = config
    this.#place = place
    this.#from = place.detail
    this.server = server
    this.namespace = config.getContextObject(config.getCurrentContext())?.namespace
    this.detail = `${server.href.replace(/\/$/, '')} by ${place.detail}`
  }

  async headers(): Promise<Readonly<Record<string, string>>> {
    return headersOf(await this.#options())
  }

  async tls(): Promise<TlsOptions> {
    return tlsOf(await this.#options())
  }

  /** A file that is being written, or that names another server now, is not taken: what was good before may still be. */
  renew(): void {
    this.#asked = undefined
    try {
      const { config, server } = load(this.#place.path, this.#from, this.#place.context)
      if (server.href === this.server.href) this.#config = config
    } catch {
      // Said by the server, which goes on refusing what we have.
    }
  }

  async #options(): Promise<RequestOptions> {
    this.#asked ??= this.#ask(this.#config)
    const asked = this.#asked
    try {
      return await asked
    } finally {
      if (this.#asked === asked) this.#asked = undefined
    }
  }

  async #ask(config: KubeConfig): Promise<RequestOptions> {
    const options: RequestOptions = { headers: {} }
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      const what = `no credentials within ${pluginMs / 1000} s: a plugin must not ask anybody`
      timer = setTimeout(() => reject(new HeraldError('ERR_KUBECONFIG', `${this.#from}: ${what}`)), pluginMs)
    })
    try {
      await Promise.race([config.applyToHTTPSOptions(options), late])
    } catch (error) {
      if (error instanceof HeraldError) throw error
      throw new HeraldError('ERR_KUBECONFIG', `${this.#from}: ${messageOf(error)}`, { cause: error })
    } finally {
      clearTimeout(timer)
    }
    return options
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
