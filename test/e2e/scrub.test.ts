import assert from 'node:assert/strict';
import { connectCluster } from '../../core/src/cluster/connect.ts';
import type { Cluster } from '../../core/src/cluster/cluster.ts';
import { DmaasError } from '../../core/src/errors.ts';
import { refOf } from '../../core/src/model.ts';
import type { KubeObject } from '../../core/src/model.ts';
import { SCRUB_RULES } from '../../core/src/restore/scrub-rules.ts';
import { scrub } from '../../core/src/restore/scrub.ts';
import { startCluster } from '../support/cluster/cluster.ts';
import type { TestCluster } from '../support/cluster/cluster.ts';

type Fields = Readonly<Record<string, unknown>>;
/** A field that must not hold what the source cluster wrote there. */
interface Stale {
  readonly path: readonly (string | number)[];
  readonly is: unknown;
}
interface Case {
  readonly object: KubeObject;
  /** What the API server says to the object when all rules but this one have been applied; or what it then keeps. */
  readonly without: RegExp | Stale;
  /** A dry run does not look at what is allocated: it is created, and taken away. */
  readonly forReal?: true;
}

const space = `scrub-${String(process.pid)}`;
const of = (apiVersion: string, kind: string, fields: Fields = {}, metadata: Fields = {}): KubeObject => ({
  apiVersion,
  kind,
  metadata: { name: 'it', namespace: space, ...metadata },
  ...fields,
});
const shared = (apiVersion: string, kind: string, name: string, fields: Fields, metadata: Fields = {}): KubeObject => ({
  apiVersion,
  kind,
  metadata: { name, ...metadata },
  ...fields,
});
const applied = { annotations: { 'kubectl.kubernetes.io/last-applied-configuration': '{"spec":{"ports":[{"port":80}]}}' } };
const container = { name: 'main', image: 'dmaas.test/none:1' };
const pod = (spec: Fields, metadata: Fields = {}): KubeObject => of('v1', 'Pod', { spec: { containers: [container], ...spec } }, metadata);
const template = { metadata: { labels: { app: 'it' } }, spec: { containers: [container] } };
const claimSpec = { accessModes: ['ReadWriteOnce'], storageClassName: 'csi-hostpath', resources: { requests: { storage: '8Mi' } } };
const group = `${space}.dmaas.test`;

