import assert from 'node:assert/strict';
import { definitionRules, RULES, rulesFor, selectorText } from '../../core/src/discovery/edges.ts';
import type { EdgeRule, Target } from '../../core/src/discovery/edges.ts';
import type { KubeObject } from '../../core/src/model.ts';
import { manifest, ownedBy, workload } from '../support/manifests.ts';

/** All that the rules read in a manifest, as `name relation target`; targets abbreviated. */
function edges(object: KubeObject, rules: readonly EdgeRule[] = RULES): string[] {
  return rulesFor(rules, object).flatMap((rule) => [...rule.read(object)].map((target) => `${rule.name} ${rule.relation} ${show(target)}`));
}

function show(target: Target): string {
  if ('podsWith' in target) return `pods of ${target.namespace} with "${target.podsWith}"`;
  if ('numbered' in target) return `${target.numbered.kind} ${target.numbered.namespace ?? ''}/${target.numbered.prefix}N`;
  if ('every' in target) return `every ${target.every.kind} of ${target.every.namespace ?? ''}`;
  if ('owner' in target) return `${target.owner.apiVersion} ${target.owner.kind} ${target.owner.name} ${target.uid}`;
  const { apiVersion, kind, namespace, name } = target.ref;
  return `${apiVersion} ${kind} ${namespace === undefined ? '' : `${namespace}/`}${name}${target.optional === true ? ' if there' : ''}`;
}

const DEFAULT_ACCOUNT = 'runs-as needs v1 ServiceAccount shop/default if there';
const ofPod = (spec: Readonly<Record<string, unknown>>) => edges(workload('Deployment', 'web', spec)).filter((e) => e !== DEFAULT_ACCOUNT);

