/** Writes of one process at the same time, of which some fail: what a failed one has only claimed is nobody's. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DmaasError } from '../../core/src/errors.ts';
import { captureVolume, type CaptureResult } from '../../core/src/mover/capture.ts';
import { populateVolume } from '../../core/src/mover/populate.ts';
import { newOperationId } from '../../core/src/operation.ts';
import { BlobPacker, type PackingHost } from '../../core/src/repository/blobs/blob-packer.ts';
import type { BlobId } from '../../core/src/repository/format/blob.ts';
import { RepositoryKeys } from '../../core/src/repository/format/key-set.ts';
import { encodeNode, NODE_TYPE } from '../../core/src/repository/format/node.ts';
import { createRepository, openRepository, type Repository } from '../../core/src/repository/repository.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import { newBackup, putBackup, restoreBackup, seededRandom, SMALL } from '../support/repository.ts';
import { recorder, scratch, settled, UNLOCK, watchClaims } from '../support/volume.ts';

const random = seededRandom(11);
/** So that there are several claims, of not too many chunks. */
const LARGER = { min: 2048, average: 4096, max: 16_384 };

describe('writes of one process at the same time', function () {
  this.timeout(240_000);
  let store: MemoryStore;
  let repository: Repository;
  beforeEach(async () => {
    store = new MemoryStore();
    repository = await createRepository(store, UNLOCK, { parameters: SMALL });
  });

  function packerOf(host: PackingHost): BlobPacker {
    const { keySet, repositoryId } = repository.forThread().keys;
    return new BlobPacker({ keys: new RepositoryKeys(keySet, repositoryId), random, host, packBytes: SMALL.packBytes, maxBlob: 1024 });
  }

  async function takeAll(packer: BlobPacker, chunks: readonly Buffer[]): Promise<BlobId[]> {
    const ids: BlobId[] = [];
    for (const chunk of chunks) {
      (await packer.reserve(chunk.length)).set(chunk);
      packer.fill(chunk.length);
      ids.push(packer.take(chunk.length));
    }
    return ids;
  }

  const chunksOf = (count: number): Buffer[] => Array.from({ length: count }, () => Buffer.from(random(700)));

  for (const when of ['before the other ends', 'after the other has ended'] as const) {
    it(`do not count on what one has claimed that fails ${when}`, async () => {
      const chunks = chunksOf(30);
      const [claimed, ended] = [Promise.withResolvers<undefined>(), Promise.withResolvers<undefined>()];
      const doomed = repository.write(async (writer) => {
        const host = writer.packingHost(1);
        const packer = packerOf({ ...host, store: () => undefined }); // its packs go down with it
        await takeAll(packer, chunks);
        await packer.flush();
        claimed.resolve(undefined);
        if (when === 'after the other has ended') await ended.promise;
        throw new DmaasError('MOVER_FAILED', 'a thread died');
      });
      doomed.catch(() => undefined);
      await claimed.promise;
      const backup = await repository.write(async (writer) => {
        const packer = packerOf(writer.packingHost(1));
        const references = await takeAll(packer, chunks);
        await packer.flush();
        if (when === 'before the other ends') await assert.rejects(doomed);
        const leaf = await writer.put('node', encodeNode({ type: NODE_TYPE.leaf, references, payload: Buffer.from('leaf') }));
        const { id } = await writer.put('node', encodeNode({ type: NODE_TYPE.volume, references: [leaf.id], payload: Buffer.from('{}') }));
        return repository.write(async (w) => newBackup(1, { manifests: (await putBackup(w, [])).manifests, volume: id }));
      });
      const committed = await repository.commit(backup);
      ended.resolve(undefined);
      await assert.rejects(doomed, (error) => DmaasError.is(error, 'MOVER_FAILED'));
      const fresh = await openRepository(store, UNLOCK);
      assert.deepEqual(await restoreBackup(fresh, committed), chunks);
      assert.deepEqual(await fresh.verify('data', recorder()), []);
    });
  }

  it('give back the memory of packs that go down with one', async () => {
    await repository.write(async (writer) => {
      for (let n = 0; n < 20; n++) {
        const doomed = repository.write(async (other) => {
          const host = other.packingHost(1);
          if (n % 2 === 0) await host.packMemory(SMALL.packBytes);
          throw new DmaasError('MOVER_FAILED', 'a thread died');
        });
        await assert.rejects(doomed, (error) => DmaasError.is(error, 'MOVER_FAILED'));
      }
      // One thread, and one pack on its way: a third must wait.
      const host = writer.packingHost(1);
      const given = await Promise.all([1, 2].map(() => host.packMemory(SMALL.packBytes)));
      assert.equal(given.length, 2);
      const third = host.packMemory(SMALL.packBytes).then(() => 'given');
      assert.equal(await Promise.race([third, new Promise((resolve) => setTimeout(resolve, 50, 'waiting'))]), 'waiting');
    });
  });

  it('of which one is cancelled while its threads read the same files leave the other whole', async () => {
    const dir = scratch();
    try {
      mkdirSync(join(dir.path, 'source'));
      for (let i = 0; i < 40; i++) writeFileSync(join(dir.path, `source/file-${String(i)}`), random(500 + i * 4000));
      for (let n = 1, isCancelled = true; isCancelled; n++) {
        store = new MemoryStore();
        repository = await createRepository(store, UNLOCK, { parameters: { ...SMALL, chunker: { ...SMALL.chunker, ...LARGER } } });
        const options = { name: 'data', path: join(dir.path, 'source'), mode: 'filesystem', now: settled } as const;
        const stop = new AbortController();
        let claims = 0;
        const watched = watchClaims(repository, () => {
          if (++claims === n) stop.abort(); // the last of all may come too late
        });
        const doomed = captureVolume({ ...options, repository: watched }, { ...recorder(), signal: stop.signal });
        const survivor: Promise<CaptureResult> = captureVolume({ ...options, repository }, recorder());
        const [first, second] = await Promise.allSettled([doomed, survivor]);
        isCancelled = first.status === 'rejected';
        assert.ok(first.status === 'fulfilled' || DmaasError.is(first.reason, 'CANCELLED'));
        assert.ok(isCancelled || n > 2, `${String(claims)} claims`);
        assert.ok(second.status === 'fulfilled', String((second as PromiseRejectedResult).reason));

        const fresh = await openRepository(store, UNLOCK);
        const target = join(dir.path, 'target');
        mkdirSync(target);
        const restore = { name: 'data', path: target, mode: 'filesystem', root: second.value.root, operation: newOperationId() } as const;
        assert.deepEqual((await populateVolume({ ...restore, repository: fresh }, recorder())).findings, []);
        execFileSync('diff', ['--recursive', join(dir.path, 'source'), target]);
        rmSync(target, { recursive: true });
      }
    } finally {
      dir.rm();
    }
  });
});
