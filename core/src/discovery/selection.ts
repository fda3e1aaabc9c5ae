import { labelMatcher } from '../cluster/selector.ts';
import { DmaasError } from '../errors.ts';
import type { KubeObject, ResourceKind } from '../model.ts';
import type { AppSelector, ObjectFilter, Seed } from './application.ts';
import { idOfKind } from './inventory.ts';
import { kindsNamed, noSuchKind } from './kind-names.ts';
import { nearest } from './nearest.ts';
import { kindOfPattern, objectMatcher } from './object-pattern.ts';
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

/** The ways of choosing that a selector is made of. */
export function seedsOf(selector: AppSelector): readonly Seed[] {
  return 'anyOf' in selector ? selector.anyOf : [selector];
}

/** Refuses what names nothing, and what would catch everything there is. Throws USAGE. */
export function checkSelector(selector: AppSelector): void {
  if (selector.namespace === '') throw new DmaasError('USAGE', 'no namespace is named', { hint: 'name one with -n NAMESPACE' });
  const seeds = seedsOf(selector);
  if (seeds.length === 0) throw new DmaasError('USAGE', 'nothing is selected', { hint: 'name labels, a workload or a Helm release' });
  for (const seed of seeds) checkSeed(seed);
  for (const filter of [selector.include, selector.exclude]) {
    if (filter?.labelSelector !== undefined) checkLabelSelector(filter.labelSelector);
    const empty = filter?.objects?.find((pattern) => kindOfPattern(pattern) === '' || pattern.endsWith('/'));
    if (empty !== undefined)
      throw new DmaasError('USAGE', `"${empty}" is not of the form KIND or KIND/NAME`, { hint: 'for example secret or secret/db-*' });
  }
}

