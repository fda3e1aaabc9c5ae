import assert from 'node:assert/strict';
import type { KubeObject } from '../../core/src/model.ts';
import { activationPatch, activationWaves, isStaged, stage } from '../../core/src/restore/activation.ts';
import { isReady, whyNotReady } from '../../core/src/restore/readiness.ts';

type Fields = Readonly<Record<string, unknown>>;

function object(apiVersion: string, kind: string, name: string, fields: Fields = {}, metadata: Fields = {}): KubeObject {
  return { apiVersion, kind, metadata: { name, namespace: 'shop', ...metadata }, ...fields };
}

describe('the inactive form of a workload', () => {
  const CASES: readonly (readonly [what: string, active: KubeObject, inactiveSpec: unknown, how: string])[] = [
    [
      'Deployment',
      object('apps/v1', 'Deployment', 'web', { spec: { replicas: 3, paused: false } }),
      { replicas: 0, paused: false },
      'replicas 0 -> 3',
    ],
    ['StatefulSet without a number', object('apps/v1', 'StatefulSet', 'db', { spec: {} }), { replicas: 0 }, 'replicas 0 -> 1'],
    ['ReplicaSet', object('apps/v1', 'ReplicaSet', 'r', { spec: { replicas: 2 } }), { replicas: 0 }, 'replicas 0 -> 2'],
    ['ReplicationController', object('v1', 'ReplicationController', 'r', { spec: { replicas: 2 } }), { replicas: 0 }, 'replicas 0 -> 2'],
    [
      'CronJob',
      object('batch/v1', 'CronJob', 'c', { spec: { schedule: '@daily' } }),
      { schedule: '@daily', suspend: true },
      'suspend true -> false',
    ],
    ['Job', object('batch/v1', 'Job', 'j', { spec: { suspend: false } }), { suspend: true }, 'suspend true -> false'],
    [
      'DaemonSet',
      object('apps/v1', 'DaemonSet', 'd', { spec: { template: { spec: { nodeSelector: { disk: 'ssd' } } } } }),
      { template: { spec: { nodeSelector: { disk: 'ssd', 'dmaas.io/inactive': 'true' } } } },
      'node selector dmaas.io/inactive removed',
    ],
  ];
  for (const [what, active, spec, how] of CASES) {
    it(what, () => {
      const { object: staged, activation } = stage(active);
      assert.deepEqual(staged['spec'], spec);
      assert.ok(activation);
      assert.equal(activation.how, how);
      assert.equal(isStaged(staged), true);
      assert.deepEqual(JSON.parse(staged.metadata.annotations?.['dmaas.io/activate'] ?? ''), activation.patch);
      assert.deepEqual(activationPatch(activation)['metadata'], { annotations: { 'dmaas.io/activate': null } });
    });
  }

  it('leaves alone what is at rest, and what is no workload', () => {
    for (const o of [
      object('apps/v1', 'Deployment', 'off', { spec: { replicas: 0 } }),
      object('batch/v1', 'CronJob', 'off', { spec: { suspend: true } }),
      object('v1', 'ConfigMap', 'c'),
      object('v1', 'Pod', 'p', { spec: { containers: [] } }),
    ]) {
      assert.deepEqual(stage(o), { object: o });
    }
  });
});

describe('the order of activation', () => {
  const deployment = (name: string, container: Fields = {}, spec: Fields = {}): KubeObject =>
    object('apps/v1', 'Deployment', name, {
      spec: { template: { metadata: { labels: { app: name } }, spec: { containers: [{ name, ...container }], ...spec } } },
    });
  const statefulSet = (name: string): KubeObject =>
    object('apps/v1', 'StatefulSet', name, {
      spec: {
        volumeClaimTemplates: [{ metadata: { name: 'data' } }],
        template: { metadata: { labels: { app: name } }, spec: { containers: [{ name }] } },
      },
    });
  const service = (name: string, app = name): KubeObject => object('v1', 'Service', name, { spec: { selector: { app } } });
  const waves = (workloads: readonly KubeObject[], others: readonly KubeObject[] = []): readonly (readonly string[])[] =>
    activationWaves(workloads, others).map((wave) => wave.map((ref) => ref.name));

  it('without volumes and references, all at once', () => {
    assert.deepEqual(waves([deployment('a'), deployment('b')]), [['a', 'b']]);
  });

  it('workloads with volumes first', () => {
    assert.deepEqual(waves([deployment('web'), statefulSet('db')]), [['db'], ['web']]);
    const uploads = deployment('up', {}, { volumes: [{ name: 'v', persistentVolumeClaim: { claimName: 'c' } }] });
    assert.deepEqual(waves([deployment('web'), uploads]), [['up'], ['web']]);
  });

  for (const [how, text] of [
    ['a bare name', 'db'],
    ['a port', 'x(db:3306)'],
    ['a URL', 'postgres://u:p@db/x'],
    ['a full name', 'db.shop.svc.cluster.local'],
    ['a pod of it', 'db-0.db'],
    ['key=value', 'user=a host=db port=1'],
  ] as const) {
    it(`after the service that an env names by ${how}`, () => {
      const web = deployment(
        'web',
        { env: [{ name: 'X', value: text }] },
        { volumes: [{ name: 'v', persistentVolumeClaim: { claimName: 'c' } }] },
      );
      assert.deepEqual(waves([web, statefulSet('db')], [service('db')]), [['db'], ['web']]);
    });
  }

  it('finds names in ConfigMaps and Secrets that the pod uses', () => {
    const config = object('v1', 'ConfigMap', 'conf', { data: { 'a.ini': '[x]\nhost = api\n' } });
    const secret = object('v1', 'Secret', 'dsn', { data: { dsn: Buffer.from('amqp://queue:5672').toString('base64') } });
    const web = deployment('web', { envFrom: [{ configMapRef: { name: 'conf' } }, { secretRef: { name: 'dsn' } }] });
    const others = [config, secret, service('api'), service('queue', 'rabbit')];
    assert.deepEqual(waves([web, deployment('api'), deployment('rabbit'), deployment('free')], others), [
      ['api', 'rabbit', 'free'],
      ['web'],
    ]);
  });

  it('does not take a word in a sentence for a service', () => {
    const web = deployment('web', { env: [{ name: 'X', value: 'we like db very much' }] });
    assert.deepEqual(waves([web, deployment('db')], [service('db')]), [['web', 'db']]);
  });

  it('cuts cycles, and still starts everything once', () => {
    const a = deployment('a', { env: [{ name: 'X', value: 'b:80' }] });
    const b = deployment('b', { env: [{ name: 'X', value: 'a:80' }] });
    assert.deepEqual(waves([a, b], [service('a'), service('b')]), [['b'], ['a']]);
  });
});

