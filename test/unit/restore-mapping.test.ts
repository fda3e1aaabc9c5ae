import assert from 'node:assert/strict';
import type { KubeObject } from '../../core/src/model.ts';
import { MAP_RULES, mapObject } from '../../core/src/restore/mapping.ts';
import type { Mapping } from '../../core/src/restore/mapping.ts';

type Fields = Readonly<Record<string, unknown>>;
const MAP: Mapping = { from: 'shop', to: 'shop-dr', storageClasses: { gp3: 'standard', '': 'standard' } };

function object(apiVersion: string, kind: string, fields: Fields = {}, metadata: Fields = {}): KubeObject {
  return { apiVersion, kind, metadata: { name: 'web', ...metadata }, ...fields };
}
const RBAC = 'rbac.authorization.k8s.io/v1';
const byName = (ns: string): Fields => ({ matchLabels: { 'kubernetes.io/metadata.name': ns } });

const CASES: Readonly<Record<string, readonly [before: KubeObject, after: KubeObject]>> = {
  namespace: [object('v1', 'ConfigMap', {}, { namespace: 'shop' }), object('v1', 'ConfigMap', {}, { namespace: 'shop-dr' })],
  'binding-subjects': [
    object(RBAC, 'ClusterRoleBinding', {
      subjects: [
        { kind: 'ServiceAccount', name: 'web', namespace: 'shop' },
        { kind: 'ServiceAccount', name: 'web', namespace: 'other' },
        { kind: 'Group', name: 'system:serviceaccounts:shop' },
        { kind: 'User', name: 'system:serviceaccount:shop:web' },
        { kind: 'User', name: 'shop' },
      ],
    }),
    object(RBAC, 'ClusterRoleBinding', {
      subjects: [
        { kind: 'ServiceAccount', name: 'web', namespace: 'shop-dr' },
        { kind: 'ServiceAccount', name: 'web', namespace: 'other' },
        { kind: 'Group', name: 'system:serviceaccounts:shop-dr' },
        { kind: 'User', name: 'system:serviceaccount:shop-dr:web' },
        { kind: 'User', name: 'shop' },
      ],
    }),
  ],
  'webhook-service': [
    object('admissionregistration.k8s.io/v1', 'ValidatingWebhookConfiguration', {
      webhooks: [{ clientConfig: { service: { name: 'web', namespace: 'shop' }, caBundle: 'Q0E=' }, namespaceSelector: byName('shop') }],
    }),
    object('admissionregistration.k8s.io/v1', 'ValidatingWebhookConfiguration', {
      webhooks: [
        { clientConfig: { service: { name: 'web', namespace: 'shop-dr' }, caBundle: 'Q0E=' }, namespaceSelector: byName('shop-dr') },
      ],
    }),
  ],
  'conversion-service': [
    object('apiextensions.k8s.io/v1', 'CustomResourceDefinition', {
      spec: { conversion: { webhook: { clientConfig: { service: { namespace: 'shop' } } } } },
    }),
    object('apiextensions.k8s.io/v1', 'CustomResourceDefinition', {
      spec: { conversion: { webhook: { clientConfig: { service: { namespace: 'shop-dr' } } } } },
    }),
  ],
  'network-policy-peers': [
    object('networking.k8s.io/v1', 'NetworkPolicy', {
      spec: {
        ingress: [{ from: [{ namespaceSelector: byName('shop') }, { namespaceSelector: byName('other') }] }],
        egress: [
          {
            to: [
              {
                namespaceSelector: {
                  matchExpressions: [{ key: 'kubernetes.io/metadata.name', operator: 'In', values: ['shop', 'other'] }],
                },
              },
            ],
          },
          { to: [{ namespaceSelector: { matchExpressions: [{ key: 'team', operator: 'In', values: ['shop'] }] } }] },
        ],
      },
    }),
    object('networking.k8s.io/v1', 'NetworkPolicy', {
      spec: {
        ingress: [{ from: [{ namespaceSelector: byName('shop-dr') }, { namespaceSelector: byName('other') }] }],
        egress: [
          {
            to: [
              {
                namespaceSelector: {
                  matchExpressions: [{ key: 'kubernetes.io/metadata.name', operator: 'In', values: ['shop-dr', 'other'] }],
                },
              },
            ],
          },
          { to: [{ namespaceSelector: { matchExpressions: [{ key: 'team', operator: 'In', values: ['shop'] }] } }] },
        ],
      },
    }),
  ],
  'external-name': [
    object('v1', 'Service', { spec: { externalName: 'db.shop.svc.cluster.local' } }),
    object('v1', 'Service', { spec: { externalName: 'db.shop-dr.svc.cluster.local' } }),
  ],
  'pod-affinity-namespaces': [
    object('apps/v1', 'Deployment', {
      spec: {
        template: {
          spec: {
            affinity: {
              podAntiAffinity: {
                requiredDuringSchedulingIgnoredDuringExecution: [{ namespaces: ['shop', 'other'] }],
                preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 1, podAffinityTerm: { namespaceSelector: byName('shop') } }],
              },
            },
          },
        },
      },
    }),
    object('apps/v1', 'Deployment', {
      spec: {
        template: {
          spec: {
            affinity: {
              podAntiAffinity: {
                requiredDuringSchedulingIgnoredDuringExecution: [{ namespaces: ['shop-dr', 'other'] }],
                preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 1, podAffinityTerm: { namespaceSelector: byName('shop-dr') } }],
              },
            },
          },
        },
      },
    }),
  ],
  'route-references': [
    object('gateway.networking.k8s.io/v1', 'HTTPRoute', {
      spec: { parentRefs: [{ name: 'gw', namespace: 'infra' }], rules: [{ backendRefs: [{ name: 'web', namespace: 'shop' }] }] },
    }),
    object('gateway.networking.k8s.io/v1', 'HTTPRoute', {
      spec: { parentRefs: [{ name: 'gw', namespace: 'infra' }], rules: [{ backendRefs: [{ name: 'web', namespace: 'shop-dr' }] }] },
    }),
  ],
  'helm-release-namespace': [
    object('v1', 'ConfigMap', {}, { annotations: { 'meta.helm.sh/release-namespace': 'shop' } }),
    object('v1', 'ConfigMap', {}, { annotations: { 'meta.helm.sh/release-namespace': 'shop-dr' } }),
  ],
  'claim-class': [
    object(
      'v1',
      'PersistentVolumeClaim',
      { spec: { storageClassName: 'fast' } },
      { annotations: { 'volume.beta.kubernetes.io/storage-class': 'gp3' } },
    ),
    object('v1', 'PersistentVolumeClaim', { spec: { storageClassName: 'standard' } }, { annotations: {} }),
  ],
  'template-class': [
    object('apps/v1', 'StatefulSet', {
      spec: { volumeClaimTemplates: [{ spec: { storageClassName: 'gp3' } }, { spec: { storageClassName: 'fast' } }, { spec: {} }] },
    }),
    object('apps/v1', 'StatefulSet', {
      spec: {
        volumeClaimTemplates: [
          { spec: { storageClassName: 'standard' } },
          { spec: { storageClassName: 'fast' } },
          { spec: { storageClassName: 'standard' } },
        ],
      },
    }),
  ],
  'ephemeral-class': [
    object('batch/v1', 'CronJob', {
      spec: {
        jobTemplate: {
          spec: { template: { spec: { volumes: [{ ephemeral: { volumeClaimTemplate: { spec: { storageClassName: 'gp3' } } } }] } } },
        },
      },
    }),
    object('batch/v1', 'CronJob', {
      spec: {
        jobTemplate: {
          spec: { template: { spec: { volumes: [{ ephemeral: { volumeClaimTemplate: { spec: { storageClassName: 'standard' } } } }] } } },
        },
      },
    }),
  ],
};

