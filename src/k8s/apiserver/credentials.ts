/**
 * Who we are to the API server: a kubeconfig (contexts, exec plugins, client certificates) or the service account of
 * the pod. The only file that knows the Kubernetes client, of which nothing but this is used.
 */
import { readFileSync } from 'node:fs'
import type { RequestOptions } from 'node:https'
import { dirname, resolve } from 'node:path'
// Not the whole package, which brings an HTTP client, tar and WebSockets along.
import { KubeConfig } from '@kubernetes/client-node/dist/config.js'
import type { Cluster } from '@kubernetes/client-node/dist/config_types.js'
import { HeraldError, messageOf } from '../../errors.ts'
import { type RawObject, recordOf, shortened } from '../source.ts'
import { ExecPlugin } from './exec-plugin.ts'
import { kubeconfigIn } from './kubeconfig-files.ts'
import { proxyOf } from './proxy.ts'

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
  /** Through which HTTP proxy the next connection is made; undefined: directly. */
  readonly proxy?: URL | undefined
  /** For people: where all this comes from. */
  readonly detail: string
  /** Of the context. */
  readonly namespace?: string | undefined
  /** Of one request: tokens expire. Rejects with ERR_KUBECONFIG where a plugin or a file fails. */
  headers(): Promise<Readonly<Record<string, string>>>
  /** What the server made of such headers: whether it refused who we are (401). */
  judged(headers: Readonly<Record<string, string>>, isRefused: boolean): void
  tls(): Promise<TlsOptions>
  /**
   * The server refused them (401): the next ones are read, or made by the plugin, anew. Where no connection comes about
   * only a kubeconfig that was written anew is read, as with another certificate authority: a plugin is a process, and
   * a server may be away for hours.
   */
  renew(why?: 'refused' | 'unreachable'): void
  /** Why what stood in the kubeconfig at the last renewal is not used. */
  readonly passedOver?: string | undefined
}

/** A token of a file is read again after so long, as client-go does. */
const tokenFileMs = 60_000
/** What was refused is tried again after so long, while what was taken before still is: a server learns of it late. */
const againMs = 60_000
/** Headers of requests are the same for so long: the client reads every file of the kubeconfig for each. */
const keptMs = 1_000

/**
 * `path` undefined: that of the pod's service account, which lies below `root`; `context` undefined: the one that is
 * current there. Throws ERR_KUBECONFIG.
 */
export function loadCredentials(path: string | undefined, context?: string, root = ''): Credentials {
  const place = { path, context, root, detail: path === undefined ? "the pod's service account" : path }
  return new KubeCredentials(load(place), place)
}

interface Place {
  readonly path: string | undefined
  readonly context: string | undefined
  readonly root: string
  readonly detail: string
}

interface Loaded {
  readonly config: KubeConfig
  /** What is written there, as it was read. */
  readonly text: string
  readonly server: URL
  readonly proxy: URL | undefined
  /**
   * Of the pod, whose empty file the client takes for a token; or of `tokenFile` of the user, which it does not know
   * and which goes before `token`.
   */
  readonly tokenFile: string | undefined
  /** Run by us: the client has neither a bound of time for it, nor paths relative to the kubeconfig. */
  readonly plugin: ExecPlugin | undefined
}

function load({ path, detail, context, root }: Place): Loaded {
  const config = new KubeConfig()
  let written: RawObject = {}
  let text = ''
  try {
    if (path === undefined) config.loadFromCluster(root)
    else {
      written = kubeconfigIn(path)
      text = JSON.stringify(written)
      config.loadFromString(text)
      config.makePathsAbsolute(dirname(path))
    }
    if (context !== undefined) config.setCurrentContext(context)
  } catch (error) {
    throw new HeraldError('ERR_KUBECONFIG', `${detail} cannot be read: ${messageOf(error)}`, { cause: error })
  }
  const cluster = config.getCurrentCluster()
  if (cluster === null || !URL.canParse(cluster.server)) {
    throw new HeraldError(
      'ERR_KUBECONFIG',
      `${detail}: ${cluster === null ? whyNoCluster(config) : 'its server is no URL'}`,
    )
  }
  const server = new URL(cluster.server)
  const proxy = proxyFor(server, cluster, detail)
  const own = { config, text, server, proxy, tokenFile: undefined, plugin: undefined }
  // The client would make agents of its own for it, which nobody asks for.
  config.clusters = config.clusters.map(({ proxyUrl: _proxyUrl, ...rest }) => rest)
  if (path === undefined) return { ...own, tokenFile: takeTokenFile(config) }
  const user = userIn(written, config.getContextObject(config.getCurrentContext())?.user)
  const tokenFile = tokenFileOf(path, user)
  if (tokenFile !== undefined) readToken(tokenFile, detail)
  const exec = user['exec']
  if (exec === undefined || exec === null) return { ...own, tokenFile }
  config.users = config.users.map(({ exec: _exec, ...rest }) => rest)
  return { ...own, tokenFile, plugin: new ExecPlugin(recordOf(exec), path, () => aboutServer(cluster, detail)) }
}

