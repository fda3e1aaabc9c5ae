import assert from 'node:assert/strict';
import { Tombstones } from '../../core/src/repository/protocol/tombstones.ts';
import type { MemoryStore } from '../../core/src/store/memory.ts';
import { FaultyStore } from '../support/faulty-store.ts';
import { clockedStore, keysUnder, seededRandom, testKeys } from '../support/repository.ts';

const keys = testKeys();
const random = seededRandom(6);
const packOf = (n: number) => Buffer.alloc(16, n).toString('hex');
const listOf = (...packs: [n: number, since: number][]) => new Map(packs.map(([n, since]) => [packOf(n), since]));

describe('the lists of what is condemned', () => {
  let pass: (ms: number) => void;
  let now: () => number;
  let memory: MemoryStore;
  let store: FaultyStore;
  beforeEach(() => {
    ({ store: memory, pass, now } = clockedStore());
    store = new FaultyStore(memory);
  });

  const newReader = () => new Tombstones(store, keys, random);

  /** Somebody else writes the next list. */
  async function addList(...packs: [n: number, since: number][]): Promise<void> {
    const other = new Tombstones(memory, keys, random);
    await other.refresh();
    assert.equal(await other.add(listOf(...packs)), true);
  }

  it('are none at first', async () => {
    const tombstones = newReader();
    await tombstones.refresh();
    tombstones.requireKnown();
    assert.deepEqual([tombstones.number, tombstones.lists, tombstones.newest.size, tombstones.condemned.size], [0, [], 0, 0]);
    assert.equal(store.count('get'), 0);
  });

  it('are numbered without gaps, each won by one', async () => {
    const [one, other] = [newReader(), newReader()];
    assert.equal(await one.add(listOf([1, 1])), true);
    assert.equal(await other.add(listOf([2, 1])), false);
    assert.deepEqual(await keysUnder(store, 'gc/'), ['gc/00000001/packs']);
    await other.refresh();
    assert.deepEqual([...other.condemned.keys()], [packOf(1)]);
    assert.equal(await other.add(listOf([1, 1], [2, 2])), true);
    assert.deepEqual(await keysUnder(store, 'gc/'), ['gc/00000001/packs', 'gc/00000002/packs']);
    store.addRule({ verb: 'put', fault: { kind: 'error' } });
    await assert.rejects(newReader().add(listOf()), { code: 'STORE_UNAVAILABLE' }, 'not knowing is not losing');
  });

  it('say it all in the newest, which is all that a new reader reads', async () => {
    await addList([1, 1], [2, 1]);
    await addList([2, 1], [3, 2]);
    const tombstones = newReader();
    await tombstones.refresh();
    assert.equal(store.count('get'), 1);
    assert.deepEqual([tombstones.number, tombstones.newest, tombstones.condemned], [2, listOf([2, 1], [3, 2]), listOf([2, 1], [3, 2])]);
  });

  it('are remembered by who read them: condemned is for ever', async () => {
    const tombstones = newReader();
    await addList([1, 1]);
    await tombstones.refresh();
    await addList([1, 1], [2, 2]);
    await addList([3, 3]);
    await tombstones.refresh();
    assert.equal(store.count('get'), 3, 'each that is newer');
    assert.deepEqual(tombstones.newest, listOf([3, 3]));
    assert.deepEqual(tombstones.condemned, listOf([1, 1], [2, 2], [3, 3]));
    assert.equal(tombstones.number, 3);
    await tombstones.refresh();
    assert.equal(store.count('get'), 3);
  });

  it('tell when they were written and witnessed, by the clock of the store', async () => {
    const tombstones = newReader();
    await addList([1, 1]);
    const createdAt = new Date(now());
    pass(5000);
    await tombstones.witness(1, ['a', 'b'], listOf([1, 1]));
    await tombstones.witness(1, ['c'], listOf());
    const witnessedAt = new Date(now());
    pass(5000);
    await addList([1, 1]);
    await tombstones.refresh();
    assert.deepEqual(tombstones.lists, [
      { number: 1, createdAt, witnessedAt },
      { number: 2, createdAt: new Date(now()), witnessedAt: undefined },
    ]);
    assert.deepEqual(await tombstones.witnessed(1), ['a', 'b'], 'the first to say so counts');
    assert.equal(await tombstones.witnessed(2), undefined);
    store.addRule({ verb: 'put', fault: { kind: 'error' } });
    await assert.rejects(tombstones.witness(2, [], undefined), { code: 'STORE_UNAVAILABLE' });
  });

  const isUnknown = (tombstones: Tombstones, message: RegExp) => {
    assert.throws(
      () => {
        tombstones.requireKnown();
      },
      { code: 'REPOSITORY_CORRUPT', message },
    );
  };

  for (const [what, spoil] of Object.entries({
    missing: (key: string) => memory.delete(key),
    damaged: (key: string) => memory.put(key, Buffer.alloc(100)),
  })) {
    it(`are there twice: when the newest is ${what}, who was there for it says what it had`, async () => {
      await addList([1, 1]);
      await addList([1, 1], [2, 2]);
      await newReader().witness(2, ['a'], listOf([1, 1], [2, 2]));
      await spoil('gc/00000002/packs');
      const tombstones = newReader();
      await tombstones.refresh();
      tombstones.requireKnown();
      assert.deepEqual([tombstones.number, tombstones.newest], [2, listOf([1, 1], [2, 2])]);
      assert.deepEqual(await tombstones.witnessed(2), ['a']);
      assert.deepEqual([...(await tombstones.faults()).keys()], ['gc/00000002/packs']);
      assert.equal(await tombstones.add(listOf([2, 2])), true);
      assert.ok((await keysUnder(memory, 'gc/')).includes('gc/00000003/packs'));
    });

    it(`keep from writing, and not from reading, when the newest is ${what} and nobody says what it had`, async () => {
      await addList([1, 1]);
      await addList([1, 1], [2, 2]);
      await newReader().witness(2, [], undefined);
      const packs = (await memory.get('gc/00000002/packs'))!;
      await spoil('gc/00000002/packs');
      const tombstones = newReader();
      await tombstones.refresh();
      isUnknown(tombstones, /gc\/00000002\/packs/);
      await memory.put('gc/00000002/packs', packs);
      await tombstones.refresh();
      tombstones.requireKnown();
      assert.deepEqual(tombstones.condemned, listOf([1, 1], [2, 2]), 'then also what came before, as the index may be older');
      assert.equal((await tombstones.faults()).size, 0);
      await spoil('gc/00000002/sessions');
      assert.deepEqual([...(await tombstones.faults()).keys()], ['gc/00000002/sessions']);
    });

    it(`are all needed by who has the repository open, and only the newest by who opens it: one before that is ${what}`, async () => {
      await addList([1, 1]);
      const [known, early] = [newReader(), newReader()];
      await known.refresh();
      await addList([2, 2]);
      await addList([3, 3]);
      await spoil('gc/00000002/packs');
      await known.refresh();
      isUnknown(known, /gc\/00000002\/packs/);
      await early.refresh();
      early.requireKnown();
      assert.deepEqual(early.newest, listOf([3, 3]));
    });
  }

  it('are all needed by who opened the repository when there was none', async () => {
    const tombstones = newReader();
    await tombstones.refresh();
    await addList([1, 1]);
    await addList([2, 2]);
    await tombstones.refresh();
    assert.deepEqual(tombstones.condemned, listOf([1, 1], [2, 2]));
  });

  it('are missed when they were there', async () => {
    await addList([1, 1]);
    await addList([2, 2]);
    const tombstones = newReader();
    await tombstones.refresh();
    await memory.delete('gc/00000002/packs');
    await tombstones.refresh();
    isUnknown(tombstones, /a list of what is condemned is missing/);
  });

  it('are of the future when something among them has a name that is not known', async () => {
    await addList([1, 1]);
    await memory.put('gc/00000001/plan', Buffer.alloc(3));
    const tombstones = newReader();
    await tombstones.refresh();
    assert.throws(() => {
      tombstones.requireKnown();
    }, { code: 'REPOSITORY_VERSION' }); // prettier-ignore
  });

  it('of which the newest is of the future are named, and keep nobody from verifying', async () => {
    await addList([1, 1]);
    const body = Buffer.from((await memory.get('gc/00000001/packs'))!);
    await memory.put('gc/00000001/packs', body.fill(9, 6, 7));
    const tombstones = newReader();
    await tombstones.refresh();
    assert.equal(tombstones.problem?.code, 'REPOSITORY_VERSION');
    assert.deepEqual(
      [...(await tombstones.faults()).values()].map(({ code }) => code),
      ['REPOSITORY_VERSION'],
    );
  });

  it('are not known while the store does not answer', async () => {
    await addList([1, 1]);
    store.addRule({ verb: 'get', times: 1, fault: { kind: 'error' } });
    const tombstones = newReader();
    await assert.rejects(tombstones.refresh(), { code: 'STORE_UNAVAILABLE' });
    assert.equal(tombstones.number, 0);
    await tombstones.refresh();
    assert.equal(tombstones.number, 1);
  });
});
