/** Connections in use while something is done to the node between their ends. */
import assert from 'node:assert/strict'
import { waitFor } from '../wait.ts'
import type { Load } from './actor.ts'
import { vip, type Actor, type Rack } from './rack.ts'

/** What a namespace counts of segments that were sent again, and of resets. */
function losses(rack: Rack): Readonly<Record<string, number>> {
  return Object.fromEntries(
    (['client', 'pod'] as const).flatMap((place) => {
      const [names = [], values = []] = rack
        .run(place, ['cat', '/proc/net/snmp'])
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
export async function underLoad(rack: Rack, user: Actor, run: () => Promise<unknown>): Promise<void> {
  await user.tell({ do: 'load', address: vip, port: 80, connections: 20 })
  const soFar = (): Promise<Load> => user.tell<Load>({ do: 'load-so-far' })
  await waitFor('traffic', async () => (await soFar()).opened > 50)
  const before = losses(rack)
  await run()
  const then = await soFar()
  await waitFor('traffic afterwards', async () => {
    const now = await soFar()
    return (now.opened > then.opened + 50 && now.exchanges > then.exchanges + 400) || now.failures.length > 0
  })
  const met = await user.tell<Load>({ do: 'load-end' })
  assert.deepEqual(met.failures, [])
  assert.deepEqual(losses(rack), before)
}
