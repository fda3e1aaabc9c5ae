import assert from 'node:assert/strict';
import type { AppVolume } from '../../core/src/discovery/application.ts';
import { graphOf } from '../../core/src/discovery/closure.ts';
import { RULES } from '../../core/src/discovery/edges.ts';
import { parseQuantity } from '../../core/src/discovery/quantity.ts';
import { NO_STORAGE_FACTS, volumesOf } from '../../core/src/discovery/volumes.ts';
import type { StorageFacts } from '../../core/src/discovery/volumes.ts';
import type { KubeObject } from '../../core/src/model.ts';
import { manifest, ownedBy, workload } from '../support/manifests.ts';

function volumeOf(claim: KubeObject, others: readonly KubeObject[] = [], facts: Partial<StorageFacts> = {}): AppVolume {
  const [volume] = volumesOf(graphOf([claim, ...others], RULES), [claim], { ...NO_STORAGE_FACTS, ...facts });
  assert.ok(volume !== undefined);
  return volume;
}

const claim = (spec: object = {}, more: object = {}) =>
  manifest('PersistentVolumeClaim', 'data', { spec: { accessModes: ['ReadWriteOnce'], ...spec }, ...more });
const mounting = { volumes: [{ name: 'v', persistentVolumeClaim: { claimName: 'data' } }] };

describe('volumesOf', () => {
  it('reads mode, size, class and phase of the claim', () => {
    const requests = { resources: { requests: { storage: '3Gi' } } };
    const block = volumeOf(claim({ volumeMode: 'Block', storageClassName: 'fast', ...requests }));
    assert.deepEqual([block.mode, block.capacityBytes, block.storageClass, block.phase], ['block', 3 * 2 ** 30, 'fast', 'Pending']);
    const bound = volumeOf(claim(requests, { status: { phase: 'Bound', capacity: { storage: '4Gi' } } }));
    assert.deepEqual([bound.mode, bound.capacityBytes, bound.storageClass, bound.phase], ['filesystem', 4 * 2 ** 30, '', 'Bound']);
  });

  it('names the driver: of the volume, else its type, else what the class or the claim says', () => {
    const bound = claim({ volumeName: 'pv', storageClassName: 'c' });
    const pv = (source: object) => ({
      volumes: [manifest('PersistentVolume', 'pv', { spec: { capacity: {}, accessModes: [], claimRef: {}, ...source } })],
    });
    assert.equal(volumeOf(bound, [], pv({ csi: { driver: 'ebs.csi.aws.com' } })).driver, 'ebs.csi.aws.com');
    assert.equal(volumeOf(bound, [], pv({ hostPath: { path: '/x' } })).driver, 'hostPath');
    assert.equal(volumeOf(bound, [], { classes: [manifest('StorageClass', 'c', { provisioner: 'p' })] }).driver, 'p');
    const annotations = { 'volume.kubernetes.io/storage-provisioner': 'q' };
    assert.equal(volumeOf({ ...bound, metadata: { ...bound.metadata, annotations } }).driver, 'q');
    assert.equal(volumeOf(bound).driver, undefined);
  });

  it('takes the identity from the container that mounts it, and from the pod where that says nothing', () => {
    const spec = {
      ...mounting,
      securityContext: { runAsUser: 1, runAsGroup: 2, fsGroup: 3, supplementalGroups: [4], seLinuxOptions: { level: 's0' } },
      containers: [
        { name: 'other', securityContext: { runAsUser: 7 } },
        { name: 'main', volumeMounts: [{ name: 'v', mountPath: '/v' }], securityContext: { runAsUser: 10 } },
      ],
    };
    assert.deepEqual(volumeOf(claim(), [workload('Deployment', 'web', spec)]).security, {
      runAsUser: 10,
      runAsGroup: 2,
      fsGroup: 3,
      supplementalGroups: [4],
      seLinuxOptions: { level: 's0' },
    });
    const device = { ...mounting, containers: [{ name: 'main', volumeDevices: [{ name: 'v' }], securityContext: { runAsUser: 5 } }] };
    assert.deepEqual(volumeOf(claim(), [workload('Deployment', 'web', device)]).security, { runAsUser: 5 });
  });

  it('takes the identity from a running pod, where admission has filled it in, and the scheduling from the workload', () => {
    const owner = workload('StatefulSet', 'db', {
      ...mounting,
      tolerations: [{ key: 'db' }],
      nodeSelector: { disk: 'ssd' },
      affinity: { podAffinity: {} },
    });
    const pod = (name: string, phase: string, node: string, uid: number) =>
      manifest('Pod', name, {
        metadata: ownedBy(owner),
        spec: {
          ...mounting,
          containers: [{ name: 'x' }],
          nodeName: node,
          securityContext: { runAsUser: uid },
          tolerations: [{ key: 'not-ready' }],
        },
        status: { phase },
      });
    const pods = [pod('a', 'Pending', 'n1', 1), pod('b', 'Running', 'n2', 2), pod('c', 'Succeeded', 'n3', 3)];
    const volume = volumeOf(claim(), [owner, ...pods], {
      nodes: [manifest('Node', 'n2', { metadata: { labels: { 'kubernetes.io/hostname': 'host-2' } } })],
    });
    assert.deepEqual(volume.security, { runAsUser: 2 });
    assert.deepEqual(volume.scheduling, { tolerations: [{ key: 'db' }], nodeSelector: { disk: 'ssd' }, affinity: { podAffinity: {} } });
    assert.deepEqual(
      volume.mountedBy.map((r) => r.name),
      ['b', 'a'],
    );
    assert.deepEqual(
      volume.consumers.map((r) => `${r.kind}/${r.name}`),
      ['StatefulSet/db'],
    );
    assert.equal(volume.node, 'host-2');
  });

  it('has no node when no pod runs', () => {
    const pending = manifest('Pod', 'a', {
      spec: { ...mounting, containers: [{ name: 'x' }], nodeName: 'n1' },
      status: { phase: 'Pending' },
    });
    assert.equal(volumeOf(claim(), [pending]).node, undefined);
  });
});

describe('parseQuantity', () => {
  for (const [text, value] of Object.entries({
    '8Gi': 8 * 2 ** 30,
    '1.5G': 1.5e9,
    '1e3': 1000,
    '1E': 1e18,
    '500m': 1,
    '128974848': 128974848,
    '.5Ki': 512,
    '2k': 2000,
    '12E3': 12000,
  })) {
    it(`${text} is ${value}`, () => {
      assert.equal(parseQuantity(text), value);
    });
  }

  it('refuses what is no quantity', () => {
    for (const text of ['', 'Gi', '8 Gi', '8GB', 'eight', '0x10', '1e', '--1']) assert.equal(parseQuantity(text), undefined, text);
  });
});
