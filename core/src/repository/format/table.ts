import { BLOB_ID_BYTES, blobIdAt, LIMITS, type BlobId, type BlobKind } from './blob.ts';
import { damaged } from './damage.ts';
import { FRAME_OVERHEAD, MAX_FRAME_BYTES } from './frame.ts';
import { HEADER_BYTES } from './sealed.ts';

/** A pack as tables name it. */
export interface PackInfo {
  /** 32 hex digits. */
  readonly id: string;
  readonly kind: BlobKind;
  /** Bytes of the whole object. */
  readonly size: number;
}

/** Where blobs lie: rows of 44 bytes, as they are stored. */
export interface Table {
  readonly packs: readonly PackInfo[];
  readonly rows: Uint8Array;
}

/** One row. `offset` and `length` are the frame's in its pack; `innerOffset` and `innerLength` the blob's in the frame's payload. */
export interface Row {
  readonly id: BlobId;
  /** Index into the table's packs. */
  readonly pack: number;
  readonly offset: number;
  readonly length: number;
  readonly innerOffset: number;
  readonly innerLength: number;
}

export const ROW_BYTES = 44;
export const PACK_ID_BYTES = 16;
const PACK_BYTES = PACK_ID_BYTES + 1 + 4;
/** Of a table of one pack, without its rows. */
export const PACK_TABLE_BYTES = 4 + PACK_BYTES + 4;
const KINDS: readonly BlobKind[] = ['data', 'node'];

export function kindCode(kind: BlobKind): number {
  return KINDS.indexOf(kind);
}

export function kindOf(code: unknown, key: string): BlobKind {
  const kind = typeof code === 'number' ? KINDS[code] : undefined;
  if (kind === undefined) throw damaged(key, 'it names a pack of no known kind');
  return kind;
}

export function rowCount(rows: Uint8Array): number {
  return rows.length / ROW_BYTES;
}

export function readRow(rows: Uint8Array, index: number): Row {
  const at = index * ROW_BYTES;
  const view = new DataView(rows.buffer, rows.byteOffset + at + BLOB_ID_BYTES, ROW_BYTES - BLOB_ID_BYTES);
  return {
    id: blobIdAt(rows, at),
    pack: view.getUint32(0, true),
    offset: view.getUint32(4, true),
    length: view.getUint32(8, true),
    innerOffset: view.getUint32(12, true),
    innerLength: view.getUint32(16, true),
  };
}

export function writeRow(rows: Buffer, index: number, row: Row): void {
  const at = index * ROW_BYTES;
  rows.write(row.id, at, BLOB_ID_BYTES, 'hex');
  [row.pack, row.offset, row.length, row.innerOffset, row.innerLength].forEach((value, i) => {
    rows.writeUInt32LE(value, at + BLOB_ID_BYTES + i * 4);
  });
}

/** The rows in the order of their ids, which is that of stored tables. */
export function sortRows(rows: Uint8Array): Buffer {
  const bytes = Buffer.from(rows.buffer, rows.byteOffset, rows.length);
  const count = rowCount(rows);
  // The first six bytes decide nearly always, and numbers compare faster than buffers.
  const firsts = Float64Array.from({ length: count }, (_, i) => bytes.readUIntBE(i * ROW_BYTES, 6));
  const order = Uint32Array.from({ length: count }, (_, i) => i).sort(
    (a, b) =>
      (firsts[a] as number) - (firsts[b] as number) ||
      bytes.compare(bytes, b * ROW_BYTES, (b + 1) * ROW_BYTES, a * ROW_BYTES, (a + 1) * ROW_BYTES),
  );
  const sorted = Buffer.allocUnsafe(rows.length);
  order.forEach((from, to) => bytes.copy(sorted, to * ROW_BYTES, from * ROW_BYTES, (from + 1) * ROW_BYTES));
  return sorted;
}

/** Several tables as one, sorted. */
export function joinTables(tables: readonly Table[]): Table {
  const rows = Buffer.concat(tables.map((t) => t.rows));
  let at = 0;
  let packs = 0;
  for (const table of tables) {
    for (const end = at + table.rows.length; at < end; at += ROW_BYTES) {
      rows.writeUInt32LE(rows.readUInt32LE(at + BLOB_ID_BYTES) + packs, at + BLOB_ID_BYTES);
    }
    packs += table.packs.length;
  }
  return { packs: tables.flatMap((t) => t.packs), rows: sortRows(rows) };
}

/** `u32 pack count ‖ packs ‖ u32 entry count ‖ entries`. The rows must be sorted. */
export function encodeTable(table: Table): Buffer {
  const packs = Buffer.alloc(4 + table.packs.length * PACK_BYTES + 4);
  packs.writeUInt32LE(table.packs.length, 0);
  table.packs.forEach((pack, i) => {
    const at = 4 + i * PACK_BYTES;
    packs.write(pack.id, at, PACK_ID_BYTES, 'hex');
    packs.writeUInt8(kindCode(pack.kind), at + PACK_ID_BYTES);
    packs.writeUInt32LE(pack.size, at + PACK_ID_BYTES + 1);
  });
  packs.writeUInt32LE(rowCount(table.rows), packs.length - 4);
  return Buffer.concat([packs, table.rows]);
}

export function decodeTable(bytes: Buffer, key: string): Table {
  const cut = damaged.bind(undefined, key, 'its table is cut short');
  if (bytes.length < 8) throw cut();
  const packCount = bytes.readUInt32LE(0);
  const rowsAt = 4 + packCount * PACK_BYTES + 4;
  if (bytes.length < rowsAt) throw cut();
  if (bytes.length - rowsAt !== bytes.readUInt32LE(rowsAt - 4) * ROW_BYTES) throw cut();
  const packs = Array.from({ length: packCount }, (_, i) => {
    const at = 4 + i * PACK_BYTES;
    return {
      id: bytes.toString('hex', at, at + PACK_ID_BYTES),
      kind: kindOf(bytes[at + PACK_ID_BYTES], key),
      size: bytes.readUInt32LE(at + PACK_ID_BYTES + 1),
    };
  });
  return { packs, rows: bytes.subarray(rowsAt) };
}

/** Throws REPOSITORY_CORRUPT unless every row lies inside its pack and inside what a frame can hold. `sizes` are those of the packs. */
export function checkRows(rows: Uint8Array, sizes: ArrayLike<number>, key: string): void {
  const view = new DataView(rows.buffer, rows.byteOffset, rows.length);
  for (let at = BLOB_ID_BYTES; at < rows.length; at += ROW_BYTES) {
    const size = sizes[view.getUint32(at, true)];
    const offset = view.getUint32(at + 4, true);
    const length = view.getUint32(at + 8, true);
    const innerEnd = view.getUint32(at + 12, true) + view.getUint32(at + 16, true);
    const isInside = size !== undefined && offset >= HEADER_BYTES && offset + length <= size;
    if (!isInside || length <= FRAME_OVERHEAD || length > MAX_FRAME_BYTES || innerEnd > LIMITS.frame) {
      throw damaged(key, 'its table points outside of a pack');
    }
  }
}
