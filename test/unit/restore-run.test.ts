import assert from 'node:assert/strict';
import type { MemoryClusterOptions, MemoryCluster } from '../../core/src/cluster/memory-cluster.ts';
import { DmaasError } from '../../core/src/errors.ts';
import type { DmaasEvent, RunOptions } from '../../core/src/events.ts';
import { refName, refOf } from '../../core/src/model.ts';
import type { KubeObject } from '../../core/src/model.ts';
import type { OperationId } from '../../core/src/operation.ts';
import type { BackupView, RestoreOptions, RestorePlan } from '../../core/src/restore/model.ts';
import { preflightRestore } from '../../core/src/restore/preflight.ts';
import { put } from '../../core/src/restore/rewrite.ts';
import { applyRestore } from '../../core/src/restore/run.ts';
import type { Populate } from '../../core/src/restore/run.ts';
import { removeRestored } from '../../core/src/restore/undo.ts';
import { comparable, failingCluster, fillingMover, MemoryJournal, playedCluster } from '../support/restore-cluster.ts';
import type { Play } from '../support/restore-cluster.ts';
import { clusterScoped, kube, OPERATION, outline, shop, volumeOf } from '../support/restore.ts';

function listening(signal?: AbortSignal): { readonly run: RunOptions; readonly events: DmaasEvent[] } {
  const events: DmaasEvent[] = [];
  const emit = (event: DmaasEvent): void => void events.push(event);
  return { events, run: signal === undefined ? { emit } : { emit, signal } };
}
const quiet: RunOptions = { emit: () => undefined };
const preflight = (cluster: MemoryCluster, options: Partial<RestoreOptions> = {}, backup = shop()): Promise<RestorePlan> =>
  preflightRestore(OPERATION, backup, cluster, { activate: true, allow: ['*'], readyTimeoutMs: 5000, ...options }, quiet);

/** The shop, with a few things more that take steps of their own. */
function bigShop(): BackupView {
  const backup = shop();
  const owner = { apiVersion: 'apps/v1', kind: 'StatefulSet', name: 'db', uid: 'old', controller: true };
  const objects = backup.objects.map((o) => (o.metadata.name === 'data-db-0' ? put(o, ['metadata', 'ownerReferences'], [owner]) : o));
  const more = [
    kube('apps/v1', 'DaemonSet', 'agent', {
      spec: { template: { metadata: { labels: { app: 'agent' } }, spec: { containers: [{ name: 'a' }] } } },
    }),
    kube('v1', 'Pod', 'single', { spec: { containers: [{ name: 'a' }] } }),
    put(kube('v1', 'ServiceAccount', 'default'), ['imagePullSecrets'], [{ name: 'registry' }]),
  ];
  return { ...backup, objects: [...objects.filter((o) => o.kind !== 'ServiceAccount' || o.metadata.name !== 'default'), ...more] };
}

function find(cluster: MemoryCluster, name: string): KubeObject {
  const found = cluster.objects().find((o) => refName(refOf(o)) === name);
  assert.ok(found, `no ${name}`);
  return found;
}

async function caught(work: Promise<unknown>): Promise<DmaasError> {
  const e = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.ok(DmaasError.is(e), String(e));
  return e;
}