function whyNoCluster(config: KubeConfig): string {
  const name = config.getCurrentContext()
  if (config.getContextObject(name) !== null) return `its context ${name} names a cluster that it does not have`
  const others = config.contexts.map((each) => each.name).join(', ')
  if (others === '') return name ? `it has no context ${name}, and no other` : 'it has no context'
  return `it has no context ${name}, but ${shortened(others)}`
}

function proxyFor(server: URL, { proxyUrl }: Cluster, detail: string): URL | undefined {
  try {
    return proxyOf(server, proxyUrl, process.env)
  } catch (error) {
    throw new HeraldError('ERR_KUBECONFIG', `${detail}: ${messageOf(error)}`, { cause: error })
  }
}

/** What a plugin may be told of the server. */
function aboutServer({ server, caData, caFile, tlsServerName, skipTLSVerify }: Cluster, detail: string): RawObject {
  let authority = caData
  try {
    if (caFile !== undefined) authority ??= readFileSync(caFile, 'base64')
  } catch (error) {
    const message = `${detail}: certificate-authority cannot be read: ${messageOf(error)}`
    throw new HeraldError('ERR_KUBECONFIG', message, { cause: error })
  }
  return {
    server,
    ...(authority === undefined ? {} : { 'certificate-authority-data': authority }),
    ...(tlsServerName === undefined ? {} : { 'tls-server-name': tlsServerName }),
    ...(skipTLSVerify ? { 'insecure-skip-tls-verify': true } : {}),
  }
}

/** That of the pod, which the client reads no more then: that it is there is for the first request to find. */
function takeTokenFile(config: KubeConfig): string | undefined {
  const [user] = config.users
  config.users = config.users.map(({ authProvider: _authProvider, ...rest }) => rest)
  const file = user?.authProvider?.config?.['tokenFile']
  return typeof file === 'string' ? file : undefined
}

/** As the kubeconfig has it. */
function userIn({ users }: RawObject, name: string | undefined): RawObject {
  const found = (Array.isArray(users) ? users : []).map(recordOf).find((each) => each['name'] === name)
  return recordOf(found?.['user'])
}

/** Relative to the kubeconfig. */
function tokenFileOf(path: string, { tokenFile: file }: RawObject): string | undefined {
  return typeof file === 'string' && file !== '' ? resolve(dirname(path), file) : undefined
}

function readToken(file: string, detail: string): string {
  let token: string
  try {
    token = readFileSync(file, 'utf8').trim()
  } catch (error) {
    const message = `${detail}: tokenFile cannot be read: ${messageOf(error)}`
    throw new HeraldError('ERR_KUBECONFIG', message, { cause: error })
  }
  if (token === '' || /[^\x21-\x7e]/.test(token))
    throw new HeraldError('ERR_KUBECONFIG', `${detail}: tokenFile ${file} holds no token`)
  return token
}

class KubeCredentials implements Credentials {
  readonly server: URL
  proxy: URL | undefined
  readonly detail: string
  readonly namespace?: string | undefined
  passedOver: string | undefined
  readonly #place: Place
  readonly #from: string
  #config: KubeConfig
  #text: string
  #tokenFile: string | undefined
  #plugin: ExecPlugin | undefined
  #token: { readonly value: string; readonly readMs: number } | undefined
  /** Requests that need them at once ask once: a plugin is a process. */
  #asked: Promise<RequestOptions> | undefined
  #renewals = 0
  /** What the server took last: all of it, since who may act for another has a name for that beside the token. */
  #taken: Readonly<Record<string, string>> | undefined
  /** What it refused last. */
  #refused: { readonly authorization: string | undefined; readonly atMs: number } | undefined
  /** Without those of a plugin, which says itself how long they are good. */
  #kept: { readonly headers: Readonly<Record<string, string>>; readonly readMs: number } | undefined

