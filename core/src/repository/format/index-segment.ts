import { crc32 } from 'node:zlib';
import * as z from 'zod';
import { BLOB_ID_BYTES, LIMITS } from './blob.ts';
import { damaged } from './damage.ts';
import type { Random } from './derive.ts';
import type { RepositoryKeys } from './key-set.ts';
import { packPayloadSync, unpackPayloadSync } from './payload.ts';
import {
  checkCrc,
  checkHeader,
  encodeHeader,
  encodeTrailer,
  HEADER_BYTES,
  lastSection,
  OBJECT_TYPE,
  SECTION_OVERHEAD,
  TRAILER_BYTES,
} from './sealed.ts';
import { addToFilter, isFilter, newFilter } from './segment-filter.ts';
import { parseStored } from './stored-json.ts';
import { checkRows, kindCode, kindOf, ROW_BYTES, rowCount, type PackInfo, type Table } from './table.ts';

export const BLOCK_ROWS = 256;
const SEGMENT_ID_BYTES = 16;
/** Header feature that a reader may ignore: there may be sections with a filter and with nodes. */
const FEATURE_EXTRAS = 1;
const FEATURES_AT = 12;
/** Nodes stand once more on their own when at most one row in so many is one. */
const NODE_SHARE = 64;
/** Of an entry, a block, a pack and a replaced segment in the directory, at most; and of the rest. */
const JSON_BYTES = { block: 80, pack: 56, replaced: 48, rest: 512 } as const;

const count = z.number().int().nonnegative();
const place = z.tuple([count, count]);
const directorySchema = z.looseObject({
  packs: z.array(z.tuple([z.string().regex(/^[0-9a-f]{32}$/), count, count.max(LIMITS.pack)])),
  entries: count,
  blocks: z.array(z.tuple([z.string().regex(/^[0-9a-f]{48}$/), count, count])),
  replaces: z.array(z.string()),
  filter: place.exactOptional(),
  nodes: place.exactOptional(),
});

/** A section in its object. */
export interface SectionPlace {
  readonly offset: number;
  readonly length: number;
}

/** What a segment says of itself. With it and one block, an id is looked up. */
export interface SegmentDirectory {
  readonly packs: readonly PackInfo[];
  /** Of the packs, in bytes. */
  readonly sizes: Uint32Array;
  readonly entries: number;
  /** Sorted by first id; section i + 1 is block i. */
  readonly blocks: readonly (SectionPlace & { readonly firstId: string })[];
  /** Keys of segments whose entries are all in this one. */
  readonly replaces: readonly string[];
  readonly filter: SectionPlace | undefined;
  readonly nodes: SectionPlace | undefined;
}

export interface Segment {
  readonly table: Table;
  readonly replaces: readonly string[];
}

export function newSegmentKey(level: number, random: Random): string {
  return `index/${level}/${Buffer.from(random(SEGMENT_ID_BYTES)).toString('hex')}`;
}

/** The header of segments as this version writes them. */
export function segmentHeader(keys: RepositoryKeys): Buffer {
  const header = encodeHeader(OBJECT_TYPE.segment, keys.epoch);
  header.writeUInt32LE(FEATURE_EXTRAS, FEATURES_AT);
  return header;
}

export interface SegmentContent {
  /** Rows that will be added, at most. */
  readonly entries: number;
  readonly packs: readonly PackInfo[];
  readonly replaces: readonly string[];
}

/** Makes the object at `key` out of rows that come in ascending order, in one buffer. */
export class SegmentWriter {
  readonly #content: SegmentContent;
  readonly #random: Random;
  readonly #cipher: ReturnType<RepositoryKeys['sections']>;
  readonly #object: Buffer;
  #end = HEADER_BYTES;
  readonly #block = Buffer.allocUnsafe(BLOCK_ROWS * ROW_BYTES);
  #blockEnd = 0;
  readonly #blocks: [string, number, number][] = [];
  #entries = 0;
  readonly #filter: Uint8Array;
  readonly #nodes: Buffer;
  #nodeEnd = 0;
  #hasNodes = true;

  constructor(keys: RepositoryKeys, key: string, content: SegmentContent, random: Random) {
    const { entries, packs, replaces } = content;
    const header = segmentHeader(keys);
    this.#content = content;
    this.#random = random;
    this.#cipher = keys.sections(header, key);
    this.#filter = newFilter(entries);
    this.#nodes = Buffer.allocUnsafe(Math.floor(entries / NODE_SHARE) * ROW_BYTES);
    const blocks = Math.ceil(entries / BLOCK_ROWS);
    const sections = entries * ROW_BYTES + this.#filter.length + this.#nodes.length + (blocks + 3) * SECTION_OVERHEAD;
    const { block, pack, replaced, rest } = JSON_BYTES;
    const json = blocks * block + packs.length * pack + replaces.length * replaced + rest;
    this.#object = Buffer.allocUnsafeSlow(HEADER_BYTES + sections + json + TRAILER_BYTES);
    this.#object.set(header);
  }

