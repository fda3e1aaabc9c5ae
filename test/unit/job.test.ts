import assert from 'node:assert/strict';
import { listAt, recordAt } from '../../core/src/discovery/read.ts';
import type { KubeObject } from '../../core/src/model.ts';
import { diagnoseFailure, diagnoseWaiting, jobState, reportedError } from '../../core/src/mover/diagnosis.ts';
import type { MoverSpec } from '../../core/src/mover/job.ts';
import {
  DEFAULT_MOVER_IMAGE,
  placeForWorkload,
  placeNearVolume,
  placeOnNode,
  profileFor,
  renderMoverJob,
  renderMoverPod,
  renderMoverSecret,
} from '../../core/src/mover/job.ts';
import { moverFailed, progressEvent } from '../../core/src/mover/job-mover.ts';
import type { MoverTask } from '../../core/src/mover/task.ts';
import type { OperationId } from '../../core/src/operation.ts';

const SPEC: MoverSpec = {
  operation: 'abcdefgh' as OperationId,
  index: 3,
  namespace: 'shop',
  direction: 'capture',
  claim: 'dmaas-abcdefgh-claim-3',
  mode: 'filesystem',
  profile: 'baseline',
  identity: {},
  placement: {},
};

const podOf = (change: Partial<MoverSpec>, options = {}) => recordAt(renderMoverPod({ ...SPEC, ...change }, options), 'spec');
const containerOf = (change: Partial<MoverSpec>, options = {}) => recordAt(listAt(podOf(change, options), 'containers')[0]);
const capabilitiesOf = (change: Partial<MoverSpec>) => recordAt(containerOf(change), 'securityContext', 'capabilities');

