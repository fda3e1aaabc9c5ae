import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { VolumeBrowser } from '../../core/src/mover/browse.ts';
import { captureVolume } from '../../core/src/mover/capture.ts';
import { parsePath, showPath } from '../../core/src/mover/paths.ts';
import { DmaasError } from '../../core/src/errors.ts';
import { memoryRepository, recorder, scratch } from '../support/volume.ts';

async function text(source: AsyncIterable<Uint8Array>): Promise<string> {
  let all = '';
  for await (const part of source) all += Buffer.from(part).toString('latin1');
  return all;
}

const isUsage = (error: unknown): boolean => DmaasError.is(error, 'USAGE');

describe('a volume in the repository', () => {
  const dir = scratch();
  let browser: VolumeBrowser;
  let device: VolumeBrowser;
  before(async () => {
    const [volume, image] = [join(dir.path, 'volume'), join(dir.path, 'image')];
    mkdirSync(join(volume, 'a/b'), { recursive: true });
    writeFileSync(join(volume, 'a/hello'), 'hello world');
    writeFileSync(join(volume, 'a!'), '');
    symlinkSync('a', join(volume, 'link'));
    writeFileSync(image, 'the device');
    truncateSync(image, 1 << 20);
    const repository = await memoryRepository();
    const open = async (path: string, mode: 'filesystem' | 'block'): Promise<VolumeBrowser> =>
      VolumeBrowser.open(repository, (await captureVolume({ name: 'data', path, mode, repository }, recorder())).root);
    browser = await open(volume, 'filesystem');
    device = await open(image, 'block');
  });
  after(() => {
    dir.rm();
  });

  it('is listed directory by directory', async () => {
    const list = async (path: string): Promise<string[]> => {
      const found: string[] = [];
      for await (const entry of browser.list(parsePath(path))) found.push(`${entry.type} ${showPath(entry.path)}`);
      return found;
    };
    assert.deepEqual(await list('/'), ['directory a', 'file a!', 'symlink link']);
    assert.deepEqual(await list('a'), ['directory a/b', 'file a/hello']);
    assert.deepEqual(await list('a/b'), []);
    await assert.rejects(list('a/hello'), isUsage);
    await assert.rejects(list('nothing'), isUsage);
  });

  it('tells of one path', async () => {
    assert.equal((await browser.stat(parsePath('a/hello')))?.size, 11);
    assert.equal((await browser.stat(parsePath('link')))?.target?.toString(), 'a');
    assert.equal(await browser.stat(parsePath('link/hello')), undefined);
  });

  it('gives files, and parts of them', async () => {
    assert.equal(await text(browser.readFile(parsePath('a/hello'))), 'hello world');
    assert.equal(await text(browser.readFile(parsePath('a/hello'), { offset: 6, length: 100 })), 'world');
    assert.equal(await text(browser.readFile(parsePath('a/hello'), { offset: 20, length: 1 })), '');
    assert.equal(await text(browser.readFile(parsePath('a!'))), '');
    await assert.rejects(text(browser.readFile(parsePath('a'))), isUsage);
  });

  it('gives the bytes of a device', async () => {
    assert.equal(await text(device.readFile(parsePath('/'), { offset: 4, length: 8 })), 'device\0\0');
    assert.equal((await text(device.readFile(parsePath('/')))).length, 1 << 20);
    await assert.rejects(device.stat(parsePath('a')), isUsage);
    await assert.rejects(text(device.readFile(parsePath('a'))), isUsage);
  });
});