/** The objects hold what a server gave or keeps; `taken` are Services of the namespace, whose addresses and ports nobody else gets. */
function cases(taken: Readonly<Record<'node' | 'balanced', KubeObject>>): Readonly<Record<string, Case>> {
  const service = (type: string, more: Fields): KubeObject =>
    of('v1', 'Service', { spec: { type, selector: { app: 'it' }, ports: [{ port: 80 }], ...more } }, applied);
  const nodePort = valueAt(taken.node, ['spec', 'ports', 0, 'nodePort']);
  const identity = { 'field.cattle.io/projectId': 'p-1' };
  return {
    'service-cluster-ip': {
      object: service('ClusterIP', {
        clusterIP: valueAt(taken.node, ['spec', 'clusterIP']),
        clusterIPs: valueAt(taken.node, ['spec', 'clusterIPs']),
      }),
      without: /provided IP is already allocated/i,
      forReal: true,
    },
    'service-node-ports': {
      object: service('NodePort', { ports: [{ port: 80, nodePort }] }),
      without: /provided port is already allocated/i,
      forReal: true,
    },
    'service-health-check-port': {
      object: service('LoadBalancer', {
        externalTrafficPolicy: 'Local',
        healthCheckNodePort: valueAt(taken.balanced, ['spec', 'healthCheckNodePort']),
      }),
      without: /provided port is already allocated/i,
      forReal: true,
    },
    'service-ip-families': {
      object: service('ClusterIP', { ipFamilies: ['IPv6'], ipFamilyPolicy: 'SingleStack' }),
      without: /not configured on this cluster/i,
    },
    'pod-node': { object: pod({ nodeName: 'node-of-the-source' }), without: { path: ['spec', 'nodeName'], is: 'node-of-the-source' } },
    'pod-priority': { object: pod({ priority: 7 }), without: /the integer value of priority \(7\) must not be provided/ },
    'pod-overhead': { object: pod({ overhead: { cpu: '1m' } }), without: /Overhead/ },
    'pod-token-volumes': {
      object: pod({
        containers: [
          { ...container, volumeMounts: [{ name: 'default-token-abc12', mountPath: '/var/run/secrets/kubernetes.io/serviceaccount' }] },
        ],
        volumes: [{ name: 'default-token-abc12', secret: { secretName: 'default-token-abc12' } }],
      }),
      without: { path: ['spec', 'volumes', 0, 'name'], is: 'default-token-abc12' },
    },
    'pod-ephemeral-containers': {
      object: pod({ ephemeralContainers: [{ name: 'debug', image: 'dmaas.test/none:1' }] }),
      without: /cannot be set on create/i,
    },
    // A ReplicaSet of that hash takes such a pod for its own.
    'pod-hash-labels': {
      object: pod({}, { labels: { 'pod-template-hash': '5d4' } }),
      without: { path: ['metadata', 'labels', 'pod-template-hash'], is: '5d4' },
    },
    // It stays Pending for ever, or takes a foreign volume.
    'claim-binding': {
      object: of('v1', 'PersistentVolumeClaim', { spec: { ...claimSpec, volumeName: 'pv-of-the-source' } }),
      without: { path: ['spec', 'volumeName'], is: 'pv-of-the-source' },
    },
    'claim-annotations': {
      object: of('v1', 'PersistentVolumeClaim', { spec: claimSpec }, { annotations: { 'volume.kubernetes.io/selected-node': 'gone' } }),
      without: { path: ['metadata', 'annotations', 'volume.kubernetes.io/selected-node'], is: 'gone' },
    },
    'claim-template-status': {
      object: of('apps/v1', 'StatefulSet', {
        spec: {
          ...{ serviceName: 'it', selector: { matchLabels: { app: 'it' } }, template },
          volumeClaimTemplates: [
            { metadata: { name: 'data' }, spec: claimSpec, status: { phase: 'Bound', accessModes: ['ReadWriteOnce'] } },
          ],
        },
      }),
      without: { path: ['spec', 'volumeClaimTemplates', 0, 'status', 'phase'], is: 'Bound' },
    },
    'service-account-secrets': {
      object: of('v1', 'ServiceAccount', { secrets: [{ name: 'it-token-abc12' }] }),
      without: { path: ['secrets', 0, 'name'], is: 'it-token-abc12' },
    },
    'token-secret': {
      object: of(
        'v1',
        'Secret',
        { type: 'kubernetes.io/service-account-token', data: { token: 'c291cmNl' } },
        { annotations: { 'kubernetes.io/service-account.name': 'default', 'kubernetes.io/service-account.uid': 'uid-of-the-source' } },
      ),
      without: { path: ['data', 'token'], is: 'c291cmNl' },
    },
    'job-selector': {
      object: of('batch/v1', 'Job', {
        spec: {
          selector: { matchLabels: { 'batch.kubernetes.io/controller-uid': 'uid-of-the-source' } },
          template: {
            metadata: { labels: { 'batch.kubernetes.io/controller-uid': 'uid-of-the-source' } },
            spec: { ...template.spec, restartPolicy: 'Never' },
          },
        },
      }),
      without: /selector/i,
    },
    'autoscaler-target': {
      object: of('autoscaling/v2', 'HorizontalPodAutoscaler', {
        spec: { maxReplicas: 2, scaleTargetRef: { apiVersion: 'extensions/v1beta1', kind: 'Deployment', name: 'it' } },
      }),
      without: { path: ['spec', 'scaleTargetRef', 'apiVersion'], is: 'extensions/v1beta1' },
    },
    'aggregated-rules': {
      object: shared('rbac.authorization.k8s.io/v1', 'ClusterRole', space, {
        aggregationRule: { clusterRoleSelectors: [{ matchLabels: { part: space } }] },
        rules: [{ apiGroups: [''], resources: ['pods'], verbs: ['get'] }],
      }),
      without: { path: ['rules', 0, 'resources', 0], is: 'pods' },
    },
    'crd-unknown-fields': {
      object: shared('apiextensions.k8s.io/v1', 'CustomResourceDefinition', `widgets.${group}`, {
        spec: {
          ...{ group, scope: 'Namespaced', preserveUnknownFields: true },
          names: { plural: 'widgets', singular: 'widget', kind: 'Widget', listKind: 'WidgetList' },
          versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } }],
        },
      }),
      without: /preserveUnknownFields/i,
    },
    'webhook-side-effects': {
      object: shared('admissionregistration.k8s.io/v1', 'ValidatingWebhookConfiguration', space, {
        webhooks: [
          {
            ...{ name: `it.${group}`, sideEffects: 'Some', admissionReviewVersions: ['v1'] },
            clientConfig: { service: { name: 'it', namespace: space } },
          },
        ],
      }),
      without: /sideEffects: Unsupported value: "Some"/i,
    },
    'namespace-identity': {
      object: shared('v1', 'Namespace', `${space}-other`, {}, { labels: identity }),
      without: { path: ['metadata', 'labels', 'field.cattle.io/projectId'], is: 'p-1' },
    },
    // Garbage collection deletes it at once: nobody has that uid.
    'owner-references': {
      object: of(
        'v1',
        'ConfigMap',
        {},
        { ownerReferences: [{ apiVersion: 'apps/v1', kind: 'Deployment', name: 'it', uid: 'uid-of-the-source' }] },
      ),
      without: { path: ['metadata', 'ownerReferences', 0, 'uid'], is: 'uid-of-the-source' },
    },
    'foreign-finalizers': {
      object: of('v1', 'ConfigMap', {}, { finalizers: ['acme.test/hold'] }),
      without: { path: ['metadata', 'finalizers', 0], is: 'acme.test/hold' },
    },
    'bookkeeping-annotations': {
      object: of('v1', 'ConfigMap', {}, { annotations: { 'deployment.kubernetes.io/revision': '7' } }),
      without: { path: ['metadata', 'annotations', 'deployment.kubernetes.io/revision'], is: '7' },
    },
    'marks-of-earlier-restores': {
      object: of('v1', 'ConfigMap', {}, { labels: { 'dmaas.io/operation': 'abcdefgh' } }),
      without: { path: ['metadata', 'labels', 'dmaas.io/operation'], is: 'abcdefgh' },
    },
    // Beside a name it only invites a second object. What the server itself refuses to take (resourceVersion), the client does not send.
    'server-owned': {
      object: of('v1', 'ConfigMap', {}, { generateName: 'it-' }),
      without: { path: ['metadata', 'generateName'], is: 'it-' },
    },
  };
}

