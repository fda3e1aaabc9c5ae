import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { comparable } from '../../core/src/browse/compare.ts';
import { connectCluster } from '../../core/src/cluster/connect.ts';
import { diffFields } from '../../core/src/restore/diff.ts';
import { mapObject } from '../../core/src/restore/mapping.ts';
import { refKey, refName, refOf } from '../../core/src/model.ts';
import type { KubeObject } from '../../core/src/model.ts';
import { ANNOTATIONS, LABELS } from '../../core/src/operation.ts';
import { readManifests } from '../../core/src/repository/manifests.ts';
import type { TestCluster } from '../support/cluster/cluster.ts';
import { createMany } from '../bench/many-objects.ts';
import { CORPUS, type CorpusApp, type CorpusScript } from '../support/corpus.ts';
import { corpusImages } from '../support/images/corpus.ts';
import { startLab, type Lab } from '../support/lab.ts';

const WRITE = `const fs = require('node:fs'), c = require('node:crypto'), path = process.argv[1];
  if (fs.statSync(path).isBlockDevice()) {
    const fd = fs.openSync(path, 'r+');
    fs.writeSync(fd, c.randomBytes(1 << 20), 0, 1 << 20, 3 << 20); fs.fsyncSync(fd);
  } else {
    fs.mkdirSync(path + '/folder', { mode: 0o750, recursive: true });
    for (let i = 0; i < 50; i++) fs.writeFileSync(path + '/folder/file-' + i, c.randomBytes(1 + i * 997));
    fs.symlinkSync('folder/file-1', path + '/link-' + c.randomBytes(3).toString('hex'));
  }`;
const SUM = `const fs = require('node:fs'), c = require('node:crypto'), sum = c.createHash('sha256'), path = process.argv[1];
  if (fs.statSync(path).isBlockDevice()) {
    const fd = fs.openSync(path), buffer = Buffer.alloc(1 << 20);
    for (let n; (n = fs.readSync(fd, buffer)) > 0; ) sum.update(buffer.subarray(0, n));
  } else for (const name of fs.readdirSync(path, { recursive: true }).sort()) {
    if (name.startsWith('lost+found')) continue;
    const stat = fs.lstatSync(path + '/' + name);
    sum.update([name, stat.mode, stat.uid, stat.mtimeMs].join(' '));
    if (stat.isFile()) sum.update(fs.readFileSync(path + '/' + name));
    if (stat.isSymbolicLink()) sum.update(fs.readlinkSync(path + '/' + name));
  }
  console.log(sum.digest('hex'));`;

/** What a restore writes on an object, besides the object. */
const MARKS = new Set<string>([LABELS.operation, ANNOTATIONS.backup, ANNOTATIONS.populated]);

function unmarked(object: KubeObject): KubeObject {
  const { labels = {}, annotations = {}, ...metadata } = object.metadata;
  const kept = (map: Readonly<Record<string, string>>) => Object.fromEntries(Object.entries(map).filter(([key]) => !MARKS.has(key)));
  return { ...object, metadata: { ...metadata, labels: kept(labels), annotations: kept(annotations) } };
}

/** Which to try: all, or those whose name has the word; a regular expression. */
const ONLY = new RegExp(process.env['DMAAS_CORPUS'] ?? '');

const COLUMNS = [
  'application',
  'objects',
  'volumes',
  'same namespace',
  'another namespace',
  'another cluster',
  'again, same',
  'again, another',
  'again, there',
];
const WIDTHS = [47, 7, 7, 14, 17, 15, 11, 14, 12];

/** At once, so that a run that is cut short shows what it has. */
function printRow(cells: readonly string[]): void {
  console.log(`| ${cells.map((cell, i) => cell.padEnd(WIDTHS[i] ?? 0)).join(' | ')} |`);
}

