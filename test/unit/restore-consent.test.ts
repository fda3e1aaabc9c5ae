import assert from 'node:assert/strict';
import { KNOWN_KINDS } from '../../core/src/cluster/known-kinds.ts';
import type { KubeObject } from '../../core/src/model.ts';
import { consentFindings, ESCALATIONS } from '../../core/src/restore/consent.ts';
import { clusterScoped, emptyTarget, kube, plan, shop } from '../support/restore.ts';

type Fields = Readonly<Record<string, unknown>>;
const RBAC = 'rbac.authorization.k8s.io/v1';
const pod = (spec: Fields): KubeObject =>
  kube('apps/v1', 'Deployment', 'web', { spec: { template: { spec: { containers: [{ name: 'a' }], ...spec } } } });
const labelled = (object: KubeObject, labels: Readonly<Record<string, string>>): KubeObject => ({
  ...object,
  metadata: { ...object.metadata, labels },
});
const token = kube(
  'v1',
  'Secret',
  't',
  { type: 'kubernetes.io/service-account-token' },
  { annotations: { 'kubernetes.io/service-account.name': 'deployer' } },
);

/** For each rule, what it refuses and what it does not. */
const CASES: Readonly<Record<string, { readonly refused: readonly [KubeObject, RegExp][]; readonly fine: readonly KubeObject[] }>> = {
  'privileged-pods': {
    refused: [
      [pod({ hostPID: true }), /deployment\/web runs pods with hostPID/],
      [pod({ volumes: [{ hostPath: { path: '/' } }] }), /hostPath volume/],
      [pod({ containers: [{ name: 'a', securityContext: { privileged: true } }] }), /privileged/],
      [
        kube('batch/v1', 'CronJob', 'j', {
          spec: { jobTemplate: { spec: { template: { spec: { hostNetwork: true, containers: [{}] } } } } },
        }),
        /cronjob\/j runs pods with hostNetwork/,
      ],
      [{ ...pod({ hostIPC: true }), apiVersion: 'acme.io/v1', kind: 'Engine' }, /engine\/web runs pods with hostIPC/],
    ],
    fine: [pod({})],
  },
  'cluster-bindings': {
    refused: [
      [
        clusterScoped(RBAC, 'ClusterRoleBinding', 'b', {
          roleRef: { name: 'cluster-admin' },
          subjects: [{ kind: 'ServiceAccount', name: 'web', namespace: 'shop' }],
        }),
        /clusterrolebinding\/b grants cluster-admin in the whole cluster to serviceaccount shop\/web/,
      ],
    ],
    fine: [
      kube(RBAC, 'RoleBinding', 'b', {
        roleRef: { name: 'admin' },
        subjects: [{ kind: 'ServiceAccount', name: 'web', namespace: 'shop' }],
      }),
    ],
  },
  'foreign-subjects': {
    refused: [
      [
        kube(RBAC, 'RoleBinding', 'b', { subjects: [{ kind: 'Group', name: 'system:authenticated' }] }),
        /gives rights in this namespace to group system:authenticated/,
      ],
      [
        kube(RBAC, 'RoleBinding', 'b', { subjects: [{ kind: 'ServiceAccount', name: 'x', namespace: 'other' }] }),
        /serviceaccount other\/x/,
      ],
    ],
    fine: [
      kube(RBAC, 'RoleBinding', 'b', {
        subjects: [
          { kind: 'User', name: 'jane' },
          { kind: 'ServiceAccount', name: 'x' },
        ],
      }),
    ],
  },
  'aggregated-roles': {
    refused: [
      [
        labelled(clusterScoped(RBAC, 'ClusterRole', 'r'), { 'rbac.authorization.k8s.io/aggregate-to-admin': 'true' }),
        /adds rights to every admin of the cluster/,
      ],
    ],
    fine: [clusterScoped(RBAC, 'ClusterRole', 'r')],
  },
  webhooks: {
    refused: [
      [
        clusterScoped('admissionregistration.k8s.io/v1', 'MutatingWebhookConfiguration', 'w'),
        /may change or refuse, requests of the whole cluster/,
      ],
    ],
    fine: [],
  },
  definitions: {
    refused: [[clusterScoped('apiextensions.k8s.io/v1', 'CustomResourceDefinition', 'd'), /defines a kind for the whole cluster/]],
    fine: [],
  },
  'foreign-tokens': {
    refused: [[token, /would hold a token of serviceaccount\/deployer, which does not come from the backup/]],
    fine: [kube('v1', 'Secret', 's')],
  },
  'external-addresses': {
    refused: [[kube('v1', 'Service', 's', { spec: { externalIPs: ['1.2.3.4'] } }), /takes traffic of the whole cluster for 1\.2\.3\.4/]],
    fine: [kube('v1', 'Service', 's')],
  },
  'namespace-security': {
    refused: [
      [
        labelled(clusterScoped('v1', 'Namespace', 'shop'), { 'pod-security.kubernetes.io/enforce': 'privileged' }),
        /allows privileged pods/,
      ],
    ],
    fine: [labelled(clusterScoped('v1', 'Namespace', 'shop'), { 'pod-security.kubernetes.io/enforce': 'baseline' })],
  },
};

describe('what a backup may not do without consent', () => {
  for (const { name } of ESCALATIONS) {
    it(name, () => {
      const { refused, fine } = CASES[name] ?? { refused: [], fine: [] };
      assert.ok(refused.length > 0, 'has a case');
      for (const [object, message] of refused) {
        const [finding, ...more] = consentFindings([object], [], KNOWN_KINDS);
        assert.deepEqual([finding?.level, more.length], ['blocker', 0]);
        assert.match(finding?.message ?? '', message);
        const [allowed] = consentFindings([object], [`${object.kind}/${object.metadata.name}`], KNOWN_KINDS);
        assert.deepEqual([allowed?.level, allowed?.code], ['info', 'escalation-allowed']);
        assert.equal(consentFindings([object], [`${object.kind}/other`, 'configmap'], KNOWN_KINDS)[0]?.level, 'blocker');
      }
      assert.deepEqual(consentFindings(fine, [], KNOWN_KINDS), []);
    });
  }

  it('a token of an account that comes along is the application’s own', () => {
    assert.deepEqual(consentFindings([token, kube('v1', 'ServiceAccount', 'deployer')], [], KNOWN_KINDS), []);
  });

  it('all of it is named before anything changes, with the flag for each', () => {
    const found = plan(shop(), emptyTarget(), { allow: [] }).findings.filter((f) => f.code === 'escalation');
    assert.deepEqual(
      found.map((f) => f.hint),
      ['clusterrolebinding/shop-web', 'validatingwebhookconfiguration/shop'].map(
        (name) => `--allow ${name} if you trust the backup, or --exclude ${name}`,
      ),
    );
    assert.ok(found.every((f) => f.level === 'blocker'));
  });

  it('what the target has already needs none', () => {
    const binding = shop().objects.find((o) => o.kind === 'ClusterRoleBinding');
    assert.ok(binding);
    const p = plan(shop(), emptyTarget({ existing: [binding] }), { allow: [] });
    assert.ok(!p.findings.some((f) => f.code === 'escalation' && f.ref?.kind === 'ClusterRoleBinding'));
  });
});
