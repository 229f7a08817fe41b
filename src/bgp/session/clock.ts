/** Time as sessions see it, so that a test can run it faster. Seconds. */

export interface Timer {
  /** Starts the wait anew, also after it has expired. */
  refresh(): void
  cancel(): void
}

export interface Clock {
  after(sec: number, callback: () => void): Timer
  /** Since the process started. */
  uptimeSec(): number
}

export const systemClock: Clock = {
  after: (sec, callback) => {
    const timeout = setTimeout(callback, sec * 1000)
    return { refresh: () => void timeout.refresh(), cancel: () => clearTimeout(timeout) }
  },
  uptimeSec: () => process.uptime(),
}
