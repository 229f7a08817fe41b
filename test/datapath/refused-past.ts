/** The programs, beside one that no verifier takes where flows go past netfilter. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { compileBpf, datapathSource } from '../../scripts/build-bpf.ts'

const text = `
#include "${datapathSource}"
SEC("tc")
int refused_past(struct __sk_buff *skb)
{
	return is_redirecting ? *(volatile int *)(unsigned long)skb->len : 0;
}
`

/** Answers with the object, which goes with the test. */
export function refusedPast(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'dp-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const [source, object] = [join(folder, 'refused.bpf.c'), join(folder, 'refused.bpf.o')]
  writeFileSync(source, text)
  compileBpf(source, object)
  return object
}
