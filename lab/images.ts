/**
 * What stands in for a container image when there is no container engine: an image name is matched to a recipe
 * that boots the same software from the distribution or from this checkout.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'

export interface Recipe {
  readonly name: 'frr' | 'herald' | 'host tools'
  /** In front of the node's `cmd`, as an image's entry point is. */
  readonly entrypoint: readonly string[]
  /** Folders that the node has for itself, empty at the start. */
  readonly privateFolders: readonly string[]
  /** A file system for pinned BPF objects that lives as long as the node, not as long as the agent. */
  readonly hasBpffs: boolean
  /** Command lines (for sh) that start what the image starts by itself. */
  readonly boot: readonly string[]
}

const hostTools: Recipe = { name: 'host tools', entrypoint: [], privateFolders: ['/run'], hasBpffs: false, boot: [] }

const frr: Recipe = {
  name: 'frr',
  entrypoint: [],
  // FRR keeps crash logs in /var/tmp.
  privateFolders: ['/run', '/etc/frr', '/var/tmp'],
  hasBpffs: false,
  boot: [
    'install -d -m 755 -o frr -g frr /run/frr',
    'touch /etc/frr/vtysh.conf',
    // Every daemon that the file names, after those that the others wait for (mgmtd exists from FRR 9 on).
    'for daemon in $(cd /usr/lib/frr; ls mgmtd 2>/dev/null) zebra $(sed -n "s/^\\([a-z0-9]*d\\)=yes.*/\\1/p" ' +
      '/etc/frr/daemons | grep -vx -e zebra -e mgmtd); do /usr/lib/frr/$daemon -d -A 127.0.0.1 ' +
      '>/run/frr/boot.log 2>&1 || { cat /run/frr/boot.log; exit 1; }; done',
    'test ! -e /etc/frr/frr.conf || vtysh -b </dev/null',
  ],
}

/** The recipe for an image; `root` is the checkout whose program stands in for our own image. */
export function recipeFor(image: string, root: string): Recipe {
  if (/(^|\/)frr(outing\/frr)?(:|$)/.test(image)) return frr
  if (/(^|\/)herald(:|@|$)/.test(image)) {
    return {
      name: 'herald',
      entrypoint: [join(root, 'bin', 'herald')],
      privateFolders: ['/run'],
      hasBpffs: true,
      boot: [],
    }
  }
  return hostTools
}

/** What the machine lacks for a recipe, as one line each; empty when it can boot. */
export function missingFor(recipe: Recipe): string[] {
  if (recipe.name !== 'frr') return []
  return ['/usr/lib/frr/zebra', '/usr/lib/frr/bgpd', '/usr/bin/vtysh']
    .filter((path) => !existsSync(path))
    .map((path) => `${path} is missing: apt-get install frr`)
}
