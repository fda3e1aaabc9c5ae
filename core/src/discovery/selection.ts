import { labelMatcher } from '../cluster/selector.ts';
import { DmaasError } from '../errors.ts';
import type { KubeObject, ResourceKind } from '../model.ts';
import type { AppSelector } from './application.ts';
import { byText } from './closure.ts';
import { isBuiltInGroup } from './edges.ts';
import { idOfKind } from './inventory.ts';
import { nearest } from './nearest.ts';
import { kindId, podTemplateOf } from './pod-template.ts';

export const HELM = {
  releaseName: 'meta.helm.sh/release-name',
  releaseNamespace: 'meta.helm.sh/release-namespace',
  managedByHelm: 'app.kubernetes.io/managed-by=Helm',
} as const;

/** A label selector may be `app=web,tier in (db,cache)`: commas within parentheses part values, not terms. */
function termsOf(labelSelector: string): string[] {
  return labelSelector
    .split(/,(?![^(]*\))/)
    .map((term) => term.trim())
    .filter((term) => term !== '');
}

/** Refuses what names nothing, and what would catch everything there is. Throws USAGE. */
export function checkSelector(selector: AppSelector): void {
  if (selector.namespace === '') throw new DmaasError('USAGE', 'no namespace is named', { hint: 'name one with -n NAMESPACE' });
  if ('labelSelector' in selector) {
    checkLabelSelector(selector.labelSelector);
    const terms = termsOf(selector.labelSelector);
    if (terms.length === 0) {
      throw new DmaasError('USAGE', 'an empty label selector would select everything', {
        hint: `to take the whole namespace, say so: ${describeSelector({ namespace: selector.namespace, wholeNamespace: true })}`,
      });
    }
    const isPositive = terms.some((term) => !term.startsWith('!') && !term.includes('!=') && !/\snotin\s*\(/.test(term));
    if (!isPositive) {
      throw new DmaasError(
        'USAGE',
        `the label selector "${selector.labelSelector}" names no label that must be there, so it would select nearly everything`,
        {
          hint: 'add the label that the parts of the application have in common, such as -l app=web',
        },
      );
    }
  }
  if ('workload' in selector && (selector.workload.kind === '' || selector.workload.name === '')) {
    throw new DmaasError('USAGE', 'a workload is named as KIND/NAME', { hint: 'for example statefulset/db' });
  }
  if ('helmRelease' in selector && selector.helmRelease === '') throw new DmaasError('USAGE', 'the name of the Helm release is empty');
  if (selector.exclude?.labelSelector !== undefined) checkLabelSelector(selector.exclude.labelSelector);
}

function checkLabelSelector(text: string): void {
  try {
    labelMatcher(text);
  } catch (cause) {
    throw new DmaasError('USAGE', `"${text}" is not a label selector`, {
      cause,
      hint: 'write it as for kubectl get -l, for example app=web,tier!=cache',
    });
  }
}

/** Whether an object is selected, as opposed to drawn in by another. */
export function seedTest(selector: AppSelector, kinds: readonly ResourceKind[]): (object: KubeObject) => boolean {
  const { namespace } = selector;
  if ('labelSelector' in selector) {
    const matches = labelMatcher(selector.labelSelector);
    return (o) => matches(o.metadata.labels);
  }
  if ('helmRelease' in selector) return (o) => isOfRelease(o, selector.helmRelease, namespace);
  if ('wholeNamespace' in selector)
    return (o) => o.metadata.namespace === namespace || (kindId(o) === 'Namespace' && o.metadata.name === namespace);
  const ids = new Set(kindsNamed(kinds, selector.workload.kind).map(idOfKind));
  const { name } = selector.workload;
  return (o) => o.metadata.name === name && (o.metadata.namespace ?? namespace) === namespace && ids.has(kindId(o));
}

function isOfRelease(o: KubeObject, release: string, namespace: string): boolean {
  const { annotations = {}, labels = {} } = o.metadata;
  if (o['type'] === 'helm.sh/release.v1') return labels['name'] === release;
  return annotations[HELM.releaseName] === release && annotations[HELM.releaseNamespace] === namespace;
}

/** What to ask of cluster-scoped kinds, to find those that are selected; undefined when none can be. */
export function clusterScopedSelector(selector: AppSelector): string | undefined {
  if ('labelSelector' in selector) return selector.labelSelector;
  return 'helmRelease' in selector ? HELM.managedByHelm : undefined;
}

/** Whether an object is taken out again by `exclude`. */
export function exclusionTest(selector: AppSelector, kinds: readonly ResourceKind[]): (object: KubeObject) => boolean {
  const { kinds: names = [], labelSelector } = selector.exclude ?? {};
  const unknown = names.find((name) => kindsNamed(kinds, name).length === 0);
  if (unknown !== undefined) throw noSuchKind(unknown);
  const ids = new Set(names.flatMap((name) => kindsNamed(kinds, name)).map(idOfKind));
  const matches = labelSelector === undefined ? () => false : labelMatcher(labelSelector);
  return (o) => ids.has(kindId(o)) || matches(o.metadata.labels);
}

const SHORT_NAMES: Readonly<Record<string, string>> = {
  cj: 'cronjob',
  cm: 'configmap',
  deploy: 'deployment',
  ds: 'daemonset',
  ing: 'ingress',
  po: 'pod',
  pvc: 'persistentvolumeclaim',
  rc: 'replicationcontroller',
  rs: 'replicaset',
  sa: 'serviceaccount',
  sts: 'statefulset',
  svc: 'service',
};

/** The kinds that a word means to kubectl: `sts`, `StatefulSet`, `statefulsets`, `statefulsets.apps`. Those of Kubernetes come first. */
export function kindsNamed(kinds: readonly ResourceKind[], word: string): readonly ResourceKind[] {
  const [short = '', ...group] = word.toLowerCase().split('.');
  const name = SHORT_NAMES[short] ?? short;
  return kinds
    .filter((k) => (k.kind.toLowerCase() === name || k.plural === name) && (group.length === 0 || k.group === group.join('.')))
    .sort((a, b) => Number(isBuiltInGroup(b.group)) - Number(isBuiltInGroup(a.group)) || byText(a.group, b.group));
}

export function noSuchKind(word: string): DmaasError {
  return new DmaasError('USAGE', `the cluster has no kind "${word}"`, { hint: '"kubectl api-resources" lists the kinds' });
}

/** As a name for the application: what its labels have as values, or what it was selected by. At most 63 letters, digits and `-`. */
export function applicationName(selector: AppSelector): string {
  if ('workload' in selector) return selector.workload.name;
  if ('helmRelease' in selector) return selector.helmRelease;
  if ('wholeNamespace' in selector) return selector.namespace;
  const values = termsOf(selector.labelSelector).flatMap((term) => /^[^=!\s]+\s*==?\s*(\S+)$/.exec(term)?.[1] ?? []);
  const words = values.length > 0 ? values.join('-') : selector.labelSelector;
  return (
    words
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, '-')
      .slice(0, 63)
      .replace(/^-+|-+$/g, '') || 'application'
  );
}

