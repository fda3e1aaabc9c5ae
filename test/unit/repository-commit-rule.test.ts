import assert from 'node:assert/strict';
import { createRepository, openRepository } from '../../core/src/repository/repository.ts';
import type { MemoryStore } from '../../core/src/store/memory.ts';
import { FaultyStore } from '../support/faulty-store.ts';
import {
  clockedStore,
  collect,
  makeBackup,
  newBackup,
  operationOf,
  putBackup,
  restoreBackup,
  seededRandom,
  SMALL,
  UNLOCK,
} from '../support/repository.ts';

const DAY = 24 * 3_600_000;
const BLOB = 600;
const random = seededRandom(5);
const contentsOf = (count: number) => Array.from({ length: count }, () => Buffer.from(random(BLOB)));

describe('a commit', () => {
  let pass: (ms: number) => void;
  let memory: MemoryStore;
  const old = contentsOf(8);

  /** A repository in which what was in the only backup, `old`, is condemned. */
  beforeEach(async () => {
    ({ store: memory, pass } = clockedStore());
    await createRepository(memory, UNLOCK, { parameters: SMALL });
  });

  async function condemnOld(): Promise<void> {
    const repository = await openRepository(memory, UNLOCK);
    const { id } = await makeBackup(repository, 1, old);
    await repository.deleteBackup(id);
    pass(2 * DAY);
    const { condemn } = await collect(memory);
    assert.ok(condemn.length > 0);
  }

  it('writes anew what was condemned while its operation ran, and nothing else', async () => {
    const store = new FaultyStore(memory);
    const writer = await openRepository(store, UNLOCK);
    await writer.begin(operationOf(2));
    const { id } = await makeBackup(writer, 1, old);
    await writer.deleteBackup(id);
    pass(2 * DAY);
    const { condemn } = await collect(memory);
    // It knows what is stored, and not yet that some of it is about to go.
    const both = [...old, ...contentsOf(16)];
    const roots = await writer.write((w) => putBackup(w, both));

    let copied = 0;
    let read = 0;
    const [put, get] = [store.put.bind(store), store.get.bind(store)];
    store.get = async (key, opts) => {
      const body = await get(key, opts);
      if (key.startsWith('packs/')) read += body?.length ?? 0;
      return body;
    };
    store.put = (key, body, opts) => {
      if (key.startsWith('packs/')) copied += body.length;
      return put(key, body, opts);
    };
    const backup = await writer.commit(newBackup(2, roots));
    const all = condemn.reduce((sum, { bytes }) => sum + bytes, 0);
    assert.ok(copied > old.length * BLOB && copied <= all * 1.2, `${copied} bytes were written anew, ${all} condemned`);
    assert.ok(read < (old.length + 16) * BLOB, `${read} bytes were read`);
    for (let n = 0; n < 3; n++) {
      await collect(memory);
      pass(2 * DAY);
    }
    assert.deepEqual(await restoreBackup(await openRepository(memory, UNLOCK), backup), both);
  });

  it('looks at nothing again when nothing was condemned since its operation began', async () => {
    await condemnOld();
    const store = new FaultyStore(memory);
    const writer = await openRepository(store, UNLOCK);
    await writer.begin(operationOf(3));
    const roots = await writer.write((w) => putBackup(w, contentsOf(8)));
    const [gets, lists] = [store.count('get', 'packs/'), store.count('list', 'index/')];
    await writer.commit(newBackup(3, roots));
    assert.deepEqual([store.count('get', 'packs/'), store.count('list', 'index/')], [gets, lists]);
  });

  it('goes by the first beginning of an operation that was begun again', async () => {
    await (await openRepository(memory, UNLOCK)).begin(operationOf(3));
    await condemnOld();
    const store = new FaultyStore(memory);
    const writer = await openRepository(store, UNLOCK);
    await writer.begin(operationOf(3));
    const roots = await writer.write((w) => putBackup(w, old));
    const gets = store.count('get', 'packs/');
    await writer.commit(newBackup(3, roots));
    assert.ok(store.count('get', 'packs/') > gets, 'what was condemned since then is looked for');
  });

  it('needs to know when its operation began', async () => {
    const store = new FaultyStore(memory);
    const writer = await openRepository(store, UNLOCK);
    store.addRule({ verb: 'put', key: 'runs/', fault: { kind: 'error' } });
    await assert.rejects(writer.begin(operationOf(2)), { code: 'STORE_UNAVAILABLE' });
  });

  it('finds what a collection has moved meanwhile where it is now, and writes none of it again', async () => {
    const store = new FaultyStore(memory);
    const writer = await openRepository(store, UNLOCK);
    const big = await makeBackup(await openRepository(memory, UNLOCK), 1, [...old, ...contentsOf(60)]);
    await writer.refresh();
    await writer.begin(operationOf(3));
    const roots = await writer.write((w) => putBackup(w, old));
    const other = await openRepository(memory, UNLOCK);
    await makeBackup(other, 2, old);
    await other.deleteBackup(big.id);
    for (let n = 0, moved = 0; n < 4; n++) {
      pass(2 * DAY);
      const report = await collect(memory);
      moved += report.copyBytes;
      assert.ok(n < 3 || (moved > 0 && report.waiting.length === 0));
    }
    const puts = store.count('put', 'packs/');
    const backup = await writer.commit(newBackup(3, roots));
    assert.equal(store.count('put', 'packs/'), puts);
    assert.deepEqual(await restoreBackup(await openRepository(memory, UNLOCK), backup), old);
  });

  it('of an operation whose beginning nobody noted looks at everything that is condemned', async () => {
    const writer = await openRepository(memory, UNLOCK);
    const roots = await writer.write((w) => putBackup(w, old));
    const parent = await writer.commit(newBackup(1, roots));
    await writer.deleteBackup(parent.id);
    pass(2 * DAY);
    await collect(memory);
    const backup = await (await openRepository(memory, UNLOCK)).commit(newBackup(2, roots));
    for (let n = 0; n < 3; n++) {
      await collect(memory);
      pass(2 * DAY);
    }
    assert.deepEqual(await restoreBackup(await openRepository(memory, UNLOCK), backup), old);
  });
});
