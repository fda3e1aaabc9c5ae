import assert from 'node:assert/strict';
import * as core from '../../core/src/index.ts';
import type { Backup } from '../../core/src/index.ts';
import { addressOf, placeOf, type Address } from '../../vscode-extension/src/files/address.ts';
import { afterEnd, afterEvent, afterResume, newTimeline, progressText } from '../../vscode-extension/src/timeline/state.ts';
import { describeApp, describeBackup, describeFile, describeVolume } from '../../vscode-extension/src/views/describe.ts';

const NOW = new Date('2026-11-22T12:00:00.000Z');

function backupOf(app: string, createdAt: string, findings: Backup['findings'] = []): Backup {
  const volume = {
    claim: 'data',
    mode: 'filesystem',
    storageClass: 'fast',
    driver: '',
    accessModes: [],
    capacityBytes: 1,
    method: 'volume-snapshot',
    consistentAt: createdAt,
    root: 'r',
    files: 3,
    bytes: 5 << 20,
    addedBytes: 1 << 20,
  };
  return {
    ...{
      id: `id-${createdAt}`,
      operation: 'o',
      name: `${app}-1`,
      createdAt,
      startedAt: createdAt,
      tool: 't',
      manifests: 'm',
      members: 4,
      labels: {},
      findings,
    },
    app: { name: app, namespace: 'shop', selector: {} },
    cluster: { id: 'c1', context: 'prod', version: 'v1' },
    volumes: [volume],
  } as unknown as Backup;
}

const app = {
  name: 'web',
  namespace: 'shop',
  selector: { namespace: 'shop', wholeNamespace: true },
  selectedBy: '-l app=web',
  workloads: [],
  volumes: 2,
  sizeBytes: 3 << 30,
  findings: [],
} as const;
const source = { clusterId: 'c1', namespace: 'shop', context: 'prod' };

describe('how applications and backups look in the editor', () => {
  it('says how well an application is protected', () => {
    const at = (backups: readonly Backup[]) =>
      describeApp(
        core,
        app,
        core.protectionOf(
          app,
          'c1',
          backups.map((backup) => ({ backup, source })),
        ),
        NOW,
      );
    const none = at([backupOf('other', '2026-11-22T10:00:00.000Z')]);
    assert.deepEqual(
      [none.description, none.context, none.color],
      ['not backed up · 2 volumes', 'app unprotected', 'list.warningForeground'],
    );
    const good = at([backupOf('web', '2026-11-22T10:00:00.000Z'), backupOf('web', '2026-11-20T10:00:00.000Z')]);
    assert.deepEqual(
      [good.description, good.context, good.color],
      ['backed up 120m ago · 2 volumes', 'app protected', 'testing.iconPassed'],
    );
    const partly = at([backupOf('web', '2026-11-22T11:59:00.000Z', [{ level: 'warning', code: 'x', message: 'a file was lost' }])]);
    assert.deepEqual([partly.description, partly.color], ['backed up 60s ago, partly · 2 volumes', 'list.warningForeground']);
    assert.equal(describeApp(core, app, 'unknown', NOW).description, '2 volumes');
  });

  it('tells an application from one of the same name in another cluster', () => {
    assert.equal(core.protectionOf(app, 'c2', [{ backup: backupOf('web', NOW.toISOString()), source }]).state, 'none');
  });

  it('groups backups by application, the newest first', () => {
    const list = ['2026-11-20', '2026-11-22', '2026-11-21'].map((day) => ({ backup: backupOf('web', `${day}T10:00:00.000Z`), source }));
    const [group] = [...core.groupByApplication([...list, { backup: backupOf('old', '2020-01-01T00:00:00.000Z'), source }]).values()];
    assert.deepEqual(
      group?.map(({ backup }) => backup.createdAt.slice(8, 10)),
      ['22', '21', '20'],
    );
  });

  it('marks a backup in which something is missing', () => {
    assert.deepEqual(
      [
        describeBackup(core, backupOf('web', '2026-11-22T10:00:00.000Z'), NOW),
        describeBackup(core, backupOf('web', '2026-11-22T10:00:00.000Z', [{ level: 'warning', code: 'x', message: 'm' }]), NOW),
      ].map((s) => [s.description, s.icon, s.context]),
      [
        ['120m ago · 5Mi', 'archive', 'backup completed'],
        ['120m ago · 5Mi · partial', 'warning', 'backup partial findings'],
      ],
    );
  });

  it('opens folders, and files by a click, and nothing of a device', () => {
    const file = { path: 'a/b', name: 'b', sizeBytes: 2048, mtimeMs: 0 };
    assert.deepEqual(
      [describeFile(core, { ...file, type: 'directory' }).opens, describeFile(core, { ...file, type: 'directory' }).command],
      ['collapsed', undefined],
    );
    assert.deepEqual(
      [describeFile(core, { ...file, type: 'file' }).command, describeFile(core, { ...file, type: 'file' }).description],
      ['dmaas.openFile', '2Ki'],
    );
    assert.equal(describeFile(core, { ...file, type: 'symlink', target: '../x' }).description, '→ ../x');
    assert.equal(describeFile(core, { ...file, type: 'fifo' }).command, undefined);
    const [volume] = backupOf('web', NOW.toISOString()).volumes;
    assert.ok(volume);
    assert.deepEqual(
      [describeVolume(core, volume).opens, describeVolume(core, { ...volume, mode: 'block' }).opens],
      ['collapsed', undefined],
    );
  });
});

