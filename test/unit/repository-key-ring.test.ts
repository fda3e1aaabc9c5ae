/** Row C4 of the fault matrix: every kind of key opens what it should, and nothing else. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { KeyRing } from '../../core/src/repository/keys/key-ring.ts';
import {
  parseRecipient,
  formatRecipient,
  formatRecoveryKey,
  newRecoveryKey,
  parseUnlock,
  type Unlock,
} from '../../core/src/repository/keys/recipients.ts';
import { createRepository, openRepository } from '../../core/src/repository/repository.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import { FaultyStore } from '../support/faulty-store.ts';
import {
  all,
  keysUnder,
  makeBackup,
  newBackup,
  objectsOf,
  operationOf,
  putBackup,
  QUIET,
  restoreBackup,
  SMALL,
  storeOf,
  UNLOCK,
} from '../support/repository.ts';

const CONTENTS = [Buffer.from('one'), Buffer.from('two')];

async function restores(store: MemoryStore, unlock: Unlock, n: number): Promise<void> {
  const repository = await openRepository(store, unlock);
  assert.deepEqual(await restoreBackup(repository, await repository.backup(operationOf(n))), CONTENTS);
}

const parseJson = (body: Uint8Array) => JSON.parse(Buffer.from(body).toString()) as unknown;

interface WrapObject {
  readonly wrap: Record<string, unknown>;
}

describe('the keys of a repository (C4)', function () {
  this.timeout(60_000);
  const passphrase = { passphrase: 'correct horse battery staple \u00e9' };
  const key = randomBytes(32);
  const recovery = newRecoveryKey();
  let store: MemoryStore;
  const ring = (unlock: Unlock = UNLOCK) => KeyRing.open(store, unlock, randomBytes);

  beforeEach(async () => {
    store = new MemoryStore();
    await makeBackup(await createRepository(store, UNLOCK, { parameters: SMALL }), 1, CONTENTS);
  });

  it('C4: a passphrase, a key file and a recovery key open it when they were added, and not before', async () => {
    const unlocks: Unlock[] = [passphrase, key, { recoveryKey: recovery.privateKey }];
    for (const unlock of unlocks) await assert.rejects(openRepository(store, unlock), { code: 'REPOSITORY_KEY' });
    await (await ring()).add(passphrase, 'safe');
    await (await ring()).add({ key }, '');
    await (await ring()).add({ publicKey: recovery.publicKey }, '');
    for (const unlock of unlocks) await restores(store, unlock, 1);
    // The same letters, composed otherwise.
    await restores(store, { passphrase: passphrase.passphrase.normalize('NFD') }, 1);
    for (const wrong of [{ passphrase: 'another' }, randomBytes(32), { recoveryKey: newRecoveryKey().privateKey }]) {
      await assert.rejects(openRepository(store, wrong), { code: 'REPOSITORY_KEY' });
    }
    assert.deepEqual((await (await ring()).list()).map(({ kind, label }) => [kind, label]).sort(), [
      ['key', ''],
      ['key', ''],
      ['passphrase', 'safe'],
      ['x25519', ''],
    ]);
    assert.deepEqual(await (await openRepository(store, UNLOCK)).verify('data', QUIET), []);
  });

  it('C4: the text of a recovery key is read back, and a mistyped one refused', () => {
    const text = formatRecoveryKey(recovery.privateKey);
    assert.deepEqual((parseUnlock(` ${text}\n`) as { recoveryKey: Uint8Array }).recoveryKey, recovery.privateKey);
    assert.throws(() => parseUnlock(`${text.slice(0, -1)}${text.endsWith('a') ? 'b' : 'a'}`), { code: 'REPOSITORY_KEY' });
    assert.deepEqual(parseRecipient(formatRecipient(recovery.publicKey)), recovery.publicKey);
  });

  it('C4: after a rotation whoever was left out opens what was written before, and nothing later', async () => {
    await (await ring()).add(passphrase, 'leaves');
    await (await ring()).add({ key }, 'stays');
    await (await ring()).add({ publicKey: recovery.publicKey }, '');
    const leaving = (await (await ring()).list()).find(({ label }) => label === 'leaves')!;
    await assert.rejects(
      ring().then((r) => r.rotate([], new Set())),
      { code: 'USAGE', message: /leaves.*stays|stays.*leaves/ },
    );
    const rotated = await (await ring()).rotate([{ key }], new Set([leaving.id]));
    assert.equal(rotated.epoch, 2);
    assert.deepEqual(rotated.keys.map(({ kind, label }) => [kind, label]).sort(), [
      ['key', ''],
      ['key', 'stays'],
      ['x25519', ''],
    ]);
    const current = (await (await ring()).list()).filter(({ isCurrent }) => isCurrent);
    assert.deepEqual(new Map(rotated.keys.map((k) => [k.id, k])), new Map(current.map((k) => [k.id, k])));
    await makeBackup(await openRepository(store, UNLOCK), 2, CONTENTS);
    await (await openRepository(store, UNLOCK)).write((blobs) => blobs.put('data', randomBytes(500)));
    for (const unlock of [UNLOCK, key, { recoveryKey: recovery.privateKey }]) for (const n of [1, 2]) await restores(store, unlock, n);
    await restores(store, passphrase, 1);
    const unreadable: string[] = [];
    const left = await openRepository(store, passphrase);
    assert.equal((await all(left.backups(undefined, { onUnreadable: (id) => unreadable.push(id) }))).length, 1);
    assert.equal(unreadable.length, 1);
    const before = await objectsOf(store);
    for (const refused of [left.prune({}, QUIET), left.verify('data', QUIET), left.repair(QUIET), left.write(() => Promise.resolve())]) {
      await assert.rejects(refused, {
        code: 'REPOSITORY_KEY',
        message: /is sealed with key epoch 2, which was not given to the key in use$/,
      });
    }
    await assert.rejects(left.prune({}, QUIET), { message: /^nothing was deleted/ });
    assert.deepEqual(await objectsOf(store), before, 'what it cannot read it leaves as it is');
    assert.deepEqual((await (await ring()).list()).find(({ id }) => id === leaving.id)?.isCurrent, false);
    assert.deepEqual(
      (await (await openRepository(store, UNLOCK)).verify('data', QUIET)).filter((f) => f.level === 'blocker'),
      [],
    );
  });

  it('C4: a rotation without a key that there is not changes nothing: whoever was meant would keep access', async () => {
    await (await ring()).add({ publicKey: recovery.publicKey }, 'leaves');
    const leaving = (await (await ring()).list()).find(({ label }) => label === 'leaves')!;
    const misspelt = leaving.id.replace(/.$/, (last) => (last === '0' ? '1' : '0'));
    const before = await objectsOf(store);
    await assert.rejects((await ring()).rotate([], new Set([leaving.id, misspelt])), {
      code: 'USAGE',
      message: `no current key has the id ${misspelt}`,
      hint: 'kubectl dmaas key list',
    });
    assert.deepEqual(await objectsOf(store), before);
    await (await ring()).rotate([], new Set([leaving.id]));
    await assert.rejects((await ring()).rotate([], new Set([leaving.id])), { code: 'USAGE' }, 'it is no current one any more');
  });

  it('C4: of two rotations at the same time one wins', async () => {
    const rings = [await ring(), await ring()];
    const outcomes = await Promise.allSettled(rings.map((r) => r.rotate([], new Set())));
    assert.deepEqual(outcomes.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
    assert.deepEqual(await keysUnder(store, 'keys/epoch-'), ['keys/epoch-002', 'keys/epoch-002-copy']);
    await restores(store, UNLOCK, 1);
  });

  it('C4: who has the repository open learns of a rotation', async () => {
    const open = await openRepository(store, UNLOCK);
    await (await ring()).rotate([], new Set());
    await makeBackup(await openRepository(store, UNLOCK), 2, CONTENTS.slice(0, 1));
    assert.deepEqual(await restoreBackup(open, await open.backup(operationOf(2))), CONTENTS.slice(0, 1));
    assert.deepEqual(await open.verify('data', QUIET), []);
    const segments = new Set(await keysUnder(store, 'index/'));
    await makeBackup(open, 3, [randomBytes(2000)]);
    for (const key of await keysUnder(store, 'index/')) if (!segments.has(key)) assert.equal((await store.get(key))![7], 2);
  });

  it('C4: an operation that runs during a rotation ends well', async () => {
    const operator = await openRepository(store, UNLOCK);
    await (await ring()).rotate([], new Set());
    const roots = await (await openRepository(store, UNLOCK)).write((blobs) => putBackup(blobs, CONTENTS));
    const { id } = await operator.commit(newBackup(2, roots));
    assert.deepEqual(await restoreBackup(operator, await operator.backup(id)), CONTENTS);
  });

  it('C4: each key set stands in two places, and one is enough', async () => {
    await (await ring()).rotate([], new Set());
    await makeBackup(await openRepository(store, UNLOCK), 2, CONTENTS);
    const objects = await objectsOf(store);
    const wraps = [...objects.keys()].filter((key) => key.startsWith('keys/'));
    assert.equal(wraps.length, 3);
    for (const key of wraps) {
      for (const [body, code] of [
        [undefined, 'key-copy-missing'],
        [Buffer.from('{}'), 'key-damaged'],
      ] as const) {
        const changed = new Map(objects);
        if (body === undefined) changed.delete(key);
        else changed.set(key, body);
        const less = await storeOf(changed);
        await restores(less, UNLOCK, 2);
        const findings = await (await openRepository(less, UNLOCK)).verify('data', QUIET);
        assert.deepEqual(
          findings.map((f) => [f.level, f.code, f.hint]),
          [['warning', code, 'kubectl dmaas repository repair']],
        );
        assert.deepEqual((await (await openRepository(less, UNLOCK)).repair(QUIET)).restoredKeys, [key]);
        assert.deepEqual(parseJson((await less.get(key))!), parseJson(objects.get(key)!));
      }
    }
  });

  it('C4: a rotation that could not write the second copy says that it has begun', async () => {
    const faulty = new FaultyStore(store, [{ verb: 'put', key: /-copy$/, fault: { kind: 'error' } }]);
    const rotating = await KeyRing.open(faulty, UNLOCK, randomBytes);
    await assert.rejects(rotating.rotate([], new Set()), {
      code: 'STORE_UNAVAILABLE',
      message: /^key epoch 2 has begun, but its keys stand in one place only: /,
      hint: 'kubectl dmaas repository repair',
    });
    assert.equal((await ring()).epoch, 2);
    assert.deepEqual((await (await openRepository(store, UNLOCK)).repair(QUIET)).restoredKeys, ['keys/epoch-002-copy']);
  });

  it('C4: without the keys of the newest epoch older backups are read, and nothing is written or called damaged', async () => {
    await (await ring()).rotate([], new Set());
    await makeBackup(await openRepository(store, UNLOCK), 2, [...CONTENTS, randomBytes(2000)]);
    for (const key of await keysUnder(store, 'keys/epoch-')) await store.delete(key);
    const before = await objectsOf(store);
    await restores(store, UNLOCK, 1);
    const open = await openRepository(store, UNLOCK);
    for (const refused of [open.write(() => Promise.resolve()), open.prune({}, QUIET), open.verify('data', QUIET), open.repair(QUIET)]) {
      await assert.rejects(refused, {
        code: 'REPOSITORY_KEY',
        message: /is sealed with key epoch 2, whose keys are missing$/,
        hint: /^bring keys\/epoch-002 back/,
      });
    }
    assert.deepEqual(await objectsOf(store), before);
  });

  it('C4: a key epoch that nobody has begun is damage', async () => {
    const [segment] = (await keysUnder(store, 'index/')) as [string];
    const body = Buffer.from((await store.get(segment))!);
    body[7] = 9;
    await store.put(segment, body);
    const findings = await (await openRepository(store, UNLOCK)).verify('structure', QUIET);
    assert.match(findings.find(({ code }) => code === 'segment-damaged')?.message ?? '', /key epoch 9, which nobody has begun$/);
    await (await openRepository(store, UNLOCK)).write(() => Promise.resolve());
  });

  it('C4: whoever can only write to the bucket is not given the keys of a new epoch', async () => {
    const attacker = newRecoveryKey();
    const { id } = await (await ring()).add({ publicKey: recovery.publicKey }, 'safe');
    const before = await objectsOf(store);
    const plant = async (change: (object: WrapObject) => void, key = `keys/${id}`) => {
      for (const [name, body] of before) await store.put(name, body);
      const object = parseJson((await store.get(`keys/${id}`))!) as WrapObject;
      change(object);
      await store.put(key, Buffer.from(JSON.stringify(object)));
    };
    const recipient = Buffer.from(attacker.publicKey).toString('base64');
    const planted = '0'.repeat(32);
    for (const [named, plantIt] of [
      [id, () => plant(({ wrap }) => (wrap['recipient'] = recipient))],
      [planted, () => plant(({ wrap }) => Object.assign(wrap, { recipient, id: planted }), `keys/${planted}`)],
      [planted, () => plant(({ wrap }) => (Object.assign(wrap, { recipient, id: planted }), delete wrap['mac']), `keys/${planted}`)],
    ] as const) {
      await plantIt();
      await assert.rejects((await ring()).rotate([], new Set()), { code: 'USAGE', message: new RegExp(named) });
      const foreign = (await (await openRepository(store, UNLOCK)).verify('structure', QUIET)).filter(({ code }) => code === 'key-foreign');
      assert.match(foreign[0]?.message ?? '', new RegExp(`recovery key ${named} in keys/${named}`));
      assert.deepEqual(
        (await (await ring()).list()).filter((k) => !k.isVouchedFor).map((k) => k.id),
        [named],
      );
      await (await ring()).rotate([], new Set([named]));
      await assert.rejects(openRepository(store, { recoveryKey: attacker.privateKey }), { code: 'REPOSITORY_KEY' });
      for (const key of await keysUnder(store, 'keys/')) await store.delete(key);
    }
    await plant(({ wrap }) => delete wrap['mac']);
    await (await ring()).rotate([{ publicKey: recovery.publicKey }], new Set());
    await restores(store, { recoveryKey: recovery.privateKey }, 1);
    assert.equal((await ring({ recoveryKey: recovery.privateKey })).epoch, 2, 'one that its holder names is given them');
  });

  it('C4: a key that was added can be removed, the one in use cannot', async () => {
    const { id } = await (await ring()).add({ key }, '');
    await assert.rejects(
      ring(key).then((r) => r.remove(id)),
      { code: 'USAGE', message: /in use/ },
    );
    await (await ring()).remove(id);
    await assert.rejects(openRepository(store, key), { code: 'REPOSITORY_KEY' });
    const damaged = await (await ring()).add({ key }, '');
    await store.put(`keys/${damaged.id}`, Buffer.from('{}'));
    await (await ring()).remove(damaged.id);
    const [first] = await (await ring()).list();
    await assert.rejects(
      ring().then((r) => r.remove(first!.id)),
      { code: 'USAGE' },
    );
  });
});
