import assert from 'node:assert/strict';
import { fenced, isFence, putFence } from '../../core/src/repository/protocol/fence.ts';
import { putOnce, requireConditionalCreates } from '../../core/src/repository/protocol/put-once.ts';
import { DmaasError } from '../../core/src/errors.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import type { PutOptions } from '../../core/src/store/object-store.ts';
import { FaultyStore } from '../support/faulty-store.ts';

const KEY = 'sessions/0/1';
const mine = Buffer.from('mine');

/** As servers that do not know If-None-Match. */
class UnconditionalStore extends MemoryStore {
  override put(key: string, body: Uint8Array, { ifAbsent: _, ...opts }: PutOptions = {}): Promise<void> {
    return super.put(key, body, opts);
  }
}

/** A store that fails `times` puts, after `from` that do not. */
function failing({ from = 1, times = 1 } = {}): FaultyStore {
  const store = new FaultyStore(new MemoryStore());
  store.addRule({ verb: 'put', from, times, fault: { kind: 'error' } });
  return store;
}

describe('an object that is created once', () => {
  it('is ours when we made it, or find it with our bytes, and not with others', async () => {
    const store = new MemoryStore();
    assert.equal(await putOnce(store, KEY, mine), true);
    assert.equal(await putOnce(store, KEY, mine), true);
    assert.equal(await putOnce(store, KEY, Buffer.from('other')), false);
    assert.deepEqual(Buffer.from((await store.get(KEY))!), mine, 'nothing is overwritten');
  });

  it('is not ours when somebody else made and deleted it before we looked', async () => {
    const store = new FaultyStore(new MemoryStore());
    await store.put(KEY, mine);
    store.get = () => Promise.resolve(undefined);
    assert.equal(await putOnce(store, KEY, mine), false);
    assert.equal(await putFence(store, KEY), false);
  });

  it('of which nobody knows whether it was made is an error, not a place that is taken', async () => {
    await assert.rejects(putOnce(failing(), KEY, mine), { code: 'STORE_UNAVAILABLE' });
    await assert.rejects(putFence(failing(), KEY), { code: 'STORE_UNAVAILABLE' });
  });
});

describe('a fence', () => {
  it('keeps others from creating what is in its place, and is told from what they created', async () => {
    const store = new MemoryStore();
    assert.equal(await putFence(store, KEY), true);
    assert.equal(await putFence(store, KEY), true, 'whoever put it there');
    await assert.rejects(store.put(KEY, mine, { ifAbsent: true }), { code: 'STORE_EXISTS' });
    assert.equal(isFence((await store.get(KEY))!), true);
    await store.put('sessions/0/2', mine);
    assert.equal(await putFence(store, 'sessions/0/2'), false);
    assert.equal(isFence((await store.get('sessions/0/2'))!), false);
    assert.equal(fenced('it').code, 'REPOSITORY_FENCED');
  });
});

describe('the demand for conditional creates', () => {
  it('is met by a store that refuses to create what is there', async () => {
    const store = new MemoryStore();
    await store.put(KEY, mine);
    await requireConditionalCreates(store, KEY, mine, {});
  });

  it('is not met by one that overwrites it', async () => {
    const store = new UnconditionalStore();
    await store.put(KEY, mine);
    await assert.rejects(requireConditionalCreates(store, KEY, mine, {}), (e) => {
      assert.ok(DmaasError.is(e, 'PREFLIGHT_FAILED'));
      assert.match(e.message, /overwrites objects that must be new: it ignores If-None-Match$/);
      return true;
    });
  });

  it('says that we were given up when the object is gone', async () => {
    await assert.rejects(requireConditionalCreates(new MemoryStore(), KEY, mine, {}), { code: 'REPOSITORY_FENCED' });
  });

  it('is met, but we were given up, when others take the object away while we look', async () => {
    const store = new MemoryStore();
    const put = store.put.bind(store);
    let puts = 0;
    store.put = async (key, body, opts) => {
      await put(key, body, opts);
      if (++puts < 3) await store.delete(key);
    };
    await assert.rejects(requireConditionalCreates(store, KEY, mine, {}), { code: 'REPOSITORY_FENCED' });
  });

  it('is undecided when the store does not answer, the first time or the second', async () => {
    for (const from of [1, 2]) {
      await assert.rejects(requireConditionalCreates(failing({ from }), KEY, mine, {}), { code: 'STORE_UNAVAILABLE' });
    }
  });
});
