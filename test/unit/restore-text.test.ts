import assert from 'node:assert/strict';
import { DmaasError } from '../../core/src/errors.ts';
import type { KubeObject } from '../../core/src/model.ts';
import type { Confidence, RestorePlan } from '../../core/src/restore/model.ts';
import { proposeEdits, withEdits } from '../../core/src/restore/text-references.ts';
import { valuesIn } from '../../core/src/restore/text-spots.ts';
import { emptyTarget, kube, plan, shop } from '../support/restore.ts';

type Fields = Readonly<Record<string, unknown>>;
const MOVED = { map: { from: 'shop', to: 'shop-dr', storageClasses: {} }, hosts: {}, services: new Map([['db', 'db']]), accept: undefined };
const RENAMED = { ...MOVED, map: { from: 'shop', to: 'shop', storageClasses: {} }, services: new Map([['db', 'x-db']]) };
const workload = (container: Fields): KubeObject =>
  kube('apps/v1', 'Deployment', 'web', { spec: { template: { spec: { containers: [{ name: 'web', ...container }] } } } });
const env = (value: string, name = 'DB_HOST') => workload({ env: [{ name, value }] });
const config = (text: string) => kube('v1', 'ConfigMap', 'c', { data: { f: text } });
const found = (o: KubeObject, renaming = MOVED): string[] =>
  proposeEdits(o, renaming).map((e) => `${e.where}: ${e.from} -> ${e.to} (${e.confidence})`);

/** The text of a ConfigMap after all edits that are proposed for it. */
function edited(text: string, renaming = MOVED, kind: 'ConfigMap' | 'Secret' = 'ConfigMap'): string {
  const data = { f: kind === 'Secret' ? Buffer.from(text).toString('base64') : text };
  const object = kube('v1', kind, 'c', { data });
  const base = plan({ ...shop(), objects: [], volumes: [] }, emptyTarget());
  const ref = { apiVersion: 'v1', kind, name: 'c', namespace: 'shop' };
  const step = { do: 'apply', phase: 'populate', action: 'create', ref, source: ref, manifest: object, changes: [] } as const;
  const edits = proposeEdits(object, renaming).map((e) => ({ ...e, apply: true }));
  const [after] = withEdits({ ...base, steps: [step], edits }).steps;
  assert.ok(after?.do === 'apply');
  const value = (after.manifest['data'] as Record<string, string>)['f'] ?? '';
  return kind === 'Secret' ? Buffer.from(value, 'base64').toString() : value;
}

