import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  fsyncSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { compareTree } from '../../core/src/mover/compare.ts';
import { encodeContentNode } from '../../core/src/mover/content.ts';
import { captureVolume } from '../../core/src/mover/capture.ts';
import { ByteWriter } from '../../core/src/mover/bytes.ts';
import { VolumeFindings } from '../../core/src/mover/findings.ts';
import { ROOT } from '../../core/src/mover/paths.ts';
import { finishPopulated, populateVolume, type PopulateOptions } from '../../core/src/mover/populate.ts';
import { loadPosix } from '../../core/src/mover/posix.ts';
import { Problems } from '../../core/src/mover/problems.ts';
import { encodeEntry, writeEntry, type Entry } from '../../core/src/mover/tree-format.ts';
import { TreeReader } from '../../core/src/mover/tree-reader.ts';
import { readVolume, writeVolume, type Volume } from '../../core/src/mover/volume-node.ts';
import { DmaasError, type ErrorCode } from '../../core/src/errors.ts';
import { newOperationId } from '../../core/src/operation.ts';
import type { BlobId } from '../../core/src/repository/format/blob.ts';
import { encodeNode, NODE_TYPE } from '../../core/src/repository/format/node.ts';
import type { Repository } from '../../core/src/repository/repository.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import { DAMAGED, fetching, losing } from '../support/damaged.ts';
import { FaultyStore } from '../support/faulty-store.ts';
import { hex, memoryRepository, recorder, scratch, settled, TreeOracle, type SpecEntry } from '../support/volume.ts';

const fails = (code: ErrorCode, message: RegExp) => (error: unknown) => DmaasError.is(error, code) && message.test(error.message);

/** A small tree with some of everything. */
function makeSource(path: string): void {
  mkdirSync(join(path, 'dir/sub'), { recursive: true });
  writeFileSync(join(path, 'dir/sub/small'), 'small');
  writeFileSync(join(path, 'dir/medium'), Buffer.alloc(3_000_000, 'medium'));
  writeFileSync(join(path, 'empty'), '');
  writeFileSync(join(path, 'z-last'), Buffer.alloc(1_500_000, 'last one'));
  symlinkSync('../nowhere', join(path, 'dir/link'));
}

interface Setup {
  readonly dir: ReturnType<typeof scratch>;
  readonly source: string;
  readonly target: string;
  readonly repository: Repository;
}

async function setup(): Promise<Setup> {
  const dir = scratch();
  const [source, target] = [join(dir.path, 'source'), join(dir.path, 'target')];
  mkdirSync(source);
  mkdirSync(target);
  return { dir, source, target, repository: await memoryRepository() };
}

async function captured({ source, repository }: Setup): Promise<BlobId> {
  makeSource(source);
  return (await captureVolume({ name: 'data', path: source, mode: 'filesystem', repository, now: settled }, recorder())).root;
}

function optionsOf({ target, repository }: Setup, root: BlobId, more: Partial<PopulateOptions> = {}): PopulateOptions {
  return { name: 'data', path: target, mode: 'filesystem', repository, root, operation: newOperationId(), allowMissing: true, ...more };
}

describe('a target that is not fit', () => {
  let test: Setup;
  let root: BlobId;
  beforeEach(async () => {
    test = await setup();
    root = await captured(test);
  });
  afterEach(() => {
    test.dir.rm();
  });

  it('because something is in it is refused and left as it is', async () => {
    writeFileSync(join(test.target, 'mine'), 'precious');
    await assert.rejects(populateVolume(optionsOf(test, root), recorder()), fails('PREFLIGHT_FAILED', /^data: the volume is not empty$/));
    assert.deepEqual(readdirSync(test.target), ['mine']);
  });

  it('because another restore is unfinished in it is refused, and names it', async () => {
    writeFileSync(join(test.target, '.dmaas-restore-abcdefgh'), '');
    await assert.rejects(
      populateVolume(optionsOf(test, root), recorder()),
      fails('PREFLIGHT_FAILED', /unfinished restore of the operation abcdefgh/),
    );
  });

  it('because the same operation began with another backup is refused', async () => {
    const operation = newOperationId();
    const text = JSON.stringify({ root: '00'.repeat(24), path: '', bytes: 0 });
    writeFileSync(join(test.target, `.dmaas-restore-${operation}`), text);
    await assert.rejects(populateVolume(optionsOf(test, root, { operation }), recorder()), fails('PREFLIGHT_FAILED', /another backup/));
  });

  it('but has only lost+found is filled', async () => {
    mkdirSync(join(test.target, 'lost+found'));
    assert.deepEqual((await populateVolume(optionsOf(test, root), recorder())).findings, []);
  });

  it('because it is not there is refused', async () => {
    const options = optionsOf(test, root, { path: join(test.dir.path, 'nowhere') });
    await assert.rejects(populateVolume(options, recorder()), fails('PREFLIGHT_FAILED', /ENOENT/));
  });

  it('because it is a device and the backup is of files is refused', async () => {
    await assert.rejects(
      populateVolume(optionsOf(test, root, { mode: 'block' }), recorder()),
      fails('PREFLIGHT_FAILED', /filesystem volume/),
    );
  });
});

