/** Prints the routers that advertise themselves on an interface, one a line, until it is killed. */
import { formatAddress } from '../../src/ip/address.ts'
import { system } from '../../src/speaker/session/system.ts'

system.discoverRouters(process.argv[2] ?? '', (router) => console.log(formatAddress(router)))
