/** Restores are found in the repositories of a location. */
import assert from 'node:assert/strict';
import { openLocationRepository } from '../../core/src/location/open.ts';
import { getRestore } from '../../core/src/restore/restore.ts';
import { accessWith, addBackup, BLOG, bucket, keyIn, SHOP } from '../support/location.ts';

const ID = 'k7m2q8xa';

describe('a restore of a location', () => {
  it('is found, though the repository of another namespace cannot be opened', async () => {
    // Keys are random, and in which order repositories are looked at is, too.
    for (let n = 0; n < 8; n++) {
      const [access, deps] = [accessWith(), bucket()];
      await addBackup(access, SHOP, deps, 'web', 'one', 'aaaaaaaa');
      await addBackup(access, BLOG, deps, 'blog', 'two', 'bbbbbbbb');
      const open = await openLocationRepository(access, SHOP, deps);
      await open.repository.runs.put(ID, 'restore-plan', { startedAt: '2026-11-22T12:00:00Z', plan: { schema: 1 } });
      await open.close();
      await deps.store.delete(keyIn(access, BLOG, 'dmaas.json'));
      assert.equal((await getRestore(access, ID, deps)).source.namespace, 'shop');
      await assert.rejects(getRestore(access, 'aaaaaaab', deps), { code: 'REPOSITORY_CORRUPT', message: /dmaas\.json is damaged/ });
    }
  });

  it('that nobody knows is a mistake', async () => {
    const [access, deps] = [accessWith(), bucket()];
    await addBackup(access, SHOP, deps, 'web', 'one', 'aaaaaaaa');
    await assert.rejects(getRestore(access, ID, deps), { code: 'USAGE', message: /knows no restore k7m2q8xa/ });
  });
});