describe('a mounted target', () => {
  let test: Setup;
  let root: BlobId;
  beforeEach(async () => {
    test = await setup();
    root = await captured(test);
  });
  afterEach(() => {
    execFileSync('umount', [test.target]);
    test.dir.rm();
  });

  it('that is read-only is refused', async () => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'ro', 'dmaas-test', test.target]);
    await assert.rejects(populateVolume(optionsOf(test, root), recorder()), fails('PREFLIGHT_FAILED', /mounted read-only/));
  });

  const mount = (options: string) => execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'dmaas-test', test.target]);
  const FULL: readonly { readonly of: string; readonly small: string; readonly large: string; readonly message: string }[] = [
    { of: 'space', small: 'size=2500k', large: 'size=10m', message: 'data: the volume is full (2.4Mi): the backup has 4.3Mi in 4 files' },
    {
      of: 'inodes',
      small: 'nr_inodes=6',
      large: 'nr_inodes=100',
      message: 'data: the volume is full (6 inodes): the backup has 8 files and directories',
    },
  ];
  for (const isInPlace of [false, true]) {
    for (const { of, small, large, message } of FULL) {
      it(`B11: that is full (${of}${isInPlace ? ', in place' : ''}) ends the restore, which goes on when it is larger`, async () => {
        const oracle = new TreeOracle();
        try {
          mount(small);
          const options = optionsOf(test, root, { isInPlace });
          for (let i = 0; i < 2; i++) {
            await assert.rejects(populateVolume(options, recorder()), (error) => {
              assert.ok(DmaasError.is(error, 'MOVER_FAILED'), String(error));
              assert.deepEqual([error.message, error.hint], [message, 'make it larger, or make room in it']);
              return true;
            });
            assert.ok(readdirSync(test.target).includes(`.dmaas-restore-${options.operation}`));
          }
          mount(`remount,${large}`);
          const { missing, findings } = await populateVolume(options, recorder());
          assert.deepEqual([missing.entries, findings], [0, []]);
          assert.deepEqual(await oracle.describe(test.target), await oracle.describe(test.source));
        } finally {
          oracle.stop();
        }
      });
    }
  }

  it('B11: that is full keeps what fits, and that is not written again when the restore goes on', async () => {
    // More than there is between two checkpoints, and after it what is too much.
    const large = randomBytes(16 << 20);
    for (let i = 0; i < 12; i++) writeFileSync(join(test.source, `a${String(i)}`), Buffer.concat([Buffer.of(i), large]));
    const { repository, source } = test;
    const again = await captureVolume({ name: 'data', path: source, mode: 'filesystem', repository, now: settled }, recorder());
    mount('size=196m');
    const options = optionsOf(test, again.root);
    await assert.rejects(populateVolume(options, recorder()), fails('MOVER_FAILED', /the volume is full/));
    const before = readdirSync(test.target);
    mount('remount,size=300m');
    const { writtenBytes, bytes } = await populateVolume(options, recorder());
    // Checkpoints are 128 MiB apart, of which 48 may be on their way.
    assert.ok(before.includes('a0') && writtenBytes < bytes - (80 << 20), `${String(writtenBytes)} bytes of ${String(bytes)}`);
    assert.ok(readFileSync(join(test.target, 'a0')).subarray(1).equals(large));
  });

  it('B11: that says only when it is asked to keep what was written that it is full ends the restore as well', async () => {
    mount('size=10m');
    const posix = loadPosix();
    assert.ok(posix !== undefined);
    const options = optionsOf(test, root);
    const calls = { ...posix };
    posix.syncFileSystem = () => Promise.reject(Object.assign(new Error('full'), { code: 'EDQUOT' }));
    try {
      await assert.rejects(populateVolume(options, recorder()), (error) => {
        assert.ok(DmaasError.is(error, 'MOVER_FAILED'), String(error));
        assert.deepEqual(
          [error.message, error.hint],
          ['data: the quota of the volume is used up: the backup has 4.3Mi in 4 files', 'raise the quota'],
        );
        return true;
      });
    } finally {
      Object.assign(posix, calls);
    }
    // Nobody knows what became of it: everything is written again.
    const { writtenBytes, findings } = await populateVolume(options, recorder());
    assert.deepEqual([writtenBytes, findings], [4_500_005, []]);
  });

  describe('with blocks for attributes', () => {
    const withAttribute = (bytes: number, names: readonly string[]) => {
      const more = { mode: 0o644, xattrs: [{ name: Buffer.from('user.large'), value: Buffer.alloc(bytes) }] };
      return hostile(test.repository, (chunk) => {
        const all = [
          { ...directory('dir'), ...more },
          { ...attributes, ...more, type: 'file' as const, path: Buffer.from('empty') },
          {
            ...attributes,
            ...more,
            type: 'file' as const,
            path: Buffer.from('whole'),
            size: 5,
            content: { items: [{ length: 5, id: chunk }] },
          },
        ];
        return [{ ...directory(''), mode: 0o755 }, ...all.filter(({ path }) => names.includes(path.toString()))];
      });
    };
    beforeEach(() => {
      const image = join(test.dir.path, 'image');
      writeFileSync(image, '');
      truncateSync(image, 16 << 20);
      execFileSync('mkfs.ext4', ['-q', '-b', '4096', '-m', '0', image]);
      execFileSync('mount', ['-o', 'loop', image, test.target]);
    });

    it('loses an attribute that is too large for it, and nothing else', async () => {
      const names = ['dir', 'empty', 'whole'];
      const { findings } = await populateVolume(optionsOf(test, await withAttribute(20_000, names)), recorder());
      assert.deepEqual(
        findings.map(({ code, message }) => [code, message]),
        names.map((name) => ['attribute-not-kept', `data: ${name} has lost the extended attribute user.large (ENOSPC)`]),
      );
    });

    it('B11: that has none left ends the restore, which goes on when it has', async () => {
      const filler = join(test.target, 'lost+found/filler');
      const fd = openSync(filler, 'w');
      assert.throws(() => {
        for (;;) writeSync(fd, Buffer.alloc(4096));
      }, /ENOSPC/);
      ftruncateSync(fd, statSync(filler).size - 4096); // for the marker
      fsyncSync(fd);
      closeSync(fd);
      const options = optionsOf(test, await withAttribute(1000, ['empty']));
      await assert.rejects(populateVolume(options, recorder()), fails('MOVER_FAILED', /^data: the volume is full \(11\.\dMi\): /));
      rmSync(filler);
      assert.deepEqual((await populateVolume(options, recorder())).findings, []);
    });
  });

  it('that keeps no holes, or no attributes, is said to', async () => {
    // The file system that remembers least of those that every kernel has.
    execFileSync('mount', ['-t', 'ramfs', 'dmaas-test', test.target]);
    writeFileSync(join(test.source, 'with-attribute'), '');
    execFileSync('python3', ['-c', 'import os,sys; os.setxattr(sys.argv[1], "user.colour", b"red")', join(test.source, 'with-attribute')]);
    const { repository, source } = test;
    const again = await captureVolume({ name: 'data', path: source, mode: 'filesystem', repository, now: settled }, recorder());
    const { findings } = await populateVolume(optionsOf(test, again.root), recorder());
    assert.deepEqual(
      findings.map(({ code, message }) => [code, message]),
      [['attribute-not-kept', 'data: with-attribute has lost the extended attribute user.colour (ENOTSUP)']],
    );
  });
});

