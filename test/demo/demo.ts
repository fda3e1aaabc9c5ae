import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { styleText } from 'node:util';
import { startCluster, type TestCluster } from '../support/cluster/cluster.ts';
import { testImages } from '../support/images/all.ts';
import { step } from '../support/setup/progress.ts';
import { startMinio } from '../support/stores/minio.ts';
import { buildPlugin } from '../support/tasks/build.ts';
import { addData, deployDemo, fingerprint, waitForDemo, type Fingerprint } from './data.ts';

const NAMESPACE = 'shop';
const COPY = 'shop-copy';
const BUCKET = 'backups';

/** Runs the commands of the demo as a user would type them: through kubectl, with both clusters in KUBECONFIG. */
class Shell {
  private readonly env: NodeJS.ProcessEnv;

  constructor(env: NodeJS.ProcessEnv) {
    this.env = { ...process.env, ...env };
  }

  /** Prints the command line and runs it with this terminal. Rejects unless it ends with 0. */
  async type(line: string, secret: NodeJS.ProcessEnv = {}): Promise<void> {
    process.stdout.write(`\n${styleText('bold', `$ ${line}`)}\n`);
    const code = await new Promise<number>((resolve, reject) => {
      const child = spawn('sh', ['-c', line], { env: { ...this.env, ...secret }, stdio: ['ignore', 'inherit', 'inherit'] });
      child.once('error', reject);
      child.once('close', (c) => {
        resolve(c ?? 1);
      });
    });
    if (code !== 0) throw new Error(`the command above ended with ${code}`);
  }
}

function headline(text: string): void {
  process.stdout.write(`\n${styleText(['bold', 'cyan'], `── ${text}`)}\n`);
}

function compare(what: string, before: Fingerprint, after: Fingerprint): void {
  const same = before.rows === after.rows && before.files === after.files;
  process.stdout.write(`  before   ${before.rows}; ${before.files}\n  ${what.padEnd(8)} ${after.rows}; ${after.files}\n`);
  if (!same) throw new Error(`the data in ${what} differs from what was backed up`);
  process.stdout.write(styleText('green', '  equal: every row, and every file with its content, owner, mode and time\n'));
}

/** The main job on real machinery, from an empty cluster to the application running in a second one. */
export async function demo(): Promise<number> {
  const began = Date.now();
  const stops: (() => Promise<void>)[] = [];
  try {
    const images = await testImages();
    const plugin = await step('building kubectl dmaas', buildPlugin);
    const [source, target] = await step('starting two clusters', () =>
      Promise.all([startCluster('source', { images }), startCluster('target', { images })]),
    );
    stops.push(
      () => source.stop(),
      () => target.stop(),
    );
    const store = await step('starting an S3 server', () => startMinio({ host: source.hostAddress }));
    stops.push(() => store.stop());
    await store.createBucket(BUCKET);
    const work = await mkdtemp(join(tmpdir(), 'dmaas-demo-'));
    stops.push(() => rm(work, { recursive: true }));
    const mover = images[0];
    if (mover === undefined) throw new Error('there is no mover image');
    const shell = new Shell({
      KUBECONFIG: [source.kubeconfig, target.kubeconfig].join(delimiter),
      PATH: [dirname(plugin), dirname(source.kubectlProgram), process.env['PATH']].join(delimiter),
      DMAAS_MOVER_IMAGE: mover.name,
      HOME: work,
    });
    await story(shell, source, target, store);
    process.stdout.write(styleText(['bold', 'green'], `\nDone in ${Math.round((Date.now() - began) / 1000)} s.\n`));
    return 0;
  } finally {
    for (const stop of stops.reverse()) await stop();
  }
}

async function story(
  shell: Shell,
  source: TestCluster,
  target: TestCluster,
  store: { endpoint: string; accessKey: string; secretKey: string },
): Promise<void> {
  const src = `--context ${source.context}`;
  headline('A shop: PostgreSQL as a StatefulSet, a web front end with a volume of uploads');
  await step('deploying the application', () => deployDemo(source, NAMESPACE));
  await addData(source, NAMESPACE, { rows: 50_000, files: 200 });
  const before = await fingerprint(source, NAMESPACE);
  await shell.type(`kubectl ${src} -n ${NAMESPACE} get statefulset,deployment,pvc`);

  headline('Where backups go: a bucket, and the key that encrypts them');
  await shell.type(
    `kubectl dmaas credential create-s3 lab --endpoint ${store.endpoint} --access-key-id ${store.accessKey} -n ${NAMESPACE} ${src}`,
    {
      AWS_SECRET_ACCESS_KEY: store.secretKey,
    },
  );
  await shell.type(`kubectl dmaas location create lab --credential lab --bucket ${BUCKET} -n ${NAMESPACE} ${src}`);
  await shell.type(`kubectl dmaas location export lab --with-credentials -f "$HOME/lab.yaml" -n ${NAMESPACE} ${src}`);

  headline('What belongs to the application');
  await shell.type(`kubectl dmaas app list -n ${NAMESPACE} ${src}`);
  await shell.type(`kubectl dmaas app tree shop -n ${NAMESPACE} ${src}`);

  headline('A backup, and an incremental one after some changes');
  await shell.type(`kubectl dmaas backup create first --app shop -n ${NAMESPACE} ${src}`);
  await addData(source, NAMESPACE, { rows: 500, files: 2 });
  const changed = await fingerprint(source, NAMESPACE);
  await shell.type(`kubectl dmaas backup create second --app shop -n ${NAMESPACE} ${src}`);
  await shell.type(`kubectl dmaas backup list -n ${NAMESPACE} ${src}`);

  headline('Disaster: the namespace is gone, with its volumes, and the location with it');
  await shell.type(`kubectl ${src} delete namespace ${NAMESPACE}`);

  headline('Restore into another namespace, with the exported location');
  const restore = `kubectl dmaas restore create second --location-file "$HOME/lab.yaml"`;
  await shell.type(`${restore} --to-namespace ${COPY} --allow clusterrolebinding --yes ${src}`);
  await waitForDemo(source, COPY);
  compare('restored', changed, await fingerprint(source, COPY));

  headline('Restore the earlier backup into a second cluster');
  await shell.type(`${restore.replace('second', 'first')} --to-context ${target.context} --allow clusterrolebinding --yes ${src}`);
  await waitForDemo(target, NAMESPACE);
  compare('restored', before, await fingerprint(target, NAMESPACE));
  await shell.type(`kubectl --context ${target.context} -n ${NAMESPACE} get statefulset,deployment,pvc`);
}
