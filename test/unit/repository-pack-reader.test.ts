/** Packs that open, and say what is not so: written by a fault of ours, or by somebody who has the keys. */
import assert from 'node:assert/strict';
import { crc32 } from 'node:zlib';
import type { BlobId } from '../../core/src/repository/format/blob.ts';
import { FRAME_OVERHEAD, sealFrame } from '../../core/src/repository/format/frame.ts';
import {
  blobOf,
  checkPack,
  openFramePayload,
  openFramePayloadSync,
  openPackTable,
  packIdOf,
  packKey,
} from '../../core/src/repository/format/pack-reader.ts';
import { PackWriter } from '../../core/src/repository/format/pack-writer.ts';
import { packPayloadSync } from '../../core/src/repository/format/payload.ts';
import { encodeHeader, encodeTrailer, HEADER_BYTES, OBJECT_TYPE, TRAILER_BYTES } from '../../core/src/repository/format/sealed.ts';
import {
  checkRows,
  encodeTable,
  readRow,
  ROW_BYTES,
  writeRow,
  type PackInfo,
  type Row,
  type Table,
} from '../../core/src/repository/format/table.ts';
import { seededRandom, testKeys } from '../support/repository.ts';

const keys = testKeys();
const random = seededRandom(12);
/** The second compresses, the first does not. */
const DATA = [Buffer.from(random(500)), Buffer.alloc(400, 'text '), Buffer.from('third')];
const idOf = (data: Uint8Array): BlobId => keys.blobId('data', data);

/** A pack of two frames: the first has two blobs. */
function makePack(): { key: string; body: Buffer; table: Table } {
  const writer = new PackWriter('data', keys, random, Buffer.alloc(8192));
  const frame = (blobs: readonly Buffer[]) => {
    let offset = 0;
    const framed = blobs.map((data) => ({ id: idOf(data), offset: (offset += data.length) - data.length, length: data.length }));
    const packed = packPayloadSync(Buffer.concat(blobs));
    writer.add(sealFrame(keys, random(16), [packed.subarray(0, 1), packed.subarray(1)]), framed);
  };
  frame([DATA[0]!, DATA[2]!]);
  frame([DATA[1]!]);
  const { body, table } = writer.finish();
  return { key: writer.key, body: Buffer.from(body), table };
}

const { key: KEY, body: BODY, table: TABLE } = makePack();
const PACK = TABLE.packs[0]!;
const HEADER = BODY.subarray(0, HEADER_BYTES);
const FRAMES_END = Math.max(...Array.from({ length: 3 }, (_, i) => readRow(TABLE.rows, i)).map(({ offset, length }) => offset + length));

/** The same frames under another table. */
function packWith(table: Table, key = KEY): Buffer {
  const section = keys.sections(HEADER, key).seal(0, encodeTable(table), random);
  const body = Buffer.concat([BODY.subarray(0, FRAMES_END), section]);
  return Buffer.concat([body, encodeTrailer(section.length, crc32(body))]);
}

/** The table with other packs, or its row of this blob changed. */
const withPacks = (...packs: PackInfo[]): Table => ({ packs, rows: TABLE.rows });
function withRow(data: Buffer, change: Partial<Row>): Table {
  const rows = Buffer.from(TABLE.rows);
  for (let i = 0; i < rows.length / ROW_BYTES; i++) {
    const row = readRow(rows, i);
    if (row.id === idOf(data)) writeRow(rows, i, { ...row, ...change });
  }
  return { packs: TABLE.packs, rows };
}
const rowOf = (data: Buffer): Row => Array.from({ length: 3 }, (_, i) => readRow(TABLE.rows, i)).find(({ id }) => id === idOf(data))!;

function openTable(body: Buffer, size = body.length): Table {
  const trailerAt = body.length - TRAILER_BYTES;
  return openPackTable(keys, KEY, body.subarray(0, HEADER_BYTES), body.subarray(trailerAt - body.readUInt32LE(trailerAt), trailerAt), size);
}

const corrupt = (message: RegExp) => ({ code: 'REPOSITORY_CORRUPT', message });

describe('keys of packs', () => {
  it('are folders of two digits and ids, and nothing else is one', () => {
    assert.equal(packIdOf(packKey(PACK.id)), PACK.id);
    for (const key of [`packs/00/${'1'.repeat(32)}`, `packs/11/${'1'.repeat(31)}`, `packs/11/${'1'.repeat(33)}`, 'packs/11', '']) {
      assert.equal(packIdOf(key), undefined, key);
    }
  });
});

describe('the table of a pack', () => {
  it('opens', () => {
    assert.deepEqual(openTable(BODY).packs, TABLE.packs);
    assert.deepEqual(Buffer.from(openTable(BODY).rows), Buffer.from(TABLE.rows));
  });

  it('is refused when it names no pack, several, or another', () => {
    const message = /its table is that of another pack/;
    assert.throws(() => openTable(packWith(withPacks())), corrupt(message));
    assert.throws(() => openTable(packWith(withPacks(PACK, PACK))), corrupt(message));
    assert.throws(() => openTable(packWith(withPacks({ ...PACK, id: 'ab'.repeat(16) }))), corrupt(message));
  });

  it('is refused when the pack has another size than it was written with', () => {
    assert.throws(() => openTable(BODY, BODY.length + 1), corrupt(/it has \d+ bytes and was written with \d+$/));
    assert.throws(() => openTable(packWith(withPacks({ ...PACK, size: PACK.size - 1 }))), corrupt(/was written with/));
  });

  it('is refused when a row points outside of the pack', () => {
    assert.throws(
      () => openTable(packWith(withRow(DATA[1]!, { offset: PACK.size - 50, length: 60 }))),
      corrupt(/points outside of a pack/),
    );
  });

  it('is refused under the header of another type of object', () => {
    const header = encodeHeader(OBJECT_TYPE.segment, keys.epoch);
    const section = keys.sections(header, KEY).seal(0, encodeTable(TABLE), random);
    assert.throws(() => openPackTable(keys, KEY, header, section, PACK.size), corrupt(/an object of type 2 where type 1 belongs/));
  });
});

