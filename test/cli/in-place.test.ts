import assert from 'node:assert/strict';
import { addData, deployDemo, fingerprint, removeDemo, sql, waitForDemo, type Fingerprint } from '../demo/data.ts';
import { startLab, type Lab } from '../support/lab.ts';

/** Back to an earlier state, over the data that are there, and forth again. Each step needs the ones before. */
describe('a restore in place', function () {
  this.timeout(300_000);
  this.bail(true);
  const app = `inplace-${Date.now().toString(36)}`;
  let lab: Lab;
  let good: Fingerprint;
  let bad: Fingerprint;
  let id: string;

  const here = (args: string) => `${args} -n ${app} --context ${lab.source.context}`;
  const dmaas = (args: string, exit = 0) => lab.dmaas(here(args), exit);
  const snapshots = () => lab.source.kubectl('-n', app, 'get', 'volumesnapshots', '-o', 'name');
  const uids = () => lab.source.kubectl('-n', app, 'get', 'pvc', '-o', 'jsonpath={.items[*].metadata.uid}');

  before(async () => {
    lab = await startLab();
    await deployDemo(lab.source, app);
    await lab.makeLocation(app);
    await addData(lab.source, app, { rows: 20_000, files: 20 });
    good = await fingerprint(lab.source, app);
  });

  after(async () => {
    await removeDemo(lab.source, app);
    await lab.stop();
  });

  it('begins with a backup for which PostgreSQL was held in a backup session', async () => {
    const { code, stderr } = await lab.plugin.run(here('backup create good --app shop').split(' '));
    assert.equal(code, 0, stderr);
    assert.match(stderr, /✔ freeze pod\/db-0[^]*✔ release pod\/db-0/);
    // The session is over: another can be begun, and nothing is left of it.
    const session = `select pg_backup_start('test', true); select count(*) from pg_stat_activity where query like '%pg_backup%' and pid <> pg_backend_pid(); select pg_backup_stop(false) is not null`;
    assert.match(await sql(lab.source, app, session), /\n0\nt\n$/);
  });

  it('says what it would do, and changes nothing', async () => {
    await sql(lab.source, app, 'delete from orders where id % 2 = 0');
    await addData(lab.source, app, { rows: 100, files: 3 });
    bad = await fingerprint(lab.source, app);
    const plan = await dmaas('restore create good --in-place --dry-run');
    assert.match(plan, /stop +\S*web[^]*stop +\S*db|stop +\S*db[^]*stop +\S*web/);
    assert.match(plan, /wait +persistentvolumeclaim\/data-db-0[^]*snapshot +[^]*rewrite +persistentvolumeclaim\/data-db-0[^]*start +/);
    assert.deepEqual(await fingerprint(lab.source, app), bad);
  });

  it('makes the volumes what the backup has, and writes only what differs', async () => {
    const before = await uids();
    const { code, stdout, stderr } = await lab.plugin.run(here('restore create good --in-place --yes').split(' '));
    assert.equal(code, 0, stderr);
    assert.equal(await uids(), before);
    const [, differed = '', of = ''] = /\((\S+) of (\S+) differed\)/.exec(stdout) ?? [];
    assert.ok(differed !== '' && differed !== of, stdout);
    console.log(`      ${differed} of ${of} differed`);
    [, id = ''] = /restore\/(\w+) completed/.exec(stdout) ?? [];
    await waitForDemo(lab.source, app);
    assert.deepEqual(await fingerprint(lab.source, app), good);
    assert.equal((await snapshots()).trim().split('\n').length, 2);
    // Again, it stops nothing: it is done.
    const again = await dmaas(`restore resume ${id}`);
    assert.match(again, /completed/);
    assert.deepEqual(await fingerprint(lab.source, app), good);
  });

  it('goes back to what was before, and says so; the volumes that were there go when the others are', async () => {
    const volumes = await lab.source.kubectl('-n', app, 'get', 'pvc', '-o', 'jsonpath={.items[*].spec.volumeName}');
    await dmaas(`restore undo ${id} --yes`);
    await waitForDemo(lab.source, app);
    assert.deepEqual(await fingerprint(lab.source, app), bad);
    assert.equal(await lab.source.kubectl('get', 'persistentvolumes', '-l', `dmaas.io/kept-by=${id}`, '-o', 'name'), '');
    await lab.source.kubectl('wait', '--for=delete', '--timeout=120s', ...volumes.split(' ').map((name) => `persistentvolume/${name}`));
    assert.match(await dmaas('restore list'), new RegExp(`${id} .* Undone `));
  });

  it('takes the volume snapshots away when it is deleted, and nothing else', async () => {
    await dmaas(`restore delete ${id} --yes`);
    assert.equal(await snapshots(), '');
    assert.deepEqual(await fingerprint(lab.source, app), bad);
  });

  it('of one volume leaves the other; stopped half-way it goes on', async () => {
    const running = lab.plugin.start(here('restore create good --in-place --volume data-db-0 --yes').split(' '));
    await running.saw(/✔ wait until nothing uses claim data-db-0/);
    running.signal('SIGINT');
    const { code, stderr } = await running.ended;
    assert.equal(code, 130, stderr);
    const [, other = ''] = /restore resume (\w+)/.exec(stderr) ?? [];
    assert.equal(await lab.source.kubectl('-n', app, 'get', 'statefulset/db', '-o', 'jsonpath={.spec.replicas}'), '0');
    const refused = await lab.plugin.run(here(`restore delete ${other} --yes`).split(' '));
    assert.deepEqual([refused.code, /statefulset\/db is still stopped by restore/.test(refused.stderr)], [2, true], refused.stderr);
    await dmaas(`restore resume ${other}`);
    await waitForDemo(lab.source, app);
    const now = await fingerprint(lab.source, app);
    assert.deepEqual([now.rows, now.files], [good.rows, bad.files]);
    await dmaas(`restore delete ${other} --yes`);
    assert.equal(await snapshots(), '');
  });

  it('left staged, the workloads wait for their activation', async () => {
    const copy = `${app}-copy`;
    try {
      const { code, stdout, stderr } = await lab.plugin.run(
        here(`restore create good --to-namespace ${copy} --allow clusterrolebinding --no-activate --yes`).split(' '),
      );
      assert.equal(code, 0, stderr);
      const [, staged = ''] = /restore\/(\w+) completed/.exec(stdout) ?? [];
      assert.equal(await lab.source.kubectl('-n', copy, 'get', 'pods', '-o', 'name'), '');
      await dmaas(`restore activate ${staged}`);
      await waitForDemo(lab.source, copy);
      assert.deepEqual(await fingerprint(lab.source, copy), good);
    } finally {
      await removeDemo(lab.source, copy);
    }
  });

  it('runs commands that are given on the command line', async () => {
    const proof = 'statefulset/db=touch\t/var/lib/postgresql/data/proof'; // no space: the line is cut at these
    await dmaas(`backup create hooked --app shop --hook-before ${proof} --hook-after deployment/web=["/usr/local/bin/node","--version"]`);
    const files = await dmaas('backup browse hooked data-db-0');
    assert.match(files, /proof/);
    const failed = await lab.plugin.run(here('backup create never --app shop --hook-before statefulset/db=false').split(' '));
    assert.equal(failed.code, 41, failed.stderr);
    assert.match(
      failed.stderr,
      /the command before the volume snapshots in container postgres of pod\/db-0 \(command line\) ended with exit code 1/,
    );
  });
});