describe('addresses of what backups hold', () => {
  const common = { location: 'secret-1', backup: '20261122T100000Z-operation' };
  const ref = { apiVersion: 'apps/v1', kind: 'StatefulSet', name: 'db', namespace: 'shop' };
  const all: readonly Address[] = [
    { ...common, view: 'manifest', ref },
    { ...common, view: 'comparable', ref: { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'ClusterRole', name: 'system:x' } },
    { ...common, view: 'live', context: 'arn:aws:eks:eu/prod %', ref },
    { ...common, view: 'file', claim: 'data', path: 'a/b c/\\xff%2f.txt' },
  ];

  it('are read as they were written', () => {
    for (const address of all) assert.deepEqual(addressOf(placeOf(address)), address);
  });

  it('end in the name that the tab shows', () => {
    assert.ok(all.slice(0, 3).every((address) => placeOf(address).path.endsWith('.yaml')));
    assert.equal(placeOf(all[0] as Address).path, '/20261122T100000Z-operation/manifests/apps~v1/shop/StatefulSet/db.yaml');
  });

  it('are nothing else', () => {
    for (const path of [
      '',
      '/',
      '/b',
      '/b/volumes',
      '/b/volumes/claim',
      '/b/manifests/v1',
      '/b/other/v1/_/Pod/x.yaml',
      '/.vscode/settings.json',
    ]) {
      assert.equal(addressOf({ authority: 'secret-1', path }), undefined, path);
    }
  });
});

describe('a timeline', () => {
  const begin = () => newTimeline({ id: 'i', kind: 'restore', title: 'Restore shop', subtitle: '' }, core.PHASES, 0);
  const played = (events: readonly core.DmaasEvent[]) =>
    events.reduce((state, event, i) => afterEvent(state, event, 1000 * (i + 1)), begin());

  it('has the three phases of a restore from the beginning, by their names', () => {
    assert.deepEqual(
      begin().phases.map(({ title, state }) => [title, state]),
      [
        ['Preflight check', 'pending'],
        ['Restoring backups', 'pending'],
        ['Activating application', 'pending'],
      ],
    );
  });

  it('follows steps, bytes and findings, each where it happens', () => {
    const state = played([
      { type: 'phase', phase: 'preflight', state: 'start' },
      { type: 'finding', finding: { level: 'warning', code: 'x', message: 'careful' } },
      { type: 'phase', phase: 'preflight', state: 'done' },
      { type: 'phase', phase: 'populate', state: 'start' },
      { type: 'step', phase: 'populate', title: 'fill claim data', state: 'start' },
      { type: 'bytes', volume: 'data', done: 0, total: 4000, added: 0 },
      { type: 'bytes', volume: 'data', done: 3000, total: 4000, added: 0 },
      { type: 'step', phase: 'populate', title: 'fill claim data', state: 'done' },
    ]);
    const [preflight, populate] = state.phases;
    assert.deepEqual([preflight?.state, preflight?.startedAt, preflight?.endedAt, preflight?.findings.length], ['done', 1000, 3000, 1]);
    assert.deepEqual(populate?.steps, [{ title: 'fill claim data', state: 'done' }]);
    assert.equal(progressText(state, core.formatBytes), 'Restoring backups · 75% · 2.9Ki/s');
  });

  it('counts a preflight check that is made twice from the first to the last', () => {
    const state = played([
      { type: 'phase', phase: 'preflight', state: 'start' },
      { type: 'phase', phase: 'preflight', state: 'done' },
      { type: 'phase', phase: 'preflight', state: 'start' },
      { type: 'phase', phase: 'preflight', state: 'done' },
    ]);
    assert.deepEqual([state.phases[0]?.startedAt, state.phases[0]?.endedAt, state.phases[0]?.state], [1000, 4000, 'done']);
  });

  it('fails what ran when it ends badly, and goes on from there', () => {
    const running = played([{ type: 'phase', phase: 'preflight', state: 'start' }]);
    const failed = afterEnd(running, { outcome: 'failed', error: { message: 'no' }, canResume: true }, 9000);
    assert.deepEqual(
      [failed.outcome, failed.phases[0]?.state, failed.canResume, failed.endedAt],
      ['failed', 'failed', true, '1970-01-01T00:00:09.000Z'],
    );
    const again = afterResume(failed);
    assert.deepEqual([again.outcome, again.error, again.endedAt, again.canResume], ['running', undefined, undefined, false]);
    assert.equal(afterEnd(running, { outcome: 'done' }, 1).phases[0]?.state, 'done');
  });
});
