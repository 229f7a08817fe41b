/**
 * The least that an announcer can do, to stand beside Herald in `kubernetes`: it reads Services and slices, writes the
 * next address into a status, and announces it when the watch says so. No pool, no check, no memory of who had what,
 * and no second neighbor: whatever does more is slower.
 *
 *     npm run bench -- kubernetes --announcer 'node bench/least-announcer.ts'
 */
import { readFileSync } from 'node:fs'
import { type ClientHttp2Session, connect } from 'node:http2'
import net from 'node:net'
import { sinkAddresses, sinkAsn, sinkPort } from './neighbors.ts'

interface Watched {
  readonly type?: string
  readonly object: {
    readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> }
    readonly spec?: { readonly type?: string; readonly loadBalancerClass?: string }
    readonly status?: { readonly loadBalancer?: { readonly ingress?: readonly { readonly ip: string }[] } }
    readonly endpoints?: readonly { readonly conditions: { readonly ready: boolean } }[] | null
  }
}

interface Config {
  readonly clusters: readonly { readonly cluster: { readonly server: string } }[]
  readonly users: readonly { readonly user: { readonly token: string } }[]
}

const config: Config = JSON.parse(readFileSync(process.env['KUBECONFIG'] ?? '', 'utf8'))
const authorization = `Bearer ${config.users[0]?.user.token ?? ''}`
const session: ClientHttp2Session = connect(config.clusters[0]?.cluster.server ?? '', { rejectUnauthorized: false })
const namespace = '/api/v1/namespaces/default/services'
const slices = '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices'

function ask(method: string, path: string, body: string | undefined, heard: (text: string) => void): Promise<void> {
  const content = body === undefined ? {} : { 'content-type': 'application/apply-patch+yaml' }
  const stream = session.request({ ':method': method, ':path': path, authorization, ...content })
  stream.end(body)
  stream.setEncoding('utf8')
  stream.on('data', heard)
  return new Promise((resolve, reject) => stream.on('end', resolve).on('error', reject))
}

/** All that there is, then what changes, for ever. */
async function follow(path: string, take: (event: Watched) => void): Promise<void> {
  let text = ''
  await ask('GET', path, undefined, (chunk) => {
    text += chunk
  })
  const list: { readonly metadata: { readonly resourceVersion: string }; readonly items: Watched['object'][] } =
    JSON.parse(text)
  for (const object of list.items) take({ object })
  let rest = ''
  await ask('GET', `${path}?watch=1&resourceVersion=${list.metadata.resourceVersion}`, undefined, (chunk) => {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) take(JSON.parse(line))
  })
}

const ready = new Set<string>()
const given = new Map<string, string>()
const announced = new Set<string>()
let next = 0

function service({ type, object: { metadata, spec, status } }: Watched): void {
  const { name } = metadata
  if (spec?.type !== 'LoadBalancer' || spec.loadBalancerClass !== undefined || type === 'DELETED') return
  const ip = status?.loadBalancer?.ingress?.[0]?.ip
  if (ip !== undefined) {
    next = Math.max(next, numberOf(ip) + 1)
    given.set(name, ip)
    return tell(name)
  }
  if (given.has(name)) return
  next = Math.max(next, 1)
  const address = `10.${128 + (next >> 16)}.${(next >> 8) & 255}.${next & 255}`
  next++
  given.set(name, '')
  const wanted = { loadBalancer: { ingress: [{ ip: address, ipMode: 'VIP' }] } }
  const body = JSON.stringify({ apiVersion: 'v1', kind: 'Service', metadata: { name }, status: wanted })
  void ask('PATCH', `${namespace}/${name}/status?fieldManager=least`, body, () => undefined)
}

function slice({ object: { metadata, endpoints } }: Watched): void {
  const name = metadata.labels?.['kubernetes.io/service-name'] ?? ''
  if ((endpoints ?? []).some(({ conditions }) => conditions.ready)) ready.add(name)
  else ready.delete(name)
  tell(name)
}

function numberOf(ip: string): number {
  const [, b = 0, c = 0, d = 0] = ip.split('.').map(Number)
  return ((b - 128) << 16) | (c << 8) | d
}

function message(type: number, body: Buffer): Buffer {
  const header = Buffer.alloc(19, 0xff)
  header.writeUInt16BE(19 + body.length, 16)
  header.writeUInt8(type, 18)
  return Buffer.concat([header, body])
}

/** ORIGIN IGP, AS_PATH 65001, NEXT_HOP 192.0.2.9. */
const attributes = Buffer.from([0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9, 0x40, 3, 4, 192, 0, 2, 9])
let isEstablished = false

function tell(name: string): void {
  const ip = given.get(name)
  if (!isEstablished || ip === undefined || ip === '' || ready.has(name) === announced.has(name)) return
  const prefix = Buffer.from([32, ...ip.split('.').map(Number)])
  const length = (value: number): Buffer => Buffer.from([value >> 8, value & 255])
  if (announced.delete(name)) router.write(message(2, Buffer.concat([length(5), prefix, length(0)])))
  else {
    announced.add(name)
    router.write(message(2, Buffer.concat([length(0), length(attributes.length), attributes, prefix])))
  }
}

const keepalive = message(4, Buffer.alloc(0))
const capabilities = [2, 12, 1, 4, 0, 1, 0, 1, 65, 4, 0, 0, 0xfd, 0xe9]
const open = Buffer.from([4, 0xfd, 0xe9, 0, 90, 192, 0, 2, 9, capabilities.length, ...capabilities])
const router = net.connect({ host: sinkAddresses[0], port: sinkPort, noDelay: true }, () =>
  router.write(message(1, open)),
)
router.on('data', (chunk: Buffer) => {
  // The first octets are its OPEN and KEEPALIVE.
  if (isEstablished || chunk.length < 19) return
  isEstablished = true
  router.write(keepalive)
  setInterval(() => router.write(keepalive), 10_000).unref()
  for (const name of given.keys()) tell(name)
})
if (sinkAsn !== 65_000) throw new RangeError('the OPEN above is for AS 65000')
await Promise.all([follow(slices, slice), follow(namespace, service)])