describe('readiness', () => {
  const replicas = { spec: { replicas: 2 } };
  const CASES: readonly (readonly [what: string, ready: KubeObject, notReady: readonly KubeObject[]])[] = [
    [
      'Deployment',
      object(
        'apps/v1',
        'Deployment',
        'w',
        { ...replicas, status: { observedGeneration: 2, replicas: 2, updatedReplicas: 2, availableReplicas: 2 } },
        { generation: 2 },
      ),
      [
        object(
          'apps/v1',
          'Deployment',
          'stale',
          { ...replicas, status: { observedGeneration: 1, replicas: 2, updatedReplicas: 2, availableReplicas: 2 } },
          { generation: 2 },
        ),
        object(
          'apps/v1',
          'Deployment',
          'old pods',
          { ...replicas, status: { observedGeneration: 2, replicas: 3, updatedReplicas: 2, availableReplicas: 2 } },
          { generation: 2 },
        ),
        object('apps/v1', 'Deployment', 'new', replicas, { generation: 1 }),
      ],
    ],
    [
      'StatefulSet',
      object(
        'apps/v1',
        'StatefulSet',
        'w',
        { ...replicas, status: { observedGeneration: 1, readyReplicas: 2, updatedReplicas: 2 } },
        { generation: 1 },
      ),
      [
        object(
          'apps/v1',
          'StatefulSet',
          'half',
          { ...replicas, status: { observedGeneration: 1, readyReplicas: 1, updatedReplicas: 2 } },
          { generation: 1 },
        ),
      ],
    ],
    [
      'StatefulSet with a partition',
      object('apps/v1', 'StatefulSet', 'w', {
        spec: { replicas: 2, updateStrategy: { rollingUpdate: { partition: 1 } } },
        status: { observedGeneration: 1, readyReplicas: 2, updatedReplicas: 1 },
      }),
      [],
    ],
    [
      'DaemonSet',
      object('apps/v1', 'DaemonSet', 'w', { status: { desiredNumberScheduled: 1, numberReady: 1, updatedNumberScheduled: 1 } }),
      [object('apps/v1', 'DaemonSet', 'w', { status: { desiredNumberScheduled: 2, numberReady: 1, updatedNumberScheduled: 2 } })],
    ],
    [
      'ReplicaSet',
      object('apps/v1', 'ReplicaSet', 'w', { ...replicas, status: { readyReplicas: 2 } }),
      [object('apps/v1', 'ReplicaSet', 'w', { ...replicas, status: {} })],
    ],
    [
      'Job',
      object('batch/v1', 'Job', 'w', { status: { ready: 1 } }),
      [
        object('batch/v1', 'Job', 'w', { status: { active: 1 } }),
        object('batch/v1', 'Job', 'w', { status: { ready: 1, conditions: [{ type: 'Failed', status: 'True' }] } }),
      ],
    ],
    [
      'Pod',
      object('v1', 'Pod', 'w', { status: { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] } }),
      [object('v1', 'Pod', 'w', { status: { phase: 'Running', conditions: [{ type: 'Ready', status: 'False' }] } })],
    ],
    ['claim', object('v1', 'PersistentVolumeClaim', 'w', { status: { phase: 'Bound' } }), [object('v1', 'PersistentVolumeClaim', 'w')]],
    [
      'definition',
      object('apiextensions.k8s.io/v1', 'CustomResourceDefinition', 'w', {
        status: { conditions: [{ type: 'Established', status: 'True' }] },
      }),
      [object('apiextensions.k8s.io/v1', 'CustomResourceDefinition', 'w')],
    ],
    [
      'Namespace',
      object('v1', 'Namespace', 'w', { status: { phase: 'Active' } }),
      [object('v1', 'Namespace', 'w', { status: { phase: 'Terminating' } })],
    ],
    ['any other kind', object('acme.io/v1', 'Db', 'w'), []],
  ];
  for (const [what, ready, notReady] of CASES) {
    it(what, () => {
      assert.equal(isReady(ready), true);
      for (const o of notReady) assert.equal(isReady(o), false, o.metadata.name);
    });
  }
});

