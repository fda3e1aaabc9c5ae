import assert from 'node:assert/strict';
import type { KubeObject } from '../../core/src/model.ts';
import { inServedApi, REPLACED_APIS } from '../../core/src/restore/api-versions.ts';
import { clusterScoped, emptyTarget, kube, outline, plan, shop } from '../support/restore.ts';
import { OLD_OBJECTS } from '../support/old-objects.ts';

const of = (apiVersion: string, kind: string): KubeObject => {
  const found = OLD_OBJECTS.find((o) => o.apiVersion === apiVersion && o.kind === kind);
  assert.ok(found, `no ${apiVersion} ${kind}`);
  return found;
};
const spec = (o: KubeObject): unknown => inServedApi(o, 34)['spec'];

describe('APIs that left Kubernetes', () => {
  it('every row has a case', () => {
    for (const row of REPLACED_APIS)
      for (const apiVersion of row.apiVersions)
        for (const kind of row.kinds) {
          if (['apps/v1beta1', 'apps/v1beta2'].includes(apiVersion) || kind === 'ReplicaSet' || apiVersion.endsWith('alpha1')) continue;
          assert.equal(inServedApi(of(apiVersion, kind), 34).apiVersion, row.to);
        }
  });

  it('an object stays in its API while the new one is not served', () => {
    const ingress = of('networking.k8s.io/v1beta1', 'Ingress');
    assert.equal(inServedApi(ingress, 18), ingress);
    assert.equal(inServedApi(ingress, 19).apiVersion, 'networking.k8s.io/v1');
    const current = kube('networking.k8s.io/v1', 'Ingress', 'web');
    assert.equal(inServedApi(current, 34), current);
  });

  it('Ingress: backends have another shape, paths a type', () => {
    assert.deepEqual(spec(of('extensions/v1beta1', 'Ingress')), {
      defaultBackend: { service: { name: 'web', port: { name: 'http' } } },
      rules: [
        {
          host: 'a.test',
          http: { paths: [{ path: '/', pathType: 'ImplementationSpecific', backend: { service: { name: 'web', port: { number: 80 } } } }] },
        },
      ],
    });
  });

  it('workloads: the selector that was the labels of the pods, the update strategy that was the default', () => {
    assert.deepEqual((spec(of('extensions/v1beta1', 'Deployment')) as { selector: unknown }).selector, { matchLabels: { app: 'web' } });
    assert.deepEqual((spec(of('extensions/v1beta1', 'DaemonSet')) as { updateStrategy: unknown }).updateStrategy, { type: 'OnDelete' });
  });

  it('PodDisruptionBudget: an empty selector chose nothing', () => {
    assert.deepEqual(spec(of('policy/v1beta1', 'PodDisruptionBudget')), {
      minAvailable: 1,
      selector: { matchLabels: { 'dmaas.io/selects': 'nothing' } },
    });
  });

  it('HorizontalPodAutoscaler: metrics have targets', () => {
    const { metrics } = spec(of('autoscaling/v2beta1', 'HorizontalPodAutoscaler')) as { metrics: unknown };
    assert.deepEqual(metrics, [
      { type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 50 } } },
      { type: 'Pods', pods: { metric: { name: 'rps' }, target: { type: 'AverageValue', averageValue: '100' } } },
      {
        type: 'Object',
        object: {
          describedObject: { kind: 'Service', name: 'web', apiVersion: 'v1' },
          metric: { name: 'hits' },
          target: { type: 'Value', value: '5' },
        },
      },
      {
        type: 'External',
        external: { metric: { name: 'queue', selector: { matchLabels: { q: 'a' } } }, target: { type: 'Value', value: '30' } },
      },
    ]);
  });

  it('webhooks: what v1beta1 took for granted is said', () => {
    const [webhook] = inServedApi(of('admissionregistration.k8s.io/v1beta1', 'ValidatingWebhookConfiguration'), 34)['webhooks'] as Record<
      string,
      unknown
    >[];
    assert.deepEqual(
      ['failurePolicy', 'matchPolicy', 'timeoutSeconds', 'admissionReviewVersions'].map((field) => webhook?.[field]),
      ['Ignore', 'Exact', 30, ['v1beta1']],
    );
  });

  it('CustomResourceDefinition: the schema is each version’s own', () => {
    const converted = spec(of('apiextensions.k8s.io/v1beta1', 'CustomResourceDefinition')) as {
      versions: { name: string; additionalPrinterColumns: unknown; schema: unknown }[];
    };
    assert.deepEqual(
      converted.versions.map((v) => v.name),
      ['v1alpha1'],
    );
    assert.deepEqual(converted.versions[0]?.additionalPrinterColumns, [{ name: 'Size', type: 'integer', jsonPath: '.spec.size' }]);
    assert.ok(converted.versions[0].schema);
  });

  it('a plan restores them in the new one, and says so', () => {
    const backup = { ...shop(), objects: [...shop().objects.filter((o) => o.kind !== 'Ingress'), of('extensions/v1beta1', 'Ingress')] };
    const p = plan(backup, emptyTarget());
    const step = p.steps.find((s) => s.do === 'apply' && s.ref.kind === 'Ingress');
    assert.ok(step?.do === 'apply');
    assert.equal(step.manifest.apiVersion, 'networking.k8s.io/v1');
    assert.ok(step.changes[0]?.startsWith('apiVersion: extensions/v1beta1 -> networking.k8s.io/v1'));
    assert.ok(outline(p.steps).indexOf('create ingress/web') > outline(p.steps).indexOf('activate deployment/web'));
  });

  it('of two captures of one object that of the new API counts', () => {
    const both = [kube('networking.k8s.io/v1', 'Ingress', 'web', { spec: { rules: [] } }), of('extensions/v1beta1', 'Ingress')];
    for (const objects of [both, both.toReversed()]) {
      const p = plan({ ...shop(), objects, volumes: [] }, emptyTarget());
      assert.deepEqual(
        p.steps.flatMap((s) => (s.do === 'apply' && s.ref.kind === 'Ingress' ? [s.manifest['spec']] : [])),
        [{ rules: [] }],
      );
    }
  });
});

