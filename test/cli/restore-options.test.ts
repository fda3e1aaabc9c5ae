import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parse, stringify } from 'yaml';
import { restoreCommandLine } from '../../core/src/command-line.ts';
import type { RestoreOptions, RestorePlan } from '../../core/src/restore/model.ts';
import { addData, deployDemo, fingerprint, removeDemo, waitForDemo, type Fingerprint } from '../demo/data.ts';
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
    const { code, stdout, stderr } = await trial(`--map-storage-class csi-hostpath=${broken} --canary-timeout 20s`);
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
    const { code, stdout, stderr } = await trial('--mover-image dmaas.test/no-such-mover:1 --canary-timeout 15s');
    assert.equal(code, 40, stderr);
    assert.match(stdout + stderr, /storage class csi-hostpath failed: its image dmaas\.test\/no-such-mover:1 cannot be pulled/);
    assert.match(stdout + stderr, /--mover-image/);
    assert.equal(await temporary(), '');
  });

  it('--canary that is interrupted leaves nothing; one whose process dies goes by itself', async () => {
    const slow = `restore plan good --to-namespace ${copy} ${allow} --canary --map-storage-class csi-hostpath=${broken}`;
    const interrupted = lab.plugin.start(here(slow));
    while ((await temporary()) === '') await sleep(200);
    interrupted.signal('SIGINT');
    assert.equal((await interrupted.ended).code, 130);
    assert.equal(await temporary(), '');
    const killed = lab.plugin.start(here(`${slow} --canary-timeout 1s`));
    while (!(await temporary()).includes('persistentvolumeclaim')) await sleep(50);
    killed.signal('SIGKILL');
    await killed.ended;
    assert.notEqual(await temporary(), '');
    for (let waited = 0; (await temporary()) !== ''; waited++) {
      assert.ok(waited < 150, await temporary());
      await sleep(1000);
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
});
