import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import { connectCluster } from '../../core/src/cluster/connect.ts';
import type { Cluster } from '../../core/src/cluster/cluster.ts';
import { refOf } from '../../core/src/model.ts';
import type { Finding, KubeObject } from '../../core/src/model.ts';
import { newOperationId } from '../../core/src/operation.ts';
import type { BackupView, RestoreOptions, RestorePlan } from '../../core/src/restore/model.ts';
import { parsePatches } from '../../core/src/restore/patches.ts';
import { preflightRestore } from '../../core/src/restore/preflight.ts';
import { applyRestore } from '../../core/src/restore/run.ts';
import { removeRestored } from '../../core/src/restore/undo.ts';
import { temporaryDir } from '../support/stores/server.ts';
import { startCluster } from '../support/cluster/cluster.ts';
import type { TestCluster } from '../support/cluster/cluster.ts';
import { fillingMover, MemoryJournal } from '../support/restore-cluster.ts';

type Fields = Readonly<Record<string, unknown>>;
const quiet = { emit: () => undefined };
const space = `preflight-${String(process.pid)}`;
const group = `${space}.dmaas.test`;

const of = (apiVersion: string, kind: string, name: string, fields: Fields = {}): KubeObject => ({
  ...{ apiVersion, kind, metadata: { name, namespace: space } },
  ...fields,
});
const shared = (apiVersion: string, kind: string, name: string, fields: Fields = {}): KubeObject => ({
  ...{ apiVersion, kind, metadata: { name } },
  ...fields,
});
/** It starts no pod: what is shown here ends before anything would run. */
const deployment = (spec: Fields, replicas = 1): KubeObject =>
  of('apps/v1', 'Deployment', 'web', {
    spec: {
      replicas,
      selector: { matchLabels: { app: 'web' } },
      template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'main', image: 'dmaas.test/none:1' }], ...spec } },
    },
  });
const claim = (size: string, storageClassName = 'csi-hostpath'): KubeObject =>
  of('v1', 'PersistentVolumeClaim', 'data', {
    spec: { accessModes: ['ReadWriteOnce'], storageClassName, resources: { requests: { storage: size } } },
  });
const definition = (...versions: string[]): KubeObject =>
  shared('apiextensions.k8s.io/v1', 'CustomResourceDefinition', `widgets.${group}`, {
    spec: {
      ...{ group, scope: 'Namespaced', names: { kind: 'Widget', plural: 'widgets' } },
      versions: versions.map((name, i) => ({
        ...{ name, served: true, storage: i === 0 },
        schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
      })),
    },
  });

/** What stands in the way of a restore into a real cluster, and what takes it away. */
interface Case {
  readonly objects: readonly KubeObject[];
  /** What the cluster has that stands in the way. */
  readonly target?: readonly KubeObject[];
  readonly level: Finding['level'];
  readonly message: RegExp;
  /** What the hint begins with. A command is run as it stands, unless it opens an editor or needs what only its user knows. */
  readonly hint: string;
  /** The flags of the hint, as a surface hands them on. */
  readonly options?: Partial<RestoreOptions>;
  /** What its user makes of it with the editor, or with what only a user knows. */
  readonly then?: readonly KubeObject[];
}

