/**
 * The part of this room that needs the Kubernetes client and HTTP/2: a file of its own in the built program,
 * read by an agent that has an API server.
 */
import { type Credentials, loadCredentials } from './credentials.ts'
import { connectTransport, type Transport } from './transport.ts'

export interface ApiServerConnection extends Pick<Credentials, 'detail' | 'namespace'> {
  /** Of the server: a name, or an address. */
  readonly host: string
  readonly transport: Transport
}

/** `kubeconfig` undefined: by the service account of the pod. Throws ERR_KUBECONFIG. */
export function connectApiServer(kubeconfig: string | undefined, context?: string): ApiServerConnection {
  const credentials = loadCredentials(kubeconfig, context)
  const { detail, namespace, server } = credentials
  const host = server.hostname.replace(/^\[(.*)\]$/, '$1')
  return { detail, namespace, host, transport: connectTransport(credentials) }
}
