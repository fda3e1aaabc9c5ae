import { BLOB_ID_BYTES } from '../format/blob.ts';
import { prefixAt, type IdBatch } from '../format/segment-filter.ts';
import { ROW_BYTES } from '../format/table.ts';

/** Told of each row that a lookup finds: the place of its id in the batch, and where the row begins. */
export type OnRow = (i: number, rows: Buffer, at: number) => void;

/** Tells of all rows with this id; whether there are any. */
export function searchRows(rows: Buffer, batch: IdBatch, i: number, onRow: OnRow): boolean {
  const prefix = batch.prefixes[i] as number;
  let low = 0;
  let high = rows.length / ROW_BYTES;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (prefixAt(rows, middle * ROW_BYTES) < prefix) low = middle + 1;
    else high = middle;
  }
  let isFound = false;
  // Others may begin with the same six bytes.
  for (let at = low * ROW_BYTES; at < rows.length && prefixAt(rows, at) === prefix; at += ROW_BYTES) {
    if (compareIds(rows, at, batch.bytes, i * BLOB_ID_BYTES) !== 0) continue;
    onRow(i, rows, at);
    isFound = true;
  }
  return isFound;
}

export function compareIds(a: Buffer, aAt: number, b: Buffer, bAt: number): number {
  return a.compare(b, bAt, bAt + BLOB_ID_BYTES, aAt, aAt + BLOB_ID_BYTES);
}
