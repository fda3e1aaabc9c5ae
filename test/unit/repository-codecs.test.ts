import assert from 'node:assert/strict';
import { createSecretKey } from 'node:crypto';
import { crc32, zstdCompressSync } from 'node:zlib';
import { LIMITS, type BlobId } from '../../core/src/repository/format/blob.ts';
import { openFrame, sealFrame } from '../../core/src/repository/format/frame.ts';
import { decodeSegment, encodeSegment, newSegmentKey, SegmentReader } from '../../core/src/repository/format/index-segment.ts';
import { decodeNode, encodeNode } from '../../core/src/repository/format/node.ts';
import { checkPack, openFramePayload, openPackTable, packIdOf, packKey } from '../../core/src/repository/format/pack-reader.ts';
import { PackWriter } from '../../core/src/repository/format/pack-writer.ts';
import { packPayload, packPayloadSync, PayloadPacker, unpackPayload, unpackPayloadSync } from '../../core/src/repository/format/payload.ts';
import {
  checkCrc,
  checkHeader,
  encodeHeader,
  encodeTrailer,
  lastSection,
  OBJECT_TYPE,
  SectionCipher,
} from '../../core/src/repository/format/sealed.ts';
import {
  checkRows,
  decodeTable,
  encodeTable,
  joinTables,
  readRow,
  ROW_BYTES,
  sortRows,
  writeRow,
  type Row,
  type Table,
} from '../../core/src/repository/format/table.ts';
import { seededRandom, testKeys } from '../support/repository.ts';

const keys = testKeys();
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const idOf = (n: number) => Buffer.alloc(24, n).toString('hex') as BlobId;
const CORRUPT = { code: 'REPOSITORY_CORRUPT' };

describe('the header of objects', () => {
  it('is 16 bytes that never change', () => {
    assert.equal(hex(encodeHeader(OBJECT_TYPE.backup, 1)), '444d41530301010100000000' + '00000000');
  });

  it('tells the future from damage', () => {
    const header = (change: (h: Buffer) => void) => {
      const h = encodeHeader(OBJECT_TYPE.pack, 5);
      change(h);
      return h;
    };
    assert.equal(
      checkHeader(
        header(() => undefined),
        'k',
        OBJECT_TYPE.pack,
      ),
      5,
    );
    assert.equal(
      checkHeader(
        header((h) => h.writeUInt8(2, 5)),
        'k',
        OBJECT_TYPE.pack,
      ),
      5,
      'a newer version that old readers can read',
    );
    assert.equal(
      checkHeader(
        header((h) => h.writeUInt32LE(0xffffffff, 12)),
        'k',
        OBJECT_TYPE.pack,
      ),
      5,
      'features that may be ignored',
    );
    assert.throws(
      () =>
        checkHeader(
          header((h) => h.writeUInt8(2, 6)),
          'packs/x',
          OBJECT_TYPE.pack,
        ),
      { code: 'REPOSITORY_VERSION', message: /packs\/x/ },
    );
    assert.throws(
      () =>
        checkHeader(
          header((h) => h.writeUInt32LE(1, 8)),
          'k',
          OBJECT_TYPE.pack,
        ),
      { code: 'REPOSITORY_VERSION' },
    );
    assert.throws(
      () =>
        checkHeader(
          header((h) => h.write('XMAS')),
          'k',
          OBJECT_TYPE.pack,
        ),
      CORRUPT,
    );
    assert.throws(
      () =>
        checkHeader(
          header(() => undefined),
          'k',
          OBJECT_TYPE.segment,
        ),
      CORRUPT,
    );
    const whole = encodeHeader(OBJECT_TYPE.pack, 1);
    for (let length = 0; length < 16; length++) assert.throws(() => checkHeader(whole.subarray(0, length), 'k', OBJECT_TYPE.pack), CORRUPT);
  });
});

