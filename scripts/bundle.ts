/**
 * Bundles one program: `node scripts/bundle.ts OPTIONS METAFILE`, those of esbuild as JSON. A process of its own, since
 * whoever builds waits for it and only esbuild's asynchronous interface takes plugins.
 */
import { writeFileSync } from 'node:fs'
import { build, type BuildOptions, type Plugin } from 'esbuild'

/**
 * What only requests of the Kubernetes client itself would need: models of the whole API and proxies. Of that client
 * nothing but the kubeconfig is used here (k8s/apiserver/transport.ts asks by itself, tunnel.ts goes through a proxy).
 * All of it together would cost 20 MiB and 80 ms CPU in each process.
 */
const unused: Plugin = {
  name: 'unused',
  setup({ onResolve, onLoad }) {
    const isClient = /[\\/]@kubernetes[\\/]client-node[\\/]dist$/
    onResolve({ filter: /^(\.\/gen\/index\.js|socks|socks-proxy-agent|hpagent|undici)$/ }, ({ path, resolveDir }) =>
      isClient.test(resolveDir) ? { path, namespace: 'unused' } : undefined,
    )
    // For commands that are programs of their own, of which there are none.
    const isCommander = /[\\/]commander[\\/]lib$/
    onResolve({ filter: /^node:child_process$/ }, ({ path, resolveDir }) =>
      isCommander.test(resolveDir) ? { path, namespace: 'unused' } : undefined,
    )
    onLoad({ filter: /.*/, namespace: 'unused' }, () => ({ contents: 'module.exports = {}', loader: 'js' }))
  },
}

const [, , options = '{}', metafile = ''] = process.argv
const { metafile: meta } = await build({ ...(JSON.parse(options) as BuildOptions), metafile: true, plugins: [unused] })
writeFileSync(metafile, JSON.stringify(meta))