describe('preflight', () => {
  it('plans against what it reads, and tries objects on the server', async () => {
    const cluster = playedCluster({ objects: [kube('v1', 'ConfigMap', 'web-config')] });
    const { run, events } = listening();
    const plan = await preflightRestore(OPERATION, shop(), cluster, { activate: true, allow: ['*'] }, run);
    assert.deepEqual(
      plan.findings.filter((f) => f.level === 'blocker').map((f) => f.message),
      ['configmap/web-config exists in namespace shop'],
    );
    assert.deepEqual(events.at(-1), { type: 'phase', phase: 'preflight', state: 'failed' });
    assert.ok(events.some((e) => e.type === 'finding' && e.finding.code === 'object-exists'));
  });

  it('changes nothing', async () => {
    const cluster = playedCluster();
    const before = comparable(cluster);
    await preflight(cluster);
    assert.deepEqual(comparable(cluster), before);
  });

  it('reports what the server refuses, all of it, and not twice what is known', async () => {
    const refuse: MemoryClusterOptions['before'] = ({ verb, resource }) => {
      if (verb === 'create' && resource === 'services') throw new DmaasError('CLUSTER_REJECTED', 'spec.ports: required');
      if (verb === 'create' && resource === 'statefulsets') throw new DmaasError('CLUSTER_FORBIDDEN', 'denied by policy');
    };
    const cluster = playedCluster({ before: refuse, objects: [kube('v1', 'Service', 'web')] });
    const plan = await preflight(cluster);
    assert.deepEqual(
      plan.findings.filter((f) => f.level === 'blocker').map((f) => f.message),
      ['service/db: spec.ports: required', 'statefulset/db: denied by policy', 'service/web exists in namespace shop'],
    );
  });

  it('names every right that is missing', async () => {
    const cluster = playedCluster({
      forbid: [
        { verb: 'create', resource: 'statefulsets' },
        { verb: 'get', resource: 'secrets' },
        { verb: 'list', resource: 'secrets' },
      ],
    });
    const plan = await preflight(cluster);
    assert.deepEqual(
      plan.findings.filter((f) => f.level === 'blocker').map((f) => f.message),
      ['you may not get secrets in namespace shop', 'you may not create statefulsets.apps in namespace shop'],
    );
  });

  it('serves an identity that has a namespace only', async () => {
    const forbid = ['storageclasses', 'namespaces', 'clusterroles', 'clusterrolebindings', 'validatingwebhookconfigurations'].map(
      (resource) => ({ resource }),
    );
    const cluster = playedCluster({ forbid, objects: [kube('v1', 'ConfigMap', 'other')] });
    const exclude = ['clusterrole', 'clusterrolebinding', 'validatingwebhookconfiguration'];
    const plan = await preflight(cluster, { exclude });
    assert.deepEqual(
      plan.findings.filter((f) => f.level === 'blocker'),
      [],
    );
    await applyRestore(plan, { cluster, journal: new MemoryJournal(), populate: fillingMover() }, quiet);
    assert.equal((find(cluster, 'deployment/web')['spec'] as { replicas: number }).replicas, 2);
  });

  it('takes a bounded number of requests', async () => {
    const many = Array.from({ length: 500 }, (_, i) => kube('v1', 'ConfigMap', `c${String(i)}`));
    const reads: string[] = [];
    const cluster = playedCluster({
      before: ({ verb, resource }) => {
        if (verb !== 'create') reads.push(`${verb} ${resource}`);
      },
    });
    await preflight(cluster, {}, { ...shop(), objects: [...shop().objects, ...many] });
    assert.ok(reads.length < 50, `${String(reads.length)} requests: ${reads.join(', ')}`);
  });
});

