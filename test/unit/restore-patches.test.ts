import assert from 'node:assert/strict';
import { KNOWN_KINDS } from '../../core/src/cluster/known-kinds.ts';
import { DmaasError } from '../../core/src/errors.ts';
import { applyJsonPatch, PatchError } from '../../core/src/restore/json-patch.ts';
import type { JsonOperation } from '../../core/src/restore/json-patch.ts';
import { applyPatches, parsePatches } from '../../core/src/restore/patches.ts';
import { strategicMerge } from '../../core/src/restore/strategic-merge.ts';
import { emptyTarget, kube, plan, shop } from '../support/restore.ts';

const web = kube(
  'apps/v1',
  'Deployment',
  'web',
  { spec: { replicas: 2, template: { spec: { containers: [{ name: 'a', image: 'x' }, { name: 'b' }] } } } },
  { labels: { app: 'web' } },
);
const patched = (file: string, object = web) => applyPatches(object, object, parsePatches(file, 'p.yaml'), KNOWN_KINDS);

describe('JSON patches', () => {
  const of = (document: unknown, ...operations: readonly JsonOperation[]): unknown => applyJsonPatch(document, operations);

  it('do what RFC 6902 says', () => {
    assert.deepEqual(of({ foo: 'bar' }, { op: 'add', path: '/baz', value: 1 }), { foo: 'bar', baz: 1 });
    assert.deepEqual(of({ foo: ['a', 'c'] }, { op: 'add', path: '/foo/1', value: 'b' }), { foo: ['a', 'b', 'c'] });
    assert.deepEqual(of({ foo: ['a'] }, { op: 'add', path: '/foo/-', value: ['b'] }), { foo: ['a', ['b']] });
    assert.deepEqual(of({ foo: ['a', 'b'] }, { op: 'remove', path: '/foo/0' }), { foo: ['b'] });
    assert.deepEqual(of({ a: { b: 1 } }, { op: 'replace', path: '/a/b', value: null }), { a: { b: null } });
    assert.deepEqual(of({ a: { b: 1 }, c: {} }, { op: 'move', from: '/a/b', path: '/c/d' }), { a: {}, c: { d: 1 } });
    assert.deepEqual(of({ a: [1, 2] }, { op: 'copy', from: '/a/1', path: '/a/0' }), { a: [2, 1, 2] });
    assert.deepEqual(of({ 'a/b': 1, 'c~d': 2 }, { op: 'remove', path: '/a~1b' }, { op: 'test', path: '/c~0d', value: 2 }), { 'c~d': 2 });
    assert.deepEqual(of({ a: 1 }, { op: 'replace', path: '', value: 7 }), 7);
  });

  it('fail where they lead nowhere, and then change nothing', () => {
    const wrong: readonly JsonOperation[] = [
      { op: 'remove', path: '/none' },
      { op: 'replace', path: '/a/3', value: 1 },
      { op: 'add', path: '/a/01', value: 1 },
      { op: 'add', path: '/none/x', value: 1 },
      { op: 'test', path: '/a', value: [2] },
      { op: 'add', path: 'a', value: 1 },
      { op: 'move', from: '/none', path: '/b' },
    ];
    for (const operation of wrong) assert.throws(() => of({ a: [1] }, operation), PatchError, JSON.stringify(operation));
  });
});

describe('strategic merge', () => {
  it('merges named lists by name and replaces others', () => {
    const before = {
      containers: [{ name: 'a', args: ['x'], ports: [{ containerPort: 80, name: 'h' }] }, { name: 'b' }],
      finalizers: ['f'],
    };
    assert.deepEqual(
      strategicMerge(before, {
        containers: [{ name: 'a', args: ['y'], ports: [{ containerPort: 80, protocol: 'TCP' }] }, { name: 'c' }],
        finalizers: [],
      }),
      {
        containers: [{ name: 'a', args: ['y'], ports: [{ containerPort: 80, name: 'h', protocol: 'TCP' }] }, { name: 'b' }, { name: 'c' }],
        finalizers: [],
      },
    );
  });

  it('knows the directives delete and replace, and null', () => {
    assert.deepEqual(strategicMerge({ containers: [{ name: 'a' }, { name: 'b' }] }, { containers: [{ name: 'a', $patch: 'delete' }] }), {
      containers: [{ name: 'b' }],
    });
    assert.deepEqual(strategicMerge({ a: { x: 1 }, b: 1 }, { a: { $patch: 'replace', y: 2 }, b: null }), { a: { y: 2 } });
    assert.deepEqual(strategicMerge({ env: [{ name: 'a' }] }, { env: [{ $patch: 'replace' }, { name: 'b' }] }), { env: [{ name: 'b' }] });
  });
});

