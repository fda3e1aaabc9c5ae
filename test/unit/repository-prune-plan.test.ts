import assert from 'node:assert/strict';
import { planPrune, type PackFacts, type PruneFacts } from '../../core/src/repository/collection/prune-plan.ts';

/** A full data pack of 1000 bytes, of which so many are dead. */
function pack(id: string, deadBytes: number, more: Partial<PackFacts> = {}): PackFacts {
  const use = { liveBytes: 1000 - deadBytes, deadBytes, liveBlobs: 10 };
  return { id, size: 1000, kind: 'data', use, isSettled: true, ...more };
}

/** Packs in which nothing is dead: with them a tenth of the repository is something. */
const sound = (count: number) => Array.from({ length: count }, (_, i) => pack(`sound-${i}`, 0));

function plan(packs: readonly PackFacts[], more: Partial<PruneFacts> = {}) {
  return planPrune({ packs, condemned: new Map(), ripe: 0, packBytes: { data: 1000, node: 1000 }, ...more });
}

function condemned(packs: readonly PackFacts[], more: Partial<PruneFacts> = {}): string[] {
  return plan(packs, more).condemn.map(({ pack: id, reason }) => `${id}: ${reason}`);
}

describe('what a collection condemns', () => {
  it('is what nothing needs, and what no segment names', () => {
    const packs = [pack('a', 1000), pack('b', 0), { ...pack('c', 0), use: undefined, kind: undefined }, pack('d', 100)];
    assert.deepEqual(condemned(packs), ['a: unused', 'c: no segment names it']);
    assert.equal(plan(packs).copyBytes, 0);
    assert.equal(plan(packs).totalBytes, 4000);
  });

  it('is not a pack that is named for no blob at all, as nobody knows what that means', () => {
    assert.deepEqual(condemned([pack('a', 0, { use: { liveBytes: 0, deadBytes: 0, liveBlobs: 0 } })]), []);
  });

  it('is nothing that somebody may be about to rely on', () => {
    const isSettled = false;
    assert.deepEqual(condemned([pack('a', 1000, { isSettled }), pack('b', 500, { isSettled })]), []);
    assert.deepEqual(condemned([{ ...pack('c', 0, { isSettled }), use: undefined }]), []);
  });

  it('is nothing that is condemned already: of that, what is ripe is deleted', () => {
    const packs = [pack('a', 1000), pack('b', 1000), pack('c', 1000), pack('d', 300)];
    const { condemn, delete: deleted, waiting } = plan(packs, { condemned: new Map([['a', 1], ['b', 2], ['c', 3], ['gone', 1]]), ripe: 2 }); // prettier-ignore
    assert.deepEqual(deleted, [{ pack: 'a', bytes: 1000 }, { pack: 'b', bytes: 1000 }]); // prettier-ignore
    assert.deepEqual(waiting, [{ pack: 'c', bytes: 1000 }]);
    assert.deepEqual(
      condemn.map(({ pack: id }) => id),
      ['d'],
    );
  });

  it('are packs of which a fifth is dead, with what is copied of them', () => {
    const packs = [pack('a', 199), pack('b', 200), pack('c', 900), ...sound(40)];
    assert.deepEqual(condemned(packs), ['c: rewritten', 'b: rewritten']);
    assert.equal(plan(packs).copyBytes, 800 + 100);
  });

  it('are small packs when together they make fewer, each kind for itself', () => {
    const small = (count: number, kind: 'data' | 'node') =>
      Array.from({ length: count }, (_, i) =>
        pack(`${kind}-${i}`, 0, { kind, size: 240, use: { liveBytes: 249, deadBytes: 0, liveBlobs: 1 } }),
      );
    assert.deepEqual(condemned([...small(4, 'data'), ...small(4, 'node'), ...sound(40)]), []);
    assert.equal(condemned([...small(5, 'data'), ...small(4, 'node'), ...sound(40)]).length, 5);
    assert.ok(condemned([...small(4, 'data'), ...small(5, 'node'), ...sound(40)]).every((text) => text.startsWith('node-')));
    const larger = small(6, 'data').map((one) => ({ ...one, size: 250 }));
    assert.deepEqual(condemned([...larger, ...sound(40)]), [], 'a quarter is not small');
  });

  it('is a tenth of the repository at most, and as many blobs as memory has room for', () => {
    const rewritten = (liveBlobs: number) => {
      const packs = Array.from({ length: 100 }, (_, i) => {
        const deadBytes = i < 30 ? 300 + i : 0;
        return pack(String(i), deadBytes, { use: { liveBytes: 1000 - deadBytes, deadBytes, liveBlobs } });
      });
      return plan(packs).condemn.map(({ pack: id }) => id);
    };
    assert.deepEqual(rewritten(10), ['29', '28', '27', '26', '25', '24', '23', '22', '21', '20'], 'those with most dead');
    assert.deepEqual(rewritten(100_000), ['29', '28', '27', '26']);
    assert.deepEqual(rewritten(100_001), ['29', '28', '27']);
    assert.deepEqual(rewritten(1_000_000), ['29'], 'one always goes, or nothing ever would');
  });

  it('is four data packs in a small repository, whatever goes first', () => {
    const tiny = pack('tiny', 0, { size: 10, use: { liveBytes: 1, deadBytes: 9, liveBlobs: 1 } });
    const packs = ['a', 'b', 'c', 'd'].map((id) => pack(id, 500));
    assert.deepEqual(condemned([...packs, tiny]), ['tiny: rewritten', 'a: rewritten', 'b: rewritten', 'c: rewritten']);
    assert.deepEqual(condemned(packs).length, 4);
  });

  it('passes over what does not fit, and takes what does', () => {
    const large = pack('large', 800, { size: 5000 });
    assert.deepEqual(condemned([pack('a', 900), large, pack('b', 700)]), ['a: rewritten', 'b: rewritten']);
    const many = pack('many', 800, { use: { liveBytes: 200, deadBytes: 800, liveBlobs: 400_000 } });
    assert.deepEqual(condemned([pack('a', 900), many, pack('b', 700)]), ['a: rewritten', 'b: rewritten']);
  });

  it('begins with the smaller of two that are dead alike', () => {
    const large = pack('large', 500, { size: 5000 });
    assert.deepEqual(condemned([large, pack('small', 500)]), ['small: rewritten']);
  });
});
