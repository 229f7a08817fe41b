/** `GET /api/v1/flows`: a line of JSON per event, until the observer goes. */
import type http from 'node:http'
import type { Reply } from './answers.ts'
import { parseFlowQuery } from './flow-query.ts'
import type { FlowSource } from './flow-types.ts'

export const flowsPath = '/api/v1/flows'

/** Throws ERR_USAGE, ERR_BUSY or ERR_NO_EVENTS. */
export function flowsReply(flows: FlowSource, query: URLSearchParams): Reply {
  // Told of in later turns of the loop: the response is there by then.
  let out: http.ServerResponse | undefined
  const leave = flows.observe(parseFlowQuery(query), {
    write: (text, taken) => {
      if (out?.write(text) === true) taken()
      else out?.once('drain', taken)
    },
    // What waits for a reader who takes nothing would keep the connection for ever.
    end: () => void (out?.writableNeedDrain === true ? out.destroy() : out?.end()),
  })
  const stream = (response: http.ServerResponse): void => {
    out = response
    response.once('close', leave)
    response.flushHeaders()
  }
  return { status: 200, type: 'application/x-ndjson', body: '', isLast: true, stream }
}
