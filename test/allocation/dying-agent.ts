/** Settles Services on a folder step by step, and kills itself at one of the steps, if it comes to that. */
import { openFileBook } from '../../src/allocation/file-book.ts'
import { FolderAllocator } from '../../src/allocation/folder-allocator.ts'
import { goOn } from '../../src/allocation/work.ts'
import { pool, request } from './requests.ts'

const [folder = '', last = '', ...names] = process.argv.slice(2)
const allocator = new FolderAllocator(openFileBook(folder, folder, { lockStaleMs: 20, lockWaitMs: 500 }))
allocator.setPools([pool('p', ['10.0.0.0/24'])])
const requests = new Map(names.map((name) => [`default/${name}`, request(name)]))
const work = allocator.settle(requests.keys(), (key) => {
  const found = requests.get(key)
  return found && { subject: found, request: () => found }
})
let step = -names.length
// Until the Services are read it holds no lock.
while (goOn(work, () => step++ >= Number(last)) === undefined) process.kill(process.pid, 'SIGKILL')
