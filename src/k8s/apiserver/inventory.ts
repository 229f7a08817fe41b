/** What a cluster has, read once and by GET alone: nothing here can change anything. */
import { HeraldError } from '../../errors.ts'
import { type RawObject, recordOf } from '../source.ts'
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
  const objects: RawObject[] = []
  let token = ''
  do {
    const parts = isSingle ? [] : [query, `limit=${pageSize}`, token && `continue=${encodeURIComponent(token)}`]
    const words = parts.filter((part) => part !== undefined && part !== '')
    const reply = await requests.get(`${path}${words.length === 0 ? '' : `?${words.join('&')}`}`)
    const failure = failureOf(reply, path)
    if (failure === 'none') return undefined
    if (failure !== undefined) return { objects, failure }
    if (isSingle) return { objects: [named(reply.object)] }
    const { items, metadata } = reply.object
    objects.push(...(Array.isArray(items) ? items : []).map(named))
    const next = recordOf(metadata)['continue']
    token = typeof next === 'string' ? next : ''
  } while (token !== '')
  return { objects }
}

/** `none`: the server does not know it. */
function failureOf({ status, message }: Reply, path: string): ReadAnswer['failure'] | 'none' {
  if (status === 0) throw new HeraldError('ERR_API_SERVER', `GET ${path}: ${message}`)
  if (status === 404) return 'none'
  return isSuccess(status) ? undefined : { status, message }
}
