import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { addData, deployDemo, fingerprint, removeDemo, waitForDemo } from '../demo/data.ts';
import type { TestCluster } from '../support/cluster/cluster.ts';
import { startLab, type Lab } from '../support/lab.ts';

/** What is unplugged, at a moment chosen at random while an operation runs. */
const PLUGS = ['the command line', 'the mover', 'the store', 'the command line', 'the mover', 'the store'] as const;
type Plug = (typeof PLUGS)[number];
/** How long the operations take undisturbed, about. */
const LONGEST_MS = 15_000;
const STORE_AWAY_MS = 5_000;

describe('unplugged in the middle', function () {
  this.timeout('30m');
  const namespace = `unplugged-${process.pid}`;
  let lab: Lab;

  before(async () => {
    lab = await startLab();
    await deployDemo(lab.source, namespace);
    await addData(lab.source, namespace, { rows: 200_000, files: 300 });
    await lab.makeLocation(namespace);
  });

  after(async () => {
    for (const cluster of [lab.source, lab.target]) await removeDemo(cluster, namespace);
    await lab.stop();
  });

  afterEach(async () => {
    await lab.target.kubectl('delete', 'namespace', namespace, '--ignore-not-found');
    await removeDemo(lab.target, namespace);
  });

  const leftovers = (cluster: TestCluster) =>
    cluster.kubectl('-n', namespace, 'get', 'jobs,volumesnapshots,pvc,secrets', '-l', 'dmaas.io/operation,dmaas.io/role', '-o', 'name');

  /** Starts an operation and unplugs something at a random moment of it. Returns how it ended and what it said. */
  async function unplug(args: string, plug: Plug, cluster: TestCluster): Promise<{ code: number | null; stderr: string }> {
    const running = lab.plugin.start(args.split(' '));
    const delay = Math.round(1000 + Math.random() * LONGEST_MS);
    await Promise.race([sleep(delay), running.ended]);
    if (plug === 'the command line') running.signal('SIGKILL');
    if (plug === 'the mover') await killMover(cluster);
    if (plug === 'the store') {
      await lab.store.kill();
      await sleep(STORE_AWAY_MS);
      await lab.store.restart();
    }
    const { code, stderr } = await running.ended;
    console.log(`      ${plug} after ${delay} ms: ${code === null ? 'killed' : `exit ${code}`}`);
    return { code, stderr };
  }

  async function killMover(cluster: TestCluster): Promise<void> {
    const selector = ['-n', namespace, '-l', 'dmaas.io/role=mover'];
    await cluster.kubectl('delete', 'pod', ...selector, '--force', '--grace-period=0', '--ignore-not-found').catch(() => '');
  }

  PLUGS.forEach((plug, round) => {
    it(`a backup without ${plug}, round ${round + 1}: run again it is whole, and nothing is left behind`, async () => {
      await addData(lab.source, namespace, { rows: 5000, files: 10 });
      const here = `-n ${namespace} --context ${lab.source.context}`;
      const name = `round-${round}`;
      const { code, stderr } = await unplug(`backup create ${name} --app shop ${here}`, plug, lab.source);
      if (code === null) await cleanUp(here);
      else if (code !== 0) assert.match(stderr, /^error: /m);
      if (code !== 0) await lab.dmaas(`backup create ${name} --app shop ${here}`);
      assert.equal(await leftovers(lab.source), '');
      const before = await fingerprint(lab.source, namespace);
      await lab.dmaas(
        `restore create ${name} --location-file ${lab.locationFile} --to-context ${lab.target.context} --allow clusterrolebinding --yes`,
      );
      await waitForDemo(lab.target, namespace);
      assert.deepEqual(await fingerprint(lab.target, namespace), before);
    });

    it(`a restore without ${plug}, round ${round + 1}: resumed it is whole, and nothing is left behind`, async () => {
      const before = await fingerprint(lab.source, namespace);
      const file = `--location-file ${lab.locationFile}`;
      const create = `restore create round-${round} ${file} --to-context ${lab.target.context} --allow clusterrolebinding --yes`;
      const { code, stderr } = await unplug(create, plug, lab.target);
      if (code !== 0) {
        if (code !== null) assert.match(stderr, /^error: /m);
        const { items } = JSON.parse(await lab.dmaas(`restore list ${file} -o json`)) as { items: { id: string; status: string }[] };
        const unfinished = items.filter(({ status }) => status !== 'Completed');
        if (unfinished.length === 0) await lab.dmaas(create);
        for (const { id } of unfinished) await lab.dmaas(`restore resume ${id} ${file} --to-context ${lab.target.context}`);
      }
      await waitForDemo(lab.target, namespace);
      assert.deepEqual(await fingerprint(lab.target, namespace), before);
      assert.equal(await leftovers(lab.target), '');
    });
  });

  async function cleanUp(here: string): Promise<void> {
    const { items } = JSON.parse(await lab.dmaas(`cleanup ${here} -o json`)) as { items: { id: string }[] };
    for (const { id } of items) await lab.dmaas(`cleanup ${id} ${here}`);
  }
});
