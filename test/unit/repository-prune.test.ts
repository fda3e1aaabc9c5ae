import assert from 'node:assert/strict';
import { DmaasError } from '../../core/src/errors.ts';
import type { Finding } from '../../core/src/model.ts';
import { loadConfig } from '../../core/src/repository/keys/config.ts';
import { isFence } from '../../core/src/repository/protocol/fence.ts';
import { createRepository, openRepository, type PruneOptions, type PruneReport } from '../../core/src/repository/repository.ts';
import { packKey } from '../../core/src/repository/format/pack-reader.ts';
import { sealRecord } from '../../core/src/repository/format/sealed-record.ts';
import { lastSection, OBJECT_TYPE, TRAILER_BYTES } from '../../core/src/repository/format/sealed.ts';
import { listSessions, Session, settleSession } from '../../core/src/repository/protocol/sessions.ts';
import { Tombstones } from '../../core/src/repository/protocol/tombstones.ts';
import type { RepositoryKeys } from '../../core/src/repository/format/key-set.ts';
import type { MemoryStore } from '../../core/src/store/memory.ts';
import type { ObjectInfo } from '../../core/src/store/object-store.ts';
import { FaultyStore } from '../support/faulty-store.ts';
import {
  all,
  clockedStore,
  collect,
  keysUnder,
  makeBackup,
  newBackup,
  operationOf,
  QUIET,
  removeBackup,
  restoreBackup,
  seededRandom,
  SMALL,
  UNLOCK,
} from '../support/repository.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const random = seededRandom(17);
const contentsOf = (count: number) => Array.from({ length: count }, () => Buffer.from(random(600)));
const ABSENT = 'f'.repeat(48) as never;