describe('the Job of a mover', () => {
  it('waits for its Secret, is tried again, and goes away by itself', () => {
    const job = renderMoverJob(SPEC);
    assert.equal(job.metadata.name, 'dmaas-abcdefgh-mover-3');
    assert.deepEqual(job.metadata.labels, {
      'app.kubernetes.io/managed-by': 'dmaas',
      'dmaas.io/operation': 'abcdefgh',
      'dmaas.io/role': 'mover',
    });
    const spec = recordAt(job, 'spec');
    assert.equal(spec['suspend'], true);
    assert.equal(spec['podReplacementPolicy'], 'Failed');
    assert.equal(spec['ttlSecondsAfterFinished'], 3600);
    assert.ok(!('activeDeadlineSeconds' in spec));
    assert.equal(recordAt(renderMoverJob(SPEC, { activeDeadlineSeconds: 60 }), 'spec')['activeDeadlineSeconds'], 60);
  });

  it('is not tried again after what comes back every time, but after what may pass', () => {
    const [disruption, final] = listAt(renderMoverJob(SPEC), 'spec', 'podFailurePolicy', 'rules');
    assert.equal(disruption?.['action'], 'Ignore');
    assert.equal(final?.['action'], 'FailJob');
    const codes = recordAt(final, 'onExitCodes')['values'] as number[];
    for (const wrongKey of [2, 12, 13, 14, 21]) assert.ok(codes.includes(wrongKey), String(wrongKey));
    for (const passing of [0, 1, 11, 22, 30, 130, 137, 143]) assert.ok(!codes.includes(passing), String(passing));
    assert.deepEqual(
      codes,
      [...new Set(codes)].sort((a, b) => a - b),
    ); // as the API server demands
  });

  it('gives its pod nothing of the cluster and no way to more', () => {
    const pod = podOf({});
    assert.equal(pod['automountServiceAccountToken'], false);
    assert.equal(pod['enableServiceLinks'], false);
    assert.equal(pod['restartPolicy'], 'Never');
    for (const profile of ['baseline', 'restricted'] as const) {
      for (const direction of ['capture', 'populate'] as const) {
        const text = JSON.stringify(podOf({ profile, direction, identity: { fsGroup: 999 } }));
        for (const forbidden of ['fsGroup', 'hostPath', 'hostNetwork', 'hostPID', '"privileged":true', '"allowPrivilegeEscalation":true']) {
          assert.ok(!text.includes(forbidden), forbidden);
        }
      }
    }
    const security = recordAt(containerOf({}), 'securityContext');
    assert.equal(security['readOnlyRootFilesystem'], true);
    assert.equal(security['allowPrivilegeEscalation'], false);
    assert.deepEqual(recordAt(containerOf({}), 'resources', 'limits'), { memory: '512Mi' });
  });

  it('runs as root with the few capabilities its direction takes, where that is allowed', () => {
    assert.deepEqual(recordAt(podOf({}), 'securityContext'), {
      runAsUser: 0,
      runAsGroup: 0,
      runAsNonRoot: false,
      seccompProfile: { type: 'RuntimeDefault' },
    });
    assert.deepEqual(capabilitiesOf({}), { drop: ['ALL'], add: ['DAC_OVERRIDE'] });
    const populate = ['DAC_OVERRIDE', 'CHOWN', 'FOWNER', 'FSETID', 'SETFCAP'];
    assert.deepEqual(capabilitiesOf({ direction: 'populate' }), { drop: ['ALL'], add: populate });
    assert.deepEqual(capabilitiesOf({ direction: 'populate', allowDevices: true }), { drop: ['ALL'], add: [...populate, 'MKNOD'] });
  });

  it('runs as the workload with no capabilities in a restricted namespace', () => {
    const identity = { runAsUser: 999, runAsGroup: 998, fsGroup: 997, supplementalGroups: [996], seLinuxOptions: { level: 's0:c1' } };
    assert.deepEqual(recordAt(podOf({ profile: 'restricted', identity }), 'securityContext'), {
      runAsUser: 999,
      runAsGroup: 998,
      runAsNonRoot: true,
      supplementalGroups: [996, 997],
      seccompProfile: { type: 'RuntimeDefault' },
      seLinuxOptions: { level: 's0:c1' },
    });
    assert.deepEqual(capabilitiesOf({ profile: 'restricted', direction: 'populate', allowDevices: true }), { drop: ['ALL'] });
    for (const runAsUser of [undefined, 0]) {
      const security = recordAt(
        podOf({ profile: 'restricted', identity: runAsUser === undefined ? {} : { runAsUser } }),
        'securityContext',
      );
      assert.equal(security['runAsUser'], 65532);
    }
  });

  it('mounts a volume read-only to capture it, and writable to populate it', () => {
    const data = (change: Partial<MoverSpec>) => listAt(containerOf(change), 'volumeMounts').find((m) => m['name'] === 'data');
    assert.deepEqual(data({}), { name: 'data', mountPath: '/data', readOnly: true });
    assert.deepEqual(data({ direction: 'populate' }), { name: 'data', mountPath: '/data', readOnly: false });
    assert.equal(data({ mode: 'block' }), undefined);
    assert.deepEqual(containerOf({ mode: 'block' })['volumeDevices'], [{ name: 'data', devicePath: '/dev/dmaas-volume' }]);
    assert.deepEqual(listAt(podOf({}), 'volumes')[0], { name: 'data', persistentVolumeClaim: { claimName: 'dmaas-abcdefgh-claim-3' } });
  });

  it('takes its image and pull secrets from the options', () => {
    assert.equal(containerOf({})['image'], DEFAULT_MOVER_IMAGE);
    const options = {
      image: 'registry.example.com/mover:1',
      imagePullSecrets: ['pull'],
      imagePullPolicy: 'Never',
      priorityClassName: 'low',
    } as const;
    assert.equal(containerOf({}, options)['image'], options.image);
    assert.equal(containerOf({}, options)['imagePullPolicy'], 'Never');
    assert.deepEqual(podOf({}, options)['imagePullSecrets'], [{ name: 'pull' }]);
    assert.equal(podOf({}, options)['priorityClassName'], 'low');
  });

  it('has a Secret that goes with it', () => {
    const job: KubeObject = { ...renderMoverJob(SPEC), metadata: { ...renderMoverJob(SPEC).metadata, uid: 'uid-1' } };
    const task = { schema: 1, unlock: 'dmaas-key-1-x' } as unknown as MoverTask;
    const secret = renderMoverSecret(SPEC, task, job);
    assert.equal(secret.metadata.name, 'dmaas-abcdefgh-task-3');
    assert.deepEqual(secret.metadata.ownerReferences, [
      { apiVersion: 'batch/v1', kind: 'Job', name: 'dmaas-abcdefgh-mover-3', uid: 'uid-1' },
    ]);
    const data = recordAt(secret, 'data')['task.json'] as string;
    assert.deepEqual(JSON.parse(Buffer.from(data, 'base64').toString()), task);
    assert.equal(recordAt(listAt(podOf({}), 'volumes')[2], 'secret')['secretName'], secret.metadata.name);
  });
});

