/** The datapath of `--datapath none`: nothing is served by this process, so nothing is held and nothing can fail. */
import type { Datapath } from './datapath.ts'

export function createNoneDatapath(): Datapath {
  return {
    status: { kind: 'none', interfaces: [], adopted: false, schema: 0 },
    readAll: () => [],
    read: () => undefined,
    upsert: (frontend) => ({ ...frontend, serviceId: 0 }),
    upsertAll: (frontends) => frontends.map((frontend) => ({ held: { ...frontend, serviceId: 0 } })),
    remove: () => {},
    counters: () => undefined,
    reasons: () => ({}),
    drops: () => [],
    usage: () => [],
    setNodes: () => {},
    attach: () => {},
    follow: () => {},
    close: () => {},
  }
}