describe('applications as users have them', function () {
  this.timeout('15m');
  const stamp = Date.now().toString(36);
  let lab: Lab;

  before(async () => {
    lab = await startLab();
    const images = await corpusImages();
    for (const cluster of [lab.source, lab.target]) await cluster.importImages(...images);
    await lab.source.kubectl('create', 'namespace', `corpus-${stamp}`);
    await lab.makeLocation(`corpus-${stamp}`);
    printRow(COLUMNS);
    printRow(WIDTHS.map((width) => '-'.repeat(width)));
  });

  after(async () => {
    await lab.source.kubectl('delete', 'namespace', `corpus-${stamp}`);
    await lab.stop();
  });

  async function run(cluster: TestCluster, namespace: string, workload: string, script: string, path: string): Promise<string> {
    return cluster.kubectl('-n', namespace, 'exec', workload, '--', '/usr/local/bin/node', '-e', script, path);
  }

  async function shell(cluster: TestCluster, namespace: string, { in: workload, script }: CorpusScript): Promise<string> {
    return cluster.kubectl('-n', namespace, 'exec', workload, '--', 'sh', '-c', script);
  }

  async function create(namespace: string, objects: readonly KubeObject[]): Promise<void> {
    const placed = objects.filter((o) => o.metadata.namespace === namespace);
    const many = placed.length < 100 ? [] : placed;
    const cluster = await connectCluster({ kubeconfig: lab.source.kubeconfig, context: lab.source.context });
    await createMany(cluster, many).finally(() => cluster.close());
    const items = objects.filter((o) => !many.includes(o));
    await lab.source.apply(JSON.stringify({ apiVersion: 'v1', kind: 'List', items }), '-n', namespace);
  }

  /** The objects of a backup of `namespace`, by what they are, as they would be in the namespace `as`. */
  async function captured(
    namespace: string,
    name: string,
    as: string,
    cluster: TestCluster = lab.source,
  ): Promise<ReadonlyMap<string, KubeObject>> {
    const open = await lab.repository(namespace, cluster);
    try {
      const backup = await open.repository.backup(name);
      const members = await readManifests(open.repository, backup.manifests);
      const objects = members.map(({ object }) => mapObject(comparable(object), { from: namespace, to: as, storageClasses: {} }).object);
      return new Map(objects.map((object) => [refKey(refOf(object)), object]));
    } finally {
      await open.close();
    }
  }

  /** Backs up what was restored and compares: the same objects, and the same in all that a restore keeps, but for what it says it changes. */
  async function again(app: CorpusApp, namespace: string, name: string, cluster: TestCluster, restoredTo: string): Promise<string> {
    if (app.writer !== undefined) await cluster.kubectl('-n', restoredTo, 'delete', 'pod', app.writer);
    const flags = `--all -n ${restoredTo} --context ${cluster.context} --location-file ${lab.locationFile}`;
    await lab.dmaas(`backup create ${name}-again ${flags}`);
    const first = await captured(namespace, name, restoredTo);
    const second = await captured(restoredTo, `${name}-again`, restoredTo, cluster);
    // What is of the cluster is shared with the original, and what cannot be shared has another name.
    const own = (all: ReadonlyMap<string, KubeObject>) =>
      [...all].filter(([, o]) => restoredTo === namespace || o.metadata.namespace !== undefined).map(([key]) => key);
    const leftOut = (key: string) => app.leftOut?.includes(refName(refOf(first.get(key) as KubeObject))) === true;
    const kept = own(first).filter((key) => !leftOut(key));
    assert.equal(own(first).length - kept.length, app.leftOut?.length ?? 0);
    assert.deepEqual(own(second).toSorted(), kept.toSorted());
    const suspended: string[] = [];
    for (const key of kept) {
      const object = first.get(key) as KubeObject;
      const other = second.get(key) as KubeObject;
      const differing = diffFields(unmarked(object), unmarked(other));
      // CronJobs and Jobs stay suspended unless asked otherwise: the plan says so.
      const paths = differing.map(({ path }) => path);
      if (/^(Cron)?Job$/.test(object.kind) && paths.join() === 'spec.suspend') suspended.push(refName(refOf(object)));
      else assert.deepEqual(differing, [], refName(refOf(object)));
    }
    const but = [
      ...(suspended.length === 0 ? [] : [`suspended: ${suspended.join(', ')}`]),
      ...(app.leftOut === undefined ? [] : [`left out: ${app.leftOut.join(', ')}`]),
    ];
    return `${String(own(second).length)} equal${but.length === 0 ? '' : `; ${but.join('; ')}`}`;
  }

  async function ready(cluster: TestCluster, namespace: string, app: CorpusApp): Promise<void> {
    // What an operator makes comes after what makes it.
    for (const workload of app.ready) await cluster.kubectl('-n', namespace, 'wait', '--for=create', workload, '--timeout=60s');
    for (const workload of app.ready) await cluster.kubectl('-n', namespace, 'rollout', 'status', workload, '--timeout=180s');
    if ((app.there ?? []).length > 0) await cluster.kubectl('-n', namespace, 'get', '-o', 'name', ...(app.there ?? []));
  }

  async function refused(cluster: TestCluster, namespace: string, { refuses }: CorpusApp): Promise<void> {
    if (refuses === undefined) return;
    for (let waited = 0; ; waited++) {
      const answer = await cluster.apply(JSON.stringify(refuses), '-n', namespace, '--dry-run=server').catch(String);
      if (answer.includes('denied the request: the guard forbids it')) return;
      // A Service takes a moment to follow pods that have become ready.
      assert.ok(waited < 20, answer);
      await sleep(500);
    }
  }

  /** A webhook that its namespace has left behind refuses everything: the plan says so with the command that helps, which is done here. */
  async function removeObstacle(name: string, namespace: string): Promise<void> {
    const flags = `--location-file ${lab.locationFile} --context ${lab.source.context} --to-namespace ${namespace}`;
    const { code, stdout, stderr } = await lab.plugin.run(`restore plan ${name} ${flags} --allow * -o json`.split(' '));
    assert.equal(code, 40, stderr);
    const { findings } = JSON.parse(stdout) as { findings: { level: string; code: string; hint: string }[] };
    const blockers = findings.filter(({ level }) => level === 'blocker');
    assert.deepEqual(
      blockers.map((f) => f.code),
      ['webhook-unanswered'],
    );
    await lab.source.kubectl(...blockers[0]!.hint.split(' ').slice(1));
  }

  async function writer(cluster: TestCluster, namespace: string, app: CorpusApp, name: string): Promise<void> {
    const pod = (await app.objects(namespace)).find((o) => o.kind === 'Pod' && o.metadata.name === name);
    await cluster.apply(JSON.stringify(pod), '-n', namespace);
    await cluster.kubectl('-n', namespace, 'wait', '--for=condition=Ready', `pod/${name}`, '--timeout=120s');
  }

  const sums = async (cluster: TestCluster, namespace: string, { data }: CorpusApp) => {
    const found: string[] = [];
    for (const item of data)
      found.push(('path' in item ? await run(cluster, namespace, item.in, SUM, item.path) : await shell(cluster, namespace, item)).trim());
    return found;
  };

  async function restored(
    name: string,
    app: CorpusApp,
    cluster: TestCluster,
    namespace: string,
    expected: readonly string[],
  ): Promise<string> {
    const began = Date.now();
    const flags = `--location-file ${lab.locationFile} --context ${lab.source.context} --to-context ${cluster.context} --to-namespace ${namespace}`;
    const { code, stdout, stderr } = await lab.plugin.run(`restore create ${name} ${flags} --allow * --yes -o json`.split(' '));
    assert.ok(code === 0 || code === 3, stderr);
    await ready(cluster, namespace, app);
    if (!namespace.endsWith('-copy')) await refused(cluster, namespace, app);
    if (app.writer !== undefined) await writer(cluster, namespace, app, app.writer);
    assert.deepEqual(await sums(cluster, namespace, app), expected);
    const { findings } = JSON.parse(stdout) as { findings: { level: string; code: string }[] };
    const warnings = findings.filter(({ level }) => level === 'warning').map(({ code: warning }) => warning);
    return `equal, ${((Date.now() - began) / 1000).toFixed(0)} s${warnings.length === 0 ? '' : ` (${[...new Set(warnings)].join(', ')})`}`;
  }

  for (const [i, app] of CORPUS.entries()) {
    if (!ONLY.test(app.name)) continue;
    it(app.name, async () => {
      const [namespace, name] = [`corpus-${stamp}-${String(i)}`, `app-${String(i)}`];
      const copy = `${namespace}-copy`;
      let objects: readonly KubeObject[] = [];
      try {
        await lab.source.kubectl('create', 'namespace', namespace);
        objects = await app.objects(namespace);
        for (const crd of objects.filter((o) => o.kind === 'CustomResourceDefinition')) {
          await lab.source.apply(JSON.stringify(crd));
          await lab.source.kubectl('wait', '--for=condition=Established', `crd/${crd.metadata.name}`);
        }
        await create(namespace, objects);
        await ready(lab.source, namespace, app);
        for (const job of app.leftOut ?? []) await lab.source.kubectl('-n', namespace, 'wait', '--for=condition=Complete', job);
        await refused(lab.source, namespace, app);
        if (app.writer !== undefined) await writer(lab.source, namespace, app, app.writer);
        for (const script of app.fill ?? []) await shell(lab.source, namespace, script);
        for (const item of app.data) if ('path' in item) await run(lab.source, namespace, item.in, WRITE, item.path);
        const expected = await sums(lab.source, namespace, app);
        if (app.writer !== undefined) await lab.source.kubectl('-n', namespace, 'delete', 'pod', app.writer);
        const backup = JSON.parse(
          await lab.dmaas(
            `backup create ${name} --all -n ${namespace} --context ${lab.source.context} --location-file ${lab.locationFile} -o json`,
          ),
        ) as { members: number; volumes: unknown[] };
        await lab.source.kubectl('delete', 'namespace', namespace);
        if (app.refuses !== undefined) await removeObstacle(name, namespace);
        const results = [
          await restored(name, app, lab.source, namespace, expected),
          await restored(name, app, lab.source, copy, expected),
          await restored(name, app, lab.target, namespace, expected),
          await again(app, namespace, name, lab.source, namespace),
          await again(app, namespace, name, lab.source, copy),
          await again(app, namespace, name, lab.target, namespace),
        ];
        printRow([app.name, String(backup.members), String(backup.volumes.length), ...results]);
      } finally {
        const clusterScoped = objects.filter((o) => /^(ClusterRole|.*WebhookConfiguration)/.test(o.kind));
        for (const cluster of [lab.source, lab.target]) {
          for (const { kind, metadata } of clusterScoped)
            await cluster.kubectl('delete', kind, metadata.name, `${metadata.name}-${copy}`, '--ignore-not-found');
          await cluster.kubectl('delete', 'namespace', namespace, copy, '--ignore-not-found', '--wait=false');
        }
      }
    });
  }
});
