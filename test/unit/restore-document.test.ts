import assert from 'node:assert/strict';
import { stringify } from 'yaml';
import { DmaasError } from '../../core/src/errors.ts';
import type { KubeObject } from '../../core/src/model.ts';
import { refKey, refOf } from '../../core/src/model.ts';
import type { ApplyStep, BackupView, RestoreOptions, RestorePlan } from '../../core/src/restore/model.ts';
import { HIDDEN, redactPlan } from '../../core/src/restore/plan.ts';
import { parsePlanDocument, withSecrets } from '../../core/src/restore/plan-document.ts';
import { preflightRestore } from '../../core/src/restore/preflight.ts';
import { prepare } from '../../core/src/restore/prepare.ts';
import { put } from '../../core/src/restore/rewrite.ts';
import { applyRestore } from '../../core/src/restore/run.ts';
import { fillingMover, MemoryJournal, playedCluster } from '../support/restore-cluster.ts';
import { emptyTarget, kube, live, OPERATION, plan, shop } from '../support/restore.ts';

const quiet = { emit: () => undefined };
const secretOf = (p: RestorePlan): ApplyStep => {
  const step = p.steps.find((s): s is ApplyStep => s.do === 'apply' && s.ref.kind === 'Secret');
  assert.ok(step);
  return step;
};
const written = (p: RestorePlan): string => stringify(redactPlan(p), { version: '1.2', lineWidth: 0 });
const itemsOf = (backup: BackupView, options: RestoreOptions) => prepare(backup, emptyTarget(), options).items;
const refuses = (text: string, message: RegExp) => {
  assert.throws(
    () => parsePlanDocument(text),
    (e) => DmaasError.is(e, 'USAGE') && message.test(e.message),
  );
};

describe('a plan as a document', () => {
  it('holds no value of a Secret, and gets them back from the backup', () => {
    const original = plan(shop(), emptyTarget(), { namespace: 'shop-dr' });
    const text = written(original);
    assert.ok(!text.includes('aHVudGVyMg==') && text.includes(HIDDEN));
    assert.deepEqual(withSecrets(parsePlanDocument(text), itemsOf(shop(), original.options)), original);
    assert.deepEqual(withSecrets(parsePlanDocument(JSON.stringify(redactPlan(original))), itemsOf(shop(), original.options)), original);
  });

  it('may be edited: steps removed, fields changed, values of Secrets written in', () => {
    const parsed = parsePlanDocument(written(plan(shop(), emptyTarget())));
    const steps = parsed.steps
      .filter((s) => s.do !== 'apply' || s.ref.kind !== 'Ingress')
      .map((s) => (s === secretOf(parsed) ? put(s, ['manifest', 'data', 'password'], 'bmV3') : s));
    const edited = withSecrets(parsePlanDocument(stringify({ ...parsed, steps })), itemsOf(shop(), parsed.options));
    assert.deepEqual(secretOf(edited).manifest['data'], { password: 'bmV3' });
    assert.ok(edited.steps.every((s) => s.do !== 'apply' || s.ref.kind !== 'Ingress'));
  });

  it('asks for a value that the backup does not have', () => {
    const parsed = parsePlanDocument(written(plan(shop(), emptyTarget())));
    assert.throws(() => withSecrets(parsed, []), /no value for data.password of secret\/db-password/);
  });

  it('is refused when it is none, or reaches beyond its namespace', () => {
    const parsed = plan(shop(), emptyTarget());
    const with0 = (change: (s: RestorePlan['steps'][number]) => unknown): string =>
      stringify({ ...parsed, steps: parsed.steps.map((s) => (s.do === 'apply' && s.ref.kind === 'ConfigMap' ? change(s) : s)) });
    refuses('a: [', /neither YAML nor JSON/);
    refuses('schema: 2', /no restore plan: schema is missing or not valid/);
    refuses(stringify({ ...parsed, steps: [{ do: 'delete' }] }), /no restore plan: steps.0.do/);
    refuses(
      with0((s) => put(put(s, ['ref', 'namespace'], 'kube-system'), ['manifest', 'metadata', 'namespace'], 'kube-system')),
      /configmap\/web-config in namespace kube-system, and a restore to namespace shop touches no such thing/,
    );
    refuses(
      with0((s) => put(s, ['manifest', 'metadata', 'namespace'], 'kube-system')),
      /holds the manifest of configmap\/web-config in namespace kube-system/,
    );
    refuses(
      stringify({
        ...parsed,
        steps: [{ do: 'wait-ready', phase: 'activate', ref: { apiVersion: 'v1', kind: 'Node', name: 'n' }, timeoutMs: 1 }],
      }),
      /names node\/n/,
    );
  });

  it('keeps integers of any length', () => {
    const long = { ...kube('v1', 'ConfigMap', 'big'), long: 9007199254740993n };
    const backup: BackupView = { ...shop(), objects: [live(long)], volumes: [] };
    const parsed = parsePlanDocument(written(plan(backup, emptyTarget())));
    const step = parsed.steps.find((s) => s.do === 'apply' && s.ref.name === 'big');
    assert.ok(step?.do === 'apply');
    assert.equal(step.manifest['long'], 9007199254740993n);
  });
});