describe('a sealed section', () => {
  const header = encodeHeader(OBJECT_TYPE.backup, 1);
  const cipher = keys.sections(header, 'backups/x');
  const sealed = cipher.seal(5, Buffer.from('plain'), (n) => Uint8Array.from({ length: n }, (_, i) => i));

  it('is as the format says', () => {
    assert.equal(hex(sealed), '000102030405060708090a0bcd54c69890bbaab7c1feb5186a45b461b45244312d');
    assert.equal(cipher.open(5, sealed).toString(), 'plain');
  });

  it('opens nowhere else', () => {
    const newer = encodeHeader(OBJECT_TYPE.backup, 1);
    newer.writeUInt8(2, 5);
    const other = new SectionCipher(createSecretKey(Buffer.alloc(32)), header, keys.repositoryId, 'backups/x');
    assert.throws(() => cipher.open(4, sealed), { code: 'REPOSITORY_CORRUPT', message: /backups\/x/ });
    assert.throws(() => keys.sections(header, 'backups/y').open(5, sealed), CORRUPT);
    assert.throws(() => keys.sections(encodeHeader(OBJECT_TYPE.run, 1), 'backups/x').open(5, sealed), CORRUPT);
    assert.throws(() => keys.sections(newer, 'backups/x').open(5, sealed), CORRUPT);
    assert.throws(() => keys.sections(encodeHeader(OBJECT_TYPE.backup, 2), 'backups/x'), CORRUPT);
    assert.throws(() => other.open(5, sealed), CORRUPT);
    for (let length = 0; length < sealed.length; length++) assert.throws(() => cipher.open(5, sealed.subarray(0, length)), CORRUPT);
    assert.equal(cipher.open(1, cipher.seal(1, Buffer.alloc(0), seededRandom(1))).length, 0);
  });
});

describe('a frame', () => {
  const frame = Buffer.concat(sealFrame(keys, Buffer.alloc(16, 3), [Uint8Array.of(0), Buffer.from('hello')]));

  it('is as the format says', async () => {
    assert.equal(hex(frame), '0103030303030303030303030303030303f0b7a0428d7ce479bbe36b0a9722ca79df4b318d4039');
    assert.equal((await openFramePayload(keys, frame, 'k')).toString(), 'hello');
  });

  it('C1: does not open when any byte differs', () => {
    for (let at = 0; at < frame.length; at++) {
      const changed = Buffer.from(frame);
      changed[at] = (changed[at] as number) ^ 1;
      assert.throws(() => openFrame(keys, changed, 'packs/x'), { code: 'REPOSITORY_CORRUPT', message: /packs\/x/ });
    }
    for (let length = 0; length < frame.length; length++) assert.throws(() => openFrame(keys, frame.subarray(0, length), 'k'), CORRUPT);
    const empty = Buffer.concat(sealFrame(keys, Buffer.alloc(16, 3), [Uint8Array.of(), Uint8Array.of()]));
    assert.throws(() => openFrame(keys, empty, 'k'), CORRUPT, 'not even a codec is in it');
    const largest = Buffer.concat(sealFrame(keys, Buffer.alloc(16, 3), [Uint8Array.of(0), Buffer.alloc(LIMITS.frame)]));
    assert.equal(openFrame(keys, largest, 'k').length, 1 + LIMITS.frame);
  });
});

