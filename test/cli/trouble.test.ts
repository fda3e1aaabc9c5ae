import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { startCluster, type TestCluster } from '../support/cluster/cluster.ts';
import { testImages } from '../support/images/all.ts';
import { pluginFor, type Plugin } from '../support/plugin.ts';
import { startMinio } from '../support/stores/minio.ts';
import type { S3Server } from '../support/stores/server.ts';
import { addData, deployDemo, fingerprint, removeDemo } from '../demo/data.ts';

interface Mistake {
  readonly args: string;
  readonly exit: number;
  readonly error: RegExp;
  readonly hint?: RegExp;
  readonly env?: Readonly<Record<string, string>>;
}

/** What users get wrong: each is one sentence with the way on, its exit code, and nothing is changed. */
const MISTAKES: readonly Mistake[] = [
  { args: 'backpu list', exit: 2, error: /there is no command backpu$/, hint: /kubectl dmaas backup list/ },
  { args: 'backup list --nope', exit: 2, error: /there is no flag --nope$/, hint: /kubectl dmaas backup list --help/ },
  { args: 'backup create x', exit: 2, error: /no application is named/, hint: /-l LABELS/ },
  { args: 'backup create x --app nope', exit: 33, error: /there is no application "nope"/, hint: /applications there: shop/ },
  {
    args: 'backup create x -l app=nope',
    exit: 33,
    error: /nothing in namespace \S+ matches the label selector "app=nope"/,
    hint: /app=shop/,
  },
  { args: 'backup create x --workload statefulset/nope', exit: 33, error: /nope/ },
  { args: 'backup create x --app shop --exclude-volume nope', exit: 40, error: /nope/ },
  { args: 'backup create x --app shop --snapshot-class nope', exit: 40, error: /nope/ },
  { args: 'backup describe nope', exit: 15, error: /no backup nope in location lab/ },
  { args: 'restore create nope', exit: 15, error: /no backup nope in location lab/ },
  { args: 'restore describe nope', exit: 2, error: /knows no restore nope/, hint: /restore list/ },
  { args: 'restore create x --map-storage-class fast', exit: 2, error: /is not of the form OLD=NEW/ },
  {
    args: 'restore create x --in-place --canary',
    exit: 2,
    error: /--canary tries the new volumes of a restore, and --in-place makes none/,
  },
  { args: 'restore create x --canary-timeout 5s', exit: 2, error: /--canary-timeout is of use with --canary only/ },
  { args: 'app list --context nope', exit: 2, error: /context "nope" does not exist/, hint: /contexts there: / },
  { args: 'app list --server https://127.0.0.1:1 --request-timeout 5s', exit: 30, error: /no answer from https:\/\/127\.0\.0\.1:1/ },
  { args: 'app list --as nobody', exit: 31, error: /may not/ },
  { args: 'location create other --credential lab --bucket no-such-bucket', exit: 40, error: /bucket no-such-bucket does not exist/ },
  { args: 'location create lab --credential lab --bucket trouble', exit: 2, error: /lab/ },
  { args: 'credential create-aws 1prod', exit: 2, error: /title "1prod" must start with a letter/ },
  { args: 'credential create-aws my_key', exit: 2, error: /title "my_key" may contain only letters, digits and "-"/ },
  { args: `credential create-aws ${'a'.repeat(31)}`, exit: 2, error: /title is 31 characters long, at most 24 are allowed/ },
  { args: 'credential delete lab --yes', exit: 40, error: /credential lab is used by location lab/ },
  { args: 'location delete lab', exit: 2, error: /needs a confirmation/, hint: /add -y/ },
  { args: 'cleanup nope', exit: 2, error: /nope is no operation id/ },
];