describe('a collection', () => {
  let memory: MemoryStore;
  let store: FaultyStore;
  let pass: (ms: number) => void;
  let now: () => number;
  let keys: RepositoryKeys;

  beforeEach(async () => {
    ({ store: memory, pass, now } = clockedStore());
    store = new FaultyStore(memory);
    await createRepository(memory, UNLOCK, { parameters: SMALL });
    keys = (await loadConfig(memory, UNLOCK, {}))!.keys;
  });

  const prune = (opts: PruneOptions = {}, objects = store): Promise<PruneReport> => collect(objects, opts);
  const packs = () => keysUnder(memory, 'packs/');
  const backUp = async (n: number, contents: readonly Buffer[]) => makeBackup(await openRepository(memory, UNLOCK), n, contents);
  const remove = (n: number) => removeBackup(memory, n);
  const beginSession = (seed: number, creates?: string) =>
    Session.begin('write', { store: memory, keys, random: seededRandom(seed) }, creates === undefined ? {} : { creates });

  /** One backup, which is deleted, and one that stays; everything is older than the grace. */
  async function withGarbage(): Promise<void> {
    await backUp(1, contentsOf(20));
    await backUp(2, contentsOf(5));
    await remove(1);
    pass(2 * DAY);
  }

  async function condemnGarbage(): Promise<void> {
    await withGarbage();
    assert.ok((await prune()).condemn.length > 0);
  }

  it('deletes the run records of finished and of abandoned backups, and no others', async () => {
    const repository = await openRepository(memory, UNLOCK);
    const operations = async () => (await all(repository.runs.operations())).map(({ operation }) => operation);
    await repository.runs.put('restore1', 'restore-plan', {});
    await repository.begin('stopped');
    await repository.begin(operationOf(1));
    await makeBackup(repository, 1, contentsOf(1));
    await prune();
    assert.deepEqual(await operations(), [operationOf(1), 'restore1', 'stopped'], 'within the grace');
    pass(2 * DAY);
    await prune({ dryRun: true });
    assert.deepEqual(await operations(), [operationOf(1), 'restore1', 'stopped']);
    await prune();
    assert.deepEqual(await operations(), ['restore1', 'stopped']);
    pass(26 * DAY);
    await repository.runs.put('stopped', 'result-0', {});
    pass(5 * DAY);
    await prune();
    assert.deepEqual(await operations(), ['restore1', 'stopped'], 'somebody went on with it');
    pass(26 * DAY);
    await prune();
    assert.deepEqual(await operations(), ['restore1']);
    // Who goes on after all begins anew.
    await repository.begin('stopped');
    assert.deepEqual(await operations(), ['restore1', 'stopped']);
  });

  it('says what goes, when, and which backup keeps what', async () => {
    const shared = contentsOf(6);
    await backUp(1, [...shared, ...contentsOf(10)]);
    await backUp(2, [...shared, ...contentsOf(3)]);
    await backUp(3, contentsOf(20));
    await remove(3);
    pass(2 * DAY);
    const sizes = new Map<string, number>();
    for await (const { key, size } of memory.list('packs/')) sizes.set(key, size);
    const report = await prune({ graceMs: 3 * HOUR });
    assert.deepEqual(
      report.keeps.map(({ backup, name }) => [backup, name]),
      [['20261122T120211Z-operation2', 'backup-2'], ['20261122T120111Z-operation1', 'backup-1']], // prettier-ignore
    );
    assert.ok(report.keeps[0]!.bytes >= 9 * 600 && report.keeps[0]!.bytes < 10 * 600 + 2000);
    assert.ok(report.keeps[1]!.bytes >= 10 * 600 && report.keeps[1]!.bytes < 10 * 600 + 2000);
    assert.equal(report.deletableAt, new Date(now() + 3 * HOUR).toISOString());
    assert.equal(report.totalBytes, [...sizes.values()].reduce((sum, size) => sum + size, 0)); // prettier-ignore
    assert.deepEqual([report.findings, report.delete, report.waiting, report.locks], [[], [], [], undefined]);
    assert.ok(report.condemn.every(({ reason }) => reason === 'unused'));
  });

  it('deletes when the grace since the witnessing of a list is over, and not before', async () => {
    await condemnGarbage();
    const before = (await packs()).length;
    pass(DAY - 1);
    const early = await prune();
    assert.deepEqual(early.delete, []);
    assert.ok(early.waiting.length > 0);
    assert.equal((await packs()).length, before);
    pass(1);
    const due = await prune();
    assert.ok(due.delete.length > 0);
    assert.deepEqual(due.waiting, []);
    assert.equal((await packs()).length, before - due.delete.length);
  });

  it('with no grace deletes what it has marked the next time', async () => {
    await withGarbage();
    assert.ok((await prune({ graceMs: 0 })).condemn.length > 0);
    assert.ok((await prune({ graceMs: 0 })).delete.length > 0);
  });

  it('leaves alone what is younger than the grace', async () => {
    await backUp(1, contentsOf(20));
    await remove(1);
    pass(DAY - 1);
    assert.deepEqual((await prune()).condemn, []);
    pass(1);
    assert.ok((await prune()).condemn.length > 0);
  });

  it('leaves alone what was written since a living writer began, and no other', async () => {
    const session = await beginSession(2);
    await backUp(1, contentsOf(20)); // in the same moment
    await remove(1);
    pass(HOUR);
    assert.deepEqual((await prune({ graceMs: 0 })).condemn, [], 'it may rely on it');
    pass(MINUTE);
    assert.ok((await prune({ graceMs: 0 })).condemn.length > 0, 'silent for more than an hour');
    await session.end();
  });

  it('waits for writers that were there when a list was, and for no others', async () => {
    await withGarbage();
    const session = await beginSession(2, 'backups/x');
    await prune();
    const beganAt = new Date(now());
    pass(DAY);
    await session.create('index/0/lives', () => Promise.resolve()); // by the store's clock
    const findings: Finding[] = [];
    const repository = await openRepository(store, UNLOCK);
    const emit = (event: { type: string; finding?: Finding }) => {
      if (event.finding !== undefined) findings.push(event.finding);
    };
    const waits = await repository.prune({}, { emit });
    assert.deepEqual(waits.delete, []);
    assert.ok(waits.waiting.length > 0);
    assert.deepEqual(
      waits.findings.map(({ level, code, message }) => [level, code, message]),
      [['info', 'prune-waits', `what was condemned before ${beganAt.toISOString()} waits for 1 running operation`]],
    );
    assert.deepEqual(findings, waits.findings, 'it is said as it is found');
    session.giveUp('backups/x');
    await session.end();
    const later = await beginSession(3, 'backups/y');
    assert.ok((await prune()).delete.length > 0);
    assert.equal(await memory.get('backups/y'), undefined, 'and does not touch those');
    await later.create('backups/y', () => Promise.resolve());
    await later.end();
  });

  it('waits also for those that came after it first looked, whatever the clock says', async () => {
    await withGarbage();
    const condemned = (await packs()).map((key) => key.slice(-32));
    const list = store.list.bind(store);
    let listings = 0;
    let session: Session | undefined;
    store.list = async function* (prefix, opts): AsyncGenerator<ObjectInfo> {
      // It has opened the repository, and looked who is there. In the same moment a writer begins its commit, and another collector condemns what that relies on.
      if (prefix === 'gc/' && ++listings === 2) {
        session = await beginSession(2, 'backups/x');
        const other = new Tombstones(memory, keys, random);
        const all = new Map(condemned.map((id) => [id, 1]));
        assert.equal(await other.add(all), true);
        await other.witness(1, [session.id], all);
      }
      yield* list(prefix, opts);
    };
    const { delete: deleted, findings } = await prune({ graceMs: 0 });
    assert.deepEqual([deleted, findings.map(({ code }) => code)], [[], ['prune-waits']]);
    session!.giveUp('backups/x');
    await session!.end();
  });

  it('settles writers that were silent for an hour, before anything goes', async () => {
    await withGarbage();
    const session = await beginSession(2, 'backups/x');
    await prune();
    pass(DAY);
    const calls = store.calls.length;
    assert.ok((await prune()).delete.length > 0);
    assert.ok(isFence((await memory.get('backups/x'))!));
    const order = store.calls.slice(calls).map(({ verb, key }) => `${verb} ${key}`);
    assert.ok(order.indexOf('put backups/x') < order.findIndex((call) => call.startsWith('delete packs/')));
    await assert.rejects(
      session.create('index/0/a', () => Promise.resolve()),
      { code: 'REPOSITORY_FENCED' },
    );
  });

  it('does not wait for writers that another has just settled', async () => {
    await withGarbage();
    await beginSession(2, 'backups/x');
    await prune();
    pass(DAY - MINUTE);
    const [info] = await listSessions(memory);
    await settleSession({ store: memory, keys }, info!);
    pass(MINUTE);
    const { delete: deleted, findings } = await prune();
    assert.ok(deleted.length > 0);
    assert.deepEqual(findings, []);
  });

  it('settles nobody in a dry run, deletes and marks nothing', async () => {
    await withGarbage();
    await beginSession(2, 'backups/x');
    await prune();
    await backUp(3, contentsOf(20));
    await remove(3);
    pass(2 * DAY);
    const before = [...(await keysUnder(memory, ''))];
    const { delete: deleted, condemn } = await prune({ dryRun: true });
    assert.ok(deleted.length > 0 && condemn.length > 0);
    assert.deepEqual(await keysUnder(memory, ''), before);
  });

  it('completes what a collection that died has begun, and counts the grace from then', async () => {
    await condemnGarbage();
    await memory.delete('gc/00000001/sessions');
    pass(2 * DAY);
    const session = await beginSession(2, 'backups/x');
    assert.deepEqual((await prune({ dryRun: true })).delete, []);
    assert.deepEqual(await keysUnder(memory, 'gc/00000001/'), ['gc/00000001/packs']);
    assert.deepEqual((await prune()).delete, []);
    assert.equal((await keysUnder(memory, 'gc/00000001/')).length, 2);
    pass(DAY);
    await session.create('index/0/lives', () => Promise.resolve());
    assert.equal((await prune()).findings[0]?.code, 'prune-waits', 'for whoever was there when it was completed');
    session.giveUp('backups/x');
    await session.end();
    assert.ok((await prune()).delete.length > 0);
  });

  it('writes anew what is still needed, before it says that the rest is condemned', async () => {
    const kept = contentsOf(4);
    await backUp(1, [...kept, ...contentsOf(30)]);
    await backUp(2, kept);
    await remove(1);
    pass(2 * DAY);
    store.heal();
    const { condemn, copyBytes } = await prune();
    assert.ok(condemn.some(({ reason }) => reason === 'rewritten'));
    assert.ok(copyBytes >= 4 * 600, `${copyBytes} bytes`);
    const order = store.calls.map(({ verb, key }) => `${verb} ${key}`);
    const lastOf = (call: string) => order.findLastIndex((one) => one.startsWith(call));
    assert.ok(lastOf('put packs/') > 0 && lastOf('put packs/') < lastOf('put index/'));
    assert.ok(lastOf('put index/') < lastOf('put gc/00000001/packs'));
    assert.ok(lastOf('put gc/00000001/packs') < lastOf('put gc/00000001/sessions'));
    pass(2 * DAY);
    const second = await prune();
    assert.ok(second.delete.length > 0);
    assert.equal(second.copyBytes, 0, 'it was copied by the first');
    const reader = await openRepository(memory, UNLOCK);
    assert.deepEqual(await restoreBackup(reader, await reader.backup(operationOf(2))), kept);
  });

  it('condemns nothing when what it would copy cannot be read', async () => {
    const kept = contentsOf(4);
    await backUp(1, [...kept, ...contentsOf(30)]);
    await backUp(2, kept);
    await remove(1);
    pass(2 * DAY);
    const dry = await prune({ dryRun: true });
    const rewritten = dry.condemn.filter(({ reason }) => reason === 'rewritten').sort((one, other) => other.bytes - one.bytes);
    const { pack } = rewritten[0]!;
    const key = packKey(pack);
    const body = Buffer.from((await memory.get(key))!);
    // All frames, and not the table. It is the largest, so that of the data, which is not read before it is copied.
    await memory.put(key, body.fill(0, 20, body.length - TRAILER_BYTES - lastSection(body, key).length));
    pass(2 * DAY);
    await assert.rejects(prune(), { code: 'REPOSITORY_CORRUPT', message: /^nothing was deleted, because /, hint: /repository repair/ });
    assert.deepEqual(await keysUnder(memory, 'gc/'), []);
  });

  it('that is slower than another says so, and its garbage goes with the next', async () => {
    await withGarbage();
    const put = store.put.bind(store);
    let isFirst = true;
    store.put = async (key, body, opts) => {
      if (key === 'gc/00000001/packs' && isFirst) {
        isFirst = false;
        await new Tombstones(memory, keys, random).add(new Map());
      }
      return put(key, body, opts);
    };
    const { findings } = await prune();
    assert.deepEqual(
      findings.map(({ level, code }) => [level, code]),
      [['info', 'prune-raced']],
    );
    assert.ok((await prune()).condemn.length > 0);
    assert.ok((await keysUnder(memory, 'gc/')).includes('gc/00000002/packs'));
  });

  it('forgets what is gone when nobody is left who could still name it', async () => {
    await condemnGarbage();
    pass(2 * DAY);
    await prune(); // deletes, and tidies the index
    const newest = async () => {
      const tombstones = new Tombstones(memory, keys, random);
      await tombstones.refresh();
      return { number: tombstones.number, size: tombstones.newest.size };
    };
    const { size } = await newest();
    assert.ok(size > 0);
    const session = await beginSession(2, 'backups/x');
    pass(11 * MINUTE);
    await prune(); // deletes the segments that were replaced
    assert.equal((await newest()).size, size, 'a living one is');
    pass(2 * HOUR);
    await prune();
    assert.ok(isFence((await memory.get('backups/x'))!));
    assert.equal((await newest()).size, 0);
    const { number } = await newest();
    await prune();
    assert.equal((await newest()).number, number, 'nothing to say is not said');
    await session.end();
  });

  it('that is told to stop deletes nothing, and leaves nothing behind', async () => {
    await condemnGarbage();
    pass(2 * DAY);
    const before = await keysUnder(memory, '');
    const repository = await openRepository(store, UNLOCK);
    for (let k = 0, isStopped = true; isStopped; k++) {
      const stop = new AbortController();
      let calls = 0;
      const list = store.list.bind(store);
      store.list = (prefix, opts) => {
        assert.equal(opts?.signal, stop.signal, prefix);
        if (calls++ === k) stop.abort();
        return list(prefix, opts);
      };
      isStopped = await repository.prune({ dryRun: true }, { ...QUIET, signal: stop.signal }).then(
        () => false,
        (e: unknown) => DmaasError.is(e, 'CANCELLED'),
      );
      store.list = list;
      assert.ok(isStopped || k > 3);
      assert.deepEqual(await keysUnder(memory, ''), before);
    }
    await assert.rejects(repository.prune({}, { ...QUIET, signal: AbortSignal.abort() }), { code: 'CANCELLED' });
    assert.deepEqual(await keysUnder(memory, ''), before);
  });

  it('knows backups and packs that came after its repository was opened', async () => {
    await withGarbage();
    const repository = await openRepository(store, UNLOCK);
    const late = contentsOf(20);
    await backUp(3, late);
    pass(2 * DAY);
    const { condemn, keeps } = await repository.prune({}, QUIET);
    assert.ok(condemn.length > 0);
    assert.equal(keeps.length, 2);
    pass(2 * DAY);
    assert.ok((await prune()).delete.length > 0);
    const reader = await openRepository(memory, UNLOCK);
    assert.deepEqual(await restoreBackup(reader, await reader.backup(operationOf(3))), late);
  });

  it('reads the lists again before it marks', async () => {
    await condemnGarbage();
    pass(2 * DAY);
    const list = store.list.bind(store);
    let listings = 0;
    store.list = async function* (prefix, opts): AsyncGenerator<ObjectInfo> {
      // The first is at the opening, the second when it reads the clock.
      if (prefix === 'gc/' && ++listings === 3) await memory.put('gc/00000002/packs', Buffer.alloc(100));
      yield* list(prefix, opts);
    };
    const before = await packs();
    await assert.rejects(prune(), { code: 'REPOSITORY_CORRUPT' });
    assert.deepEqual(await packs(), before);
  });

  it('deletes what another has condemned, and when it was opened before that', async () => {
    await withGarbage();
    const repository = await openRepository(store, UNLOCK);
    assert.ok((await prune({}, new FaultyStore(memory))).condemn.length > 0);
    pass(2 * DAY);
    assert.ok((await repository.prune({}, QUIET)).delete.length > 0);
  });

  it('forgets what is gone as soon as the segments that named it are', async () => {
    await condemnGarbage();
    pass(2 * DAY);
    await prune(); // deletes, and tidies the index
    pass(11 * MINUTE);
    await prune();
    const tombstones = new Tombstones(memory, keys, random);
    await tombstones.refresh();
    assert.deepEqual([tombstones.number, tombstones.newest.size], [2, 0]);
  });

  it('does not count a clock that goes back since the sessions of a list were listed', async () => {
    await withGarbage();
    const put = store.put.bind(store);
    store.put = (key, body, opts) => {
      if (key === 'gc/00000001/sessions') pass(HOUR);
      return put(key, body, opts);
    };
    await prune();
    pass(-MINUTE);
    await assert.rejects(prune(), { message: /the clock of the store went back/ });
    pass(MINUTE);
    await prune();
  });

  describe('in a repository that changes while it is read', () => {
    /** A record that names what is not there, and is listed only every other time. */
    async function flicker(times: number): Promise<void> {
      await withGarbage();
      const record = newBackup(9, { manifests: ABSENT, volume: ABSENT });
      const id = '20261122T120911Z-operation9';
      const key = `backups/${id}`;
      await memory.put(key, sealRecord(keys, OBJECT_TYPE.backup, key, { ...record, id, createdAt: record.startedAt }, random));
      let listings = 0;
      const list = store.list.bind(store);
      store.list = async function* (prefix, opts): AsyncGenerator<ObjectInfo> {
        const isHidden = prefix === 'backups/' && (++listings % 2 === 0 || listings > 2 * times);
        for await (const info of list(prefix, opts)) if (!isHidden || info.key !== key) yield info;
      };
    }

    it('begins again, some times', async () => {
      await flicker(4);
      assert.ok((await prune()).condemn.length > 0);
    });

    it('gives up after that, and deletes nothing', async () => {
      await flicker(5);
      await assert.rejects(prune(), {
        message: /^nothing was deleted, because the repository changed again and again/,
        hint: 'run it again',
      });
      assert.deepEqual(await keysUnder(memory, 'gc/'), []);
      assert.deepEqual(await keysUnder(memory, 'sessions/'), [], 'its session ends all the same');
    });

    it('says that a backup is damaged which stays', async () => {
      await flicker(0);
      Reflect.deleteProperty(store, 'list');
      await assert.rejects(prune(), { code: 'REPOSITORY_CORRUPT', message: /^nothing was deleted/ });
    });
  });
});
