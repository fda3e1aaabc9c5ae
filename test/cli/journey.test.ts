import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseLocationDocument } from '../../core/src/location/document.ts';
import { formatKey, newKey } from '../../core/src/repository/keys/keys.ts';
import { addData, deployDemo, fingerprint, removeDemo, sql, waitForDemo, type Fingerprint } from '../demo/data.ts';
import type { TestCluster } from '../support/cluster/cluster.ts';
import { startLab, type Lab } from '../support/lab.ts';
import type { Plugin } from '../support/plugin.ts';
import type { S3Server } from '../support/stores/server.ts';

/** The main job, as a user does it: each step needs the ones before. */
describe('kubectl dmaas, from a running application to its copy in another cluster', function () {
  this.timeout(300_000);
  this.bail(true);
  const app = `shop-${Date.now().toString(36)}`;
  const copy = `${app}-copy`;
  let lab: Lab;
  let source: TestCluster;
  let target: TestCluster;
  let store: S3Server;
  let plugin: Plugin;
  let first: Fingerprint;
  let second: Fingerprint;

  const dmaas: Lab['dmaas'] = (...call) => lab.dmaas(...call);
  const here = (args: string) => `${args} -n ${app} --context ${source.context}`;

  before(async () => {
    lab = await startLab();
    ({ source, target, store, plugin } = lab);
    await deployDemo(source, app);
    await addData(source, app, { rows: 5000, files: 30 });
    first = await fingerprint(source, app);
  });

  after(async () => {
    for (const [cluster, namespace] of [
      [source, app],
      [source, copy],
      [target, app],
    ] as const)
      await removeDemo(cluster, namespace);
    await lab.stop();
  });

  it('lists and describes the application', async () => {
    const list = await dmaas(here('app list'));
    assert.match(
      list,
      /^NAME +WORKLOADS +VOLUMES +SIZE +SELECTED-BY +ISSUES\nshop +deployment\/web,statefulset\/db +2 +1\.3Gi +-l app=shop +0\n$/,
    );
    const described = await dmaas(here('app describe shop'));
    assert.match(described, /data-db-0 +1Gi +csi-hostpath +filesystem +Bound +statefulset\/db/);
    const tree = await dmaas(here('app tree --workload statefulset/db'));
    assert.match(tree, /reads its environment from: secret\/db/);
    const data = JSON.parse(await dmaas(here('app describe shop -o json'))) as { members: unknown[]; volumes: unknown[] };
    assert.deepEqual([data.members.length, data.volumes.length], [15, 2]);
  });

  it('keeps a credential and a location, and says what to keep safe', async () => {
    await dmaas(here(`credential create-s3 lab --endpoint ${store.endpoint} --access-key-id ${store.accessKey}`), 0, {
      AWS_SECRET_ACCESS_KEY: store.secretKey,
    });
    await dmaas(here(`location create lab --credential lab --bucket ${lab.bucket}`));
    assert.match(await dmaas(here('location check lab')), /✔ of 10 concurrent creates exactly one succeeds/);
    await dmaas(here(`location export lab --with-credentials -f ${lab.locationFile}`));
    const all =
      (await dmaas(here('credential describe lab'))) +
      (await dmaas(here('credential list -o yaml'))) +
      (await dmaas(here('location describe lab -o yaml')));
    assert.ok(!all.includes(store.secretKey) && !all.includes('dmaas-key-1-'), 'secrets are shown');
  });

  it('shows the plan of a backup and changes nothing', async () => {
    const plan = await dmaas(here('backup create first --app shop --dry-run -o yaml'));
    assert.match(plan, /method: volume-snapshot/);
    assert.ok(!plan.includes(Buffer.from('correct-horse-battery').toString('base64')), 'the plan shows a Secret');
    assert.equal(await dmaas(here('backup list -o name')), '');
  });

  it('backs up, and a second time only what changed', async () => {
    assert.match(await dmaas(here('backup create first --app shop')), /^backup\/first created \(15 objects, 2 volumes, /);
    await addData(source, app, { rows: 50, files: 1 });
    second = await fingerprint(source, app);
    assert.match(await dmaas(here('backup create second --app shop -o name')), /^backup\/second\n$/);
    const { items } = JSON.parse(await dmaas(here('backup list -o json'))) as {
      items: { name: string; volumes: { bytes: number; addedBytes: number }[] }[];
    };
    assert.deepEqual(
      items.map((b) => b.name),
      ['second', 'first'],
    );
    const added = items.map((b) => b.volumes.reduce((sum, v) => sum + v.addedBytes, 0));
    assert.ok((added[0] ?? 0) * 3 < (added[1] ?? 0), `the second backup added ${added.join(' after ')} bytes`);
    assert.equal(await source.kubectl('-n', app, 'get', 'volumesnapshots,jobs', '-o', 'name'), '');
    assert.equal(await sql(source, app, 'select count(*) from orders'), '5050\n');
  });

  it('refuses to restore over what is there, naming all of it, and changes nothing', async () => {
    const before = await source.kubectl('-n', app, 'get', 'all,pvc', '-o', 'name');
    const { code, stderr } = await plugin.run(here('restore create second --yes').split(' '));
    assert.equal(code, 40);
    assert.match(stderr, /claim data-db-0 exists in namespace .*, and a restore never writes over data/);
    assert.match(stderr, /error: 13 checks failed: /);
    assert.equal(await source.kubectl('-n', app, 'get', 'all,pvc', '-o', 'name'), before);
  });

  it('makes a location from a bare key, if the bucket has backups that it opens', async () => {
    const keyFile = join(plugin.home, 'bare.key');
    await writeFile(keyFile, parseLocationDocument(await readFile(lab.locationFile, 'utf8')).key);
    const create = (name: string) => here(`location create ${name} --credential lab --bucket ${lab.bucket} --key-file ${keyFile}`);
    await dmaas(create('again'));
    assert.equal(await dmaas(here('backup list --location again -o name')), await dmaas(here('backup list --location lab -o name')));
    await dmaas(here('location delete again --yes'));
    await writeFile(keyFile, formatKey(newKey()));
    await dmaas(create('other'), 12);
    assert.equal(await dmaas(here('location list -o name')), 'location/lab\n');
  });

  it('restores into another namespace after the first is gone, with nothing but the exported location', async () => {
    await source.kubectl('delete', 'namespace', app);
    assert.match(await dmaas(`backup list --location-file ${lab.locationFile}`), /second +shop +Completed/);
    const { code, stdout, stderr } = await plugin.run(
      `restore create second --location-file ${lab.locationFile} --to-namespace ${copy} --allow clusterrolebinding --yes --context ${source.context}`.split(
        ' ',
      ),
    );
    assert.equal(code, 0, stderr);
    assert.match(stdout, new RegExp(`completed: second is in namespace ${copy} of ${source.context}`));
    // The three phases, by these names and in this order.
    assert.match(stderr, /Preflight check: done[^]*Restoring backups: done[^]*Activating application: done/);
    await waitForDemo(source, copy);
    assert.deepEqual(await fingerprint(source, copy), second);
  });

  it('shows files of a backup without any cluster', async () => {
    const nowhere = { KUBECONFIG: join(plugin.home, 'none') };
    assert.match(
      await dmaas(`backup browse second --location-file ${lab.locationFile}`, 0, nowhere),
      /data-db-0 +filesystem[^]*uploads +filesystem/,
    );
    const files = JSON.parse(await dmaas(`backup browse second uploads --location-file ${lab.locationFile} -o json`, 0, nowhere)) as {
      items: { path: string; type: string; sizeBytes: number }[];
    };
    const file = files.items.find((f) => f.type === 'file' && f.sizeBytes > 0);
    assert.ok(file, JSON.stringify(files));
    const text = await dmaas(`backup cat second uploads ${file.path} --location-file ${lab.locationFile}`, 0, nowhere);
    await dmaas(`backup download second uploads -d ${join(plugin.home, 'down')} --location-file ${lab.locationFile}`, 0, nowhere);
    assert.equal(await readFile(join(plugin.home, 'down/uploads', file.path), 'utf8'), text);
    const again = await plugin.run(
      `backup download second uploads -d ${join(plugin.home, 'down')} --location-file ${lab.locationFile}`.split(' '),
      nowhere,
    );
    assert.deepEqual([again.code, /uploads exists/.test(again.stderr)], [2, true], again.stderr);
    const onFile = await plugin.run(
      `backup download second uploads -d ${lab.locationFile} --location-file ${lab.locationFile}`.split(' '),
      nowhere,
    );
    assert.deepEqual([onFile.code, /lab\.yaml exists/.test(onFile.stderr)], [2, true], onFile.stderr);
  });

  it('plans, and does what the plan says', async () => {
    const flags = `--location-file ${lab.locationFile} --to-namespace ${copy} --context ${source.context}`;
    const plan = await dmaas(`restore plan second ${flags} --volume uploads=uploads-old --exit-code`, 1);
    assert.match(plan, /do: populate/);
    await writeFile(join(plugin.home, 'plan.yaml'), plan);
    await dmaas(`restore apply ${join(plugin.home, 'plan.yaml')} --location-file ${lab.locationFile} --yes`);
    assert.match(await source.kubectl('-n', copy, 'get', 'pvc', 'uploads-old', '-o', 'name'), /uploads-old/);
    const secrets = await dmaas(`restore plan second ${flags} --on-conflict overwrite --include secret/*,configmap/* --exit-code`);
    assert.ok(!secrets.includes('data:\n      password: c'), secrets);
    const { code, stderr } = await plugin.run(`restore plan second ${flags}`.split(' '));
    assert.deepEqual(
      [code, /clusterrolebinding\/\S+ grants/.test(stderr), /claim data-db-0 exists/.test(stderr)],
      [40, false, true],
      stderr,
    );
  });

  it('restores the earlier backup into the second cluster, in another storage class', async () => {
    await dmaas(
      `restore create first --location-file ${lab.locationFile} --to-context ${target.context} --map-storage-class csi-hostpath=csi-hostpath-immediate --allow clusterrolebinding --yes --context ${source.context}`,
    );
    await waitForDemo(target, app);
    assert.deepEqual(await fingerprint(target, app), first);
    const classes = await target.kubectl('-n', app, 'get', 'pvc', '-o', 'jsonpath={.items[*].spec.storageClassName}');
    assert.equal(classes, 'csi-hostpath-immediate csi-hostpath-immediate');
  });

  it('takes a restore back: what it created goes, and the rest stays', async () => {
    const { items } = JSON.parse(await dmaas(`restore list --location-file ${lab.locationFile} -o json`)) as {
      items: { id: string; status: string; plan: { target: { context: string } } }[];
    };
    assert.deepEqual(
      items.map((r) => r.status),
      ['Completed', 'Completed', 'Completed'], // two applications, and the volume of the plan that was applied
    );
    const there = items.find((r) => r.plan.target.context === target.context);
    await dmaas(`restore delete ${there?.id ?? ''} --location-file ${lab.locationFile} --yes`);
    await assert.rejects(target.kubectl('get', 'namespace', app));
    const resumed = await lab.plugin.run(['restore', 'resume', there?.id ?? '', '--location-file', lab.locationFile]);
    assert.deepEqual([resumed.code, /was taken back[^]*restore create first/.test(resumed.stderr)], [2, true], resumed.stderr);
    assert.match(await dmaas(`restore list --location-file ${lab.locationFile}`), new RegExp(`${there?.id ?? ''} .* Undone `));
    assert.match(await source.kubectl('-n', copy, 'get', 'statefulset/db', '-o', 'name'), /db/);
  });
});
