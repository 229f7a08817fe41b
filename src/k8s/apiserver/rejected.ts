/** What a server says that does not give what was asked for. */
import { ItemSplitter } from './json-stream.ts'
import { type Answer, withAside } from './transport.ts'
import { isRecord, shortened } from '../source.ts'

/** An answer other than 200. */
export class Rejected extends Error {
  readonly status: number
  readonly retryAfterSec: number | undefined

  constructor(status: number, message: string, retryAfterSec: number | undefined) {
    super(message)
    this.name = 'Rejected'
    this.status = status
    this.retryAfterSec = retryAfterSec
  }
}

/** Where a server says nothing that could be shown: API priority and fairness answers in plain text. */
export function bareAnswer(status: number): string {
  const meaning = status === 429 ? ', too many requests (API priority and fairness)' : ''
  return `the API server answers ${status}${meaning}`
}

/** The server's words, from the Status that it sends with an error. */
export async function reasonOf(kind: string, { status, body, aside }: Answer): Promise<string> {
  const splitter = new ItemSplitter()
  try {
    for await (const chunk of body) splitter.push(chunk, () => undefined)
    const found = splitter.end()
    if (isRecord(found) && typeof found['message'] === 'string')
      return withAside(`${kind}: ${shortened(found['message'])}`, aside)
  } catch {
    // A proxy's page in HTML, or nothing: the number says as much.
  }
  return withAside(`${kind}: ${bareAnswer(status)}`, aside)
}
