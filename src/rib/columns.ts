/** Columns of numbers outside the engine's heap, of tables that grow by making larger ones and filling them. */

export type Column = Uint8Array<ArrayBuffer> | Uint16Array<ArrayBuffer> | Uint32Array<ArrayBuffer>

/**
 * Gives the memory of a column back at once. As garbage it would have the engine collect, again and again while a table
 * comes in.
 */
export function free(column: Column): void {
  column.buffer.transfer(0)
}
