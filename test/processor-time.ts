/** What work costs this thread in milliseconds of the processor, whatever else the machine does meanwhile. */
export function processorMs(work: () => void): number {
  const before = process.threadCpuUsage()
  work()
  const { user, system } = process.threadCpuUsage(before)
  return (user + system) / 1000
}
