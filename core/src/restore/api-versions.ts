import { at, listAt, numberAt, recordAt, stringAt } from '../discovery/read.ts';
import type { Json } from '../discovery/read.ts';
import type { KubeObject } from '../model.ts';
import { isRecord, put, remove, update } from './rewrite.ts';

/** An API that left Kubernetes, and what took its place. */
export interface ReplacedApi {
  readonly apiVersions: readonly string[];
  readonly kinds: readonly string[];
  readonly to: string;
  /** From this minor version of Kubernetes on the new one is served. */
  readonly since: number;
  /** And from this one on the old one is not. */
  readonly removed: number;
  /** Fields that are called otherwise, or mean something else when they are absent. Absent: the fields are the same. */
  readonly convert?: (object: KubeObject) => KubeObject;
}

const APPS = ['extensions/v1beta1', 'apps/v1beta1', 'apps/v1beta2'];
const ADMISSION = ['MutatingWebhookConfiguration', 'ValidatingWebhookConfiguration'];
const RBAC = ['Role', 'ClusterRole', 'RoleBinding', 'ClusterRoleBinding'];

/** Everything an application may hold that left Kubernetes since 1.16. */
export const REPLACED_APIS: readonly ReplacedApi[] = [
  { apiVersions: APPS, kinds: ['Deployment', 'ReplicaSet', 'StatefulSet'], to: 'apps/v1', since: 9, removed: 16, convert: convertWorkload },
  { apiVersions: APPS, kinds: ['DaemonSet'], to: 'apps/v1', since: 9, removed: 16, convert: convertDaemonSet },
  { apiVersions: ['extensions/v1beta1'], kinds: ['NetworkPolicy'], to: 'networking.k8s.io/v1', since: 8, removed: 16 },
  {
    apiVersions: ['extensions/v1beta1', 'networking.k8s.io/v1beta1'],
    kinds: ['Ingress'],
    to: 'networking.k8s.io/v1',
    since: 19,
    removed: 22,
    convert: convertIngress,
  },
  {
    apiVersions: ['rbac.authorization.k8s.io/v1beta1', 'rbac.authorization.k8s.io/v1alpha1'],
    kinds: RBAC,
    to: 'rbac.authorization.k8s.io/v1',
    since: 8,
    removed: 22,
    convert: convertBinding,
  },
  {
    apiVersions: ['admissionregistration.k8s.io/v1beta1'],
    kinds: ADMISSION,
    to: 'admissionregistration.k8s.io/v1',
    since: 16,
    removed: 22,
    convert: convertWebhooks,
  },
  {
    apiVersions: ['apiextensions.k8s.io/v1beta1'],
    kinds: ['CustomResourceDefinition'],
    to: 'apiextensions.k8s.io/v1',
    since: 16,
    removed: 22,
    convert: convertDefinition,
  },
  { apiVersions: ['batch/v1beta1', 'batch/v2alpha1'], kinds: ['CronJob'], to: 'batch/v1', since: 21, removed: 25 },
  { apiVersions: ['policy/v1beta1'], kinds: ['PodDisruptionBudget'], to: 'policy/v1', since: 21, removed: 25, convert: convertBudget },
  {
    apiVersions: ['discovery.k8s.io/v1beta1'],
    kinds: ['EndpointSlice'],
    to: 'discovery.k8s.io/v1',
    since: 21,
    removed: 25,
    convert: convertSlice,
  },
  {
    apiVersions: ['autoscaling/v2beta1'],
    kinds: ['HorizontalPodAutoscaler'],
    to: 'autoscaling/v2',
    since: 23,
    removed: 25,
    convert: convertMetrics,
  },
  { apiVersions: ['autoscaling/v2beta2'], kinds: ['HorizontalPodAutoscaler'], to: 'autoscaling/v2', since: 23, removed: 26 },
];

/** The object in the API that replaced its own, if that is served by a Kubernetes of this minor version; itself otherwise. Pure. */
export function inServedApi(object: KubeObject, minor: number): KubeObject {
  const row = REPLACED_APIS.find((r) => r.kinds.includes(object.kind) && r.apiVersions.includes(object.apiVersion) && minor >= r.since);
  if (row === undefined) return object;
  return { ...(row.convert?.(object) ?? object), apiVersion: row.to };
}

/** Sets what the old API took for granted and the new one does not. */
function withDefault<T>(value: T, path: readonly string[], to: unknown): T {
  return at(value, ...path) === undefined && to !== undefined ? put(value, path, to) : value;
}

function convertWorkload(o: KubeObject): KubeObject {
  const selected = withDefault(o, ['spec', 'selector'], { matchLabels: recordAt(o, 'spec', 'template', 'metadata', 'labels') });
  const cleaned = remove(selected, 'spec', 'rollbackTo');
  // A StatefulSet of apps/v1beta1 did not update its pods by itself.
  return o.kind === 'StatefulSet' && o.apiVersion === 'apps/v1beta1'
    ? withDefault(cleaned, ['spec', 'updateStrategy'], { type: 'OnDelete' })
    : cleaned;
}

function convertDaemonSet(o: KubeObject): KubeObject {
  const selected = remove(convertWorkload(o), 'spec', 'templateGeneration');
  return o.apiVersion === 'extensions/v1beta1' ? withDefault(selected, ['spec', 'updateStrategy'], { type: 'OnDelete' }) : selected;
}

