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
import { all, keysUnder, makeBackup, operationOf, QUIET, restoreBackup, SMALL, UNLOCK } from '../support/repository.ts';

const CONTENTS = [Buffer.from('one'), Buffer.from('two')];

async function restores(store: MemoryStore, unlock: Unlock, n: number): Promise<void> {
  const repository = await openRepository(store, unlock);
  assert.deepEqual(await restoreBackup(repository, await repository.backup(operationOf(n))), CONTENTS);
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
    assert.equal(await (await ring()).rotate([{ key }], new Set([leaving.id])), 2);
    await makeBackup(await openRepository(store, UNLOCK), 2, CONTENTS);
    for (const unlock of [UNLOCK, key, { recoveryKey: recovery.privateKey }]) for (const n of [1, 2]) await restores(store, unlock, n);
    await restores(store, passphrase, 1);
    const unreadable: string[] = [];
    const left = await openRepository(store, passphrase);
    assert.equal((await all(left.backups(undefined, { onUnreadable: (id) => unreadable.push(id) }))).length, 1);
    assert.equal(unreadable.length, 1);
    await assert.rejects(left.prune({}, QUIET), { message: /^nothing was deleted/ });
    assert.deepEqual((await (await ring()).list()).find(({ id }) => id === leaving.id)?.isCurrent, false);
    assert.deepEqual(
      (await (await openRepository(store, UNLOCK)).verify('data', QUIET)).filter((f) => f.level === 'blocker'),
      [],
    );
  });

  it('C4: of two rotations at the same time one wins', async () => {
    const rings = [await ring(), await ring()];
    const outcomes = await Promise.allSettled(rings.map((r) => r.rotate([], new Set())));
    assert.deepEqual(outcomes.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
    assert.deepEqual(await keysUnder(store, 'keys/epoch-'), ['keys/epoch-002']);
    await restores(store, UNLOCK, 1);
  });

  it('C4: a key that was added can be removed, the one in use cannot', async () => {
    const { id } = await (await ring()).add({ key }, '');
    await assert.rejects(
      ring(key).then((r) => r.remove(id)),
      { code: 'USAGE', message: /in use/ },
    );
    await (await ring()).remove(id);
    await assert.rejects(openRepository(store, key), { code: 'REPOSITORY_KEY' });
    const [first] = await (await ring()).list();
    await assert.rejects(
      ring().then((r) => r.remove(first!.id)),
      { code: 'USAGE' },
    );
  });
});
