import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster } from '../../core/src/cluster/cluster.ts';
import { MemoryCluster } from '../../core/src/cluster/memory-cluster.ts';
import type { MemoryClusterOptions } from '../../core/src/cluster/memory-cluster.ts';
import { numberAt } from '../../core/src/discovery/read.ts';
import { DmaasError } from '../../core/src/errors.ts';
import { refOf } from '../../core/src/model.ts';
import type { KubeObject, ObjectRef } from '../../core/src/model.ts';
import type { OperationId } from '../../core/src/operation.ts';
import { cleanupOperation, listOperations } from '../../core/src/transfer/cleanup.ts';
import { parseHookCommand, parseHookTimeout, planQuiesce } from '../../core/src/transfer/plan-quiesce.ts';
import type { QuiesceOptions, QuiescePlan } from '../../core/src/transfer/plan-quiesce.ts';
import { Quiesce } from '../../core/src/transfer/quiesce.ts';
import { EXPIRED, freezeScript, NOT_RUNNING, recipeFor, RECIPES, releaseScript } from '../../core/src/transfer/recipes.ts';
import { QUIESCED } from '../../core/src/transfer/stopped.ts';
import { application, appVolume } from '../support/application.ts';
import { manifest, workload } from '../support/manifests.ts';

const ID = 'abcdefgh' as OperationId;
const OTHER = 'other234' as OperationId;
const quiet = { emit: () => undefined };
const podRef = (name: string) => ({ apiVersion: 'v1', kind: 'Pod', name, namespace: 'shop' });
const pod = (name: string, image: string, annotations: Readonly<Record<string, string>> = {}, phase = 'Running'): KubeObject =>
  manifest('Pod', name, {
    metadata: { annotations },
    spec: {
      containers: [
        { name: 'side', image: 'proxy' },
        { name: 'main', image },
      ],
    },
    status: { phase },
  });
const PODS = ['db-0', 'web-1'];
const app = (pods = PODS) =>
  application([appVolume('data', { mountedBy: [podRef('db-0')] })], {
    leftOut: pods.map((name) => ({ ref: podRef(name), reason: '', because: [] })),
  });
const planned = (pods: readonly KubeObject[], options: QuiesceOptions = {}) => planQuiesce(ID, app(), pods, options);
const hooksOf = (pods: readonly KubeObject[], options: QuiesceOptions = {}) => planned(pods, options).quiesce.hooks;

