import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parse, stringify } from 'yaml';
import { restoreCommandLine } from '../../core/src/command-line.ts';
import type { KubeObject } from '../../core/src/model.ts';
import type { RestoreOptions, RestorePlan } from '../../core/src/restore/model.ts';
import { addData, deployDemo, fingerprint, removeDemo, waitForDemo, type Fingerprint } from '../demo/data.ts';
import { imageName } from '../support/images/names.ts';
import { nodeInImage } from '../support/images/node-layer.ts';
import { startLab, type Lab } from '../support/lab.ts';

/** What the flags of a restore promise, each on a real cluster. */
describe('the options of a restore', function () {
  this.timeout(300_000);
  this.bail(true);
  const app = `options-${Date.now().toString(36)}`;
  const copy = `${app}-copy`;
  const broken = `${app}-broken`;
  let lab: Lab;
  let good: Fingerprint;
  let backupId: string;

  const here = (args: string) => `${args} -n ${app} --context ${lab.source.context}`.split(' ');
  const run = (args: string) => lab.plugin.run(here(args));
  const kubectl = (...args: string[]) => lab.source.kubectl(...args);
  /** What canaries and movers are made of. */
  const temporary = () => kubectl('-n', copy, 'get', 'jobs,pods,pvc,secrets', '-l', 'dmaas.io/role', '-o', 'name');
  /** The line that surfaces offer for copying, as a shell takes it. */
  const line = (options: RestoreOptions): string[] => {
    const text = restoreCommandLine({ backupId, context: lab.source.context, location: { name: 'lab' }, namespace: app, options });
    const words = execFileSync('sh', ['-c', `printf '%s\\n' ${text.slice('kubectl dmaas '.length)}`], { encoding: 'utf8' });
    return [...words.trimEnd().split('\n'), '--yes'];
  };

  before(async () => {
    lab = await startLab();
    await deployDemo(lab.source, app);
    await lab.makeLocation(app);
    await addData(lab.source, app, { rows: 500, files: 5 });
    good = await fingerprint(lab.source, app);
    await lab.dmaas(here('backup create good --app shop').join(' '));
    [{ id: backupId = '' } = {}] = (
      JSON.parse(await lab.dmaas(here('backup list -o json').join(' '))) as { items: { id: string }[] }
    ).items;
    await kubectl('create', 'namespace', copy);
    // Its driver takes no parameter of that name, and says so.
    const parameters = { 'csi.storage.k8s.io/no-such-parameter': 'x' };
    const provisioner = 'hostpath.csi.dmaas.test';
    await lab.source.apply(
      JSON.stringify({ apiVersion: 'storage.k8s.io/v1', kind: 'StorageClass', metadata: { name: broken }, provisioner, parameters }),
    );
  });

  after(async () => {
    await removeDemo(lab.source, app);
    await removeDemo(lab.source, copy);
    await kubectl('delete', 'storageclass', broken, '--ignore-not-found');
    await lab.stop();
  });

  const allow = '--allow clusterrolebinding';
  const trial = (more: string) => run(`restore create good --to-namespace ${copy} ${allow} --dry-run --canary ${more}`.trim());

  it('--canary tries storage, mover and bucket, says that they work, and leaves nothing', async () => {
    const { code, stdout, stderr } = await trial('');
    assert.equal(code, 0, stderr);
    assert.match(stdout + stderr, /a mover wrote to a new volume of storage class csi-hostpath and read from the bucket, \d+ s after/);
    assert.equal(await temporary(), '');
  });

  it('--canary says why a storage class makes no volumes, and which does', async () => {
    const { code, stdout, stderr } = await trial(`--map-storage-class csi-hostpath=${broken} --canary-timeout 8s`);
    assert.equal(code, 40, stderr);
    const text = stdout + stderr;
    assert.match(
      text,
      new RegExp(`a canary on a volume of storage class ${broken} failed: its volume cannot be made: .*no-such-parameter`),
    );
    assert.match(text, new RegExp(`--map-storage-class ${broken}=csi-hostpath`));
    assert.equal(await temporary(), '');
  });

  it('--canary says that the image of the mover is missing', async () => {
    const { code, stdout, stderr } = await trial('--mover-image dmaas.test/no-such-mover:1 --canary-timeout 5s');
    assert.equal(code, 40, stderr);
    assert.match(stdout + stderr, /storage class csi-hostpath failed: its image dmaas\.test\/no-such-mover:1 cannot be pulled/);
    assert.match(stdout + stderr, /--mover-image/);
    assert.equal(stdout.match(/✗ a canary/g)?.length, 1, stdout); // of two kinds, for one reason
    assert.equal(await temporary(), '');
  });

  it('--canary that is interrupted leaves nothing; one whose process dies goes by itself', async () => {
    const slow = `restore plan good --to-namespace ${copy} ${allow} --canary --map-storage-class csi-hostpath=${broken}`;
    const interrupted = lab.plugin.start(here(slow));
    while ((await temporary()) === '') await sleep(200);
    interrupted.signal('SIGINT');
    assert.equal((await interrupted.ended).code, 130);
    assert.equal(await temporary(), '');
    const killed = lab.plugin.start(here(`${slow} --canary-timeout 20s`));
    while (!(await temporary()).includes('pod/')) await sleep(50); // its Job runs from here on, and has a deadline
    killed.signal('SIGKILL');
    await killed.ended;
    // Its Job ends by a deadline and is taken away after a while, with all that belongs to it: nobody waits so long here.
    const jobs = (await kubectl('-n', copy, 'get', 'jobs', '-l', 'dmaas.io/role', '-o', 'name')).trim().split('\n');
    for (const job of jobs) {
      const limits = await kubectl('-n', copy, 'get', job, '-o', 'jsonpath={.spec.activeDeadlineSeconds} {.spec.ttlSecondsAfterFinished}');
      assert.equal(limits, '80 30');
      await kubectl('-n', copy, 'patch', job, '--type=merge', '-p', '{"spec":{"activeDeadlineSeconds":1,"ttlSecondsAfterFinished":1}}');
    }
    for (let waited = 0; (await temporary()) !== ''; waited++) {
      assert.ok(waited < 120, await temporary());
      await sleep(500);
    }
  });

  it('a plan that was edited and left staged is activated as edited', async () => {
    const text = await lab.dmaas(here(`restore plan good --to-namespace ${copy} ${allow} --no-activate`).join(' '));
    const plan = parse(text) as RestorePlan;
    const later = plan.later?.flatMap((step) => {
      if (step.do === 'apply' && step.ref.kind === 'Ingress') return [];
      return [step.do === 'activate' && step.ref.name === 'web' ? { ...step, patch: { ...step.patch, spec: { replicas: 0 } } } : step];
    });
    const file = join(lab.plugin.home, 'staged.yaml');
    await writeFile(file, stringify({ ...plan, later }));
    await lab.dmaas(here(`restore apply ${file} --yes`).join(' '));
    assert.equal(await kubectl('-n', copy, 'get', 'pods', '-o', 'name'), '');
    await lab.dmaas(here(`restore activate ${plan.id}`).join(' '));
    assert.match(await kubectl('-n', copy, 'get', 'pods', '-o', 'name'), /^pod\/db-0\n$/);
    assert.equal(await kubectl('-n', copy, 'get', 'ingress', '-o', 'name'), '');
    await lab.dmaas(here(`restore delete ${plan.id} --yes`).join(' '));
  });

  it('--without-undo, --hook-after and --allow do what they say, in the line that is offered for copying', async () => {
    const hook = { target: 'statefulset/db', command: ['sh', '-c', `echo "it's restored" > /var/lib/postgresql/data/proof`] };
    const proof = () => kubectl('-n', app, 'exec', 'db-0', '--', 'cat', '/var/lib/postgresql/data/proof');
    await addData(lab.source, app, { rows: 10, files: 1 });
    const inPlace = await lab.plugin.run(line({ activate: true, inPlace: true, withoutUndo: true, hooks: [hook] }));
    assert.equal(inPlace.code, 3, inPlace.stderr); // there is no way back, which is said
    assert.match(inPlace.stderr, /what claim data-db-0 holds now is lost/);
    await waitForDemo(lab.source, app);
    assert.equal(await proof(), "it's restored\n");
    assert.equal(await kubectl('-n', app, 'get', 'volumesnapshots', '-o', 'name'), '');
    assert.deepEqual(await fingerprint(lab.source, app), good);
    const [, id = ''] = /restore\/(\w+) completed/.exec(inPlace.stdout) ?? [];
    const undo = await run(`restore undo ${id} --yes`);
    assert.deepEqual([undo.code, /took no volume snapshots to go back to/.test(undo.stderr)], [2, true], undo.stderr);

    const options: RestoreOptions = { activate: true, namespace: `${copy}-2`, hooks: [hook] };
    const refused = await lab.plugin.run(line(options));
    assert.deepEqual([refused.code, /--allow clusterrolebinding\/shop-\S+ if you trust/.test(refused.stderr)], [40, true], refused.stderr);
    try {
      const allowed = await lab.plugin.run(line({ ...options, allow: ['clusterrolebinding'] }));
      assert.equal(allowed.code, 0, allowed.stderr);
      await waitForDemo(lab.source, `${copy}-2`);
      assert.deepEqual(await fingerprint(lab.source, `${copy}-2`), good);
    } finally {
      await removeDemo(lab.source, `${copy}-2`);
    }
  });

  it('--in-place stops a DaemonSet, a Job and a bare pod; undo goes back and names the volume it leaves', async () => {
    const space = `${app}-kinds`;
    const at = (args: string) =>
      lab.plugin.run(`${args} -n ${space} --context ${lab.source.context} --location-file ${lab.locationFile}`.split(' '));
    const users = ['daemonset/agent', 'job/import', 'pod/single'];
    const inPod = (user: string, script: string) => kubectl('-n', space, 'exec', user, '--', nodeInImage, '-e', script);
    const write = (text: string) => Promise.all(users.map((user) => inPod(user, `require('fs').writeFileSync('/data/f', '${text}')`)));
    const read = () => Promise.all(users.map((user) => inPod(user, `process.stdout.write(require('fs').readFileSync('/data/f', 'utf8'))`)));
    const ready = async () => {
      await kubectl('-n', space, 'rollout', 'status', 'daemonset/agent', '--timeout=120s');
      await kubectl('-n', space, 'wait', 'pod/single', '--for=condition=Ready', '--timeout=120s');
      await kubectl('-n', space, 'wait', 'job/import', '--for=jsonpath={.status.ready}=1', '--timeout=120s');
    };
    const all = (text: string) => users.map(() => text);
    await kubectl('create', 'namespace', space);
    try {
      await lab.source.apply(JSON.stringify({ apiVersion: 'v1', kind: 'List', items: kinds(space) }));
      await ready();
      await write('one');
      const backup = await at('backup create one -l app=kinds');
      assert.equal(backup.code, 0, backup.stderr);
      await write('two');

      const plan = await at('restore create one --in-place --dry-run');
      for (const says of [
        'daemonset/agent runs on no node meanwhile',
        'job/import is suspended meanwhile',
        'pod/single is deleted, and made again',
      ])
        assert.ok((plan.stdout + plan.stderr).includes(says), plan.stdout + plan.stderr);
      assert.deepEqual(await read(), all('two'), 'nothing is changed so far');

      const done = await at('restore create one --in-place --yes');
      assert.equal(done.code, 0, done.stderr);
      const [, id = ''] = /restore\/(\w+) completed/.exec(done.stdout) ?? [];
      await ready();
      assert.deepEqual(await read(), all('one'));
      const marks = await kubectl('-n', space, 'get', 'daemonset,job,pod', '-o', 'yaml');
      assert.ok(!marks.includes('dmaas.io/'), marks);

      const volume = await kubectl('-n', space, 'get', 'pvc', 'single', '-o', 'jsonpath={.spec.volumeName}');
      await kubectl('patch', 'pv', volume, '-p', '{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}');
      const undone = await at(`restore undo ${id} --yes`);
      assert.equal(undone.code, 0, undone.stderr);
      await ready();
      assert.deepEqual(await read(), all('two'));
      assert.match(undone.stderr, new RegExp(`persistentvolume/${volume}, which claim single had before it was put back, stays`));
      await kubectl('patch', 'pv', volume, '-p', '{"spec":{"persistentVolumeReclaimPolicy":"Delete"}}');
    } finally {
      await kubectl('delete', 'namespace', space, '--wait=false');
    }
  });

  it('--replicas and --ordinals: three to one, one to three, one alone, each with its own data, in another class and size', async () => {
    const space = `${app}-set`;
    const at = (args: string) =>
      lab.plugin.run(`${args} -n ${space} --context ${lab.source.context} --location-file ${lab.locationFile}`.split(' '));
    const exec = (namespace: string, pod: string, script: string) => kubectl('-n', namespace, 'exec', pod, '--', nodeInImage, '-e', script);
    const data = (namespace: string, n: number) =>
      exec(
        namespace,
        `kv-${String(n)}`,
        `process.stdout.write(require('fs').existsSync('/data/f') ? require('fs').readFileSync('/data/f', 'utf8') : '')`,
      );
    const claims = async (namespace: string) =>
      (
        await kubectl('-n', namespace, 'get', 'pvc', '-o', 'jsonpath={range .items[*]}{.metadata.name}={.spec.storageClassName} {end}')
      ).trim();
    const restored = async (to: string, flags: string) => {
      const { code, stderr } = await at(`restore create one --to-namespace ${to} ${flags} --yes`);
      assert.equal(code, 0, stderr);
      await kubectl('-n', to, 'rollout', 'status', 'statefulset/kv', '--timeout=120s');
    };
    const spaces = [space, `${space}-1`, `${space}-2`, `${space}-3`] as const;
    const [, one, alone, many] = spaces;
    await kubectl('create', 'namespace', space);
    try {
      await lab.source.apply(JSON.stringify({ apiVersion: 'v1', kind: 'List', items: statefulSet(space) }));
      await kubectl('-n', space, 'rollout', 'status', 'statefulset/kv', '--timeout=120s');
      for (const n of [0, 1, 2]) await exec(space, `kv-${String(n)}`, `require('fs').writeFileSync('/data/f', '${String(n)}')`);
      const backup = await at('backup create one -l app=kv');
      assert.equal(backup.code, 0, backup.stderr);

      await Promise.all([
        restored(one, '--replicas statefulset/kv=1 --map-storage-class csi-hostpath=csi-hostpath-immediate --map-size data-kv-*=32Mi'),
        restored(alone, '--ordinals kv=2'),
      ]);
      assert.equal(await claims(one), 'data-kv-0=csi-hostpath-immediate');
      assert.equal(await data(one, 0), '0');
      const templates = await kubectl('-n', one, 'get', 'statefulset', 'kv', '-o', 'jsonpath={.spec.volumeClaimTemplates[*].spec}');
      assert.match(templates, /"storage":"32Mi".*"storageClassName":"csi-hostpath-immediate"/);

      assert.equal(await claims(alone), 'data-kv-2=csi-hostpath');
      assert.equal(await kubectl('-n', alone, 'get', 'pods', '-o', 'name'), 'pod/kv-2\n');
      assert.equal(await data(alone, 2), '2');

      // Of the copy with one replica: back to three, of which two begin empty. Its claims go with its replicas, and did not so far.
      const inOne = (args: string) =>
        lab.plugin.run(`${args} -n ${one} --context ${lab.source.context} --location-file ${lab.locationFile}`.split(' '));
      const single = await inOne('backup create single -l app=kv');
      assert.equal(single.code, 0, single.stderr);
      const back = await inOne(`restore create single --to-namespace ${many} --replicas statefulset/kv=3 --yes`);
      assert.equal(back.code, 0, back.stderr);
      await kubectl('-n', many, 'rollout', 'status', 'statefulset/kv', '--timeout=120s');
      assert.deepEqual(await Promise.all([0, 1, 2].map((n) => data(many, n))), ['0', '', '']);
      const policy = await kubectl('-n', many, 'get', 'statefulset', 'kv', '-o', 'jsonpath={.spec.persistentVolumeClaimRetentionPolicy}');
      assert.deepEqual(JSON.parse(policy), { whenDeleted: 'Delete', whenScaled: 'Delete' });
    } finally {
      for (const each of spaces) await kubectl('delete', 'namespace', each, '--ignore-not-found', '--wait=false');
    }
  });
});