describe('kubectl dmaas in trouble', function () {
  this.timeout(240_000);
  const namespace = `trouble-${Date.now().toString(36)}`;
  let cluster: TestCluster;
  let store: S3Server;
  let plugin: Plugin;
  const inNamespace = (args: string) => [
    ...args.split(' '),
    '-n',
    namespace,
    ...(args.includes('--context') ? [] : ['--context', cluster.context]),
  ];
  const temporary = () =>
    cluster.kubectl('-n', namespace, 'get', 'jobs,volumesnapshots,pvc,secrets', '-l', 'dmaas.io/operation', '-o', 'name');

  before(async () => {
    const images = await testImages();
    cluster = await startCluster('source', { images });
    store = await startMinio({ host: cluster.hostAddress });
    await store.createBucket('trouble');
    plugin = await pluginFor([cluster], images[0]?.name ?? '');
    await deployDemo(cluster, namespace);
    await addData(cluster, namespace, { rows: 1000, files: 5 });
    const env = { AWS_SECRET_ACCESS_KEY: store.secretKey };
    const credential = await plugin.run(
      inNamespace(`credential create-s3 lab --endpoint ${store.endpoint} --access-key-id ${store.accessKey}`),
      env,
    );
    assert.equal(credential.code, 0, credential.stderr);
    const location = await plugin.run(inNamespace('location create lab --credential lab --bucket trouble'));
    assert.equal(location.code, 0, location.stderr);
  });

  after(async () => {
    await removeDemo(cluster, namespace);
    await plugin.remove();
    await store.stop();
    await cluster.stop();
  });

  for (const { args, exit, error, hint } of MISTAKES) {
    it(`${args}: exit ${exit}`, async () => {
      const { code, stdout, stderr } = await plugin.run(inNamespace(args));
      assert.equal(code, exit, `${stdout}\n${stderr}`);
      const [line = ''] = stderr.split('\n').filter((l) => l.startsWith('error: '));
      assert.match(line, error);
      if (hint !== undefined) assert.match(stderr, new RegExp(`hint: .*${hint.source}`));
      assert.ok(!/\n {4}at /.test(stderr), 'a stack trace is shown');
      assert.ok(!stderr.includes(store.secretKey), 'a secret is shown');
      assert.equal(stdout, '');
      assert.equal(await temporary(), '');
    });
  }

  it('stopped by Ctrl-C in the middle of a backup, leaves the application as it was and nothing behind', async () => {
    const before = await fingerprint(cluster, namespace);
    const running = plugin.start(inNamespace('backup create stopped --app shop'));
    await running.saw(/Capturing volumes/);
    await sleep(3000);
    running.signal('SIGINT');
    const { code, stderr } = await running.ended;
    assert.equal(code, 130, stderr);
    assert.match(stderr, /the backup of shop was stopped; the application was not touched/);
    assert.equal(await temporary(), '');
    assert.deepEqual(await fingerprint(cluster, namespace), before);
    assert.equal((await plugin.run(inNamespace('backup list -o name'))).stdout, '');
  });

  it('killed in the middle of a backup, is cleaned up by its operation, and the next backup is whole', async () => {
    const running = plugin.start(inNamespace('backup create killed --app shop'));
    await running.saw(/Capturing volumes/);
    await sleep(2000);
    running.signal('SIGKILL');
    await running.ended;
    const left = await plugin.run(inNamespace('cleanup -o json'));
    const { items } = JSON.parse(left.stdout) as { items: { id: string }[] };
    assert.equal(items.length, 1, left.stdout);
    const cleaned = await plugin.run(inNamespace(`cleanup ${items[0]?.id ?? ''}`));
    assert.equal(cleaned.code, 0, cleaned.stderr);
    assert.equal(await temporary(), '');
    const again = await plugin.run(inNamespace('backup create whole --app shop'));
    assert.equal(again.code, 0, again.stderr);
    assert.equal((await plugin.run(inNamespace('backup list -o name'))).stdout, 'backup/whole\n');
  });

  it('without its store says so, and goes on when it is back', async () => {
    await store.kill();
    const { code, stderr } = await plugin.run(inNamespace('backup create away --app shop'));
    assert.equal(code, 22, stderr);
    assert.match(stderr, /error: no answer from /);
    assert.equal(await temporary(), '');
    await store.restart();
    const again = await plugin.run(inNamespace('backup create back --app shop'));
    assert.equal(again.code, 0, again.stderr);
  });
});