describe('a payload', () => {
  const text = Buffer.from('to be or not to be. '.repeat(5000));

  it('is compressed when that helps', async () => {
    const packed = Buffer.concat(await packPayload(text));
    assert.equal(packed[0], 1);
    assert.ok(packed.length < text.length / 10);
    assert.deepEqual(await unpackPayload(packed, text.length, 'k'), text);
    assert.deepEqual(unpackPayloadSync(packPayloadSync(text), text.length, 'k'), text);
  });

  it('is compressed harder where that pays, as the one before it or a sample of its own says', () => {
    const word = (i: number): string => Buffer.from(seededRandom(i)(4 + (i % 7))).toString('base64');
    const words = Array.from({ length: 400 }, (_, i) => word(i));
    const pick = Buffer.from(seededRandom(7)(400_000));
    const prose = Buffer.from(Array.from({ length: 80_000 }, (_, i) => words[pick.readUInt16LE(i * 4) % words.length]).join(' '));
    const packer = new PayloadPacker();
    const dense = Buffer.concat(packer.pack(prose));
    assert.ok(dense.length < packPayloadSync(prose).length * 0.97, `${dense.length} and ${packPayloadSync(prose).length}`);
    assert.deepEqual(unpackPayloadSync(dense, prose.length, 'k'), prose);
    const short = prose.subarray(0, 50_000);
    assert.ok(Buffer.concat(packer.pack(short)).length < packPayloadSync(short).length);
    const noise = Buffer.from(seededRandom(2)(300_000));
    assert.equal(Buffer.concat(packer.pack(noise))[0], 0);
  });

  it('is stored as it is when it does not', async () => {
    for (const length of [0, 1, 20, 16_385, 300_000]) {
      const noise = Buffer.from(seededRandom(1)(length));
      const packed = Buffer.concat(await packPayload(noise));
      assert.equal(packed[0], 0, String(length));
      assert.deepEqual(await unpackPayload(packed, length, 'k'), noise);
      assert.equal(packPayloadSync(noise)[0], 0);
    }
  });

  it('G1: takes no memory for what is larger than it may be', async () => {
    // A zstd frame header that declares 1 TiB, and one of a bomb: 1 GiB of zeros in 32 KiB.
    const declared = Buffer.from('01' + '28b52ffd' + 'c0' + '48' + '0000000000010000', 'hex');
    await assert.rejects(unpackPayload(declared, LIMITS.frame, 'k'), { code: 'REPOSITORY_CORRUPT', message: /1099511627776/ });
    const bomb = Buffer.concat([Uint8Array.of(1), zstdCompressSync(Buffer.alloc(LIMITS.frame + 1), { pledgedSrcSize: LIMITS.frame + 1 })]);
    await assert.rejects(unpackPayload(bomb, LIMITS.frame, 'k'), CORRUPT);
  });

  it('must be as large as it declares, no larger and no smaller', async () => {
    const compressed = zstdCompressSync(text, { pledgedSrcSize: text.length });
    const packed = (body: Uint8Array) => Buffer.concat([Uint8Array.of(1), body]);
    const two = packed(Buffer.concat([compressed, compressed]));
    await assert.rejects(unpackPayload(two, LIMITS.frame, 'k'), CORRUPT);
    for (const cut of [1, 4, 5, 8, compressed.length - 1]) {
      await assert.rejects(unpackPayload(packed(compressed.subarray(0, cut)), LIMITS.frame, 'k'), CORRUPT);
    }
    assert.throws(() => unpackPayloadSync(Buffer.from([2, 0]), 10, 'k'), CORRUPT);
    assert.throws(() => unpackPayloadSync(Buffer.alloc(0), 10, 'k'), CORRUPT);
    assert.throws(() => unpackPayloadSync(Buffer.alloc(12), 10, 'k'), CORRUPT);
  });
});

