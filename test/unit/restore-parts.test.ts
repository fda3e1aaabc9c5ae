import assert from 'node:assert/strict';
import { at } from '../../core/src/discovery/read.ts';
import { DmaasError } from '../../core/src/errors.ts';
import type { KubeObject } from '../../core/src/model.ts';
import type { BackupView, RestoreOptions, RestorePlan } from '../../core/src/restore/model.ts';
import { preflightRestore } from '../../core/src/restore/preflight.ts';
import { givenHooks, restoreHooksOf, unmetHooks } from '../../core/src/restore/restore-hooks.ts';
import { put } from '../../core/src/restore/rewrite.ts';
import { applyRestore } from '../../core/src/restore/run.ts';
import { fillingMover, MemoryJournal, playedCluster } from '../support/restore-cluster.ts';
import { claimOf, emptyTarget, kube, live, OPERATION, outline, plan, shop, volumeOf } from '../support/restore.ts';

const CLAIMS = ['data-db-0', 'data-db-1', 'data-db-2'];
/** The shop with a database of three replicas. */
function three(): BackupView {
  const base = shop();
  const set = base.objects.find((o) => o.kind === 'StatefulSet');
  assert.ok(set);
  const objects = [...base.objects.filter((o) => o !== set && o.metadata.name !== 'data-db-0'), put(set, ['spec', 'replicas'], 3)];
  return {
    ...base,
    objects: [...objects, ...CLAIMS.map((name) => live(claimOf(name)))],
    volumes: [...CLAIMS, 'uploads'].map((name) => volumeOf(name)),
  };
}
const planned = (options: Partial<RestoreOptions>, backup = three()): RestorePlan => plan(backup, emptyTarget(), options);
const filled = (p: RestorePlan) => p.steps.flatMap((s) => (s.do === 'populate' ? [`${s.claim.name} from ${s.root}`] : []));
const set = (p: RestorePlan): KubeObject => {
  const step = p.steps.find((s) => s.do === 'apply' && s.ref.kind === 'StatefulSet');
  assert.ok(step?.do === 'apply');
  return step.manifest;
};

describe('parts of a backup', () => {
  it('one volume, under its own name or another', () => {
    const p = planned({ volumes: { uploads: 'uploads-old', 'data-db-1': 'data-db-1' } });
    assert.deepEqual(filled(p), ['data-db-1 from root-data-db-1', 'uploads-old from root-uploads']);
    assert.deepEqual(outline(p.steps), [
      'create namespace/shop',
      'create persistentvolumeclaim/data-db-1',
      'create persistentvolumeclaim/uploads-old',
      'populate data-db-1',
      'populate uploads-old',
    ]);
    const unknown = planned({ volumes: { none: 'none' } }).findings.find((f) => f.code === 'volume-unknown');
    assert.deepEqual([unknown?.level, unknown?.hint], ['blocker', 'it has uploads, data-db-0, data-db-1, data-db-2']);
  });

  it('one object', () => {
    assert.deepEqual(outline(planned({ include: ['secret/db-password'] }).steps), ['create namespace/shop', 'create secret/db-password']);
  });

  it('a StatefulSet with fewer replicas leaves out the claims of the others', () => {
    const p = planned({ replicas: { 'statefulset/db': { replicas: 1 } } });
    assert.deepEqual(filled(p), ['data-db-0 from root-data-db-0', 'uploads from root-uploads']);
    assert.ok(p.steps.some((s) => s.do === 'activate' && s.how === 'replicas 0 -> 1'));
    assert.deepEqual(p.findings.filter((f) => f.code === 'replica-left-out').length, 2);
    assert.ok(!p.findings.some((f) => f.code === 'claim-left-out' || f.code === 'claim-without-data'));
  });

  it('a StatefulSet with more replicas keeps all claims; the rest are its own to make', () => {
    const p = planned({ replicas: { 'statefulset/db': { replicas: 5 } } });
    assert.equal(filled(p).length, 4);
    assert.ok(p.steps.some((s) => s.do === 'activate' && s.how === 'replicas 0 -> 5'));
  });

  it('one ordinal: the set begins there', () => {
    const p = planned({ replicas: { 'statefulset/db': { replicas: 1, start: 2 } } });
    assert.deepEqual(filled(p), ['data-db-2 from root-data-db-2', 'uploads from root-uploads']);
    assert.equal(at(set(p), 'spec', 'ordinals', 'start'), 2);
  });

  it('replicas of what is not restored are a slip of the pen', () => {
    const codes = planned({ replicas: { 'statefulset/none': { replicas: 1 } } }).findings.map((f) => f.code);
    assert.ok(codes.includes('replicas-without-target'));
  });
});