describe('more checks of the target', () => {
  const codes = (target: Parameters<typeof emptyTarget>[0], backup = shop()): string[] =>
    plan(backup, emptyTarget(target)).findings.map((f) => `${f.level} ${f.code}`);
  const node = (labels: Readonly<Record<string, string>>, taints: unknown[] = []): KubeObject => {
    const plain = clusterScoped('v1', 'Node', 'n', { spec: { taints } });
    return { ...plain, metadata: { ...plain.metadata, labels } };
  };

  it('nodes that take the pods: labels, affinity, taints', () => {
    assert.ok(codes({ nodes: [node({ zone: 'b' })] }).includes('warning no-node-fits'));
    assert.ok(codes({ nodes: [node({ zone: 'a' }, [{ key: 'k', effect: 'NoSchedule' }])] }).includes('warning nodes-tainted'));
    assert.ok(!codes({ nodes: [node({ zone: 'b' }), node({ zone: 'a' })] }).some((c) => /node/.test(c)));
    assert.ok(!codes({}).some((c) => /node/.test(c)), 'without the right to see nodes nothing is said');
    const p = plan(shop(), emptyTarget({ nodes: [node({ zone: 'b' })] }), {
      values: { nodeSelectors: [{ from: ['zone', 'a'], to: ['zone', 'b'] }] },
    });
    assert.ok(!p.findings.some((f) => f.code === 'no-node-fits'));
  });

  it('room in the storage classes that publish it', () => {
    const capacity = (text: string): KubeObject =>
      kube('storage.k8s.io/v1', 'CSIStorageCapacity', 'c', { storageClassName: 'fast', capacity: text });
    assert.ok(codes({ capacities: [capacity('512Mi')] }).includes('blocker capacity-short'));
    assert.ok(!codes({ capacities: [capacity('512Mi'), capacity('2Gi')] }).some((c) => c.includes('capacity')));
  });

  it('image pull secrets', () => {
    const backup = {
      ...shop(),
      objects: shop().objects.map((o) =>
        o.kind === 'Deployment'
          ? kube('apps/v1', 'Deployment', 'web', {
              spec: { template: { spec: { imagePullSecrets: [{ name: 'registry' }], containers: [{}] } } },
            })
          : o,
      ),
    };
    assert.ok(codes({}, backup).includes('warning pull-secret-missing'));
    assert.ok(!codes({ existing: [kube('v1', 'Secret', 'registry')] }, backup).includes('warning pull-secret-missing'));
  });

  it('versions of custom resources', () => {
    const resource = { ...kube('db.test/v1alpha1', 'Postgres', 'main') };
    const kinds = [
      ...emptyTarget().kinds,
      { group: 'db.test', version: 'v1', kind: 'Postgres', plural: 'postgreses', namespaced: true, verbs: [] },
    ];
    const definition = (name: string) =>
      clusterScoped('apiextensions.k8s.io/v1', 'CustomResourceDefinition', 'postgreses.db.test', {
        spec: { group: 'db.test', names: { kind: 'Postgres' }, versions: [{ name, served: true }] },
      });
    const backup = { ...shop(), objects: [...shop().objects, resource] };
    assert.ok(codes({ kinds, existing: [definition('v1')] }, backup).includes('blocker version-not-served'));
    assert.ok(!codes({ kinds, existing: [definition('v1alpha1')] }, backup).includes('blocker version-not-served'));
  });
});
