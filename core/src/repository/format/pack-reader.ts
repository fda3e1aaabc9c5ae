import { discardView } from '../../discard.ts';
import { DmaasError } from '../../errors.ts';
import { LIMITS, type BlobId, type BlobKind } from './blob.ts';
import { damaged } from './damage.ts';
import { openFrame } from './frame.ts';
import type { RepositoryKeys } from './key-set.ts';
import { unpackPayload, unpackPayloadSync } from './payload.ts';
import { checkCrc, checkHeader, HEADER_BYTES, lastSection, OBJECT_TYPE } from './sealed.ts';
import { checkRows, decodeTable, readRow, rowCount, type PackInfo, type Row, type Table } from './table.ts';

export const PACKS = 'packs/';
const PACK_KEY = /^packs\/([0-9a-f]{2})\/(\1[0-9a-f]{30})$/;

export function packKey(id: string): string {
  return `${PACKS}${id.slice(0, 2)}/${id}`;
}

/** The id in the key of a pack; undefined when it is no such key. */
export function packIdOf(key: string): string | undefined {
  return PACK_KEY.exec(key)?.[2];
}

/** What is wrong with a pack that is listed with this size, or not at all. */
export function misfitOf({ id, size }: Pick<PackInfo, 'id' | 'size'>, listed: number | undefined): string | undefined {
  if (listed === size) return undefined;
  return listed === undefined ? `${packKey(id)} is missing` : `${packKey(id)} has ${listed} bytes and was written with ${size}`;
}

/** The table of a pack, from the section at its end. `size`: of the whole pack. */
export function openPackTable(keys: RepositoryKeys, key: string, header: Uint8Array, section: Uint8Array, size: number): Table {
  checkHeader(header, key, OBJECT_TYPE.pack);
  const table = decodeTable(keys.sections(header.subarray(0, HEADER_BYTES), key).open(0, section), key);
  const pack = table.packs[0];
  if (table.packs.length !== 1 || pack === undefined || packKey(pack.id) !== key) throw damaged(key, 'its table is that of another pack');
  if (pack.size !== size) throw damaged(key, `it has ${size} bytes and was written with ${pack.size}`);
  checkRows(table.rows, [size], key);
  return table;
}

/** The payload of a frame: blobs, end to end. */
export async function openFramePayload(keys: RepositoryKeys, frame: Uint8Array, key: string): Promise<Buffer> {
  const packed = openFrame(keys, frame, key);
  const payload = await unpackPayload(packed, LIMITS.frame, key);
  if (payload.buffer !== packed.buffer) discardView(packed);
  return payload;
}

/** The same on this thread. */
export function openFramePayloadSync(keys: RepositoryKeys, frame: Uint8Array, key: string): Buffer {
  const packed = openFrame(keys, frame, key);
  const payload = unpackPayloadSync(packed, LIMITS.frame, key);
  if (payload.buffer !== packed.buffer) discardView(packed);
  return payload;
}

/** A blob out of its frame's payload, checked against its id: a view. */
export function blobOf(
  keys: RepositoryKeys,
  payload: Uint8Array,
  row: Omit<Row, 'pack' | 'offset' | 'length'>,
  kind: BlobKind,
  key: string,
): Uint8Array {
  if (row.innerOffset + row.innerLength > payload.length) throw damaged(key, `the blob ${row.id} lies outside of its frame`);
  const blob = payload.subarray(row.innerOffset, row.innerOffset + row.innerLength);
  if (keys.blobId(kind, blob) !== row.id) throw damaged(key, `the blob ${row.id} in it has another content`);
  return blob;
}

/** What checking a whole pack found. */
export interface PackCheck {
  /** Undefined when the table cannot be read. */
  readonly table: Table | undefined;
  readonly faults: readonly Error[];
  /** Of those in the table. */
  readonly unreadable: readonly BlobId[];
}

/** Reads everything in a pack: checksum, table, each frame, each blob. `known` stands in for a table that cannot be read. Throws REPOSITORY_KEY when it is sealed for others. */
export async function checkPack(
  keys: RepositoryKeys,
  key: string,
  object: Uint8Array,
  known: (() => Table | Promise<Table>) | undefined,
): Promise<PackCheck> {
  const faults: Error[] = [];
  const attempt = async <T>(check: () => T | Promise<T>): Promise<T | undefined> => {
    try {
      return await keys.opening(check);
    } catch (e) {
      if (DmaasError.is(e, 'REPOSITORY_KEY')) throw e;
      faults.push(e as Error);
      return undefined;
    }
  };
  await attempt(() => {
    checkCrc(object, key);
  });
  const own = await attempt(() => openPackTable(keys, key, object, lastSection(object, key), object.length));
  const table = own ?? (await known?.());
  const unreadable: BlobId[] = [];
  if (table === undefined) return { table: own, faults, unreadable };
  const pack = table.packs[0] as PackInfo;
  for (const [offset, frameRows] of rowsByFrame(table)) {
    const length = (frameRows[0] as Row).length;
    const payload = await attempt(() => openFramePayload(keys, object.subarray(offset, offset + length), key));
    for (const row of frameRows) {
      const blob = payload && (await attempt(() => blobOf(keys, payload, row, pack.kind, key)));
      if (blob === undefined) unreadable.push(row.id);
    }
  }
  return { table: own, faults, unreadable };
}

function rowsByFrame(table: Table): Map<number, Row[]> {
  const frames = new Map<number, Row[]>();
  for (let i = 0; i < rowCount(table.rows); i++) {
    const row = readRow(table.rows, i);
    const frame = frames.get(row.offset);
    if (frame === undefined) frames.set(row.offset, [row]);
    else frame.push(row);
  }
  return frames;
}
