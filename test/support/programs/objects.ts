import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { KubeObject } from '../../../core/src/model.ts';
import { imageName } from '../images/names.ts';
import { nodeInImage } from '../images/node-layer.ts';

/** A kind of custom resources, with `spec.objects` and whatever else. */
export interface CustomKind {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  /** Whether its operator owns what it makes for such a resource. */
  readonly isOwner: boolean;
}

const RBAC = 'rbac.authorization.k8s.io';

export function definitionOf({ group, version, kind, plural }: CustomKind): KubeObject {
  const schema = { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } };
  return {
    ...{ apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition', metadata: { name: `${plural}.${group}` } },
    spec: {
      ...{ group, scope: 'Namespaced', names: { kind, plural, singular: kind.toLowerCase() } },
      versions: [{ name: version, served: true, storage: true, subresources: { status: {} }, schema }],
    },
  };
}

/** A program of this folder, in a ConfigMap. */
export function programOf(name: string, metadata: KubeObject['metadata']): KubeObject {
  const file = `${name}.mjs`;
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { [file]: readFileSync(join(import.meta.dirname, file), 'utf8') } };
}

/** The operator of such resources in a namespace, with the rights it needs and its program (see operator.mjs). */
export function operatorOf(kinds: readonly CustomKind[], namespace: string, labels: Readonly<Record<string, string>>): KubeObject[] {
  const metadata = { name: 'operator', namespace, labels };
  const part = { part: 'operator' };
  const rule = (apiGroup: string, ...resources: string[]) => ({
    apiGroups: [apiGroup],
    resources,
    verbs: ['get', 'list', 'create', 'patch'],
  });
  const container = {
    ...{ name: 'main', image: imageName('web:1'), imagePullPolicy: 'IfNotPresent', command: [nodeInImage, '/program/operator.mjs'] },
    env: [
      {
        name: 'KINDS',
        value: kinds.map(({ group, version, plural, isOwner }) => `${group}/${version}/${plural}${isOwner ? '=owner' : ''}`).join(),
      },
    ],
    volumeMounts: [{ name: 'program', mountPath: '/program' }],
  };
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
    {
      ...{ apiVersion: `${RBAC}/v1`, kind: 'Role', metadata },
      rules: [
        rule('', 'secrets', 'services'),
        rule('apps', 'statefulsets', 'deployments'),
        ...kinds.map(({ group, plural }) => rule(group, plural)),
      ],
    },
    {
      ...{ apiVersion: `${RBAC}/v1`, kind: 'RoleBinding', metadata },
      roleRef: { apiGroup: RBAC, kind: 'Role', name: 'operator' },
      subjects: [{ kind: 'ServiceAccount', name: 'operator', namespace }],
    },
    programOf('operator', metadata),
    {
      ...{ apiVersion: 'apps/v1', kind: 'Deployment', metadata },
      spec: {
        ...{ replicas: 1, strategy: { type: 'Recreate' }, selector: { matchLabels: part } },
        template: {
          metadata: { labels: { ...labels, ...part } },
          spec: {
            ...{ serviceAccountName: 'operator', terminationGracePeriodSeconds: 2, containers: [container] },
            volumes: [{ name: 'program', configMap: { name: 'operator' } }],
          },
        },
      },
    },
  ];
}