/** Three replicas, whose claims go with them. */
function statefulSet(namespace: string): KubeObject[] {
  const labels = { app: 'kv' };
  const container = {
    ...{
      name: 'main',
      image: imageName('web:1'),
      imagePullPolicy: 'IfNotPresent',
      command: [nodeInImage, '-e', 'setInterval(() => {}, 1e6)'],
    },
    volumeMounts: [{ name: 'data', mountPath: '/data' }],
  };
  return [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'kv', namespace, labels },
      spec: { clusterIP: 'None', selector: labels, ports: [{ port: 80 }] },
    },
    {
      ...{ apiVersion: 'apps/v1', kind: 'StatefulSet', metadata: { name: 'kv', namespace, labels } },
      spec: {
        ...{ replicas: 3, serviceName: 'kv', podManagementPolicy: 'Parallel', selector: { matchLabels: labels } },
        persistentVolumeClaimRetentionPolicy: { whenDeleted: 'Delete', whenScaled: 'Delete' },
        template: {
          metadata: { labels },
          spec: { terminationGracePeriodSeconds: 1, securityContext: { runAsUser: 0 }, containers: [container] },
        },
        volumeClaimTemplates: [
          {
            metadata: { name: 'data' },
            spec: { accessModes: ['ReadWriteOnce'], storageClassName: 'csi-hostpath', resources: { requests: { storage: '16Mi' } } },
          },
        ],
      },
    },
  ];
}

