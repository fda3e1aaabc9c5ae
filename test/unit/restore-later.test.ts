import assert from 'node:assert/strict';
import { stringify } from 'yaml';
import type { MemoryCluster } from '../../core/src/cluster/memory-cluster.ts';
import { at } from '../../core/src/discovery/read.ts';
import { DmaasError } from '../../core/src/errors.ts';
import { refName, refOf } from '../../core/src/model.ts';
import type { KubeObject } from '../../core/src/model.ts';
import { openOrCreateRepository, type Repository } from '../../core/src/repository/repository.ts';
import { assertConsent } from '../../core/src/restore/consent.ts';
import { readRestore, restoreJournal } from '../../core/src/restore/journal.ts';
import { activated, everyStep } from '../../core/src/restore/later.ts';
import type { RestoreOptions, RestorePlan, RestoreStep } from '../../core/src/restore/model.ts';
import { redactPlan } from '../../core/src/restore/plan.ts';
import { parsePlanDocument } from '../../core/src/restore/plan-document.ts';
import { preflightRestore } from '../../core/src/restore/preflight.ts';
import { put } from '../../core/src/restore/rewrite.ts';
import { applyRestore } from '../../core/src/restore/run.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import { fillingMover, playedCluster } from '../support/restore-cluster.ts';
import { kube, OPERATION, outline, shop } from '../support/restore.ts';

const quiet = { emit: () => undefined };
const planned = (cluster: MemoryCluster, more: Partial<RestoreOptions> = {}, backup = shop()): Promise<RestorePlan> =>
  preflightRestore(
    OPERATION,
    backup,
    cluster,
    { activate: false, allow: ['*'], exclude: ['secret'], readyTimeoutMs: 2000, ...more },
    quiet,
  );

function found(cluster: MemoryCluster, name: string): KubeObject | undefined {
  return cluster.objects().find((o) => refName(refOf(o)) === name);
}

/** A person's hand in the document: five front ends instead of two, no Ingress, and a label on the autoscaler. */
function edit(plan: RestorePlan): RestorePlan {
  const changed = (step: RestoreStep): RestoreStep[] => {
    if (step.do === 'activate' && step.ref.name === 'web') return [{ ...step, patch: { ...step.patch, spec: { replicas: 5 } } }];
    if (step.do !== 'apply') return [step];
    if (step.ref.kind === 'HorizontalPodAutoscaler')
      return [{ ...step, manifest: put(step.manifest, ['metadata', 'labels', 'edited'], 'yes') }];
    return step.ref.kind === 'Ingress' ? [] : [step];
  };
  return parsePlanDocument(stringify({ ...plan, later: plan.later?.flatMap(changed) }));
}

