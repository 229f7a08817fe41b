/** Where the pods of the stage serve, and where their Services do. */
export const tcpPort = 8_080
export const datagramPort = 7_007
export const servicePort = 80
export const datagramServicePort = 7