/** Rules that no server without add-ons can show to be needed; their cases are in test/unit/restore-scrub.test.ts. */
const UNIT_ONLY: Readonly<Record<string, string>> = {
  'generated-host': 'only OpenShift serves Routes',
  'built-in-finalizers': 'without it the next rule removes them too, and the plan would tell of what nobody wrote',
};

function valueAt(object: KubeObject, path: Stale['path']): unknown {
  return path.reduce<unknown>((value, key) => (value as Record<string | number, unknown> | undefined)?.[key], object);
}

describe('scrub rules on a real API server', function () {
  this.timeout('3m');
  let lab: TestCluster;
  let cluster: Cluster;
  let table: Readonly<Record<string, Case>>;

  before(async () => {
    lab = await startCluster('source');
    cluster = await connectCluster({ kubeconfig: lab.kubeconfig, context: lab.context });
    await lab.kubectl('create', 'namespace', space);
    await cluster.waitFor({ apiVersion: 'v1', kind: 'ServiceAccount', name: 'default', namespace: space }, (o) => o !== undefined, {
      timeoutMs: 30_000,
    });
    const service = (name: string, spec: Fields): Promise<KubeObject> =>
      cluster.create({ apiVersion: 'v1', kind: 'Service', metadata: { name, namespace: space }, spec: { ports: [{ port: 80 }], ...spec } });
    table = cases({
      node: await service('node', { type: 'NodePort' }),
      balanced: await service('balanced', { type: 'LoadBalancer', externalTrafficPolicy: 'Local' }),
    });
  });

  after(async () => {
    await lab.kubectl('delete', 'namespace', space, '--ignore-not-found');
    await cluster.close();
    await lab.stop();
  });

  for (const rule of SCRUB_RULES) {
    const reason = UNIT_ONLY[rule.name];
    if (reason !== undefined) continue;
    it(`${rule.name}: without it the server refuses, or keeps what the source cluster wrote`, async () => {
      const { object, without, forReal = false } = table[rule.name] ?? assert.fail('has no case');
      const tried = async (o: KubeObject): Promise<KubeObject> => {
        const created = await cluster.create(o, { dryRun: !forReal });
        if (forReal) await cluster.delete(refOf(o));
        return created;
      };
      const lacking = scrub(
        object,
        SCRUB_RULES.filter((r) => r !== rule),
      ).object;
      const taken = await tried(scrub(object).object);
      if (without instanceof RegExp) {
        const e: unknown = await tried(lacking).catch((error: unknown) => error);
        assert.ok(DmaasError.is(e), `accepted: ${JSON.stringify(lacking)}`);
        assert.match(e.message, without);
      } else {
        assert.deepEqual(valueAt(await tried(lacking), without.path), without.is);
        assert.notDeepEqual(valueAt(taken, without.path), without.is);
      }
    });
  }

  it('has no rule without a case here, or a reason', () => {
    const shown = [...Object.keys(table), ...Object.keys(UNIT_ONLY)];
    assert.deepEqual(shown.toSorted(), SCRUB_RULES.map(({ name }) => name).toSorted());
  });
});