describe('an interrupted run', () => {
  it('A5: is gone on with by the same operation', async () => {
    const test = await setup();
    const oracle = new TreeOracle();
    try {
      const root = await captured(test);
      const options = optionsOf(test, root);
      const stop = new AbortController();
      const first = recorder(stop.signal);
      const interrupted = populateVolume(options, {
        ...first,
        emit: () => {
          stop.abort();
        },
      });
      await assert.rejects(interrupted, (error) => DmaasError.is(error, 'CANCELLED'));
      assert.deepEqual(
        readdirSync(test.target).filter((name) => name.startsWith('.dmaas')),
        [`.dmaas-restore-${options.operation}`],
      );
      assert.deepEqual((await populateVolume(options, recorder())).findings, []);
      assert.deepEqual(await oracle.describe(test.target), await oracle.describe(test.source));
    } finally {
      oracle.stop();
      test.dir.rm();
    }
  });

  it('A5: that had come to the attributes is gone on with', async () => {
    const test = await setup();
    const oracle = new TreeOracle();
    try {
      const root = await captured(test);
      const options = optionsOf(test, root);
      const record = (): Promise<void> => Promise.reject(new DmaasError('STORE_UNAVAILABLE', 'away'));
      await assert.rejects(populateVolume({ ...options, record }, recorder()), fails('STORE_UNAVAILABLE', /away/));
      rmSync(join(test.target, 'z-last'));
      writeFileSync(join(test.target, 'dir/sub/small'), 'other');
      assert.deepEqual((await populateVolume(options, recorder())).findings, []);
      assert.deepEqual(await oracle.describe(test.target), await oracle.describe(test.source));
    } finally {
      oracle.stop();
      test.dir.rm();
    }
  });
});

/** `u::r--,u:1:r--,g::r--,m::r--,o::r--` */
const READ_ACL = '02000000' + '01000400ffffffff' + '0200040001000000' + '04000400ffffffff' + '10000400ffffffff' + '20000400ffffffff';

