/** `npm run cluster -- up|down|status|images`: clusters that stay, to try things on or to run single tests against. */
import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { keepCluster, listClusters, removeCluster, startCluster } from '../cluster/cluster.ts';
import { testImages } from '../images/all.ts';
import { saveImage } from '../images/oci.ts';
import { run, SetupError } from '../setup/command.ts';
import { clusterPrograms } from '../setup/kubelab.ts';
import { say, step } from '../setup/progress.ts';
import { runTask } from '../setup/task.ts';

const USAGE = `npm run cluster -- up [NAME...]      starts clusters (source), gives them the test images and lets them run
npm run cluster -- down [NAME...]    ends them; without a name all of them
npm run cluster -- status            lists them
npm run cluster -- images DIRECTORY  writes the test images as archives, for clusters of your own`;

async function up(names: readonly string[]): Promise<void> {
  const images = await testImages();
  for (const name of names.length === 0 ? ['source'] : names) {
    await step(`starting the cluster ${name}`, async () => {
      await startCluster(name, { images });
      await keepCluster(name);
    });
  }
  await status();
}

async function down(names: readonly string[]): Promise<void> {
  const running = (await listClusters()).map((cluster) => cluster.name);
  for (const name of names.length === 0 ? running : names) {
    if (running.includes(name)) await step(`ending the cluster ${name}`, () => removeCluster(name));
    else say(`no cluster ${name} runs`);
  }
}

async function status(): Promise<void> {
  const clusters = await listClusters();
  if (clusters.length === 0) say('no cluster runs');
  for (const { name, kubeconfig, isKept } of clusters) {
    const args = ['--kubeconfig', kubeconfig, '--request-timeout=3s', 'get', '--raw', '/readyz'];
    const answer = await run(join(clusterPrograms, 'kubectl'), args).catch(() => 'does not answer');
    process.stdout.write(
      `${name}  ${answer.trim()}${isKept ? '' : '  ends with the tests that use it'}\n  export KUBECONFIG=${kubeconfig}\n`,
    );
  }
  if (clusters.length > 0) process.stdout.write(`kubectl is in ${clusterPrograms}\n`);
}

async function images(directory: string | undefined): Promise<void> {
  if (directory === undefined) throw new SetupError('the directory for the images is missing', 'npm run cluster -- images DIRECTORY');
  const target = resolve(directory);
  await mkdir(target, { recursive: true });
  for (const image of await testImages()) {
    const file = join(target, `${image.name.replace(/^.*\//, '').replace(/:.*$/, '')}.tar`);
    await saveImage(image, file);
    process.stdout.write(`${file}  ${image.name}\n`);
  }
}

await runTask(async ([verb, ...names]) => {
  if (verb === 'up') await up(names);
  else if (verb === 'down') await down(names);
  else if (verb === 'status') await status();
  else if (verb === 'images') await images(names[0]);
  else {
    say(USAGE);
    return verb === undefined ? 0 : 2;
  }
  return 0;
});
