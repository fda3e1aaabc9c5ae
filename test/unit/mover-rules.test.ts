import assert from 'node:assert/strict';
import { chunkingOf, MIN_FIXED_BYTES } from '../../core/src/mover/chunking-rule.ts';
import { MAX_FINDINGS_PER_CODE, VolumeFindings } from '../../core/src/mover/findings.ts';
import { isBelow, joinPath, nameOf, parentOf, parsePath, pathFault, ROOT, showPath } from '../../core/src/mover/paths.ts';
import { deviceNumber, splitDeviceNumber } from '../../core/src/mover/file-stat.ts';
import { moverResultName, parseMoverTask } from '../../core/src/mover/task.ts';
import { DmaasError } from '../../core/src/errors.ts';
import type { DmaasEvent } from '../../core/src/events.ts';

const BLOCK = 128 << 10;
const LARGE = 5 << 20;
const ID = 'ab'.repeat(24);

describe('files are cut', () => {
  const base = { name: Buffer.from('notes.txt'), size: LARGE, head: Buffer.from('some text'), blockBytes: BLOCK };
  const page = Buffer.alloc(32);
  page.writeUInt16LE(0x2004, 18);

  it('by content, if nothing is known of them', () => {
    assert.equal(chunkingOf(base), 'by-content');
    assert.equal(chunkingOf({ ...base, before: { size: LARGE - 1, first: { length: 1 << 20 } } }), 'by-content');
  });

  it('by content when they are small, whatever they are', () => {
    assert.equal(chunkingOf({ ...base, name: Buffer.from('ibdata1'), size: MIN_FIXED_BYTES - 1 }), 'by-content');
  });

  it('in blocks when they changed and kept their size', () => {
    assert.equal(chunkingOf({ ...base, before: { size: LARGE, first: { length: 1 << 20 } } }), 'fixed-blocks');
  });

  it('by content when they may not have changed at all', () => {
    assert.equal(chunkingOf({ ...base, before: { first: { length: 1 << 20 } } }), 'by-content');
  });

  it('in blocks when they were before', () => {
    assert.equal(chunkingOf({ ...base, before: { size: LARGE - 1, first: { length: BLOCK } } }), 'fixed-blocks');
  });

  for (const name of ['ibdata1', 'users.ibd', 'UNDO_001', 'data.mdb', 'collection-0.wt', 'app.sqlite', 'disk.qcow2', 'disk.img']) {
    it(`in blocks when they are called ${name}`, () => {
      assert.equal(chunkingOf({ ...base, name: Buffer.from(name) }), 'fixed-blocks');
    });
  }

  it('in blocks when they begin like a database', () => {
    assert.equal(chunkingOf({ ...base, head: Buffer.from('SQLite format 3\0...') }), 'fixed-blocks');
    assert.equal(chunkingOf({ ...base, name: Buffer.from('16384'), head: page }), 'fixed-blocks');
    assert.equal(chunkingOf({ ...base, name: Buffer.from('16384.1'), head: page }), 'fixed-blocks');
    assert.equal(chunkingOf({ ...base, name: Buffer.from('16384'), head: Buffer.alloc(32) }), 'by-content');
    assert.equal(chunkingOf({ ...base, name: Buffer.from('notes'), head: page }), 'by-content');
    assert.equal(chunkingOf({ ...base, name: Buffer.from('16384'), head: Buffer.alloc(3) }), 'by-content');
  });
});

describe('paths', () => {
  it('are taken apart and put together', () => {
    const path = joinPath(joinPath(ROOT, Buffer.from('a')), Buffer.from('b'));
    assert.equal(path.toString('latin1'), 'a\0b');
    assert.equal(parentOf(path).toString(), 'a');
    assert.equal(nameOf(path).toString(), 'b');
    assert.equal(parentOf(Buffer.from('a')).length, 0);
    assert.equal(nameOf(Buffer.from('a')).toString(), 'a');
    assert.equal(parsePath('/a//b/./').toString('latin1'), 'a\0b');
  });

  it('lie below a directory, or only begin alike', () => {
    assert.equal(isBelow(Buffer.from('a\0b'), Buffer.from('a')), true);
    assert.equal(isBelow(Buffer.from('ab'), Buffer.from('a')), false);
    assert.equal(isBelow(Buffer.from('a'), Buffer.from('a')), false);
    assert.equal(isBelow(Buffer.from('a'), ROOT), true);
    assert.equal(isBelow(ROOT, ROOT), false);
  });

  for (const [bytes, shown] of [
    ['', '.'],
    ['a\0b c', 'a/b c'],
    ['\u00e9', '\u00e9'],
    ['a\x1b[31m\n', 'a\\x1b[31m\\x0a'],
    ['back\\slash', 'back\\x5cslash'],
    ['\u202egpj.exe', '\\xe2\\x80\\xaegpj.exe'],
  ] as const) {
    it(`are shown as ${shown}`, () => {
      assert.equal(showPath(Buffer.from(bytes)), shown);
    });
  }

  it('that are no UTF-8 are shown byte by byte', () => {
    assert.equal(showPath(Buffer.from([0x61, 0xff, 0, 0x62])), 'a\\xff/b');
  });

  it('are checked name by name', () => {
    assert.equal(pathFault(Buffer.from('a\0b')), undefined);
    assert.equal(pathFault(Buffer.from('...')), undefined);
    assert.match(pathFault(Buffer.from('a\0..')) ?? '', /"\.\."/);
    assert.match(pathFault(Buffer.from('a\0..'), 1) ?? '', /"\.\."/);
    assert.match(pathFault(Buffer.from('a\0.'), 3) ?? '', /"\."/);
    assert.match(pathFault(Buffer.alloc((1 << 20) + 1, 0x61)) ?? '', /1 MiB/);
  });
});

