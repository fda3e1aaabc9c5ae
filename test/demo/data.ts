import { createHash, randomBytes } from 'node:crypto';
import type { TestCluster } from '../support/cluster/cluster.ts';
import { DEMO_LABELS, demoApp, type DemoOptions } from './application.ts';

/** What the demo's data is, in a form that can be compared: rows and a checksum of them, and a checksum of each file with its owner and mode. */
export interface Fingerprint {
  readonly rows: string;
  readonly files: string;
}

const READY = '--timeout=180s';

/** Creates the namespace and the application in it, and waits until both workloads are ready. */
export async function deployDemo(cluster: TestCluster, namespace: string, options: DemoOptions = {}): Promise<void> {
  await cluster.kubectl('create', 'namespace', namespace);
  await cluster.apply(JSON.stringify({ apiVersion: 'v1', kind: 'List', items: demoApp(namespace, options) }), '-n', namespace);
  await waitForDemo(cluster, namespace);
}

/** Removes the application's namespace and what is of the cluster. Does not wait for the namespace. */
export async function removeDemo(cluster: TestCluster, namespace: string): Promise<void> {
  await cluster.kubectl('delete', 'namespace', namespace, '--ignore-not-found', '--wait=false');
  const selector = Object.entries(DEMO_LABELS).map((pair) => pair.join('='));
  const found = await cluster.kubectl('get', 'clusterrole,clusterrolebinding', '-l', selector.join(), '-o', 'name');
  const own = found.split('\n').filter((name) => name.includes(namespace));
  if (own.length > 0) await cluster.kubectl('delete', '--ignore-not-found', ...own);
}

export async function waitForDemo(cluster: TestCluster, namespace: string): Promise<void> {
  await cluster.kubectl('-n', namespace, 'rollout', 'status', 'statefulset/db', READY);
  await cluster.kubectl('-n', namespace, 'rollout', 'status', 'deployment/web', READY);
}

/** Runs SQL in the demo's database; returns what psql prints, unaligned. */
export function sql(cluster: TestCluster, namespace: string, statement: string): Promise<string> {
  return cluster.kubectl('-n', namespace, 'exec', 'db-0', '--', 'psql', '-h', '/tmp', '-U', 'postgres', '-d', 'shop', '-XAtqc', statement);
}

/** Adds orders to the database and files to the uploads. */
export async function addData(
  cluster: TestCluster,
  namespace: string,
  amount: { readonly rows: number; readonly files: number },
): Promise<void> {
  await sql(
    cluster,
    namespace,
    `create table if not exists orders (id bigserial primary key, item text not null, placed timestamptz not null default now());
     insert into orders (item) select md5(random()::text) from generate_series(1, ${amount.rows})`,
  );
  // Through the front end, as its users would: in its pod Node is at hand.
  const batch = randomBytes(4).toString('hex');
  const script = `for (let i = 0; i < ${amount.files}; i++) {
    const body = require('node:crypto').randomBytes(1 + (i * 7919) % 65536);
    const r = await fetch('http://127.0.0.1:8080/files/photo-${batch}-' + i + '.jpg', { method: 'PUT', body });
    if (r.status !== 201) throw new Error('upload: ' + r.status);
  }`;
  await cluster.kubectl(
    '-n',
    namespace,
    'exec',
    'deployment/web',
    '--',
    '/usr/local/bin/node',
    '-e',
    `(async () => { ${script} })().catch((e) => { console.error(e); process.exit(1); })`,
  );
}

/** Reads all of the demo's data as it is now. */
export async function fingerprint(cluster: TestCluster, namespace: string): Promise<Fingerprint> {
  const rows = await sql(
    cluster,
    namespace,
    `select count(*) || ' rows, ' || md5(string_agg(id || item || placed::text, ',' order by id)) from orders`,
  );
  const script = `const fs = require('node:fs'), c = require('node:crypto'), buffer = Buffer.alloc(1 << 20);
    const sha256 = (path) => {
      const hash = c.createHash('sha256'), fd = fs.openSync(path);
      for (let n; (n = fs.readSync(fd, buffer)) > 0; ) hash.update(buffer.subarray(0, n));
      fs.closeSync(fd);
      return hash.digest('hex');
    };
    for (const n of fs.readdirSync('/uploads').sort()) {
      if (n === 'lost+found') continue;
      const p = '/uploads/' + n, s = fs.lstatSync(p, { bigint: true });
      console.log([n, s.mode, s.uid, s.gid, s.mtimeNs, s.size, s.isFile() ? sha256(p) : ''].join(' '));
    }`;
  const listing = await cluster.kubectl('-n', namespace, 'exec', 'deployment/web', '--', '/usr/local/bin/node', '-e', script);
  const files = listing.trim() === '' ? [] : listing.trim().split('\n');
  return { rows: rows.trim(), files: `${files.length} files, ${createHash('md5').update(listing).digest('hex')}` };
}
