import type { PeerView, ServiceView, StatusView } from '../../api/types.ts'

/** What a scrape sees: one consistent look at the agent. */
export interface Snapshot {
  readonly peers: readonly PeerView[]
  readonly services: readonly ServiceView[]
  readonly status: StatusView
}
