import assert from 'node:assert/strict';
import { ByteReader, ByteWriter } from '../../core/src/mover/bytes.ts';
import { decodeContentNode, encodeContentNode } from '../../core/src/mover/content.ts';
import { encodeEntry, readLeaf, TreeOrder, writeEntry, type Entry } from '../../core/src/mover/tree-format.ts';
import { encodeIndexNode, pathHash } from '../../core/src/mover/tree-writer.ts';
import { DmaasError, type ErrorCode } from '../../core/src/errors.ts';
import type { BlobId } from '../../core/src/repository/format/blob.ts';
import { decodeNode, encodeNode, NODE_TYPE } from '../../core/src/repository/format/node.ts';

const ID_A = '01'.repeat(24) as BlobId;
const ID_B = 'ab'.repeat(24) as BlobId;

const bytes = (hex: string): Buffer => Buffer.from(hex.replace(/[^0-9a-f]/g, ''), 'hex');
const failsWith = (code: ErrorCode, work: () => unknown): void => {
  assert.throws(work, (error) => DmaasError.is(error, code));
};

const attributes = {
  mode: 0o755,
  uid: 0,
  gid: 0,
  mtimeNs: 1_000_000_002n,
  ctimeNs: 0n,
  inode: 2n,
  size: 0,
  content: { items: [] },
  xattrs: [],
};
const ROOT_ENTRY: Entry = { ...attributes, path: Buffer.alloc(0), type: 'directory' };

/** The bytes of each entry as DESIGN 4.6 spells them, and its references. */
const VECTORS: readonly { readonly what: string; readonly entry: Entry; readonly body: string; readonly references: readonly BlobId[] }[] =
  [
    { what: 'the root', entry: ROOT_ENTRY, body: '00 00 | 02 | ed03 00 00 | 02 02 | 00 00 | 02 | 00', references: [] },
    {
      what: 'a file with a chunk and a hole, from before 1970',
      entry: {
        ...attributes,
        path: Buffer.from('d\0f'),
        type: 'file',
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        mtimeNs: -1_500_000_000n,
        inode: 300n,
        size: 4101,
        content: { items: [{ length: 5, id: ID_A }, { length: 4096 }] },
      },
      body: '00 03 640066 | 01 | a403 e807 e807 | 03 80cab5ee01 | 00 00 | ac02 | 8520 | 01 03 0a 8140',
      references: [ID_A],
    },
    {
      what: 'a large file that is a hard link, with flags',
      entry: {
        ...attributes,
        path: Buffer.from('x'),
        type: 'file',
        size: 1_000_000,
        content: { node: ID_B },
        linkGroup: 2n ** 63n,
        inodeFlags: 0x10,
      },
      body: '00 01 78 | 01 | ed03 00 00 | 02 02 | 00 00 | 02 | c0843d | 03 00 | 09 0a 80808080808080808001 | 02 01 10',
      references: [ID_B],
    },
    {
      what: 'a symlink with any bytes, and extended attributes',
      entry: {
        ...attributes,
        path: Buffer.from([0xff]),
        type: 'symlink',
        mode: 0o777,
        target: Buffer.from([0x2f, 0xff]),
        xattrs: [{ name: Buffer.from('user.a'), value: Buffer.from([0, 1]) }],
      },
      body: '00 01 ff | 03 | ff03 00 00 | 02 02 | 00 00 | 02 | 00 | 05 02 2fff | 0b 0a 06 757365722e61 02 0001',
      references: [],
    },
    {
      what: 'a device',
      entry: { ...attributes, path: Buffer.from('n'), type: 'character-device', mode: 0o600, device: { major: 1, minor: 300 } },
      body: '00 01 6e | 06 | 8003 00 00 | 02 02 | 00 00 | 02 | 00 | 07 03 01 ac02',
      references: [],
    },
  ];

function leafOf(...bodies: readonly string[]): { type: number; references: BlobId[]; payload: Buffer } {
  const payload = new ByteWriter();
  for (const body of bodies) payload.sized(bytes(body));
  return { type: NODE_TYPE.leaf, references: [], payload: payload.bytes };
}

