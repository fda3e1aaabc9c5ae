import { crc32 } from 'node:zlib';
import { z } from 'zod';
import { LIMITS } from './blob.ts';
import { damaged } from './damage.ts';
import type { RepositoryKeys } from './key-set.ts';
import type { Random } from './keys.ts';
import { packPayloadSync, unpackPayloadSync } from './payload.ts';
import { checkCrc, checkHeader, encodeHeader, encodeTrailer, HEADER_BYTES, lastSection, OBJECT_TYPE } from './sealed.ts';
import { parseStored } from './stored-json.ts';
import { checkRows, kindCode, kindOf, ROW_BYTES, rowCount, type PackInfo, type Table } from './table.ts';

const BLOCK_ROWS = 256;
const SEGMENT_ID_BYTES = 16;

const count = z.number().int().nonnegative();
const directorySchema = z.looseObject({
  packs: z.array(z.tuple([z.string().regex(/^[0-9a-f]{32}$/), count, count.max(LIMITS.pack)])),
  entries: count,
  blocks: z.array(z.tuple([z.string().regex(/^[0-9a-f]{48}$/), count, count])),
  replaces: z.array(z.string()),
});

/** What a segment says of itself. With it and one block, an id is looked up. */
export interface SegmentDirectory {
  readonly packs: readonly PackInfo[];
  readonly entries: number;
  /** Sorted by first id; section i + 1 is block i, at `offset` in the object. */
  readonly blocks: readonly { readonly firstId: string; readonly offset: number; readonly length: number }[];
  /** Keys of segments whose entries are all in this one. */
  readonly replaces: readonly string[];
}

export interface Segment {
  readonly table: Table;
  readonly replaces: readonly string[];
}

export function newSegmentKey(level: number, random: Random): string {
  return `index/${level}/${Buffer.from(random(SEGMENT_ID_BYTES)).toString('hex')}`;
}

/** The object at `key`. The table's rows must be sorted. */
export function encodeSegment(keys: RepositoryKeys, key: string, { table, replaces }: Segment, random: Random): Buffer {
  const header = encodeHeader(OBJECT_TYPE.segment, keys.epoch);
  const cipher = keys.sections(header, key);
  const parts: Buffer[] = [header];
  const blocks: [string, number, number][] = [];
  let offset = HEADER_BYTES;
  for (let at = 0; at < table.rows.length; at += BLOCK_ROWS * ROW_BYTES) {
    const rows = table.rows.subarray(at, at + BLOCK_ROWS * ROW_BYTES);
    const section = cipher.seal(blocks.length + 1, rows, random);
    blocks.push([Buffer.from(rows.subarray(0, 24)).toString('hex'), offset, section.length]);
    parts.push(section);
    offset += section.length;
  }
  const packs = table.packs.map((pack) => [pack.id, kindCode(pack.kind), pack.size]);
  const directory = { packs, entries: rowCount(table.rows), blocks, replaces };
  const last = cipher.seal(0, packPayloadSync(Buffer.from(JSON.stringify(directory))), random);
  parts.push(last);
  const crc = parts.reduce((sum, part) => crc32(part, sum), 0);
  return Buffer.concat([...parts, encodeTrailer(last.length, crc)]);
}

/** Opens the sections of one segment, given whole or piece by piece. */
export class SegmentReader {
  readonly #key: string;
  readonly #cipher: ReturnType<RepositoryKeys['sections']>;

  /** `header`: the object's first 16 bytes. */
  constructor(keys: RepositoryKeys, key: string, header: Uint8Array) {
    checkHeader(header, key, OBJECT_TYPE.segment);
    this.#key = key;
    this.#cipher = keys.sections(header.subarray(0, HEADER_BYTES), key);
  }

  directory(section: Uint8Array): SegmentDirectory {
    const json = unpackPayloadSync(this.#cipher.open(0, section), LIMITS.json, this.#key);
    const { packs, entries, blocks, replaces } = parseStored(json, directorySchema, this.#key);
    return {
      packs: packs.map(([id, kind, size]) => ({ id, kind: kindOf(kind, this.#key), size })),
      entries,
      blocks: blocks.map(([firstId, offset, length]) => ({ firstId, offset, length })),
      replaces,
    };
  }

  /** The rows of block `index`. */
  block(directory: SegmentDirectory, index: number, section: Uint8Array): Buffer {
    const rows = this.#cipher.open(index + 1, section);
    const expected = Math.min(BLOCK_ROWS, directory.entries - index * BLOCK_ROWS);
    if (rows.length !== expected * ROW_BYTES) throw damaged(this.#key, 'it has not as many entries as it says');
    const sizes = directory.packs.map((pack) => pack.size);
    checkRows(rows, sizes, this.#key);
    return rows;
  }
}

/** A whole segment. */
export function decodeSegment(keys: RepositoryKeys, key: string, object: Uint8Array): Segment {
  const reader = new SegmentReader(keys, key, object);
  checkCrc(object, key);
  const directory = reader.directory(lastSection(object, key));
  if (directory.blocks.length !== Math.ceil(directory.entries / BLOCK_ROWS)) throw damaged(key, 'it has not as many blocks as it says');
  const rows = Buffer.concat(
    directory.blocks.map(({ offset, length }, i) => reader.block(directory, i, object.subarray(offset, offset + length))),
  );
  return { table: { packs: directory.packs, rows }, replaces: directory.replaces };
}