describe('a table', () => {
  const row = (n: number, over: Partial<Row> = {}): Row => ({
    id: idOf(n),
    pack: 0,
    offset: 16,
    length: 100,
    innerOffset: 1,
    innerLength: 2,
    ...over,
  });
  const rowsOf = (...rows: Row[]) => {
    const bytes = Buffer.alloc(rows.length * ROW_BYTES);
    rows.forEach((r, i) => {
      writeRow(bytes, i, r);
    });
    return bytes;
  };
  const packA = { id: 'aa'.repeat(16), kind: 'data', size: 1000 } as const;
  const packB = { id: 'bb'.repeat(16), kind: 'node', size: 2000 } as const;

  it('is as the format says', () => {
    const table: Table = { packs: [packB], rows: rowsOf(row(0x11, { offset: 0x102, length: 0x304, innerOffset: 5, innerLength: 6 })) };
    const expected =
      '01000000' +
      'bb'.repeat(16) +
      '01' +
      'd0070000' +
      '01000000' +
      '11'.repeat(24) +
      '00000000' +
      '02010000' +
      '04030000' +
      '05000000' +
      '06000000';
    assert.equal(hex(encodeTable(table)), expected);
    assert.deepEqual(decodeTable(Buffer.from(expected, 'hex'), 'k'), table);
    assert.deepEqual(readRow(table.rows, 0), row(0x11, { offset: 0x102, length: 0x304, innerOffset: 5, innerLength: 6 }));
    const ofTwo: Table = { packs: [packA, packB], rows: rowsOf(row(1), row(2, { pack: 1 })) };
    assert.deepEqual(decodeTable(encodeTable(ofTwo), 'k'), ofTwo);
  });

  it('is refused when cut short, too long, or of an unknown kind', () => {
    const bytes = encodeTable({ packs: [packA], rows: rowsOf(row(1), row(2)) });
    for (let length = 0; length < bytes.length; length++) assert.throws(() => decodeTable(bytes.subarray(0, length), 'k'), CORRUPT);
    assert.throws(() => decodeTable(Buffer.concat([bytes, Buffer.alloc(1)]), 'k'), CORRUPT);
    const huge = Buffer.from(bytes);
    huge.writeUInt32LE(0xffffffff, 0);
    assert.throws(() => decodeTable(huge, 'k'), CORRUPT);
    const odd = Buffer.from(bytes);
    odd.writeUInt8(2, 4 + 16);
    assert.throws(() => decodeTable(odd, 'k'), CORRUPT);
  });

  it('may not point outside of packs and frames', () => {
    checkRows(rowsOf(row(1), row(2, { pack: 1, offset: 1900 })), [1000, 2000], 'k');
    for (const bad of [
      { pack: 2 },
      { offset: 15 },
      { offset: 901 },
      { offset: 0xffffffff, length: 100 },
      { length: 33 },
      { length: LIMITS.frame + 100 },
      { innerOffset: LIMITS.frame },
      { innerOffset: 0xffffffff, innerLength: 0xffffffff },
    ]) {
      assert.throws(
        () => {
          checkRows(rowsOf(row(1, bad)), [1000, 1 << 30], 'k');
        },
        CORRUPT,
        JSON.stringify(bad),
      );
    }
  });

  it('is sorted by id, and joined with others', () => {
    const random = seededRandom(4);
    const ids = Array.from({ length: 200 }, (_, i) => (i % 2 === 0 ? hex(random(24)) : `${'0'.repeat(12)}${hex(random(18))}`) as BlobId);
    const rows = sortRows(rowsOf(...ids.map((id, i) => row(0, { id, innerOffset: i }))));
    const sorted = Array.from({ length: 200 }, (_, i) => readRow(rows, i));
    assert.deepEqual(
      sorted.map((r) => r.id),
      [...ids].sort(),
    );
    assert.ok(sorted.every((r) => ids[r.innerOffset] === r.id));
    const joined = joinTables([
      { packs: [packA], rows: rowsOf(row(3), row(1)) },
      { packs: [packB, packA], rows: rowsOf(row(2), row(0, { pack: 1 })) },
    ]);
    assert.deepEqual(joined.packs, [packA, packB, packA]);
    assert.deepEqual(
      Array.from({ length: 4 }, (_, i) => readRow(joined.rows, i)).map((r) => [r.id.slice(0, 2), r.pack]),
      [
        ['00', 2],
        ['01', 0],
        ['02', 1],
        ['03', 0],
      ],
    );
  });
});