const zone = 'topology.kubernetes.io/zone';
const CASES: Readonly<Record<string, Case>> = {
  'no-node-fits': {
    objects: [deployment({ nodeSelector: { [zone]: 'zone-of-the-source' } })],
    level: 'warning',
    message: /^no node of the target has what pods of deployment\/web ask for: topology\.kubernetes\.io\/zone=zone-of-the-source$/,
    hint: `--map-node-selector ${zone}=zone-of-the-source`,
    options: { values: { nodeSelectors: [{ from: [zone, 'zone-of-the-source'] }] } },
  },
  'capacity-short': {
    objects: [claim('64Mi', space)],
    target: [
      shared('storage.k8s.io/v1', 'StorageClass', space, { provisioner: 'hostpath.csi.dmaas.test' }),
      of('storage.k8s.io/v1', 'CSIStorageCapacity', 'small', { storageClassName: space, nodeTopology: {}, capacity: '16Mi' }),
    ],
    level: 'blocker',
    message: new RegExp(`^claim data asks for 64 MiB, and storage class ${space} has room for 16 MiB$`),
    hint: `--map-storage-class ${space}=NAME`,
    options: { storageClassMap: { [space]: 'csi-hostpath' } },
  },
  'storage-class-missing': {
    objects: [claim('8Mi', 'class-of-the-source')],
    level: 'blocker',
    message: /^storage class class-of-the-source does not exist on \S+, and claim data would stay Pending; candidates: csi-hostpath/,
    hint: '--map-storage-class class-of-the-source=csi-hostpath',
    options: { storageClassMap: { 'class-of-the-source': 'csi-hostpath' } },
  },
  'quota-exceeded': {
    objects: [deployment({}, 3)],
    target: [of('v1', 'ResourceQuota', 'small', { spec: { hard: { pods: '2' } } })],
    level: 'blocker',
    message: /^resource quota small allows 2 of pods, 0 are used, and the restore needs 3$/,
    hint: 'kubectl edit resourcequota small',
    then: [of('v1', 'ResourceQuota', 'small', { spec: { hard: { pods: '3' } } })],
  },
  'pod-security': {
    objects: [deployment({ hostNetwork: true })],
    target: [
      { ...shared('v1', 'Namespace', space), metadata: { name: space, labels: { 'pod-security.kubernetes.io/enforce': 'baseline' } } },
    ],
    level: 'blocker',
    message: new RegExp(`^namespace ${space} enforces pod security baseline, and pods of deployment/web have .*hostNetwork`),
    hint: `kubectl label namespace ${space} pod-security.kubernetes.io/enforce=privileged --overwrite`,
  },
  'service-account-missing': {
    objects: [deployment({ serviceAccountName: 'robot' })],
    level: 'blocker',
    message: /^serviceaccount\/robot is neither in the backup nor on the target, and deployment\/web/,
    hint: 'kubectl create serviceaccount robot',
  },
  'priority-class-missing': {
    objects: [deployment({ priorityClassName: space })],
    level: 'blocker',
    message: new RegExp(`^priorityclass/${space} is neither in the backup nor on the target`),
    hint: `kubectl create priorityclass ${space} --value=0`,
  },
  'reference-missing': {
    objects: [deployment({ volumes: [{ name: 'config', configMap: { name: 'settings' } }] })],
    level: 'warning',
    message: /^configmap\/settings is neither in the backup nor on the target/,
    hint: 'kubectl create configmap settings',
  },
  'pull-secret-missing': {
    objects: [deployment({ imagePullSecrets: [{ name: 'registry' }] })],
    level: 'warning',
    message: /^deployment\/web pulls its images with secret\/registry, which is neither in the backup nor on the target$/,
    hint: 'kubectl create secret docker-registry registry',
    then: [of('v1', 'Secret', 'registry', { type: 'kubernetes.io/dockerconfigjson', stringData: { '.dockerconfigjson': '{"auths":{}}' } })],
  },
  'ingress-class-missing': {
    objects: [
      of('networking.k8s.io/v1', 'Ingress', 'web', {
        spec: { ingressClassName: space, defaultBackend: { service: { name: 'web', port: { number: 80 } } } },
      }),
    ],
    level: 'warning',
    message: new RegExp(`^ingress class ${space} does not exist on the target`),
    hint: 'kubectl get ingressclasses',
    then: [shared('networking.k8s.io/v1', 'IngressClass', space, { spec: { controller: 'dmaas.test/none' } })],
  },
  'kind-not-served': {
    objects: [of(`${group}/v1`, 'Widget', 'main')],
    level: 'blocker',
    message: new RegExp(`^the target has no kind Widget\\.${group.replaceAll('.', '\\.')}, which main would need$`),
    hint: '--exclude widget',
    options: { exclude: ['widget'] },
  },
  'version-not-served': {
    objects: [of(`${group}/v1`, 'Widget', 'main')],
    target: [definition('v2')],
    level: 'blocker',
    message: /^widget\/main is of version v1, and customresourcedefinition\/\S+ of the target serves v2$/,
    hint: 'update the operator there, or set apiVersion in a --patch-file',
    options: {
      patches: parsePatches(
        stringify({
          version: 'v1',
          resourceModifierRules: [
            {
              conditions: { groupResource: `widgets.${group}` },
              patches: [{ operation: 'replace', path: '/apiVersion', value: `${group}/v2` }],
            },
          ],
        }),
        'newer.yaml',
      ),
    },
  },
  'webhook-unanswered': {
    objects: [deployment({})],
    target: [
      shared('admissionregistration.k8s.io/v1', 'ValidatingWebhookConfiguration', space, {
        webhooks: [
          {
            ...{ name: 'guard.dmaas.test', sideEffects: 'None', admissionReviewVersions: ['v1'], failurePolicy: 'Fail' },
            clientConfig: { service: { name: 'guard', namespace: space } },
            rules: [{ apiGroups: ['apps'], apiVersions: ['v1'], operations: ['CREATE'], resources: ['deployments'] }],
            namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': space } },
          },
        ],
      }),
    ],
    level: 'blocker',
    message: new RegExp(`^validatingwebhookconfiguration/${space} must be asked before deployments can be made in namespace ${space}`),
    hint: `kubectl delete validatingwebhookconfiguration ${space}`,
  },
};

