import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadPosix, type Posix } from '../../core/src/mover/posix.ts';
import { DirectoryNames } from '../../core/src/mover/directory-names.ts';

describe('the names in a directory', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'dmaas-names-'));
  });
  afterEach(() => {
    rmSync(dir, { recursive: true });
  });

  function names(native: Posix | undefined): Buffer[] {
    const fd = openSync(dir, 'r');
    try {
      const found = DirectoryNames.of(fd, native);
      const all: Buffer[] = [];
      for (let name = found.next(); name !== undefined; name = found.next()) all.push(Buffer.from(name.subarray(0, -1)));
      assert.equal(found.next(), undefined);
      return all;
    } finally {
      closeSync(fd);
    }
  }

  for (const [how, native] of Object.entries({ natively: loadPosix(), 'by Node': undefined })) {
    describe(how, () => {
      it('are none of an empty one', () => {
        assert.deepEqual(names(native), []);
      });

      it('are in the order of their bytes, whatever these are, and the shorter first', () => {
        const high = Buffer.from([0x66, 0xff, 0x01]);
        for (const name of ['f', 'fa', 'f0', '.hidden', 'Z', 'ä', 'n'.repeat(255), ' ', '\n']) writeFileSync(join(dir, name), '');
        writeFileSync(Buffer.concat([Buffer.from(`${dir}/`), high]), '');
        const expected = readdirSync(dir, { encoding: 'buffer' }).sort((a, b) => Buffer.compare(a, b));
        assert.deepEqual(names(native), expected);
        assert.ok(expected.some((name) => name.equals(high)));
      });

      it('are all there when they are many, and long', () => {
        for (let i = 0; i < 3000; i++) writeFileSync(join(dir, `${String((i * 7919) % 3001).padStart(4, '0')}${'x'.repeat(i % 250)}`), '');
        const expected = readdirSync(dir, { encoding: 'buffer' }).sort((a, b) => Buffer.compare(a, b));
        assert.deepEqual(names(native), expected);
        assert.equal(expected.length, 3000);
      });
    });
  }
});
