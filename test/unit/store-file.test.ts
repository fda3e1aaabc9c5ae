import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DmaasError } from '../../core/src/errors.ts';
import { FileStore } from '../../core/src/store/file.ts';

const bytes = (text: string) => new TextEncoder().encode(text);

async function keysOf(store: FileStore, prefix = ''): Promise<string[]> {
  const keys: string[] = [];
  for await (const object of store.list(prefix)) keys.push(object.key);
  return keys;
}

describe('FileStore', () => {
  let root: string;
  let store: FileStore;

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'dmaas-file-'));
    store = new FileStore(root);
  });

  afterEach(() => rm(root, { recursive: true, force: true }));

  it('lets no key leave the directory', async () => {
    for (const key of [
      '../x',
      'a/../../x',
      '/x',
      'a//b',
      '.',
      '..',
      'a/.',
      '.staging/x',
      'a\\..\\x',
      'a\0b',
      '',
      'a/',
      'x'.repeat(201),
      'ü',
      'a b',
    ]) {
      for (const call of [store.put(key, bytes('x')), store.get(key), store.stat(key), store.delete(key)]) {
        await assert.rejects(call, (e) => DmaasError.is(e, 'INTERNAL'), key);
      }
    }
    assert.deepEqual(await readdir(root), []);
  });

  it('keeps large objects byte for byte, wherever they lie in memory and however they end', async () => {
    const noise = randomBytes((2 << 20) + 8192);
    const aligned = new Uint8Array(new SharedArrayBuffer(noise.length, { maxByteLength: noise.length }));
    aligned.set(noise);
    for (const length of [1 << 20, (1 << 20) + 1, (2 << 20) + 4096, (2 << 20) + 4097]) {
      for (const [how, memory] of Object.entries({ aligned, unaligned: noise.subarray(1) })) {
        const body = new Uint8Array(memory.buffer, memory.byteOffset, length);
        await store.put(`a/${how}`, body);
        assert.ok(Buffer.from(body).equals((await store.get(`a/${how}`)) ?? Buffer.alloc(0)), `${how}, ${length} bytes`);
      }
    }
  });

  it('leaves nothing but the objects', async () => {
    await store.put('a/b/c', bytes('1'), { ifAbsent: true });
    await assert.rejects(store.put('a/b/c', bytes('2'), { ifAbsent: true }), (e) => DmaasError.is(e, 'STORE_EXISTS'));
    await store.put('a/b/c', bytes('3'));
    await assert.rejects(store.put('a/b/d', bytes('4'), { signal: AbortSignal.abort() }), (e) => DmaasError.is(e, 'CANCELLED'));
    assert.deepEqual((await readdir(root, { recursive: true })).sort(), ['.staging', 'a', 'a/b', 'a/b/c']);
    await store.delete('a/b/c');
    assert.deepEqual(await readdir(root, { recursive: true }), ['.staging']);
  });

  it('survives puts and deletes that fight over one folder', async () => {
    for (let round = 0; round < 20; round++) {
      const put = Array.from({ length: 8 }, (_, i) => store.put(`a/b/${i}`, bytes('x')).then(() => store.delete(`a/b/${i}`)));
      await Promise.all([...put, store.put(`a/b/keep`, bytes('y')), keysOf(store)]);
      assert.deepEqual(await keysOf(store), ['a/b/keep']);
      await store.delete('a/b/keep');
    }
  });

  it('says that the directory is missing instead of finding it empty', async () => {
    await rm(root, { recursive: true });
    const missing = (e: unknown) =>
      DmaasError.is(e, 'STORE_NOT_FOUND') && e.message === `the directory ${root} does not exist` && e.hint === `mkdir -p ${root}`;
    for (const call of [store.put('a/b', bytes('x')), store.get('a/b'), store.stat('a'), store.delete('a/b'), keysOf(store)]) {
      await assert.rejects(call, missing);
    }
    await assert.rejects(stat(root));
  });

  it('says that a file stands where the directory should be', async () => {
    await writeFile(join(root, 'file'), '');
    const onFile = new FileStore(join(root, 'file'));
    await assert.rejects(onFile.get('a'), (e) => DmaasError.is(e, 'STORE_NOT_FOUND'));
    await assert.rejects(onFile.put('a', bytes('x')), (e) => DmaasError.is(e, 'STORE_NOT_FOUND'));
  });

  it('does not list what is no object', async () => {
    await store.put('a/b', bytes('x'));
    await mkdir(join(root, 'empty'));
    await writeFile(join(root, 'a', '.hidden'), '');
    await writeFile(join(root, 'a', 'with space'), '');
    await symlink('/etc', join(root, 'link'));
    assert.deepEqual(await keysOf(store), ['a/b']);
    assert.equal(await store.get('empty'), undefined);
    assert.equal(await store.stat('a'), undefined);
    assert.equal(await store.get('a/b/c'), undefined);
  });

  it('removes what a killed process left, once it is a day old', async () => {
    await mkdir(join(root, '.staging'));
    for (const [name, ageHours] of [
      ['old', 25],
      ['young', 23],
    ] as const) {
      const path = join(root, '.staging', name);
      await writeFile(path, 'half');
      const time = new Date(Date.now() - ageHours * 3_600_000);
      await utimes(path, time, time);
    }
    await store.put('a', bytes('x'));
    assert.deepEqual(await readdir(join(root, '.staging')), ['young']);
  });

  it('reads a range of a large object without reading the rest', async () => {
    const body = new Uint8Array(3_000_000).map((_, i) => i % 251);
    await store.put('large', body);
    const part = await store.get('large', { range: { offset: 1_234_567, length: 100_000 } });
    assert.deepEqual(part, body.subarray(1_234_567, 1_334_567));
    assert.equal(part.buffer.byteLength, 100_000);
  });
});
