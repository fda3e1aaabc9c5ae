import assert from 'node:assert/strict';
import { moverResultSchema } from '../../core/src/mover/task.ts';
import { deployDemo, removeDemo, sql, waitForDemo } from '../demo/data.ts';
import type { TestCluster } from '../support/cluster/cluster.ts';
import { startLab, type Lab } from '../support/lab.ts';

const GiB = 2 ** 30;
const ROW_BYTES = 7000;
/** A row of this size fills a page, so that the table has 8 KiB for each. */
const ROWS = (5 * GiB) / 8192;
const FILES = 100_000;
/** What issue 3 allows a mover. */
const MEMORY_LIMIT_MIB = 512;

const FILL_UPLOADS = `
  const fs = require('node:fs'), c = require('node:crypto');
  for (let i = 0; i < ${FILES}; i++) {
    const dir = '/uploads/d' + (i % 500);
    if (i < 500) fs.mkdirSync(dir, { mode: 0o750 });
    fs.writeFileSync(dir + '/photo-' + i, c.createHash('sha512').update(String(i)).digest().subarray(0, 1 + (i % 64)).toString('hex').repeat(1 + (i % 40)));
  }`;
const SUM_UPLOADS = `
  const fs = require('node:fs'), c = require('node:crypto'), sum = c.createHash('sha256');
  let count = 0;
  for (const path of fs.readdirSync('/uploads', { recursive: true }).sort()) {
    if (path.startsWith('lost+found')) continue;
    const s = fs.lstatSync('/uploads/' + path, { bigint: true });
    sum.update([path, s.mode, s.uid, s.gid, s.mtimeNs, s.isFile() ? s.size : ''].join(' '));
    if (s.isFile()) { sum.update(fs.readFileSync('/uploads/' + path)); count++; }
  }
  console.log(count + ' files ' + sum.digest('hex'));`;

describe('an application with 5 GiB of database and 100 000 files', function () {
  this.timeout('90m');
  this.bail(true);
  const namespace = `large-${process.pid}`;
  let lab: Lab;
  let captured: string;

  const node = (cluster: TestCluster, script: string) =>
    cluster.kubectl('-n', namespace, 'exec', 'deployment/web', '--', '/usr/local/bin/node', '-e', script);
  const sums = async (cluster: TestCluster) =>
    (await sql(cluster, namespace, 'select count(*), pg_relation_size($$bulk$$), sum(hashtextextended(payload, id)) from bulk')) +
    (await node(cluster, SUM_UPLOADS));

  before(async () => {
    lab = await startLab();
    await deployDemo(lab.source, namespace, { databaseSize: '9Gi', uploadsSize: '4Gi' });
    await sql(lab.source, namespace, 'create table bulk (id bigserial, payload text); alter table bulk alter payload set storage plain');
    const random = `head -c ${Math.floor((ROWS * ROW_BYTES * 3) / 4)} /dev/urandom | base64 -w ${ROW_BYTES}`;
    await sql(lab.source, namespace, `copy bulk (payload) from program $$${random}$$; checkpoint`);
    await node(lab.source, FILL_UPLOADS);
    await lab.makeLocation(namespace);
    captured = await sums(lab.source);
    console.log(`      ${captured.trim().replace('\n', '; ')}`);
  });

  after(async () => {
    for (const cluster of [lab.source, lab.target]) await removeDemo(cluster, namespace);
    await lab.stop();
  });

  /** Of each mover of an operation, in MiB. */
  async function memoryOf(operation: string): Promise<number[]> {
    const open = await lab.repository(namespace);
    try {
      const names = (await open.repository.runs.list(operation)).filter((name) => name.startsWith('volume-'));
      assert.equal(names.length, 2);
      const results = await Promise.all(names.map((name) => open.repository.runs.get(operation, name)));
      return results.map((result) => Math.round(moverResultSchema.parse(result).peakMemoryBytes / 2 ** 20));
    } finally {
      await open.close();
    }
  }

  it('is backed up by movers that stay within their memory', async () => {
    const began = Date.now();
    const backup = JSON.parse(
      await lab.dmaas(`backup create large --app shop -n ${namespace} --context ${lab.source.context} -o json`),
    ) as { operation: string; volumes: { claim: string; bytes: number; files: number }[] };
    const memory = await memoryOf(backup.operation);
    console.log(`      backup: ${Math.round((Date.now() - began) / 1000)} s, movers ${memory.join(' and ')} MiB`);
    assert.ok(memory.every((mib) => mib < MEMORY_LIMIT_MIB));
    const [database, uploads] = backup.volumes;
    assert.ok((database?.bytes ?? 0) > 5 * GiB, JSON.stringify(database));
    assert.equal(uploads?.files, FILES);
  });

  it('is restored to the second cluster, every row and every file', async () => {
    const began = Date.now();
    const { id } = JSON.parse(
      await lab.dmaas(
        `restore create large --location-file ${lab.locationFile} --to-context ${lab.target.context} --allow clusterrolebinding --yes -o json`,
      ),
    ) as { id: string };
    const memory = await memoryOf(id);
    console.log(`      restore: ${Math.round((Date.now() - began) / 1000)} s, movers ${memory.join(' and ')} MiB`);
    assert.ok(memory.every((mib) => mib < MEMORY_LIMIT_MIB));
    await waitForDemo(lab.target, namespace);
    assert.equal(await sums(lab.target), captured);
  });
});
