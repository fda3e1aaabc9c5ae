import type { KubeObject } from '../../core/src/model.ts';

type Fields = Readonly<Record<string, unknown>>;
const of = (apiVersion: string, kind: string, fields: Fields, namespace: string | null = 'shop'): KubeObject => ({
  apiVersion,
  kind,
  metadata: namespace === null ? { name: 'web' } : { name: 'web', namespace },
  ...fields,
});
const template = { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'web', image: 'web' }] } };
const RBAC = 'rbac.authorization.k8s.io/v1beta1';
const webhook = {
  name: 'a.web.test',
  clientConfig: { service: { name: 'web', namespace: 'shop' } },
  rules: [{ apiGroups: ['web.test'], apiVersions: ['v1'], operations: ['CREATE'], resources: ['none'] }],
};
const ingress = {
  spec: {
    backend: { serviceName: 'web', servicePort: 'http' },
    rules: [{ host: 'a.test', http: { paths: [{ path: '/', backend: { serviceName: 'web', servicePort: 80 } }] } }],
  },
};

/** Objects as clusters had them whose APIs have left Kubernetes since, one of each. */
export const OLD_OBJECTS: readonly KubeObject[] = [
  of('extensions/v1beta1', 'Deployment', { spec: { template, rollbackTo: { revision: 1 } } }),
  of('extensions/v1beta1', 'DaemonSet', { spec: { template, templateGeneration: 3 } }),
  of('extensions/v1beta1', 'StatefulSet', { spec: { serviceName: 'web', template } }),
  of('extensions/v1beta1', 'NetworkPolicy', { spec: { podSelector: {} } }),
  of('extensions/v1beta1', 'Ingress', ingress),
  of('networking.k8s.io/v1beta1', 'Ingress', ingress),
  of(RBAC, 'Role', { rules: [{ apiGroups: [''], resources: ['pods'], verbs: ['get'] }] }),
  of(RBAC, 'ClusterRole', { rules: [{ apiGroups: [''], resources: ['pods'], verbs: ['get'] }] }, null),
  of(RBAC, 'RoleBinding', {
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'view' },
    subjects: [{ kind: 'ServiceAccount', name: 'web', namespace: 'shop' }],
  }),
  of(
    RBAC,
    'ClusterRoleBinding',
    {
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'view' },
      subjects: [{ kind: 'User', name: 'nobody', apiGroup: 'rbac.authorization.k8s.io' }],
    },
    null,
  ),
  of('admissionregistration.k8s.io/v1beta1', 'ValidatingWebhookConfiguration', { webhooks: [webhook] }, null),
  of('admissionregistration.k8s.io/v1beta1', 'MutatingWebhookConfiguration', { webhooks: [webhook] }, null),
  {
    ...of(
      'apiextensions.k8s.io/v1beta1',
      'CustomResourceDefinition',
      {
        spec: {
          group: 'old.dmaas.test',
          names: { kind: 'Thing', plural: 'things', singular: 'thing', listKind: 'ThingList' },
          version: 'v1alpha1',
          validation: {
            openAPIV3Schema: { type: 'object', properties: { spec: { type: 'object', properties: { size: { type: 'integer' } } } } },
          },
          subresources: { status: {} },
          additionalPrinterColumns: [{ name: 'Size', type: 'integer', JSONPath: '.spec.size' }],
        },
      },
      null,
    ),
    metadata: { name: 'things.old.dmaas.test' },
  },
  of('batch/v1beta1', 'CronJob', {
    spec: { schedule: '@daily', jobTemplate: { spec: { template: { spec: { ...template.spec, restartPolicy: 'Never' } } } } },
  }),
  of('batch/v2alpha1', 'CronJob', {
    spec: { schedule: '@daily', jobTemplate: { spec: { template: { spec: { ...template.spec, restartPolicy: 'Never' } } } } },
  }),
  of('policy/v1beta1', 'PodDisruptionBudget', { spec: { minAvailable: 1, selector: {} } }),
  of('discovery.k8s.io/v1beta1', 'EndpointSlice', {
    addressType: 'IPv4',
    endpoints: [{ addresses: ['198.18.0.1'], topology: { 'kubernetes.io/hostname': 'n1', 'topology.kubernetes.io/zone': 'a' } }],
    ports: [{ port: 80 }],
  }),
  of('autoscaling/v2beta1', 'HorizontalPodAutoscaler', {
    spec: {
      maxReplicas: 3,
      scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'web' },
      metrics: [
        { type: 'Resource', resource: { name: 'cpu', targetAverageUtilization: 50 } },
        { type: 'Pods', pods: { metricName: 'rps', targetAverageValue: '100' } },
        { type: 'Object', object: { target: { kind: 'Service', name: 'web', apiVersion: 'v1' }, metricName: 'hits', targetValue: '5' } },
        { type: 'External', external: { metricName: 'queue', metricSelector: { matchLabels: { q: 'a' } }, targetValue: '30' } },
      ],
    },
  }),
  of('autoscaling/v2beta2', 'HorizontalPodAutoscaler', {
    spec: {
      maxReplicas: 3,
      scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'web' },
      metrics: [{ type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 50 } } }],
    },
  }),
];
