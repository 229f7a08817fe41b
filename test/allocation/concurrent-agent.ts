/**
 * One of several agents on a folder: sees the Services one after the other, in its own order, and prints their
 * addresses.
 */
import { openFileBook } from '../../src/allocation/file-book.ts'
import { change, deliver, node, pool, service, smallestPolicy, translatorWith } from '../k8s/manifests.ts'

const [folder = '', ...names] = process.argv.slice(2)
const translator = translatorWith(smallestPolicy + node + pool.replace('/28', '/24'), {
  addressBook: openFileBook(folder, folder),
})
translator.flush()
const addresses = new Map<string, readonly string[]>()
const note = ({ services }: ReturnType<typeof change>): void =>
  services.forEach((found, key) => addresses.set(key, found?.addresses ?? []))
for (const name of names) note(change(translator, service(name)))
// What the lock postponed is settled by later flushes, as the re-scan of a folder makes them.
const deadline = performance.now() + 20_000
while (performance.now() < deadline && [...addresses.values()].some((list) => list.length === 0))
  note(translator.flush())
for (const name of names) deliver(translator, service(name))
note(translator.flush())
process.stdout.write(JSON.stringify([...addresses].map(([key, list]) => [key, list.join()]).sort()))
