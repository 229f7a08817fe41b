/** A frontend's backends in the order in which they are read back. Pure. */
import type { Backend, Frontend } from '../../desired/model.ts'
import { type Address, compareAddresses, parseAddress } from '../../ip/address.ts'
import { placeName } from './backends.ts'

/** Sorted, each once, and none that rests among those that do not. */
export function normalised(frontend: Frontend): Frontend {
  const backends = sorted(frontend.backends)
  if (frontend.resting === undefined) return backends === frontend.backends ? frontend : { ...frontend, backends }
  const active = new Set(backends.map((each) => placeName(each, frontend.protocol)))
  const isActive = (each: Backend): boolean => active.has(placeName(each, frontend.protocol))
  return { ...frontend, backends, resting: sorted(frontend.resting).filter((each) => !isActive(each)) }
}

function sorted(backends: readonly Backend[]): readonly Backend[] {
  if (isInOrder(backends)) return backends
  const placed = backends.map((backend) => ({ backend, address: parseAddress(backend.address) ?? 0 }))
  placed.sort((a, b) => compareAddresses(a.address, b.address) || a.backend.port - b.backend.port)
  return placed
    .filter(({ address, backend: { port } }, i) => {
      const before = placed[i - 1]
      return before?.address !== address || before.backend.port !== port
    })
    .map(({ backend }) => backend)
}

function isInOrder(backends: readonly Backend[]): boolean {
  let [address, port]: [Address, number] = [-1, 0]
  for (const backend of backends) {
    const next = parseAddress(backend.address) ?? 0
    const order = address === -1 ? -1 : compareAddresses(address, next) || port - backend.port
    if (order >= 0) return false
    address = next
    port = backend.port
  }
  return true
}