function checkSeed(seed: Seed): void {
  if ('labelSelector' in seed) {
    checkLabelSelector(seed.labelSelector);
    const terms = termsOf(seed.labelSelector);
    if (terms.length === 0) {
      throw new DmaasError('USAGE', 'an empty label selector would select everything', {
        hint: `to take the whole namespace, say so: ${describeSeed({ wholeNamespace: true })}`,
      });
    }
    const isPositive = terms.some((term) => !term.startsWith('!') && !term.includes('!=') && !/\snotin\s*\(/.test(term));
    if (!isPositive) {
      throw new DmaasError(
        'USAGE',
        `the label selector "${seed.labelSelector}" names no label that must be there, so it would select nearly everything`,
        {
          hint: 'add the label that the parts of the application have in common, such as -l app=web',
        },
      );
    }
  }
  if ('workload' in seed && (seed.workload.kind === '' || seed.workload.name === '')) {
    throw new DmaasError('USAGE', 'a workload is named as KIND/NAME', { hint: 'for example statefulset/db' });
  }
  if ('helmRelease' in seed && seed.helmRelease === '') throw new DmaasError('USAGE', 'the name of the Helm release is empty');
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
  const tests = seedsOf(selector).map((seed) => testOfSeed(seed, selector.namespace, kinds));
  return (o) => tests.some((test) => test(o));
}

function testOfSeed(seed: Seed, namespace: string, kinds: readonly ResourceKind[]): (object: KubeObject) => boolean {
  if ('labelSelector' in seed) {
    const matches = labelMatcher(seed.labelSelector);
    return (o) => matches(o.metadata.labels);
  }
  if ('helmRelease' in seed) return (o) => isOfRelease(o, seed.helmRelease, namespace);
  if ('wholeNamespace' in seed)
    return (o) => o.metadata.namespace === namespace || (kindId(o) === 'Namespace' && o.metadata.name === namespace);
  const ids = new Set(kindsNamed(kinds, seed.workload.kind).map(idOfKind));
  const { name } = seed.workload;
  return (o) => o.metadata.name === name && (o.metadata.namespace ?? namespace) === namespace && ids.has(kindId(o));
}

function isOfRelease(o: KubeObject, release: string, namespace: string): boolean {
  const { annotations = {}, labels = {} } = o.metadata;
  if (o['type'] === 'helm.sh/release.v1') return labels['name'] === release;
  return annotations[HELM.releaseName] === release && annotations[HELM.releaseNamespace] === namespace;
}

/** What to ask of cluster-scoped kinds, to find those that are selected: one request for each. */
export function clusterScopedSelectors(selector: AppSelector): readonly string[] {
  const asked = seedsOf(selector).flatMap((seed) => {
    if ('labelSelector' in seed) return [seed.labelSelector];
    return 'helmRelease' in seed ? [HELM.managedByHelm] : [];
  });
  return [...new Set(asked)];
}

/** Whether a filter means an object; `undefined` when there is no filter. Throws USAGE for kinds that there are not. */
export function filterTest(
  filter: ObjectFilter | undefined,
  kinds: readonly ResourceKind[],
): ((object: KubeObject) => boolean) | undefined {
  if (filter === undefined) return undefined;
  const { objects = [], labelSelector } = filter;
  const unknown = objects.map(kindOfPattern).find((word) => word !== '*' && kindsNamed(kinds, word).length === 0);
  if (unknown !== undefined) throw noSuchKind(unknown);
  const matchers = objects.map((pattern) => objectMatcher(pattern, kinds));
  const hasLabels = labelSelector === undefined ? () => false : labelMatcher(labelSelector);
  return (o) => matchers.some((matches) => matches(o)) || hasLabels(o.metadata.labels);
}

/** As a name for the application: what its labels have as values, or what it was selected by. At most 63 letters, digits and `-`. */
export function applicationName(selector: AppSelector): string {
  const names = [...new Set(seedsOf(selector).map((seed) => nameOfSeed(seed, selector.namespace)))];
  if (names.length === 1) return names[0] ?? '';
  return asName(names.join('-'));
}

function nameOfSeed(seed: Seed, namespace: string): string {
  if ('workload' in seed) return seed.workload.name;
  if ('helmRelease' in seed) return seed.helmRelease;
  if ('wholeNamespace' in seed) return namespace;
  const values = termsOf(seed.labelSelector).flatMap((term) => /^[^=!\s]+\s*==?\s*(\S+)$/.exec(term)?.[1] ?? []);
  return asName(values.length > 0 ? values.join('-') : seed.labelSelector);
}

function asName(words: string): string {
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
  return seedsOf(selector).map(describeSeed).join(' ');
}

function describeSeed(seed: Seed): string {
  if ('workload' in seed) return `${seed.workload.kind.toLowerCase()}/${seed.workload.name}`;
  if ('helmRelease' in seed) return `--helm-release ${seed.helmRelease}`;
  if ('wholeNamespace' in seed) return '--all';
  return /^[\w./=,-]+$/.test(seed.labelSelector) ? `-l ${seed.labelSelector}` : `-l '${seed.labelSelector}'`;
}

/** The first of the seeds that choose nothing among these objects: a slip of the pen, which must not make a smaller application. */
export function emptySeed(selector: AppSelector, kinds: readonly ResourceKind[], objects: readonly KubeObject[]): Seed | undefined {
  return seedsOf(selector).find((seed) => !objects.some(testOfSeed(seed, selector.namespace, kinds)));
}

/** The error for a selection that matches nothing, with what comes nearest to it among the objects of the namespace. */
export function nothingSelected(seed: Seed, namespace: string, kinds: readonly ResourceKind[], objects: readonly KubeObject[]): DmaasError {
  const listing = `"kubectl dmaas app list -n ${namespace}" shows what there is`;
  if ('workload' in seed) {
    const ids = new Set(kindsNamed(kinds, seed.workload.kind).map(idOfKind));
    const ofKind = objects.filter((o) => ids.has(kindId(o)));
    const sameName = objects.filter((o) => o.metadata.name === seed.workload.name && podTemplateOf(o) !== undefined);
    const names = [...sameName, ...ofKind].map((o) => `${o.kind.toLowerCase()}/${o.metadata.name}`);
    const candidates = nearest(describeSeed(seed), names);
    return new DmaasError('APP_NOT_FOUND', `no ${describeSeed(seed)} in namespace ${namespace}`, {
      hint: candidates.length > 0 ? `there is ${candidates.join(', ')}` : listing,
    });
  }
  if ('labelSelector' in seed) {
    const labels = objects.flatMap((o) => Object.entries({ ...podTemplateOf(o)?.labels, ...o.metadata.labels }));
    const candidates = nearest(
      seed.labelSelector,
      labels.filter(([key]) => !GENERATED_LABELS.has(key)).map(([key, value]) => `${key}=${value}`),
    );
    return new DmaasError('APP_NOT_FOUND', `nothing in namespace ${namespace} matches the label selector "${seed.labelSelector}"`, {
      hint: candidates.length > 0 ? `labels found there: ${candidates.join(', ')}; ${listing}` : listing,
    });
  }
  if ('helmRelease' in seed) {
    const releases = objects.flatMap((o) => o.metadata.annotations?.[HELM.releaseName] ?? []);
    const candidates = nearest(seed.helmRelease, releases);
    return new DmaasError('APP_NOT_FOUND', `no Helm release "${seed.helmRelease}" in namespace ${namespace}`, {
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