describe('planning to stand still', () => {
  it('recipes: for running containers of the application that have its volumes', () => {
    const [hook, ...more] = hooksOf([pod('db-0', 'registry.local/postgres:15'), pod('web-1', 'postgres'), pod('other', 'postgres')]);
    assert.equal(more.length, 0);
    assert.deepEqual([hook?.pod.name, hook?.container, hook?.by], ['db-0', 'main', 'recipe postgresql']);
    assert.ok(hook?.pre?.command[2]?.includes('pg_backup_start') && hook.post !== undefined);
    assert.deepEqual(hooksOf([pod('db-0', 'postgres', {}, 'Pending')]), []);
    assert.deepEqual(hooksOf([pod('db-0', 'postgres')], { withoutRecipes: ['postgresql'] }), []);
    assert.deepEqual(hooksOf([pod('db-0', 'postgres')], { quiesce: 'none' }), []);
  });

  it('recipes: by the image’s name alone', () => {
    const names = (image: string) => recipeFor(image)?.name;
    assert.equal(names('docker.io/bitnami/postgresql:16.1'), 'postgresql');
    assert.equal(names('localhost:5000/mariadb@sha256:00'), 'mysql');
    assert.equal(names('mysql/mysql-server'), 'mysql');
    assert.equal(names('mongo:7'), 'mongodb');
    assert.equal(names('redis:7-alpine'), 'redis');
    for (const other of ['postgres-exporter', 'acme/mysqld-exporter:1', 'redis-commander', 'postgresql-client'])
      assert.equal(names(other), undefined, other);
  });

  it('Velero’s annotations: instead of recipes', () => {
    const [hook] = hooksOf([
      pod('db-0', 'postgres', {
        'pre.hook.backup.velero.io/container': 'main',
        'pre.hook.backup.velero.io/command': '["/bin/sh", "-c", "freeze"]',
        'pre.hook.backup.velero.io/timeout': '1m30s',
        'pre.hook.backup.velero.io/on-error': 'Continue',
        'post.hook.backup.velero.io/command': '/thaw',
      }),
    ]);
    assert.deepEqual(hook?.pre, { command: ['/bin/sh', '-c', 'freeze'], timeoutMs: 90_000, failsBackup: false });
    assert.deepEqual(hook.post, { command: ['/thaw'], timeoutMs: 30_000, failsBackup: true });
    assert.equal(hook.by, 'annotation of pod/db-0');
    const { findings } = planned([pod('db-0', 'x', { 'pre.hook.backup.velero.io/command': '["a", 7]' })]);
    assert.deepEqual([findings[0]?.level, findings[0]?.code], ['blocker', 'hook-malformed']);
    assert.deepEqual(parseHookCommand('echo'), ['echo']);
    assert.throws(() => parseHookTimeout('soon'), RangeError);
  });

  it('commands of the user: in every running pod of what they name, before all others', () => {
    const edge = (from: string, kind: string, name: string) => ({
      name: 'owned-by' as const,
      from: podRef(from),
      to: { apiVersion: 'apps/v1', kind, name, namespace: 'shop' },
    });
    const owned = { ...app(), edges: [edge('db-0', 'StatefulSet', 'db'), edge('web-1', 'Deployment', 'web')] };
    const hooks = [
      { target: 'statefulset/db', container: 'side', before: ['sh', '-c', 'sync'] },
      { target: 'pod/web-1', after: ['x'] },
      { target: 'statefulset/other', before: ['y'] },
    ];
    const { quiesce, findings } = planQuiesce(ID, owned, [pod('db-0', 'postgres'), pod('web-1', 'x')], { hooks });
    assert.deepEqual(
      quiesce.hooks.map((h) => [h.pod.name, h.container, h.by, h.pre?.command.at(-1) !== undefined, h.post !== undefined]),
      [
        ['db-0', 'side', 'command line', true, false],
        ['web-1', 'side', 'command line', false, true],
        ['db-0', 'main', 'recipe postgresql', true, true],
      ],
    );
    assert.deepEqual(
      findings.filter((f) => f.level === 'blocker').map((f) => f.message),
      ['there is no running pod of statefulset/other in the application, to run a command in'],
    );
  });

  it('what will be done is in the plan’s findings', () => {
    const [finding] = planned([pod('db-0', 'redis')]).findings;
    assert.match(
      finding?.message ?? '',
      /container main of pod\/db-0 pauses the writes of Redis when its data set is on the volume \(recipe redis\)/,
    );
    assert.match(finding?.hint ?? '', /--without-recipe redis/);
  });

  it('scale: workloads with volumes that run', () => {
    const set = workload('StatefulSet', 'data-set', {}, { spec: { replicas: 3 } });
    const with0 = { ...app(), members: [set, workload('Deployment', 'web')].map((object) => ({ object, because: [] })) };
    const losing = workload(
      'StatefulSet',
      'data-set',
      {},
      { spec: { replicas: 1, persistentVolumeClaimRetentionPolicy: { whenScaled: 'Delete' } } },
    );
    const lost = planQuiesce(ID, { ...with0, members: [{ object: losing, because: [] }] }, [], { quiesce: 'scale' });
    assert.deepEqual(
      lost.findings.map((f) => `${f.level} ${f.code}`),
      ['blocker claims-go-with-replicas'],
    );
    const { quiesce } = planQuiesce(ID, with0, [], { quiesce: 'scale' });
    assert.deepEqual(
      quiesce.scale.map((s) => [s.ref.name, s.replicas]),
      [['data-set', 3]],
    );
    assert.deepEqual(
      quiesce.unused.map((claim) => claim.name),
      ['data'],
    );
  });

  it('scale: what uses a volume and would go on stands in the way', () => {
    const owned = (from: ObjectRef, to: ObjectRef) => ({ name: 'owned-by' as const, from, to });
    const [set, daemon] = [workload('StatefulSet', 'data-set', {}, { spec: { replicas: 0 } }), workload('DaemonSet', 'agent')];
    const edges = [owned(podRef('db-0'), refOf(set)), owned(podRef('agent-1'), refOf(daemon))];
    const volume = appVolume('data', { consumers: [refOf(set), refOf(daemon)] });
    const mixed = application([volume], { members: [set, daemon].map((object) => ({ object, because: [] })), edges });
    const user = (name: string, metadata = {}, phase = 'Running') =>
      manifest('Pod', name, {
        metadata,
        spec: { volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'data' } }] },
        status: { phase },
      });
    const ending = user('last', { deletionTimestamp: '2026-11-22T12:00:00Z' });
    const pods = [user('db-0'), user('agent-1'), ending, user('over', {}, 'Succeeded'), user('debug'), pod('web-1', 'x')];
    const { quiesce, findings } = planQuiesce(ID, mixed, pods, { quiesce: 'scale' });
    assert.deepEqual(quiesce.scale, []);
    assert.deepEqual(
      findings.map((f) => [f.level, f.code, /^(.*) uses persistentvolumeclaim\/data and would go on/.exec(f.message)?.[1]]),
      [
        ['blocker', 'cannot-be-stopped', 'pod/agent-1 of daemonset/agent'],
        ['blocker', 'cannot-be-stopped', 'pod/debug'],
      ],
    );
    assert.deepEqual(planQuiesce(ID, mixed, pods, {}).findings, []);
  });
});