  constructor({ config, text, server, proxy, tokenFile, plugin }: Loaded, place: Place) {
    this.#config = config
    this.#text = text
    this.#tokenFile = tokenFile
    this.#plugin = plugin
    this.#place = place
    this.#from = place.detail
    this.server = server
    this.proxy = proxy
    this.namespace = config.getContextObject(config.getCurrentContext())?.namespace
    const way = proxy === undefined ? '' : ` through the proxy ${proxy.host}`
    this.detail = `${server.href.replace(/\/$/, '')} by ${place.detail}${way}`
  }

  /**
   * A file that is written in place, or slowly, holds a part of a token for a while, which nothing but the server's
   * refusal tells from a whole one: what was taken before is good for as long as it is taken.
   */
  async headers(): Promise<Readonly<Record<string, string>>> {
    const headers = await this.#headers()
    const authorization =
      this.#tokenFile === undefined ? headers['authorization'] : `Bearer ${this.#tokenOf(this.#tokenFile)}`
    if (authorization === undefined) return headers
    const refused = this.#refused
    const isRefused = refused?.authorization === authorization && performance.now() - refused.atMs < againMs
    return (isRefused ? this.#taken : undefined) ?? { ...headers, authorization }
  }

  judged(headers: Readonly<Record<string, string>>, isRefused: boolean): void {
    const { authorization } = headers
    if (isRefused) {
      this.#refused = { authorization, atMs: performance.now() }
      if (this.#taken?.['authorization'] === authorization) this.#taken = undefined
    } else {
      this.#taken = headers
      if (this.#refused?.authorization === authorization) this.#refused = undefined
    }
  }

  async #headers(): Promise<Readonly<Record<string, string>>> {
    const kept = this.#kept
    if (kept !== undefined && performance.now() - kept.readMs < keptMs) return kept.headers
    const [plugin, renewals] = [this.#plugin, this.#renewals]
    const headers = headersOf(await this.#options())
    if (plugin === undefined && renewals === this.#renewals) this.#kept = { headers, readMs: performance.now() }
    return headers
  }

  /** While the file cannot be read the last token may still be good: the server says so if it is not. */
  #tokenOf(file: string): string {
    const nowMs = performance.now()
    if (this.#token !== undefined && nowMs - this.#token.readMs < tokenFileMs) return this.#token.value
    try {
      this.#token = { value: readToken(file, this.#from), readMs: nowMs }
    } catch (error) {
      if (this.#token === undefined) throw error
    }
    return this.#token.value
  }

  async tls(): Promise<TlsOptions> {
    return tlsOf(await this.#options())
  }

  /**
   * A file that is being written, or that names another server now, is not taken: what was good before may still be.
   * It is said beside what this server answers, if it does.
   */
  renew(why: 'refused' | 'unreachable' = 'refused'): void {
    this.#renewals++
    this.#kept = undefined
    if (why === 'refused') {
      this.#asked = undefined
      this.#plugin?.forget()
      if (this.#token !== undefined) this.#token = { ...this.#token, readMs: Number.NEGATIVE_INFINITY }
    }
    try {
      const loaded = load(this.#place)
      const isSame = why === 'unreachable' && loaded.text === this.#text
      const isHere = loaded.server.href === this.server.href
      if (isHere && !isSame) this.#take(loaded)
      const elsewhere = `${this.#from} names the server ${loaded.server.host} now, which only a restart follows`
      this.passedOver = isHere ? undefined : elsewhere
    } catch (error) {
      this.passedOver = messageOf(error)
    }
  }

  #take({ config, text, tokenFile, plugin, proxy }: Loaded): void {
    this.#config = config
    this.#text = text
    this.#tokenFile = tokenFile
    this.#plugin = plugin
    this.proxy = proxy
  }

  async #options(): Promise<RequestOptions> {
    this.#asked ??= this.#ask(this.#config, this.#plugin)
    const asked = this.#asked
    try {
      return await asked
    } finally {
      if (this.#asked === asked) this.#asked = undefined
    }
  }

  async #ask(config: KubeConfig, plugin: ExecPlugin | undefined): Promise<RequestOptions> {
    const options: RequestOptions = { headers: {} }
    try {
      await config.applyToHTTPSOptions(options)
      const { token, certificate, key } = (await plugin?.credentials()) ?? {}
      return {
        ...options,
        ...(token === undefined ? {} : { headers: { ...options.headers, authorization: `Bearer ${token}` } }),
        ...(certificate === undefined ? {} : { cert: certificate, key }),
      }
    } catch (error) {
      if (error instanceof HeraldError) throw error
      throw new HeraldError('ERR_KUBECONFIG', `${this.#from}: ${messageOf(error)}`, { cause: error })
    }
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