describe('restore mapping', () => {
  for (const rule of MAP_RULES) {
    it(rule.name, () => {
      const [before, after] = CASES[rule.name] ?? [];
      assert.ok(before && after, 'has a case');
      assert.notDeepEqual(before, after);
      assert.deepEqual(rule.apply(before, MAP), after);
      assert.deepEqual(mapObject(before, MAP).object, after);
    });
  }

  it('changes nothing when the namespace and classes stay', () => {
    const same: Mapping = { from: 'shop', to: 'shop', storageClasses: {} };
    for (const [before] of Object.values(CASES)) assert.deepEqual(mapObject(before, same), { object: before, changes: [] });
  });

  it('renames the namespace itself', () => {
    assert.equal(mapObject(object('v1', 'Namespace', {}, { name: 'shop' }), MAP).object.metadata.name, 'shop-dr');
    assert.equal(mapObject(object('v1', 'ConfigMap', {}, { name: 'shop' }), MAP).object.metadata.name, 'shop');
  });

  it('says what it changed, the namespace of the object itself aside', () => {
    const { changes } = mapObject(object('v1', 'PersistentVolumeClaim', { spec: { storageClassName: 'gp3' } }, { namespace: 'shop' }), MAP);
    assert.deepEqual(changes, ['spec.storageClassName: gp3 -> standard']);
  });
});
