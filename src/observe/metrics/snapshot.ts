import type { PeerView, StatusView } from '../../api/types.ts'

/** What a scrape sees: one consistent look at the agent. */
export interface Snapshot {
  readonly peers: readonly PeerView[]
  readonly status: StatusView
}