describe('where a mover runs', () => {
  const terms = { nodeSelectorTerms: [{ matchExpressions: [{ key: 'zone', operator: 'In', values: ['a'] }] }] };
  const workload = {
    nodeSelector: { disk: 'ssd' },
    tolerations: [{ key: 'db', operator: 'Exists' }],
    affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: terms }, podAntiAffinity: { preferred: [] } },
  };

  it('is the node of a live volume, or near the volume, or where the workload may run', () => {
    assert.deepEqual(placeOnNode('host-1', workload), {
      nodeSelector: { 'kubernetes.io/hostname': 'host-1' },
      tolerations: workload.tolerations,
    });
    assert.deepEqual(placeOnNode(undefined, {}), {});
    assert.deepEqual(placeNearVolume({ required: terms }, {}), {
      affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: terms } },
    });
    assert.deepEqual(placeNearVolume(undefined, workload), { tolerations: workload.tolerations });
    assert.deepEqual(placeForWorkload(workload), {
      nodeSelector: workload.nodeSelector,
      affinity: { nodeAffinity: workload.affinity.nodeAffinity },
      tolerations: workload.tolerations,
    });
    assert.deepEqual(placeForWorkload({ affinity: { podAffinity: {} } }), {});
  });

  it('is restricted only in a namespace that enforces it', () => {
    const namespace = (labels: Record<string, string>): KubeObject => ({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: 'shop', labels },
    });
    assert.equal(profileFor(undefined), 'baseline');
    assert.equal(profileFor(namespace({ 'pod-security.kubernetes.io/warn': 'restricted' })), 'baseline');
    assert.equal(profileFor(namespace({ 'pod-security.kubernetes.io/enforce': 'restricted' })), 'restricted');
  });
});

