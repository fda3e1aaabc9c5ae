import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, ftruncateSync, mkdirSync, openSync, readFileSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { captureVolume } from '../../core/src/mover/capture.ts';
import { populateVolume } from '../../core/src/mover/populate.ts';
import { DmaasError } from '../../core/src/errors.ts';
import { newOperationId } from '../../core/src/operation.ts';
import type { Repository } from '../../core/src/repository/repository.ts';
import { memoryRepository, recorder, scratch } from '../support/volume.ts';

const MiB = 1 << 20;

describe('a block volume', () => {
  let dir: ReturnType<typeof scratch>;
  let repository: Repository;
  const devices: string[] = [];
  beforeEach(async () => {
    dir = scratch();
    repository = await memoryRepository();
  });
  afterEach(() => {
    for (const device of devices.splice(0)) execFileSync('losetup', ['--detach', device]);
    dir.rm();
  });

  /** A loop device of so many bytes, with these at their offsets. */
  function device(
    name: string,
    bytes: number,
    content: Readonly<Record<number, Buffer>> = {},
  ): { readonly path: string; readonly image: string } {
    const image = join(dir.path, name);
    const fd = openSync(image, 'w');
    ftruncateSync(fd, bytes);
    for (const [offset, data] of Object.entries(content)) writeSync(fd, data, 0, data.length, Number(offset));
    closeSync(fd);
    const path = execFileSync('losetup', ['--find', '--show', image], { encoding: 'utf8' }).trim();
    devices.push(path);
    return { path, image };
  }

  const CONTENT = {
    0: Buffer.alloc(5000, 'superblock '),
    [3 * MiB - 10]: Buffer.alloc(300_000, 'data '),
    [17 * MiB - 512]: Buffer.alloc(512, 'the end '),
  };
  const SIZE = 17 * MiB;
  const volume = { name: 'data', mode: 'block' } as const;

  it('is rewritten in place, and only where it differs', async () => {
    const source = device('source', SIZE, CONTENT);
    const { root } = await captureVolume({ ...volume, path: source.path, repository }, recorder());
    const other = { ...CONTENT, 0: Buffer.alloc(5000, 'other '), [8 * MiB]: Buffer.alloc(2 * MiB, 'new ') };
    const target = device('target', SIZE, other);
    const options = { ...volume, path: target.path, repository, root, operation: newOperationId(), isInPlace: true };
    const { writtenBytes } = await populateVolume(options, recorder());
    assert.ok(readFileSync(target.path).equals(readFileSync(source.path)));
    assert.equal(writtenBytes, 128 << 10);
  });

  it('is not said to be restored in place when what differs cannot be read', async () => {
    const source = device('source', SIZE, CONTENT);
    const { root } = await captureVolume({ ...volume, path: source.path, repository }, recorder());
    const target = device('target', SIZE, { ...CONTENT, 0: Buffer.alloc(5000, 'other ') });
    const fetchMany: Repository['fetchMany'] = (ids, _open, _deliver, opts) => {
      for (const i of ids.keys()) opts?.onUnreadable?.(i, new DmaasError('REPOSITORY_CORRUPT', 'the pack p is damaged'));
      return Promise.resolve();
    };
    const missing = new Proxy(repository, {
      get: (of, name): unknown => {
        const value: unknown = name === 'fetchMany' ? fetchMany : Reflect.get(of, name, of);
        return typeof value === 'function' ? (value as (...args: unknown[]) => unknown).bind(of) : value;
      },
    });
    const options = { ...volume, path: target.path, repository: missing, root, operation: newOperationId(), isInPlace: true };
    await assert.rejects(
      populateVolume(options, recorder()),
      (error) => DmaasError.is(error, 'REPOSITORY_CORRUPT') && error.message === 'the pack p is damaged',
    );
  });

  it('is the same on another device, byte for byte, and zeros cost nothing', async () => {
    const source = device('source', SIZE, CONTENT);
    // What is there from before must not show through where the backup has zeros.
    const target = device('target', SIZE + MiB, { [8 * MiB]: Buffer.alloc(2 * MiB, 'left behind ') });
    const { root, bytes, addedBytes, findings } = await captureVolume({ ...volume, path: source.path, repository }, recorder());
    assert.deepEqual(findings, []);
    assert.equal(bytes, SIZE);
    assert.ok(addedBytes < 7 * (128 << 10), `${addedBytes} bytes`);
    const operation = newOperationId();
    const run = recorder();
    const result = await populateVolume({ ...volume, path: target.path, repository, root, operation }, run);
    assert.deepEqual(result.findings, []);
    assert.deepEqual(run.events.at(-1), { type: 'bytes', volume: 'data', done: SIZE, total: SIZE, added: 0 });
    const [read, expected] = [target, source].map(({ path }) => readFileSync(path).subarray(0, SIZE));
    assert.ok(read!.equals(expected!));
    // Again, as after an interruption: what is there is what must be there.
    await populateVolume({ ...volume, path: target.path, repository, root, operation }, recorder());
    assert.ok(readFileSync(target.path).subarray(0, SIZE).equals(expected!));
  });

  it('stores only what changed the second time', async () => {
    const source = device('source', SIZE, CONTENT);
    await captureVolume({ ...volume, path: source.path, repository }, recorder());
    const fd = openSync(source.path, 'r+');
    writeSync(fd, Buffer.alloc(512, 'new'), 0, 512, 3 * MiB);
    closeSync(fd);
    const { addedBytes } = await captureVolume({ ...volume, path: source.path, repository }, recorder());
    assert.ok(addedBytes < 2 * (128 << 10), `${addedBytes} bytes`);
  });

  it('can be an image in a file, and a device made of it', async () => {
    const image = join(dir.path, 'image');
    writeFileSync(image, Buffer.concat([Buffer.alloc(200_000, 'x'), Buffer.alloc(MiB)]));
    const { root, bytes } = await captureVolume({ ...volume, path: image, repository }, recorder());
    assert.equal(bytes, 200_000 + MiB);
    const copy = join(dir.path, 'copy');
    writeFileSync(copy, '');
    await populateVolume({ ...volume, path: copy, repository, root, operation: newOperationId() }, recorder());
    assert.ok(readFileSync(copy).equals(readFileSync(image)));
    assert.ok(statSync(copy).blocks * 512 < 300_000);
  });

  it('B11: is gone on with when there is room again where its image is', async () => {
    const image = join(dir.path, 'image');
    const content = randomBytes(3 * MiB);
    writeFileSync(image, content);
    const { root } = await captureVolume({ ...volume, path: image, repository }, recorder());
    const small = join(dir.path, 'small');
    mkdirSync(small);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'dmaas-test', small]);
    try {
      const copy = join(small, 'copy');
      writeFileSync(copy, '');
      const options = { ...volume, path: copy, repository, root, operation: newOperationId() };
      await assert.rejects(populateVolume(options, recorder()), (error) => {
        assert.ok(DmaasError.is(error, 'MOVER_FAILED'), String(error));
        assert.deepEqual(
          [error.message, error.hint],
          ['data: the volume is full (2Mi): the backup has 3Mi', 'make it larger, or make room in it'],
        );
        return true;
      });
      execFileSync('mount', ['-o', 'remount,size=8m', small]);
      await populateVolume(options, recorder());
      assert.ok(readFileSync(copy).equals(content));
    } finally {
      execFileSync('umount', [small]);
    }
  });

  it('is not written to a device that is smaller', async () => {
    const source = device('source', SIZE, CONTENT);
    const target = device('target', SIZE - MiB);
    const { root } = await captureVolume({ ...volume, path: source.path, repository }, recorder());
    const populated = populateVolume({ ...volume, path: target.path, repository, root, operation: newOperationId() }, recorder());
    await assert.rejects(
      populated,
      (error) =>
        DmaasError.is(error, 'PREFLIGHT_FAILED') && error.message === `data: the device has ${SIZE - MiB} bytes, the backup needs ${SIZE}`,
    );
    assert.ok(readFileSync(target.path).equals(Buffer.alloc(SIZE - MiB)));
  });

  it('is not written over what is on a device', async () => {
    const source = device('source', SIZE, CONTENT);
    const foreign = Buffer.alloc(MiB, 'somebody else ');
    const target = device('target', SIZE, { 0: foreign });
    const { root } = await captureVolume({ ...volume, path: source.path, repository }, recorder());
    const populated = populateVolume({ ...volume, path: target.path, repository, root, operation: newOperationId() }, recorder());
    await assert.rejects(
      populated,
      (error) => DmaasError.is(error, 'PREFLIGHT_FAILED') && error.message === 'data: the device is not empty',
    );
    assert.ok(readFileSync(target.path).subarray(0, MiB).equals(foreign));
  });
});
