/** Requests to a real API server as fast as it takes them: one HTTP/2 connection, a bounded number at a time. */
import { type ClientHttp2Session, connect } from 'node:http2'
import { nowMs } from './report.ts'

const usual = 64

export class ApiClient {
  readonly #url: string
  #session: ClientHttp2Session

  constructor(url: string) {
    this.#url = url
    this.#session = this.#connected()
  }

  #connected(): ClientHttp2Session {
    const session = connect(this.#url, { rejectUnauthorized: false })
    // Each of its streams says the same.
    session.on('error', () => {})
    return session
  }

  /** The clock when the answer was there; rejects with the server's words. PATCH is a server-side apply. */
  send(method: 'POST' | 'PUT' | 'PATCH' | 'DELETE', path: string, object?: object): Promise<number> {
    // The server closes a connection on which nothing was asked for 90 s.
    if (this.#session.closed || this.#session.destroyed) this.#session = this.#connected()
    const stream = this.#session.request({
      ':method': method,
      ':path': path,
      authorization: 'Bearer token-admin',
      'content-type': method === 'PATCH' ? 'application/apply-patch+yaml' : 'application/json',
    })
    stream.end(object === undefined ? undefined : JSON.stringify(object))
    return new Promise((resolve, reject) => {
      let status = 0
      let text = ''
      stream.setEncoding('utf8')
      stream.on('response', (headers) => {
        status = Number(headers[':status'])
      })
      stream.on('data', (chunk: string) => {
        text += chunk
      })
      stream.on('error', reject)
      stream.on('end', () => {
        if (status < 300) resolve(nowMs())
        else reject(new Error(`${method} ${path}: ${status} ${text.slice(0, 300)}`))
      })
    })
  }

  /** `make` for 0 to `count` - 1, so many at once; the answer is the clock after the last one. */
  async all(count: number, make: (i: number) => Promise<unknown>, atOnce = usual): Promise<number> {
    let next = 0
    const work = async (): Promise<void> => {
      while (next < count) await make(next++)
    }
    await Promise.all(Array.from({ length: atOnce }, work))
    return nowMs()
  }

  close(): void {
    this.#session.destroy()
  }
}