describe('patch files', () => {
  it('Velero’s resource modifiers', () => {
    const { object, applied } = patched(`version: v1
resourceModifierRules:
- conditions:
    groupResource: deployments.apps
    resourceNameRegex: "^w.*$"
    namespaces: [shop]
    labelSelector: {matchLabels: {app: web}}
    matches: [{path: /spec/replicas, value: "2"}]
  patches:
  - {operation: replace, path: /spec/replicas, value: "5"}
  - {operation: add, path: /metadata/labels/x, value: "\\"7\\""}
  mergePatches:
  - patchData: |
      {"metadata": {"annotations": {"a": "b"}}}
  strategicPatches:
  - patchData: |
      spec:
        template:
          spec:
            containers: [{name: a, image: y}]
- conditions: {groupResource: "*.apps"}
  patches: [{operation: remove, path: /spec/replicas}]
- conditions: {groupResource: persistentvolumeclaims}
  patches: [{operation: remove, path: /spec}]
`);
    assert.deepEqual(applied, [0, 1]);
    assert.deepEqual(object.metadata.labels, { app: 'web', x: '7' });
    assert.deepEqual(object.metadata.annotations, { a: 'b' });
    assert.deepEqual(object['spec'], { template: { spec: { containers: [{ name: 'a', image: 'y' }, { name: 'b' }] } } });
  });

  it('kustomize’s patches, and objects', () => {
    const { object } = patched(`patches:
- target: {kind: Deployment, name: we.}
  patch: |-
    - op: add
      path: /spec/paused
      value: true
- patch:
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: web, labels: {tier: front}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {replicas: null}
`);
    assert.deepEqual(object.metadata.labels, { app: 'web', tier: 'front' });
    assert.deepEqual(Object.keys(object['spec'] as object), ['template', 'paused']);
    // What kustomize's field holds may be a file of its own.
    const list = patched('- target: {kind: Deployment}\n  patch: [{op: add, path: /spec/paused, value: true}]\n');
    assert.equal((list.object['spec'] as { paused: boolean }).paused, true);
  });

  it('that are none are refused in one sentence', () => {
    for (const [text, message] of [
      ['a: [', /p\.yaml is neither YAML nor JSON/],
      ['', /p\.yaml holds no patches/],
      ['x: 1', /p\.yaml: apiVersion is missing or not valid/],
      ['version: v9\nresourceModifierRules: []', /p\.yaml: version is missing/],
      ['patches: [{patch: "- op: nonsense"}]', /no list of operations/],
      ['patches: [{patch: "- {op: remove, path: /x}"}]', /does not say what it is for/],
      [
        'version: v1\nresourceModifierRules: [{conditions: {groupResource: a, resourceNameRegex: "("}}]',
        /"\(" is not a regular expression/,
      ],
    ] as const) {
      assert.throws(
        () => parsePatches(text, 'p.yaml'),
        (e) => DmaasError.is(e, 'USAGE') && message.test(e.message),
        text,
      );
    }
  });

  it('in a plan: shown, and blockers when they fail, hit nothing or change what an object is', () => {
    const of = (file: string) => plan(shop(), emptyTarget(), { patches: parsePatches(file, 'p.yaml') });
    const good = of('{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {paused: true}}');
    const step = good.steps.find((s) => s.do === 'apply' && s.ref.name === 'web' && s.ref.kind === 'Deployment');
    assert.ok(step?.do === 'apply');
    assert.ok(step.changes.includes('spec.paused: true added (patched)'), step.changes.join());
    const codes = (file: string) =>
      of(file)
        .findings.filter((f) => f.level === 'blocker')
        .map((f) => f.message);
    assert.deepEqual(codes('{apiVersion: apps/v1, kind: Deployment, metadata: {name: none}}'), [
      'p.yaml, patch 1 is for no object that is restored',
    ]);
    assert.deepEqual(codes('patches: [{target: {kind: Ingress}, patch: [{op: remove, path: /none}]}]'), [
      'a patch cannot be applied to ingress/web: p.yaml, patch 1: there is nothing at /none',
    ]);
    assert.match(
      codes('patches: [{target: {kind: Ingress}, patch: [{op: replace, path: /metadata/namespace, value: kube-system}]}]').join(),
      /makes another object of ingress\/web/,
    );
  });
});
