import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inspectMachine, lackText } from '../../scripts/setup/machine.ts'
import { missingPackages, type Need } from '../../scripts/setup/packages.ts'

const absent: Need = {
  what: 'a router',
  packages: ['no-such-router'],
  proofs: ['/nonexistent/routerd'],
  lost: 'the routes',
  isVital: true,
}
const present: Need = {
  what: 'a shell',
  packages: ['dash'],
  proofs: ['/nonexistent/sh', '/bin/sh'],
  lost: 'everything',
}

test('a package counts as there when any of its proofs exists', () => {
  assert.deepEqual(missingPackages([absent, present]), [absent])
})

test('a shared library is looked up by name', () => {
  const library = (name: string): Need => ({ ...absent, proofs: [name] })
  assert.deepEqual(missingPackages([library('libc.so.6')]), [])
  assert.equal(missingPackages([library('libnowhere.so.7')]).length, 1)
})

test('a lack is one line: what is missing, how to get it, what does not run, what still does', () => {
  const machine = inspectMachine([absent, present])
  const line = machine.lacks.map(lackText).find((text) => text.includes('a router'))
  assert.equal(
    line,
    'missing: a router (package no-such-router); get it: apt-get install no-such-router; does not run: the ' +
      'routes; still runs: everything else',
  )
  assert.ok(!machine.canDeploy)
})

test('what only the datapath needs does not keep the lab from running', {
  skip: process.geteuid?.() === 0 ? false : 'needs root',
}, () => {
  const machine = inspectMachine([{ ...absent, isVital: false, isForBpf: true }])
  assert.ok(machine.canDeploy)
  assert.ok(!machine.canBpf)
})
