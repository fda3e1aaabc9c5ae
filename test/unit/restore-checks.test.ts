import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KNOWN_KINDS } from '../../core/src/cluster/known-kinds.ts';
import { refKey, refOf } from '../../core/src/model.ts';
import type { Finding, KubeObject } from '../../core/src/model.ts';
import { checkPlan, CHECKS } from '../../core/src/restore/plan-checks.ts';
import type { Checked } from '../../core/src/restore/plan-checks.ts';
import { claimOf, clusterScoped, emptyTarget, kube, storageClass } from '../support/restore.ts';

type Fields = Readonly<Record<string, unknown>>;
type Target = Parameters<typeof emptyTarget>[0];

interface World {
  readonly objects?: readonly KubeObject[];
  readonly captured?: readonly KubeObject[];
  readonly target?: Target;
  readonly more?: Partial<Checked>;
}

/** A restore that one check has something to say about, and the same after what it asks for was done. */
interface Case {
  readonly check: keyof typeof CHECKS;
  readonly level: Finding['level'];
  readonly world: World;
  readonly mended: World;
}

const space = (labels: Record<string, string> = {}, fields: Fields = {}): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name: 'shop', labels },
  ...fields,
});

function checkedOf({ objects = [], captured = objects, target: given = {}, more = {} }: World): Checked {
  const target = emptyTarget({ namespace: space(), ...given });
  return {
    objects,
    captured: new Map(captured.map((o) => [refKey(refOf(o)), o])),
    present: new Set([...target.existing, ...objects].map((o) => refKey(refOf(o)))),
    capturedClaims: new Set(),
    map: { from: 'shop', to: 'shop', storageClasses: {}, values: {} },
    target,
    namespace: target.namespace,
    isSameCluster: false,
    allow: [],
    ...more,
  };
}

const deployment = (spec: Fields, container: Fields = {}): KubeObject =>
  kube('apps/v1', 'Deployment', 'web', {
    spec: { replicas: 1, template: { spec: { containers: [{ name: 'web', ...container }], ...spec } } },
  });
const claim = (spec: Fields): KubeObject => {
  const made = claimOf('data');
  return { ...made, spec: { ...(made['spec'] as Fields), ...spec } };
};
const cluster = (provisioner: string): Target => ({ storageClasses: [storageClass('fast', true, provisioner)] });
const needing = (kind: string, apiVersion: string, spec: Fields): Omit<Case, 'level'> => {
  const name = { metadata: { name: 'it', ...(apiVersion === 'v1' ? { namespace: 'shop' } : {}) } };
  const world = { objects: [deployment(spec)] };
  return { check: 'podNeedsExist', world, mended: { ...world, target: { existing: [{ apiVersion, kind, ...name }] } } };
};
const node = (labels: Record<string, string>, taints: readonly Fields[] = []): KubeObject => ({
  ...clusterScoped('v1', 'Node', 'n', { spec: { taints } }),
  metadata: { name: 'n', labels },
});
const widget = kube('acme.test/v2', 'Widget', 'main');
const definition = (...versions: string[]): KubeObject =>
  clusterScoped('apiextensions.k8s.io/v1', 'CustomResourceDefinition', 'widgets.acme.test', {
    spec: { group: 'acme.test', names: { kind: 'Widget' }, versions: versions.map((name) => ({ name, served: true })) },
  });
const widgets = [
  ...KNOWN_KINDS,
  { group: 'acme.test', version: 'v1', kind: 'Widget', plural: 'widgets', namespaced: true, verbs: ['get'] },
];
const ingress = (spec: Fields): KubeObject => kube('networking.k8s.io/v1', 'Ingress', 'web', { spec });
const policy = (podSelector: Fields): KubeObject =>
  kube('networking.k8s.io/v1', 'NetworkPolicy', 'deny', { spec: { podSelector, policyTypes: ['Egress'] } });
const binding = clusterScoped('rbac.authorization.k8s.io/v1', 'ClusterRoleBinding', 'all', {
  roleRef: { kind: 'ClusterRole', name: 'view' },
  subjects: [{ kind: 'ServiceAccount', name: 'web', namespace: 'shop' }],
});
const quota = (hard: string): KubeObject =>
  kube('v1', 'ResourceQuota', 'small', { spec: { hard: { pods: hard } }, status: { used: { pods: '1' } } });