describe('what is wrong with a mover', () => {
  const job = (conditions: readonly unknown[] = []): KubeObject => ({ ...renderMoverJob(SPEC), status: { conditions } });
  const failed = job([
    { type: 'Failed', status: 'True', reason: 'BackoffLimitExceeded', message: 'Job has reached the specified backoff limit' },
  ]);
  const pod = (status: unknown, name = 'pod-1', creationTimestamp = '2026-01-01T00:00:00Z'): KubeObject => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'shop', creationTimestamp },
    spec: { containers: [{ name: 'mover', image: 'mover:1' }] },
    status,
  });
  const event = (reason: string, message: string, kind = 'Pod', name = 'pod-1', lastTimestamp = '2026-01-01T00:00:00Z'): KubeObject => ({
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { name: `${reason}-${lastTimestamp}`, namespace: 'shop' },
    reason,
    message,
    lastTimestamp,
    involvedObject: { kind, name },
  });
  const ended = (terminated: unknown, more = {}) => pod({ phase: 'Failed', containerStatuses: [{ state: { terminated } }], ...more });
  const waiting = (reason: string, message?: string) =>
    pod({ phase: 'Pending', containerStatuses: [{ state: { waiting: { reason, message } } }] });

  it('is told from what is right', () => {
    assert.equal(jobState({ job: job(), pods: [] }), 'waiting');
    assert.equal(jobState({ job: job(), pods: [pod({ phase: 'Running' })] }), 'running');
    assert.equal(jobState({ job: job([{ type: 'Complete', status: 'True' }]), pods: [] }), 'succeeded');
    assert.equal(jobState({ job: failed, pods: [pod({ phase: 'Running' })] }), 'failed');
    assert.equal(diagnoseWaiting({ job: job(), pods: [waiting('ContainerCreating')], events: [] }), undefined);
    assert.equal(diagnoseWaiting({ job: job(), pods: [], events: [] }), undefined);
  });

  it('while it waits: image, scheduler, volume, admission', () => {
    const why = (pods: readonly KubeObject[], events: readonly KubeObject[] = []) => diagnoseWaiting({ job: job(), pods, events });
    assert.deepEqual(why([waiting('ImagePullBackOff', 'Back-off pulling image "mover:1"')]), {
      fact: 'its image mover:1 cannot be pulled (ImagePullBackOff): Back-off pulling image "mover:1"',
      about: 'image',
      hint: 'make the image available to the nodes, or name another one with --mover-image',
      patience: 'short',
    });
    assert.equal(why([waiting('ErrImageNeverPull')])?.patience, 'none');
    assert.equal(why([waiting('CreateContainerConfigError', 'secret not found')])?.patience, 'none');
    const unschedulable = pod({
      phase: 'Pending',
      conditions: [
        { type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: '0/1 nodes are available: 1 Insufficient memory.' },
      ],
    });
    assert.equal(why([unschedulable])?.fact, 'no node takes its pod: 0/1 nodes are available: 1 Insufficient memory.');
    const provisioning = event('ProvisioningFailed', 'snapshot is not ready', 'PersistentVolumeClaim', SPEC.claim);
    assert.equal(why([unschedulable], [provisioning])?.fact, 'its volume cannot be made: snapshot is not ready');
    // A claim that waits for its first pod: the scheduler says nothing in the pod while the volume is made.
    const silent = pod({ phase: 'Pending' });
    assert.equal(why([silent], [provisioning])?.fact, 'its volume cannot be made: snapshot is not ready');
    const asked = `Waiting for a volume to be created either by the external provisioner 'csi.test' or manually by the system administrator.`;
    const nobody = event('ExternalProvisioning', asked, 'PersistentVolumeClaim', SPEC.claim);
    assert.equal(why([silent], [nobody])?.fact, 'its volume is not made: provisioner csi.test has not answered');
    assert.equal(why([silent]), undefined);
    const mounts = [
      event('FailedMount', 'old', 'Pod', 'pod-1', '2026-01-01T00:00:00Z'),
      event('FailedMount', 'no such device', 'Pod', 'pod-1', '2026-01-01T00:01:00Z'),
    ];
    assert.equal(why([waiting('ContainerCreating')], mounts)?.fact, 'its volume cannot be mounted: no such device');
    assert.equal(
      why([], [event('FailedCreate', 'exceeded quota', 'Job', job().metadata.name)])?.fact,
      'its pod is refused: exceeded quota',
    );
  });

  it('while its node does not answer: a pod that is to end does not run, and nothing else is said of it', () => {
    const running = pod({ phase: 'Running', conditions: [{ type: 'PodScheduled', status: 'True' }] });
    const ending: KubeObject = {
      ...running,
      metadata: { ...running.metadata, deletionTimestamp: '2026-01-01T00:05:30Z', deletionGracePeriodSeconds: 30 },
      spec: { ...recordAt(running, 'spec'), nodeName: 'worker-2' },
    };
    assert.equal(jobState({ job: job(), pods: [ending] }), 'waiting');
    assert.equal(jobState({ job: job(), pods: [ending, pod({ phase: 'Running' }, 'pod-2')] }), 'running');
    const old = event('FailedMount', 'no such device');
    assert.deepEqual(diagnoseWaiting({ job: job(), pods: [ending], events: [old] }), {
      fact: 'its pod pod-1 was to end by 2026-01-01T00:05:30Z, and node worker-2 has not answered',
      about: 'node',
      hint: 'only when that machine is surely off: kubectl delete node worker-2, or kubectl delete pod pod-1 -n shop --force; as long as it may run, no other mover must write the volume',
      patience: 'long',
    });
    const over = { ...ending, status: { phase: 'Failed' } };
    assert.equal(diagnoseWaiting({ job: job(), pods: [over], events: [] }), undefined);
  });

  it('after it failed: three facts from three observers', () => {
    const reported = JSON.stringify({ code: 'STORE_UNAVAILABLE', message: 's3://b does not answer', hint: 'check the network' });
    const failure = diagnoseFailure({ job: failed, pods: [ended({ exitCode: 22, reason: 'Error', message: reported })], events: [] });
    assert.deepEqual(failure, {
      state: 'its pod ended (the store did not answer, or not in time)',
      exitCode: 22,
      reported: { code: 'STORE_UNAVAILABLE', message: 's3://b does not answer', hint: 'check the network' },
      hint: 'check the network',
    });
    const error = moverFailed('data', failure);
    assert.equal(error.code, 'MOVER_FAILED');
    assert.equal(
      error.message,
      'the mover of claim data failed: its pod ended (the store did not answer, or not in time); exit code 22; it said: s3://b does not answer',
    );
    assert.equal(error.hint, 'check the network');
    const { fact, ...details } = error.details;
    assert.equal(`the mover of claim data failed: ${String(fact)}`, error.message);
    assert.deepEqual(details, { claim: 'data', exitCode: 22, reported: 'STORE_UNAVAILABLE' });
  });

  it('after it was killed, evicted, or never started', () => {
    const of = (pods: readonly KubeObject[], aJob = failed, events: readonly KubeObject[] = []) =>
      diagnoseFailure({ job: aJob, pods, events });
    const oom = of([ended({ exitCode: 137, reason: 'OOMKilled' })]);
    assert.match(oom.state, /OOMKilled/);
    assert.match(oom.hint ?? '', /report it/);
    const evicted = ended({ exitCode: 143 }, { reason: 'Evicted', message: 'The node was low on resource: ephemeral-storage.' });
    assert.equal(of([evicted]).state, 'its pod was evicted: The node was low on resource: ephemeral-storage.');
    const preempted = ended(
      { exitCode: 143 },
      { conditions: [{ type: 'DisruptionTarget', status: 'True', reason: 'PreemptionByScheduler', message: 'preempting' }] },
    );
    assert.equal(of([preempted]).state, 'its pod was evicted (PreemptionByScheduler): preempting');
    assert.equal(of([ended({ exitCode: 139 })]).state, 'its pod ended (by signal 11)');
    const late = job([{ type: 'Failed', status: 'True', reason: 'DeadlineExceeded' }]);
    assert.equal(of([], late).state, 'it took longer than its deadline');
    assert.equal(of([]).state, 'Job has reached the specified backoff limit');
    assert.match(of([waiting('ImagePullBackOff')], late).state, /deadline/);
    const two = [
      ended({ exitCode: 1 }),
      pod({ phase: 'Failed', containerStatuses: [{ state: { terminated: { exitCode: 22 } } }] }, 'pod-2', '2026-01-02T00:00:00Z'),
    ];
    assert.equal(of(two).exitCode, 22);
  });

  it('is read from the last lines of a log, which may be anything', () => {
    const line = JSON.stringify({ type: 'error', code: 'INTERNAL', message: 'm' });
    assert.deepEqual(reportedError(`{"type":"bytes"}\n${line}\n`), { code: 'INTERNAL', message: 'm' });
    assert.deepEqual(reportedError('{"type":"bytes"}\nSegmentation fault'), { message: 'Segmentation fault' });
    assert.equal(reportedError('{"type":"bytes"}'), undefined);
    assert.equal(reportedError(''), undefined);
  });

  it('is not believed of a log that is no progress', () => {
    const bytes = { type: 'bytes', volume: 'data', done: 1, added: 0, total: 2 };
    assert.deepEqual(progressEvent(JSON.stringify(bytes)), bytes);
    assert.deepEqual(progressEvent(JSON.stringify({ ...bytes, total: undefined, more: 1 })), {
      type: 'bytes',
      volume: 'data',
      done: 1,
      added: 0,
    });
    for (const line of ['', 'text', '[]', 'null', '{"type":"finding"}', '{"type":"bytes","volume":1,"done":1,"added":1}']) {
      assert.equal(progressEvent(line), undefined, line);
    }
  });
});
