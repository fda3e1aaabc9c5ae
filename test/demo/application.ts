import type { KubeObject, ObjectMeta } from '../../core/src/model.ts';
import { imageName } from '../support/images/names.ts';

export interface DemoOptions {
  /** Of both volumes. */
  readonly storageClass?: string;
  /** Sizes as Kubernetes quantities. */
  readonly databaseSize?: string;
  readonly uploadsSize?: string;
  readonly password?: string;
}

/** What all parts of the demo application have in common, and what selects it: `-l app=shop`. */
export const DEMO_LABELS = { app: 'shop' } as const;

/**
 * The application that the demo and the tests back up: PostgreSQL as a StatefulSet, a web front end as a Deployment with a
 * volume of uploads, and what goes with them. In an order in which it can be applied; the namespace is the caller's.
 *
 * The cluster-scoped objects bear the namespace in their name, so that several can live in one cluster.
 */
export function demoApp(namespace: string, options: DemoOptions = {}): KubeObject[] {
  const { storageClass = 'csi-hostpath', databaseSize = '1Gi', uploadsSize = '256Mi', password = 'correct-horse-battery' } = options;
  const meta = (name: string) => ({ name, namespace, labels: DEMO_LABELS });
  const clusterMeta = { name: `shop-${namespace}`, labels: DEMO_LABELS };
  const rbac = 'rbac.authorization.k8s.io';
  const subjects = [{ kind: 'ServiceAccount', name: 'web', namespace }];
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: meta('web') },
    {
      apiVersion: `${rbac}/v1`,
      kind: 'Role',
      metadata: meta('web'),
      rules: [{ apiGroups: [''], resources: ['configmaps'], verbs: ['get', 'list'] }],
    },
    {
      apiVersion: `${rbac}/v1`,
      kind: 'RoleBinding',
      metadata: meta('web'),
      roleRef: { apiGroup: rbac, kind: 'Role', name: 'web' },
      subjects,
    },
    {
      apiVersion: `${rbac}/v1`,
      kind: 'ClusterRole',
      metadata: clusterMeta,
      rules: [{ apiGroups: [''], resources: ['nodes'], verbs: ['list'] }],
    },
    {
      apiVersion: `${rbac}/v1`,
      kind: 'ClusterRoleBinding',
      metadata: clusterMeta,
      roleRef: { apiGroup: rbac, kind: 'ClusterRole', name: clusterMeta.name },
      subjects,
    },
    {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: meta('db'),
      type: 'Opaque',
      data: { password: Buffer.from(password).toString('base64') },
    },
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: meta('db'),
      data: { 'postgresql.conf': "max_connections = 50\nshared_buffers = '64MB'\n" },
    },
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: meta('site'), data: { 'site.json': `${JSON.stringify({ title: 'The shop' })}\n` } },
    {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: meta('uploads'),
      spec: { storageClassName: storageClass, accessModes: ['ReadWriteOnce'], resources: { requests: { storage: uploadsSize } } },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: meta('db'),
      spec: { clusterIP: 'None', selector: { ...DEMO_LABELS, tier: 'db' }, ports: [{ name: 'postgres', port: 5432 }] },
    },
    database(meta('db'), storageClass, databaseSize),
    front(meta('web')),
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: meta('web'),
      spec: { selector: { ...DEMO_LABELS, tier: 'web' }, ports: [{ name: 'http', port: 80, targetPort: 'http' }] },
    },
    {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'Ingress',
      metadata: meta('web'),
      spec: {
        rules: [
          {
            host: 'shop.example',
            http: { paths: [{ path: '/', pathType: 'Prefix', backend: { service: { name: 'web', port: { name: 'http' } } } }] },
          },
        ],
      },
    },
  ];
}

/** Not root, and with the volume's files for its group; fsGroup walks over the files only when the volume is new. */
function securityContext(id: number) {
  return {
    runAsNonRoot: true,
    runAsUser: id,
    runAsGroup: id,
    fsGroup: id,
    fsGroupChangePolicy: 'OnRootMismatch',
    seccompProfile: { type: 'RuntimeDefault' },
  };
}

const CONTAINER = {
  imagePullPolicy: 'IfNotPresent',
  securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
};

function database(metadata: ObjectMeta, storageClassName: string, storage: string): KubeObject {
  const labels = { ...DEMO_LABELS, tier: 'db' };
  const isReady = { exec: { command: ['pg_isready', '-d', 'shop'] }, periodSeconds: 2 };
  return {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata,
    spec: {
      serviceName: 'db',
      replicas: 1,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          terminationGracePeriodSeconds: 10,
          securityContext: securityContext(999),
          containers: [
            {
              ...CONTAINER,
              name: 'postgres',
              image: imageName('postgres:15'),
              args: ['-c', 'config_file=/etc/shop/postgresql.conf'],
              env: [
                { name: 'POSTGRES_DB', value: 'shop' },
                { name: 'POSTGRES_PASSWORD', valueFrom: { secretKeyRef: { name: 'db', key: 'password' } } },
              ],
              ports: [{ name: 'postgres', containerPort: 5432 }],
              readinessProbe: isReady,
              volumeMounts: [
                { name: 'data', mountPath: '/var/lib/postgresql/data' },
                { name: 'config', mountPath: '/etc/shop', readOnly: true },
                { name: 'scratch', mountPath: '/tmp' },
              ],
            },
          ],
          volumes: [
            { name: 'config', configMap: { name: 'db' } },
            { name: 'scratch', emptyDir: {} },
          ],
        },
      },
      volumeClaimTemplates: [
        { metadata: { name: 'data' }, spec: { storageClassName, accessModes: ['ReadWriteOnce'], resources: { requests: { storage } } } },
      ],
    },
  };
}

function front(metadata: ObjectMeta): KubeObject {
  const labels = { ...DEMO_LABELS, tier: 'web' };
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata,
    spec: {
      replicas: 1,
      // One node at a time may have the volume.
      strategy: { type: 'Recreate' },
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          serviceAccountName: 'web',
          terminationGracePeriodSeconds: 5,
          securityContext: securityContext(65532),
          containers: [
            {
              ...CONTAINER,
              name: 'web',
              image: imageName('web:1'),
              env: [{ name: 'DB_HOST', value: 'db' }],
              ports: [{ name: 'http', containerPort: 8080 }],
              readinessProbe: { httpGet: { path: '/healthz', port: 'http' }, periodSeconds: 2 },
              volumeMounts: [
                { name: 'uploads', mountPath: '/uploads' },
                { name: 'site', mountPath: '/config', readOnly: true },
              ],
            },
          ],
          volumes: [
            { name: 'uploads', persistentVolumeClaim: { claimName: 'uploads' } },
            { name: 'site', configMap: { name: 'site' } },
          ],
        },
      },
    },
  };
}