const hosted = {
  objects: [ingress({ rules: [{ host: 'shop.test' }] })],
  more: { isSameCluster: true, map: { from: 'prod', to: 'shop', storageClasses: {} } },
};
/** A webhook that is asked about pods, and whose Service is not there. */
const silent = (webhook: Fields): Target => ({
  webhooks: {
    configurations: [
      clusterScoped('admissionregistration.k8s.io/v1', 'ValidatingWebhookConfiguration', 'guard', {
        webhooks: [
          {
            clientConfig: { service: { namespace: 'shop', name: 'guard' } },
            rules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['pods'] }],
            ...webhook,
          },
        ],
      }),
    ],
    missing: [{ apiVersion: 'v1', kind: 'Service', name: 'guard', namespace: 'shop' }],
  },
});
const set = kube('apps/v1', 'StatefulSet', 'db', {
  spec: { replicas: 1, volumeClaimTemplates: [{ metadata: { name: 'data' }, spec: { storageClassName: 'fast' } }] },
});
const withClaims = { capturedClaims: new Set(['data-db-0']) };

/** By the code of the finding. Every code that the checks have is here: see the last test. */
const CASES: Readonly<Record<string, Case>> = {
  'namespace-terminating': {
    check: 'namespaceUsable',
    level: 'blocker',
    world: { target: { namespace: space({}, { status: { phase: 'Terminating' } }) } },
    mended: { target: { namespace: space({}, { status: { phase: 'Active' } }) } },
  },
  'access-denied': {
    check: 'accessAllowed',
    level: 'blocker',
    world: { target: { denied: [{ verb: 'create', group: 'apps', resource: 'deployments', namespace: 'shop' }] } },
    mended: {},
  },
  'not-checked': { check: 'unreadableKinds', level: 'info', world: { target: { unreadable: ['Secret'] } }, mended: {} },
  'kind-not-served': {
    check: 'kindsServed',
    level: 'blocker',
    world: { objects: [widget] },
    mended: { objects: [widget], target: { kinds: widgets } },
  },
  'storage-class-missing': {
    check: 'storage',
    level: 'blocker',
    world: { objects: [claim({ storageClassName: 'gone' })] },
    mended: { objects: [claim({})] },
  },
  'storage-class-static': {
    check: 'storage',
    level: 'blocker',
    world: { objects: [claim({})], target: cluster('kubernetes.io/no-provisioner') },
    mended: { objects: [claim({})] },
  },
  'capacity-short': {
    check: 'storage',
    level: 'blocker',
    world: {
      objects: [claim({})],
      target: { capacities: [{ ...kube('storage.k8s.io/v1', 'CSIStorageCapacity', 'c'), storageClassName: 'fast', capacity: '10Mi' }] },
    },
    mended: {
      objects: [claim({})],
      target: { capacities: [{ ...kube('storage.k8s.io/v1', 'CSIStorageCapacity', 'c'), storageClassName: 'fast', capacity: '10Gi' }] },
    },
  },
  'block-not-supported': {
    check: 'storage',
    level: 'blocker',
    world: { objects: [claim({ volumeMode: 'Block' })], target: cluster('rancher.io/local-path') },
    mended: { objects: [claim({ volumeMode: 'Block' })] },
  },
  'access-mode-not-supported': {
    check: 'storage',
    level: 'blocker',
    world: { objects: [claim({ accessModes: ['ReadWriteMany'] })], target: cluster('ebs.csi.aws.com') },
    mended: { objects: [claim({})], target: cluster('ebs.csi.aws.com') },
  },
  'claim-read-only': {
    check: 'storage',
    level: 'blocker',
    world: { objects: [claim({ accessModes: ['ReadOnlyMany'] })] },
    mended: { objects: [claim({ accessModes: ['ReadOnlyMany', 'ReadWriteOnce'] })] },
  },
  'service-account-missing': { level: 'blocker', ...needing('ServiceAccount', 'v1', { serviceAccountName: 'it' }) },
  'priority-class-missing': { level: 'blocker', ...needing('PriorityClass', 'scheduling.k8s.io/v1', { priorityClassName: 'it' }) },
  'runtime-class-missing': { level: 'blocker', ...needing('RuntimeClass', 'node.k8s.io/v1', { runtimeClassName: 'it' }) },
  'reference-missing': { level: 'warning', ...needing('ConfigMap', 'v1', { volumes: [{ name: 'c', configMap: { name: 'it' } }] }) },
  'claim-left-out': {
    check: 'claimsOfSets',
    level: 'warning',
    world: { objects: [set], more: withClaims },
    mended: { objects: [set, claimOf('data-db-0')], more: withClaims },
  },
  'ingress-class-missing': {
    check: 'ingressClassesExist',
    level: 'warning',
    world: { objects: [ingress({ ingressClassName: 'nginx' })] },
    mended: {
      objects: [ingress({ ingressClassName: 'nginx' })],
      target: { existing: [clusterScoped('networking.k8s.io/v1', 'IngressClass', 'nginx')] },
    },
  },
  'pod-security': {
    check: 'podSecurity',
    level: 'blocker',
    world: { objects: [deployment({})], target: { namespace: space({ 'pod-security.kubernetes.io/enforce': 'restricted' }) } },
    mended: { objects: [deployment({})], target: { namespace: space({ 'pod-security.kubernetes.io/enforce': 'baseline' }) } },
  },
  'quota-exceeded': {
    check: 'quotas',
    level: 'blocker',
    world: { objects: [deployment({})], target: { existing: [quota('1')] } },
    mended: { objects: [deployment({})], target: { existing: [quota('2')] } },
  },
  escalation: {
    check: 'consent',
    level: 'blocker',
    world: { objects: [binding] },
    mended: { objects: [binding], more: { allow: ['ClusterRoleBinding/all'] } },
  },
  'escalation-allowed': { check: 'consent', level: 'info', world: { objects: [binding], more: { allow: ['*'] } }, mended: {} },
  'no-node-fits': {
    check: 'nodes',
    level: 'warning',
    world: { objects: [deployment({ nodeSelector: { disk: 'ssd' } })], target: { nodes: [node({ disk: 'hdd' })] } },
    mended: { objects: [deployment({ nodeSelector: { disk: 'ssd' } })], target: { nodes: [node({ disk: 'ssd' })] } },
  },
  'nodes-tainted': {
    check: 'nodes',
    level: 'warning',
    world: { objects: [deployment({})], target: { nodes: [node({}, [{ key: 'only', effect: 'NoSchedule' }])] } },
    mended: {
      objects: [deployment({ tolerations: [{ key: 'only', operator: 'Exists' }] })],
      target: { nodes: [node({}, [{ key: 'only', effect: 'NoSchedule' }])] },
    },
  },
  'pull-secret-missing': {
    check: 'pullSecretsExist',
    level: 'warning',
    world: { objects: [deployment({ imagePullSecrets: [{ name: 'registry' }] })] },
    mended: { objects: [deployment({ imagePullSecrets: [{ name: 'registry' }] }), kube('v1', 'Secret', 'registry')] },
  },
  'version-not-served': {
    check: 'versionsServed',
    level: 'blocker',
    world: { objects: [widget], target: { kinds: widgets, existing: [definition('v1')] } },
    mended: { objects: [widget], target: { kinds: widgets, existing: [definition('v1', 'v2')] } },
  },
  'egress-restricted': {
    check: 'networkPolicies',
    level: 'warning',
    world: { target: { existing: [policy({})] } },
    mended: { target: { existing: [policy({ matchLabels: { app: 'web' } })] } },
  },
  'ingress-host-shared': {
    check: 'sharedHosts',
    level: 'info',
    world: hosted,
    mended: { ...hosted, more: { ...hosted.more, isSameCluster: false } },
  },
  'load-balancer-address': {
    check: 'clusterFacts',
    level: 'warning',
    world: { objects: [kube('v1', 'Service', 'web', { spec: { loadBalancerIP: '192.0.2.7' } })] },
    mended: { objects: [kube('v1', 'Service', 'web', { spec: {} })] },
  },
  'pinned-to-node': {
    check: 'clusterFacts',
    level: 'warning',
    world: { objects: [deployment({ nodeName: 'node-7' })] },
    mended: { objects: [deployment({})] },
  },
  'webhook-unanswered': {
    check: 'webhooks',
    level: 'blocker',
    world: { target: silent({}) },
    mended: { target: { webhooks: { ...silent({})!.webhooks!, missing: [] } } },
  },
  'finalizer-left-out': {
    check: 'finalizers',
    level: 'info',
    world: {
      objects: [claimOf('data')],
      captured: [{ ...claimOf('data'), metadata: { name: 'data', namespace: 'shop', finalizers: ['acme.test/hold'] } }],
    },
    mended: { objects: [claimOf('data')] },
  },
};

