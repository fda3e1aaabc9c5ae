import assert from 'node:assert/strict';
import fc from 'fast-check';
import { kindId } from '../../core/src/discovery/pod-template.ts';
import { at, listAt } from '../../core/src/discovery/read.ts';
import { refKey, refOf } from '../../core/src/model.ts';
import type { KubeObject } from '../../core/src/model.ts';
import type { BackupView, RestoreOptions, RestoreStep } from '../../core/src/restore/model.ts';
import { planRestore } from '../../core/src/restore/plan.ts';
import { podNeeds } from '../../core/src/restore/pods.ts';
import { CLUSTER_SCOPED_KINDS } from '../../core/src/restore/prepare.ts';
import { SCRUB_RULES } from '../../core/src/restore/scrub-rules.ts';
import { scrub } from '../../core/src/restore/scrub.ts';
import { emptyTarget, OPERATION, volumeOf } from '../support/restore.ts';

const name = fc.constantFrom('a', 'b', 'c', 'd');
const maybe = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(value, { nil: undefined });
const defined = (o: object): object => Object.fromEntries(Object.entries(o).filter(([, v]) => v !== undefined));

const KINDS = [
  ...[
    ['v1', 'ConfigMap'],
    ['v1', 'Secret'],
    ['v1', 'Service'],
    ['v1', 'ServiceAccount'],
    ['v1', 'PersistentVolumeClaim'],
    ['v1', 'Pod'],
    ['v1', 'LimitRange'],
  ],
  ...[
    ['v1', 'ResourceQuota'],
    ['v1', 'Event'],
    ['v1', 'Endpoints'],
    ['v1', 'PersistentVolume'],
    ['v1', 'Node'],
    ['v1', 'Namespace'],
  ],
  ...[
    ['apps/v1', 'Deployment'],
    ['apps/v1', 'StatefulSet'],
    ['apps/v1', 'DaemonSet'],
    ['apps/v1', 'ReplicaSet'],
    ['apps/v1', 'ControllerRevision'],
  ],
  ...[
    ['batch/v1', 'Job'],
    ['batch/v1', 'CronJob'],
    ['networking.k8s.io/v1', 'Ingress'],
    ['networking.k8s.io/v1', 'NetworkPolicy'],
  ],
  ...['Role', 'RoleBinding', 'ClusterRole', 'ClusterRoleBinding'].map((kind) => ['rbac.authorization.k8s.io/v1', kind]),
  ...[
    ['autoscaling/v2', 'HorizontalPodAutoscaler'],
    ['policy/v1', 'PodDisruptionBudget'],
    ['acme.io/v1', 'Widget'],
    ['acme.io/v1', 'ClusterWidget'],
  ],
  ...[
    ['apiextensions.k8s.io/v1', 'CustomResourceDefinition'],
    ['admissionregistration.k8s.io/v1', 'ValidatingWebhookConfiguration'],
  ],
] as [apiVersion: string, kind: string][];

const WORKLOADS = new Set(['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet', 'Job']);

const metadata = fc
  .record({
    name,
    namespace: maybe(fc.constantFrom('shop', 'shop', 'shop', 'other')),
    uid: maybe(fc.uuid()),
    resourceVersion: maybe(fc.nat().map(String)),
    generation: maybe(fc.nat()),
    creationTimestamp: maybe(fc.constant('2026-01-01T00:00:00Z')),
    deletionTimestamp: maybe(fc.constant('2026-01-01T00:00:00Z')),
    managedFields: maybe(fc.constant([{ manager: 'x', fieldsV1: { 'f:spec': {} } }])),
    generateName: maybe(fc.constant('a-')),
    finalizers: maybe(fc.array(fc.constantFrom('kubernetes.io/pvc-protection', 'acme.io/x', 'orphan'))),
    labels: maybe(
      fc.dictionary(
        fc.constantFrom('app', 'controller-uid', 'dmaas.io/operation', 'pod-template-hash', 'kubernetes.io/metadata.name'),
        name,
      ),
    ),
    annotations: maybe(
      fc.dictionary(
        fc.constantFrom(
          ...['kubectl.kubernetes.io/last-applied-configuration', 'deployment.kubernetes.io/revision', 'pv.kubernetes.io/bind-completed'],
          ...['volume.kubernetes.io/selected-node', 'dmaas.io/backup', 'acme.io/note', 'kubernetes.io/service-account.name'],
        ),
        name,
      ),
    ),
    ownerReferences: maybe(
      fc.array(
        fc.record({
          apiVersion: fc.constantFrom('apps/v1', 'v1'),
          kind: fc.constantFrom('Deployment', 'StatefulSet', 'ConfigMap'),
          name,
          uid: fc.uuid(),
          controller: fc.boolean(),
        }),
        {
          maxLength: 2,
        },
      ),
    ),
  })
  .map(defined);