describe('commands after a restore', () => {
  const annotated = (annotations: Readonly<Record<string, string>>): KubeObject =>
    kube('apps/v1', 'Deployment', 'web', {
      spec: {
        selector: { matchLabels: { app: 'web' } },
        template: { metadata: { labels: { app: 'web' }, annotations }, spec: { containers: [{ name: 'main' }] } },
      },
    });
  const POST = 'post.hook.restore.velero.io/';

  it('are those of Velero’s annotations', () => {
    const { hooks } = restoreHooksOf(
      annotated({ [`${POST}command`]: '["sh","-c","x"]', [`${POST}exec-timeout`]: '5s', [`${POST}on-error`]: 'Fail' }),
    );
    assert.deepEqual(hooks, [{ container: 'main', command: ['sh', '-c', 'x'], timeoutMs: 5000, failsRestore: true }]);
    assert.deepEqual(restoreHooksOf(annotated({})), { hooks: [], findings: [] });
    const given = [
      { target: 'deployment/a', command: ['sh', '-c', 'y'] },
      { target: 'deployment/b', container: 'c', command: ['z'] },
    ];
    const named = { ...annotated({}), kind: 'Deployment', metadata: { name: 'a' } };
    assert.deepEqual(
      givenHooks(named, given).map((h) => [h.container, h.command.at(-1), h.failsRestore]),
      [['main', 'y', true]],
    );
    assert.deepEqual(
      unmetHooks([named], given).map((f) => [f.level, f.code]),
      [['blocker', 'hook-without-pod']],
    );
    assert.equal(restoreHooksOf(annotated({ [`${POST}command`]: '[' })).findings[0]?.code, 'hook-malformed');
    assert.equal(restoreHooksOf(annotated({ 'init.hook.restore.velero.io/container-name': 'x' })).findings[0]?.code, 'hook-not-honoured');
  });

  async function restored(annotations: Readonly<Record<string, string>>, exitCode: number) {
    const calls: string[] = [];
    const pod = live(
      kube('v1', 'Pod', 'web-1', { status: { conditions: [{ type: 'Ready', status: 'True' }] } }, { labels: { app: 'web' } }),
    );
    const cluster = playedCluster({
      objects: [pod],
      exec: (ref, container, command) => {
        calls.push(`${ref.name}/${container}: ${command.join(' ')}`);
        return { exitCode, stdout: '', stderr: 'no luck' };
      },
    });
    const backup: BackupView = { ...shop(), objects: [live(annotated({ [`${POST}command`]: 'after', ...annotations }))], volumes: [] };
    const p = await preflightRestore(OPERATION, backup, cluster, { activate: true }, { emit: () => undefined });
    const report = await applyRestore(
      p,
      { cluster, populate: fillingMover(), journal: new MemoryJournal() },
      { emit: () => undefined },
    ).catch((e: unknown) => e);
    return { calls, report };
  }

  it('run in each ready pod of the workload; a failure is a warning, or stops the restore', async () => {
    const good = await restored({}, 0);
    assert.deepEqual(good.calls, ['web-1/main: after']);
    const bad = await restored({}, 3);
    const codes = (bad.report as { findings: { code: string }[] }).findings.map((f) => f.code);
    assert.ok(codes.includes('hook-failed'));
    const stopped = await restored({ [`${POST}on-error`]: 'Fail' }, 3);
    assert.ok(DmaasError.is(stopped.report, 'RESTORE_STEP_FAILED'));
    assert.match(stopped.report.message, /in container main of pod\/web-1 ended with exit code 3: no luck/);
  });
});
