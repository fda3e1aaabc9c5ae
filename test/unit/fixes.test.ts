import assert from 'node:assert/strict';
import { fixesOf } from '../../core/src/restore/fixes.ts';
import type { RestoreOptions } from '../../core/src/restore/model.ts';
import { backupFixesOf } from '../../core/src/transfer/fixes.ts';

const options: RestoreOptions = { activate: true };
const restoreFixes = (hint: string | undefined, from = options) =>
  fixesOf(hint === undefined ? {} : { hint }, from).map(({ title, options: { activate: _, ...changed } }) => [title, changed]);

describe('what helps against findings', () => {
  it('is read from the hints of a restore', () => {
    assert.deepEqual(restoreFixes('--map-storage-class gp3=premium'), [
      ['Use storage class premium instead of gp3', { storageClassMap: { gp3: 'premium' } }],
    ]);
    assert.deepEqual(restoreFixes('--map-storage-class =premium'), [
      ['Use storage class premium for claims without one', { storageClassMap: { '': 'premium' } }],
    ]);
    assert.deepEqual(restoreFixes('--exclude pvc/data'), [['Leave out pvc/data', { exclude: ['pvc/data'] }]]);
    assert.deepEqual(restoreFixes('--to-namespace shop-restored, or --on-conflict skip to keep its data'), [
      ['Restore to namespace shop-restored', { namespace: 'shop-restored' }],
      ['Keep what exists', { conflict: 'skip' }],
    ]);
  });

  it('is consent, where an object reaches beyond the namespace', () => {
    assert.deepEqual(restoreFixes('--allow clusterrolebinding/web if you trust the backup, or --exclude clusterrolebinding/web'), [
      ['Allow clusterrolebinding/web: I trust this backup', { allow: ['clusterrolebinding/web'] }],
      ['Leave out clusterrolebinding/web', { exclude: ['clusterrolebinding/web'] }],
    ]);
    assert.deepEqual(fixesOf({ hint: '--allow deployment/b if' }, { activate: true, allow: ['deployment/a'] })[0]?.options.allow, [
      'deployment/a',
      'deployment/b',
    ]);
  });

  it('is another label, where pods would be behind a Service of the original', () => {
    assert.deepEqual(restoreFixes('--map-label app=web:app=web-restored'), [
      ['Label it app=web-restored instead of app=web', { values: { labels: [{ from: ['app', 'web'], to: ['app', 'web-restored'] }] } }],
    ]);
  });

  it('adds to what was chosen before', () => {
    const chosen: RestoreOptions = { activate: true, storageClassMap: { a: 'b' }, exclude: ['secret'], include: ['sts'] };
    const [fix] = fixesOf({ hint: '--exclude pvc/data' }, chosen);
    assert.deepEqual(fix?.options, { ...chosen, exclude: ['secret', 'pvc/data'] });
    assert.deepEqual(fixesOf({ hint: '--include pvc/data' }, chosen)[0]?.options.include, ['sts', 'pvc/data']);
    assert.deepEqual(fixesOf({ hint: '--map-storage-class gp3=x' }, chosen)[0]?.options.storageClassMap, { a: 'b', gp3: 'x' });
  });

  it('is nothing where the user must choose, or work elsewhere', () => {
    for (const hint of [
      undefined,
      'kubectl create serviceaccount web',
      '--map-storage-class gp3=NAME',
      '--include pvc/data',
      '--context other',
    ])
      assert.deepEqual(restoreFixes(hint), []);
  });

  it('is, for a volume that cannot be snapshotted, to read it while in use or to leave it out', () => {
    const ref = { apiVersion: 'v1', kind: 'PersistentVolumeClaim', name: 'data', namespace: 'shop' };
    const blocker = {
      level: 'blocker',
      code: 'volume-not-csi',
      message: 'm',
      ref,
      hint: 'move it, or --live reads it while it is in use',
    } as const;
    assert.deepEqual(
      backupFixesOf(blocker, { live: ['other'] }).map((fix) => fix.options),
      [{ live: ['other', 'data'] }, { live: ['other'], excludeVolumes: ['data'] }],
    );
    assert.deepEqual(backupFixesOf({ level: 'blocker', code: 'access-denied', message: 'm' }, {}), []);
  });
});
