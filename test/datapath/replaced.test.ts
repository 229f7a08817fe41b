/**
 * A packet that reads a frontend just before it is replaced. That moment is made here: the function that chooses is
 * compiled from its header with a look-up of frontends that answers with the former one first.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { KernelMaps } from '../../src/datapath/kernel-maps.ts'
import { readBackend, writeDrain } from '../../src/datapath/layout.ts'
import { servedOver, type Served } from '../../src/datapath/served.ts'
import { BpfObject, runProgram } from '../../src/sys/bpf.ts'
import { frontendOf, smallMaps, whyNoKernel } from './fixture.ts'
import { tcpFlag, tcpFrame } from './frames.ts'

const skip = whyNoKernel()
const vip = '192.0.2.10'
/** The former frontend has the first port, the one that replaces it the second, and so on. */
const firstPort = 80
const madeFrom = 1_000

/** `place`: by how often a frontend was read before, which of them is read. */
const programOf = (place: string): string => `
#include <linux/pkt_cls.h>
#include "layout.h"
#include "maps.h"

static volatile __u32 reads;

static __always_inline void *frontend_in_turn(const struct frontend_key *meant)
{
	struct frontend_key key = *meant;
	__u32 before = reads;

	reads = before + 1;
	key.port = bpf_htons(${firstPort} + (${place}));
	return (bpf_map_lookup_elem)(&frontends, &key);
}

#define bpf_map_lookup_elem(map, key)                                                          \\
	((void *)(map) == (void *)&frontends ? frontend_in_turn((const void *)(key)) :           \\
					       (bpf_map_lookup_elem)(map, key))
#include "opening.h"

SEC("tc")
int choose(struct __sk_buff *skb)
{
	struct packet *packet = blank_packet(SCRATCH_PACKET);
	const struct choices *made = choices_here();
	enum choice choice;

	reads = 0;
	if (!packet || !made || !parse(skb, packet) || !is_header_sound(skb, packet) || !parse_transport(skb, packet))
		return -2;
	choice = choose_anew(SCRATCH_PACKET, false);
	return choice == CHOICE_MADE ? ${madeFrom} + made->current.id : choice;
}

char _license[] SEC("license") = "Dual BSD/GPL";
`
/** A choice reads it twice: before it chooses, and to see whether that is in force. */
const oneForEachChoice = 'before / 2'
const anotherAfterTheFirstReading = 'before > 0'

interface Chooser {
  readonly served: Served
  readonly maps: KernelMaps
  /** The address of the backend that is chosen; undefined: none. */
  choose(): string | undefined
}

function chooserOf(t: TestContext, place = oneForEachChoice): Chooser {
  const folder = mkdtempSync(join(tmpdir(), 'dp-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const [source, output] = [join(folder, 'choose.bpf.c'), join(folder, 'choose.bpf.o')]
  writeFileSync(source, programOf(place))
  const machine = process.arch === 'arm64' ? 'aarch64' : 'x86_64'
  const headers = fileURLToPath(new URL('../../src/datapath/bpf', import.meta.url))
  const flags = ['-target', 'bpf', '-mcpu=v3', '-O2', '-g', '-idirafter', `/usr/include/${machine}-linux-gnu`]
  execFileSync('clang', [...flags, '-I', headers, '-c', source, '-o', output], { stdio: 'pipe' })
  const object = new BpfObject(output)
  for (const [name, entries] of Object.entries(smallMaps)) object.setMaxEntries(name, entries)
  object.load()
  const maps = new KernelMaps(object)
  t.after(() => maps.close())
  const nowNs = (): bigint => process.hrtime.bigint()
  const served = servedOver(maps, { nowNs, drainNs: 0n, settleNs: 0n, previousNs: 0n })
  const ends = { source: '198.51.100.7', destination: vip, sourcePort: 40_000, destinationPort: firstPort }
  return {
    served,
    maps,
    choose: () => {
      const { verdict } = runProgram(object.programFd('choose'), tcpFrame({ ...ends, flags: tcpFlag.SYN }))
      return verdict < madeFrom ? undefined : readBackend(maps.memory('backends'), verdict - madeFrom).address
    },
  }
}

/** What a packet holds that read a frontend before it was replaced: its backend is gone, and the frontend names it. */
function end(maps: KernelMaps, address: string): void {
  const memory = maps.memory('backends')
  for (let id = 0; id < smallMaps.backends; id++)
    if (readBackend(memory, id).address === address) writeDrain(memory, id, 1n)
}

test('a packet that has read a frontend whose backend is gone reads it again, and is served by the new one', {
  skip,
}, (t) => {
  const { served, maps, choose } = chooserOf(t)
  const pods = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map((n) => ({ address: `10.1.0.${n}`, port: 8080 }))
  for (const [n, each] of pods.entries()) served.upsert(frontendOf(vip, firstPort + n, [each]))
  assert.equal(choose(), '10.1.0.1')
  end(maps, '10.1.0.1')
  assert.equal(choose(), '10.1.0.2', 'at the second reading')
  end(maps, '10.1.0.2')
  assert.equal(choose(), '10.1.0.3', 'replaced twice meanwhile')
  for (const { address } of pods) end(maps, address)
  assert.equal(choose(), undefined, 'and no more often: no packet goes on for ever')
})

test('the same with tables, whose slots name backends that are gone', { skip }, (t) => {
  const { served, maps, choose } = chooserOf(t)
  const podsOf = (from: number): { readonly address: string; readonly port: number }[] =>
    [0, 1, 2].map((n) => ({ address: `10.1.0.${from + n}`, port: 8080 }))
  served.upsert(frontendOf(vip, firstPort, podsOf(1)))
  served.upsert(frontendOf(vip, firstPort + 1, podsOf(11)))
  for (const { address } of podsOf(1)) end(maps, address)
  assert.match(choose() ?? '', /^10\.1\.0\.1[123]$/)
})

test('what was read of a frontend that is replaced before the choice is made counts for nothing', { skip }, (t) => {
  const { served, choose } = chooserOf(t, anotherAfterTheFirstReading)
  served.upsert(frontendOf(vip, firstPort, [{ address: '10.1.0.1', port: 8080 }]))
  served.upsert(frontendOf(vip, firstPort + 1, [{ address: '10.1.0.2', port: 8080 }]))
  assert.equal(choose(), '10.1.0.2', 'the backend of the former one is there, and is not chosen')
})