describe('numbers', () => {
  const NUMBERS: readonly (readonly [number, string])[] = [
    [0, '00'],
    [127, '7f'],
    [128, '8001'],
    [300, 'ac02'],
    [2 ** 32, '8080808010'],
    [Number.MAX_SAFE_INTEGER, 'ffffffffffffff0f'],
  ];
  for (const [number, hex] of NUMBERS) {
    it(`code ${number} as ${hex}`, () => {
      const writer = new ByteWriter(1);
      writer.varint(number);
      assert.equal(writer.bytes.toString('hex'), hex);
      assert.equal(new ByteReader(writer.bytes, 'test').varint(), number);
      assert.equal(new ByteReader(writer.bytes, 'test').varint64(), BigInt(number));
    });
  }

  for (const [signed, hex] of [
    [0, '00'],
    [-1, '01'],
    [1, '02'],
    [-64, '7f'],
    [2 ** 40, '808080808040'],
  ] as const) {
    it(`code ${signed} with its sign as ${hex}`, () => {
      const writer = new ByteWriter();
      writer.signed(signed);
      assert.equal(writer.bytes.toString('hex'), hex);
      assert.equal(new ByteReader(writer.bytes, 'test').signed(), signed);
    });
  }

  it('go up to 64 bits', () => {
    const writer = new ByteWriter();
    writer.varint64(2n ** 64n - 1n);
    assert.equal(writer.bytes.toString('hex'), 'ffffffffffffffffff01');
    assert.equal(new ByteReader(writer.bytes, 'test').varint64(), 2n ** 64n - 1n);
  });

  for (const hex of ['', '80', 'ffffffffffffff10', 'ff'.repeat(20) + '01', '8080808080808080808000']) {
    it(`refuse ${hex === '' ? 'nothing' : hex}`, () => {
      failsWith('REPOSITORY_CORRUPT', () => new ByteReader(bytes(hex), 'test').varint());
    });
  }

  it('refuse more than 64 bits', () => {
    failsWith('REPOSITORY_CORRUPT', () => new ByteReader(bytes('ffffffffffffffffff02'), 'test').varint64());
    failsWith('REPOSITORY_CORRUPT', () => new ByteReader(bytes('ff'.repeat(11)), 'test').varint64());
  });
});

describe('a tree entry', () => {
  for (const { what, entry, body, references } of VECTORS) {
    it(`of ${what} has the bytes of the design`, () => {
      const written = new ByteWriter();
      const ids: BlobId[] = [];
      writeEntry(written, ids, Buffer.alloc(0), entry.path, encodeEntry(entry));
      const leaf = leafOf(body);
      assert.equal(written.bytes.toString('hex'), leaf.payload.toString('hex'));
      assert.deepEqual(ids, references);
      assert.deepEqual([...readLeaf({ ...leaf, references })], [entry]);
    });
  }

  it('shares the beginning of its path with the one before', () => {
    const written = new ByteWriter();
    writeEntry(written, [], Buffer.from('some\0path'), Buffer.from('some\0pit'), encodeEntry(ROOT_ENTRY));
    assert.equal(written.bytes.subarray(1, 5).toString('hex'), '06026974');
  });

  it('may have fields of the future, but only even ones', () => {
    const [root] = VECTORS;
    assert.deepEqual([...readLeaf(leafOf(`${root!.body} 04 02 ffff`))], [ROOT_ENTRY]);
    failsWith('REPOSITORY_VERSION', () => [...readLeaf(leafOf(`${root!.body} 0d 00`))]);
    failsWith('REPOSITORY_VERSION', () => [...readLeaf(leafOf('00 00 | 08 | ed03 00 00 | 02 02 | 00 00 | 02 | 00'))]);
  });
});

