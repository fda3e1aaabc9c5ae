import assert from 'node:assert/strict';
import { connectCluster } from '../../core/src/cluster/connect.ts';
import type { Cluster } from '../../core/src/cluster/cluster.ts';
import { discover } from '../../core/src/discovery/discover.ts';
import { DmaasError } from '../../core/src/errors.ts';
import type { DmaasEvent } from '../../core/src/events.ts';
import { createCredential } from '../../core/src/location/credential.ts';
import { createLocation, getLocationAccess } from '../../core/src/location/location.ts';
import { openLocationRepository } from '../../core/src/location/open.ts';
import type { LocationRepository } from '../../core/src/location/open.ts';
import { JobMover } from '../../core/src/mover/job-mover.ts';
import { placeForWorkload, profileFor } from '../../core/src/mover/job.ts';
import { newOperationId } from '../../core/src/operation.ts';
import type { Backup } from '../../core/src/repository/records/backup-record.ts';
import { openStore } from '../../core/src/store/open.ts';
import { runBackup } from '../../core/src/transfer/backup.ts';
import { listOperations } from '../../core/src/transfer/cleanup.ts';
import { gatherCaptureFacts } from '../../core/src/transfer/facts.ts';
import type { BackupOptions, BackupPlan } from '../../core/src/transfer/model.ts';
import { planBackup } from '../../core/src/transfer/plan.ts';
import { neededAccess } from '../../core/src/transfer/preflight.ts';
import { populateVolumes } from '../../core/src/transfer/populate.ts';
import { startCluster } from '../support/cluster/cluster.ts';
import type { TestCluster } from '../support/cluster/cluster.ts';
import { buildMoverImage } from '../support/images/mover.ts';
import { buildPostgresImage } from '../support/images/postgres.ts';
import type { S3Server } from '../support/stores/server.ts';
import { startSeaweedfs } from '../support/stores/seaweedfs.ts';
import { buildMover } from '../support/tasks/build.ts';

const ALL_BYTES = 8 << 20;

/** Writes files that are the user's alone, and to a device; tells the sums of all of it when asked. */
const WRITE = `set -e
if [ -d /files ]; then
  umask 077
  mkdir -p /files/deep/er
  head -c ${ALL_BYTES} /dev/urandom > /files/random
  echo secret > /files/deep/er/private
  ln -s er /files/deep/link
  ln /files/deep/er/private /files/deep/hard
fi
if [ -e /dev/block ]; then head -c ${ALL_BYTES} /dev/urandom | dd of=/dev/block bs=1M conv=notrunc,fsync status=none; fi
sync
touch /tmp/written
exec sleep infinity`;
const SUMS = `cd / && { [ ! -d /files ] || find files -printf '%p %y %m %U %G %s %l\\n' | grep -v lost+found | sort; } && { [ ! -d /files ] || find files -type f | sort | xargs sha256sum; } && { [ ! -e /dev/block ] || head -c ${ALL_BYTES} /dev/block | sha256sum; }`;

interface Volume {
  readonly name: string;
  readonly storageClass: string;
  readonly block?: boolean;
}

function claim({ name, storageClass, block }: Volume, namespace: string) {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name, namespace, labels: { app: name } },
    spec: {
      accessModes: ['ReadWriteOnce'],
      storageClassName: storageClass,
      volumeMode: block === true ? 'Block' : 'Filesystem',
      resources: { requests: { storage: '64Mi' } },
    },
  };
}

function user(volume: Volume, namespace: string, image: string, script: string, uid = 0) {
  const { name, block } = volume;
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace, labels: { app: name } },
    spec: {
      replicas: 1,
      strategy: { type: 'Recreate' },
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: {
          terminationGracePeriodSeconds: 0,
          securityContext: {
            runAsUser: uid,
            runAsGroup: uid,
            seccompProfile: { type: 'RuntimeDefault' },
            ...(uid === 0 ? {} : { runAsNonRoot: true }),
          },
          containers: [
            {
              name: 'user',
              image,
              imagePullPolicy: 'IfNotPresent',
              command: ['sh', '-c', script],
              readinessProbe: { exec: { command: ['test', '-e', '/tmp/written'] }, periodSeconds: 1 },
              ...(uid === 0 ? {} : { securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } } }),
              ...(block === true
                ? { volumeDevices: [{ name: 'v', devicePath: '/dev/block' }] }
                : { volumeMounts: [{ name: 'v', mountPath: '/files' }] }),
            },
          ],
          volumes: [{ name: 'v', persistentVolumeClaim: { claimName: name } }],
        },
      },
    },
  };
}

