/** Connections in use while something is done to the node between their ends. */
import assert from 'node:assert/strict'
import { waitFor } from '../wait.ts'
import type { Load } from './actor.ts'
import { vip, type Actor, type Rack } from './rack.ts'

/** The VIP, and the namespaces between which its packets go. */
export interface Ends<P extends string> {
  readonly address: string
  readonly places: readonly P[]
  readonly run: (place: P, command: readonly string[]) => string
}

/** What a namespace counts of segments that were sent again, and of resets. */
function losses<P extends string>({ places, run }: Ends<P>): Readonly<Record<string, number>> {
  return Object.fromEntries(
    places.flatMap((place) => {
      const [names = [], values = []] = run(place, ['cat', '/proc/net/snmp'])
        .split('\n')
        .filter((line) => line.startsWith('Tcp:'))
        .map((line) => line.split(' '))
      return ['RetransSegs', 'EstabResets', 'OutRsts', 'AttemptFails'].map(
        (name) => [`${place} ${name}`, Number(values[names.indexOf(name)])] as const,
      )
    }),
  )
}

/** Runs something under load, and finds that no segment was lost and no connection ended. */
export function underLoad(rack: Rack, user: Actor, run: () => Promise<unknown>): Promise<void> {
  const places = ['client', 'pod'] as const
  return underLoadOf({ address: vip, places, run: (place, command) => rack.run(place, command) }, user, run)
}

/** The same by namespaces that somebody else has laid. */
export async function underLoadOf<P extends string>(
  ends: Ends<P>,
  user: Actor,
  run: () => Promise<unknown>,
): Promise<void> {
  await user.tell({ do: 'load', address: ends.address, port: 80, connections: 20 })
  const soFar = (): Promise<Load> => user.tell<Load>({ do: 'load-so-far' })
  await waitFor('traffic', async () => (await soFar()).opened > 50)
  const before = losses(ends)
  await run()
  const then = await soFar()
  await waitFor('traffic afterwards', async () => {
    const now = await soFar()
    return (now.opened > then.opened + 50 && now.exchanges > then.exchanges + 400) || now.failures.length > 0
  })
  const met = await user.tell<Load>({ do: 'load-end' })
  assert.deepEqual(met.failures, [])
  assert.deepEqual(losses(ends), before)
}