describe('a hostile tree leaf is refused', () => {
  const rest = (type = '02', size = '00'): string => `${type} | a403 00 00 | 00 00 | 00 00 | 01 | ${size}`;
  const named = (name: string): string =>
    `00 ${Buffer.from([name.length]).toString('hex')} ${Buffer.from(name, 'latin1').toString('hex')} | ${rest()}`;
  const CASES: Readonly<Record<string, readonly string[]>> = {
    'with no entries': [],
    'with the name ..': [named('..')],
    'with the name .': [named('a\0.')],
    'with .. on the way': [named('a\0..\0b')],
    'with a slash in a name': [named('a/b')],
    'with an absolute path': [named('/etc')],
    'with an empty name': [named('a\0\0b')],
    'with a name at its end empty': [named('a\0')],
    'with a name of 256 bytes': [`00 8002 ${'61'.repeat(256)} | ${rest()}`],
    'with the same path twice': [named('a'), named('a')],
    'with paths that go back': [named('b'), named('a')],
    'with a path that shares more than there is': [named('a'), `02 01 62 | ${rest()}`],
    'whose first path shares': [`01 01 62 | ${rest()}`],
    'with a root that is no directory': [`00 00 | ${rest('01')}`],
    'with a mode of 13 bits': ['00 01 61 | 02 | 8040 00 00 | 00 00 | 00 00 | 01 | 00'],
    'with an owner of 33 bits': ['00 01 61 | 02 | a403 8080808010 00 | 00 00 | 00 00 | 01 | 00'],
    'with a second of 10^9 nanoseconds': ['00 01 61 | 02 | a403 00 00 | 00 8094ebdc03 | 00 00 | 01 | 00'],
    'with a file of a size without content': [`00 01 61 | ${rest('01', '05')}`],
    'with a file whose pieces have another size': [`00 01 61 | ${rest('01', '05')} | 01 01 09`],
    'with a piece without a length': [`00 01 61 | ${rest('01', '00')} | 01 01 01`],
    'with a chunk but no reference': [`00 01 61 | ${rest('01', '05')} | 01 01 0a`],
    'with a file of 65 pieces': [`00 01 61 | ${rest('01', '41')} | 01 41 ${'03'.repeat(65)}`],
    'with a directory that has content': [`00 01 61 | ${rest('02', '01')} | 01 01 03`],
    'with a symlink without a target': [`00 01 61 | ${rest('03')}`],
    'with a symlink to nothing': [`00 01 61 | ${rest('03')} | 05 00`],
    'with a target that has a NUL': [`00 01 61 | ${rest('03')} | 05 02 6100`],
    'with a directory that has a target': [`00 01 61 | ${rest('02')} | 05 01 61`],
    'with a device without a number': [`00 01 61 | ${rest('06')}`],
    'with a directory that is a hard link': [`00 01 61 | ${rest('02')} | 09 01 01`],
    'with a field twice': [`00 01 61 | ${rest()} | 02 01 01 | 02 01 01`],
    'with a field that is too long': [`00 01 61 | ${rest()} | 02 02 01 01`],
    'with extended attributes out of order': [`00 01 61 | ${rest()} | 0b 08 01 62 01 00 01 61 01 00`],
    'with an extended attribute of 65537 bytes': [`00 01 61 | ${rest()} | 0b 858004 01 61 818004 ${'00'.repeat(65_537)}`],
    'that ends in an entry': [`00 01 61 | 02`],
  };
  for (const [what, bodies] of Object.entries(CASES)) {
    it(what, () => {
      failsWith('REPOSITORY_CORRUPT', () => [...readLeaf(leafOf(...bodies))]);
    });
  }

  it('with a length beyond its end', () => {
    failsWith('REPOSITORY_CORRUPT', () => [...readLeaf({ type: NODE_TYPE.leaf, references: [], payload: bytes('ff7f00') })]);
  });

  it('with references that nobody uses', () => {
    failsWith('REPOSITORY_CORRUPT', () => [...readLeaf({ ...leafOf(named('a')), references: [ID_A] })]);
  });

  it('that is another node', () => {
    failsWith('REPOSITORY_CORRUPT', () => [...readLeaf({ ...leafOf(named('a')), type: NODE_TYPE.index })]);
  });

  it('whose paths, written out, would fill the memory', () => {
    const long = `00 808040 ${`${'61'.repeat(127)}00`.repeat(2 ** 13).slice(0, -2)}61 | ${rest()}`;
    const bodies = [long];
    // Each takes 16 bytes and stands for a path of a mebibyte.
    for (let i = 0; i < 40; i++) bodies.push(`ffff3f 01 ${(0x62 + i).toString(16)} | ${rest()}`);
    failsWith('REPOSITORY_CORRUPT', () => [...readLeaf(leafOf(...bodies))]);
  });
});

