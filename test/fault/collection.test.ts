/** Rows D2, D3 and D6 of the fault matrix: garbage collection against the real code, on a store whose clock is the test's. */
import assert from 'node:assert/strict';
import { DmaasError } from '../../core/src/errors.ts';
import { loadConfig } from '../../core/src/repository/keys/config.ts';
import { decodeSegment } from '../../core/src/repository/format/index-segment.ts';
import { packKey } from '../../core/src/repository/format/pack-reader.ts';
import { Session } from '../../core/src/repository/protocol/sessions.ts';
import { createRepository, openRepository, type Repository } from '../../core/src/repository/repository.ts';
import type { MemoryStore } from '../../core/src/store/memory.ts';
import { FaultyStore, StoreCrash } from '../support/faulty-store.ts';
import {
  all,
  clockedStore,
  collect,
  keysUnder,
  makeBackup,
  newBackup,
  objectsOf,
  operationOf,
  putBackup,
  QUIET,
  removeBackup,
  restoreBackup,
  seededRandom,
  SMALL,
  UNLOCK,
} from '../support/repository.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

const random = seededRandom(21);
const contentsOf = (n: number, count = 12) => Array.from({ length: count }, () => Buffer.from(random(600 + n)));

async function open(store: MemoryStore): Promise<Repository> {
  return openRepository(store, UNLOCK);
}

/** Turns one bit of its content. */
async function flip(key: string, store: MemoryStore): Promise<void> {
  const body = Buffer.from((await store.get(key))!);
  body[40]! ^= 1;
  await store.put(key, body);
}