describe('a node', () => {
  const node = { type: 4, references: [idOf(0xaa), idOf(0xbb)], payload: Buffer.from('xyz') };
  const bytes = encodeNode(node);

  it('is as the format says', () => {
    assert.equal(hex(bytes), '0401000002000000' + 'aa'.repeat(24) + 'bb'.repeat(24) + '78797a');
    const decoded = decodeNode(bytes, idOf(1));
    assert.deepEqual({ ...decoded, payload: Buffer.from(decoded.payload) }, node);
  });

  it('is refused when malformed, and left alone when of the future', () => {
    for (let length = 0; length < 8 + 48; length++) assert.throws(() => decodeNode(bytes.subarray(0, length), idOf(1)), CORRUPT);
    const changed = (at: number, value: number) => {
      const copy = Buffer.from(bytes);
      copy[at] = value;
      return copy;
    };
    assert.throws(() => decodeNode(changed(1, 2), idOf(1)), { code: 'REPOSITORY_VERSION' });
    assert.throws(() => decodeNode(changed(1, 0), idOf(1)), CORRUPT);
    assert.throws(() => decodeNode(changed(2, 1), idOf(1)), CORRUPT);
    assert.throws(() => decodeNode(changed(7, 0xff), idOf(1)), CORRUPT);
    assert.throws(() => encodeNode({ ...node, payload: Buffer.alloc(LIMITS.blob) }), { code: 'INTERNAL' });
  });
});

describe('the trailer', () => {
  it('is as the format says', () => {
    assert.equal(crc32('123456789'), 0xcbf43926);
    assert.equal(hex(encodeTrailer(0x1234, 0xcbf43926)), '34120000' + '2639f4cb' + '00000000' + '444d5452');
  });

  it('finds damage anywhere in an object', () => {
    const body = Buffer.concat([encodeHeader(OBJECT_TYPE.pack, 1), Buffer.from('framessection')]);
    const object = Buffer.concat([body, encodeTrailer(7, crc32(body))]);
    checkCrc(object, 'k');
    assert.equal(Buffer.from(lastSection(object, 'k')).toString(), 'section');
    const lengthField = object.length - 16;
    for (let at = 0; at < object.length; at++) {
      const changed = Buffer.from(object);
      changed[at] = (changed[at] as number) ^ 4;
      // The one field the checksum does not cover: it leads to another section, which does not open.
      if (at === lengthField) assert.equal(lastSection(changed, 'k').length, 3);
      else if (at > lengthField && at < lengthField + 4) assert.throws(() => lastSection(changed, 'k'), CORRUPT);
      else
        assert.throws(() => {
          checkCrc(changed, 'k');
        }, CORRUPT);
    }
    for (let length = 0; length < object.length; length++)
      assert.throws(() => {
        checkCrc(object.subarray(0, length), 'k');
      }, CORRUPT);
    for (let length = 0; length < object.length; length++)
      assert.throws(() => lastSection(object.subarray(object.length - length).subarray(0, 31), 'k'), CORRUPT);
  });

  it('points at the first byte behind the header at most', () => {
    const body = Buffer.concat([encodeHeader(OBJECT_TYPE.pack, 1), Buffer.from('section')]);
    assert.equal(lastSection(Buffer.concat([body, encodeTrailer(7, 0)]), 'k').length, 7);
    assert.throws(() => lastSection(Buffer.concat([body, encodeTrailer(8, 0)]), 'k'), CORRUPT);
    assert.throws(() => lastSection(encodeTrailer(0, 0), 'k'), CORRUPT);
    assert.throws(() => lastSection(Buffer.concat([Buffer.alloc(15), encodeTrailer(0, 0)]), 'k'), CORRUPT);
  });
});

