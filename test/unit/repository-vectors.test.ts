/** Row H4 of the fault matrix: what an earlier version wrote is read, for ever. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { deriveScope, openSource, parseKey } from '../../core/src/repository/keys/keys.ts';
import { readManifests } from '../../core/src/repository/manifests.ts';
import { openRepository } from '../../core/src/repository/repository.ts';
import { FileStore } from '../../core/src/store/file.ts';
import { all, QUIET, restoreBackup } from '../support/repository.ts';

const VECTORS = join(import.meta.dirname, '../vectors');

interface Expected {
  readonly key: string;
  readonly source: { readonly clusterId: string; readonly namespace: string };
  readonly repository: string;
  /** SHA-256 of the contents of each backup's volume. */
  readonly backups: Readonly<Record<string, readonly string[]>>;
}

describe('a repository of an earlier version', () => {
  for (const version of readdirSync(VECTORS)) {
    it(`H4: is read as it was written: ${version}`, async () => {
      const folder = join(VECTORS, version);
      const expected = JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8')) as Expected;
      const key = parseKey(expected.key);
      const { directory, unlock } = deriveScope(key, expected.source);
      const store = new FileStore(join(folder, directory));
      assert.deepEqual(openSource(key, directory, (await store.get('source'))!), expected.source);
      const repository = await openRepository(store, unlock);
      assert.equal(repository.id, expected.repository);
      const backups = await all(repository.backups());
      assert.deepEqual(
        backups.map((backup) => backup.id),
        Object.keys(expected.backups),
      );
      for (const backup of backups) {
        const contents = await restoreBackup(repository, backup);
        assert.deepEqual(
          contents.map((content) => createHash('sha256').update(content).digest('hex')),
          expected.backups[backup.id],
        );
        const [member] = await readManifests(repository, backup.manifests);
        assert.equal(member!.object.metadata.name, 'settings');
      }
      assert.deepEqual(await repository.runs.get('operation1', 'plan'), { volumes: 1 });
      assert.deepEqual(await repository.verify('data', QUIET), []);
    });
  }
});