/** Where the checks of plans have their codes. */
const SOURCES = ['plan-checks', 'storage-checks', 'quota', 'node-checks', 'consent', 'webhook-checks'];

describe('the checks of a plan', () => {
  for (const name of Object.keys(CHECKS)) {
    it(`${name} has a case`, () => {
      assert.ok(Object.values(CASES).some(({ check }) => check === name));
    });
  }

  for (const [code, { check, level, world, mended }] of Object.entries(CASES)) {
    it(`${code}: found by ${check} alone, gone when it is mended`, () => {
      const { [check]: _, ...others } = CHECKS;
      const found = checkPlan(checkedOf(world)).filter((f) => f.code === code);
      assert.deepEqual(
        found.map((f) => f.level),
        [level],
      );
      if (level === 'blocker') assert.match(found[0]?.hint ?? '', /^(kubectl |--|update the operator)/, 'a command that fixes it');
      // Without the check the restore would begin, and nobody would have said a word.
      assert.deepEqual(
        checkPlan(checkedOf(world), others).filter((f) => f.level === 'blocker' || f.code === code),
        [],
      );
      assert.deepEqual(
        checkPlan(checkedOf(mended)).filter((f) => f.level === 'blocker' || f.code === code),
        [],
      );
    });
  }

  it('call a webhook without its service an obstacle only where it is asked', () => {
    const levels = (webhook: Fields) => checkPlan(checkedOf({ target: silent(webhook) })).map((f) => f.level);
    const pods = { apiVersions: ['v1'], operations: ['*'], resources: ['*'] };
    assert.deepEqual(levels({ rules: [{ ...pods, apiGroups: ['*'] }] }), ['blocker']);
    assert.deepEqual(levels({ rules: [{ ...pods, apiGroups: ['acme.test'] }] }), []);
    assert.deepEqual(levels({ rules: [{ ...pods, apiGroups: ['*'], operations: ['DELETE'] }] }), []);
    assert.deepEqual(levels({ failurePolicy: 'Ignore' }), []);
    assert.deepEqual(levels({ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'other' } } }), []);
    assert.deepEqual(
      levels({ namespaceSelector: { matchExpressions: [{ key: 'kubernetes.io/metadata.name', operator: 'NotIn', values: ['shop'] }] } }),
      [],
    );
    assert.deepEqual(levels({ objectSelector: { matchLabels: { app: 'shop' } } }), ['warning']);
    const [finding] = checkPlan(checkedOf({ target: silent({}) }));
    assert.equal(
      finding?.message,
      'validatingwebhookconfiguration/guard must be asked before pods can be made in namespace shop, and service/guard in namespace shop, which answers for it, does not exist',
    );
    assert.equal(finding.hint, 'kubectl delete validatingwebhookconfiguration guard --context dr');
  });

  it('have no code that is not shown here', async () => {
    const codes = new Set<string>();
    for (const source of SOURCES) {
      const text = await readFile(join(import.meta.dirname, `../../core/src/restore/${source}.ts`), 'utf8');
      for (const [, line = ''] of text.matchAll(/\bcode: (.*)/g))
        for (const [, code = ''] of line.matchAll(/'([a-z]+(?:-[a-z]+)*)'/g)) codes.add(code);
    }
    assert.ok(codes.size > 20);
    assert.deepEqual(
      [...codes].filter((code) => CASES[code] === undefined),
      [],
    );
  });
});
