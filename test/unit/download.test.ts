import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import type { FileInfo } from '../../core/src/browse/open-backup.ts';
import { DmaasError } from '../../core/src/errors.ts';
import { Download, makeDirectory } from '../../kubectl-plugin/src/download.ts';
import { reportError } from '../../kubectl-plugin/src/report-error.ts';
import { run } from '../../kubectl-plugin/src/run.ts';
import type { Streams } from '../../kubectl-plugin/src/session.ts';
import { callPlugin } from '../support/plugin-call.ts';
import { scratch } from '../support/volume.ts';

const entry = (path: string, type: FileInfo['type'] = 'file'): FileInfo => ({
  path,
  name: path.split('/').at(-1)!,
  type,
  sizeBytes: 4,
  mtimeMs: 0,
});

/** The directory `d` with the files `a` and `b`; what reading `b` does is said by the test. */
function backup(readB: () => AsyncGenerator<Uint8Array>) {
  return {
    async *list() {
      yield* await Promise.resolve([entry('d/a'), entry('d/b')]);
    },
    async *read(_claim: string, path: string) {
      if (path === 'd/b') yield* readB();
      else yield await Promise.resolve(Buffer.from('data'));
    },
  };
}

describe('a download', () => {
  const dir = scratch();
  const at = (name: string) => join(dir.path, name);

  it('leaves no file that is cut off, whatever ends it', async () => {
    const controller = new AbortController();
    const stopped = backup(async function* () {
      yield await Promise.resolve(Buffer.from('da'));
      controller.abort();
      yield Buffer.from('ta');
    });
    await assert.rejects(new Download(stopped, 'c', controller.signal).write(entry('d', 'directory'), at('stopped')), {
      name: 'AbortError',
    });
    assert.deepEqual(readdirSync(at('stopped')), ['a']);

    const away = new DmaasError('STORE_UNAVAILABLE', 'away');
    const failing = backup(async function* () {
      yield await Promise.resolve(Buffer.from('da'));
      throw away;
    });
    const { signal } = new AbortController();
    await assert.rejects(new Download(failing, 'c', signal).write(entry('d', 'directory'), at('failed')), (e) => e === away);
    assert.deepEqual(readdirSync(at('failed')), ['a']);
  });

  it('touches nothing that is there', async () => {
    writeFileSync(at('there'), 'mine');
    const download = new Download(
      backup(async function* () {
        yield await Promise.resolve(Buffer.from('theirs'));
      }),
      'c',
      new AbortController().signal,
    );
    await assert.rejects(download.write(entry('d/b'), at('there')), { code: 'USAGE', message: `${at('there')} exists` });
    assert.equal(readFileSync(at('there'), 'utf8'), 'mine');
  });

  it('says why it cannot write where it shall', async () => {
    writeFileSync(at('file'), '');
    await assert.rejects(makeDirectory(at('file')), { code: 'USAGE', message: `${at('file')} exists`, hint: /empty directory/ });
    await assert.rejects(makeDirectory(at('file/below')), { code: 'USAGE', message: `${at('file/below')} cannot be written (ENOTDIR)` });
    await makeDirectory(at('new/deep'));
    await makeDirectory(at('new/deep'));
    assert.ok(existsSync(at('new/deep')));
  });
});

describe('Ctrl-C', () => {
  const dir = scratch();
  const at = (name: string) => join(dir.path, name);

  it('is no defect while nobody takes what is written', async () => {
    writeFileSync(at('image'), Buffer.alloc(1 << 20, 'x'));
    const where = ['--repository', `file://${at('repository')}`, '--key-file', at('key')];
    for (const args of [
      ['repository', 'init'],
      ['volume', 'backup', at('image')],
    ]) {
      const { code, stderr } = await callPlugin([...args, ...where]);
      assert.equal(code, 0, stderr);
    }
    const controller = new AbortController();
    const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
    const ended = run(['volume', 'cat', 'latest', ...where], { stdin, stdout, stderr, env: {} } as unknown as Streams, controller.signal);
    while (!stdout.writableNeedDrain) await new Promise((resolve) => setTimeout(resolve, 5));
    controller.abort();
    assert.equal(await ended, 130);
    assert.equal(String(stderr.read()), 'stopped\n');
  });

  it('is no defect wherever Node notices it, and other errors still are', () => {
    const said = (error: unknown) => {
      const stderr = new PassThrough();
      const code = reportError(error, { stderr } as unknown as Streams, { verbosity: 0 });
      return [code, String(stderr.read())];
    };
    const controller = new AbortController();
    controller.abort();
    assert.deepEqual(said(controller.signal.reason), [130, 'stopped\n']);
    assert.match(String(said(new TypeError('x is not a function'))), /^1,error: unexpected: x is not a function\nhint: this is a defect/);
  });
});
