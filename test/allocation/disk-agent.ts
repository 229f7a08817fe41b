/**
 * Runs in a mount namespace of its own: an agent on a folder whose disk becomes read-only, writable again, and full.
 * Prints what the Services had at each step.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { openFileBook } from '../../src/allocation/file-book.ts'
import { FolderAgent, pool, request } from './requests.ts'

const [folder = ''] = process.argv.slice(2)
const manifests = join(folder, 'manifests')
const state = join(folder, 'state')
mkdirSync(manifests)
mkdirSync(state)
execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', manifests])
const pools = [pool('p', ['10.0.0.0/24'])]
const agentHere = (): FolderAgent => new FolderAgent(openFileBook(manifests, state), pools)
const steps: Record<string, unknown> = {}
const note = (step: string, agent: FolderAgent): void => {
  steps[step] = [Object.fromEntries([...agent.all()].sort()), agent.allocator.warning?.code]
}
const remount = (how: string): void => void execFileSync('mount', ['-o', `remount,${how}`, manifests])

const agent = agentHere()
agent.put(request('web'), request('api'))
note('writable', agent)
remount('ro')
agent.put(request('new'))
note('read-only', agent)
const restarted = agentHere()
restarted.put(request('aaa'), request('new'), request('web'), request('api'))
note('read-only after a restart', restarted)
remount('rw')
restarted.put(request('more'))
note('writable again', restarted)
steps['in the folder'] = /default\/new/.test(readFileSync(join(manifests, '.herald/allocations.yaml'), 'utf8'))
try {
  for (let i = 0; ; i++) writeFileSync(join(manifests, `fill-${i}`), 'x'.repeat(4096))
} catch {
  // Full.
}
// More than the last page of the record takes.
restarted.put(...Array.from({ length: 100 }, (_, i) => request(`late-${String(i).padStart(60, '0')}`)))
restarted.remove('web')
restarted.put(request('web'))
note('full', restarted)
steps['left beside the record'] = readdirSync(join(manifests, '.herald')).filter((name) => name !== 'allocations.yaml')
for (let i = 0; i < 16; i++) rmSync(join(manifests, `fill-${i}`), { force: true })
restarted.settle()
note('room again', restarted)
process.stdout.write(JSON.stringify(steps))
