import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  closeSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileStat } from '../../core/src/mover/file-stat.ts';
import { statOf } from '../../core/src/mover/io.ts';
import { lookAhead } from '../../core/src/mover/look-ahead-thread.ts';
import { showPath } from '../../core/src/mover/paths.ts';
import { loadPosix, type Posix } from '../../core/src/mover/posix.ts';
import { walk, type Walked } from '../../core/src/mover/walk.ts';

const native = loadPosix() as Posix;

describe('a directory tree', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'dmaas-walk-'));
  });
  afterEach(() => {
    rmSync(dir, { recursive: true });
  });

  const at = (path: string): string => join(dir, path);

  function fill(): void {
    mkdirSync(at('a/b'), { recursive: true });
    writeFileSync(at('a/file'), 'text', { mode: 0o4755 });
    linkSync(at('a/file'), at('a/link'));
    writeFileSync(at('a/b/sparse'), '');
    truncateSync(at('a/b/sparse'), 2 ** 40 + 1);
    symlinkSync('nowhere', at('a/symlink'));
    execFileSync('mkfifo', [at('pipe')]);
    writeFileSync(at('old'), '');
    utimesSync(at('old'), -1.5, -1.5);
  }

  function walked(by: Posix | undefined): Walked[] {
    const fail = (path: Buffer): void => assert.fail(showPath(path));
    return [...walk(dir, { native: by, onError: fail, onMount: fail })];
  }

  it('is walked natively as by Node', () => {
    fill();
    const [natively, byNode] = [walked(native), walked(undefined)];
    assert.deepEqual(
      natively.map(({ path }) => showPath(path)),
      ['.', 'a', 'a/b', 'a/b/sparse', 'a/file', 'a/link', 'a/symlink', 'old', 'pipe'],
    );
    natively.forEach(({ path, linkGroup, stat }, i) => {
      const other = byNode[i]!;
      assert.deepEqual([path, linkGroup, stat.inode, stat.bornNs], [other.path, other.linkGroup, other.stat.inode, other.stat.bornNs]);
      assert.deepEqual(stat, other.stat);
    });
    assert.equal(byNode.length, natively.length);
  });

  it('has files that are as the system says', () => {
    fill();
    for (const path of ['a', 'a/file', 'a/b/sparse', 'a/symlink', 'old', 'pipe']) {
      const expected = lstatSync(at(path), { bigint: true });
      const { size, mtimeNs, ctimeNs, inode, nlink, mode, bornNs } = FileStat.of(expected);
      assert.deepEqual(
        { size: BigInt(size), mtimeNs, ctimeNs, inode, nlink: BigInt(nlink), mode: BigInt(mode), bornNs },
        {
          size: expected.size,
          mtimeNs: expected.mtimeNs,
          ctimeNs: expected.ctimeNs,
          inode: expected.ino,
          nlink: expected.nlink,
          mode: expected.mode & 0o7777n,
          bornNs: expected.birthtimeNs,
        },
        path,
      );
    }
    const null_ = FileStat.of(lstatSync('/dev/null', { bigint: true }));
    assert.deepEqual([null_.type, null_.rdev], ['character-device', { major: 1, minor: 3 }]);
    const fd = openSync(dir, 'r');
    try {
      assert.deepEqual(statOf(fd, native), statOf(fd, undefined));
      assert.throws(() => native.statAt(fd, Buffer.from('missing\0')), { code: 'ENOENT' });
    } finally {
      closeSync(fd);
    }
  });

  describe('is looked at ahead of a walk', () => {
    function looked(passed: number, names: number): string[] {
      for (let i = 0; i < names; i++) writeFileSync(at(`f${String(i).padStart(5, '0')}`), '');
      const seen: string[] = [];
      const spy: Posix = {
        ...native,
        statAt: (fd, name) => {
          if (name.length > 1) seen.push(name.subarray(0, -1).toString());
          return native.statAt(fd, name);
        },
      };
      const shared = new Int32Array(new SharedArrayBuffer(4));
      shared[0] = passed;
      lookAhead({ path: dir, passed: shared }, spy);
      return seen;
    }

    it('but for the part that is left to the walk', () => {
      const seen = looked(0, 960);
      assert.equal(new Set(seen).size, seen.length);
      assert.ok(Math.abs(seen.length - 640) <= 64, String(seen.length));
    });

    it('not where the walk has been already', () => {
      assert.equal(looked(961, 960).length, 0);
    });

    it('until it has ended', () => {
      assert.equal(looked(2 ** 31 - 1, 10).length, 0);
    });
  });
});