describe('edge rules', () => {
  it('owned-by: the owner, with its uid', () => {
    const owner = workload('Deployment', 'web', {}, { metadata: { uid: 'u1' } });
    const owned = manifest('ConfigMap', 'made', { metadata: ownedBy(owner) });
    assert.deepEqual(edges(owned), ['owned-by joins apps/v1 Deployment web u1']);
  });

  it('mounts: claims, Secrets, ConfigMaps, projected ones, and the credentials of storage plugins', () => {
    const volumes = [
      { name: 'a', persistentVolumeClaim: { claimName: 'data' } },
      { name: 'b', secret: { secretName: 'tls' } },
      { name: 'c', configMap: { name: 'conf', optional: true } },
      {
        name: 'd',
        projected: {
          sources: [{ secret: { name: 's' } }, { configMap: { name: 'c', optional: true } }, { serviceAccountToken: { path: 'token' } }],
        },
      },
      { name: 'e', csi: { driver: 'x', nodePublishSecretRef: { name: 'csi' } } },
      { name: 'f', cephfs: { secretRef: { name: 'ceph' } } },
      { name: 'g', azureFile: { secretName: 'azure' } },
      { name: 'h', emptyDir: {} },
    ];
    assert.deepEqual(ofPod({ volumes }), [
      'mounts needs v1 PersistentVolumeClaim shop/data',
      'mounts needs v1 Secret shop/tls',
      'mounts needs v1 ConfigMap shop/conf if there',
      'mounts needs v1 Secret shop/s',
      'mounts needs v1 ConfigMap shop/c if there',
      'mounts needs v1 Secret shop/csi',
      'mounts needs v1 Secret shop/ceph',
      'mounts needs v1 Secret shop/azure',
    ]);
  });

  it('reads-env: env and envFrom of all sorts of containers', () => {
    const env = [
      { name: 'A', valueFrom: { secretKeyRef: { name: 'db', key: 'a' } } },
      { name: 'B', valueFrom: { configMapKeyRef: { name: 'conf', key: 'b', optional: true } } },
      { name: 'C', value: 'x' },
    ];
    const envFrom = [{ secretRef: { name: 'all' } }, { configMapRef: { name: 'more', optional: true }, prefix: 'X_' }];
    assert.deepEqual(ofPod({ initContainers: [{ name: 'init', env }], containers: [{ name: 'main', envFrom }] }), [
      'reads-env needs v1 Secret shop/db',
      'reads-env needs v1 ConfigMap shop/conf if there',
      'reads-env needs v1 Secret shop/all',
      'reads-env needs v1 ConfigMap shop/more if there',
    ]);
  });

  it('pulls-with: image pull secrets of pods and of service accounts', () => {
    assert.deepEqual(ofPod({ imagePullSecrets: [{ name: 'registry' }] }), ['pulls-with needs v1 Secret shop/registry']);
    const account = manifest('ServiceAccount', 'web', { imagePullSecrets: [{ name: 'registry' }], secrets: [{ name: 'web-token-abcde' }] });
    assert.deepEqual(edges(account), ['mounts needs v1 Secret shop/web-token-abcde if there', 'pulls-with needs v1 Secret shop/registry']);
  });

  it('runs-as: the service account, the deprecated field too, the default account if it is there', () => {
    assert.deepEqual(ofPod({ serviceAccountName: 'web' }), ['runs-as needs v1 ServiceAccount shop/web']);
    assert.deepEqual(ofPod({ serviceAccount: 'old' }), ['runs-as needs v1 ServiceAccount shop/old']);
    assert.deepEqual(edges(workload('Deployment', 'web')), [DEFAULT_ACCOUNT]);
  });

  for (const kind of ['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet', 'ReplicationController', 'Job', 'CronJob']) {
    it(`finds the pod template of a ${kind}`, () => {
      assert.ok(edges(workload(kind, 'x', { serviceAccountName: 'web' })).includes('runs-as needs v1 ServiceAccount shop/web'));
    });
  }

  it('finds the spec of a pod, and the template of a custom resource', () => {
    const spec = { containers: [{ name: 'main' }], serviceAccountName: 'web' };
    const custom = { ...manifest('X', 'x', { spec: { template: { spec } } }), apiVersion: 'example.com/v1', kind: 'Cluster' };
    for (const object of [manifest('Pod', 'x', { spec }), custom]) {
      assert.deepEqual(edges(object), ['runs-as needs v1 ServiceAccount shop/web']);
    }
    const notPods = { ...custom, spec: { template: { spec: { secretName: 'x' } } } };
    assert.deepEqual(edges(notPods), []);
  });

  it('claims and governed-by: the claims of all ordinals, leftovers by number, the headless service', () => {
    const template = (name: string) => ({ metadata: { name }, spec: { storageClassName: 'fast' } });
    const spec = { serviceName: 'db', replicas: 2, ordinals: { start: 3 }, volumeClaimTemplates: [template('data'), template('wal')] };
    assert.deepEqual(
      edges(workload('StatefulSet', 'db', {}, { spec })).filter((e) => e !== DEFAULT_ACCOUNT),
      [
        'claims needs v1 PersistentVolumeClaim shop/data-db-3',
        'claims needs v1 PersistentVolumeClaim shop/data-db-4',
        'claims needs PersistentVolumeClaim shop/data-db-N',
        'claims needs v1 PersistentVolumeClaim shop/wal-db-3',
        'claims needs v1 PersistentVolumeClaim shop/wal-db-4',
        'claims needs PersistentVolumeClaim shop/wal-db-N',
        'governed-by needs v1 Service shop/db',
        'stored-by depends storage.k8s.io/v1 StorageClass fast',
        'stored-by depends storage.k8s.io/v1 StorageClass fast',
      ],
    );
  });

  it('selects: the pods of a Service; none without a selector', () => {
    const service = (spec: object) => edges(manifest('Service', 'web', { spec }));
    assert.deepEqual(service({ selector: { app: 'shop', tier: 'web' } }), ['selects fronts pods of shop with "app=shop,tier=web"']);
    assert.deepEqual(service({ type: 'ExternalName' }), []);
    assert.deepEqual(service({ selector: {} }), []);
  });

  it('limits: NetworkPolicy and PodDisruptionBudget, an empty selector meaning all pods', () => {
    const policy = manifest('NetworkPolicy', 'deny', { spec: { podSelector: {} } });
    assert.deepEqual(edges(policy), ['limits guards pods of shop with ""']);
    const budget = manifest('PodDisruptionBudget', 'b', {
      spec: { selector: { matchExpressions: [{ key: 'tier', operator: 'In', values: ['db', 'web'] }] } },
    });
    assert.deepEqual(edges(budget), ['limits guards pods of shop with "tier in (db,web)"']);
  });

  it('scales: HorizontalPodAutoscaler, other autoscalers, VerticalPodAutoscaler', () => {
    const hpa = manifest('HorizontalPodAutoscaler', 'web', {
      spec: { scaleTargetRef: { apiVersion: 'apps/v1', kind: 'StatefulSet', name: 'db' } },
    });
    assert.deepEqual(edges(hpa), ['scales fronts apps/v1 StatefulSet shop/db']);
    const keda = {
      ...manifest('X', 'x', { spec: { scaleTargetRef: { name: 'web' } } }),
      apiVersion: 'keda.sh/v1alpha1',
      kind: 'ScaledObject',
    };
    assert.deepEqual(edges(keda), ['scales fronts apps/v1 Deployment shop/web']);
    const targetRef = { apiVersion: 'apps/v1', kind: 'Deployment', name: 'web' };
    const vpa = { ...manifest('X', 'x', { spec: { targetRef } }), apiVersion: 'autoscaling.k8s.io/v1', kind: 'VerticalPodAutoscaler' };
    assert.deepEqual(edges(vpa), ['scales fronts apps/v1 Deployment shop/web']);
  });

  it('binds and grants: subjects in this and other namespaces, groups of service accounts, the role', () => {
    const subjects = [
      { kind: 'ServiceAccount', name: 'web' },
      { kind: 'ServiceAccount', name: 'ci', namespace: 'build' },
      { kind: 'Group', name: 'system:serviceaccounts:shop' },
      { kind: 'Group', name: 'system:authenticated' },
      { kind: 'User', name: 'ann' },
    ];
    const binding = manifest('RoleBinding', 'web', { subjects, roleRef: { kind: 'Role', name: 'reader' } });
    assert.deepEqual(edges(binding), [
      'binds fronts v1 ServiceAccount shop/web',
      'binds fronts v1 ServiceAccount build/ci',
      'binds guards every ServiceAccount of shop',
      'grants needs rbac.authorization.k8s.io/v1 Role shop/reader',
    ]);
    const clusterBinding = manifest('ClusterRoleBinding', 'web', {
      subjects: subjects.slice(1, 2),
      roleRef: { kind: 'ClusterRole', name: 'reader' },
    });
    assert.deepEqual(edges(clusterBinding), [
      'binds fronts v1 ServiceAccount build/ci',
      'grants needs rbac.authorization.k8s.io/v1 ClusterRole reader',
    ]);
  });

  it('token-of: a service account token', () => {
    const annotations = { 'kubernetes.io/service-account.name': 'web' };
    const secret = manifest('Secret', 'token', { metadata: { annotations }, type: 'kubernetes.io/service-account-token' });
    assert.deepEqual(edges(secret), ['token-of needs v1 ServiceAccount shop/web']);
    assert.deepEqual(edges({ ...secret, type: 'Opaque' }), []);
  });

  it('addresses: Endpoints by name, EndpointSlices by label', () => {
    assert.deepEqual(edges(manifest('Endpoints', 'db')), ['addresses guards v1 Service shop/db if there']);
    const labels = { 'kubernetes.io/service-name': 'db' };
    assert.deepEqual(edges(manifest('EndpointSlice', 'db-1', { metadata: { labels } })), ['addresses guards v1 Service shop/db if there']);
    assert.deepEqual(edges(manifest('EndpointSlice', 'bare')), []);
  });

  it('routes-to, terminates-tls-with, has-class: Ingress', () => {
    const backend = (name: string) => ({ service: { name, port: { number: 80 } } });
    const spec = {
      ingressClassName: 'nginx',
      defaultBackend: backend('fallback'),
      tls: [{ hosts: ['x'], secretName: 'tls' }, { hosts: ['y'] }],
      rules: [
        {
          http: {
            paths: [{ backend: backend('web') }, { backend: { resource: { apiGroup: 'k.example.com', kind: 'Bucket', name: 'static' } } }],
          },
        },
      ],
    };
    assert.deepEqual(edges(manifest('Ingress', 'web', { spec })), [
      'routes-to fronts v1 Service shop/fallback',
      'routes-to fronts v1 Service shop/web',
      'routes-to fronts k.example.com/v1 Bucket shop/static',
      'terminates-tls-with needs v1 Secret shop/tls',
      'has-class depends networking.k8s.io/v1 IngressClass nginx',
    ]);
  });

  it('routes-to, attached-to, terminates-tls-with, has-class: Gateway API, OpenShift', () => {
    const route = manifest('HTTPRoute', 'web', {
      spec: {
        parentRefs: [{ name: 'gate' }, { name: 'edge', namespace: 'infra' }, { kind: 'Service', name: 'mesh' }],
        rules: [
          {
            backendRefs: [{ name: 'web' }, { name: 'other', namespace: 'b' }, { group: 'x.io', kind: 'Service', name: 'no' }],
            filters: [{ requestMirror: { backendRef: { name: 'shadow' } } }],
          },
        ],
      },
    });
    assert.deepEqual(edges(route), [
      'routes-to fronts v1 Service shop/web',
      'routes-to fronts v1 Service b/other',
      'routes-to fronts v1 Service shop/shadow',
      'attached-to needs gateway.networking.k8s.io/v1 Gateway shop/gate',
      'attached-to needs gateway.networking.k8s.io/v1 Gateway infra/edge',
    ]);
    const gateway = manifest('Gateway', 'gate', {
      spec: { gatewayClassName: 'c', listeners: [{ tls: { certificateRefs: [{ name: 'cert' }] } }] },
    });
    assert.deepEqual(edges(gateway), [
      'terminates-tls-with needs v1 Secret shop/cert',
      'has-class depends gateway.networking.k8s.io/v1 GatewayClass c',
    ]);
    const spec = { to: { kind: 'Service', name: 'web' }, alternateBackends: [{ kind: 'Service', name: 'canary' }] };
    const openShift = { ...manifest('X', 'web', { spec }), apiVersion: 'route.openshift.io/v1', kind: 'Route' };
    assert.deepEqual(edges(openShift), ['routes-to fronts v1 Service shop/web', 'routes-to fronts v1 Service shop/canary']);
  });

  it('calls: webhooks and conversions', () => {
    const clientConfig = { service: { name: 'hook', namespace: 'shop', path: '/' } };
    for (const kind of ['MutatingWebhookConfiguration', 'ValidatingWebhookConfiguration']) {
      const webhook = manifest(kind, 'hook', { webhooks: [{ clientConfig }, { clientConfig: { url: 'https://x' } }] });
      assert.deepEqual(edges(webhook), ['calls fronts v1 Service shop/hook']);
    }
    const definition = manifest('CustomResourceDefinition', 'x', {
      spec: { conversion: { strategy: 'Webhook', webhook: { clientConfig } } },
    });
    assert.deepEqual(edges(definition), ['calls fronts v1 Service shop/hook']);
  });

  it('stored-by: class and volume of a claim, the old annotation too', () => {
    const claim = manifest('PersistentVolumeClaim', 'data', { spec: { storageClassName: 'fast', volumeName: 'pv-1' } });
    assert.deepEqual(edges(claim), ['stored-by depends storage.k8s.io/v1 StorageClass fast', 'stored-by depends v1 PersistentVolume pv-1']);
    const old = manifest('PersistentVolumeClaim', 'data', {
      metadata: { annotations: { 'volume.beta.kubernetes.io/storage-class': 'slow' } },
    });
    assert.deepEqual(edges(old), ['stored-by depends storage.k8s.io/v1 StorageClass slow']);
  });

  it('has-class: priority and runtime class of pods', () => {
    assert.deepEqual(ofPod({ priorityClassName: 'high', runtimeClassName: 'gvisor' }), [
      'has-class depends scheduling.k8s.io/v1 PriorityClass high',
      'has-class depends node.k8s.io/v1 RuntimeClass gvisor',
    ]);
  });

  it('stored-by: the class of a generic ephemeral volume', () => {
    const volumes = [{ name: 'scratch', ephemeral: { volumeClaimTemplate: { spec: { storageClassName: 'fast' } } } }];
    assert.deepEqual(ofPod({ volumes }), ['stored-by depends storage.k8s.io/v1 StorageClass fast']);
  });

  it('defined-by: a custom resource its definition, a built-in kind none', () => {
    const verbs = ['get', 'list', 'create', 'delete'];
    const kinds = [
      { group: 'example.com', version: 'v1', kind: 'Cluster', plural: 'clusters', namespaced: true, verbs },
      { group: 'apps', version: 'v1', kind: 'Deployment', plural: 'deployments', namespaced: true, verbs },
    ];
    const rules = definitionRules(kinds, new Set());
    const custom = { ...manifest('X', 'x'), apiVersion: 'example.com/v1beta1', kind: 'Cluster' };
    assert.deepEqual(edges(custom, rules), ['defined-by depends apiextensions.k8s.io/v1 CustomResourceDefinition clusters.example.com']);
    assert.deepEqual(edges(custom, definitionRules(kinds, new Set(['clusters.example.com']))), [
      'defined-by needs apiextensions.k8s.io/v1 CustomResourceDefinition clusters.example.com',
    ]);
    assert.deepEqual(edges(workload('Deployment', 'web'), rules), []);
  });

  it('reads nothing, and does not fail, where fields are absent or of another type', () => {
    const odd: readonly unknown[] = [undefined, null, 7, 'text', [], [7], {}, { name: 7 }];
    for (const value of odd) {
      for (const rule of RULES) {
        const [id = 'X'] = rule.kinds ?? [];
        const [kind = '', ...group] = id.split('.');
        const object = {
          ...manifest(kind, 'x', { spec: value, subjects: value, webhooks: value, secrets: value, roleRef: value }),
          apiVersion: group.length === 0 ? 'v1' : `${group.join('.')}/v1`,
          kind,
        };
        const found = [...rule.read(object)].map(show);
        assert.ok(found.length === 0 || rule.name === 'addresses', `${rule.name} read ${found.join()} in ${JSON.stringify(value)}`);
      }
    }
  });
});

describe('selectorText', () => {
  it('writes all operators', () => {
    const matchExpressions = [
      { key: 'a', operator: 'In', values: ['1', '2'] },
      { key: 'b', operator: 'NotIn', values: ['3'] },
      { key: 'c', operator: 'Exists' },
      { key: 'd', operator: 'DoesNotExist' },
    ];
    assert.equal(selectorText({ matchLabels: { x: 'y' }, matchExpressions }), 'x=y,a in (1,2),b notin (3),c,!d');
    assert.equal(selectorText({}), '');
  });
});
