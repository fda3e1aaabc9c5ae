/**
 * `npm run bench [-- OPTION...]`: DMaaS beside restic, rustic, kopia and tar on the same work, as root. Leaves a table and JSON
 * in test/artifacts/bench (or --out DIR).
 *
 *   --sets A,B,C,D,E     what is backed up, see test/bench/data-sets.ts
 *   --tools dmaas,restic,kopia,tar   kopia is compiled, or what KOPIA_BIN names; rustic, which takes 20 minutes to compile, also by --with-rustic
 *   --stores local,s3,s3-20ms
 *   --rounds 3           all tools in turn, so often; medians are compared
 *   --scale 1            of the data sets; 0.1 is a tenth
 *   --seed 1
 *   --objects 2000       besides: finding and planning an application of so many objects, on a test cluster; seconds and API requests
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { cpus, totalmem } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { runBench } from '../../bench/bench.ts';
import { SET_NAMES } from '../../bench/data-sets.ts';
import { type ManyObjects, manyObjectsTable, measureManyObjects } from '../../bench/many-objects.ts';
import { markdown, OURS, rowsOf } from '../../bench/report.ts';
import { STORE_NAMES } from '../../bench/stores.ts';
import { findTool, TOOL_NAMES, type Tool } from '../../bench/tools.ts';
import { startCluster } from '../cluster/cluster.ts';
import { SetupError } from '../setup/command.ts';
import { isRoot } from '../setup/debian.ts';
import { say } from '../setup/progress.ts';
import { runTask } from '../setup/task.ts';
import { buildPlugin } from './build.ts';

const root = resolve(import.meta.dirname, '../../..');

const OPTIONS = {
  sets: { type: 'string', default: SET_NAMES.join() },
  tools: { type: 'string' },
  stores: { type: 'string', default: STORE_NAMES.join() },
  rounds: { type: 'string', default: '3' },
  scale: { type: 'string', default: '1' },
  seed: { type: 'string', default: '1' },
  out: { type: 'string', default: 'test/artifacts/bench' },
  objects: { type: 'string' },
  'with-rustic': { type: 'boolean', default: false },
} as const;

function optionsOf(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS }).values;
  } catch (error) {
    throw new SetupError(error instanceof Error ? error.message : String(error), 'the options are in test/support/tasks/bench.ts', error);
  }
}

function chosen<T extends string>(option: string, text: string, known: readonly T[]): T[] {
  return text.split(',').map((word) => {
    const found = known.find((name) => name === word);
    if (found === undefined) throw new SetupError(`--${option} knows no "${word}"`, `use some of ${known.join(',')}`);
    return found;
  });
}

function positive(option: string, text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new SetupError(`--${option} ${text} is no positive number`, `for example --${option} 1`);
  return value;
}

async function ofManyObjects(count: number): Promise<ManyObjects> {
  const cluster = await startCluster('source', { images: [] });
  try {
    return await measureManyObjects(cluster, count);
  } finally {
    await cluster.stop();
  }
}

await runTask(async (args) => {
  const options = optionsOf(args);
  const rustic = options['with-rustic'] ? ',rustic' : '';
  const names = chosen('tools', options.tools ?? `dmaas,restic${rustic},kopia,tar`, TOOL_NAMES);
  const sets = chosen('sets', options.sets, SET_NAMES);
  const stores = chosen('stores', options.stores, STORE_NAMES);
  const [rounds, scale, seed] = [positive('rounds', options.rounds), positive('scale', options.scale), positive('seed', options.seed)];
  if (!isRoot()) throw new SetupError('the benchmark empties the page cache and makes a cgroup', 'run it as root');

  if (names.includes(OURS)) await buildPlugin();
  const tools: Tool[] = [];
  for (const name of names) tools.push(await findTool(name));
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      // Leaving kills what runs and removes the temporary files.
      if (stop.signal.aborted) process.exit(130);
      say('stopping after the tool that runs now; the same again to leave at once');
      stop.abort();
    });
  }
  const began = new Date();
  const measurements = await runBench({ tools, sets, stores, rounds, scale, seed, signal: stop.signal });

  const rows = rowsOf(measurements, new Set(tools.filter((tool) => tool.isArchiver).map(({ name }) => name)));
  const versions = Object.fromEntries(tools.map(({ name, version }) => [name, version]));
  const machine = `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown'}, ${Math.round(totalmem() / 2 ** 30)} GiB`;
  const heading = [
    `${began.toISOString().slice(0, 16)}Z on ${machine}. Scale ${scale}, seed ${seed}; medians of ${rounds} rounds, page cache empty, 1 GiB of memory.`,
  ];
  const objects = options.objects === undefined ? undefined : await ofManyObjects(positive('objects', options.objects));
  const out = resolve(root, options.out);
  await mkdir(out, { recursive: true });
  const text = markdown(rows, versions, heading) + (objects === undefined ? '' : `\n${manyObjectsTable(objects)}`);
  await writeFile(join(out, 'results.md'), text);
  const facts = {
    startedAt: began.toISOString(),
    machine,
    scale,
    seed,
    rounds,
    versions,
    rows,
    measurements,
    ...(objects === undefined ? {} : { objects: { ...objects, planned: undefined } }),
  };
  await writeFile(join(out, 'results.json'), `${JSON.stringify(facts, null, 2)}\n`);
  process.stdout.write(text);
  say(`written to ${relative(root, out)}`);
  if (stop.signal.aborted) return 130;
  return measurements.some((m) => m.fault !== undefined && m.tool === OURS) ? 1 : 0;
});