describe('a run that may not do everything', () => {
  const NOBODY = 65_534;
  let test: Setup;
  beforeEach(async () => {
    test = await setup();
  });
  afterEach(() => {
    test.dir.rm();
  });

  /** As a user without any privilege, who owns the target. */
  async function asNobody<T>(run: () => Promise<T>): Promise<T> {
    assert.ok(process.getuid?.() === 0, 'this test must run as root');
    for (const path of [test.target, test.dir.path]) chownSync(path, NOBODY, NOBODY);
    process.setegid?.(NOBODY);
    process.seteuid?.(NOBODY);
    try {
      return await run();
    } finally {
      process.seteuid?.(0);
      process.setegid?.(0);
    }
  }

  it('says what it did not keep, and gives nobody the rights of another user', async () => {
    const program = join(test.source, 'program');
    writeFileSync(program, 'x');
    chmodSync(program, 0o4755);
    const { repository, source } = test;
    const { root } = await captureVolume({ name: 'data', path: source, mode: 'filesystem', repository, now: settled }, recorder());
    const { findings } = await asNobody(() => populateVolume(optionsOf(test, root), recorder()));
    assert.deepEqual(
      findings.map(({ code, message }) => [code, message]),
      [
        ['attribute-not-kept', 'data: . has the owner 65534:65534 instead of 0:0 (EPERM)'],
        ['attribute-not-kept', 'data: program has the owner 65534:65534 instead of 0:0 (EPERM)'],
        ['attribute-not-kept', 'data: program has the mode 755 instead of 4755 (EPERM)'],
      ],
    );
  });

  it('keeps the further names of a file whose owner it cannot keep', async () => {
    writeFileSync(join(test.source, 'first'), 'content');
    linkSync(join(test.source, 'first'), join(test.source, 'second'));
    const { repository, source } = test;
    const { root } = await captureVolume({ name: 'data', path: source, mode: 'filesystem', repository, now: settled }, recorder());
    const { findings } = await asNobody(() => populateVolume(optionsOf(test, root), recorder()));
    assert.deepEqual(
      findings.map(({ code, message }) => [code, message]),
      ['.', 'first', 'second'].map((name) => [
        'attribute-not-kept',
        `data: ${name} has the owner 65534:65534 instead of 0:0${name === 'second' ? '' : ' (EPERM)'}`,
      ]),
    );
    assert.equal(statSync(join(test.target, 'second')).ino, statSync(join(test.target, 'first')).ino);
  });

  it('takes its marker out of a root that its owner may not write to', async () => {
    const { repository, source } = test;
    writeFileSync(join(source, 'file'), 'content');
    for (const path of [source, join(source, 'file')]) chownSync(path, NOBODY, NOBODY);
    chmodSync(source, 0o555);
    const { root } = await captureVolume({ name: 'data', path: source, mode: 'filesystem', repository, now: settled }, recorder());
    const isDone = (): void => {
      assert.deepEqual(readdirSync(test.target), ['file']);
      const [is, should] = [test.target, source].map((path) => statSync(path, { bigint: true }));
      assert.deepEqual([is?.mode, is?.mtimeNs], [should?.mode, should?.mtimeNs]);
    };
    const options = optionsOf(test, root);
    assert.deepEqual((await asNobody(() => populateVolume(options, recorder()))).findings, []);
    isDone();
    // As a run leaves it that dies after it has recorded its result.
    chmodSync(test.target, 0o755);
    writeFileSync(join(test.target, `.dmaas-restore-${options.operation}`), '');
    await asNobody(() => finishPopulated(options, recorder()));
    isDone();
  });

  it('keeps the attributes of what its owner may not write to', async () => {
    const owner = { uid: NOBODY, gid: NOBODY };
    const user = (text: string) => ({ [hex('user.of')]: hex(text) });
    const entry = (path: string, type: string, mode: number, xattrs: SpecEntry['xattrs'] = user(path)): SpecEntry => ({
      path: path.split('/').map(hex),
      type,
      mode,
      ...owner,
      mtimeNs: '1600000000123456789',
      xattrs,
      ...(type === 'file' ? { content: [[1000, path.length]] } : {}),
    });
    const large = { content: [[3_000_000, 1]] };
    const oracle = new TreeOracle();
    try {
      chownSync(test.source, NOBODY, NOBODY);
      await oracle.build(test.source, [
        entry('closed', 'file', 0),
        entry('dir', 'directory', 0o555),
        entry('dir/acl', 'file', 0o444, { ...user('acl'), [hex('system.posix_acl_access')]: READ_ACL }),
        entry('dir/small', 'file', 0o444),
        entry('dir/sub', 'directory', 0o500),
        { ...entry('dir/sub/large', 'file', 0o400), ...large },
      ]);
      const { repository, source } = test;
      const { root } = await captureVolume({ name: 'data', path: source, mode: 'filesystem', repository, now: settled }, recorder());
      const expected = await oracle.describe(source);
      const restore = async (isInPlace: boolean): Promise<void> => {
        const { findings } = await asNobody(() => populateVolume(optionsOf(test, root, { isInPlace }), recorder()));
        // It may not even look at these.
        assert.deepEqual(
          findings.map(({ code, message }) => [code, message]),
          [['attribute-unreadable', 'data: closed has extended attributes that cannot be read (EACCES)']],
        );
        assert.deepEqual(await oracle.describe(test.target), expected);
      };
      await restore(false);
      await restore(true);
      for (const name of ['closed', 'dir', 'dir/acl', 'dir/small', 'dir/sub', 'dir/sub/large']) {
        const script = 'import os,sys; os.setxattr(sys.argv[1], "user.of", b"other"); os.setxattr(sys.argv[1], "user.more", b"more")';
        execFileSync('python3', ['-c', script, join(test.target, name)]);
      }
      await restore(true);
    } finally {
      oracle.stop();
    }
  });

  it('without native calls keeps what Node can, and says what is lost', async () => {
    makeSource(test.source);
    execFileSync('mkfifo', [join(test.source, 'pipe')]);
    const { repository, source } = test;
    const { root } = await captureVolume({ name: 'data', path: source, mode: 'filesystem', repository, now: settled }, recorder());
    const { findings } = await populateVolume(optionsOf(test, root, { fidelity: 'reduced' }), recorder());
    assert.deepEqual(
      findings.map(({ code, message }) => [code, message.replace(/:.*: /, ': ')]),
      [
        ['reduced-fidelity', findings[0]?.message.replace(/:.*: /, ': ')],
        ['entry-not-restored', 'data: native calls are not available'],
      ],
    );
    assert.equal(readFileSync(join(test.target, 'dir/sub/small'), 'utf8'), 'small');
  });

  it('F4: reaches what lies deeper than a path can say', async () => {
    const script =
      'import os,sys\nos.chdir(sys.argv[1])\nfor i in range(300):\n  os.mkdir("n"*100)\n  os.chdir("n"*100)\nopen("deep","w").write("found")';
    execFileSync('python3', ['-c', script, test.source]);
    const { repository, source } = test;
    const { root, entries } = await captureVolume({ name: 'data', path: source, mode: 'filesystem', repository, now: settled }, recorder());
    assert.equal(entries, 302);
    assert.deepEqual((await populateVolume(optionsOf(test, root), recorder())).findings, []);
  });
});