const podSpec = fc
  .record({
    nodeName: maybe(name),
    priority: maybe(fc.nat()),
    overhead: maybe(fc.constant({ cpu: '1' })),
    serviceAccountName: maybe(name),
    ephemeralContainers: maybe(fc.constant([{ name: 'debug' }])),
    volumes: fc.array(
      fc.oneof(
        name.map((n) => ({ name: n, secret: { secretName: n } })),
        name.map((n) => ({ name: n, configMap: { name: n } })),
        name.map((n) => ({ name: n, persistentVolumeClaim: { claimName: n } })),
        fc.constant({ name: 'kube-api-access-abcde' }),
      ),
      { maxLength: 3 },
    ),
    containers: fc.array(
      fc.record({
        name,
        env: fc.array(fc.record({ name, value: fc.constantFrom('a:80', 'http://b', 'c.shop.svc', 'x') }), { maxLength: 2 }),
      }),
      { minLength: 1, maxLength: 2 },
    ),
  })
  .map(defined);

const spec = fc
  .record({
    replicas: maybe(fc.nat(3)),
    suspend: maybe(fc.boolean()),
    clusterIP: maybe(fc.constantFrom('None', '10.0.0.1')),
    clusterIPs: maybe(fc.constant(['10.0.0.1'])),
    ipFamilies: maybe(fc.constant(['IPv4'])),
    ipFamilyPolicy: maybe(fc.constantFrom('SingleStack', 'RequireDualStack')),
    ports: maybe(fc.array(fc.record({ port: fc.constantFrom(80, 81), nodePort: fc.constantFrom(30080, 30081) }), { maxLength: 2 })),
    healthCheckNodePort: maybe(fc.constant(31000)),
    selector: maybe(fc.record({ app: name })),
    volumeName: maybe(name),
    storageClassName: maybe(fc.constantFrom('fast', 'gone')),
    finalizers: maybe(fc.constant(['kubernetes'])),
    template: maybe(
      fc.record({ metadata: fc.record({ labels: fc.record({ app: name }), creationTimestamp: fc.constant(null) }), spec: podSpec }),
    ),
    jobTemplate: maybe(fc.record({ spec: fc.record({ template: fc.record({ spec: podSpec }) }) })),
    volumeClaimTemplates: maybe(
      fc.array(fc.record({ metadata: fc.record({ name }), spec: fc.constant({ storageClassName: 'fast' }) }), { maxLength: 2 }),
    ),
  })
  .map(defined);

const object: fc.Arbitrary<KubeObject> = fc
  .record({ kind: fc.constantFrom(...KINDS), metadata, spec, podSpec, status: maybe(fc.constant({ phase: 'Bound' })) })
  .map(({ kind: [apiVersion, kind], metadata: meta, spec: fields, podSpec: pod, status }) => {
    const { template: _, ...noPods } = fields as { readonly template?: unknown };
    const own = WORKLOADS.has(kind) ? fields : noPods;
    const o = { apiVersion, kind, metadata: meta, spec: kind === 'Pod' ? pod : own, status };
    return defined(o) as KubeObject;
  });

const backup: fc.Arbitrary<BackupView> = fc
  .record({ objects: fc.array(object, { maxLength: 25 }), volumes: fc.uniqueArray(name, { maxLength: 2 }) })
  .map(({ objects, volumes }) => ({
    id: 'backup-1',
    recordId: 'record-1',
    createdAt: '2026-01-01T00:00:00Z',
    app: { name: 'shop', namespace: 'shop', cluster: 'prod', clusterId: 'cluster-a' },
    // A name is given once only, as in a cluster.
    objects: [...new Map(objects.map((o) => [refKey(refOf(o)), o])).values()],
    volumes: volumes.map((v) => volumeOf(v)),
  }));

const options: fc.Arbitrary<RestoreOptions> = fc
  .record({
    namespace: maybe(fc.constantFrom('shop', 'shop-dr')),
    namePrefix: maybe(fc.constantFrom('x-', 'a')),
    allow: maybe(fc.constantFrom(['*'])),
    values: maybe(fc.constant({ labels: [{ from: ['app', 'a'], to: ['app', 'z'] }], images: { x: 'y' }, addLabels: { l: 'v' } } as const)),
    conflict: fc.constantFrom('fail', 'skip', 'overwrite', 'rename'),
    activate: fc.boolean(),
    startJobs: fc.boolean(),
    volumesOnly: maybe(fc.boolean()),
  })
  .map((o) => defined(o) as RestoreOptions);

const RUNS = { numRuns: 150 };

