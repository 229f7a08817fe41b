/** A reporter of the test runner for a console: one line of JSON for what passed, failed, or has something to show. */
import { inspect } from 'node:util'
import type { TestEvent } from 'node:test/reporters'

/** What a line of a machine is when it tells of a test. */
export interface Told {
  readonly type: 'pass' | 'fail' | 'say' | 'end'
  readonly name: string
  readonly text?: string
  readonly isSkipped?: boolean
  readonly seconds?: number
}

export const mark = '@test '

export default async function* lines(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of events) {
    const told = toldBy(event)
    if (told !== undefined) yield `${mark}${JSON.stringify(told)}\n`
  }
}

/** What the runner itself sums up in the end. */
const ofRunner = /^(tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) [\d.]+$/

function toldBy(event: TestEvent): Told | undefined {
  if (event.type === 'test:diagnostic')
    return ofRunner.test(event.data.message) ? undefined : { type: 'say', name: '', text: event.data.message }
  if (event.type !== 'test:pass' && event.type !== 'test:fail') return undefined
  const { name, details, skip } = event.data
  return {
    type: event.type === 'test:pass' ? 'pass' : 'fail',
    name,
    seconds: details.duration_ms / 1000,
    ...(skip === undefined || skip === false ? {} : { isSkipped: true }),
    ...('error' in details ? { text: inspect(details.error.cause ?? details.error) } : {}),
  }
}