/** A workload of each kind that has no replicas to take away, each with a claim. */
function kinds(namespace: string): KubeObject[] {
  const metadata = (name: string) => ({ name, namespace, labels: { app: 'kinds', part: name } });
  const spec = (name: string) => ({
    terminationGracePeriodSeconds: 1,
    securityContext: { runAsUser: 0 },
    containers: [
      {
        name: 'main',
        image: imageName('web:1'),
        imagePullPolicy: 'IfNotPresent',
        command: [nodeInImage, '-e', 'setInterval(() => {}, 1e6)'],
        volumeMounts: [{ name: 'data', mountPath: '/data' }],
      },
    ],
    volumes: [{ name: 'data', persistentVolumeClaim: { claimName: name } }],
  });
  const template = (name: string, more: object = {}) => ({
    metadata: { labels: { app: 'kinds', part: name } },
    spec: { ...spec(name), ...more },
  });
  const selector = (name: string) => ({ matchLabels: { part: name } });
  return [
    ...['agent', 'import', 'single'].map((name) => ({
      ...{ apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata: metadata(name) },
      spec: { accessModes: ['ReadWriteOnce'], storageClassName: 'csi-hostpath', resources: { requests: { storage: '16Mi' } } },
    })),
    {
      apiVersion: 'apps/v1',
      kind: 'DaemonSet',
      metadata: metadata('agent'),
      spec: { selector: selector('agent'), template: template('agent') },
    },
    {
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: metadata('import'),
      spec: { template: template('import', { restartPolicy: 'Never' }) },
    },
    { apiVersion: 'v1', kind: 'Pod', metadata: metadata('single'), spec: spec('single') },
  ];
}
