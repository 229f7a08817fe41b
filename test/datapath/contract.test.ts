import { createFakeDatapath } from '../../src/datapath/fake.ts'
import { contract } from './contract.ts'
import { kernelFixture, whyNoKernel } from './fixture.ts'

contract(
  'fake',
  {
    open: (_, addresses) => {
      const datapath = createFakeDatapath({
        maxEntries: { addresses, frontends: 4, backends: 8, tables: 600, counters: 8 },
      })
      return { datapath, reopen: () => createFakeDatapath({ maps: datapath.maps }) }
    },
  },
  undefined,
)

contract(
  'kernel',
  {
    open: (t, addresses) => {
      const fixture = kernelFixture(t)
      const maxEntries = {
        addresses,
        frontends: 4,
        backends: 8,
        tables: 600,
        connections: 1024,
        fragments: 128,
        counters: 8,
      }
      return { datapath: fixture.open({ maxEntries, drainSec: 0 }), reopen: () => fixture.open() }
    },
  },
  whyNoKernel(),
)
