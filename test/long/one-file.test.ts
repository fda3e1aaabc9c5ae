import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openRepository } from '../../core/src/repository/repository.ts';
import { backupVolume } from '../../core/src/standalone/volume-backup.ts';
import { restoreVolume } from '../../core/src/standalone/volume-restore.ts';
import { FileStore } from '../../core/src/store/file.ts';
import { FaultyStore } from '../support/faulty-store.ts';
import { QUIET, seededRandom, UNLOCK } from '../support/repository.ts';
import { scratch } from '../support/volume.ts';

const INDEX = join(import.meta.dirname, '../support/index-scale.ts');
/** What 100 GiB are in blocks of 128 KiB. */
const ENTRIES = 819_200;
const FILES = 100_000;

describe('one file of a repository of 100 GiB', function () {
  this.timeout(1800_000);
  const dir = scratch();
  after(() => {
    dir.rm();
  });

  it('takes at most 12 GETs, on a machine that has never seen the repository', async () => {
    const [store, source, target] = ['store', 'source', 'target'].map((name) => join(dir.path, name)) as [string, string, string];
    mkdirSync(store);
    mkdirSync(source);
    execFileSync(process.execPath, [INDEX, 'make', store, String(ENTRIES)]);
    const random = seededRandom(1);
    for (let i = 0; i < FILES; i++) {
      if (i % 1000 === 0) mkdirSync(join(source, `d${i / 1000}`));
      writeFileSync(join(source, `d${Math.floor(i / 1000)}`, `file-${i}`), random(2000));
    }
    const first = await openRepository(new FileStore(store), UNLOCK);
    await backupVolume(first, { path: source, name: 'data', hostname: 'test' }, QUIET);
    await first.close();

    const counting = new FaultyStore(new FileStore(store));
    const second = await openRepository(counting, UNLOCK);
    const backup = await second.backup('latest', { app: 'data' });
    const path = 'd37/file-37123';
    await restoreVolume(second, { backup, target, path }, QUIET);
    await second.close();
    assert.deepEqual(readFileSync(join(target, 'file-37123')), readFileSync(join(source, path)));
    const [gets, lists] = [counting.count('get'), counting.count('list')];
    console.log(`      ${gets} GETs, ${lists} LISTs`);
    assert.ok(gets <= 12, `${gets} GETs`);
  });
});
