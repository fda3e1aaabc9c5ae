import assert from 'node:assert/strict';
import { mock } from 'node:test';
import { DmaasError } from '../../core/src/errors.ts';
import { isFence, putFence } from '../../core/src/repository/protocol/fence.ts';
import { openRecord } from '../../core/src/repository/format/sealed-record.ts';
import { OBJECT_TYPE } from '../../core/src/repository/format/sealed.ts';
import { listSessions, Session, sessionSchema, settleSession } from '../../core/src/repository/protocol/sessions.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import type { PutOptions } from '../../core/src/store/object-store.ts';
import { FaultyStore } from '../support/faulty-store.ts';
import { clockedStore, keysUnder, seededRandom, testKeys } from '../support/repository.ts';

const MINUTE = 60_000;
const keys = testKeys();
const body = Buffer.from('a segment');

describe('a session', () => {
  let pass: (ms: number) => void;
  let now: () => number;
  let store: FaultyStore;
  let session: Session | undefined;
  beforeEach(() => {
    const clocked = clockedStore();
    ({ pass, now } = clocked);
    store = new FaultyStore(clocked.store);
  });
  afterEach(async () => {
    store.heal();
    await session?.end();
    session = undefined;
  });

  const parts = () => ({ store, keys, random: seededRandom(4) });
  const chain = () => keysUnder(store, 'sessions/');
  const keyOf = (n: number, id = session!.id) => `sessions/${id}/${String(n).padStart(8, '0')}`;
  const putBody = (key: string) => () => store.put(key, body, { ifAbsent: true });

  async function recordAt(n: number): Promise<{ kind: string; creates: string[] }> {
    return openRecord(keys, OBJECT_TYPE.session, keyOf(n), (await store.get(keyOf(n)))!, sessionSchema);
  }

  it('is a chain that begins with what it is and what it creates', async () => {
    session = await Session.begin('commit', parts(), { creates: 'backups/x' });
    assert.match(session.id, /^[0-9a-f]{16}$/);
    assert.deepEqual(await chain(), [keyOf(0)]);
    assert.deepEqual(await recordAt(0), { kind: 'commit', creates: ['backups/x'] });
    await session.create('backups/x', putBody('backups/x'));
    assert.deepEqual(await chain(), [keyOf(0)], 'it was announced already');
    await session.end();
    assert.deepEqual(await chain(), []);
  });

  it('says what it creates before it does, with all that is open', async () => {
    session = await Session.begin('write', parts());
    const gate = Promise.withResolvers<undefined>();
    const slow = session.create('index/0/a', async () => {
      await gate.promise;
      return putBody('index/0/a')();
    });
    await session.create('index/0/b', async () => {
      assert.deepEqual((await recordAt(2)).creates, ['index/0/a', 'index/0/b']);
      await putBody('index/0/b')();
    });
    gate.resolve(undefined);
    await slow;
    await session.create('index/0/c', async () => {
      assert.deepEqual((await recordAt(3)).creates, ['index/0/c'], 'what is created is open no longer');
      await putBody('index/0/c')();
    });
    assert.deepEqual(await chain(), [keyOf(0), keyOf(3)], 'the first, and the newest');
    await session.end();
    assert.equal(store.count('delete', keyOf(0)), 1);
  });

  it('is fenced where its own object should go', async () => {
    session = await Session.begin('write', parts());
    await putFence(store, 'index/0/a');
    await assert.rejects(session.create('index/0/a', putBody('index/0/a')), { code: 'REPOSITORY_FENCED' });
    await session.end();
    assert.deepEqual(await chain(), [], 'that fate is known');
  });

  it('is fenced where its chain should go on', async () => {
    session = await Session.begin('write', parts());
    await putFence(store, keyOf(1));
    let isCreated = false;
    const create = () => {
      isCreated = true;
      return Promise.resolve();
    };
    await assert.rejects(session.create('index/0/a', create), { code: 'REPOSITORY_FENCED', message: new RegExp(session.id) });
    assert.equal(isCreated, false);
  });

  it('stays while the fate of something is open, unless that is given up', async () => {
    session = await Session.begin('write', parts());
    store.addRule({ verb: 'put', key: 'index/', times: 1, fault: { kind: 'lost-acknowledgement' } });
    await assert.rejects(session.create('index/0/a', putBody('index/0/a')), { code: 'STORE_UNAVAILABLE' });
    await session.end();
    assert.deepEqual(await chain(), [keyOf(0), keyOf(1)]);
    session.giveUp('index/0/a');
    await session.end();
    assert.deepEqual(await chain(), []);
  });

  it('knows its own object again whose answer was lost, and leaves no gap', async () => {
    session = await Session.begin('write', parts());
    store.addRule({ verb: 'put', key: 'sessions/', times: 1, fault: { kind: 'lost-acknowledgement' } });
    await assert.rejects(session.create('index/0/a', putBody('index/0/a')), { code: 'STORE_UNAVAILABLE' });
    await session.end();
    assert.deepEqual(await chain(), [keyOf(0), keyOf(1)], 'it may be there, so it is not ended');
    await session.create('index/0/b', putBody('index/0/b'));
    assert.deepEqual(await chain(), [keyOf(0), keyOf(2)]);
    assert.deepEqual((await recordAt(2)).creates, ['index/0/a', 'index/0/b']);
    session.giveUp('index/0/a');
  });

  it('that failed before anything was there goes on with the same number', async () => {
    session = await Session.begin('write', parts());
    store.addRule({ verb: 'put', key: 'sessions/', times: 1, fault: { kind: 'error' } });
    await assert.rejects(session.create('index/0/a', putBody('index/0/a')), { code: 'STORE_UNAVAILABLE' });
    await session.create('index/0/a', putBody('index/0/a'));
    await session.create('index/0/b', putBody('index/0/b'));
    assert.deepEqual(await chain(), [keyOf(0), keyOf(1)]);
  });

  it('gives up when the store says again and again that there is what is not', async () => {
    session = await Session.begin('write', parts());
    store.addRule({ verb: 'put', key: 'sessions/', fault: { kind: 'error', code: 'STORE_EXISTS' } });
    const before = store.count('put', 'sessions/');
    await assert.rejects(session.create('index/0/a', putBody('index/0/a')), { code: 'STORE_UNAVAILABLE', message: /could not be kept/ });
    assert.equal(store.count('put', 'sessions/') - before, 5);
    session.giveUp('index/0/a');
  });

  it('does without the right to delete, and with nothing else that fails', async () => {
    session = await Session.begin('write', parts());
    store.addRule({ verb: 'delete', fault: { kind: 'error', code: 'STORE_ACCESS' } });
    for (const name of ['a', 'b', 'c']) await session.create(`index/0/${name}`, putBody(`index/0/${name}`));
    await session.end();
    assert.equal((await chain()).length, 4);
    store.heal();
    store.delete = () => Promise.reject(new TypeError('a fault of ours'));
    await assert.rejects(session.end(), TypeError);
    Reflect.deleteProperty(store, 'delete');
  });

  it('shows every minute that it lives, until it ends', async () => {
    mock.timers.enable({ apis: ['setInterval'] });
    try {
      session = await Session.begin('write', parts());
      const settle = () => new Promise((resolve) => setImmediate(resolve));
      mock.timers.tick(MINUTE - 1);
      await settle();
      assert.deepEqual(await chain(), [keyOf(0)]);
      store.addRule({ verb: 'put', key: 'sessions/', times: 1, fault: { kind: 'error' } });
      pass(MINUTE);
      mock.timers.tick(1);
      await settle();
      assert.deepEqual(await chain(), [keyOf(0)], 'one that fails is no fault: another follows');
      for (let beat = 1; beat < 4; beat++) {
        pass(MINUTE);
        mock.timers.tick(MINUTE);
        await settle();
      }
      const [info] = await listSessions(store);
      assert.deepEqual([info?.last, info?.seenAt.getTime()], [3, now()]);
      await session.end();
      mock.timers.tick(5 * MINUTE);
      await settle();
      assert.deepEqual(await chain(), []);
    } finally {
      mock.timers.reset();
    }
  });

  it('of a collector demands a store on which what it creates cannot be overwritten', async () => {
    class Unconditional extends MemoryStore {
      override put(key: string, bytes: Uint8Array, { ifAbsent: _, ...opts }: PutOptions = {}): Promise<void> {
        return super.put(key, bytes, opts);
      }
    }
    await assert.rejects(Session.begin('collect', { ...parts(), store: new Unconditional() }), { code: 'PREFLIGHT_FAILED' });
    const writer = await Session.begin('write', { ...parts(), store: new Unconditional() });
    await writer.end();
    session = await Session.begin('collect', parts());
    assert.deepEqual(await chain(), [keyOf(0)]);
  });
});