describe('a backup on a real cluster', function () {
  this.timeout('10m');
  const namespace = `xfer-${process.pid}`;
  const locked = `${namespace}-locked`;
  let lab: TestCluster;
  let cluster: Cluster;
  let server: S3Server;
  let shellImage: string;
  let moverImage: string;

  before(async () => {
    const images = [await buildPostgresImage(), await buildMoverImage(await buildMover())];
    [shellImage, moverImage] = images.map((image) => image.name) as [string, string];
    lab = await startCluster('source', { images });
    await lab.importImages(...images);
    server = await startSeaweedfs({ host: lab.hostAddress });
    await server.createBucket('backups');
    cluster = await connectCluster({ kubeconfig: lab.kubeconfig, context: lab.context });
    await lab.apply(
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'List',
        items: [
          { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } },
          {
            apiVersion: 'v1',
            kind: 'Namespace',
            metadata: { name: locked, labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } },
          },
        ],
      }),
    );
    for (const space of [namespace, locked]) {
      await createCredential(cluster, space, 'lab', {
        kind: 's3',
        endpoint: server.endpoint,
        pathStyle: true,
        accessKeyId: server.accessKey,
        secretAccessKey: server.secretKey,
      });
      await createLocation(
        cluster,
        { namespace: space },
        { name: 'lab', credential: 'lab', bucket: 'backups', prefix: 'e2e', region: server.region },
      );
    }
  });

  after(async () => {
    await cluster.close();
    await lab.kubectl('delete', 'namespace', namespace, locked, '--wait=false');
    await lab.stop();
    await server.stop();
  });

  async function start(volume: Volume, space = namespace, uid = 0): Promise<void> {
    const items = [claim(volume, space), user(volume, space, shellImage, WRITE, uid)];
    await lab.apply(JSON.stringify({ apiVersion: 'v1', kind: 'List', items }));
    await lab.kubectl('-n', space, 'rollout', 'status', `deployment/${volume.name}`, '--timeout=180s');
  }

  const sums = (name: string, space = namespace) => lab.kubectl('-n', space, 'exec', `deployment/${name}`, '--', 'sh', '-c', SUMS);
  const podsOf = (name: string) =>
    lab.kubectl(
      '-n',
      namespace,
      'get',
      'pods',
      '-l',
      `app=${name}`,
      '-o',
      'jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[0].restartCount}{"\\n"}{end}',
    );

  async function inRepository<T>(space: string, work: (target: LocationRepository) => Promise<T>): Promise<T> {
    const access = await getLocationAccess(cluster, { namespace: space });
    const source = { clusterId: await cluster.id(), namespace: space, context: cluster.context };
    const target = await openLocationRepository(access, source, { openStore }, { create: true });
    try {
      return await work(target);
    } finally {
      await target.close();
    }
  }

  async function planOf(
    name: string,
    options: BackupOptions = {},
    space = namespace,
    history: readonly Backup[] = [],
  ): Promise<BackupPlan> {
    const app = await discover(cluster, { namespace: space, labelSelector: `app=${name}` }, { emit: () => undefined });
    return planBackup(newOperationId(), app, history, await gatherCaptureFacts(cluster, space), { quiesce: 'none', ...options });
  }

  interface RunChange {
    readonly as?: Cluster;
    readonly image?: string;
    readonly signal?: AbortSignal;
    readonly onEvent?: (event: DmaasEvent) => void;
  }

  function backUp(plan: BackupPlan, change: RunChange = {}): Promise<Backup> {
    return inRepository(plan.app.namespace, (target) =>
      runBackup(
        plan,
        {
          cluster: change.as ?? cluster,
          target,
          facts: { hasSnapshotApi: true },
          moverOptions: { image: change.image ?? moverImage, imagePullPolicy: 'Never' },
        },
        { emit: change.onEvent ?? (() => undefined), ...(change.signal === undefined ? {} : { signal: change.signal }) },
      ),
    );
  }

  async function leftovers(space = namespace): Promise<string> {
    assert.deepEqual(await listOperations(cluster, space), []);
    const contents = await lab.kubectl('get', 'volumesnapshotcontents', '-o', 'jsonpath={.items[*].spec.volumeSnapshotRef.namespace}');
    return contents
      .split(' ')
      .filter((where) => where === space)
      .join();
  }

  /** Fills a new claim from a backup, and starts a pod that only looks. */
  async function restored(backup: Backup, volume: Volume, to: Volume, space = namespace, uid = 0): Promise<string> {
    const record = backup.volumes.find((v) => v.claim === volume.name);
    assert.ok(record);
    await lab.apply(JSON.stringify(claim(to, space)));
    const workload = discoverable(to, space);
    const profile = profileFor(await cluster.get({ apiVersion: 'v1', kind: 'Namespace', name: space }));
    const operation = newOperationId();
    const [result] = await inRepository(space, (target) =>
      populateVolumes(
        operation,
        [
          {
            claim: workload,
            index: 0,
            mode: record.mode,
            root: record.root,
            profile,
            identity: uid === 0 ? {} : { runAsUser: uid, runAsGroup: uid },
            placement: placeForWorkload({}),
          },
        ],
        {
          cluster,
          mover: new JobMover({ cluster, runs: target.repository.runs, options: { image: moverImage, imagePullPolicy: 'Never' } }),
          runs: target.repository.runs,
          store: target.store,
          unlock: target.unlock,
        },
        { emit: () => undefined },
      ),
    );
    assert.equal(result?.bytes, record.bytes);
    await lab.apply(JSON.stringify(user(to, space, shellImage, 'touch /tmp/written; exec sleep infinity', uid)));
    await lab.kubectl('-n', space, 'rollout', 'status', `deployment/${to.name}`, '--timeout=180s');
    return sums(to.name, space);
  }

  const discoverable = ({ name }: Volume, space: string) => ({ apiVersion: 'v1', kind: 'PersistentVolumeClaim', name, namespace: space });

  it('captures files through a volume snapshot, the second time only what is new, and gives them back', async () => {
    const volume = { name: 'files', storageClass: 'csi-hostpath' };
    await start(volume);
    const [before, pods] = await Promise.all([sums('files'), podsOf('files')]);
    const events: DmaasEvent[] = [];
    const backup = await backUp(await planOf('files'), { onEvent: (e) => events.push(e) });
    assert.deepEqual(
      backup.volumes.map((v) => [v.claim, v.method, v.mode]),
      [['files', 'volume-snapshot', 'filesystem']],
    );
    assert.ok((backup.volumes[0]?.addedBytes ?? 0) >= ALL_BYTES);
    assert.equal(await podsOf('files'), pods);
    assert.equal(await leftovers(), '');
    assert.deepEqual(
      events.flatMap((e) => (e.type === 'phase' && e.state === 'done' ? e.phase : [])),
      ['preflight', 'capture', 'commit', 'cleanup'],
    );
    const again = await backUp(await planOf('files', {}, namespace, [backup]));
    assert.equal(again.parent, backup.id);
    assert.ok((again.volumes[0]?.addedBytes ?? 0) < ALL_BYTES / 100, `${again.volumes[0]?.addedBytes} bytes added`);
    assert.equal(await restored(again, volume, { name: 'files-restored', storageClass: 'csi-hostpath-immediate' }), before);
  });

  it('captures a block device, and gives it back in another storage class', async () => {
    const volume = { name: 'device', storageClass: 'csi-hostpath', block: true };
    await start(volume);
    const before = await sums('device');
    const backup = await backUp(await planOf('device'));
    assert.equal(backup.volumes[0]?.mode, 'block');
    assert.equal(await leftovers(), '');
    assert.equal(await restored(backup, volume, { name: 'device-restored', storageClass: 'csi-plain', block: true }), before);
  });

  it('reads a volume without snapshots only when asked to, on the node that has it', async () => {
    const volume = { name: 'plain', storageClass: 'csi-plain' };
    await start(volume);
    const blocked = await planOf('plain');
    assert.deepEqual(
      blocked.findings.map((f) => [f.level, f.code]),
      [['blocker', 'snapshot-class-missing']],
    );
    await assert.rejects(backUp(blocked), (e) => DmaasError.is(e, 'PREFLIGHT_FAILED') && /--live/.test(e.hint ?? ''));
    const live = await planOf('plain', { live: true });
    assert.ok(live.volumes[0]?.placement.nodeSelector?.['kubernetes.io/hostname']);
    const before = await sums('plain');
    const backup = await backUp(live);
    assert.equal(backup.volumes[0]?.method, 'live');
    assert.ok(backup.findings.some((f) => f.code === 'live-read'));
    assert.equal(await leftovers(), '');
    assert.equal(await restored(backup, volume, { name: 'plain-restored', storageClass: 'local-path' }), before);
  });

  it('works in a namespace of Pod Security level restricted, as the workload itself', async () => {
    const volume = { name: 'locked', storageClass: 'csi-hostpath' };
    await start(volume, locked, 1234);
    const before = await sums('locked', locked);
    const plan = await planOf('locked', {}, locked);
    assert.equal(plan.volumes[0]?.profile, 'restricted');
    const backup = await backUp(plan);
    assert.deepEqual(
      backup.findings.filter((f) => f.level !== 'info').map((f) => f.message),
      [],
    );
    assert.equal(await leftovers(locked), '');
    assert.equal(await restored(backup, volume, { name: 'locked-restored', storageClass: 'csi-hostpath' }, locked, 1234), before);
  });

  it('takes no more rights than preflight asks for', async () => {
    const plan = await planOf('files', { quiesce: 'none', snapshotClass: 'csi-hostpath' });
    const user = { apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: `${namespace}-user` };
    const bind = (name: string, kind: string, role: string) => ({
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'RoleBinding',
      metadata: { name, namespace },
      subjects: [user],
      roleRef: { apiGroup: user.apiGroup, kind, name: role },
    });
    const rules = neededAccess(plan).map(({ group, resource, verb }) => ({ apiGroups: [group], resources: [resource], verbs: [verb] }));
    const role = { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'Role', metadata: { name: 'backup', namespace }, rules };
    await lab.apply(JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [role, bind('backup', 'Role', 'backup')] }));
    const limited = await connectCluster({ kubeconfig: lab.kubeconfig, context: lab.context, as: user.name });
    try {
      const facts = await gatherCaptureFacts(limited, namespace);
      assert.equal(facts.snapshotClasses, undefined);
      const own = planBackup(plan.id, plan.app, [], facts, { quiesce: 'none', snapshotClass: 'csi-hostpath' });
      const findings: string[] = [];
      const onEvent = (e: DmaasEvent) => {
        if (e.type === 'finding' && e.finding.level !== 'info') findings.push(e.finding.message);
      };
      const backup = await backUp(own, { as: limited, onEvent });
      assert.equal(backup.volumes[0]?.method, 'volume-snapshot');
      assert.deepEqual(findings, []);
      assert.equal(await leftovers(), '');
      await lab.kubectl('-n', namespace, 'delete', 'rolebinding/backup');
      await assert.rejects(backUp({ ...own, id: newOperationId() }, { as: limited }), (e) => DmaasError.is(e, 'PREFLIGHT_FAILED'));
    } finally {
      await limited.close();
    }
  });

  it('says that the mover’s image is missing, and takes everything back', async () => {
    const plan = await planOf('files');
    await assert.rejects(backUp(plan, { image: 'dmaas.test/no-such-mover:1' }), (e) => {
      assert.ok(DmaasError.is(e, 'MOVER_FAILED'), String(e));
      assert.match(
        e.message,
        /^the mover of claim files cannot start: its image dmaas\.test\/no-such-mover:1 cannot be pulled \(ErrImageNeverPull\)/,
      );
      return true;
    });
    assert.equal(await leftovers(), '');
  });

  it('stops when told to, takes everything back, and leaves the application running', async () => {
    const pods = await podsOf('files');
    const stop = new AbortController();
    const plan = await planOf('files');
    const stopAtStep = (e: DmaasEvent) => {
      if (e.type === 'step')
        setTimeout(() => {
          stop.abort();
        }, 1500);
    };
    await assert.rejects(backUp(plan, { signal: stop.signal, onEvent: stopAtStep }), (e) => {
      assert.ok(DmaasError.is(e, 'CANCELLED'), String(e));
      assert.match(e.hint ?? '', /nothing is left behind/);
      return true;
    });
    assert.equal(await leftovers(), '');
    assert.equal(await podsOf('files'), pods);
  });
});