/** The arguments that select it on the command line, the namespace aside. */
export function describeSelector(selector: AppSelector): string {
  if ('workload' in selector) return `${selector.workload.kind.toLowerCase()}/${selector.workload.name}`;
  if ('helmRelease' in selector) return `--helm-release ${selector.helmRelease}`;
  if ('wholeNamespace' in selector) return '--all';
  return /^[\w./=,-]+$/.test(selector.labelSelector) ? `-l ${selector.labelSelector}` : `-l '${selector.labelSelector}'`;
}

/** The error for a selection that matches nothing, with what comes nearest to it among the objects of the namespace. */
export function nothingSelected(selector: AppSelector, kinds: readonly ResourceKind[], objects: readonly KubeObject[]): DmaasError {
  const { namespace } = selector;
  const listing = `"kubectl dmaas app list -n ${namespace}" shows what there is`;
  if ('workload' in selector) {
    const ids = new Set(kindsNamed(kinds, selector.workload.kind).map(idOfKind));
    const ofKind = objects.filter((o) => ids.has(kindId(o)));
    const sameName = objects.filter((o) => o.metadata.name === selector.workload.name && podTemplateOf(o) !== undefined);
    const names = [...sameName, ...ofKind].map((o) => `${o.kind.toLowerCase()}/${o.metadata.name}`);
    const candidates = nearest(describeSelector(selector), names);
    return new DmaasError('APP_NOT_FOUND', `no ${describeSelector(selector)} in namespace ${namespace}`, {
      hint: candidates.length > 0 ? `there is ${candidates.join(', ')}` : listing,
    });
  }
  if ('labelSelector' in selector) {
    const labels = objects.flatMap((o) => Object.entries({ ...podTemplateOf(o)?.labels, ...o.metadata.labels }));
    const candidates = nearest(
      selector.labelSelector,
      labels.filter(([key]) => !GENERATED_LABELS.has(key)).map(([key, value]) => `${key}=${value}`),
    );
    return new DmaasError('APP_NOT_FOUND', `nothing in namespace ${namespace} matches the label selector "${selector.labelSelector}"`, {
      hint: candidates.length > 0 ? `labels found there: ${candidates.join(', ')}; ${listing}` : listing,
    });
  }
  if ('helmRelease' in selector) {
    const releases = objects.flatMap((o) => o.metadata.annotations?.[HELM.releaseName] ?? []);
    const candidates = nearest(selector.helmRelease, releases);
    return new DmaasError('APP_NOT_FOUND', `no Helm release "${selector.helmRelease}" in namespace ${namespace}`, {
      hint: candidates.length > 0 ? `releases found there: ${candidates.join(', ')}` : listing,
    });
  }
  return new DmaasError('APP_NOT_FOUND', `namespace ${namespace} is empty`, { hint: '"kubectl dmaas app list -A" shows all applications' });
}

/** Labels that controllers set, each value of which marks one object at most. */
const GENERATED_LABELS = new Set([
  ...['pod-template-hash', 'controller-revision-hash', 'pod-template-generation', 'statefulset.kubernetes.io/pod-name'],
  ...['apps.kubernetes.io/pod-index', 'controller-uid', 'batch.kubernetes.io/controller-uid', 'job-name', 'batch.kubernetes.io/job-name'],
  ...['kubernetes.io/service-name', 'endpointslice.kubernetes.io/managed-by', 'endpoints.kubernetes.io/managed-by'],
]);