describe('an index segment', () => {
  const random = seededRandom(6);
  const rows = Buffer.alloc(600 * ROW_BYTES);
  for (let i = 0; i < 600; i++)
    writeRow(rows, i, { id: hex(random(24)) as BlobId, pack: i % 2, offset: 16, length: 100, innerOffset: i, innerLength: 1 });
  const packs = [
    { id: 'aa'.repeat(16), kind: 'data', size: 1000 },
    { id: 'bb'.repeat(16), kind: 'node', size: 2000 },
  ] as const;
  const table: Table = { packs, rows: sortRows(rows) };
  const key = newSegmentKey(0, seededRandom(5));
  const object = encodeSegment(keys, key, { table, replaces: ['index/0/x'] }, random);

  it('is read whole', () => {
    assert.match(key, /^index\/0\/[0-9a-f]{32}$/);
    const decoded = decodeSegment(keys, key, object);
    assert.deepEqual(decoded.table.packs, packs);
    assert.ok(Buffer.from(decoded.table.rows).equals(table.rows));
    assert.deepEqual(decoded.replaces, ['index/0/x']);
  });

  it('is read by its directory and one block', () => {
    const reader = new SegmentReader(keys, key, object.subarray(0, 16));
    const directory = reader.directory(lastSection(object, key));
    assert.equal(directory.entries, 600);
    assert.deepEqual(
      directory.blocks.map((b) => b.firstId),
      [0, 256, 512].map((i) => readRow(table.rows, i).id),
    );
    directory.blocks.forEach(({ offset, length }, i) => {
      const block = reader.block(directory, i, object.subarray(offset, offset + length));
      assert.ok(block.equals(table.rows.subarray(i * 256 * ROW_BYTES, (i + 1) * 256 * ROW_BYTES)));
    });
    const [first, second] = directory.blocks;
    assert.throws(() => reader.block(directory, 0, object.subarray(second!.offset, second!.offset + second!.length)), CORRUPT);
    assert.equal(first!.offset, 16);
  });

  it('of nothing is one, too', () => {
    const empty = encodeSegment(keys, key, { table: { packs: [], rows: Buffer.alloc(0) }, replaces: [] }, random);
    assert.equal(decodeSegment(keys, key, empty).table.rows.length, 0);
  });

  it('is refused under another name', () => {
    assert.throws(() => decodeSegment(keys, newSegmentKey(0, seededRandom(9)), object), CORRUPT);
  });
});

describe('a pack', () => {
  const blobs = ['first blob', 'second', ''].map((text) => Buffer.from(text));
  const writer = new PackWriter('data', keys, seededRandom(8), Buffer.alloc(4096));
  const framed = blobs.map((blob, i) => ({
    id: keys.blobId('data', blob),
    offset: blobs.slice(0, i).reduce((n, b) => n + b.length, 0),
    length: blob.length,
  }));
  writer.add(sealFrame(keys, Buffer.alloc(16, 1), [Uint8Array.of(0), Buffer.concat(blobs)]), framed);
  writer.add(sealFrame(keys, Buffer.alloc(16, 2), [Uint8Array.of(0), Buffer.from('alone')]), [
    { id: keys.blobId('data', Buffer.from('alone')), offset: 0, length: 5 },
  ]);
  const { body, table } = writer.finish();

  it('holds its own table', () => {
    assert.equal(table.packs[0]!.size, body.length);
    const own = openPackTable(keys, writer.key, body, lastSection(body, writer.key), body.length);
    assert.deepEqual(own.packs, table.packs);
    assert.ok(Buffer.from(own.rows).equals(table.rows));
    assert.equal(packKey(packIdOf(writer.key)!), writer.key);
    assert.equal(packIdOf('packs/00/ff'), undefined);
  });

  it('does not grow out of its buffer', () => {
    const small = new PackWriter('data', keys, seededRandom(8), Buffer.alloc(400));
    assert.ok(small.fits(400 - PackWriter.sizeFor(0, 1), 1));
    assert.ok(!small.fits(400 - PackWriter.sizeFor(0, 1) + 1, 1));
  });

  it('is checked whole, and names what is lost', async () => {
    assert.deepEqual((await checkPack(keys, writer.key, body, undefined)).faults, []);
    const damagedFrame = Buffer.from(body);
    damagedFrame[60] = (damagedFrame[60] as number) ^ 1;
    const first = await checkPack(keys, writer.key, damagedFrame, undefined);
    assert.deepEqual([...first.unreadable].sort(), framed.map((b) => b.id).sort());
    assert.equal(first.faults.length, 2, 'the checksum, and the frame');
    const damagedTable = Buffer.from(body);
    damagedTable[body.length - 20] = (damagedTable[body.length - 20] as number) ^ 1;
    const second = await checkPack(keys, writer.key, damagedTable, () => table);
    assert.deepEqual([second.unreadable, second.table], [[], undefined]);
    assert.ok(second.faults.length > 0);
  });
});
