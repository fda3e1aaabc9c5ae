import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { BlobId } from '../../core/src/repository/format/blob.ts';
import { decodeNode, encodeNode, NODE_TYPE } from '../../core/src/repository/format/node.ts';
import { encodeHeader, OBJECT_TYPE } from '../../core/src/repository/format/sealed.ts';
import { readManifests, writeManifests } from '../../core/src/repository/manifests.ts';
import { createRepository, openOrCreateRepository, openRepository, type Repository } from '../../core/src/repository/repository.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import type { ObjectStore } from '../../core/src/store/object-store.ts';
import { FaultyStore } from '../support/faulty-store.ts';
import {
  all,
  keysUnder,
  makeBackup,
  newBackup,
  objectsOf,
  putBackup,
  QUIET,
  restoreBackup,
  SMALL,
  STORES,
  storeOf,
  UNLOCK,
} from '../support/repository.ts';

const ABSENT = 'ab'.repeat(24) as BlobId;
const small = { parameters: SMALL };

for (const { name, make } of STORES) {
  describe(`a repository in a ${name} store`, () => {
    let store: ObjectStore;
    let remove: () => void;
    beforeEach(() => {
      ({ store, remove } = make());
    });
    afterEach(() => {
      remove();
    });

    it('gives back what was written, in this process and the next', async () => {
      const repository = await createRepository(store, UNLOCK, small);
      const contents = Array.from({ length: 60 }, (_, i) => (i % 3 === 0 ? Buffer.alloc(i * 100, i) : randomBytes(i * 97)));
      const backup = await makeBackup(repository, 1, contents);
      assert.deepEqual(await restoreBackup(repository, backup), contents);
      const other = await openRepository(store, UNLOCK);
      assert.equal(other.id, repository.id);
      assert.deepEqual(other.parameters, SMALL);
      assert.deepEqual(await all(other.backups()), [backup]);
      assert.deepEqual(await restoreBackup(other, backup), contents);
      assert.deepEqual(await other.verify('data', QUIET), []);
      assert.ok((await keysUnder(store, 'packs/')).length > 3);
    });

    it('stores nothing twice', async () => {
      const repository = await createRepository(store, UNLOCK, small);
      const contents = Array.from({ length: 20 }, () => randomBytes(1000));
      await makeBackup(repository, 1, [...contents, ...contents]);
      const packs = await keysUnder(store, 'packs/');
      const other = await openRepository(store, UNLOCK);
      await other.write(async (writer) => {
        for (const content of contents) assert.deepEqual((await writer.put('data', content)).isNew, false);
        assert.deepEqual(writer.totals(), { blobs: 20, bytes: 20_000, newBlobs: 0, newBytes: 0 });
      });
      assert.deepEqual(await keysUnder(store, 'packs/'), packs);
    });

    it('overwrites nothing and leaves what it has untouched', async () => {
      const repository = await createRepository(store, UNLOCK, small);
      await makeBackup(repository, 1, [randomBytes(5000)]);
      const before = await objectsOf(store);
      await makeBackup(repository, 2, [randomBytes(5000)]);
      const after = await objectsOf(store);
      for (const [key, body] of before) assert.ok(Buffer.compare(body, after.get(key) ?? new Uint8Array()) === 0, key);
      assert.ok(after.size > before.size);
    });
  });
}

