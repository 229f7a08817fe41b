/** The BFD session of a peer as the API shows it, in the words of `show bfd peers`. */
import * as z from 'zod'

const bfdTimersSchema = z.object({
  detectMultiplier: z.number().describe('Packets in a row that may be missed'),
  receiveIntervalMs: z.number().describe('Required Min RX Interval'),
  transmitIntervalMs: z.number().describe('Desired Min TX Interval'),
})

export const bfdSchema = z.object({
  id: z.number().describe('Our discriminator'),
  remoteId: z.number().describe("The peer's discriminator; 0: nothing was heard"),
  status: z.enum(['shutdown', 'down', 'init', 'up']).describe('State of RFC 5880 section 4.1; shutdown: AdminDown'),
  sinceSeconds: z.number().describe('Time since the last change of state'),
  diagnostic: z.string().describe('Why it went down the last time, by us'),
  remoteStatus: z.enum(['shutdown', 'down', 'init', 'up']).describe('State that the peer says'),
  remoteDiagnostic: z.string().describe('Why it went down the last time, by the peer'),
  localAddress: z.string().optional().describe('Where packets leave from; absent while there is no socket'),
  multihop: z.boolean().describe('Over several hops (RFC 5883)'),
  passive: z.boolean().describe('It says nothing before the peer has'),
  intervalMs: z.number().describe('Between two of our packets, as agreed'),
  detectionTimeMs: z.number().optional().describe('Silence after which the path counts as lost; absent: nothing heard'),
  local: bfdTimersSchema.describe('Our timers'),
  remote: bfdTimersSchema.describe("The peer's timers"),
  packetsIn: z.number().describe('Control packets received'),
  packetsOut: z.number().describe('Control packets sent'),
  upEvents: z.number().describe('Times that it came up'),
  downEvents: z.number().describe('Times that it went down'),
  problem: z.string().optional().describe('Why no packets leave or arrive'),
})

/** A row of `herald bfd peers`. */
export const bfdPeerSchema = z.object({
  node: z.string().describe('Name of the Node'),
  peer: z.string().describe('Id of the peer: `<local AS>/<address>`'),
  peerAddress: z.string().describe('Its address; link-local ones with their interface'),
  ...bfdSchema.shape,
})

export type BfdView = z.infer<typeof bfdSchema>
export type BfdPeer = z.infer<typeof bfdPeerSchema>
