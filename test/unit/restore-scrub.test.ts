import assert from 'node:assert/strict';
import { LEFT_OUT_RULES, leftOutBy } from '../../core/src/restore/left-out-rules.ts';
import { SCRUB_RULES } from '../../core/src/restore/scrub-rules.ts';
import { scrub } from '../../core/src/restore/scrub.ts';
import { refKey, refOf } from '../../core/src/model.ts';
import type { KubeObject } from '../../core/src/model.ts';

type Fields = Readonly<Record<string, unknown>>;

function object(apiVersion: string, kind: string, fields: Fields = {}, metadata: Fields = {}): KubeObject {
  return { apiVersion, kind, metadata: { name: 'web', namespace: 'shop', ...metadata }, ...fields };
}
const service = (spec: Fields, metadata?: Fields): KubeObject => object('v1', 'Service', { spec }, metadata);
const pod = (spec: Fields, metadata?: Fields): KubeObject => object('v1', 'Pod', { spec }, metadata);
const claim = (spec: Fields, metadata?: Fields): KubeObject => object('v1', 'PersistentVolumeClaim', { spec }, metadata);
const annotated = (annotations: Fields): Fields => ({ annotations });
const applied = (o: Fields): Fields => annotated({ 'kubectl.kubernetes.io/last-applied-configuration': JSON.stringify(o) });

