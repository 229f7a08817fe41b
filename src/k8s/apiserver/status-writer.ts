/** Status and events on an API server. */
import { messageOf } from '../../errors.ts'
import type {
  EventSeries,
  KindRef,
  Listed,
  ObjectEvent,
  ObjectSink,
  ObjectVersionRef,
  StatusOutcome,
  StatusSink,
  StatusWrite,
} from '../status.ts'
import { fieldManager } from '../status.ts'
import { type RawObject, recordOf, shortened } from '../source.ts'
import { Pages } from './pages.ts'
import { type ApiRequests, isSuccess, type Reply } from './requests.ts'

/** Where a server that limits us does not say for how long. */
const usualWaitSec = 1
const longestWaitSec = 60
const events = 'events.k8s.io/v1'

/** `instance` is the name of this process in events, `manager` the one by which its fields are known. */
export function statusOnServer(requests: ApiRequests, instance: string, manager: string = fieldManager): StatusSink {
  return {
    apply: async (write) => outcomeOf(await requests.change(applyOf(write, manager))),
    createEvent: async (event) => {
      const path = eventsPath(event.regarding.namespace)
      const body = JSON.stringify(eventOf(event, instance))
      return outcomeOf(await requests.change({ method: 'POST', path, contentType: 'application/json', body }))
    },
    repeatEvent: async (namespace, name, series: EventSeries) => {
      const path = `${eventsPath(namespace)}/${encodeURIComponent(name)}`
      const contentType = 'application/merge-patch+json'
      return outcomeOf(await requests.change({ method: 'PATCH', path, contentType, body: JSON.stringify({ series }) }))
    },
  }
}

export function objectsOnServer(requests: ApiRequests, manager: string = fieldManager): ObjectSink {
  return {
    list: (kind, labels = {}) => listed(requests, kind, labels),
    create: async (resource, object) => {
      const { namespace = '' } = recordOf(object['metadata'])
      const kind = { apiVersion: String(object['apiVersion']), namespace: String(namespace), resource }
      const path = `${kindPath(kind)}?fieldManager=${manager}`
      const body = JSON.stringify(object)
      return outcomeOf(await requests.change({ method: 'POST', path, contentType: 'application/json', body }))
    },
    change: async (target, { metadata, spec }) => {
      const { uid, resourceVersion } = target
      const path = `${pathOf(target)}?fieldManager=${manager}`
      const { annotations } = recordOf(metadata)
      const body = JSON.stringify({ metadata: { uid, resourceVersion, annotations }, spec })
      const contentType = 'application/merge-patch+json'
      return outcomeOf(await requests.change({ method: 'PATCH', path, contentType, body }))
    },
    remove: async (target) => {
      const { uid, resourceVersion } = target
      const body = JSON.stringify({ preconditions: { uid, resourceVersion } })
      const reply = await requests.change({
        method: 'DELETE',
        path: pathOf(target),
        contentType: 'application/json',
        body,
      })
      return isSuccess(reply.status) ? { kind: 'written', resourceVersion: '' } : outcomeOf(reply)
    },
  }
}

/** Objects without a namespace have their events in this one. */
function eventsPath(namespace: string): string {
  return `/apis/${events}/namespaces/${encodeURIComponent(namespace || 'default')}/events`
}

function pathOf(target: ObjectVersionRef): string {
  return `${kindPath(target)}/${encodeURIComponent(target.name)}`
}

function kindPath({ apiVersion, namespace, resource }: Omit<KindRef, 'kind'>): string {
  const within = namespace === '' ? '' : `/namespaces/${encodeURIComponent(namespace)}`
  return `${apiVersion.includes('/') ? '/apis' : '/api'}/${apiVersion}${within}/${resource}`
}

/** An object of few fields has some kilobytes: so many are within what an answer may have. */
const pageObjects = 250