describe('garbage collection', function () {
  this.timeout(60_000);

  it('brings space back with the second collection, and keeps what backups need', async () => {
    const { store, pass } = clockedStore();
    await createRepository(store, UNLOCK, { parameters: SMALL });
    const shared = contentsOf(1);
    const [first, second] = [
      [...shared, ...contentsOf(2, 40)],
      [...shared, ...contentsOf(3)],
    ];
    await makeBackup(await open(store), 1, first);
    await makeBackup(await open(store), 2, second);
    pass(2 * DAY);
    const before = (await keysUnder(store, 'packs/')).length;
    assert.deepEqual((await collect(store)).condemn, [], 'nothing is dead');
    await removeBackup(store, 1);
    const marked = await collect(store);
    assert.ok(marked.condemn.length > 0);
    assert.deepEqual(marked.delete, []);
    assert.ok((await keysUnder(store, 'packs/')).length >= before, 'nothing is deleted yet');
    pass(23 * HOUR);
    assert.deepEqual((await collect(store)).delete, [], 'the grace is not over');
    pass(2 * HOUR);
    const swept = await collect(store);
    assert.ok(swept.delete.length > 0);
    assert.ok((await keysUnder(store, 'packs/')).length < before);
    const reader = await open(store);
    assert.deepEqual(await restoreBackup(reader, await reader.backup(operationOf(2))), second);
    assert.deepEqual(await reader.verify('data', QUIET), []);
    for (let n = 0; n < 4; n++) {
      pass(2 * DAY);
      await collect(store);
    }
    const last = await open(store);
    assert.deepEqual(await last.verify('data', QUIET), []);
    assert.deepEqual(await keysUnder(store, 'sessions/'), []);
    await last.deleteBackup((await all(last.backups()))[0]!.id);
    for (let n = 0; n < 6; n++) {
      pass(2 * DAY);
      await collect(store);
    }
    assert.deepEqual(await keysUnder(store, 'packs/'), []);
  });

  it('D3: keeps the entries of packs that were stored and condemned after this collection had listed what there is', async () => {
    const { store, pass } = clockedStore();
    await createRepository(store, UNLOCK, { parameters: SMALL });
    const kept = contentsOf(3, 6);
    await makeBackup(await open(store), 1, [...kept, ...contentsOf(2, 30)]);
    // With what is copied there are so many segments that they are merged, for which the newest list is read.
    for (let n = 2; n < 8; n++) await makeBackup(await open(store), n, n === 2 ? kept : contentsOf(n, 2));
    await removeBackup(store, 1);
    pass(2 * DAY);

    let late: string[] = [];
    const whileCopying = async (): Promise<void> => {
      const before = new Set(await keysUnder(store, 'packs/'));
      await makeBackup(await open(store), 20, contentsOf(8, 20));
      late = (await keysUnder(store, 'packs/')).filter((key) => !before.has(key));
      const deleter = await open(store);
      await deleter.deleteBackup((await deleter.backup(operationOf(20))).id);
      pass(2 * DAY);
      const { condemn } = await collect(store);
      assert.ok(condemn.some(({ pack }) => late.some((key) => key.endsWith(pack))));
    };
    let puts = 0;
    const slow = new FaultyStore(store);
    const put = slow.put.bind(slow);
    slow.put = async (key, ...rest) => {
      if (key.startsWith('packs/') && puts++ === 0) await whileCopying();
      return put(key, ...rest);
    };
    const { condemn } = await (await openRepository(slow, UNLOCK)).prune({}, QUIET);
    assert.ok(condemn.length > 0 && puts > 0);

    pass(HOUR);
    await collect(store); // deletes the segments that were replaced
    const { keys } = (await loadConfig(store, UNLOCK, {}))!;
    const named = new Set<string>();
    for (const [key, object] of await objectsOf(store))
      if (key.startsWith('index/')) for (const { id } of decodeSegment(keys, key, object).table.packs) named.add(packKey(id));
    assert.deepEqual(
      late.filter((key) => !named.has(key)),
      [],
    );
  });

  it('D4: a clock of the store that goes back deletes nothing, and says so', async () => {
    const { store, pass } = clockedStore();
    await createRepository(store, UNLOCK, { parameters: SMALL });
    await makeBackup(await open(store), 1, contentsOf(1));
    await removeBackup(store, 1);
    pass(2 * DAY);
    await collect(store);
    pass(-3 * HOUR);
    const packs = await keysUnder(store, 'packs/');
    await assert.rejects(collect(store), { message: /^nothing was deleted, because the clock of the store went back/ });
    assert.deepEqual(await keysUnder(store, 'packs/'), packs);
    await makeBackup(await open(store), 2, contentsOf(2));
  });

  it('B6, B7: a listing that lags deletes nothing', async () => {
    const { store, pass } = clockedStore();
    await createRepository(store, UNLOCK, { parameters: SMALL });
    await makeBackup(await open(store), 1, contentsOf(1));
    pass(2 * DAY);
    const lagging = new FaultyStore(store);
    const repository = await openRepository(lagging, UNLOCK);
    lagging.list = (prefix) => store.list(prefix === 'sessions/' ? 'nothing/' : prefix);
    await assert.rejects(repository.prune({}, QUIET), { message: /^nothing was deleted, because the store does not list/ });
  });

  it('C5: a record of a newer version, or one that is damaged, deletes nothing', async () => {
    for (const [change, code] of [
      [(b: Uint8Array) => b.fill(9, 5, 7), 'REPOSITORY_VERSION'],
      [(b: Uint8Array) => b.fill(0, 20), 'REPOSITORY_CORRUPT'],
    ] as const) {
      const { store, pass } = clockedStore();
      await createRepository(store, UNLOCK, { parameters: SMALL });
      for (const n of [1, 2]) await makeBackup(await open(store), n, contentsOf(n));
      const [key] = await keysUnder(store, 'backups/');
      await store.put(key!, change((await store.get(key!))!));
      pass(2 * DAY);
      const packs = await keysUnder(store, 'packs/');
      for (let n = 0; n < 3; n++) {
        await assert.rejects(collect(store), { code, message: /^nothing was deleted/ });
        pass(2 * DAY);
      }
      assert.deepEqual(await keysUnder(store, 'packs/'), packs);
      await makeBackup(await open(store), 3, contentsOf(3));
    }
  });

  it('C2: a segment that is damaged deletes nothing, even where no backup needs what it names', async () => {
    const { store, pass } = clockedStore();
    await createRepository(store, UNLOCK, { parameters: SMALL });
    for (const n of [1, 2]) await makeBackup(await open(store), n, contentsOf(n));
    const [, unneeded] = await keysUnder(store, 'backups/');
    await store.delete(unneeded!);
    pass(2 * DAY);
    for (const key of await keysUnder(store, 'index/')) {
      const sound = (await store.get(key))!;
      await store.put(key, Buffer.from(sound).fill(0, 20));
      await assert.rejects(collect(store), { code: 'REPOSITORY_CORRUPT', message: /^nothing was deleted/ });
      await store.put(key, sound);
    }
    assert.deepEqual(await keysUnder(store, 'gc/'), []);
    assert.ok((await collect(store)).condemn.length > 0);
  });

  it('C1, C2: one damaged or missing object of a list keeps nobody from anything, and both are named', async () => {
    for (const spoil of [(key: string, store: MemoryStore) => store.delete(key), flip]) {
      for (const lost of [['packs'], ['sessions'], ['packs', 'sessions']]) {
        const { store, pass } = clockedStore();
        await createRepository(store, UNLOCK, { parameters: SMALL });
        const kept = contentsOf(1);
        await makeBackup(await open(store), 1, contentsOf(2));
        await makeBackup(await open(store), 2, kept);
        await removeBackup(store, 1);
        pass(2 * DAY);
        assert.ok((await collect(store)).condemn.length > 0);
        for (const what of lost) await spoil(`gc/00000001/${what}`, store);
        pass(2 * DAY);

        const reader = await open(store);
        assert.deepEqual(await restoreBackup(reader, await reader.backup(operationOf(2))), kept);
        const findings = await reader.verify('structure', QUIET);
        const isGone = spoil !== flip;
        if (lost.length === 2 && !isGone) {
          assert.deepEqual(
            findings.map(({ level, code }) => [level, code]),
            [['warning', 'list-damaged'], ['warning', 'list-damaged'], ['warning', 'list-lost']], // prettier-ignore
          );
          const refused = { code: 'REPOSITORY_CORRUPT', message: /gc\/00000001\/packs is damaged/ };
          await assert.rejects(makeBackup(await open(store), 3, contentsOf(3)), refused);
          await assert.rejects(collect(store), refused);
          continue;
        }
        // What is not there at all is not missed, and nobody says that who was there is: the next collection finds out.
        assert.equal(
          findings.filter(({ code }) => code === 'list-damaged').length,
          lost.length === 2 || (isGone && lost[0] === 'sessions') ? 0 : 1,
        );
        await makeBackup(await open(store), 3, kept);
        await makeBackup(await open(store), 4, contentsOf(4, 20));
        await removeBackup(store, 4);
        for (let n = 0; n < 5; n++) {
          await collect(store);
          pass(2 * DAY);
        }
        const last = await open(store);
        assert.deepEqual(await restoreBackup(last, await last.backup(operationOf(3))), kept);
        assert.deepEqual(await last.verify('data', QUIET), []);
        const { blobs } = last.stats();
        assert.ok(blobs < 30, `${blobs} blobs: space comes back all the same`);
      }
    }
  });

  it('C1: a writer that died, and what is damaged of what it had announced, keep space from coming back only until a repair', async () => {
    const { store, pass } = clockedStore();
    await createRepository(store, UNLOCK, { parameters: SMALL });
    const kept = contentsOf(1);
    await makeBackup(await open(store), 1, contentsOf(2));
    await makeBackup(await open(store), 2, kept);
    await removeBackup(store, 1);
    const { keys } = (await loadConfig(store, UNLOCK, {}))!;
    const dead = await Session.begin('write', { store, keys, random }, { creates: 'backups/never' });
    await dead.end(); // it stays, but shows no more that it lives
    const [chain] = await keysUnder(store, 'sessions/');
    const record = Buffer.from((await store.get(chain!))!);
    await store.put(chain!, Buffer.from(record).fill(0, 30));
    pass(2 * DAY);
    await collect(store);
    pass(2 * DAY);
    const refused = { code: 'REPOSITORY_CORRUPT', message: new RegExp(chain!) };
    await assert.rejects(collect(store), refused);
    const damaged = (await (await open(store)).verify('structure', QUIET)).filter(({ code }) => code === 'session-damaged');
    assert.equal(damaged.length, 1);
    assert.match(damaged[0]!.hint!, /repository repair/);

    await store.put(chain!, Buffer.from(record).fill(0, 30)); // as if it had just shown that it lives
    assert.deepEqual((await (await open(store)).repair(QUIET)).settledSessions, [], 'not within a day');
    pass(DAY);
    assert.deepEqual((await (await open(store)).repair(QUIET)).settledSessions, [dead.id]);
    assert.ok((await collect(store)).delete.length > 0);
    assert.deepEqual(await (await open(store)).verify('data', QUIET), []);
    await assert.rejects(
      dead.create('index/0/a', () => Promise.resolve()),
      { code: 'REPOSITORY_FENCED' },
    );
    const reader = await open(store);
    assert.deepEqual(await restoreBackup(reader, await reader.backup(operationOf(2))), kept);
  });

  it('D6: a writer that was silent for longer than the grace is fenced, and its next run succeeds', async () => {
    const { store, pass } = clockedStore();
    await createRepository(store, UNLOCK, { parameters: SMALL });
    const contents = contentsOf(1);
    const stopped = new FaultyStore(store);
    const repository = await openRepository(stopped, UNLOCK);
    const roots = await repository.write((writer) => putBackup(writer, contents));
    stopped.addRule({ verb: 'put', key: 'backups/', times: 1, fault: { kind: 'error' } });
    await assert.rejects(repository.commit(newBackup(1, roots)), { code: 'STORE_UNAVAILABLE' });
    assert.equal((await keysUnder(store, 'sessions/')).length, 1, 'its record may arrive yet');
    for (let n = 0; n < 3; n++) {
      pass(2 * DAY);
      await collect(store);
    }
    assert.deepEqual(await keysUnder(store, 'packs/'), []);
    await assert.rejects(repository.commit(newBackup(1, roots)), { code: 'REPOSITORY_FENCED' });
    assert.deepEqual(await all((await open(store)).backups()), []);
    await makeBackup(await open(store), 2, contents);
    const reader = await open(store);
    assert.deepEqual(await restoreBackup(reader, await reader.backup(operationOf(2))), contents);
  });

  it('A3, D6: a collector that dies while it settles a writer leaves it to the next: nothing goes before the writer can create nothing more', async () => {
    for (const when of ['before', 'after'] as const) {
      for (let k = 1, isOver = false; !isOver; k++) {
        const { store, pass } = clockedStore();
        await createRepository(store, UNLOCK, { parameters: SMALL });
        const contents = contentsOf(1);
        const stopped = new FaultyStore(store);
        const writer = await openRepository(stopped, UNLOCK);
        const roots = await writer.write((w) => putBackup(w, contents));
        let record: { key: string; body: Uint8Array } | undefined;
        const put = stopped.put.bind(stopped);
        stopped.put = (key, body, opts) => {
          if (!key.startsWith('backups/')) return put(key, body, opts);
          record = { key, body };
          return Promise.reject(new DmaasError('STORE_UNAVAILABLE', 'it stands still before its last request'));
        };
        await assert.rejects(writer.commit(newBackup(1, roots)), { code: 'STORE_UNAVAILABLE' });
        pass(2 * DAY);
        await collect(store);
        pass(2 * DAY);
        const dying = new FaultyStore(store);
        const collector = await openRepository(dying, UNLOCK);
        dying.heal();
        dying.crashAt(k, when);
        await collector.prune({}, QUIET).catch((e: unknown) => {
          assert.ok(e instanceof StoreCrash, String(e));
        });
        isOver = dying.calls.length < k;
        for (let n = 0; n < 3; n++) {
          pass(2 * DAY);
          await collect(store);
        }
        // And goes on.
        const isCommitted = await store.put(record!.key, record!.body, { ifAbsent: true }).then(
          () => true,
          (e: unknown) => !DmaasError.is(e, 'STORE_EXISTS'),
        );
        const reader = await open(store);
        if (isCommitted)
          assert.deepEqual(await restoreBackup(reader, await reader.backup(operationOf(1))), contents, `killed ${when} call ${k}`);
        else assert.deepEqual(await keysUnder(store, 'packs/'), []);
      }
    }
  });

  it('D2: what an operation took over from a backup that is deleted and collected meanwhile is not relied on', async () => {
    for (const isCollected of [false, true]) {
      const { store, pass } = clockedStore();
      await createRepository(store, UNLOCK, { parameters: SMALL });
      const contents = contentsOf(1);
      const planner = await open(store);
      const since = planner.condemnedLists;
      const roots = await planner.write((writer) => putBackup(writer, contents));
      const parent = await planner.commit(newBackup(1, roots));
      await planner.deleteBackup(parent.id);
      pass(2 * DAY);
      await collect(store);
      const repository = await open(store);
      await repository.begin(operationOf(2), { since });
      pass(2 * DAY);
      if (isCollected) {
        assert.ok((await collect(store)).delete.length > 0);
        await assert.rejects(repository.commit(newBackup(2, roots)), { code: 'REPOSITORY_FENCED' });
      } else {
        const backup = await repository.commit(newBackup(2, roots));
        for (let n = 0; n < 3; n++) {
          await collect(store);
          pass(2 * DAY);
        }
        assert.deepEqual(await restoreBackup(await open(store), backup), contents);
      }
    }
  });

  it('D3: a collection begins again when a backup that it marks is deleted, and its packs are, too', async () => {
    const { store, pass } = clockedStore();
    await createRepository(store, UNLOCK, { parameters: SMALL });
    const contents = contentsOf(2);
    const gone = await makeBackup(await open(store), 1, contentsOf(1));
    await makeBackup(await open(store), 2, contents);
    const packs = await keysUnder(store, 'packs/');
    await makeBackup(await open(store), 3, contentsOf(3));
    const late = (await keysUnder(store, 'packs/')).filter((key) => !packs.includes(key));
    const [last] = (await all((await open(store)).backups())).slice(-1);
    pass(2 * DAY);
    const slow = new FaultyStore(store);
    const repository = await openRepository(slow, UNLOCK);
    let reads = 0;
    slow.get = async (key, opts) => {
      // After the records, before the nodes.
      if (key.startsWith('packs/') && ++reads === 1) {
        await store.delete(`backups/${last!.id}`);
        for (let n = 0; n < 2; n++) {
          await collect(store);
          pass(2 * DAY);
        }
        for (const pack of late) assert.equal(await store.stat(pack), undefined);
      }
      return store.get(key, opts);
    };
    const report = await repository.prune({}, QUIET);
    assert.deepEqual(report.keeps.map(({ backup }) => backup).includes(last!.id), false);
    assert.ok(report.keeps.some(({ backup }) => backup === gone.id));
    assert.deepEqual(await restoreBackup(await open(store), (await all((await open(store)).backups()))[1]!), contents);
  });

  it('D3: a collection begins again when another deletes packs after it has read the index', async () => {
    const { store, pass } = clockedStore();
    await createRepository(store, UNLOCK, { parameters: SMALL });
    const contents = [contentsOf(1), contentsOf(2)] as const;
    for (const n of [0, 1] as const) await makeBackup(await open(store), n, contents[n]);
    pass(2 * DAY);
    const slow = new FaultyStore(store);
    const repository = await openRepository(slow, UNLOCK);
    let isFirst = true;
    slow.list = async function* (prefix, opts) {
      if (prefix === 'packs/' && isFirst) {
        isFirst = false;
        await removeBackup(store, 1);
        for (let n = 0; n < 2; n++) {
          await collect(store);
          pass(2 * DAY);
        }
      }
      yield* store.list(prefix, opts);
    };
    assert.equal((await repository.prune({}, QUIET)).keeps.length, 1);
    assert.deepEqual(await restoreBackup(await open(store), (await all((await open(store)).backups()))[0]!), contents[0]);
  });

  it('D3: a restore that runs while its packs are rewritten goes on', async () => {
    const { store, pass } = clockedStore();
    await createRepository(store, UNLOCK, { parameters: SMALL });
    const shared = contentsOf(1);
    await makeBackup(await open(store), 1, [...shared, ...contentsOf(2, 30)]);
    const backup = await makeBackup(await open(store), 2, shared);
    const restore = await open(store);
    await removeBackup(store, 1);
    for (let n = 0; n < 3; n++) {
      pass(2 * DAY);
      await collect(store);
    }
    assert.deepEqual(await restoreBackup(restore, backup), shared);
  });

  it('--dry-run says the same and changes nothing', async () => {
    const { store, pass } = clockedStore();
    await createRepository(store, UNLOCK, { parameters: SMALL });
    await makeBackup(await open(store), 1, contentsOf(1));
    await makeBackup(await open(store), 2, contentsOf(2));
    await removeBackup(store, 1);
    pass(2 * DAY);
    const before = await objectsOf(store);
    const planned = await collect(store, { dryRun: true });
    assert.deepEqual(await objectsOf(store), before);
    const done = await (await open(store)).prune({}, QUIET);
    assert.deepEqual(planned.condemn, done.condemn);
    assert.equal(planned.keeps.length, 1);
    assert.ok(planned.keeps[0]!.bytes > 12 * 600);
  });
});