/** For each rule, what it does: before and after, and what it leaves alone. */
const CASES: Readonly<Record<string, readonly (readonly [title: string, before: KubeObject, after: KubeObject])[]>> = {
  'service-cluster-ip': [
    [
      'an allocated address goes',
      service({ clusterIP: '10.0.0.7', clusterIPs: ['10.0.0.7'], type: 'ClusterIP' }),
      service({ type: 'ClusterIP' }),
    ],
    ['a headless service stays headless', service({ clusterIP: 'None', clusterIPs: ['None'] }), service({ clusterIP: 'None' })],
  ],
  'service-node-ports': [
    [
      'a port that no client set goes',
      service(
        { ports: [{ port: 80, nodePort: 31234 }] },
        { managedFields: [{ fieldsV1: { 'f:spec': { 'f:ports': { 'k:{"port":80,"protocol":"TCP"}': { 'f:port': {} } } } } }] },
      ),
      service(
        { ports: [{ port: 80 }] },
        { managedFields: [{ fieldsV1: { 'f:spec': { 'f:ports': { 'k:{"port":80,"protocol":"TCP"}': { 'f:port': {} } } } } }] },
      ),
    ],
    [
      'a port in managedFields stays',
      service(
        { ports: [{ port: 53, protocol: 'UDP', nodePort: 30053 }] },
        { managedFields: [{ fieldsV1: { 'f:spec': { 'f:ports': { 'k:{"port":53,"protocol":"UDP"}': { 'f:nodePort': {} } } } } }] },
      ),
      service(
        { ports: [{ port: 53, protocol: 'UDP', nodePort: 30053 }] },
        { managedFields: [{ fieldsV1: { 'f:spec': { 'f:ports': { 'k:{"port":53,"protocol":"UDP"}': { 'f:nodePort': {} } } } } }] },
      ),
    ],
    [
      'a port that kubectl applied stays, the one beside it goes',
      service(
        {
          ports: [
            { port: 80, nodePort: 30080 },
            { port: 81, nodePort: 32222 },
          ],
        },
        applied({ spec: { ports: [{ port: 80, nodePort: 30080 }, { port: 81 }] } }),
      ),
      service(
        { ports: [{ port: 80, nodePort: 30080 }, { port: 81 }] },
        applied({ spec: { ports: [{ port: 80, nodePort: 30080 }, { port: 81 }] } }),
      ),
    ],
    [
      'without any evidence a person wrote it',
      service({ ports: [{ port: 80, nodePort: 30080 }] }),
      service({ ports: [{ port: 80, nodePort: 30080 }] }),
    ],
    [
      'an unreadable last-applied is evidence of a client that did not set it',
      service({ ports: [{ port: 80, nodePort: 30080 }] }, annotated({ 'kubectl.kubernetes.io/last-applied-configuration': '{' })),
      service({ ports: [{ port: 80 }] }, annotated({ 'kubectl.kubernetes.io/last-applied-configuration': '{' })),
    ],
  ],
  'service-health-check-port': [
    ['allocated', service({ healthCheckNodePort: 31111 }, applied({ spec: {} })), service({}, applied({ spec: {} }))],
    [
      'chosen',
      service({ healthCheckNodePort: 31111 }, applied({ spec: { healthCheckNodePort: 31111 } })),
      service({ healthCheckNodePort: 31111 }, applied({ spec: { healthCheckNodePort: 31111 } })),
    ],
  ],
  'service-ip-families': [
    ['families are the cluster’s', service({ ipFamilies: ['IPv4'], ipFamilyPolicy: 'SingleStack' }), service({})],
    [
      'two families are asked for, not demanded',
      service({ ipFamilies: ['IPv4', 'IPv6'], ipFamilyPolicy: 'RequireDualStack' }),
      service({ ipFamilyPolicy: 'PreferDualStack' }),
    ],
  ],
  'pod-node': [['the node goes', pod({ nodeName: 'node-1', containers: [] }), pod({ containers: [] })]],
  'pod-priority': [
    [
      'the number goes, the class stays',
      pod({ priority: 1000, preemptionPolicy: 'Never', priorityClassName: 'high', containers: [] }),
      pod({ priorityClassName: 'high', containers: [] }),
    ],
  ],
  'pod-overhead': [
    [
      'in templates of CronJobs too',
      object('batch/v1', 'CronJob', {
        spec: { jobTemplate: { spec: { template: { spec: { overhead: { cpu: '1' }, containers: [] } } } } },
      }),
      object('batch/v1', 'CronJob', { spec: { jobTemplate: { spec: { template: { spec: { containers: [] } } } } } }),
    ],
  ],
  'pod-token-volumes': [
    [
      'volume and mounts go, others stay',
      pod({
        serviceAccountName: 'web',
        volumes: [{ name: 'kube-api-access-x2b4d' }, { name: 'web-token-abc12' }, { name: 'other-token-abc12' }, { name: 'data' }],
        containers: [{ name: 'a', volumeMounts: [{ name: 'kube-api-access-x2b4d' }, { name: 'data' }] }],
        initContainers: [{ name: 'i', volumeMounts: [{ name: 'web-token-abc12' }, { name: 'other-token-abc12' }] }],
      }),
      pod({
        serviceAccountName: 'web',
        volumes: [{ name: 'other-token-abc12' }, { name: 'data' }],
        containers: [{ name: 'a', volumeMounts: [{ name: 'data' }] }],
        initContainers: [{ name: 'i', volumeMounts: [{ name: 'other-token-abc12' }] }],
      }),
    ],
  ],
  'pod-ephemeral-containers': [
    ['debug containers go', pod({ ephemeralContainers: [{ name: 'debug' }], containers: [] }), pod({ containers: [] })],
  ],
  'pod-hash-labels': [
    ['ties to a controller go', pod({}, { labels: { app: 'web', 'pod-template-hash': '5d4' } }), pod({}, { labels: { app: 'web' } })],
    ['no empty map is left', pod({}, { labels: { 'controller-revision-hash': 'x' } }), pod({})],
  ],
  'claim-binding': [
    [
      'the claim is free of its volume and of sources',
      claim({
        volumeName: 'pvc-1',
        selector: { matchLabels: {} },
        dataSource: {},
        dataSourceRef: {},
        accessModes: ['ReadWriteOnce'],
        storageClassName: 'fast',
      }),
      claim({ accessModes: ['ReadWriteOnce'], storageClassName: 'fast' }),
    ],
  ],
  'claim-annotations': [
    [
      'binding annotations go, the class of old Kubernetes stays',
      claim(
        {},
        annotated({
          'pv.kubernetes.io/bind-completed': 'yes',
          'volume.kubernetes.io/selected-node': 'node-1',
          'volume.kubernetes.io/storage-resizer': 'x',
          'volume.beta.kubernetes.io/storage-provisioner': 'x',
          'volume.beta.kubernetes.io/storage-class': 'fast',
        }),
      ),
      claim({}, annotated({ 'volume.beta.kubernetes.io/storage-class': 'fast' })),
    ],
  ],
  'claim-template-status': [
    [
      'status of templates goes',
      object('apps/v1', 'StatefulSet', { spec: { volumeClaimTemplates: [{ metadata: { name: 'd' }, status: { phase: 'Pending' } }] } }),
      object('apps/v1', 'StatefulSet', { spec: { volumeClaimTemplates: [{ metadata: { name: 'd' } }] } }),
    ],
  ],
  'service-account-secrets': [
    [
      'generated ones go, listed ones stay',
      object('v1', 'ServiceAccount', {
        secrets: [{ name: 'web-token-abc12' }, { name: 'extra' }],
        imagePullSecrets: [{ name: 'web-dockercfg-abc12' }],
      }),
      object('v1', 'ServiceAccount', { secrets: [{ name: 'extra' }] }),
    ],
  ],
  'token-secret': [
    [
      'one that a person asked for is emptied',
      object(
        'v1',
        'Secret',
        { type: 'kubernetes.io/service-account-token', data: { token: 'dA==', 'ca.crt': 'Yw==', namespace: 'bg==', extra: 'eA==' } },
        annotated({ 'kubernetes.io/service-account.name': 'web', 'kubernetes.io/service-account.uid': 'u' }),
      ),
      object(
        'v1',
        'Secret',
        { type: 'kubernetes.io/service-account-token', data: { extra: 'eA==' } },
        annotated({ 'kubernetes.io/service-account.name': 'web' }),
      ),
    ],
    [
      'other Secrets keep a key called token',
      object('v1', 'Secret', { type: 'Opaque', data: { token: 'dA==' } }),
      object('v1', 'Secret', { type: 'Opaque', data: { token: 'dA==' } }),
    ],
  ],
  'job-selector': [
    [
      'generated selector and labels go',
      object(
        'batch/v1',
        'Job',
        {
          spec: {
            selector: { matchLabels: { 'batch.kubernetes.io/controller-uid': 'u' } },
            template: {
              metadata: { labels: { app: 'web', 'controller-uid': 'u', 'job-name': 'web', 'batch.kubernetes.io/job-name': 'web' } },
            },
          },
        },
        { labels: { 'controller-uid': 'u', app: 'web' } },
      ),
      object('batch/v1', 'Job', { spec: { template: { metadata: { labels: { app: 'web' } } } } }, { labels: { app: 'web' } }),
    ],
    [
      'a selector of one’s own stays',
      object('batch/v1', 'Job', { spec: { manualSelector: true, selector: { matchLabels: { a: 'b' } } } }),
      object('batch/v1', 'Job', { spec: { manualSelector: true, selector: { matchLabels: { a: 'b' } } } }),
    ],
  ],
  'autoscaler-target': [
    [
      'the group of old Kubernetes is replaced',
      object('autoscaling/v2', 'HorizontalPodAutoscaler', {
        spec: { scaleTargetRef: { apiVersion: 'extensions/v1beta1', kind: 'Deployment', name: 'web' } },
      }),
      object('autoscaling/v2', 'HorizontalPodAutoscaler', {
        spec: { scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'web' } },
      }),
    ],
  ],
  'aggregated-rules': [
    [
      'collected rules go',
      object('rbac.authorization.k8s.io/v1', 'ClusterRole', { aggregationRule: {}, rules: [{ verbs: ['get'] }] }),
      object('rbac.authorization.k8s.io/v1', 'ClusterRole', { aggregationRule: {} }),
    ],
    [
      'rules of one’s own stay',
      object('rbac.authorization.k8s.io/v1', 'ClusterRole', { rules: [{ verbs: ['get'] }] }),
      object('rbac.authorization.k8s.io/v1', 'ClusterRole', { rules: [{ verbs: ['get'] }] }),
    ],
  ],
  'crd-unknown-fields': [
    [
      'the old switch becomes schema',
      object('apiextensions.k8s.io/v1', 'CustomResourceDefinition', { spec: { preserveUnknownFields: true, versions: [{ name: 'v1' }] } }),
      object('apiextensions.k8s.io/v1', 'CustomResourceDefinition', {
        spec: { versions: [{ name: 'v1', schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } } }] },
      }),
    ],
  ],
  'webhook-side-effects': [
    [
      'values of v1beta1 become None; the CA bundle stays',
      object('admissionregistration.k8s.io/v1', 'ValidatingWebhookConfiguration', {
        webhooks: [{ sideEffects: 'Some', clientConfig: { caBundle: 'Q0E=' } }, { sideEffects: 'NoneOnDryRun' }],
      }),
      object('admissionregistration.k8s.io/v1', 'ValidatingWebhookConfiguration', {
        webhooks: [{ sideEffects: 'None', clientConfig: { caBundle: 'Q0E=' } }, { sideEffects: 'NoneOnDryRun' }],
      }),
    ],
  ],
  'generated-host': [
    [
      'a generated host goes',
      object('route.openshift.io/v1', 'Route', { spec: { host: 'a.apps' } }, annotated({ 'openshift.io/host.generated': 'true' })),
      object('route.openshift.io/v1', 'Route', { spec: {} }, annotated({ 'openshift.io/host.generated': 'true' })),
    ],
    [
      'a chosen host stays',
      object('route.openshift.io/v1', 'Route', { spec: { host: 'a' } }),
      object('route.openshift.io/v1', 'Route', { spec: { host: 'a' } }),
    ],
  ],
  'namespace-identity': [
    [
      'name label and finalizers go, policy stays',
      object(
        'v1',
        'Namespace',
        { spec: { finalizers: ['kubernetes'] } },
        { labels: { 'kubernetes.io/metadata.name': 'shop', 'pod-security.kubernetes.io/enforce': 'baseline' } },
      ),
      object('v1', 'Namespace', {}, { labels: { 'pod-security.kubernetes.io/enforce': 'baseline' } }),
    ],
  ],
  'owner-references': [['they go', object('v1', 'ConfigMap', {}, { ownerReferences: [{ uid: 'u' }] }), object('v1', 'ConfigMap')]],
  'built-in-finalizers': [
    [
      'only these',
      object('v1', 'ConfigMap', {}, { finalizers: ['foregroundDeletion', 'acme.io/x'] }),
      object('v1', 'ConfigMap', {}, { finalizers: ['acme.io/x'] }),
    ],
    ['no empty list is left', claim({}, { finalizers: ['kubernetes.io/pvc-protection'] }), claim({})],
  ],
  'foreign-finalizers': [['all others', object('v1', 'ConfigMap', {}, { finalizers: ['acme.io/x'] }), object('v1', 'ConfigMap')]],
  'bookkeeping-annotations': [
    [
      'by name and by prefix, nothing else',
      object(
        'apps/v1',
        'Deployment',
        {},
        annotated({
          'kubectl.kubernetes.io/last-applied-configuration': '{}',
          'deployment.kubernetes.io/revision': '3',
          'cni.projectcalico.org/podIP': '1',
          'openshift.io/sa.scc.uid-range': '1',
          'field.cattle.io/projectId': 'p',
          'kubectl.kubernetes.io/restartedAt': 'then',
          'acme.io/owner': 'me',
        }),
      ),
      object('apps/v1', 'Deployment', {}, annotated({ 'kubectl.kubernetes.io/restartedAt': 'then', 'acme.io/owner': 'me' })),
    ],
  ],
  'marks-of-earlier-restores': [
    [
      'labels and annotations',
      object('v1', 'ConfigMap', {}, { labels: { 'dmaas.io/operation': 'a', app: 'web' }, annotations: { 'dmaas.io/backup': 'b' } }),
      object('v1', 'ConfigMap', {}, { labels: { app: 'web' } }),
    ],
  ],
  'server-owned': [
    [
      'metadata, status and the empty timestamps of templates',
      object(
        'apps/v1',
        'StatefulSet',
        {
          spec: {
            template: { metadata: { creationTimestamp: null, labels: { a: 'b' } } },
            volumeClaimTemplates: [{ metadata: { name: 'd', creationTimestamp: null } }],
          },
          status: { replicas: 1 },
        },
        {
          uid: 'u',
          resourceVersion: '1',
          generation: 2,
          creationTimestamp: 't',
          selfLink: '/x',
          managedFields: [],
          deletionTimestamp: 't',
          deletionGracePeriodSeconds: 0,
          generateName: 'web-',
          labels: { app: 'web' },
        },
      ),
      object(
        'apps/v1',
        'StatefulSet',
        { spec: { template: { metadata: { labels: { a: 'b' } } }, volumeClaimTemplates: [{ metadata: { name: 'd' } }] } },
        { labels: { app: 'web' } },
      ),
    ],
  ],
};