async function listed(requests: ApiRequests, kind: KindRef, labels: Readonly<Record<string, string>>): Promise<Listed> {
  const objects: RawObject[] = []
  const selector = Object.entries(labels).map((label) => label.join('='))
  const selected = selector.length === 0 ? '' : `&labelSelector=${encodeURIComponent(selector.join(','))}`
  const pages = new Pages()
  for (let token = ''; ; ) {
    const query = `limit=${pageObjects}${selected}${token === '' ? '' : `&continue=${encodeURIComponent(token)}`}`
    const { status, object, message } = await requests.get(`${kindPath(kind)}?${query}`)
    if (status === 404) return { kind: 'absent' }
    const { items, metadata } = object
    if (!isSuccess(status) || !Array.isArray(items))
      return { kind: 'failed', message: message || 'the answer is no list' }
    for (const item of items) objects.push(recordOf(item))
    try {
      token = pages.next(recordOf(metadata)['continue'], items.length)
    } catch (error) {
      return { kind: 'failed', message: messageOf(error) }
    }
    if (token === '') return { kind: 'listed', objects }
  }
}

/** Of a status that was written nothing is asked but its version. */
const metadataAlone = 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json'

function applyOf({ target, status }: StatusWrite, manager: string): Parameters<ApiRequests['change']>[0] {
  const { apiVersion, kind, namespace, name, uid, resourceVersion } = target
  const metadata = { name, ...(namespace === '' ? {} : { namespace }), uid, resourceVersion }
  return {
    method: 'PATCH',
    path: `${pathOf(target)}/status?fieldManager=${manager}&force=false`,
    // JSON is YAML.
    contentType: 'application/apply-patch+yaml',
    body: JSON.stringify({ apiVersion, kind, metadata, status }),
    accept: metadataAlone,
  }
}

function eventOf({ regarding, type, reason, action, note, eventTime, name }: ObjectEvent, instance: string): object {
  const { apiVersion, kind, namespace, name: of, uid } = regarding
  return {
    apiVersion: events,
    kind: 'Event',
    metadata: { name, namespace: namespace || 'default' },
    eventTime,
    reportingController: fieldManager,
    reportingInstance: instance,
    action,
    reason,
    type,
    note,
    regarding: { apiVersion, kind, name: of, uid, ...(namespace === '' ? {} : { namespace }) },
  }
}

/** The schema of the kind lacks a field: an apply has no code of its own for that. */
const undeclared = /field not declared in schema/

function outcomeOf({ status, object, message, retryAfterSec }: Reply): StatusOutcome {
  if (isSuccess(status)) {
    const { resourceVersion, uid } = recordOf(object['metadata'])
    return typeof resourceVersion === 'string'
      ? { kind: 'written', resourceVersion, ...(typeof uid === 'string' ? { uid } : {}) }
      : { kind: 'failed', message: 'the answer is no object' }
  }
  if (undeclared.test(message)) return { kind: 'undeclared', message }
  switch (status) {
    case 404:
      return { kind: 'gone' }
    case 409:
      return conflictOf(object, message)
    case 429:
    case 503: {
      if (status === 503 && retryAfterSec === undefined) return { kind: 'failed', message }
      const seconds = Math.min(Math.max(retryAfterSec ?? usualWaitSec, 0.1), longestWaitSec)
      return { kind: 'limited', afterMs: seconds * 1000 }
    }
    case 400:
    case 401:
    case 403:
    case 405:
    case 413:
    case 415:
    case 422:
      return { kind: 'refused', message }
    default:
      return { kind: 'failed', message }
  }
}

/** Two kinds of conflict: an older version was read, or a field is another manager's. */
function conflictOf(object: Readonly<Record<string, unknown>>, message: string): StatusOutcome {
  const { causes } = recordOf(object['details'])
  const owned = (Array.isArray(causes) ? causes : [])
    .map(recordOf)
    .filter(({ reason }) => reason === 'FieldManagerConflict')
  if (owned.length === 0) return { kind: 'stale' }
  const words = owned.map((cause) => `${String(cause['message'])}: ${String(cause['field'])}`)
  return {
    kind: 'owned',
    fields: owned.map(({ field }) => String(field)),
    message: words.length === 0 ? message : shortened([...new Set(words)].join('; ')),
  }
}
