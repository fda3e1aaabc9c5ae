import assert from 'node:assert/strict';
import type { BlobId } from '../../core/src/repository/blob.ts';
import { LiveSet } from '../../core/src/repository/live-set.ts';
import { encodeNode, NODE_TYPE } from '../../core/src/repository/node.ts';
import { planPrune } from '../../core/src/repository/prune-plan.ts';
import { createRepository } from '../../core/src/repository/repository.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import { chooser } from '../support/interleaving.ts';
import { newBackup, QUIET, seededRandom, SMALL, UNLOCK } from '../support/repository.ts';

describe('the set of what is needed', () => {
  it('is a map from ids to numbers, however it grows', () => {
    const random = seededRandom(5);
    const set = new LiveSet();
    const model = new Map<string, number>();
    // Ids that share their first 64 bits with another are told apart.
    const ids = Array.from({ length: 5000 }, (_, i) => {
      const id = Buffer.from(random(24));
      return i % 3 === 0 ? [id, Buffer.concat([id.subarray(0, 8), Buffer.from(random(16))])] : [id];
    }).flat();
    for (const [n, id] of ids.entries()) {
      assert.equal(set.get(id, 0), undefined);
      set.set(id, 0, n);
      model.set(id.toString('hex'), n);
      if (n % 7 === 0) {
        set.set(id, 0, n + 1);
        model.set(id.toString('hex'), n + 1);
      }
    }
    assert.equal(set.size, model.size);
    for (const id of ids) assert.equal(set.get(id, 0), model.get(id.toString('hex')));
    set.setAll(0);
    for (const id of ids) assert.equal(set.get(id, 0), 0);
    assert.equal(set.get(Buffer.alloc(24), 0), undefined);
  });
});

describe('what each backup keeps', () => {
  for (const seed of [1, 2, 3]) {
    it(`is what no newer one needs, whichever way each is reached (${seed})`, async () => {
      const choose = chooser(seed);
      const random = seededRandom(seed);
      const repository = await createRepository(new MemoryStore(), UNLOCK, { parameters: SMALL });
      const sizes = new Map<BlobId, number>();
      const below = new Map<BlobId, readonly BlobId[]>();
      const backups: { readonly id: string; readonly roots: readonly BlobId[] }[] = [];
      await repository.write(async (writer) => {
        const put = async (kind: 'data' | 'node', bytes: Buffer, references: readonly BlobId[]) => {
          const { id } = await writer.put(kind, bytes);
          sizes.set(id, bytes.length);
          below.set(id, references);
          return id;
        };
        const node = (references: readonly BlobId[]) =>
          put('node', encodeNode({ type: NODE_TYPE.index, references, payload: Buffer.from(random(8)) }), references);
        const pool: BlobId[] = [];
        for (let i = 0; i < 100; i++) pool.push(await put('data', Buffer.from(random(50 + i)), []));
        // Nodes refer to whatever was there before, so the same is near one root and far from another.
        for (let i = 0; i < 300; i++)
          pool.push(await node(Array.from({ length: 3 }, () => pool[Math.max(0, pool.length - 1 - choose(60))]!)));
        for (let n = 1; n <= 60; n++) {
          const [manifests, volume] = [await node([]), pool[100 + choose(300)]!];
          backups.push({ id: String(n), roots: [manifests, volume] });
        }
      });
      for (const [i, { roots }] of backups.entries()) {
        await repository.commit(newBackup(i, { manifests: roots[0]!, volume: roots[1]! }));
      }
      const { keeps } = await repository.prune({ dryRun: true }, QUIET);
      const seen = new Set<BlobId>();
      const expected = backups.toReversed().map(({ roots }) => {
        let bytes = 0;
        const stack = [...roots];
        for (let id = stack.pop(); id !== undefined; id = stack.pop()) {
          if (seen.has(id)) continue;
          seen.add(id);
          bytes += sizes.get(id)!;
          stack.push(...below.get(id)!);
        }
        return bytes;
      });
      assert.deepEqual(
        keeps.map(({ bytes }) => bytes),
        expected,
      );
    });
  }
});

describe('what is worth rewriting', () => {
  it('is a tenth of the repository at most, and as many blobs as memory has room for', () => {
    const pack = (n: number, deadBytes: number, liveBlobs: number) => ({
      id: String(n),
      size: 1000,
      kind: 'data' as const,
      use: { liveBytes: 1000 - deadBytes, deadBytes, liveBlobs },
      isSettled: true,
    });
    const rewritten = (liveBlobs: number) => {
      const packs = Array.from({ length: 100 }, (_, i) => pack(i, i < 30 ? 300 + i : 0, liveBlobs));
      return planPrune({ packs, condemned: new Map(), ripe: 0, packBytes: { data: 1000, node: 1000 } }).condemn.map(({ pack: id }) => id);
    };
    assert.deepEqual(rewritten(10), ['29', '28', '27', '26', '25', '24', '23', '22', '21', '20'], 'those with most dead');
    assert.deepEqual(rewritten(100_000), ['29', '28', '27', '26']);
    assert.deepEqual(rewritten(1_000_000), ['29'], 'one always goes, or nothing ever would');
  });
});