describe('scrub rules', () => {
  for (const rule of SCRUB_RULES) {
    describe(rule.name, () => {
      const cases = CASES[rule.name] ?? [];
      it('has a case in which it changes something', () => {
        assert.ok(cases.some(([, before, after]) => JSON.stringify(before) !== JSON.stringify(after)));
      });
      for (const [title, before, after] of cases) {
        it(title, () => {
          assert.deepEqual(rule.apply(before), after);
          assert.deepEqual(rule.apply(after), after, 'applying it again changes nothing');
        });
      }
      it('returns an object that it does not concern itself', () => {
        const other = object('example.io/v1', 'Other', { spec: {} });
        assert.equal(scrub(other, [rule]).object, other);
      });
    });
  }

  it('reports what a person wrote, not what the server did', () => {
    const { object: result, changes } = scrub(
      service({ clusterIP: '10.0.0.7', ports: [{ port: 80, nodePort: 30001 }] }, { uid: 'u', resourceVersion: '7', ...applied({}) }),
    );
    assert.deepEqual(result, service({ ports: [{ port: 80 }] }));
    assert.deepEqual(changes, [
      'spec.clusterIP (10.0.0.7) removed: the source cluster allocated it',
      'spec.ports[0].nodePort (30001) removed: the source cluster allocated it',
    ]);
  });

  it('never shows what a Secret holds', () => {
    const { changes } = scrub(
      object(
        'v1',
        'Secret',
        { type: 'kubernetes.io/service-account-token', data: { token: 'c2VjcmV0' } },
        { finalizers: ['a.io/c2VjcmV0'] },
      ),
    );
    assert.equal(changes.length, 2);
    assert.ok(changes.every((line) => !line.includes('c2VjcmV0')));
  });
});