describe('a repository that lost something', () => {
  it('costs the files that need it, which are named; the rest is restored', async () => {
    const test = await setup();
    try {
      const store = new FaultyStore(new MemoryStore());
      const repository = await memoryRepository(store);
      const broken = { ...test, repository };
      makeSource(test.source);
      const { root } = await captureVolume({ name: 'data', path: test.source, mode: 'filesystem', repository, now: settled }, recorder());
      const lost: BlobId[] = [];
      const missing = losing(repository, ({ id, innerLength }) => innerLength === 5 && lost.push(id) > 0);
      const { findings, ...sums } = await populateVolume({ ...optionsOf(broken, root), repository: missing }, recorder());
      assert.equal(lost.length, 1);
      const { files, entries, bytes, missing: lacks } = sums;
      assert.deepEqual([files, entries, bytes], [3, 7, 4_500_000]);
      assert.deepEqual(lacks, { entries: 1, declined: 0, files: 1, bytes: 5, names: ['dir/sub/small'] });
      assert.deepEqual(
        findings.map(({ code, message }) => [code, message]),
        [['entry-not-restored', 'data: dir/sub/small was not restored: the pack p is damaged']],
      );
      assert.equal(existsSync(join(test.target, 'dir/sub/small')), false);
      assert.equal(statSync(join(test.target, 'dir/medium')).size, 3_000_000);
    } finally {
      test.dir.rm();
    }
  });
});

describe('a volume of which not everything could be restored', () => {
  let test: Setup;
  let root: BlobId;
  let oracle: TreeOracle;
  before(() => {
    oracle = new TreeOracle();
  });
  beforeEach(async () => {
    test = await setup();
    makeSource(test.source);
    linkSync(join(test.source, 'dir/sub/small'), join(test.source, 'z-small'));
    chmodSync(join(test.source, 'dir'), 0o555);
    const { repository, source } = test;
    ({ root } = await captureVolume({ name: 'data', path: source, mode: 'filesystem', repository, now: settled }, recorder()));
  });
  afterEach(() => {
    test.dir.rm();
  });
  after(() => {
    oracle.stop();
  });

  for (const isInPlace of [false, true]) {
    it(`goes on to look unfinished${isInPlace ? ' in place' : ''}, and the same operation restores what is missing, and no more`, async () => {
      const options = optionsOf(test, root, { isInPlace, allowMissing: false });
      const marker = `.dmaas-restore-${options.operation}`;
      const broken = losing(test.repository, ({ innerLength }) => innerLength === 5);
      for (let i = 0; i < 2; i++) {
        const recorded: unknown[] = [];
        const record: PopulateOptions['record'] = (result) => Promise.resolve(void recorded.push(result));
        const result = await populateVolume({ ...options, repository: broken, record }, recorder());
        assert.deepEqual(recorded, [result]);
        assert.equal(result.isUnfinished, true);
        assert.deepEqual(result.missing, { entries: 2, declined: 0, files: 2, bytes: 5, names: ['dir/sub/small', 'z-small'] });
        assert.deepEqual(readdirSync(test.target).sort(), [marker, 'dir', 'empty', 'z-last']);
      }
      const { writtenBytes, isUnfinished, findings } = await populateVolume(options, recorder());
      assert.deepEqual([writtenBytes, isUnfinished, findings], [5, undefined, []]);
      assert.deepEqual(await oracle.describe(test.target), await oracle.describe(test.source));
    });
  }

  it('is done without it when that is allowed, also after it was not', async () => {
    const options = optionsOf(test, root, { allowMissing: false });
    const repository = losing(test.repository, ({ innerLength }) => innerLength === 5);
    await populateVolume({ ...options, repository }, recorder());
    const { isUnfinished, missing, findings } = await populateVolume({ ...options, repository, allowMissing: true }, recorder());
    assert.deepEqual([isUnfinished, missing.entries, findings.length], [undefined, 2, 2]);
    assert.deepEqual(readdirSync(test.target).sort(), ['dir', 'empty', 'z-last']);
  });

  it('is not unfinished for what was not to be made', async () => {
    const device: Entry = { ...attributes, type: 'character-device', path: Buffer.from('mem'), device: { major: 1, minor: 1 } };
    const withDevice = await hostile(test.repository, () => [directory(''), device]);
    const { isUnfinished, missing } = await populateVolume(optionsOf(test, withDevice, { allowMissing: false }), recorder());
    assert.deepEqual([isUnfinished, missing], [undefined, { entries: 1, declined: 1, files: 0, bytes: 0, names: [] }]);
    assert.deepEqual(readdirSync(test.target), []);
  });
});

describe('somebody who plants symlinks in the target meanwhile', () => {
  it('G2: gets nothing written outside of it', async () => {
    const test = await setup();
    try {
      const outside = join(test.dir.path, 'outside');
      mkdirSync(outside);
      for (let i = 0; i < 40; i++) {
        mkdirSync(join(test.source, `d${String(i)}/sub`), { recursive: true });
        writeFileSync(join(test.source, `d${String(i)}/sub/file`), Buffer.alloc(400_000, i));
      }
      const { repository, source } = test;
      const { root } = await captureVolume({ name: 'data', path: source, mode: 'filesystem', repository, now: settled }, recorder());
      let planted = 0;
      const plant = (): void => {
        for (let i = 0; i < 40; i++) {
          const victim = join(test.target, `d${String(i)}`);
          if (!existsSync(victim) || planted > 20) continue;
          renameSync(victim, join(test.dir.path, `moved-${String(planted)}`));
          symlinkSync(outside, victim);
          planted++;
        }
      };
      const { findings } = await populateVolume(optionsOf(test, root), { ...recorder(), emit: plant });
      assert.ok(planted > 0);
      assert.deepEqual(readdirSync(outside), []);
      assert.ok(findings.some(({ code }) => code === 'attribute-not-kept' || code === 'entry-not-restored'));
    } finally {
      test.dir.rm();
    }
  });
});

/** What a hostile tree is made of. */
const attributes = { mode: 0o6755, uid: 0, gid: 0, mtimeNs: 1n, ctimeNs: 1n, inode: 1n, size: 0, content: { items: [] }, xattrs: [] };
const directory = (path: string): Entry => ({ ...attributes, type: 'directory', path: path === '' ? ROOT : Buffer.from(path) });
const symlink = (path: string, target: string): Entry => ({
  ...attributes,
  type: 'symlink',
  path: Buffer.from(path),
  target: Buffer.from(target),
});