describe('properties of restores', function () {
  this.timeout(60_000); // a search, not a measurement

  it('scrubbing twice is scrubbing once', () => {
    fc.assert(
      fc.property(object, (o) => {
        const once = scrub(o).object;
        assert.deepEqual(scrub(once), { object: once, changes: [] });
        assert.deepEqual(scrub(o, SCRUB_RULES).object, once);
      }),
      { numRuns: 500 },
    );
  });

  it('the plan does not depend on the order of its input', () => {
    fc.assert(
      fc.property(backup, options, fc.array(fc.nat(), { minLength: 25, maxLength: 25 }), (b, o, keys) => {
        const shuffled = b.objects.map((item, i) => ({ item, key: keys[i] ?? 0 })).toSorted((x, y) => x.key - y.key);
        const other = { ...b, objects: shuffled.map(({ item }) => item) };
        assert.deepEqual(planRestore(OPERATION, other, emptyTarget(), o).steps, planRestore(OPERATION, b, emptyTarget(), o).steps);
      }),
      RUNS,
    );
  });

  it('a plan names nothing outside its namespace and the cluster-scoped kinds it knows', () => {
    fc.assert(
      fc.property(backup, options, (b, o) => {
        const p = planRestore(OPERATION, b, emptyTarget(), o);
        for (const step of p.steps) {
          for (const ref of refsOf(step)) {
            const isTargetNamespace = ref.kind === 'Namespace' && ref.name === p.target.namespace;
            assert.ok(ref.namespace === p.target.namespace || isTargetNamespace || CLUSTER_SCOPED_KINDS.includes(kindId(ref)), refKey(ref));
          }
        }
      }),
      RUNS,
    );
  });

  it('what is sent holds nothing that the server owns', () => {
    fc.assert(
      fc.property(backup, options, (b, o) => {
        for (const step of planRestore(OPERATION, b, emptyTarget(), o).steps) {
          if (!('manifest' in step)) continue;
          const { manifest } = step;
          assert.equal(manifest['status'], undefined);
          for (const field of [
            'uid',
            'resourceVersion',
            'generation',
            'creationTimestamp',
            'deletionTimestamp',
            'managedFields',
            'ownerReferences',
            'finalizers',
            'generateName',
          ]) {
            assert.equal(manifest.metadata[field], undefined, `${manifest.kind} ${field}`);
          }
          assert.deepEqual(refOf(manifest), step.ref);
        }
      }),
      RUNS,
    );
  });

  it('the order respects dependencies', () => {
    fc.assert(
      fc.property(backup, options, (b, o) => {
        const { steps } = planRestore(OPERATION, b, emptyTarget(), o);
        const creation = new Map(steps.flatMap((step, i) => ('manifest' in step ? [[refKey(step.ref), i] as const] : [])));
        const lastPopulate = steps.findLastIndex((s) => s.do === 'populate');
        steps.forEach((step, i) => {
          if (step.do === 'populate') assert.ok((creation.get(refKey(step.claim)) ?? Infinity) < i);
          if (step.do === 'activate') assert.ok((creation.get(refKey(step.ref)) ?? Infinity) < i);
          if (step.do === 'wait-ready') assert.ok((creation.get(refKey(step.madeBy ?? step.ref)) ?? Infinity) < i);
          if (step.do === 'link-owners') for (const { ref } of step.owners) assert.ok((creation.get(refKey(ref)) ?? Infinity) < i);
          if (!('manifest' in step)) return;
          if (step.ref.kind !== 'Namespace')
            assert.ok((creation.get(refKey({ apiVersion: 'v1', kind: 'Namespace', name: step.ref.namespace ?? '' })) ?? -1) < i);
          const needs = podNeeds(step.manifest);
          if (needs.length > 0 || listAt(at(step.manifest, 'spec', 'template'), 'spec', 'containers').length > 0) {
            assert.ok(i > lastPopulate, 'no workload before its data');
          }
          for (const need of needs) {
            const namespace = step.ref.namespace ?? '';
            assert.ok(
              (creation.get(refKey({ apiVersion: 'v1', kind: need.kind, name: need.name, namespace })) ?? -1) < i,
              `${need.kind} before its pod`,
            );
          }
        });
        const phases = steps.map((s) => s.phase);
        assert.ok(phases.lastIndexOf('populate') < (phases.includes('activate') ? phases.indexOf('activate') : Infinity));
      }),
      RUNS,
    );
  });
});

function refsOf(
  step: RestoreStep,
): readonly { readonly apiVersion: string; readonly kind: string; readonly name: string; readonly namespace?: string }[] {
  if (step.do === 'populate') return [step.claim];
  if (step.do === 'wait-unused') return step.claims;
  if (step.do === 'link-owners') return [step.ref, ...step.owners.map((o) => o.ref)];
  return 'manifest' in step ? [step.ref, refOf(step.manifest)] : [step.ref];
}
