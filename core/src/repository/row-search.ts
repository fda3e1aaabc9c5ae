import { BLOB_ID_BYTES } from './blob.ts';
import { ROW_BYTES } from './table.ts';

/** Told of each row that a lookup finds: the place of its id in the batch, and where the row begins. */
export type OnRow = (i: number, rows: Buffer, at: number) => void;

/** Tells of all rows with this id; whether there are any. */
export function searchRows(rows: Buffer, ids: Buffer, i: number, onRow: OnRow): boolean {
  const id = i * BLOB_ID_BYTES;
  let low = 0;
  let high = rows.length / ROW_BYTES;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compareIds(rows, middle * ROW_BYTES, ids, id) < 0) low = middle + 1;
    else high = middle;
  }
  let at = low * ROW_BYTES;
  for (; at < rows.length && compareIds(rows, at, ids, id) === 0; at += ROW_BYTES) onRow(i, rows, at);
  return at > low * ROW_BYTES;
}

/** Of the rows or ids that begin there. */
export function compareIds(a: Buffer, aAt: number, b: Buffer, bAt: number): number {
  return a.compare(b, bAt, bAt + BLOB_ID_BYTES, aAt, aAt + BLOB_ID_BYTES);
}