async function hostile(repository: Repository, make: (chunk: BlobId) => readonly Entry[], volume: Partial<Volume> = {}): Promise<BlobId> {
  return repository.write(async (writer) => {
    const chunk = await writer.put('data', Buffer.from('owned'));
    const payload = new ByteWriter();
    const references: BlobId[] = [];
    const entries = make(chunk.id);
    entries.forEach((entry, i) => {
      writeEntry(payload, references, entries[i - 1]?.path ?? ROOT, entry.path, encodeEntry(entry));
    });
    const top = (await writer.put('node', encodeNode({ type: NODE_TYPE.leaf, references, payload: payload.bytes }))).id;
    const files = entries.filter(({ type }) => type === 'file');
    const totals = { files: files.length, entries: entries.length, bytes: files.reduce((sum, { size }) => sum + size, 0) };
    return writeVolume(writer, { mode: 'filesystem', top, ...totals, ...volume });
  });
}

describe('a hostile backup', () => {
  let test: Setup;
  let outside: string;
  beforeEach(async () => {
    test = await setup();
    outside = join(test.dir.path, 'outside');
    mkdirSync(outside);
    writeFileSync(join(outside, 'canary'), 'alive');
  });
  afterEach(() => {
    assert.deepEqual(readdirSync(outside), ['canary']);
    assert.equal(readFileSync(join(outside, 'canary'), 'utf8'), 'alive');
    assert.deepEqual(readdirSync(test.dir.path).sort(), ['outside', 'source', 'target']);
    test.dir.rm();
  });

  const file = (path: string, chunk: BlobId): Entry => ({
    ...attributes,
    type: 'file',
    path: Buffer.from(path),
    size: 5,
    content: { items: [{ length: 5, id: chunk }] },
  });

  const REFUSED: Readonly<Record<string, (chunk: BlobId) => readonly Entry[]>> = {
    'that goes up': (chunk) => [directory(''), file('..\0outside\0owned', chunk)],
    'that goes up by name': (chunk) => [directory(''), file('../outside/owned', chunk)],
    'that is absolute': (chunk) => [directory(''), file('/outside/owned', chunk)],
    'that goes through its own symlink': (chunk) => [directory(''), symlink('a', '../outside'), file('a\0owned', chunk)],
    'that replaces a symlink by a file': (chunk) => [directory(''), symlink('a', '../outside/owned'), file('a', chunk)],
    'that replaces a directory by a symlink': (chunk) => [
      directory(''),
      directory('a'),
      symlink('a', '../outside'),
      file('a\0owned', chunk),
    ],
    'whose root is a symlink': () => [symlink('', '../outside')],
    'without a root': (chunk) => [file('owned', chunk)],
    'with a size that is another': (chunk) => [directory(''), { ...file('a', chunk), size: 6 }],
  };
  for (const [what, make] of Object.entries(REFUSED)) {
    it(`G1: ${what} is refused`, async () => {
      const root = await hostile(test.repository, make);
      await assert.rejects(populateVolume(optionsOf(test, root), recorder()), (error) => DmaasError.is(error, 'REPOSITORY_CORRUPT'));
    });
  }

  it('G1: that holds more than it says is refused', async () => {
    for (const totals of [{ entries: 1 }, { files: 0 }, { bytes: 4 }, { entries: 3 }]) {
      const root = await hostile(test.repository, (chunk) => [directory(''), file('a', chunk)], totals);
      rmSync(test.target, { recursive: true });
      mkdirSync(test.target);
      await assert.rejects(populateVolume(optionsOf(test, root), recorder()), fails('REPOSITORY_CORRUPT', /as much as its volume says/));
    }
  });

  it('G1: whose chunk has another length costs that file only', async () => {
    const root = await hostile(test.repository, (chunk) => [
      directory(''),
      { ...file('a', chunk), size: 7, content: { items: [{ length: 7, id: chunk }] } },
      file('b', chunk),
    ]);
    const { findings } = await populateVolume(optionsOf(test, root), recorder());
    assert.deepEqual(
      findings.map(({ code, message }) => [code, /^data: a was not restored: /.test(message)]),
      [['entry-not-restored', true]],
    );
    assert.deepEqual(readdirSync(test.target), ['b']);
  });

  it('F4, G1: with a file of a petabyte of zeros does not fill the memory', async () => {
    const size = 2 ** 50;
    const root = await test.repository.write(async (writer) => {
      const node = await writer.put('node', encodeContentNode(0, [{ length: size }]));
      const payload = new ByteWriter();
      const references: BlobId[] = [];
      writeEntry(payload, references, ROOT, ROOT, encodeEntry(directory('')));
      writeEntry(payload, references, ROOT, Buffer.from('a'), encodeEntry({ ...file('a', node.id), size, content: { node: node.id } }));
      const top = (await writer.put('node', encodeNode({ type: NODE_TYPE.leaf, references, payload: payload.bytes }))).id;
      return writeVolume(writer, { mode: 'filesystem', top, files: 1, entries: 2, bytes: size });
    });
    const { findings } = await populateVolume(optionsOf(test, root), recorder());
    // ext4 holds 16 TiB in a file; a file system that holds it all loses nothing.
    assert.deepEqual(
      findings.map(({ message }) => message).filter((message) => message !== 'data: a was not restored: EFBIG'),
      [],
    );
  });

  it('G1: gets no device node unless that is allowed', async () => {
    const names = ['mem', 'second name'];
    const devices = names.map((name): Entry => {
      return { ...attributes, type: 'character-device', path: Buffer.from(name), device: { major: 1, minor: 1 }, linkGroup: 1n };
    });
    const root = await hostile(test.repository, () => [directory(''), ...devices]);
    const { findings } = await populateVolume(optionsOf(test, root), recorder());
    assert.deepEqual(
      findings.map(({ code, message }) => [code, message]),
      names.map((name) => [
        'entry-not-restored',
        `data: ${name} was not restored: it is a device node, and these are made only where it is allowed`,
      ]),
    );
    assert.deepEqual(readdirSync(test.target), []);
  });

  it('G1: gets its symlinks, and nothing is done through them', async () => {
    const root = await hostile(test.repository, (chunk) => [
      directory(''),
      symlink('a', '../outside/canary'),
      { ...symlink('b', '../outside'), linkGroup: 1n, xattrs: [{ name: Buffer.from('trusted.x'), value: Buffer.from('y') }] },
      { ...symlink('c', '../outside'), linkGroup: 1n },
      file('d', chunk),
    ]);
    const before = statSync(join(outside, 'canary')).mtimeMs;
    await populateVolume(optionsOf(test, root), recorder());
    assert.equal(statSync(join(outside, 'canary')).mtimeMs, before);
    assert.equal(statSync(join(outside, 'canary')).mode & 0o7000, 0);
  });
});

