import { DmaasError } from '../errors.ts';
import type { ResourceKind } from '../model.ts';
import { byText } from './closure.ts';
import { isBuiltInGroup } from './edges.ts';

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