describe('opening a repository', () => {
  it('says that there is none', async () => {
    await assert.rejects(openRepository(new MemoryStore(), UNLOCK), {
      code: 'REPOSITORY_NOT_FOUND',
      message: 'there is no repository at memory://test',
    });
  });

  it('says that the key is another', async () => {
    const store = new MemoryStore();
    await createRepository(store, UNLOCK);
    const before = await objectsOf(store);
    await assert.rejects(openRepository(store, Buffer.alloc(32, 1)), { code: 'REPOSITORY_KEY' });
    await assert.rejects(openOrCreateRepository(store, Buffer.alloc(32, 1)), { code: 'REPOSITORY_KEY' });
    assert.deepEqual(await objectsOf(store), before);
  });

  it('says that one exists, when it was to be made', async () => {
    const store = new MemoryStore();
    await createRepository(store, UNLOCK);
    await assert.rejects(createRepository(store, UNLOCK), { code: 'STORE_EXISTS' });
  });

  it('makes no new identity where backups lie without one', async () => {
    const store = new MemoryStore();
    await makeBackup(await createRepository(store, UNLOCK), 1, [randomBytes(10)]);
    await store.delete('dmaas.json');
    for (const open of [openRepository, openOrCreateRepository, createRepository]) {
      await assert.rejects(open(store, UNLOCK), { code: 'REPOSITORY_CORRUPT', message: /dmaas\.json is damaged: it is missing/ });
    }
  });

  it('leaves a repository of a newer format alone', async () => {
    const store = new MemoryStore();
    await createRepository(store, UNLOCK);
    const config = JSON.parse(Buffer.from((await store.get('dmaas.json'))!).toString()) as Record<string, unknown>;
    for (const change of [{ minReader: 2 }, { required: ['delta'] }, { minReader: 2, keys: 'elsewhere', sealed: 7 }]) {
      const newer = await storeOf(
        new Map([...(await objectsOf(store)), ['dmaas.json', Buffer.from(JSON.stringify({ ...config, ...change }))]]),
      );
      const before = await objectsOf(newer);
      await assert.rejects(openOrCreateRepository(newer, UNLOCK), { code: 'REPOSITORY_VERSION' });
      assert.deepEqual(await objectsOf(newer), before);
    }
  });

  it('is not deceived by changes of the readable part', async () => {
    const store = new MemoryStore();
    await createRepository(store, UNLOCK);
    const config = JSON.parse(Buffer.from((await store.get('dmaas.json'))!).toString()) as Record<string, unknown>;
    for (const change of [
      { formatVersion: 2 },
      { optional: ['x'] },
      { createdAt: '2020-01-01T00:00:00Z' },
      { extra: 1 },
      { repositoryId: '0'.repeat(32) },
    ]) {
      const changed = await storeOf(
        new Map([...(await objectsOf(store)), ['dmaas.json', Buffer.from(JSON.stringify({ ...config, ...change }))]]),
      );
      await assert.rejects(openRepository(changed, UNLOCK), { code: 'REPOSITORY_CORRUPT', message: /dmaas\.json/ }, JSON.stringify(change));
    }
  });

  it('needs only one of the two copies of the wrapped key', async () => {
    const store = new MemoryStore();
    await createRepository(store, UNLOCK);
    const [wrapKey] = (await keysUnder(store, 'keys/')) as [string];
    const text = Buffer.from((await store.get('dmaas.json'))!).toString();
    const open = async (change: Record<string, string | undefined>) => {
      const objects = await objectsOf(store);
      for (const [key, body] of Object.entries(change)) {
        if (body === undefined) objects.delete(key);
        else objects.set(key, Buffer.from(body));
      }
      return openRepository(await storeOf(objects), UNLOCK);
    };
    const codes = async (repository: Repository) => (await repository.verify('structure', QUIET)).map((f) => `${f.level} ${f.code}`);
    const damagedWrap = text.replace(/("sealed": ".{8})./, '$1!');
    assert.notEqual(damagedWrap, text);
    assert.deepEqual(await codes(await open({})), []);
    assert.deepEqual(await codes(await open({ [wrapKey]: undefined })), ['warning key-copy-missing']);
    assert.deepEqual(await codes(await open({ [wrapKey]: '{}' })), ['warning key-damaged']);
    assert.deepEqual(await codes(await open({ 'dmaas.json': damagedWrap })), ['warning key-damaged']);
    await assert.rejects(open({ 'dmaas.json': damagedWrap, [wrapKey]: undefined }), { code: 'REPOSITORY_CORRUPT', message: /dmaas\.json/ });
    await assert.rejects(open({ 'dmaas.json': damagedWrap, [wrapKey]: '{}' }), { code: 'REPOSITORY_CORRUPT' });
  });

  it('costs four requests when it is empty, and one more for each segment', async () => {
    const memory = new MemoryStore();
    await createRepository(memory, UNLOCK);
    const store = new FaultyStore(memory);
    const repository = await openRepository(store, UNLOCK);
    assert.deepEqual(
      store.calls.map((c) => `${c.verb} ${c.key}`),
      ['get dmaas.json', 'list keys/', 'list gc/', 'list index/'],
    );
    for (let n = 1; n <= 3; n++) await makeBackup(repository, n, [randomBytes(100)]);
    store.heal();
    await openRepository(store, UNLOCK);
    assert.equal(store.count('get', 'index/'), 3);
    assert.equal(store.calls.length, 7);
  });

  it('puts the sealed source beside it', async () => {
    const store = new MemoryStore();
    await createRepository(store, UNLOCK, { source: Buffer.from('sealed') });
    assert.equal(Buffer.from((await store.get('source'))!).toString(), 'sealed');
    assert.match(Buffer.from((await store.get('RECOVERY.txt'))!).toString(), /dmaas-key-1-/);
  });
});

describe('reading blobs', () => {
  let store: FaultyStore;
  let repository: Repository;
  beforeEach(async () => {
    store = new FaultyStore(new MemoryStore());
    repository = await createRepository(store, UNLOCK);
  });

  it('fetches neighbours together and each frame once', async () => {
    const blobs = Array.from({ length: 64 }, () => randomBytes(128 << 10));
    const ids = await repository.write(async (writer) => {
      const stored: BlobId[] = [];
      for (const blob of blobs) stored.push((await writer.put('data', blob)).id);
      return stored;
    });
    store.heal();
    const reader = await openRepository(store, UNLOCK);
    store.heal();
    const delivered: number[] = [];
    const order = [...ids.keys()].reverse();
    await reader.readMany(
      order.map((i) => ids[i]!),
      (i, data) => {
        assert.ok(blobs[order[i]!]!.equals(data));
        delivered.push(i);
      },
    );
    assert.deepEqual(
      delivered.sort((a, b) => a - b),
      [...ids.keys()],
    );
    assert.equal(store.calls.length, 3, '8 MiB in ranges of at most 4 MiB');
  });

  it('delivers a blob for each place it was asked for, and reads a node’s neighbours from memory', async () => {
    const id = await repository.write(async (writer) => {
      await writer.put('data', Buffer.from('other'));
      return (await writer.put('data', Buffer.from('twice'))).id;
    });
    const places: number[] = [];
    await repository.readMany([id, id, id], (i, data) => {
      assert.equal(Buffer.from(data).toString(), 'twice');
      places.push(i);
    });
    assert.deepEqual(places.sort(), [0, 1, 2]);
    const first = await repository.read(id);
    first.fill(0);
    store.heal();
    assert.equal(Buffer.from(await repository.read(id)).toString(), 'twice', 'the caller’s copy is its own');
    assert.deepEqual(store.calls, []);
  });

  it('learns what others wrote since', async () => {
    const other = await openRepository(store, UNLOCK);
    const backup = await makeBackup(other, 1, [randomBytes(1000)]);
    assert.deepEqual(await repository.known([backup.manifests]), [false]);
    assert.equal((await restoreBackup(repository, backup)).length, 1);
    assert.deepEqual(await repository.known([backup.manifests]), [true]);
  });

  it('says which blob is nowhere', async () => {
    await assert.rejects(repository.read(ABSENT), { code: 'REPOSITORY_CORRUPT', message: /^the blob abab/ });
    const known = await repository.write(async (writer) => (await writer.put('data', Buffer.from('here'))).id);
    const unreadable: number[] = [];
    const read: number[] = [];
    await repository.readMany([ABSENT, known], (i) => void read.push(i), { onUnreadable: (i) => unreadable.push(i) });
    assert.deepEqual([unreadable, read], [[0], [1]]);
    await assert.rejects(
      repository.readMany([known, ABSENT], () => undefined),
      { code: 'REPOSITORY_CORRUPT' },
    );
  });

  it('ends when the receiver fails, with its error', async () => {
    const ids = await repository.write(async (writer) =>
      Promise.all([1, 2, 3].map(async (n) => (await writer.put('data', Buffer.alloc(2 << 20, n))).id)),
    );
    await assert.rejects(
      repository.readMany(ids, () => Promise.reject(new RangeError('disk full'))),
      { name: 'RangeError', message: 'disk full' },
    );
  });

  it('stops when it is told to', async () => {
    const id = await repository.write(async (writer) => (await writer.put('data', Buffer.alloc(10))).id);
    const signal = AbortSignal.abort();
    await assert.rejects(repository.read(id, { signal }), { code: 'CANCELLED' });
    await assert.rejects(
      repository.readMany([id], () => undefined, { signal }),
      { code: 'CANCELLED' },
    );
    await assert.rejects(
      repository.write((writer) => writer.put('data', Buffer.alloc(11)), { signal }),
      { code: 'CANCELLED' },
    );
  });
});

describe('writing blobs', () => {
  it('takes the bytes before put returns its promise', async () => {
    const repository = await createRepository(new MemoryStore(), UNLOCK);
    const buffer = Buffer.alloc(1 << 20);
    const ids = await repository.write(async (writer) => {
      const puts = [1, 2, 3, 4, 5].map((n) => {
        buffer.fill(n);
        return writer.put('data', buffer);
      });
      return (await Promise.all(puts)).map((blob) => blob.id);
    });
    for (const [i, id] of ids.entries()) assert.ok(Buffer.alloc(1 << 20, i + 1).equals(await repository.read(id)));
  });

  it('keeps data and nodes in packs of their own, and never takes one for the other', async () => {
    const repository = await createRepository(new MemoryStore(), UNLOCK);
    const node = encodeNode({ type: NODE_TYPE.volume, references: [ABSENT], payload: Buffer.from('{}') });
    const [data, same] = await repository.write((writer) => Promise.all([writer.put('data', node), writer.put('node', node)]));
    assert.notEqual(data.id, same.id);
    assert.ok(data.isNew && same.isNew);
    assert.equal(repository.stats().packs, 2);
    assert.equal(decodeNode(await repository.read(same.id), same.id).references[0], ABSENT);
  });

  it('bounds blobs', async () => {
    const repository = await createRepository(new MemoryStore(), UNLOCK);
    const largest = randomBytes(16 << 20);
    const id = await repository.write(async (writer) => (await writer.put('data', largest)).id);
    assert.ok(largest.equals(await repository.read(id)));
    await assert.rejects(
      repository.write((writer) => writer.put('data', Buffer.alloc((16 << 20) + 1))),
      { code: 'INTERNAL' },
    );
  });

  it('refuses a put after its end', async () => {
    const repository = await createRepository(new MemoryStore(), UNLOCK);
    const writer = await repository.write((w) => Promise.resolve(w));
    await assert.rejects(writer.put('data', Buffer.alloc(1)), { code: 'INTERNAL' });
    assert.equal(repository.stats().packs, 0, 'nothing was written for nothing');
  });

  it('shares its work among the writes of one process', async () => {
    const store = new MemoryStore();
    const repository = await createRepository(store, UNLOCK, small);
    const contents = Array.from({ length: 30 }, () => randomBytes(1000));
    const roots = await Promise.all([1, 2, 3].map(() => repository.write((writer) => putBackup(writer, contents))));
    assert.deepEqual(roots[0], roots[1]);
    const { blobs } = repository.stats();
    assert.equal(blobs, 30 + 8 + 1 + 2, 'data, leaves, volume, manifests: each once');
    const backup = await repository.commit(newBackup(1, roots[2]!));
    assert.deepEqual(await restoreBackup(await openRepository(store, UNLOCK), backup), contents);
  });

  it('that fails hurts no other write, and what it completed is not sent again', async () => {
    const store = new MemoryStore();
    const repository = await createRepository(store, UNLOCK, small);
    const contents = Array.from({ length: 60 }, () => randomBytes(1000));
    const good = repository.write((writer) => putBackup(writer, contents.slice(0, 5)));
    const bad = repository.write(async (writer) => {
      await putBackup(writer, contents);
      throw new Error('the disk is gone');
    });
    await assert.rejects(bad, /the disk is gone/);
    const backup = await repository.commit(newBackup(1, await good));
    assert.equal((await restoreBackup(await openRepository(store, UNLOCK), backup)).length, 5);
    const alone = repository.write(async (writer) => {
      await putBackup(
        writer,
        Array.from({ length: 60 }, (_, i) => Buffer.concat([contents[i]!, Buffer.from('2')])),
      );
      throw new Error('again');
    });
    await assert.rejects(alone, /again/);
    const packs = new Set(await keysUnder(store, 'packs/'));
    const { packs: indexed } = (await openRepository(store, UNLOCK)).stats();
    assert.equal(indexed, packs.size, 'every complete pack is in the index');
  });

  it('goes on after the store failed', async () => {
    const store = new FaultyStore(new MemoryStore());
    const repository = await createRepository(store, UNLOCK, small);
    const contents = Array.from({ length: 60 }, () => randomBytes(1000));
    for (const prefix of ['packs/', 'index/']) {
      store.heal();
      store.addRule({ verb: 'put', key: prefix, from: 2, times: 1, fault: { kind: 'error' } });
      if (prefix === 'index/') store.addRule({ verb: 'put', key: prefix, times: 1, fault: { kind: 'error' } });
      const changed = contents.map((content) => Buffer.concat([content, Buffer.from(prefix)]));
      await assert.rejects(
        repository.write((writer) => putBackup(writer, changed)),
        { code: 'STORE_UNAVAILABLE' },
      );
      store.heal();
      const backup = await makeBackup(repository, prefix === 'packs/' ? 1 : 2, changed);
      assert.deepEqual(await restoreBackup(await openRepository(store, UNLOCK), backup), changed);
    }
  });

  it('names what is stored in a segment at least every 30 seconds', async () => {
    let time = Date.parse('2026-11-22T12:00:00Z');
    const store = new MemoryStore();
    const repository = await createRepository(store, UNLOCK, { ...small, now: () => new Date(time) });
    await repository.write(async (writer) => {
      for (let n = 0; n < 100; n++) await writer.put('data', randomBytes(100_000));
      for (let turn = 0; turn < 1e6 && (await keysUnder(store, 'packs/')).length < 8; turn++)
        await new Promise((resolve) => setImmediate(resolve));
      assert.deepEqual(await keysUnder(store, 'index/'), []);
      time += 31_000;
      await writer.put('data', randomBytes(1));
      assert.equal((await keysUnder(store, 'index/')).length, 1);
    });
    assert.equal((await keysUnder(store, 'index/')).length, 2);
  });
});

describe('backups', () => {
  let store: MemoryStore;
  let repository: Repository;
  beforeEach(async () => {
    store = new MemoryStore();
    repository = await createRepository(store, UNLOCK, { now: () => new Date('2026-11-22T13:00:00Z') });
    for (let n = 1; n <= 3; n++) await makeBackup(repository, n, [Buffer.from(`content ${n}`)]);
  });

  it('are found by id, operation, beginning, name, or as the latest', async () => {
    const ids = (await all(repository.backups())).map((b) => b.id);
    assert.deepEqual(ids, ['20261122T120111Z-operation1', '20261122T120211Z-operation2', '20261122T120311Z-operation3']);
    for (const which of [ids[1]!, 'operation2', '20261122T1202', 'backup-2'])
      assert.equal((await repository.backup(which)).id, ids[1], which);
    assert.equal((await repository.backup('latest')).id, ids[2]);
    assert.equal((await repository.backup('latest')).createdAt, '2026-11-22T13:00:00.000Z');
  });

  it('of one second are in the order of their milliseconds', async () => {
    const latest = await repository.backup('latest');
    const { manifests, volumes } = latest;
    for (const [operation, ms] of [
      ['zz', 100],
      ['mm', 300],
      ['aa', 200],
    ] as const) {
      const roots = { manifests, volume: volumes[0]!.root };
      await repository.commit({ ...newBackup(9, roots), operation, startedAt: `2026-11-22T12:09:11.${String(ms)}Z` });
    }
    assert.equal((await repository.backup('latest')).operation, 'mm');
    assert.deepEqual(
      (await all(repository.backups())).slice(3).map((b) => b.operation),
      ['zz', 'aa', 'mm'],
    );
    // One before it that cannot be read is not asked for.
    await store.delete(`backups/${latest.id}`);
    await store.put(`backups/${latest.id}`, Buffer.alloc(100));
    assert.equal((await repository.backup('latest')).operation, 'mm');
  });

  it('are not replaced by the one before when the latest cannot be read, but that one is named', async () => {
    const [, before, latest] = (await all(repository.backups())).map(({ id }) => id);
    await store.delete(`backups/${latest}`);
    await store.put(`backups/${latest}`, Buffer.alloc(100));
    for (const filter of [undefined, { app: 'web' }]) {
      await assert.rejects(repository.backup('latest', filter), {
        code: 'REPOSITORY_CORRUPT',
        message: new RegExp(`^backups/${latest} is damaged`),
        hint: new RegExp(`the newest that can be read is ${before} \\(backup-2 of 2026-11-22T12:02:11[^;]*use it; verify`),
      });
    }
    // Whether it is what the filter asks for, nobody knows.
    await assert.rejects(repository.backup('latest', { app: 'db' }), { code: 'REPOSITORY_CORRUPT', hint: /verify/ });
    assert.equal((await repository.backup(before!)).id, before);
  });

  it('that are none or several are named with candidates', async () => {
    await assert.rejects(repository.backup('20261122'), {
      code: 'BACKUP_NOT_FOUND',
      message: '3 backups are called "20261122"',
      hint: /20261122T120111Z-operation1/,
    });
    await assert.rejects(repository.backup('nothing'), { code: 'BACKUP_NOT_FOUND', hint: /the newest are 20261122T120311Z-operation3, / });
    const empty = await createRepository(new MemoryStore(), UNLOCK);
    await assert.rejects(empty.backup('latest'), { code: 'BACKUP_NOT_FOUND', hint: 'there are no backups here yet' });
  });

  it('are filtered', async () => {
    assert.equal((await all(repository.backups({ app: 'web', namespace: 'shop' }))).length, 3);
    assert.equal((await all(repository.backups({ namespace: 'other' }))).length, 0);
    assert.equal((await all(repository.backups({ labels: { a: 'b' } }))).length, 0);
    assert.equal((await all(repository.backups({ clusterId: 'x' }))).length, 0);
    await assert.rejects(repository.backup('latest', { app: 'db' }), { code: 'BACKUP_NOT_FOUND' });
  });

  it('are committed once for each operation', async () => {
    const [first] = await all(repository.backups());
    const { id: _, createdAt: __, ...record } = first!;
    const again = await repository.commit({ ...record, startedAt: '2026-11-22T18:00:00Z', name: 'other' });
    assert.deepEqual(again, first);
    assert.equal((await all(repository.backups())).length, 3);
  });

  it('are not committed while a root is missing', async () => {
    await assert.rejects(repository.commit(newBackup(9, { manifests: ABSENT, volume: ABSENT })), {
      code: 'REPOSITORY_CORRUPT',
      message: new RegExp(ABSENT),
    });
    assert.equal((await all(repository.backups())).length, 3);
  });

  it('are not committed where garbage is collected by rules of a later version', async () => {
    const roots = await repository.write((writer) => putBackup(writer, [Buffer.from('x')]));
    await store.put('gc/00000001/other', Buffer.from('DMAS'));
    await assert.rejects(repository.commit(newBackup(9, roots)), { code: 'REPOSITORY_VERSION' });
  });

  it('keep members that this version does not know', async () => {
    const roots = await repository.write((writer) => putBackup(writer, [Buffer.from('x')]));
    const record = { ...newBackup(9, roots), future: { deep: [1, 'two'] } };
    const committed = await repository.commit(record);
    assert.deepEqual(committed['future'], record.future);
    assert.deepEqual(await repository.backup('operation9'), committed);
  });

  it('are refused when they are not as the format says', async () => {
    const [backup] = await all(repository.backups());
    const { id: _, createdAt: __, ...record } = backup!;
    for (const change of [{ operation: 'UPPER' }, { operation: 'a/b' }, { startedAt: 'yesterday' }, { members: -1 }, { manifests: 'x' }]) {
      await assert.rejects(
        repository.commit({ ...record, operation: 'operation9', ...change } as never),
        (e: Error) => 'code' in e,
        JSON.stringify(change),
      );
    }
    assert.equal((await all(repository.backups())).length, 3);
  });

  it('are deleted, once or twice', async () => {
    const backup = await repository.backup('operation2');
    await repository.deleteBackup(backup.id);
    await repository.deleteBackup(backup.id);
    assert.deepEqual(
      (await all(repository.backups())).map((b) => b.operation),
      ['operation1', 'operation3'],
    );
    await assert.rejects(repository.backup('operation2'), { code: 'BACKUP_NOT_FOUND' });
  });

  it('whose record is damaged are deleted by their whole id, and nothing else is', async () => {
    const [damaged, newer, fence] = await keysUnder(store, 'backups/');
    const cut = (await store.get(damaged!))!.subarray(0, 50);
    const future = Buffer.from((await store.get(newer!))!);
    future[6] = 9;
    for (const [key, body] of [
      [damaged!, cut],
      [newer!, future],
      [fence!, encodeHeader(OBJECT_TYPE.fence, 0)],
    ] as const) {
      await store.delete(key);
      await store.put(key, body);
    }
    const idOf = (key: string | undefined) => key!.slice('backups/'.length);
    const before = await keysUnder(store, '');
    assert.deepEqual(
      (await repository.verify('structure', QUIET)).map(({ code, hint }) => [code, hint]),
      [
        ['backup-unreadable', `the backup is lost; kubectl dmaas backup delete ${idOf(damaged)}`],
        ['backup-unreadable', 'update DMaaS'],
      ],
    );
    assert.deepEqual(await repository.deletableBackup(idOf(damaged)), { id: idOf(damaged) });
    for (const which of ['operation1', idOf(damaged).slice(0, -1)]) {
      await assert.rejects(repository.deletableBackup(which), { code: 'REPOSITORY_CORRUPT' }, which);
    }
    await assert.rejects(repository.deletableBackup(idOf(newer)), { code: 'REPOSITORY_VERSION' });
    await assert.rejects(repository.deletableBackup(idOf(fence)), { code: 'BACKUP_NOT_FOUND' });
    await repository.deleteBackup(idOf(damaged));
    assert.deepEqual(
      await keysUnder(store, ''),
      before.filter((key) => key !== damaged),
    );
  });

  it('whose record is damaged or of the future do not hide the others', async () => {
    const keys = await keysUnder(store, 'backups/');
    const body = Buffer.from((await store.get(keys[0]!))!);
    body[body.length - 1]! ^= 1;
    await store.put(keys[0]!, body);
    const newer = Buffer.from((await store.get(keys[1]!))!);
    newer[6] = 9;
    await store.put(keys[1]!, newer);
    await assert.rejects(all(repository.backups()), { code: 'REPOSITORY_CORRUPT', message: new RegExp(keys[0]!) });
    const unreadable: string[] = [];
    const listed = await all(repository.backups(undefined, { onUnreadable: (id, e) => unreadable.push(`${id} ${e.code}`) }));
    assert.deepEqual(
      listed.map((b) => b.operation),
      ['operation3'],
    );
    assert.deepEqual(unreadable, ['20261122T120111Z-operation1 REPOSITORY_CORRUPT', '20261122T120211Z-operation2 REPOSITORY_VERSION']);
    assert.equal((await repository.backup('backup-3')).operation, 'operation3');
    await assert.rejects(repository.backup('backup-1'), {
      code: 'BACKUP_NOT_FOUND',
      hint: /could not be read: 20261122T120111Z-operation1/,
    });
  });
});

describe('run records', () => {
  it('are written once, read, listed and deleted', async () => {
    const store = new MemoryStore();
    const { runs } = await createRepository(store, UNLOCK);
    await runs.put('op2', 'result-0', { bytes: 12, long: 12345678901234567890n });
    await runs.put('op1', 'plan', [1, 2]);
    await runs.put('op1', 'log.1', 'text');
    await runs.put('op1', 'plan', [1, 2]);
    await assert.rejects(runs.put('op1', 'plan', [1]), { code: 'STORE_EXISTS' });
    const { runs: others } = await openRepository(store, UNLOCK);
    assert.deepEqual(await others.get('op2', 'result-0'), { bytes: 12, long: 12345678901234567890n });
    assert.deepEqual(await others.get('op1', 'plan'), [1, 2]);
    assert.equal(await others.get('op1', 'none'), undefined);
    assert.deepEqual(await others.list('op1'), ['log.1', 'plan']);
    const operations = async () => (await all(others.operations())).map(({ operation, names }) => [operation, ...names]);
    assert.deepEqual(await operations(), [
      ['op1', 'log.1', 'plan'],
      ['op2', 'result-0'],
    ]);
    await others.delete('op1');
    assert.deepEqual(await operations(), [['op2', 'result-0']]);
    await assert.rejects(runs.put('../x', 'y', 1), { code: 'INTERNAL' });
  });
});

describe('manifests', () => {
  it('come back as they were, each stored once', async () => {
    const repository = await createRepository(new MemoryStore(), UNLOCK);
    const member = (name: string) => ({
      object: {
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name, namespace: 'shop', generation: 9007199254740993n },
        spec: { replicas: 2 },
      },
      because: [{ name: 'owned-by', from: name }],
    });
    const members = ['a', 'b', 'a'].map(member);
    const root = await repository.write((writer) => writeManifests(writer, members));
    assert.deepEqual(await readManifests(repository, root), members);
    const none = await repository.write((writer) => writeManifests(writer, []));
    assert.deepEqual(await readManifests(repository, none), []);
    await repository.write(async (writer) => {
      await writeManifests(writer, members);
      assert.equal(writer.totals().newBlobs, 0);
    });
  });

  it('are not taken from another node', async () => {
    const repository = await createRepository(new MemoryStore(), UNLOCK);
    const root = await repository.write(
      async (writer) => (await writer.put('node', encodeNode({ type: 1, references: [], payload: Buffer.from('{}') }))).id,
    );
    await assert.rejects(readManifests(repository, root), { code: 'REPOSITORY_CORRUPT' });
  });
});