describe('standing still', () => {
  const hook = (name: string, failsBackup = true): QuiescePlan['hooks'][number] => {
    const command = (when: string) => ({ command: [when, name], timeoutMs: 1000, failsBackup });
    return { pod: podRef(name), container: 'main', by: 'recipe x', does: 'x', pre: command('pre'), post: command('post') };
  };
  const plan: QuiescePlan = { mode: 'hooks', hooks: [hook('a'), hook('b'), hook('c')], scale: [], unused: [] };

  async function attempt(answers: Readonly<Record<string, number>>, quiescePlan = plan) {
    const calls: string[] = [];
    const cluster = new MemoryCluster({
      objects: ['a', 'b', 'c'].map((name) => pod(name, 'x')),
      exec: (_pod, _container, command) => {
        calls.push(command.join(' '));
        return { exitCode: answers[command.join(' ')] ?? 0, stdout: '', stderr: 'no luck' };
      },
    });
    const quiesce = new Quiesce(cluster, ID, quiescePlan, quiet);
    const errors: DmaasError[] = [];
    const findings = [];
    for (const step of ['freeze', 'thaw', 'thaw'] as const) {
      try {
        findings.push(...(await quiesce[step]()));
      } catch (e) {
        assert.ok(DmaasError.is(e, 'QUIESCE_FAILED'), String(e));
        errors.push(e);
      }
    }
    return { calls, findings, errors };
  }

  it('every command before, in order, then every command after, the last first, each once', async () => {
    const { calls, errors } = await attempt({});
    assert.deepEqual(calls, ['pre a', 'pre b', 'pre c', 'post c', 'post b', 'post a']);
    assert.deepEqual(errors, []);
  });

  it('when a command fails, what may be frozen is released, the one that failed included', async () => {
    const { calls, errors } = await attempt({ 'pre b': 1 });
    assert.deepEqual(calls, ['pre a', 'pre b', 'post b', 'post a']);
    assert.match(
      errors[0]?.message ?? '',
      /before the volume snapshots in container main of pod\/b \(recipe x\) ended with exit code 1: no luck/,
    );
    assert.match(errors[0]?.hint ?? '', /--without-recipe x/);
  });

  it('a command after that fails stops no other', async () => {
    const { calls, errors } = await attempt({ 'post c': 1, 'post b': EXPIRED });
    assert.deepEqual(calls.slice(3), ['post c', 'post b', 'post a']);
    assert.equal(errors.length, 1);
  });

  it('a lock that was given up before its release fails the backup', async () => {
    const { errors } = await attempt({ 'post a': EXPIRED });
    assert.match(errors[0]?.message ?? '', /given up its lock, so the volumes may be of different moments/);
  });

  it('a recipe that finds no server is a warning', async () => {
    const { findings, errors } = await attempt({ 'pre a': NOT_RUNNING }, { ...plan, hooks: [hook('a')] });
    assert.deepEqual([findings[0]?.level, findings[0]?.code, errors.length], ['warning', 'recipe-declined', 0]);
  });

  it('one that may fail is a warning', async () => {
    const { findings, errors } = await attempt({ 'pre a': 2 }, { ...plan, hooks: [hook('a', false)] });
    assert.deepEqual([findings[0]?.level, findings[0]?.code, errors.length], ['warning', 'hook-failed', 0]);
  });

  it('stopped: what was frozen is released nevertheless', async () => {
    const stop = new AbortController();
    const calls: string[] = [];
    const cluster = new MemoryCluster({
      objects: [pod('a', 'x'), pod('b', 'x')],
      exec: (_p, _c, command) => {
        calls.push(command.join(' '));
        stop.abort();
        return { exitCode: 0, stdout: '', stderr: '' };
      },
    });
    const quiesce = new Quiesce(cluster, ID, plan, { ...quiet, signal: stop.signal });
    await assert.rejects(quiesce.freeze(), (e) => DmaasError.is(e, 'CANCELLED'));
    await quiesce.thaw();
    assert.deepEqual(calls, ['pre a', 'post a']);
  });

  describe('by stopping', () => {
    const ref = { apiVersion: 'apps/v1', kind: 'StatefulSet', name: 'db', namespace: 'shop' };
    const claim = { apiVersion: 'v1', kind: 'PersistentVolumeClaim', name: 'data-db-0', namespace: 'shop' };
    const scale: QuiescePlan = { mode: 'scale', hooks: [], scale: [{ ref, replicas: 2 }], unused: [claim] };
    const replicasOf = async (cluster: Cluster) => numberAt(await cluster.get(ref), 'spec', 'replicas');
    const withSet = (options: MemoryClusterOptions = {}) =>
      new MemoryCluster({
        ...options,
        objects: [workload('StatefulSet', 'db', {}, { spec: { replicas: 2 } }), ...(options.objects ?? [])],
      });

    it('stops, starts again, and is undone by cleaning up when the process died', async () => {
      const cluster = withSet();
      const quiesce = new Quiesce(cluster, ID, scale, quiet);
      await quiesce.freeze();
      assert.equal(await replicasOf(cluster), 0);
      await quiesce.thaw();
      assert.equal(await replicasOf(cluster), 2);
      assert.deepEqual(await listOperations(cluster, 'shop'), []);
      await new Quiesce(cluster, ID, scale, quiet).freeze(); // and nobody comes to thaw
      assert.deepEqual(await listOperations(cluster, 'shop'), [{ id: ID, objects: [], stopped: [ref] }]);
      await cleanupOperation(cluster, 'shop', OTHER);
      assert.equal(await replicasOf(cluster), 0);
      assert.deepEqual((await cleanupOperation(cluster, 'shop', ID)).started, [ref]);
      assert.equal(await replicasOf(cluster), 2);
      assert.equal((await cluster.get(ref))?.metadata.labels?.[QUIESCED.label], undefined);
      assert.deepEqual(await listOperations(cluster, 'shop'), []);
    });

    it('cleaning up says what it may not start, and looks for what it may', async () => {
      const cluster = withSet({ forbid: [{ verb: 'list', resource: 'deployments' }] });
      await new Quiesce(cluster, ID, scale, quiet).freeze();
      assert.deepEqual(
        (await listOperations(cluster, 'shop')).map(({ stopped }) => stopped),
        [[ref]],
      );
      const powerless = new MemoryCluster({ objects: [(await cluster.get(ref))!], forbid: [{ verb: 'patch', resource: 'statefulsets' }] });
      const { started, findings } = await cleanupOperation(powerless, 'shop', ID);
      assert.deepEqual(started, []);
      assert.deepEqual(
        findings.map((f) => [f.code, f.hint]),
        [['left-stopped', `kubectl dmaas cleanup ${ID} -n shop`]],
      );
      assert.match(findings[0]?.message ?? '', /^statefulset\/db may still be stopped: /);
    });

    it('does not stop what another backup has stopped since it was planned, and leaves that alone', async () => {
      const cluster = withSet();
      await new Quiesce(cluster, OTHER, scale, quiet).freeze();
      const quiesce = new Quiesce(cluster, ID, scale, quiet);
      await assert.rejects(quiesce.freeze(), (e) => {
        assert.ok(DmaasError.is(e, 'QUIESCE_FAILED'));
        assert.equal(e.message, `statefulset/db is stopped by the backup ${OTHER}`);
        return true;
      });
      await quiesce.thaw();
      assert.equal(await replicasOf(cluster), 0);
      assert.equal((await cluster.get(ref))?.metadata.labels?.[QUIESCED.label], OTHER);
    });

    it('stands still when no pod has the volumes any more, also none that no controller counts as it is ending', async () => {
      const ending = manifest('Pod', 'db-0', {
        metadata: { deletionTimestamp: '2026-11-22T12:00:00Z', deletionGracePeriodSeconds: 60 },
        spec: { volumes: [{ name: 'data', persistentVolumeClaim: { claimName: claim.name } }] },
        status: { phase: 'Running' },
      });
      let looks = 0;
      const cluster = withSet({
        objects: [ending],
        before: async ({ verb, resource }) => {
          if (verb === 'list' && resource === 'pods' && ++looks === 2) await cluster.delete(refOf(ending));
        },
      });
      const states: string[] = [];
      const quiesce = new Quiesce(cluster, ID, scale, { emit: (e) => (e.type === 'step' ? states.push(e.state) : undefined) });
      await quiesce.freeze();
      assert.equal(await cluster.get(refOf(ending)), undefined);
      assert.deepEqual(states, ['start', 'done']);
    });

    it('fails when somebody has started again what was stopped, and leaves no mark on it', async () => {
      for (const theirs of [{ spec: { replicas: 2 } }, { metadata: { labels: { [QUIESCED.label]: OTHER } } }]) {
        const cluster = withSet();
        const quiesce = new Quiesce(cluster, ID, scale, quiet);
        await quiesce.freeze();
        const there = await cluster.patch(ref, theirs);
        await assert.rejects(
          quiesce.thaw(),
          (e) => DmaasError.is(e, 'QUIESCE_FAILED') && /^somebody has started statefulset\/db again/.test(e.message),
        );
        const isOurs = there.metadata.labels?.[QUIESCED.label] === ID;
        assert.equal(await replicasOf(cluster), isOurs ? 2 : 0);
        assert.equal((await cluster.get(ref))?.metadata.labels?.[QUIESCED.label], isOurs ? undefined : OTHER);
      }
    });
  });
});

