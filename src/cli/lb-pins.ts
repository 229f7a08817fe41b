/** What is pinned, without asking an agent: `herald lb maps` shows it, `herald lb unload` removes it. */
import { type Command, Option } from 'commander'
import type { PinnedMapView } from '../api/types.ts'
import { exitCode } from './exit.ts'
import { bpffsOption, type OutputFormat, show, showList } from './reading.ts'
import { Table } from './table.ts'

interface MapsOptions {
  readonly bpffs: string
  readonly output: OutputFormat
}

export function addLbMaps(lb: Command): void {
  lb.command('maps')
    .description('maps that are pinned, of every schema; with a name its raw entries')
    .argument('[name]', 'a map, whose keys and values are shown in hexadecimal')
    .addOption(new Option('-o, --output <format>', 'output format').choices(['table', 'json', 'yaml']).default('table'))
    .addOption(bpffsOption('bpf file system'))
    .action(async (name: string | undefined, options: MapsOptions) => {
      const { listPinnedMaps, rawEntries } = await import('../datapath/pinned-maps.ts')
      if (name === undefined)
        return show(options, async () => {
          const data = listPinnedMaps(options.bpffs)
          return { data, text: () => mapsTable(data), code: exitCode.ok }
        })
      const table = new Table(['Key', 'Value'])
      await showList(options, {
        pages: async function* () {
          yield* rawEntries(options.bpffs, name)
        },
        table: () => (page) => table.page(page.map(({ key, value }) => [key, value])),
      })
    })
}

function mapsTable(maps: readonly PinnedMapView[]): string {
  return new Table(['Map', 'Schema', 'Type', 'Key', 'Value', 'Entries', 'Capacity', 'Memory']).page(
    maps.map(({ name, schema, type, keyBytes, valueBytes, entries, maxEntries, memoryBytes }) => [
      name,
      `v${schema}`,
      type,
      String(keyBytes),
      String(valueBytes),
      entries === undefined ? '-' : String(entries),
      String(maxEntries),
      memoryBytes === undefined ? '-' : `${Math.ceil(memoryBytes / 1024)} KiB`,
    ]),
  )
}

export function addLbUnload(lb: Command): void {
  lb.command('unload')
    .description('remove every program, map, link and filter of ours from the kernel')
    .addOption(bpffsOption('bpf file system'))
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
