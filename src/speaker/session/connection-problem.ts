/** Why a connection ended or was not made, in words, by the errno of the kernel. */
const problems: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'the peer refuses connections on this port',
  EHOSTUNREACH: 'no route to the peer',
  ENETUNREACH: 'no route to the peer',
  ETIMEDOUT: 'no answer',
  ECONNRESET: 'the peer reset the connection',
  EPIPE: 'the peer closed the connection',
}

/** `errno`: its name, as `ECONNREFUSED`; `otherwise` is said of one that is not known. */
export function connectionProblem(errno: string, otherwise = errno): string {
  return problems[errno] ?? otherwise
}