/** The recipes in a real shell, with a client program that is played. */
describe('recipes in a shell', function () {
  this.timeout(30_000);
  let home: string;
  const script = (name: string, text: string) => {
    writeFileSync(join(home, name), `#!/bin/sh\n${text}\n`);
    chmodSync(join(home, name), 0o755);
  };
  const sh = (text: string) =>
    spawnSync('sh', ['-c', text], {
      encoding: 'utf8',
      env: { PATH: `${home}:${process.env['PATH'] ?? ''}`, TMPDIR: home, MYSQL_ROOT_PASSWORD: 'secret' },
    });
  const log = () => (existsSync(join(home, 'log')) ? readFileSync(join(home, 'log'), 'utf8') : '');
  const recipe = (name: string) => {
    const found = RECIPES.find((r) => r.name === name);
    assert.ok(found);
    return { freeze: (operation: string, limit: number) => freezeScript(found, operation, limit), release: releaseScript };
  };

  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'dmaas-recipe-'));
    // Answers each statement as it comes, and notes when its session ends.
    const session = (held: string) =>
      `case "$*" in *"select 1"*) echo 1; exit 0;; *server_version_num*) echo 150004; exit 0;; esac\nwhile read -r line; do echo "$line" >>${home}/log; case "$line" in *dmaas-held*) echo '${held}';; esac; done\necho ended >>${home}/log`;
    script('psql', session('dmaas-held'));
    script('mysql', `[ "$MYSQL_PWD" = secret ] || { echo denied >&2; exit 1; }\n${session('dmaas-held')}`);
    script('mongosh', `case "$*" in *fsyncLock*) echo locked >>${home}/log;; *fsyncUnlock*) echo unlocked >>${home}/log;; esac`);
  });
  afterEach(() => {
    rmSync(home, { recursive: true, force: true });
  });

  for (const [name, before, after] of [
    ['postgresql', /pg_backup_start/, /pg_backup_stop[^]*ended/],
    ['mysql', /FLUSH TABLES WITH READ LOCK/, /UNLOCK TABLES[^]*ended/],
    ['mongodb', /^locked/, /unlocked/],
  ] as const) {
    it(`${name}: holds until it is released`, () => {
      const { freeze, release } = recipe(name);
      const frozen = sh(freeze('op', 20));
      assert.equal(frozen.status, 0, frozen.stderr);
      assert.match(log(), before);
      assert.doesNotMatch(log(), after);
      const thawed = sh(release('op'));
      assert.equal(thawed.status, 0, thawed.stderr);
      assert.match(log(), after);
      assert.equal(sh(release('op')).status, 0, 'releasing twice does nothing');
    });
  }

  it('goes on by itself when nobody comes to release it, and says so to whom comes late', async () => {
    const { freeze, release } = recipe('mysql');
    assert.equal(sh(freeze('op', 2)).status, 0);
    await sleep(4000);
    assert.match(log(), /UNLOCK TABLES;\nended/);
    assert.equal(sh(release('op')).status, EXPIRED);
  });

  it('fails with what the client said, and leaves nothing held', () => {
    script('mysql', 'echo "ERROR 1045: access denied" >&2; exit 1');
    const fails = (name: string, code: number, pattern: RegExp) => {
      const began = Date.now();
      const { status, stderr } = sh(recipe(name).freeze('op', 20));
      assert.equal(status, code);
      assert.match(stderr, pattern);
      assert.ok(Date.now() - began < 10_000, 'at once, not when the limit is over');
    };
    fails('mysql', 1, /ERROR 1045: access denied/);
    script('psql', `case "$*" in *-c*) echo 150004;; *) echo 'ERROR: recovery is in progress' >&2; exit 3;; esac`);
    fails('postgresql', 1, /recovery is in progress/);
  });

  it('declines when no server answers', () => {
    script('psql', 'echo "psql: error: connection to server on socket failed: Connection refused" >&2; exit 2');
    assert.equal(sh(recipe('postgresql').freeze('op', 5)).status, NOT_RUNNING);
    script('mysql', `echo "ERROR 2002 (HY000): Can't connect to local server" >&2; exit 1`);
    assert.equal(sh(recipe('mysql').freeze('op', 5)).status, NOT_RUNNING);
  });

  it('begins anew after an attempt that died', () => {
    const { freeze, release } = recipe('postgresql');
    assert.equal(sh(freeze('op', 20)).status, 0);
    assert.equal(sh(freeze('op', 20)).status, 0);
    assert.equal(sh(release('op')).status, 0);
    assert.equal(log().match(/pg_backup_start/g)?.length, 2);
    assert.equal(log().match(/ended/g)?.length, 2);
  });
});