const NIGHTLY: Fields = {
  spec: {
    schedule: '0 3 * * *',
    jobTemplate: { spec: { template: { spec: { restartPolicy: 'Never', containers: [{ name: 'main', image: 'dmaas.test/none:1' }] } } } },
  },
};

describe('preflight on a real API server', function () {
  this.timeout(120_000);
  let lab: TestCluster;
  let cluster: Cluster;
  const clusters: Cluster[] = [];

  const backupOf = (objects: readonly KubeObject[]): BackupView => ({
    ...{ id: 'backup-1', recordId: 'record-1', createdAt: '2026-01-01T00:00:00Z', objects },
    volumes: objects
      .filter((o) => o.kind === 'PersistentVolumeClaim')
      .map((o) => ({
        ...{ claim: refOf(o), mode: 'filesystem', root: '0'.repeat(64), bytes: 1, files: 1 },
        ...{ storageClass: 'csi-hostpath', accessModes: ['ReadWriteOnce'], capacityBytes: 2 ** 20 },
      })),
    app: { name: 'shop', namespace: space, cluster: 'source', clusterId: 'another-cluster' },
  });
  const preflight = (objects: readonly KubeObject[], options: Partial<RestoreOptions> = {}, by = cluster): Promise<RestorePlan> =>
    preflightRestore(newOperationId(), backupOf(objects), by, { activate: false, allow: ['*'], ...options }, quiet);
  const apply = (objects: readonly KubeObject[]) => lab.apply(JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }));
  /** A command of a hint, as somebody would paste it. */
  const paste = async (hint: string): Promise<void> => {
    const command = hint.replace(/^kubectl /, `'${lab.kubectlProgram}' `);
    await promisify(execFile)('sh', ['-c', command], { env: { ...process.env, KUBECONFIG: lab.kubeconfig } });
  };
  const connect = async (): Promise<void> => {
    cluster = await connectCluster({ kubeconfig: lab.kubeconfig, context: lab.context });
    clusters.push(cluster);
  };

  const removeTarget = (objects: readonly KubeObject[]) =>
    Promise.all(
      objects
        .filter((o) => o.kind !== 'Namespace')
        .map((o) => lab.kubectl('-n', space, 'delete', o.kind, o.metadata.name, '--ignore-not-found')),
    );

  before(async () => {
    lab = await startCluster('source');
    await connect();
    await lab.kubectl('create', 'namespace', space);
    const account = { apiVersion: 'v1', kind: 'ServiceAccount', name: 'default', namespace: space };
    await cluster.waitFor(account, (o) => o !== undefined, { timeoutMs: 30_000 });
  });

  after(async () => {
    await lab.kubectl('delete', 'namespace', space, '--ignore-not-found');
    await lab.kubectl('delete', 'priorityclass', space, '--ignore-not-found');
    for (const connected of clusters) await connected.close();
    await lab.stop();
  });

  for (const [code, { objects, target = [], level, message, hint, options, then }] of Object.entries(CASES)) {
    it(`${code}: said with what mends it, which does`, async () => {
      if (target.length > 0) await apply(target);
      if (target.some(({ kind }) => kind === 'CustomResourceDefinition')) {
        // The server lists a new kind somewhat later than it serves it; whoever asked before has the older list.
        for (let waited = 0; (await lab.kubectl('api-resources', `--api-group=${group}`, '-o', 'name')) === ''; waited++) {
          assert.ok(waited < 60);
          await sleep(500);
        }
        await connect();
      }
      if (target.some(({ kind }) => kind === 'ResourceQuota')) {
        const quota = { apiVersion: 'v1', kind: 'ResourceQuota', name: 'small', namespace: space };
        await cluster.waitFor(quota, (o) => o?.['status'] !== undefined, { timeoutMs: 30_000 });
      }
      const found = (await preflight(objects)).findings.filter((f) => f.code === code);
      assert.deepEqual(
        found.map((f) => f.level),
        [level],
      );
      assert.match(found[0]?.message ?? '', message);
      assert.ok(found[0]?.hint?.startsWith(hint), found[0]?.hint);

      if (then !== undefined) await apply(then);
      else if (options === undefined) await paste(found[0]?.hint ?? '');
      const mended = await preflight(objects, options);
      assert.deepEqual(
        mended.findings.filter((f) => f.code === code || f.level === 'blocker'),
        [],
      );
      await applyRestore(mended, { cluster, populate: fillingMover(), journal: new MemoryJournal() }, quiet);
      await removeRestored(cluster, { id: mended.id, namespace: space }, quiet);
      await removeTarget([...target, ...(then ?? [])]);
    });
  }

  it('nodes-tainted: said of the pods that do not tolerate it, and only of those', async () => {
    const node = await lab.kubectl('get', 'nodes', '-o', 'jsonpath={.items[0].metadata.name}');
    const codes = async (spec: Fields) => (await preflight([deployment(spec)])).findings.map((f) => f.code);
    await lab.kubectl('taint', 'node', node, 'dmaas.test/reserved=yes:NoSchedule');
    try {
      assert.ok((await codes({})).includes('nodes-tainted'));
      assert.ok(!(await codes({ tolerations: [{ key: 'dmaas.test/reserved', operator: 'Exists' }] })).includes('nodes-tainted'));
    } finally {
      await lab.kubectl('taint', 'node', node, 'dmaas.test/reserved-');
    }
    assert.ok(!(await codes({})).includes('nodes-tainted'));
  });

  it('access-denied: every right that is missing, each with its command; with them the restore goes through', async () => {
    const objects = [deployment({}, 0), of('v1', 'ConfigMap', 'options'), claim('8Mi'), of('batch/v1', 'CronJob', 'nightly', NIGHTLY)];
    await lab.kubectl('-n', space, 'create', 'serviceaccount', 'operator');
    const grant = (name: string, role: string) =>
      lab.kubectl('-n', space, 'create', 'rolebinding', name, `--clusterrole=${role}`, `--serviceaccount=${space}:operator`);
    await grant('reader', 'view');
    const dir = await temporaryDir('preflight');
    const limited = await connectCluster(await kubeconfigOf(dir.path));
    try {
      const denied = (await preflight(objects, {}, limited)).findings.filter((f) => f.code === 'access-denied');
      const rights = denied.map((f) => /^you may not (\S+ \S+) in namespace/.exec(f.message)?.[1] ?? f.message);
      for (const right of [
        'create configmaps',
        'create cronjobs.batch',
        'create deployments.apps',
        'create jobs.batch',
        'create persistentvolumeclaims',
        'create secrets',
        'get secrets',
        'patch jobs.batch',
        'patch persistentvolumeclaims',
      ]) {
        assert.ok(rights.includes(right), `${right} of ${rights.join(', ')}`);
      }
      assert.ok(denied.every((f) => f.level === 'blocker'));
      // The command asks the same question, of whoever runs it.
      for (const { hint = '' } of denied) {
        assert.match(hint, /^kubectl auth can-i /);
        const asked = paste(`${hint} --as system:serviceaccount:${space}:operator`);
        await assert.rejects(asked, hint);
      }
      await grant('writer', 'admin');
      const plan = await preflight(objects, {}, limited);
      assert.deepEqual(
        plan.findings.filter((f) => f.level === 'blocker'),
        [],
      );
      const report = await applyRestore(plan, { cluster: limited, populate: fillingMover(), journal: new MemoryJournal() }, quiet);
      assert.equal(report.created, objects.length);
      await removeRestored(cluster, { id: plan.id, namespace: space }, quiet);
    } finally {
      await limited.close();
      await dir.remove();
    }
  });

  it('namespace-terminating: said with the command that waits', async () => {
    await apply([{ ...of('v1', 'ConfigMap', 'held'), metadata: { name: 'held', namespace: space, finalizers: ['dmaas.test/held'] } }]);
    await lab.kubectl('delete', 'namespace', space, '--wait=false');
    const blockers = (await preflight([deployment({})])).findings.filter((f) => f.level === 'blocker');
    await lab.kubectl('-n', space, 'patch', 'configmap', 'held', '--type=merge', '-p', '{"metadata":{"finalizers":null}}');
    assert.equal(blockers[0]?.code, 'namespace-terminating');
    await paste(blockers[0].hint ?? '');
  });

  /** A kubeconfig with the rights of service account `operator` only. */
  async function kubeconfigOf(dir: string): Promise<{ readonly kubeconfig: string; readonly context: string }> {
    const token = await lab.kubectl('-n', space, 'create', 'token', 'operator', '--duration=10m');
    const kubeconfig = join(dir, 'kubeconfig');
    const admin = JSON.parse(await lab.kubectl('config', 'view', '--raw', '--minify', '-o', 'json')) as Fields;
    const users = [{ name: 'operator', user: { token: token.trim() } }];
    const [server] = admin['clusters'] as readonly { readonly name: string }[];
    const contexts = [{ name: 'limited', context: { cluster: server?.name, user: 'operator', namespace: space } }];
    await writeFile(kubeconfig, stringify({ ...admin, users, contexts, 'current-context': 'limited' }), { mode: 0o600 });
    return { kubeconfig, context: 'limited' };
  }
});