const LEFT_OUT: Readonly<
  Record<string, { readonly out: readonly KubeObject[]; readonly kept?: readonly KubeObject[]; readonly beside?: readonly KubeObject[] }>
> = {
  dmaas: { out: [object('v1', 'Secret', {}, { labels: { 'dmaas.io/role': 'location' } })] },
  records: { out: [object('v1', 'Event'), object('coordination.k8s.io/v1', 'Lease'), object('apps/v1', 'ControllerRevision')] },
  'cluster-machinery': { out: [object('v1', 'PersistentVolume'), object('storage.k8s.io/v1', 'StorageClass')] },
  'volume-snapshots': { out: [object('snapshot.storage.k8s.io/v1', 'VolumeSnapshot')] },
  'api-services': { out: [object('apiregistration.k8s.io/v1', 'APIService')] },
  'bootstrap-policy': {
    out: [object('rbac.authorization.k8s.io/v1', 'ClusterRole', {}, { labels: { 'kubernetes.io/bootstrapping': 'rbac-defaults' } })],
    kept: [object('rbac.authorization.k8s.io/v1', 'ClusterRole')],
  },
  'mirror-pods': { out: [pod({}, annotated({ 'kubernetes.io/config.mirror': 'x' }))], kept: [pod({})] },
  'ephemeral-claims': {
    out: [
      claim({}, { name: 'web-scratch', ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name: 'web', uid: 'u', controller: true }] }),
    ],
    kept: [
      claim({}, { name: 'data-web-0', ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name: 'web-0', uid: 'u', controller: true }] }),
    ],
  },
  owned: {
    beside: [object('apps/v1', 'ReplicaSet', {}, { name: 'web-5d4' }), object('acme.io/v1', 'Db', {}, { name: 'db' })],
    out: [
      pod({}, { ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'web-5d4', uid: 'u', controller: true }] }),
      object(
        'apps/v1',
        'StatefulSet',
        {},
        { ownerReferences: [{ apiVersion: 'acme.io/v1beta1', kind: 'Db', name: 'db', uid: 'u', controller: true }] },
      ),
    ],
    kept: [
      pod({}, { ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'gone', uid: 'u', controller: true }] }),
      object('v1', 'ConfigMap', {}, { ownerReferences: [{ apiVersion: 'acme.io/v1', kind: 'Db', name: 'db', uid: 'u' }] }),
      object('v1', 'Secret', {}, { ownerReferences: [{ apiVersion: 'acme.io/v1', kind: 'Db', name: 'db', uid: 'u', controller: true }] }),
    ],
  },
  'finished-pods': { out: [{ ...pod({}), status: { phase: 'Succeeded' } }], kept: [{ ...pod({}), status: { phase: 'Running' } }] },
  'finished-jobs': {
    out: [
      object('batch/v1', 'Job', { status: { completionTime: 't' } }),
      object('batch/v1', 'Job', { status: { conditions: [{ type: 'Failed', status: 'True' }] } }),
    ],
    kept: [object('batch/v1', 'Job', { status: { active: 1, conditions: [{ type: 'Suspended', status: 'True' }] } })],
  },
  'token-secrets': {
    out: [
      object(
        'v1',
        'Secret',
        { type: 'kubernetes.io/service-account-token' },
        { name: 'web-token-abc12', ...annotated({ 'kubernetes.io/service-account.name': 'web' }) },
      ),
    ],
    kept: [
      object(
        'v1',
        'Secret',
        { type: 'kubernetes.io/service-account-token' },
        { name: 'ci', ...annotated({ 'kubernetes.io/service-account.name': 'web' }) },
      ),
    ],
  },
  'cluster-certificates': { out: [object('v1', 'ConfigMap', {}, { name: 'kube-root-ca.crt' })], kept: [object('v1', 'ConfigMap')] },
  'leader-election': { out: [object('v1', 'ConfigMap', {}, annotated({ 'control-plane.alpha.kubernetes.io/leader': '{}' }))] },
  'generated-endpoints': {
    beside: [service({ selector: { app: 'web' } })],
    out: [object('v1', 'Endpoints')],
    kept: [object('v1', 'Endpoints', {}, { name: 'by-hand' })],
  },
  'generated-endpoint-slices': {
    out: [
      object(
        'discovery.k8s.io/v1',
        'EndpointSlice',
        {},
        { labels: { 'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io' } },
      ),
    ],
    kept: [object('discovery.k8s.io/v1', 'EndpointSlice', {}, { labels: { 'endpointslice.kubernetes.io/managed-by': 'me' } })],
  },
  'service-ca-secrets': { out: [object('v1', 'Secret', {}, annotated({ 'service.beta.openshift.io/originating-service-name': 'web' }))] },
  'openshift-defaults': { out: [object('v1', 'ServiceAccount', {}, { name: 'builder' })], kept: [object('v1', 'ServiceAccount')] },
  'build-pods': { out: [pod({}, { labels: { 'openshift.io/build.name': 'b' } })] },
  'operator-catalog': { out: [object('operators.coreos.com/v1alpha1', 'Subscription')] },
  'other-backup-tools': { out: [object('velero.io/v1', 'Restore')] },
  'removed-kinds': { out: [object('policy/v1beta1', 'PodSecurityPolicy')], kept: [object('policy/v1', 'PodDisruptionBudget')] },
};

describe('what is left out', () => {
  for (const rule of LEFT_OUT_RULES) {
    it(`${rule.name}: ${rule.why}`, () => {
      const { out, kept = [], beside = [] } = LEFT_OUT[rule.name] ?? { out: [] };
      assert.ok(out.length > 0, 'has a case');
      const byKey = new Map([...beside].map((o) => [refKey(refOf(o)), o]));
      for (const o of out) assert.equal(leftOutBy(o, { namespace: 'shop', byKey })?.name, rule.name);
      for (const o of kept) assert.equal(leftOutBy(o, { namespace: 'shop', byKey }), undefined);
    });
  }
});