  /** Adds the row that begins at `at`. */
  add(rows: Buffer, at: number): void {
    rows.copy(this.#block, this.#blockEnd, at, at + ROW_BYTES);
    this.#blockEnd += ROW_BYTES;
    this.#entries++;
    addToFilter(this.#filter, rows, at);
    if (this.#content.packs[rows.readUInt32LE(at + BLOB_ID_BYTES)]?.kind === 'node') this.#addNode(rows, at);
    if (this.#blockEnd === this.#block.length) this.#closeBlock();
  }

  finish(): Buffer {
    if (this.#blockEnd > 0) this.#closeBlock();
    const { packs, replaces } = this.#content;
    const blocks = this.#blocks;
    const directory = {
      packs: packs.map((pack) => [pack.id, kindCode(pack.kind), pack.size]),
      entries: this.#entries,
      blocks,
      replaces,
      ...(this.#entries > 0 && { filter: this.#append(blocks.length + 1, this.#filter) }),
      ...(this.#hasNodes && this.#nodeEnd > 0 && { nodes: this.#append(blocks.length + 2, this.#nodes.subarray(0, this.#nodeEnd)) }),
    };
    const [, length] = this.#append(0, packPayloadSync(Buffer.from(JSON.stringify(directory))));
    const crc = crc32(this.#object.subarray(0, this.#end));
    this.#object.set(encodeTrailer(length, crc), this.#end);
    return this.#object.subarray(0, this.#end + TRAILER_BYTES);
  }

  #addNode(rows: Buffer, at: number): void {
    this.#hasNodes &&= this.#nodeEnd < this.#nodes.length;
    if (!this.#hasNodes) return;
    rows.copy(this.#nodes, this.#nodeEnd, at, at + ROW_BYTES);
    this.#nodeEnd += ROW_BYTES;
  }

  #closeBlock(): void {
    const rows = this.#block.subarray(0, this.#blockEnd);
    const firstId = rows.toString('hex', 0, BLOB_ID_BYTES);
    this.#blocks.push([firstId, ...this.#append(this.#blocks.length + 1, rows)]);
    this.#blockEnd = 0;
  }

  #append(section: number, plaintext: Uint8Array): [offset: number, length: number] {
    const sealed = this.#cipher.seal(section, plaintext, this.#random);
    const offset = this.#end;
    this.#object.set(sealed, offset);
    this.#end += sealed.length;
    return [offset, sealed.length];
  }
}

/** The object at `key`. The table's rows must be sorted. */
export function encodeSegment(keys: RepositoryKeys, key: string, { table, replaces }: Segment, random: Random): Buffer {
  const writer = new SegmentWriter(keys, key, { entries: rowCount(table.rows), packs: table.packs, replaces }, random);
  const rows = Buffer.from(table.rows.buffer, table.rows.byteOffset, table.rows.length);
  for (let at = 0; at < rows.length; at += ROW_BYTES) writer.add(rows, at);
  return writer.finish();
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
    const { packs, entries, blocks, replaces, filter, nodes } = parseStored(json, directorySchema, this.#key);
    if (blocks.length !== Math.ceil(entries / BLOCK_ROWS)) throw damaged(this.#key, 'it has not as many blocks as it says');
    return {
      packs: packs.map(([id, kind, size]) => ({ id, kind: kindOf(kind, this.#key), size })),
      sizes: Uint32Array.from(packs, ([, , size]) => size),
      entries,
      blocks: blocks.map(([firstId, offset, length]) => ({ firstId, offset, length })),
      replaces,
      filter: filter && { offset: filter[0], length: filter[1] },
      nodes: nodes && { offset: nodes[0], length: nodes[1] },
    };
  }

  /** The rows of block `index`. */
  block({ entries, sizes }: Pick<SegmentDirectory, 'entries' | 'sizes'>, index: number, section: Uint8Array): Buffer {
    const rows = this.#cipher.open(index + 1, section);
    const expected = Math.min(BLOCK_ROWS, entries - index * BLOCK_ROWS);
    if (rows.length !== expected * ROW_BYTES) throw damaged(this.#key, 'it has not as many entries as it says');
    checkRows(rows, sizes, this.#key);
    return rows;
  }

  filter({ blocks }: Pick<SegmentDirectory, 'blocks'>, section: Uint8Array): Uint8Array {
    const filter = this.#cipher.open(blocks.length + 1, section);
    if (!isFilter(filter)) throw damaged(this.#key, 'its filter is cut short');
    return filter;
  }

  /** The rows of all nodes. */
  nodes({ blocks, sizes }: Pick<SegmentDirectory, 'blocks' | 'sizes'>, section: Uint8Array): Buffer {
    const rows = this.#cipher.open(blocks.length + 2, section);
    if (rows.length % ROW_BYTES !== 0) throw damaged(this.#key, 'its list of nodes is cut short');
    checkRows(rows, sizes, this.#key);
    return rows;
  }
}

/** A whole segment. */
export function decodeSegment(keys: RepositoryKeys, key: string, object: Uint8Array): Segment {
  const reader = new SegmentReader(keys, key, object);
  checkCrc(object, key);
  const directory = reader.directory(lastSection(object, key));
  const rows = Buffer.concat(
    directory.blocks.map(({ offset, length }, i) => reader.block(directory, i, object.subarray(offset, offset + length))),
  );
  return { table: { packs: directory.packs, rows }, replaces: directory.replaces };
}