describe('names of the old place in text', () => {
  it('are found in environment, arguments, ConfigMaps and Secrets', () => {
    assert.deepEqual(found(env('db.shop')), ['env DB_HOST: db.shop -> db.shop-dr (likely)']);
    assert.deepEqual(found(workload({ args: ['--url=http://db-0.db.shop.svc:5432'] })), [
      'args of container web: db-0.db.shop.svc -> db-0.db.shop-dr.svc (sure)',
    ]);
    assert.deepEqual(found(config('database:\n  host: other.shop.svc.cluster.local\n')), [
      'key f: database.host: other.shop.svc.cluster.local -> other.shop-dr.svc.cluster.local (likely)',
    ]);
    const url = Buffer.from('postgres://u:hunter2@db.shop/x').toString('base64');
    assert.deepEqual(found(kube('v1', 'Secret', 's', { data: { url } })), ['key url: db.shop -> db.shop-dr (likely)']);
  });

  it('are not found in what only looks alike', () => {
    for (const value of ['shop', 'db.shopping', 'www.shop', 'example.com/shop', 'db.shop-dr', 'db'])
      assert.deepEqual(found(env(value, 'X')), [], value);
    assert.deepEqual(found(env('db.shop'), { ...MOVED, map: { from: 'shop', to: 'shop', storageClasses: {} } }), []);
  });

  it('a namespace by itself counts where a namespace is asked for', () => {
    assert.deepEqual(found(env('shop', 'POD_NAMESPACE')), ['env POD_NAMESPACE: shop -> shop-dr (likely)']);
    assert.deepEqual(found(config('leader:\n  namespace: "shop"\n')), ['key f: leader.namespace: shop -> shop-dr (likely)']);
  });

  it('names of services count by where they stand', () => {
    assert.deepEqual(found(env('db'), RENAMED), ['env DB_HOST: db -> x-db (likely)']);
    assert.deepEqual(found(env('db', 'MODE'), RENAMED), ['env MODE: db -> x-db (guess)']);
    assert.deepEqual(found(env('postgres://u@db:5432/db', 'X'), RENAMED), ['env X: db -> x-db (likely)']);
    assert.deepEqual(found(env('db-0.db', 'X'), RENAMED), ['env X: db-0.db -> db-0.x-db (likely)']);
  });

  it('a word of a Secret that merely equals a name is not shown', () => {
    const password = Buffer.from('db').toString('base64');
    assert.deepEqual(found(kube('v1', 'Secret', 's', { data: { password } }), RENAMED), []);
  });

  it('hosts that are mapped', () => {
    const hosts = { '*.old.test': '*.new.test' };
    assert.deepEqual(found(env('https://a.old.test/x', 'X'), { ...MOVED, hosts }), ['env X: a.old.test -> a.new.test (sure)']);
  });

  it('edits keep everything around', () => {
    assert.equal(
      edited('# db.shop stays? no\n{"a": {"host": "db.shop.svc", "port": 5}, "b": ["db.shop"]}'),
      '# db.shop stays? no\n{"a": {"host": "db.shop-dr.svc", "port": 5}, "b": ["db.shop-dr"]}',
    );
    assert.equal(edited("a:\n  - host: 'db.shop'  # why\n    x: 1\n"), "a:\n  - host: 'db.shop-dr'  # why\n    x: 1\n");
    assert.equal(
      edited('[main]\nhost = db.shop\nurl=jdbc:postgresql://db.shop.svc:5432/x?y=db.shop.svc\n'),
      '[main]\nhost = db.shop-dr\nurl=jdbc:postgresql://db.shop-dr.svc:5432/x?y=db.shop-dr.svc\n',
    );
    assert.equal(edited('postgres://u:p@db.shop/x', MOVED, 'Secret'), 'postgres://u:p@db.shop-dr/x');
    assert.equal(edited('proxy_pass http://db.shop.svc:80;\n'), 'proxy_pass http://db.shop-dr.svc:80;\n');
  });

  it('texts of any kind are read without failing', () => {
    for (const text of ['', '\0', ': : :', '{', '- - -', 'a: &x [*x]', '%YAML 9', 'key: |\n  db.shop\n', '!!js/function x']) valuesIn(text);
    assert.deepEqual(
      valuesIn('a.b = c\nplain').map((v) => [v.path, v.value]),
      [
        ['a.b', 'c'],
        ['', 'plain'],
      ],
    );
  });
});

describe('edits in a plan', () => {
  const backup = () => ({
    ...shop(),
    objects: [...shop().objects, kube('v1', 'ConfigMap', 'urls', { data: { url: 'http://db.shop.svc', ns: 'shop' } })],
  });
  const planned = (acceptEdits?: Confidence): RestorePlan =>
    plan(backup(), emptyTarget(), { namespace: 'shop-dr', ...(acceptEdits === undefined ? {} : { acceptEdits }) });
  const urls = (p: RestorePlan): unknown =>
    p.steps.flatMap((s) => (s.do === 'apply' && s.ref.name === 'urls' ? [s.manifest['data']] : []))[0];

  it('are proposed, and made only when accepted', () => {
    const p = planned();
    assert.deepEqual(
      p.edits?.map((e) => [e.where, e.confidence, e.apply]),
      [
        ['key url', 'sure', false],
        ['key ns', 'likely', false],
      ],
    );
    assert.deepEqual(urls(withEdits(p)), { url: 'http://db.shop.svc', ns: 'shop' });
    assert.equal(p.findings.filter((f) => f.code === 'text-not-edited').length, 2);
    assert.deepEqual(urls(withEdits(planned('sure'))), { url: 'http://db.shop-dr.svc', ns: 'shop' });
    assert.deepEqual(urls(withEdits(planned('likely'))), { url: 'http://db.shop-dr.svc', ns: 'shop-dr' });
    assert.deepEqual(urls(planned('likely')), urls(p), 'the manifests of a plan are without them');
  });

  it('that do not fit any more are refused', () => {
    const p = planned('likely');
    const other = p.steps.map((s) =>
      s.do === 'apply' && s.ref.name === 'urls' ? { ...s, manifest: { ...s.manifest, data: { url: 'x' } } } : s,
    );
    assert.throws(
      () => withEdits({ ...p, steps: other }),
      (e) => DmaasError.is(e, 'USAGE') && /does not say any more what the edit was proposed for/.test(e.message),
    );
  });
});