describe('applying a restore', () => {
  async function restored(options: Partial<RestoreOptions> = {}, play: Play = {}, backup = bigShop()) {
    const cluster = playedCluster({}, play);
    const plan = await preflight(cluster, { namespace: 'shop-dr', startJobs: true, ...options }, backup);
    const journal = new MemoryJournal();
    const filled: string[] = [];
    const { run, events } = listening();
    return { cluster, plan, journal, filled, events, deps: { cluster, journal, populate: fillingMover(filled) }, run };
  }

  it('creates, fills, activates, and reports', async () => {
    const { cluster, plan, deps, run, events, filled, journal } = await restored();
    const report = await applyRestore(plan, deps, run);
    assert.deepEqual(filled, ['data-db-0', 'uploads']);
    assert.deepEqual(
      { ...report, findings: [] },
      {
        created: 21,
        updated: 1,
        skipped: 0,
        activated: 4,
        populatedBytes: 2000,
        writtenBytes: 2000,
        populatedFiles: 20,
        missingFiles: 0,
        findings: [],
      },
    );
    assert.equal((find(cluster, 'deployment/web')['spec'] as { replicas: number }).replicas, 2);
    assert.equal((find(cluster, 'cronjob/report')['spec'] as { suspend: boolean }).suspend, false);
    assert.deepEqual(
      (find(cluster, 'daemonset/agent')['spec'] as { template: { spec: { nodeSelector: unknown } } }).template.spec.nodeSelector,
      {},
    );
    assert.deepEqual(
      events.filter((e) => e.type === 'phase').map((e) => `${e.phase} ${e.state}`),
      ['preflight start', 'preflight done', 'populate start', 'populate done', 'activate start', 'activate done'],
    );
    assert.equal(journal.plans.length, 1);
    assert.equal(journal.outcomes[0]?.state, 'done');
  });

  it('marks everything it creates, and nothing else', async () => {
    const { cluster, plan, deps, run } = await restored();
    const before = new Set(cluster.objects().map((o) => refName(refOf(o), true)));
    await applyRestore(plan, deps, run);
    for (const o of cluster.objects()) {
      const isNew = !before.has(refName(refOf(o), true)) && refName(refOf(o)) !== 'serviceaccount/default';
      assert.equal(o.metadata.labels?.['dmaas.io/operation'] === OPERATION, isNew, refName(refOf(o), true));
      if (isNew) assert.equal(o.metadata.annotations?.['dmaas.io/backup'], 'backup-1');
      assert.equal(o.metadata.annotations?.['dmaas.io/activate'], undefined);
    }
  });

  it('links owners to their new uids', async () => {
    const { cluster, plan, deps, run } = await restored();
    await applyRestore(plan, deps, run);
    const [owner] = find(cluster, 'persistentvolumeclaim/data-db-0').metadata.ownerReferences ?? [];
    assert.equal(owner?.uid, find(cluster, 'statefulset/db').metadata.uid);
  });

  it('starts nothing before all volumes are filled', async () => {
    const { cluster, plan, deps, run } = await restored();
    const populate: Populate = async (steps, options) => {
      assert.ok(cluster.objects().every((o) => !['Deployment', 'StatefulSet', 'Pod', 'Service'].includes(o.kind)));
      return deps.populate(steps, options);
    };
    await applyRestore(plan, { ...deps, populate }, run);
  });

  it('leaves everything staged when it is not to activate', async () => {
    const { cluster, plan, deps, run } = await restored({ activate: false });
    await applyRestore(plan, deps, run);
    assert.equal((find(cluster, 'deployment/web')['spec'] as { replicas: number }).replicas, 0);
    assert.ok(cluster.objects().every((o) => o.kind !== 'Ingress'));
    const again = await preflight(cluster, { namespace: 'shop-dr', startJobs: true, activate: true }, bigShop());
    await applyRestore(again, deps, run);
    assert.equal((find(cluster, 'deployment/web')['spec'] as { replicas: number }).replicas, 2, 'planning again with the same id goes on');
    assert.ok(find(cluster, 'ingress/web'));
  });

  it('refuses a plan with blockers', async () => {
    const { plan, deps, run } = await restored();
    const blocked = {
      ...plan,
      findings: [{ level: 'blocker', code: 'x', message: 'storage class fast does not exist', hint: 'do this' }] as const,
    };
    const e = await caught(applyRestore(blocked, deps, run));
    assert.deepEqual([e.code, e.message, e.hint], ['PREFLIGHT_FAILED', 'storage class fast does not exist', 'do this']);
  });

  it('refuses another cluster', async () => {
    const { plan, deps, run } = await restored();
    const e = await caught(applyRestore(plan, { ...deps, cluster: playedCluster({ id: 'cluster-c' }) }, run));
    assert.equal(e.code, 'PREFLIGHT_FAILED');
    assert.match(e.message, /made for another cluster/);
  });

  it('refuses when the target has moved, and changes nothing', async () => {
    const { cluster, plan, deps, run, journal } = await restored({ namespace: 'shop' });
    cluster.put(kube('v1', 'ConfigMap', 'web-config'));
    cluster.put(kube('v1', 'Secret', 'db-password'));
    const before = comparable(cluster);
    const e = await caught(applyRestore(plan, deps, run));
    assert.equal(e.code, 'PREFLIGHT_FAILED');
    assert.match(
      e.message,
      /^2 checks failed: secret\/db-password in namespace shop has appeared since the plan was made, configmap\/web-config/,
    );
    assert.deepEqual(comparable(cluster), before);
    assert.deepEqual(journal, new MemoryJournal(), 'it never began');
  });

  it('refuses when what it would update or relies on has changed', async () => {
    const old = kube('v1', 'ConfigMap', 'web-config', { data: { a: 'old' } });
    const role = clusterScoped('rbac.authorization.k8s.io/v1', 'ClusterRole', 'shop-web', {
      rules: [{ apiGroups: [''], resources: ['nodes'], verbs: ['get'] }],
    });
    const cluster = playedCluster({ objects: [old, role] });
    const plan = await preflight(cluster, { conflict: 'overwrite' });
    cluster.put({ ...old, data: { a: 'newer' } });
    await cluster.delete(refOf(role));
    const e = await caught(applyRestore(plan, { cluster, journal: new MemoryJournal(), populate: fillingMover() }, quiet));
    assert.match(e.message, /configmap\/web-config in namespace shop has changed since .*, clusterrole\/shop-web has been deleted since/);
  });

  it('overwrites, and undo leaves what was overwritten', async () => {
    const old = kube('v1', 'ConfigMap', 'web-config', { data: { 'app.ini': 'old' } });
    const cluster = playedCluster({ objects: [old] });
    const plan = await preflight(cluster, { conflict: 'overwrite' });
    await applyRestore(plan, { cluster, journal: new MemoryJournal(), populate: fillingMover() }, quiet);
    assert.deepEqual(find(cluster, 'configmap/web-config')['data'], { 'app.ini': 'host = db\n' });
    await removeRestored(cluster, { id: OPERATION, namespace: 'shop' }, quiet);
    assert.ok(find(cluster, 'configmap/web-config'));
    assert.ok(cluster.objects().every((o) => o.kind !== 'Deployment'));
  });

  it('an object that appears in between is not taken over', async () => {
    const { cluster, plan, deps, run } = await restored({ namespace: 'shop' });
    const populate: Populate = async (steps, options) => {
      cluster.put(kube('v1', 'Service', 'web'));
      return deps.populate(steps, options);
    };
    const e = await caught(applyRestore(plan, { ...deps, populate }, run));
    assert.equal(e.code, 'RESTORE_STEP_FAILED');
    assert.equal(e.message, 'service/web in namespace shop appeared while the restore was running');
    assert.match(e.hint ?? '', /go on with "kubectl dmaas restore resume abcdefgh -n shop"/);
  });

  it('a workload that does not become ready: why, and how to go on', async () => {
    const { cluster, plan, deps, run, events, journal } = await restored({ readyTimeoutMs: 50 }, { neverReady: new Set(['db', 'db-0']) });
    const pod = kube('v1', 'Pod', 'db-0', {}, { namespace: 'shop-dr', labels: { app: 'db' } });
    const statefulSet = plan.steps.find((s) => s.do === 'apply' && s.ref.kind === 'StatefulSet');
    assert.ok(statefulSet && statefulSet.do === 'apply');
    cluster.onWrite(({ type, object }) => {
      if (type !== 'created' || object.kind !== 'StatefulSet') return;
      cluster.put({ ...object, spec: { ...(object['spec'] as object), selector: { matchLabels: { app: 'db' } } } });
      cluster.put({
        ...pod,
        status: {
          containerStatuses: [{ name: 'db', image: 'acme/db', state: { waiting: { reason: 'ErrImagePull', message: 'no such host' } } }],
        },
      });
    });
    const e = await caught(applyRestore(plan, deps, run));
    assert.equal(e.code, 'RESTORE_STEP_FAILED');
    assert.equal(e.message, 'statefulset/db is not ready after 0 s: container db of pod db-0 cannot pull image acme/db: no such host');
    assert.match(
      e.hint ?? '',
      /^make the image reachable .*; then go on with "kubectl dmaas restore resume abcdefgh -n shop", or undo with "kubectl dmaas restore delete/,
    );
    assert.equal((find(cluster, 'deployment/web')['spec'] as { replicas: number }).replicas, 0, 'what depends on it was not started');
    assert.ok(
      events.some((event) => event.type === 'step' && event.state === 'failed' && event.title === 'wait until statefulset/db is ready'),
    );
    const [outcome] = journal.outcomes;
    assert.ok(outcome && outcome.state === 'failed' && outcome.stepsLeft > 0);
  });

  it('a mover that fails keeps its own code', async () => {
    const { plan, deps, run } = await restored();
    const populate: Populate = () => Promise.reject(new DmaasError('MOVER_FAILED', 'the volume is full', { hint: 'make it larger' }));
    const e = await caught(applyRestore(plan, { ...deps, populate }, run));
    assert.deepEqual([e.code, e.message], ['MOVER_FAILED', 'the volume is full']);
    assert.match(e.hint ?? '', /^make it larger; then go on with/);
  });

  describe('of which a volume lacks files', () => {
    const finding = {
      level: 'warning',
      code: 'entry-not-restored',
      message: 'uploads: a was not restored: the pack p is damaged',
    } as const;
    const names = ['a', 'b', 'c', 'd', 'e'];
    const missing = { entries: 8, declined: 1, files: 7, bytes: 100, names };
    /** Restores what the first volume has, and not all of the second until the repository is repaired or that is allowed. */
    async function lacking(options: Partial<RestoreOptions> = {}) {
      const world = await restored(options);
      const state = { isRepaired: false };
      const filling =
        (isAllowed: boolean): Populate =>
        async (steps, run) =>
          (await world.deps.populate(steps, run)).map((whole) => {
            if (whole.claim !== 'uploads' || state.isRepaired) return whole;
            return { ...whole, files: 3, bytes: 900, missing, findings: [finding], ...(isAllowed ? {} : { isUnfinished: true }) };
          });
      return { ...world, state, filling, deps: { ...world.deps, populate: filling(false) } };
    }
    const populated = (cluster: MemoryCluster) =>
      ['data-db-0', 'uploads'].filter(
        (name) => find(cluster, `persistentvolumeclaim/${name}`).metadata.annotations?.['dmaas.io/populated'] !== undefined,
      );

    it('starts nothing, and says which and how to go on', async () => {
      const { cluster, plan, deps, run, events, journal } = await lacking();
      const e = await caught(applyRestore(plan, deps, run));
      assert.deepEqual([e.code, e.message], ['RESTORE_STEP_FAILED', 'claim uploads lacks 7 files of the backup: a, b, c, d, e and 2 more']);
      assert.equal(
        e.hint,
        'mend what keeps them from being restored, or add --allow-missing-files to go on without them; then go on with "kubectl dmaas restore resume abcdefgh -n shop", or undo with "kubectl dmaas restore delete abcdefgh -n shop"',
      );
      assert.deepEqual(populated(cluster), ['data-db-0']);
      assert.ok(cluster.objects().every((o) => !['Deployment', 'StatefulSet', 'Pod', 'Service'].includes(o.kind)));
      assert.ok(events.every((event) => event.type !== 'phase' || event.phase !== 'activate'));
      assert.ok(events.some((event) => event.type === 'finding' && event.finding === finding));
      assert.ok(
        events.some((event) => event.type === 'step' && event.title === 'fill claim uploads' && event.state === 'failed'),
        'it is said to be filled',
      );
      assert.equal(journal.outcomes[0]?.state, 'failed');
    });

    it('tries that volume again when it is gone on with, and no other', async () => {
      const { cluster, plan, deps, run, state, filled } = await lacking();
      await caught(applyRestore(plan, deps, run));
      assert.equal((await caught(applyRestore(plan, deps, run))).code, 'RESTORE_STEP_FAILED');
      state.isRepaired = true;
      const report = await applyRestore(plan, deps, run);
      assert.deepEqual(filled, ['data-db-0', 'uploads', 'uploads', 'uploads']);
      assert.equal(report.missingFiles, 0);
      assert.deepEqual(populated(cluster), ['data-db-0', 'uploads']);
      assert.equal((find(cluster, 'deployment/web')['spec'] as { replicas: number }).replicas, 2);
    });

    it('goes on without them when that is allowed, and says what is missing', async () => {
      const { cluster, plan, deps, run, filling } = await lacking();
      await caught(applyRestore(plan, deps, run));
      const report = await applyRestore(plan, { ...deps, populate: filling(true) }, run);
      assert.deepEqual([report.missingFiles, report.populatedFiles, report.populatedBytes], [8, 3, 900]);
      assert.ok(report.findings.includes(finding));
      assert.deepEqual(populated(cluster), ['data-db-0', 'uploads']);
      assert.equal((find(cluster, 'deployment/web')['spec'] as { replicas: number }).replicas, 2);
    });

    it('is not left staged either', async () => {
      const { cluster, plan, deps, run } = await lacking({ activate: false });
      assert.equal((await caught(applyRestore(plan, deps, run))).code, 'RESTORE_STEP_FAILED');
      assert.deepEqual(populated(cluster), ['data-db-0']);
    });
  });

  it('stops between steps when asked, and says what is left', async () => {
    const { cluster, plan, deps, events } = await restored();
    const controller = new AbortController();
    const { run } = listening(controller.signal);
    const emit = (event: DmaasEvent): void => {
      events.push(event);
      if (event.type === 'step' && event.title === 'create secret/db-password' && event.state === 'done') controller.abort();
    };
    const e = await caught(applyRestore(plan, deps, { ...run, emit }));
    assert.equal(e.code, 'CANCELLED');
    assert.equal(e.message, `stopped with ${String(plan.steps.length - 4)} of ${String(plan.steps.length)} steps left; what is done stays`);
    assert.match(e.hint ?? '', /restore resume abcdefgh .* or undo with "kubectl dmaas restore delete abcdefgh/);
    assert.ok(find(cluster, 'secret/db-password'));
    assert.ok(cluster.objects().every((o) => o.metadata.name !== 'web-config'));
    await applyRestore(plan, deps, quiet);
    assert.equal((find(cluster, 'deployment/web')['spec'] as { replicas: number }).replicas, 2);
  });

  it('a journal that cannot be written stops it before it begins, and not after', async () => {
    const { cluster, plan, deps, run } = await restored();
    const down = (): Promise<never> => Promise.reject(new DmaasError('STORE_UNAVAILABLE', 'no answer'));
    const before = comparable(cluster);
    assert.equal((await caught(applyRestore(plan, { ...deps, journal: { begin: down, end: down } }, run))).code, 'STORE_UNAVAILABLE');
    assert.deepEqual(comparable(cluster), before);
    await applyRestore(plan, { ...deps, journal: { begin: () => Promise.resolve(), end: down } }, run);
  });

  it('a second run of a finished restore changes nothing and fills nothing', async () => {
    const { cluster, plan, deps, run, filled } = await restored();
    await applyRestore(plan, deps, run);
    const before = cluster.objects();
    const report = await applyRestore(plan, deps, run);
    assert.deepEqual(cluster.objects(), before);
    assert.deepEqual(filled, ['data-db-0', 'uploads']);
    assert.deepEqual([report.created, report.updated, report.activated, report.populatedBytes], [0, 0, 0, 0]);
  });

  it('cut off at any call, before or after its effect, the same plan again completes it', async () => {
    const whole = await restored();
    await applyRestore(whole.plan, whole.deps, quiet);
    await whole.cluster.settle();
    const expected = comparable(whole.cluster);
    let cuts = 0;
    for (const when of ['before', 'after'] as const) {
      for (let at = 0; ; at++) {
        const cluster = playedCluster();
        const filled: string[] = [];
        const journal = new MemoryJournal();
        const deps = { cluster, journal, populate: fillingMover(filled) };
        const { plan } = whole;
        const failing = failingCluster(cluster, { at, when });
        const first = await applyRestore(plan, { ...deps, cluster: failing.cluster }, quiet).then(
          () => undefined,
          (e: unknown) => e,
        );
        if (failing.calls() <= at) break;
        cuts += 1;
        if (first !== undefined) {
          assert.ok(DmaasError.is(first) && ['RESTORE_STEP_FAILED', 'CLUSTER_UNREACHABLE'].includes(first.code));
          assert.ok(
            journal.plans.length === 0 || /restore resume/.test(first.hint ?? ''),
            `call ${String(at)}: ${first.message} ${first.hint ?? ''}`,
          );
        }
        await applyRestore(plan, deps, quiet);
        await cluster.settle();
        assert.deepEqual(comparable(cluster), expected, `cut ${when} call ${String(at)}`);
        assert.ok(filled.length <= 4, 'each volume is filled at most twice, and never after it was marked');
      }
    }
    assert.ok(cuts > 100, String(cuts));
  }).timeout(60_000);
});

describe('undoing a restore', () => {
  async function undone(setup: (cluster: MemoryCluster) => unknown = () => undefined, options: MemoryClusterOptions = {}) {
    const cluster = playedCluster({ objects: [kube('v1', 'ConfigMap', 'theirs', {}, { namespace: 'shop-dr-2' })], ...options });
    const before = comparable(cluster);
    const plan = await preflight(cluster, { namespace: 'shop-dr' }, bigShop());
    await applyRestore(plan, { cluster, journal: new MemoryJournal(), populate: fillingMover() }, quiet);
    setup(cluster);
    const report = await removeRestored(cluster, { id: OPERATION, namespace: 'shop-dr' }, quiet, { goneTimeoutMs: 100 });
    return { cluster, before, report };
  }

  it('leaves the cluster as it was', async () => {
    const { cluster, before, report } = await undone();
    assert.deepEqual(comparable(cluster), before);
    assert.deepEqual(report.findings, []);
    const order = report.removed.map((ref) => refName(ref));
    assert.ok(order.indexOf('validatingwebhookconfiguration/shop') < order.indexOf('statefulset/db'));
    assert.ok(order.indexOf('statefulset/db') < order.indexOf('persistentvolumeclaim/data-db-0'));
    assert.equal(order.at(-1), 'namespace/shop-dr');
  });

  it('keeps what others made, and the namespace with it', async () => {
    const { cluster, report } = await undone((c) => void c.put(kube('v1', 'ConfigMap', 'mine', {}, { namespace: 'shop-dr' })));
    assert.ok(find(cluster, 'configmap/mine'));
    assert.ok(find(cluster, 'namespace/shop-dr'));
    assert.deepEqual(
      report.findings.map((f) => f.message),
      ['namespace/shop-dr is kept: it holds configmap/mine in namespace shop-dr'],
    );
  });

  for (const code of ['CLUSTER_FORBIDDEN', 'CLUSTER_UNREACHABLE'] as const) {
    it(`keeps a definition when what it defines cannot be listed (${code})`, async () => {
      const kind = { group: 'acme.test', version: 'v1', kind: 'Cache', plural: 'caches', namespaced: true, verbs: ['list', 'delete'] };
      const names = { kind: 'Cache', plural: 'caches' };
      const crd = clusterScoped('apiextensions.k8s.io/v1', 'CustomResourceDefinition', 'caches.acme.test', {
        spec: { group: 'acme.test', scope: 'Namespaced', names, versions: [{ name: 'v1', served: true }] },
      });
      let isDown = false;
      const cluster = playedCluster({
        kinds: [kind],
        before: ({ verb, resource }) => {
          if (isDown && verb === 'list' && resource === 'caches') throw new DmaasError(code, 'no');
        },
      });
      const plan = await preflight(cluster, { namespace: 'shop-dr' }, { ...bigShop(), objects: [...bigShop().objects, crd] });
      await applyRestore(plan, { cluster, journal: new MemoryJournal(), populate: fillingMover() }, quiet);
      isDown = true;
      const { findings } = await removeRestored(cluster, { id: OPERATION, namespace: 'shop-dr' }, quiet);
      assert.ok(find(cluster, 'customresourcedefinition/caches.acme.test'));
      assert.deepEqual(
        findings.filter((f) => f.code === 'kept').map((f) => f.message),
        [
          'customresourcedefinition/caches.acme.test is kept: caches.acme.test could not be listed, and deleting it would delete them too',
          'namespace/shop-dr is kept: it may hold caches.acme.test, which could not be listed',
        ],
      );
    });
  }

  it('deletes the namespace when only what comes by itself cannot be listed', async () => {
    let isOver = false;
    const before: MemoryClusterOptions['before'] = ({ verb, resource }) => {
      if (isOver && verb === 'list' && resource === 'events') throw new DmaasError('CLUSTER_FORBIDDEN', 'no');
    };
    const { report } = await undone(() => (isOver = true), { before });
    assert.equal(refName(report.removed.at(-1)!), 'namespace/shop-dr');
  });

  it('removes movers that a crash left', async () => {
    const labels = { 'dmaas.io/operation': OPERATION, 'dmaas.io/role': 'mover' };
    const { cluster } = await undone(
      (c) => void c.put(kube('batch/v1', 'Job', 'dmaas-abcdefgh-mover-0', {}, { namespace: 'shop-dr', labels })),
    );
    assert.ok(cluster.objects().every((o) => o.kind !== 'Job'));
  });

  it('goes on past what it may not delete, and tells', async () => {
    const cluster = playedCluster({ forbid: [{ verb: 'delete', resource: 'services' }] });
    const plan = await preflight(cluster);
    await applyRestore(plan, { cluster, journal: new MemoryJournal(), populate: fillingMover() }, quiet);
    const { run, events } = listening();
    const report = await removeRestored(cluster, { id: OPERATION, namespace: 'shop' }, run);
    const left = report.findings.filter((f) => f.code === 'left-behind').map((f) => f.ref?.name);
    assert.deepEqual(left.sort(), ['db', 'web']);
    assert.ok(cluster.objects().every((o) => o.kind !== 'Deployment'));
    assert.deepEqual(events.at(-1), { type: 'phase', phase: 'cleanup', state: 'failed' });
  });

  it('does not touch what another operation made', async () => {
    const cluster = playedCluster();
    const plan = await preflight(cluster);
    await applyRestore(plan, { cluster, journal: new MemoryJournal(), populate: fillingMover() }, quiet);
    const before = comparable(cluster);
    await removeRestored(cluster, { id: 'zzzzzzzz' as OperationId, namespace: 'shop' }, quiet);
    assert.deepEqual(comparable(cluster), before);
  });

  it('works on a restore that never finished', async () => {
    const cluster = playedCluster();
    const before = comparable(cluster);
    const plan = await preflight(cluster, { namespace: 'shop-dr' }, { ...bigShop(), volumes: [volumeOf('data-db-0')] });
    const populate: Populate = () => Promise.reject(new DmaasError('MOVER_FAILED', 'full'));
    await caught(applyRestore(plan, { cluster, journal: new MemoryJournal(), populate }, quiet));
    await removeRestored(cluster, { id: OPERATION, namespace: 'shop-dr' }, quiet);
    assert.deepEqual(comparable(cluster), before);
  });
});

describe('what an operator makes of a custom resource', () => {
  const KINDS = [
    { group: 'acme.test', version: 'v1', kind: 'Cache', plural: 'caches', namespaced: true, verbs: ['get', 'create', 'list'] },
  ];
  const owner = { apiVersion: 'acme.test/v1', kind: 'Cache', name: 'main', uid: 'old', controller: true };
  const set = kube('apps/v1', 'StatefulSet', 'cache', { spec: { replicas: 2, template: { spec: { containers: [{ name: 'a' }] } } } });
  const backup = (): BackupView => {
    const { objects, ...rest } = shop();
    const owned = put(set, ['metadata', 'ownerReferences'], [owner]);
    return { ...rest, objects: [...objects, kube('acme.test/v1', 'Cache', 'main', { spec: { replicas: 2 } }), owned] };
  };
  const restored = async (
    operator: ((cluster: MemoryCluster) => void) | undefined,
    options: Partial<RestoreOptions> = {},
    play: Play = {},
  ) => {
    const cluster = playedCluster({ kinds: KINDS }, play);
    cluster.onWrite(({ type, object }) => {
      if (type === 'created' && object.kind === 'Cache') operator?.(cluster);
    });
    const plan = await preflight(cluster, { readyTimeoutMs: 200, ...options }, backup());
    const report = await applyRestore(plan, { cluster, journal: new MemoryJournal(), populate: fillingMover() }, quiet);
    return { cluster, plan, warnings: report.findings.filter((f) => f.code === 'not-made').map((f) => `${f.message} | ${f.hint ?? ''}`) };
  };
  const waits = (plan: RestorePlan) => plan.steps.filter((s) => s.do === 'wait-ready' && s.madeBy !== undefined);

  it('is waited for, before traffic comes in', async () => {
    const { plan, warnings } = await restored((cluster) => void cluster.create(set));
    const [step] = waits(plan);
    assert.ok(step?.do === 'wait-ready');
    assert.equal(refName(step.ref), 'statefulset/cache');
    const at = plan.steps.indexOf(step);
    assert.ok(plan.steps.findLastIndex((s) => s.do === 'activate') < at);
    assert.ok(at < plan.steps.findIndex((s) => s.do === 'apply' && s.ref.kind === 'Ingress'));
    assert.deepEqual(warnings, []);
  });

  it('is left for later with its custom resource when the restore is left staged; what it owns is linked before it runs', async () => {
    const given = backup();
    const secret = kube('v1', 'Secret', 'cache-password', {}, { ownerReferences: [owner] });
    const plan = await preflight(playedCluster({ kinds: KINDS }), { activate: false }, { ...given, objects: [...given.objects, secret] });
    assert.ok(!plan.steps.some((s) => s.do === 'apply' && s.ref.kind === 'Cache'));
    assert.deepEqual(outline(plan.later ?? []).slice(0, 3), [
      'create cache/main',
      'link-owners secret/cache-password',
      'activate statefulset/db',
    ]);
    // One of which the backup holds no workloads starts nothing.
    const alone = await preflight(
      playedCluster({ kinds: KINDS }),
      { activate: false },
      { ...given, objects: given.objects.filter((o) => o.metadata.name !== 'cache') },
    );
    assert.ok(alone.steps.some((s) => s.do === 'apply' && s.ref.kind === 'Cache'));
  });

  it('and does not make is said, with where to look; the rest is restored', async () => {
    const { cluster, warnings } = await restored(undefined);
    assert.deepEqual(warnings, [
      'cache/main is restored, and its controller has not made statefulset/cache again | see whether its operator runs, in this cluster and for this namespace',
    ]);
    find(cluster, 'ingress/web');
  });

  it('and that does not get ready is said with the cause', async () => {
    const { warnings } = await restored((cluster) => void cluster.create(set), {}, { neverReady: new Set(['cache']) });
    assert.match(warnings.join(), /^statefulset\/cache, which the controller of cache\/main has made, is not ready: /);
  });

  it('is not waited for where it will have another name, or its owner is there already', async () => {
    assert.deepEqual(waits((await restored(undefined, { namePrefix: 'copy-' })).plan), []);
    const there = playedCluster({ kinds: KINDS, objects: [kube('acme.test/v1', 'Cache', 'main')] });
    assert.deepEqual(waits(await preflight(there, { conflict: 'skip' }, backup())), []);
  });
});