describe('sessions in the store', () => {
  let pass: (ms: number) => void;
  let now: () => number;
  let memory: MemoryStore;
  let store: FaultyStore;
  beforeEach(() => {
    ({ store: memory, pass, now } = clockedStore());
    store = new FaultyStore(memory);
  });

  /** A session that died: it has announced these, and created the first. */
  async function dead(...creates: string[]): Promise<Session> {
    const session = await Session.begin('write', { store: memory, keys, random: seededRandom(creates.length + 1) });
    for (const [i, key] of creates.entries()) {
      pass(MINUTE);
      const create = i === 0 ? () => memory.put(key, body) : () => Promise.reject(new DmaasError('STORE_UNAVAILABLE', 'it died'));
      await session.create(key, create).catch(() => undefined);
    }
    await session.end(); // stays, but shows no more that it lives
    return session;
  }

  it('are listed with when they began and were last seen, and nothing else is', async () => {
    const began = now();
    const [one, other] = [await dead('index/0/a', 'index/0/b'), await dead('index/0/c', 'index/0/d', 'index/0/e')];
    await memory.put('sessions/x', body);
    await memory.put(`sessions/${'0'.repeat(16)}/1`, body);
    const listed = new Map((await listSessions(store)).map((info) => [info.id, info]));
    assert.deepEqual(listed.get(one.id), {
      id: one.id,
      beganAt: new Date(began),
      seenAt: new Date(began + 2 * MINUTE),
      last: 2,
      isSettled: false,
    });
    assert.deepEqual(listed.get(other.id)?.last, 3);
    assert.equal(listed.size, 2);
  });

  it('that are settled create nothing any more; what they created stays', async () => {
    const session = await dead('index/0/a', 'index/0/b', 'index/0/c');
    const [info] = await listSessions(store);
    await settleSession({ store, keys }, info!);
    assert.deepEqual(Buffer.from((await memory.get('index/0/a'))!), body);
    for (const key of ['index/0/b', 'index/0/c']) assert.ok(isFence((await memory.get(key))!), key);
    const fence = `sessions/${session.id}/00000004`;
    assert.deepEqual(await keysUnder(memory, 'sessions/'), [fence]);
    assert.ok(isFence((await memory.get(fence))!));
    assert.deepEqual(
      (await listSessions(store)).map(({ isSettled }) => isSettled),
      [true],
    );
    await assert.rejects(
      session.create('index/0/d', () => Promise.resolve()),
      { code: 'REPOSITORY_FENCED' },
    );
    await settleSession({ store, keys }, info!);
  });

  it('that went on in between are settled behind what they have announced since', async () => {
    const session = await dead('index/0/a', 'index/0/b');
    const [info] = await listSessions(store);
    await session.create('index/0/late', () => Promise.reject(new DmaasError('STORE_UNAVAILABLE', 'stopped'))).catch(() => undefined);
    await settleSession({ store, keys }, info!);
    assert.ok(isFence((await memory.get('index/0/late'))!));
    assert.deepEqual(await keysUnder(memory, 'sessions/'), [`sessions/${session.id}/00000004`]);
  });

  it('that went on so far that the place of the fence was behind them are settled where they are', async () => {
    const session = await dead('index/0/a', 'index/0/b');
    const [info] = await listSessions(store);
    // Twice, so that it has deleted again what came after the listing.
    for (const late of ['index/0/late', 'index/0/later']) {
      await session.create(late, () => Promise.reject(new DmaasError('STORE_UNAVAILABLE', 'stopped'))).catch(() => undefined);
    }
    assert.equal(await memory.get(`sessions/${session.id}/00000003`), undefined);
    await settleSession({ store, keys }, info!);
    for (const late of ['index/0/late', 'index/0/later']) assert.ok(isFence((await memory.get(late))!), late);
    await assert.rejects(
      session.create('index/0/c', () => Promise.resolve()),
      { code: 'REPOSITORY_FENCED' },
    );
  });

  it('that go on and on are not settled', async () => {
    const session = await dead('index/0/a', 'index/0/b');
    const [info] = await listSessions(store);
    for (let n = 0; n < 8; n++) await memory.put(`sessions/${session.id}/${String(info!.last + 1 + n).padStart(8, '0')}`, body);
    await assert.rejects(settleSession({ store, keys }, info!), { code: 'STORE_UNAVAILABLE', message: /is in use/ });
    assert.equal(await memory.get('index/0/b'), undefined);
  });

  it('are settled last of all where a fence could not be put', async () => {
    const session = await dead('index/0/a', 'index/0/b');
    const [info] = await listSessions(store);
    store.addRule({ verb: 'put', key: 'index/', times: 1, fault: { kind: 'error' } });
    await assert.rejects(settleSession({ store, keys }, info!), { code: 'STORE_UNAVAILABLE' });
    const left = await keysUnder(memory, 'sessions/');
    assert.ok(left.includes(`sessions/${session.id}/00000002`), 'what names it is there yet');
    pass(MINUTE);
    const [half] = await listSessions(store);
    const { isSettled, seenAt, last } = info!;
    assert.deepEqual(
      { ...half, beganAt: undefined },
      { id: session.id, beganAt: undefined, seenAt, last, isSettled },
      'a fence does not show that it lives',
    );
    await settleSession({ store, keys }, info!);
    assert.ok(isFence((await memory.get('index/0/b'))!));
  });

  it('whose chain cannot be read are not settled', async () => {
    const session = await dead('index/0/a', 'index/0/b');
    const [info] = await listSessions(store);
    await memory.put(`sessions/${session.id}/00000002`, Buffer.alloc(100));
    await assert.rejects(settleSession({ store, keys }, info!), { code: 'REPOSITORY_CORRUPT' });
  });
});