describe('a volume that is rewritten in place', () => {
  let test: Setup;
  let root: BlobId;
  const same = async (): Promise<void> => {
    const again = await captureVolume(
      { name: 'data', path: test.target, mode: 'filesystem', repository: test.repository, now: settled },
      recorder(),
    );
    assert.deepEqual(readdirSync(test.target).sort(), readdirSync(test.source).sort());
    for (const name of ['big', 'dir/sub/small', 'dir/medium', 'empty', 'z-last'])
      assert.ok(readFileSync(join(test.target, name)).equals(readFileSync(join(test.source, name))), name);
    assert.equal(again.files, 5);
    assert.ok(again.addedBytes < 4096, 'its content is another'); // inodes differ
  };
  beforeEach(async () => {
    test = await setup();
    writeFileSync(join(test.source, 'big'), randomBytes(8 << 20));
    root = await captured(test);
    await populateVolume(optionsOf(test, root), recorder());
  });
  afterEach(() => {
    test.dir.rm();
  });

  it('costs nothing when nothing differs', async () => {
    const inode = statSync(join(test.target, 'dir/medium')).ino;
    const result = await populateVolume(optionsOf(test, root, { isInPlace: true }), recorder());
    assert.deepEqual([result.findings, result.writtenBytes], [[], 0]);
    assert.equal(statSync(join(test.target, 'dir/medium')).ino, inode);
    await same();
  });

  it('is what the backup has, whatever became of it, and only what differs is written', async () => {
    const at = (name: string) => join(test.target, name);
    const outside = join(test.dir.path, 'outside');
    mkdirSync(outside);
    writeFileSync(join(outside, 'mine'), 'precious');
    const medium = readFileSync(at('dir/medium'));
    writeFileSync(at('dir/medium'), Buffer.concat([medium.subarray(0, 2_999_000), Buffer.alloc(5000, 'longer and other')]));
    const big = readFileSync(at('big'));
    big[5_000_000]! ^= 1;
    writeFileSync(at('big'), big);
    writeFileSync(at('z-last'), 'cut short');
    writeFileSync(at('empty'), 'not any more');
    writeFileSync(at('new'), 'new');
    mkdirSync(at('more/and/more'), { recursive: true });
    writeFileSync(at('more/and/more/file'), 'x');
    chmodSync(at('more/and'), 0);
    rmSync(at('dir/link'));
    symlinkSync(outside, at('dir/link'));
    rmSync(at('dir/sub'), { recursive: true });
    symlinkSync(outside, at('dir/sub')); // a directory of the backup is a way out now
    linkSync(at('new'), at('dir/second'));
    const result = await populateVolume(optionsOf(test, root, { isInPlace: true }), recorder());
    assert.deepEqual(result.findings, []);
    await same();
    assert.deepEqual(readdirSync(outside), ['mine']);
    // Of the large file no more than the one chunk of 4 MiB at most.
    assert.ok(result.writtenBytes <= 4_500_005 + (4 << 20) && result.writtenBytes > 4_500_005, `${String(result.writtenBytes)} bytes`);
  });

  it('does not write to a file through another of its names', async () => {
    linkSync(join(test.target, 'z-last'), join(test.dir.path, 'elsewhere'));
    writeFileSync(join(test.target, 'z-last'), 'other');
    await populateVolume(optionsOf(test, root, { isInPlace: true }), recorder());
    assert.equal(readFileSync(join(test.dir.path, 'elsewhere'), 'utf8'), 'other');
    await same();
  });

  it('is taken up again after an interruption', async () => {
    rmSync(join(test.target, 'z-last'));
    const operation = newOperationId();
    const stopped = new AbortController();
    stopped.abort(new DmaasError('CANCELLED', 'stopped'));
    const interrupted = { ...recorder(), signal: stopped.signal };
    await assert.rejects(populateVolume(optionsOf(test, root, { isInPlace: true, operation }), interrupted));
    const result = await populateVolume(optionsOf(test, root, { isInPlace: true, operation }), recorder());
    assert.deepEqual(result.findings, []);
    await same();
  });

  /** Other bytes in a file of the same size, mode and time, as bits rot. */
  function rot(name: string, offset: number): void {
    const [at, from] = [join(test.target, name), join(test.source, name)];
    const content = readFileSync(at);
    content[offset]! ^= 1;
    writeFileSync(at, content);
    execFileSync('touch', ['-r', from, at]);
  }
  const notRestored = (name: string) => `data: ${name} was not restored: the pack p is damaged; what is there may have other content`;

  it('is told to have other content where the repository lost what differs, though nothing else differs', async () => {
    const block = 128 << 10;
    const at = (name: string) => join(test.source, name);
    writeFileSync(at('linked'), 'linked');
    linkSync(at('linked'), at('linked too'));
    writeFileSync(at('sparse'), 'sparse');
    truncateSync(at('sparse'), 1 << 20);
    writeFileSync(at('several.db'), randomBytes(16 * block));
    writeFileSync(at('other mode'), 'other mode');
    const { repository, source } = test;
    const again = await captureVolume({ name: 'data', path: source, mode: 'filesystem', repository, now: settled }, recorder());
    const options = optionsOf(test, again.root, { isInPlace: true });
    assert.deepEqual((await populateVolume(options, recorder())).findings, []);
    for (const name of ['dir/sub/small', 'linked', 'sparse', 'several.db', 'other mode']) rot(name, 1);
    rot('several.db', 9 * block);
    chmodSync(join(test.target, 'other mode'), 0o400);
    const before = readFileSync(join(test.target, 'several.db'));
    // All that is asked for but one block of the file that needs two: what does not differ is not asked for.
    const kept = repository.dataId(readFileSync(at('several.db')).subarray(0, block));
    const { findings } = await populateVolume({ ...options, repository: losing(repository, ({ id }) => id !== kept) }, recorder());
    assert.ok(findings.every(({ code }) => code === 'entry-not-restored'));
    assert.deepEqual(findings.map(({ message }) => message).sort(), [
      notRestored('dir/sub/small'),
      // A file with several names is made anew.
      'data: linked too was not restored: the pack p is damaged',
      'data: linked was not restored: the pack p is damaged',
      notRestored('other mode'),
      notRestored('several.db'),
      notRestored('sparse'),
    ]);
    assert.ok(readFileSync(join(test.target, 'several.db')).equals(before));
  });

  it('that somebody has written to meanwhile is told to have other content, and not only other attributes', async () => {
    linkSync(join(test.source, 'z-last'), join(test.source, 'z-link'));
    const { repository, source, target } = test;
    const again = await captureVolume({ name: 'data', path: source, mode: 'filesystem', repository, now: settled }, recorder());
    await populateVolume(optionsOf(test, again.root, { isInPlace: true }), recorder());
    truncateSync(join(target, 'z-last'), 5);
    rmSync(join(target, 'dir/link'));
    symlinkSync('elsewhere', join(target, 'dir/link'));
    rmSync(join(target, 'empty'));
    mkdirSync(join(target, 'empty'));
    const { top } = await readVolume(repository, again.root, {});
    const findings = new VolumeFindings(recorder().emit, 'data');
    const tree = new TreeReader(repository, top, {});
    const native = loadPosix();
    const missing = await compareTree({ path: target, tree, native, findings, problems: new Problems(), skip: [], signal: undefined });
    assert.deepEqual(
      findings.all().flatMap(({ code, message }) => (code === 'entry-not-restored' ? [message] : [])),
      [
        'data: dir/link points to something else',
        'data: empty is a directory instead of a file',
        'data: z-last has the size 5 instead of 1500000',
        'data: z-link has the size 5 instead of 1500000',
      ],
    );
    // Of a file with two names the bytes are missing once.
    assert.deepEqual(missing, { entries: 4, declined: 0, files: 3, bytes: 1_500_000, names: ['dir/link', 'empty', 'z-last', 'z-link'] });
  });

  it('is told to have other content where more is lost than can be remembered', async () => {
    rot('z-last', 1);
    const { repository } = test;
    const problems = new Problems();
    for (let i = 0; i < 100_000; i++) problems.add(Buffer.from(`f${String(i)}`), { reason: 'EIO', isOfContent: true });
    problems.add(Buffer.from('z-last'), { reason: 'EIO', isOfContent: true });
    const { top } = await readVolume(repository, root, {});
    const run = recorder();
    const findings = new VolumeFindings(run.emit, 'data');
    const tree = new TreeReader(repository, top, {});
    await compareTree({ path: test.target, tree, native: loadPosix(), findings, problems, skip: [], signal: undefined });
    assert.deepEqual(
      findings.all().map(({ code, message }) => [code, message]),
      [['entry-not-restored', 'data: more files were not restored than are named: they may have other content']],
    );
  });
});

describe('a file whose content is lost while it is being planned', () => {
  it('is not made after all when the rest of it is a hole', async () => {
    const test = await setup();
    try {
      const batch = Array.from({ length: 3 }, () => 16 << 20); // as many bytes as are fetched together
      const size = 49 << 20;
      const root = await hostile(test.repository, (id) => {
        const items = [...batch.map((length) => ({ length, id })), { length: 1 << 20 }];
        return [directory(''), { ...attributes, type: 'file', path: Buffer.from('a'), size, content: { items } }];
      });
      const repository = fetching(test.repository, (ids, _open, _deliver, opts) => {
        for (const i of ids.keys()) opts?.onUnreadable?.(i, DAMAGED);
        return Promise.resolve();
      });
      const { findings } = await populateVolume({ ...optionsOf(test, root), repository }, recorder());
      assert.deepEqual(
        findings.map(({ code, message }) => [code, message]),
        [['entry-not-restored', 'data: a was not restored: the pack p is damaged']],
      );
      assert.deepEqual(readdirSync(test.target), []);
    } finally {
      test.dir.rm();
    }
  });
});