describe('why a workload is not ready', () => {
  const workload = object('apps/v1', 'Deployment', 'web', { spec: { replicas: 1 } });
  const pod = (status: Fields): KubeObject => object('v1', 'Pod', 'web-1', { status });
  const waiting = (reason: string, more: Fields = {}): KubeObject =>
    pod({ containerStatuses: [{ name: 'app', image: 'acme/web:1', state: { waiting: { reason, message: 'because' } }, ...more }] });
  const event = (reason: string, message: string, kind = 'Pod', name = 'web-1'): KubeObject =>
    object('v1', 'Event', 'e', { reason, message, involvedObject: { kind, name } });
  const why = (pods: readonly KubeObject[], events: readonly KubeObject[] = [], more = {}): string => {
    const { cause, fix } = whyNotReady({ workload, pods, events, ...more });
    return `${cause} | ${fix ?? ''}`;
  };

  it('an image that cannot be pulled', () => {
    assert.match(
      why([waiting('ImagePullBackOff')]),
      /^container app of pod web-1 cannot pull image acme\/web:1: because \| make the image reachable/,
    );
  });

  it('a container that crashes, with its last line', () => {
    const crashed = waiting('CrashLoopBackOff', { lastState: { terminated: { exitCode: 3 } } });
    assert.equal(
      why([crashed], [], { lastLines: { 'web-1/app': 'cannot\treach db' } }),
      'container app of pod web-1 ends with exit code 3, last log line: cannot reach db | kubectl logs web-1 -c app -n shop --previous',
    );
  });

  it('a container that needs more memory', () => {
    const killed = waiting('CrashLoopBackOff', { lastState: { terminated: { exitCode: 137, reason: 'OOMKilled' } } });
    assert.match(why([killed]), /more memory than its limit \| raise resources.limits.memory/);
  });

  it('a Secret that is missing', () => {
    assert.match(why([waiting('CreateContainerConfigError')]), /cannot be created: because \| kubectl describe pod web-1 -n shop/);
  });

  it('no node', () => {
    const pending = pod({
      conditions: [{ type: 'PodScheduled', status: 'False', message: '0/3 nodes are available: 3 Insufficient cpu' }],
    });
    assert.equal(
      why([pending]),
      'no node takes pod web-1: 0/3 nodes are available: 3 Insufficient cpu | kubectl describe pod web-1 -n shop',
    );
  });

  it('a claim without a volume, with what the provisioner said', () => {
    const pending = pod({
      conditions: [{ type: 'PodScheduled', status: 'False', message: 'pod has unbound immediate PersistentVolumeClaims' }],
    });
    const claims = [object('v1', 'PersistentVolumeClaim', 'data', { status: { phase: 'Pending' } })];
    assert.equal(
      why([pending], [event('ProvisioningFailed', 'no space', 'PersistentVolumeClaim', 'data')], { claims }),
      'pod web-1 waits for claim data, which has no volume: no space | kubectl describe persistentvolumeclaim data -n shop',
    );
  });

  it('a volume that cannot be mounted', () => {
    assert.match(why([pod({ phase: 'Pending' })], [event('FailedMount', 'timed out')]), /^pod web-1 cannot start: timed out/);
  });

  for (const [message, fix] of [
    ['pods "web-1" is forbidden: exceeded quota: small', 'kubectl describe resourcequota -n shop'],
    [
      'pods "web-1" is forbidden: violates PodSecurity "restricted:latest"',
      'kubectl label namespace shop pod-security.kubernetes.io/enforce=baseline --overwrite',
    ],
    ['error looking up service account shop/x: serviceaccount "x" not found', 'kubectl create serviceaccount x -n shop'],
    ['failed calling webhook "a.b"', 'kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations'],
  ] as const) {
    it(`pods that are refused: ${message}`, () => {
      assert.equal(why([], [event('FailedCreate', message, 'ReplicaSet', 'web-5d')]), `its pods are refused: ${message} | ${fix}`);
    });
  }

  it('a probe that fails', () => {
    assert.match(
      why([pod({ phase: 'Running' })], [event('Unhealthy', 'Readiness probe failed: 503')]),
      /runs, but is not ready: Readiness probe failed: 503/,
    );
  });

  it('nothing to go by', () => {
    assert.equal(why([]), 'its controller has not acted on it yet | kubectl describe deployment web -n shop');
    assert.equal(why([pod({ phase: 'Running' })]), '0 of 1 pods are ready | kubectl describe deployment web -n shop');
  });
});
