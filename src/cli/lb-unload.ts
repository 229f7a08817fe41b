/** `herald lb unload`: removes every pin, program and filter of ours; refused while an agent runs. */
import type { Command } from 'commander'

export function addLbUnload(lb: Command): void {
  lb.command('unload')
    .description('remove every program, map, link and filter of ours from the kernel')
    .option('--bpffs <path>', 'bpf file system', '/sys/fs/bpf')
    .action(async ({ bpffs }: { readonly bpffs: string }) => {
      const { unloadDatapath } = await import('../datapath/unload.ts')
      const removed = unloadDatapath(bpffs)
      process.stdout.write(
        removed.length === 0
          ? 'nothing of herald is loaded\n'
          : `${removed.map((what) => `removed ${what}`).join('\n')}\n`,
      )
    })
}