describe('device numbers', () => {
  for (const [major, minor, packed] of [
    [1, 3, 0x103n],
    [254, 0, 0xfe00n],
    [4095, 1_048_575, 0xffff_ffffn],
    [4096, 1_048_576, 0x1001_0000_0000n],
  ] as const) {
    it(`${major}:${minor} are packed as Linux does`, () => {
      assert.equal(deviceNumber(major, minor), packed);
      assert.deepEqual(splitDeviceNumber(packed), { major, minor });
    });
  }
});

describe('findings of a volume', () => {
  it('are counted when there are too many to list', () => {
    const told: DmaasEvent[] = [];
    const findings = new VolumeFindings((event) => told.push(event), 'data');
    for (let i = 0; i < MAX_FINDINGS_PER_CODE + 7; i++) findings.addFor('file-unreadable', Buffer.from(`f${i}`), 'cannot be read (EIO)');
    findings.addFor('file-changed', Buffer.from('g\n'), 'changed while it was read');
    const all = findings.all();
    assert.equal(all.length, MAX_FINDINGS_PER_CODE + 2);
    assert.equal(told.length, MAX_FINDINGS_PER_CODE + 1);
    assert.equal(all[0]?.message, 'data: f0 cannot be read (EIO)');
    assert.equal(all.at(-2)?.message, 'data: g\\x0a changed while it was read');
    assert.match(all.at(-1)?.message ?? '', /: 7 more findings of this kind \(file-unreadable\)/);
  });
});

describe('the task of a mover', () => {
  const task = {
    schema: 1,
    operation: 'abcdefgh',
    index: 0,
    direction: 'capture',
    volume: { claim: 'data-db-0', mode: 'filesystem' },
    path: '/data',
    store: { provider: 's3', bucket: 'backups', credentials: { accessKeyId: 'AKIACANARY', secretAccessKey: 'canary-secret' } },
    unlock: 'dmaas-key-1-canary',
  };

  it('is taken when it is whole', () => {
    assert.deepEqual(parseMoverTask(task), task);
    const populate = { ...task, direction: 'populate', root: ID, allowDevices: true };
    assert.deepEqual(parseMoverTask(populate), populate);
    const ofMoment = { ...task, moment: '0123456789abcdef' };
    assert.deepEqual(parseMoverTask(ofMoment), ofMoment);
    assert.equal(moverResultName({ index: 3 }), 'volume-3');
    assert.equal(moverResultName({ index: 3, moment: '0a' }), 'volume-3-0a');
  });

  for (const [field, value] of [
    ['schema', 2],
    ['operation', 'UPPER'],
    ['index', -1],
    ['direction', 'sideways'],
    ['path', 'relative'],
    ['parent', 'no id'],
    ['moment', '../gc'],
    ['store', { provider: 's3', bucket: 'backups', credentials: { accessKeyId: 'AKIACANARY', secretAccessKey: 7 } }],
    ['surprise', true],
  ] as const) {
    it(`is refused with another ${field}, and the message has no secrets`, () => {
      assert.throws(
        () => parseMoverTask({ ...task, [field]: value }),
        (error) => DmaasError.is(error, 'USAGE') && !/canary/i.test(JSON.stringify([error.message, error.hint, error.details])),
      );
    });
  }

  it('is refused without a root to populate from', () => {
    assert.throws(
      () => parseMoverTask({ ...task, direction: 'populate' }),
      (error) => DmaasError.is(error, 'USAGE'),
    );
  });
});
