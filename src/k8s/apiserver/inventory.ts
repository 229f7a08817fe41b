/** What a cluster has, read once and by GET alone: nothing here can change anything. */
import { HeraldError } from '../../errors.ts'
import { type RawObject, recordOf } from '../source.ts'
import { Pages } from './pages.ts'
import { type ApiRequests, isSuccess, type Reply } from './requests.ts'

export interface ReadRequest {
  readonly kind: string
  /** Tried in this order until one is served. */
  readonly versions: readonly string[]
  readonly place: string
  readonly query?: string
  readonly isSingle?: boolean
}

export interface ReadAnswer {
  readonly objects: readonly RawObject[]
  /** Why it could not be read; what is not there at all is empty and no failure. */
  readonly failure?: { readonly status: number; readonly message: string }
}

/** Objects with thousands of managed fields still fit into an answer. */
const pageSize = 200

/** Rejects with ERR_API_SERVER where the server does not answer. */
export async function readOnce(requests: Pick<ApiRequests, 'get'>, wanted: ReadRequest): Promise<ReadAnswer> {
  for (const version of wanted.versions) {
    const answer = await readVersion(requests, wanted, version)
    if (answer !== undefined) return answer
  }
  return { objects: [] }
}

/** undefined: there is no such version. */
async function readVersion(
  requests: Pick<ApiRequests, 'get'>,
  { kind, place, query, isSingle = false }: ReadRequest,
  version: string,
): Promise<ReadAnswer | undefined> {
  const path = `/${version.includes('/') ? 'apis' : 'api'}/${version}/${place}`
  const named = (object: unknown): RawObject => ({ apiVersion: version, kind, ...recordOf(object) })
  if (isSingle) {
    const reply = await requests.get(`${path}${query === undefined ? '' : `?${query}`}`)
    const failure = failureOf(reply, path)
    if (failure === 'none') return undefined
    return failure === undefined ? { objects: [named(reply.object)] } : { objects: [], failure }
  }
  const { items, last } = await readPages(requests, path, query, pageSize)
  const failure = failureOf(last, path)
  if (failure === 'none') return undefined
  return { objects: items.map(named), ...(failure === undefined ? {} : { failure }) }
}

/**
 * A list, page by page: what the pages had, and the reply that ended it, which may be a failure. Rejects with
 * ERR_API_SERVER where it has no end.
 */
export async function readPages(
  requests: Pick<ApiRequests, 'get'>,
  path: string,
  query: string | undefined,
  limit: number,
): Promise<{ readonly items: readonly RawObject[]; readonly last: Reply }> {
  const items: RawObject[] = []
  const pages = new Pages()
  for (let token = ''; ; ) {
    const parts = [query ?? '', `limit=${limit}`, token === '' ? '' : `continue=${encodeURIComponent(token)}`]
    const last = await requests.get(`${path}?${parts.filter((part) => part !== '').join('&')}`)
    if (!isSuccess(last.status)) return { items, last }
    const page = Array.isArray(last.object['items']) ? last.object['items'] : []
    for (const item of page) items.push(recordOf(item))
    token = pages.next(recordOf(last.object['metadata'])['continue'], page.length)
    if (token === '') return { items, last }
  }
}

/** `none`: the server does not know it. */
function failureOf({ status, message }: Reply, path: string): ReadAnswer['failure'] | 'none' {
  if (status === 0) throw new HeraldError('ERR_API_SERVER', `GET ${path}: ${message}`)
  if (status === 404) return 'none'
  return isSuccess(status) ? undefined : { status, message }
}