describe('rows', () => {
  it('lie within the pack, behind its header, in a frame that can be', () => {
    const sizes = [10_000];
    const check = (change: Partial<Row>) => {
      const rows = Buffer.alloc(ROW_BYTES);
      writeRow(rows, 0, { id: idOf(DATA[0]!), pack: 0, offset: 16, length: 100, innerOffset: 0, innerLength: 50, ...change });
      checkRows(rows, sizes, KEY);
    };
    check({});
    check({ offset: 9900 });
    check({ length: FRAME_OVERHEAD + 1 });
    check({ innerOffset: 1, innerLength: (16 << 20) - 1 });
    for (const change of [
      { pack: 1 },
      { offset: 15 },
      { offset: 9901 },
      { length: FRAME_OVERHEAD },
      { innerOffset: 2, innerLength: (16 << 20) - 1 },
    ]) {
      assert.throws(
        () => {
          check(change);
        },
        corrupt(/points outside of a pack/),
        JSON.stringify(change),
      );
    }
    sizes[0] = 2 ** 32 - 1;
    check({ length: FRAME_OVERHEAD + 1 + (16 << 20) });
    assert.throws(
      () => {
        check({ length: FRAME_OVERHEAD + 2 + (16 << 20) });
      },
      corrupt(/points outside/),
    );
  });
});

describe('a blob', () => {
  it('is taken from its frame only with the content that its id says', async () => {
    const { offset, length, ...row } = rowOf(DATA[2]!);
    const frame = BODY.subarray(offset, offset + length);
    for (const payload of [await openFramePayload(keys, frame, KEY), openFramePayloadSync(keys, frame, KEY)]) {
      assert.deepEqual(Buffer.from(blobOf(keys, payload, row, 'data', KEY)), DATA[2]);
      const outside = corrupt(/lies outside of its frame/);
      assert.throws(() => blobOf(keys, payload, { ...row, innerLength: row.innerLength + 1 }, 'data', KEY), outside);
      assert.throws(() => blobOf(keys, payload, { ...row, innerOffset: payload.length }, 'data', KEY), outside);
      const other = corrupt(/in it has another content/);
      assert.throws(() => blobOf(keys, payload, { ...row, innerLength: row.innerLength - 1 }, 'data', KEY), other);
      assert.throws(() => blobOf(keys, payload, { ...row, id: idOf(DATA[0]!) }, 'data', KEY), other);
      assert.throws(() => blobOf(keys, payload, row, 'node', KEY), other);
    }
  });
});

describe('checking a pack', () => {
  it('finds nothing in a sound one', async () => {
    const { table, faults, unreadable } = await checkPack(keys, KEY, BODY, undefined);
    assert.deepEqual(table?.packs, TABLE.packs);
    assert.deepEqual([faults, unreadable], [[], []]);
  });

  it('names the blobs of a frame that is damaged, and no others', async () => {
    const { offset, length } = rowOf(DATA[0]!);
    const body = Buffer.from(BODY);
    body[offset + length - 1]! ^= 1;
    const { faults, unreadable } = await checkPack(keys, KEY, body, undefined);
    assert.deepEqual(new Set(unreadable), new Set([idOf(DATA[0]!), idOf(DATA[2]!)]));
    assert.deepEqual(
      faults.map(({ message }) => message.replace(/^.*: /, '')).filter((message) => !/checksum|sealed/.test(message)),
      [],
    );
    assert.equal(faults.length, 2, 'the checksum, and the frame');
  });

  it('names a blob that has another content, and goes on with the rest of its frame', async () => {
    const { faults, unreadable } = await checkPack(keys, KEY, packWith(withRow(DATA[2]!, { innerLength: 4 })), undefined);
    assert.deepEqual(unreadable, [idOf(DATA[2]!)]);
    assert.equal(faults.length, 1);
    assert.match(faults[0]!.message, /has another content/);
  });

  it('goes by what the index says where the table cannot be read, or says that nothing can be known', async () => {
    const body = packWith(TABLE, packKey('cd'.repeat(16)));
    const alone = await checkPack(keys, KEY, body, undefined);
    assert.deepEqual([alone.table, alone.unreadable, alone.faults.length], [undefined, [], 1]);
    const helped = await checkPack(keys, KEY, body, () => TABLE);
    assert.deepEqual([helped.table, helped.unreadable, helped.faults.length], [undefined, [], 1]);
    const hurt = Buffer.from(body);
    hurt[rowOf(DATA[1]!).offset + 20]! ^= 1;
    assert.deepEqual((await checkPack(keys, KEY, hurt, () => Promise.resolve(TABLE))).unreadable, [idOf(DATA[1]!)]);
  });
});