describe('the order of a tree', () => {
  const entry = (path: string, type: Entry['type'] = 'directory'): Entry => ({ ...ROOT_ENTRY, path: Buffer.from(path), type });
  const check = (...entries: readonly Entry[]): void => {
    const order = new TreeOrder();
    for (const one of entries) order.check(one);
  };

  it('is that of a walk', () => {
    check(entry(''), entry('a'), entry('a\0b'), entry('a\0b\0c'), entry('a\0d'), entry('a!'), entry('b'));
  });

  for (const [what, entries] of Object.entries({
    'without a root': [entry('a')],
    'with an entry below a symlink': [entry(''), entry('a', 'symlink'), entry('a\0b')],
    'with an entry below a file': [entry(''), entry('a', 'file'), entry('a\0b')],
    'with a directory left out': [entry(''), entry('a'), entry('a\0b\0c')],
    'with an entry in a directory that only begins alike': [entry(''), entry('a'), entry('ab\0c')],
    'with the root twice': [entry(''), entry('')],
    'that goes back': [entry(''), entry('b'), entry('a')],
  })) {
    it(`is refused ${what}`, () => {
      failsWith('REPOSITORY_CORRUPT', () => {
        check(...entries);
      });
    });
  }
});

describe('an index node', () => {
  it('has the bytes of the design', () => {
    const node = encodeIndexNode([
      { id: ID_A, first: Buffer.alloc(0), entries: 300 },
      { id: ID_B, first: Buffer.from('d\0f'), entries: 1 },
      { id: ID_A, first: Buffer.from('d\0g'), entries: 2 },
    ]);
    const { type, references, payload } = decodeNode(node, ID_A);
    assert.equal(type, 3);
    assert.deepEqual(references, [ID_A, ID_B, ID_A]);
    assert.equal(Buffer.from(payload).toString('hex'), bytes('00 00 ac02 | 00 03 640066 01 | 02 01 67 02').toString('hex'));
  });

  it('is found by a hash of paths: FNV-1a', () => {
    // Published values for the usual offset basis.
    assert.equal(pathHash(Buffer.from(''), 0x811c9dc5), 0x811c9dc5);
    assert.equal(pathHash(Buffer.from('a'), 0x811c9dc5), 0xe40c292c);
    assert.equal(pathHash(Buffer.from('foobar'), 0x811c9dc5), 0xbf9cf968);
  });
});

describe('a content node', () => {
  it('has the bytes of the design', () => {
    const items = [{ length: 5, id: ID_A }, { length: 4096 }, { length: 131_072, id: ID_B }];
    const node = encodeContentNode(0, items);
    const { type, references, payload } = decodeNode(node, ID_A);
    assert.equal(type, 4);
    assert.deepEqual(references, [ID_A, ID_B]);
    assert.equal(Buffer.from(payload).toString('hex'), bytes('00 | 0a | 8140 | 808010').toString('hex'));
    assert.deepEqual(decodeContentNode(node, ID_A, 0), { level: 0, items });
  });

  const node = (payload: string, references: readonly BlobId[] = []): Buffer =>
    encodeNode({ type: NODE_TYPE.content, references, payload: bytes(payload) });
  for (const [what, made] of Object.entries({
    'with a hole above level 0': node('01 03'),
    'with a chunk of more than 16 MiB': node('00 8280 8010', [ID_A]),
    'with a chunk but no reference': node('00 0a'),
    'with a reference that nobody uses': node('00 03', [ID_A]),
    'with a piece without a length': node('00 00', [ID_A]),
    'of level 8': node('08 0a', [ID_A]),
    'of more than 4096 pieces': node(`00 ${'03'.repeat(4097)}`),
    'that is another node': encodeNode({ type: NODE_TYPE.leaf, references: [], payload: bytes('00 03') }),
  })) {
    it(`is refused ${what}`, () => {
      failsWith('REPOSITORY_CORRUPT', () => decodeContentNode(made, ID_A));
    });
  }

  it('is refused at another level than it must have', () => {
    failsWith('REPOSITORY_CORRUPT', () => decodeContentNode(node('01 0a', [ID_A]), ID_A, 0));
  });
});
