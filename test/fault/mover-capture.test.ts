import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  closeSync,
  existsSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { VolumeBrowser } from '../../core/src/mover/browse.ts';
import { captureVolume, type CaptureResult } from '../../core/src/mover/capture.ts';
import { extentsOf } from '../../core/src/mover/content.ts';
import { parsePath, showPath } from '../../core/src/mover/paths.ts';
import type { ToThread } from '../../core/src/mover/thread-messages.ts';
import { DmaasError } from '../../core/src/errors.ts';
import type { BlobId } from '../../core/src/repository/format/blob.ts';
import type { Repository } from '../../core/src/repository/repository.ts';
import { memoryRepository, recorder, scratch, settled, watchClaims } from '../support/volume.ts';

const BIG = 24 << 20;

describe('capturing a volume', () => {
  let dir: ReturnType<typeof scratch>;
  let repository: Repository;
  beforeEach(async () => {
    dir = scratch();
    repository = await memoryRepository();
  });
  afterEach(() => {
    dir.rm();
  });

  const at = (path: string): string => join(dir.path, path);
  /** `onReading` is called once, while the first file larger than 16 MiB is being read. */
  const capture = async (parent?: BlobId, onReading?: () => void, now: () => number = settled): Promise<CaptureResult> => {
    let isFirst = true;
    const watched = watchClaims(repository, () => {
      if (isFirst) onReading?.();
      isFirst = false;
    });
    const options = { name: 'data', path: dir.path, mode: 'filesystem', repository: watched, now } as const;
    return captureVolume(parent === undefined ? options : { ...options, parent }, recorder());
  };
  const read = async (root: BlobId, path: string): Promise<Buffer> => {
    const parts: Uint8Array[] = [];
    const browser = await VolumeBrowser.open(repository, root);
    for await (const part of browser.readFile(parsePath(path))) parts.push(part);
    return Buffer.concat(parts);
  };
  const list = async (root: BlobId, path = ''): Promise<string[]> => {
    const names: string[] = [];
    for await (const entry of (await VolumeBrowser.open(repository, root)).list(parsePath(path))) names.push(showPath(entry.path));
    return names;
  };
  const codes = ({ findings }: CaptureResult): (readonly [string, string])[] => findings.map(({ code, message }) => [code, message]);

  /** Data that differs from place to place, so that a mix would show. */
  const data = (bytes: number, text: string): Buffer => Buffer.from(text.repeat(Math.ceil(bytes / text.length))).subarray(0, bytes);

  describe('while it changes', () => {
    it('F1: reads a file again that grew, and has it as it then was', async () => {
      writeFileSync(at('log'), data(BIG, 'first '));
      const result = await capture(undefined, () => {
        appendFileSync(at('log'), 'and more');
      });
      assert.deepEqual(result.findings, []);
      assert.ok((await read(result.root, 'log')).equals(Buffer.concat([data(BIG, 'first '), Buffer.from('and more')])));
    });

    it('F1: reads a file again that shrank', async () => {
      writeFileSync(at('log'), data(BIG, 'first '));
      const result = await capture(undefined, () => {
        truncateSync(at('log'), 100);
      });
      assert.deepEqual(result.findings, []);
      assert.ok((await read(result.root, 'log')).equals(data(100, 'first ')));
    });

    it('F1: reads a file again that was overwritten in place', async () => {
      writeFileSync(at('log'), data(BIG, 'first '));
      const result = await capture(undefined, () => {
        const fd = openSync(at('log'), 'r+');
        writeSync(fd, 'SECOND', 0);
        closeSync(fd);
      });
      assert.deepEqual(result.findings, []);
      assert.equal((await read(result.root, 'log')).subarray(0, 12).toString(), 'SECONDfirst ');
    });

    it('F1: says of a file that does not stop changing that it is a mix, and reads it again next time', async () => {
      writeFileSync(at('busy'), data(BIG, 'first '));
      let writes = 0;
      const options = { name: 'data', path: dir.path, mode: 'filesystem', now: settled } as const;
      const restless = watchClaims(repository, () => {
        writes++;
        appendFileSync(at('busy'), `write ${String(writes)}`);
      });
      const result = await captureVolume({ ...options, repository: restless }, recorder());
      assert.ok(writes >= 4, `${writes} writes`);
      assert.deepEqual(codes(result), [['file-changed', 'data: busy changed while it was read: the backup may hold a mix of its states']]);
      const entry = await (await VolumeBrowser.open(repository, result.root)).stat(parsePath('busy'));
      assert.equal(entry?.ctimeNs, 0n);
      assert.equal((await read(result.root, 'busy')).length, entry.size);
      const next = await capture(result.root);
      assert.deepEqual(next.findings, []);
      const added = Array.from({ length: writes }, (_, i) => `write ${String(i + 1)}`).join('');
      assert.equal((await read(next.root, 'busy')).subarray(BIG).toString(), added);
    });

    it('F1: tells of files that vanish, and goes on', async () => {
      writeFileSync(at('a'), data(3_000_000, 'x'));
      for (const name of ['b', 'c']) writeFileSync(at(name), name);
      mkdirSync(at('d'));
      writeFileSync(at('d/e'), 'e');
      writeFileSync(at('z'), 'z');
      // The names in the root have been listed by the time the first file is read.
      const result = await capture(undefined, () => {
        for (const path of ['b', 'c', 'd']) if (existsSync(at(path))) rmSync(at(path), { recursive: true });
      });
      const vanished = result.findings.filter(({ code, level }) => code === 'file-vanished' && level === 'info');
      assert.equal(vanished.length, result.findings.length);
      assert.deepEqual(
        (await list(result.root)).filter((name) => name === 'a' || name === 'z'),
        ['a', 'z'],
      );
    });

    it('F1: follows nothing that takes the place of a file or directory', async () => {
      const outside = scratch();
      try {
        writeFileSync(join(outside.path, 'secret'), 'secret');
        mkdirSync(join(outside.path, 'secrets'));
        writeFileSync(join(outside.path, 'secrets/inner'), 'secret');
        // More than are read at the same time, so that the last are looked at after the swap.
        for (let i = 0; i < 30; i++) writeFileSync(at(`a${String(i).padStart(2, '0')}`), data(5_000_000, `x${String(i)}`));
        mkdirSync(at('b'));
        writeFileSync(at('b/inner'), 'ours');
        writeFileSync(at('c'), data(1_200_000, 'y'));
        writeFileSync(at('f'), 'soon a pipe');
        const result = await capture(undefined, () => {
          rmSync(at('b'), { recursive: true });
          symlinkSync(join(outside.path, 'secrets'), at('b'));
          unlinkSync(at('c'));
          symlinkSync(join(outside.path, 'secret'), at('c'));
          unlinkSync(at('f'));
          execFileSync('mkfifo', [at('f')]);
        });
        assert.deepEqual((await list(result.root)).slice(-3), ['b', 'c', 'f']);
        const browser = await VolumeBrowser.open(repository, result.root);
        assert.equal((await browser.stat(parsePath('c')))?.type, 'symlink');
        assert.equal((await browser.stat(parsePath('b/inner'))) === undefined, true);
        assert.equal((await browser.stat(parsePath('f')))?.type, 'fifo');
      } finally {
        outside.rm();
      }
    });
  });

  describe('of which not all can be read', () => {
    const NOBODY = 65_534;
    const asNobody = async <T>(work: () => Promise<T>): Promise<T> => {
      assert.ok(process.getuid?.() === 0, 'this test must run as root');
      process.setegid?.(NOBODY);
      process.seteuid?.(NOBODY);
      try {
        return await work();
      } finally {
        process.seteuid?.(0);
        process.setegid?.(0);
      }
    };

    it('F2: names each file and directory, and stores the rest', async () => {
      chmodSync(dir.path, 0o755);
      writeFileSync(at('open'), 'open');
      writeFileSync(at('closed'), 'closed', { mode: 0o600 });
      linkSync(at('closed'), at('closed too'));
      mkdirSync(at('locked'), { mode: 0o700 });
      writeFileSync(at('locked/inner'), '');
      const result = await asNobody(() => capture());
      assert.deepEqual(codes(result).sort(), [
        ['directory-unreadable', 'data: locked cannot be read (EACCES)'],
        ['file-unreadable', 'data: closed cannot be read (EACCES)'],
        ['file-unreadable', 'data: closed too is a hard link to a file that cannot be read'],
      ]);
      assert.deepEqual(await list(result.root), ['locked', 'open']);
      assert.equal(result.files, 1);
    });

    it('F2: never opens pipes, which would wait for a writer', async () => {
      execFileSync('mkfifo', [at('pipe')]);
      const result = await capture();
      assert.deepEqual(result.findings, []);
      assert.deepEqual(await list(result.root), ['pipe']);
    });

    it('leaves out what is mounted in it, and says so', async () => {
      mkdirSync(at('mounted'));
      execFileSync('mount', ['-t', 'tmpfs', 'dmaas-test', at('mounted')]);
      try {
        const result = await capture();
        assert.deepEqual(codes(result), [['other-file-system', 'data: mounted is on another file system and not in the backup']]);
        assert.deepEqual(await list(result.root), []);
      } finally {
        execFileSync('umount', [at('mounted')]);
      }
    });

    it('leaves out lost+found of the root, and no other', async () => {
      mkdirSync(at('lost+found'));
      mkdirSync(at('dir/lost+found'), { recursive: true });
      const { root } = await capture();
      assert.deepEqual(await list(root), ['dir']);
      assert.deepEqual(await list(root, 'dir'), ['dir/lost+found']);
    });

    it('ends when the device of a block volume cannot be read', async () => {
      const options = { name: 'data', path: at('nothing'), mode: 'block', repository } as const;
      await assert.rejects(
        captureVolume(options, recorder()),
        (error) => DmaasError.is(error, 'MOVER_FAILED') && /ENOENT/.test(error.message),
      );
    });
  });

  it('F4: reaches what lies deeper than a path can say', async () => {
    const script =
      'import os,sys\nos.chdir(sys.argv[1])\nfor i in range(60):\n  os.mkdir("n"*200)\n  os.chdir("n"*200)\nopen("deep","w").write("found")';
    execFileSync('python3', ['-c', script, dir.path]);
    const result = await capture();
    assert.deepEqual(result.findings, []);
    assert.equal((await read(result.root, `${'n'.repeat(200)}/`.repeat(60) + 'deep')).toString(), 'found');
    assert.equal(result.entries, 62);
  });

  it('without native calls says what is lost', async () => {
    writeFileSync(at('a'), 'a');
    const result = await captureVolume({ name: 'data', path: dir.path, mode: 'filesystem', repository, fidelity: 'reduced' }, recorder());
    assert.deepEqual(
      result.findings.map(({ code }) => code),
      ['reduced-fidelity'],
    );
    assert.equal((await read(result.root, 'a')).toString(), 'a');
  });

  it('ends when it is cancelled', async () => {
    writeFileSync(at('a'), data(30_000_000, 'x'));
    const stop = new AbortController();
    const run = recorder(stop.signal);
    const options = { name: 'data', path: dir.path, mode: 'filesystem', repository } as const;
    const emit = (): void => {
      stop.abort();
    };
    await assert.rejects(captureVolume(options, { ...run, emit }), (error) => DmaasError.is(error, 'CANCELLED'));
  });

  describe('for the second time', () => {
    /** Files that threads are told to read meanwhile, by their last name. */
    async function opened<T>(work: () => Promise<T>): Promise<{ names: string[]; result: T }> {
      const names: string[] = [];
      const post = Object.getOwnPropertyDescriptor(Worker.prototype, 'postMessage') as PropertyDescriptor;
      Worker.prototype.postMessage = function (this: Worker, message: ToThread, ...rest: []) {
        if (message.type === 'work' && 'files' in message.task)
          names.push(...message.task.files.map((file) => file.at.split('/').at(-1) ?? ''));
        Reflect.apply(post.value as typeof this.postMessage, this, [message, ...rest]);
      };
      try {
        return { result: await work(), names };
      } finally {
        Object.defineProperty(Worker.prototype, 'postMessage', post);
      }
    }

    beforeEach(() => {
      for (let i = 0; i < 50; i++) {
        mkdirSync(at(`d${String(i % 5)}`), { recursive: true });
        writeFileSync(at(`d${String(i % 5)}/f${String(i)}`), data(10_000 + i, `${String(i)} `));
      }
    });

    it('opens only what changed, and adds only that', async () => {
      const first = await capture();
      appendFileSync(at('d1/f1'), 'more');
      renameSync(at('d2/f2'), at('d3/g'));
      utimesSync(at('d4/f4'), 1, 1);
      lutimesSync(at('d0/f5'), 2, 2);
      const { names, result } = await opened(() => capture(first.root));
      // A rename and a change of times leave the content, but only reading it shows that.
      assert.deepEqual(names.sort(), ['f1', 'f4', 'f5', 'g']);
      assert.equal(result.files, 50);
      assert.equal(result.bytes, first.bytes + 4);
      assert.ok(result.addedBytes < 12_000 + 20_000, `${result.addedBytes} bytes`);
    });

    it('opens nothing when nothing changed', async () => {
      const first = await capture();
      const { names, result } = await opened(() => capture(first.root));
      assert.deepEqual(names, []);
      assert.equal(result.root, first.root);
      assert.equal(result.addedBytes, 0);
    });

    it('reads again what had just been written when it was read', async () => {
      const first = await capture(undefined, undefined, Date.now);
      const { names } = await opened(() => capture(first.root));
      assert.equal(names.length, 50);
    });

    it('reads everything when the backup before cannot be read', async () => {
      const first = await capture();
      const { names, result } = await opened(() => capture('00'.repeat(24) as BlobId));
      assert.equal(names.length, 50);
      assert.equal(result.root, first.root);
      assert.deepEqual(
        result.findings.map(({ code }) => code),
        ['parent-unreadable'],
      );
    });

    it('stores a file that is rewritten in place in blocks, and then only what changed of it', async () => {
      const page = (i: number): Buffer => Buffer.alloc(8192, `page ${String(i)} of the file; `);
      writeFileSync(at('table'), Buffer.concat(Array.from({ length: 1000 }, (_, i) => page(i))));
      const touch = (i: number): void => {
        const fd = openSync(at('table'), 'r+');
        writeSync(fd, `changed ${String(i)}`, i * 8192);
        closeSync(fd);
      };
      const first = await capture();
      touch(10);
      const second = await capture(first.root);
      touch(500);
      const third = await capture(second.root);
      const { block } = repository.parameters.chunker;
      assert.ok(third.addedBytes >= block && third.addedBytes < block + 50_000, `${third.addedBytes} bytes`);
      const entry = await (await VolumeBrowser.open(repository, third.root)).stat(parsePath('table'));
      for await (const { offset, length } of extentsOf(repository, entry!.content, entry!.size)) {
        assert.equal(offset % block, 0);
        assert.ok(length === block || offset + length === statSync(at('table')).size);
      }
    });
  });
});