describe('a restore that is left staged', () => {
  let repository: Repository;
  const deps = (cluster: MemoryCluster) => ({
    cluster,
    populate: fillingMover(),
    journal: restoreJournal(repository.runs, OPERATION, () => new Date('2026-01-01T00:00:00Z')),
  });
  const recorded = async (): Promise<RestorePlan> => (await readRestore(repository.runs, OPERATION))?.plan ?? assert.fail('not recorded');

  beforeEach(async () => {
    repository = await openOrCreateRepository(new MemoryStore(), new Uint8Array(32).fill(1));
  });
  afterEach(() => repository.close());

  it('has the same steps as one that activates, some of them for later, tried on the server like the others', async () => {
    const now = await planned(playedCluster(), { activate: true, namespace: 'shop' });
    const staged = await planned(playedCluster());
    assert.deepEqual(outline(everyStep(staged)), outline(now.steps));
    assert.deepEqual(outline(activated(staged).steps), outline(now.steps));
    const ingress = staged.later?.find((s) => s.do === 'apply' && s.ref.kind === 'Ingress');
    assert.deepEqual(ingress?.do === 'apply' && ingress.server?.verdict, 'not-asked', 'the namespace is not there yet');
    assert.ok(staged.steps.every((s) => s.phase === 'populate'));
  });

  it('is activated as its plan was edited, from the record alone', async () => {
    const cluster = playedCluster();
    const plan = edit(await planned(cluster));
    await applyRestore(plan, deps(cluster), quiet);
    assert.equal(at(found(cluster, 'deployment/web'), 'spec', 'replicas'), 0);
    assert.equal(found(cluster, 'horizontalpodautoscaler/web'), undefined);
    await applyRestore(activated(await recorded()), deps(cluster), quiet);
    assert.equal(at(found(cluster, 'deployment/web'), 'spec', 'replicas'), 5);
    assert.equal(found(cluster, 'horizontalpodautoscaler/web')?.metadata.labels?.['edited'], 'yes');
    assert.equal(found(cluster, 'ingress/web'), undefined);
    assert.equal(at(found(cluster, 'cronjob/report'), 'spec', 'suspend'), true);
  });

  it('starts Jobs when asked to, though the plan has no step for them', async () => {
    const cluster = playedCluster();
    await applyRestore(await planned(cluster), deps(cluster), quiet);
    const plan = activated(await recorded(), true);
    const lines = outline(plan.steps);
    assert.ok(lines.indexOf('activate cronjob/report') > lines.indexOf('wait-ready deployment/web'));
    assert.ok(lines.indexOf('activate cronjob/report') < lines.indexOf('create ingress/web'));
    await applyRestore(plan, deps(cluster), quiet);
    assert.equal(at(found(cluster, 'cronjob/report'), 'spec', 'suspend'), false);
    assert.equal(found(cluster, 'cronjob/report')?.metadata.annotations?.['dmaas.io/activate'], undefined);
    assert.equal(outline(activated(plan, true).steps).filter((l) => l === 'activate cronjob/report').length, 1);
  });

  it('that failed to become active is gone on with, not staged again', async () => {
    const refuse = new Set<string>();
    const cluster = playedCluster({
      before: ({ verb, resource }) => {
        if (verb === 'create' && refuse.has(resource)) throw new DmaasError('CLUSTER_REJECTED', 'no');
      },
    });
    await applyRestore(edit(await planned(cluster)), deps(cluster), quiet);
    refuse.add('horizontalpodautoscalers');
    await assert.rejects(applyRestore(activated(await recorded()), deps(cluster), quiet), (e) => DmaasError.is(e, 'RESTORE_STEP_FAILED'));
    assert.equal((await readRestore(repository.runs, OPERATION))?.status, 'Failed');
    refuse.clear();
    const plan = await recorded();
    assert.equal(plan.options.activate, true);
    await applyRestore(plan, deps(cluster), quiet);
    assert.ok(found(cluster, 'horizontalpodautoscaler/web'));
    assert.equal(at(found(cluster, 'deployment/web'), 'spec', 'replicas'), 5);
  });

  it('overwrites later what has changed meanwhile: the operator has agreed to that', async () => {
    const old = kube('networking.k8s.io/v1', 'Ingress', 'web', { spec: { rules: [] } });
    const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } };
    const cluster = playedCluster({ objects: [namespace, old] });
    await applyRestore(await planned(cluster, { conflict: 'overwrite' }), deps(cluster), quiet);
    cluster.put({ ...old, status: { loadBalancer: {} } });
    await applyRestore(activated(await recorded()), deps(cluster), quiet);
    assert.deepEqual(found(cluster, 'ingress/web')?.['spec'], { rules: [{ host: 'shop.example.com' }] });
  });

  it('shows no Secret that is for later, and is not trusted with it either', async () => {
    const plan = await planned(playedCluster());
    const secret = { ...kube('v1', 'Secret', 'late', { data: { a: 'c2VjcmV0' } }) };
    const step = plan.later?.find((s) => s.do === 'apply');
    assert.ok(step?.do === 'apply');
    const late = (manifest: KubeObject): RestorePlan => ({
      ...plan,
      later: [{ ...step, manifest, ref: refOf(manifest), source: refOf(manifest) }],
    });
    assert.ok(!JSON.stringify(redactPlan(late(secret))).includes('c2VjcmV0'));
    const foreign = kube('v1', 'ConfigMap', 'a', {}, { namespace: 'kube-system' });
    assert.throws(() => parsePlanDocument(stringify(late(foreign))), /names configmap\/a in namespace kube-system/);
    const pod = kube('v1', 'Pod', 'a', { spec: { hostNetwork: true, containers: [] } });
    assert.throws(
      () => {
        assertConsent({ ...late(pod), steps: [], options: { activate: false } }, []);
      },
      (e) => DmaasError.is(e, 'PREFLIGHT_FAILED') && e.message.startsWith('pod/a runs pods with'),
    );
  });

  it('activates at once when that is edited', async () => {
    const plan = await planned(playedCluster());
    const parsed = parsePlanDocument(stringify({ ...plan, options: { ...plan.options, activate: true } }));
    assert.deepEqual([parsed.later, outline(parsed.steps)], [undefined, outline(everyStep(plan))]);
  });
});

describe('what is allowed when a restore is gone on with', () => {
  it('is recorded, also of one that is activated since', async () => {
    const cluster = playedCluster();
    const repository = await openOrCreateRepository(new MemoryStore(), new Uint8Array(32).fill(1));
    const journal = restoreJournal(repository.runs, OPERATION, () => new Date());
    const recorded = async (): Promise<RestorePlan> => (await readRestore(repository.runs, OPERATION))?.plan ?? assert.fail('not recorded');
    try {
      const plan = await planned(cluster);
      const allowing = (of: RestorePlan): RestorePlan => ({ ...of, options: { ...of.options, allowMissingFiles: true } });
      await applyRestore(plan, { cluster, populate: fillingMover(), journal }, quiet);
      assert.deepEqual(await recorded(), plan);
      for (let i = 0; i < 2; i++) await applyRestore(allowing(plan), { cluster, populate: fillingMover(), journal }, quiet);
      assert.deepEqual(await recorded(), allowing(plan));
      await applyRestore(activated(plan), { cluster, populate: fillingMover(), journal }, quiet);
      assert.deepEqual(await recorded(), allowing(activated(plan)));
    } finally {
      await repository.close();
    }
  });
});

describe('edits of text in a plan that is recorded', () => {
  it('are made once, however often it is gone on with', async () => {
    let isBroken = true;
    const cluster = playedCluster({
      before: ({ verb, resource }) => {
        if (verb === 'create' && resource === 'configmaps' && isBroken) throw new DmaasError('CLUSTER_UNREACHABLE', 'connection lost');
      },
    });
    const backup = { ...shop(), objects: [...shop().objects, kube('v1', 'ConfigMap', 'urls', { data: { url: 'http://db.shop.svc' } })] };
    const repository = await openOrCreateRepository(new MemoryStore(), new Uint8Array(32).fill(1));
    try {
      const journal = restoreJournal(repository.runs, OPERATION, () => new Date());
      const plan = await planned(cluster, { namespace: 'shop-dr', acceptEdits: 'sure', activate: true }, backup);
      await assert.rejects(applyRestore(plan, { cluster, populate: fillingMover(), journal }, quiet));
      isBroken = false;
      const again = (await readRestore(repository.runs, OPERATION))?.plan ?? assert.fail('not recorded');
      await applyRestore(again, { cluster, populate: fillingMover(), journal }, quiet);
      assert.deepEqual(found(cluster, 'configmap/urls')?.['data'], { url: 'http://db.shop-dr.svc' });
    } finally {
      await repository.close();
    }
  });
});