function convertIngress(o: KubeObject): KubeObject {
  const backend = (value: unknown): unknown => {
    const name = stringAt(value, 'serviceName');
    if (!isRecord(value) || name === undefined) return value;
    const { serviceName: _n, servicePort, ...rest } = value;
    const port = typeof servicePort === 'number' ? { number: servicePort } : portOf(servicePort);
    return { ...rest, service: { name, ...(port === undefined ? {} : { port }) } };
  };
  const paths = update(o, ['spec', 'rules', '*', 'http', 'paths', '*'], (path) =>
    withDefault(update(path, ['backend'], backend), ['pathType'], 'ImplementationSpecific'),
  );
  const fallback = at(o, 'spec', 'backend');
  return fallback === undefined ? paths : put(remove(paths, 'spec', 'backend'), ['spec', 'defaultBackend'], backend(fallback));
}

function portOf(port: unknown): Json | undefined {
  if (typeof port !== 'string') return undefined;
  return /^\d+$/.test(port) ? { number: Number(port) } : { name: port };
}

/** Of users and groups v1alpha1 named the API by `apiVersion`. */
function convertBinding(o: KubeObject): KubeObject {
  return update(o, ['subjects', '*'], (subject) => {
    if (at(subject, 'apiVersion') === undefined) return subject;
    const plain = remove(subject, 'apiVersion');
    return stringAt(subject, 'kind') === 'ServiceAccount' ? plain : put(plain, ['apiGroup'], 'rbac.authorization.k8s.io');
  });
}

function convertWebhooks(o: KubeObject): KubeObject {
  const defaults: Json = {
    failurePolicy: 'Ignore',
    matchPolicy: 'Exact',
    timeoutSeconds: 30,
    sideEffects: 'None',
    admissionReviewVersions: ['v1beta1'],
  };
  return update(o, ['webhooks', '*'], (webhook) =>
    Object.entries(defaults).reduce((w, [field, value]) => withDefault(w, [field], value), webhook),
  );
}

function convertDefinition(o: KubeObject): KubeObject {
  const spec = recordAt(o, 'spec');
  const schema = at(spec, 'validation', 'openAPIV3Schema');
  const shared = {
    ...(schema === undefined ? {} : { schema: { openAPIV3Schema: schema } }),
    ...(spec['subresources'] === undefined ? {} : { subresources: spec['subresources'] }),
    ...(spec['additionalPrinterColumns'] === undefined ? {} : { additionalPrinterColumns: spec['additionalPrinterColumns'] }),
  };
  const only = stringAt(spec, 'version');
  const listed = listAt(spec, 'versions');
  const versions = (listed.length > 0 ? listed : [{ name: only ?? 'v1', served: true, storage: true }]).map((version) =>
    update({ ...shared, ...version }, ['additionalPrinterColumns', '*'], (column) => {
      const path = at(column, 'JSONPath');
      return path === undefined ? column : put(remove(column, 'JSONPath'), ['jsonPath'], path);
    }),
  );
  const { version: _v, validation: _d, subresources: _s, additionalPrinterColumns: _c, conversion, ...rest } = spec;
  return {
    ...o,
    spec: {
      scope: 'Namespaced',
      // What v1beta1 did where it said nothing; the scrub rule `crd-unknown-fields` says it by the schema.
      preserveUnknownFields: true,
      ...rest,
      versions,
      ...(conversion === undefined ? {} : { conversion: convertConversion(conversion) }),
    },
  };
}

function convertConversion(conversion: unknown): unknown {
  const clientConfig = at(conversion, 'webhookClientConfig');
  if (clientConfig === undefined) return remove(conversion, 'conversionReviewVersions');
  const reviewed = at(conversion, 'conversionReviewVersions') ?? ['v1beta1'];
  const plain = remove(remove(conversion, 'webhookClientConfig'), 'conversionReviewVersions');
  return put(plain, ['webhook'], { clientConfig, conversionReviewVersions: reviewed });
}

/** An empty selector chose no pods, and chooses all of the namespace now. */
function convertBudget(o: KubeObject): KubeObject {
  return update(o, ['spec', 'selector'], (selector) =>
    isRecord(selector) && Object.keys(selector).length === 0 ? { matchLabels: { 'dmaas.io/selects': 'nothing' } } : selector,
  );
}

function convertSlice(o: KubeObject): KubeObject {
  return update(o, ['endpoints', '*'], (endpoint) => {
    const topology = recordAt(endpoint, 'topology');
    const named = withDefault(remove(endpoint, 'topology'), ['nodeName'], topology['kubernetes.io/hostname']);
    return withDefault(named, ['zone'], topology['topology.kubernetes.io/zone']);
  });
}

/** `targetAverageUtilization` and its like became `target: {type, …}`. */
function convertMetrics(o: KubeObject): KubeObject {
  const target = (metric: Json): Json => {
    const utilization = numberAt(metric, 'targetAverageUtilization');
    if (utilization !== undefined) return { type: 'Utilization', averageUtilization: utilization };
    const average = metric['targetAverageValue'] ?? metric['averageValue'];
    return average === undefined ? { type: 'Value', value: metric['targetValue'] } : { type: 'AverageValue', averageValue: average };
  };
  const named = (metric: Json): Json => ({
    name: metric['metricName'],
    ...(metric['metricSelector'] === undefined && metric['selector'] === undefined
      ? {}
      : { selector: metric['metricSelector'] ?? metric['selector'] }),
  });
  const sources: Readonly<Record<string, (metric: Json) => Json>> = {
    resource: (m) => ({ name: m['name'], target: target(m) }),
    containerResource: (m) => ({ name: m['name'], container: m['container'], target: target(m) }),
    pods: (m) => ({ metric: named(m), target: target(m) }),
    object: (m) => ({ describedObject: m['target'], metric: named(m), target: target(m) }),
    external: (m) => ({ metric: named(m), target: target(m) }),
  };
  return update(o, ['spec', 'metrics', '*'], (metric) =>
    Object.entries(sources).reduce(
      (m, [field, convert]) => update(m, [field], (source) => (isRecord(source) ? convert(source) : source)),
      metric,
    ),
  );
}