describe('the server in a plan', () => {
  const backup = (): BackupView => ({ ...shop(), objects: shop().objects.filter((o) => o.kind !== 'PersistentVolumeClaim'), volumes: [] });
  const answers = (p: RestorePlan): Record<string, string> =>
    Object.fromEntries(p.steps.flatMap((s) => ('server' in s ? [[refKey(s.ref), s.server.verdict]] : [])));

  it('says to each object what it will say', async () => {
    const cluster = playedCluster({ objects: [kube('v1', 'ConfigMap', 'other')] });
    const p = await preflightRestore(OPERATION, backup(), cluster, { activate: true, allow: ['*'] }, quiet);
    assert.equal(answers(p)['/Secret/shop/db-password'], 'accepted');
    assert.equal(answers(p)['rbac.authorization.k8s.io/RoleBinding/shop/web'], 'not-asked');
  });

  it('tells how an overwritten object will be: what others added stays', async () => {
    const existing = live(kube('v1', 'ConfigMap', 'web-config', { data: { 'app.ini': 'host = old\n', added: 'later' } }));
    const cluster = playedCluster({ objects: [existing] });
    const p = await preflightRestore(OPERATION, backup(), cluster, { activate: true, allow: ['*'], conflict: 'overwrite' }, quiet);
    const step = p.steps.find((s): s is ApplyStep => s.do === 'apply' && s.ref.name === 'web-config');
    assert.equal(step?.action, 'update');
    assert.deepEqual(step.changes, ['data["app.ini"]: host = old  -> host = db ']);
    const kept = p.findings.find(({ code }) => code === 'fields-kept');
    assert.deepEqual([kept?.level, kept?.message], ['warning', 'configmap/web-config keeps what the backup does not have: data.added']);
    assert.equal(kept?.hint, 'kubectl edit configmap web-config -n shop --context dr');
  });

  it('has nothing to do for an object that an overwrite would leave as it is', async () => {
    const { objects } = backup();
    const found = objects.find(({ kind, metadata }) => kind === 'ConfigMap' && metadata.name === 'web-config');
    assert.ok(found);
    const data = { ...(found['data'] as Readonly<Record<string, string>>), added: 'later' };
    const cluster = playedCluster({ objects: [live({ ...found, data })] });
    const p = await preflightRestore(OPERATION, backup(), cluster, { activate: true, allow: ['*'], conflict: 'overwrite' }, quiet);
    const step = p.steps.find((s): s is ApplyStep => s.do === 'apply' && s.ref.name === 'web-config');
    assert.deepEqual([step?.action, step?.reason], ['skip', 'the target has all of it']);
    assert.ok(p.findings.some(({ code }) => code === 'fields-kept'));
  });

  it('an applied plan is refused when the target has moved, and again it changes nothing', async () => {
    const cluster = playedCluster({ objects: [kube('v1', 'ConfigMap', 'other')] });
    const p = await preflightRestore(OPERATION, backup(), cluster, { activate: true, allow: ['*'] }, quiet);
    const document = withSecrets(parsePlanDocument(written(p)), itemsOf(backup(), p.options));
    const deps = { cluster, populate: fillingMover(), journal: new MemoryJournal() };
    const intruder = cluster.put(kube('v1', 'ConfigMap', 'web-config'));
    await assert.rejects(
      applyRestore(document, deps, quiet),
      /configmap\/web-config in namespace shop has appeared since the plan was made/,
    );
    await cluster.delete(refOf(intruder));
    const report = await applyRestore(document, deps, quiet);
    assert.ok(report.created > 10);
    const secret: KubeObject | undefined = cluster.objects().find((o) => o.kind === 'Secret' && o.metadata.name === 'db-password');
    assert.deepEqual(secret?.['data'], { password: 'aHVudGVyMg==' });
    const again = await applyRestore(document, deps, quiet);
    assert.deepEqual([again.created, again.updated, again.activated], [0, 0, 0]);
  });
});
