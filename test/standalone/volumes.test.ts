import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createCipheriv } from 'node:crypto';
import { appendFileSync, existsSync, globSync, mkdirSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Backup } from '@dmaas/core';
import { pluginWithoutCluster, type Plugin } from '../support/plugin.ts';
import { startMinio } from '../support/stores/minio.ts';
import type { S3Server } from '../support/stores/server.ts';
import { hex, TreeOracle, type SpecEntry } from '../support/volume.ts';

const MiB = 2 ** 20;

/** Bytes that do not compress, different for each `i`. */
function noise(bytes: number, i: number): Buffer {
  return createCipheriv('aes-128-ctr', Buffer.alloc(16, i), Buffer.alloc(16)).update(Buffer.alloc(bytes));
}

const attributes = { mode: 0o644, uid: 0, gid: 0, mtimeNs: '1700000000123456789' };
const TREE: readonly SpecEntry[] = [
  { ...attributes, path: [], type: 'directory', mode: 0o755 },
  { ...attributes, path: ['etc'].map(hex), type: 'directory', mode: 0o2750, xattrs: { [hex('user.note')]: hex('kept') } },
  { ...attributes, path: ['etc', 'app.conf'].map(hex), type: 'file', content: [[9000, 1]], xattrs: { [hex('user.a')]: hex('b') } },
  { ...attributes, path: ['etc', 'link'].map(hex), type: 'symlink', target: hex('app.conf') },
  { ...attributes, path: ['etc', 'pipe'].map(hex), type: 'fifo' },
  { ...attributes, path: [hex('big')], type: 'file', content: [[3 * MiB, 2], [8 * MiB], [MiB, 3]] },
  { ...attributes, path: ['ff00ff'.replaceAll('00', '01')], type: 'file', content: [[10, 4]] },
  { ...attributes, path: [hex('same')], type: 'file', link: [hex('big')] },
];

describe('kubectl dmaas volume, without a cluster', function () {
  let plugin: Plugin;
  const oracle = new TreeOracle();
  const at = (path: string) => join(plugin.home, path);
  const where = (name = 'repository') => ['--repository', `file://${at(name)}`, '--key-file', at(`${name}.key`)];
  const call = (args: string, extra = where(), env = {}) => plugin.run([...args.split(' '), ...extra], env);
  /** What a call that must succeed prints. */
  async function ok(args: string, extra = where(), env = {}): Promise<string> {
    const { code, stdout, stderr } = await call(args, extra, env);
    assert.equal(code, 0, stderr);
    return stdout;
  }
  const backup = async (args: string, extra = where()) => JSON.parse(await ok(`volume backup ${args} -o json`, extra)) as Backup;

  beforeEach(async () => {
    plugin = await pluginWithoutCluster();
    mkdirSync(at('source'));
    await ok('repository init');
  });
  afterEach(() => plugin.remove());
  after(() => {
    oracle.stop();
  });

  it('makes a repository and its key, and never touches a key file that is there', async () => {
    const key = readFileSync(at('repository.key'), 'utf8');
    assert.match(key, /^dmaas-key-1-[a-z2-7]{58}\n$/);
    assert.equal(statSync(at('repository.key')).mode & 0o777, 0o600);
    const again = await call('repository init');
    assert.equal(again.code, 20);
    assert.match(again.stderr, /^error: a repository exists at file:\/\/\/\S+\/repository\nhint: use it with its own key file\n$/);
    const other = ['--repository', `file://${at('repository')}`, '--key-file', at('other.key')];
    assert.equal((await call('repository init', other)).code, 20);
    assert.ok(!existsSync(at('other.key')), 'a key that opens nothing was left behind');

    const second = await call('repository init', ['--repository', `file://${at('second')}`, '--key-file', at('repository.key')]);
    assert.equal(second.code, 0);
    assert.equal(second.stdout, `repository created at file://${at('second')}\n`);
    assert.doesNotMatch(second.stderr, /keep a copy/);
    assert.equal(readFileSync(at('repository.key'), 'utf8'), key);
  });

  it('restores a directory as it was, and sends only what is new', async () => {
    await oracle.build(at('source'), TREE);
    await sleep(2100); // what has only just changed is read again the next time
    const first = await backup('source --name site');
    const { volumes, origin, app, cluster, parent } = first;
    assert.deepEqual([app.name, app.namespace, cluster.id, parent, origin?.path], ['site', '', '', undefined, at('source')]);
    assert.deepEqual(first.findings, []);
    assert.equal(volumes[0]?.files, 4);

    appendFileSync(at('source/etc/app.conf'), 'changed');
    const second = await backup('source --name site');
    assert.equal(second.parent, first.id);
    assert.ok((second.volumes[0]?.addedBytes ?? 0) < 100_000, `${second.volumes[0]?.addedBytes} bytes are new`);
    assert.equal((await backup('source')).parent, undefined, 'another name is another volume');

    const restored = await call('volume restore latest out --name site');
    assert.equal(restored.code, 0, restored.stderr);
    assert.equal(restored.stdout, `backup/${second.id} of site restored to out (4 files, 12.0Mi, verified)\n`);
    assert.deepEqual(await oracle.describe(at('out')), await oracle.describe(at('source')));

    const ambiguous = await call('volume restore latest whose');
    assert.equal(ambiguous.code, 15);
    assert.match(
      ambiguous.stderr,
      /^error: "latest" is one backup for each of 2 names in file:\S+\nhint: choose with --name: site, source\n$/,
    );
    assert.ok(!existsSync(at('whose')));

    const listed = JSON.parse(await ok('volume list --name site -o json')) as { items: Backup[] };
    assert.deepEqual(listed.items, [second, first]);
    assert.match(
      await ok('volume list'),
      /^ID +NAME +MODE +STATUS +FILES +SIZE +NEW +AGE\n(\S+ +(source|site) +filesystem +Completed +4 .*\n){3}$/,
    );
    assert.equal(await ok('volume list --name site -o name'), `backup/${second.id}\nbackup/${first.id}\n`);
    assert.match(await ok('repository verify --read-data'), /^no faults found in file:\S+ \(all data read\)\n$/);
    assert.match(await ok('repository stats'), /\nBackups: +3\nBacked up: +\d+\.?\d*Mi in all\nStored: /);
  });

  it('shows what is in a backup, and restores one file or folder of it', async () => {
    await oracle.build(at('source'), TREE);
    const { id } = await backup('source');
    assert.match(await ok('volume ls latest'), /^MODE .*\n0644 +file +0:0 +12Mi +2023-11-14T22:13:20.123Z +big\n2750 +directory .* etc\n/);
    const listed = JSON.parse(await ok(`volume ls ${id.slice(0, 20)} etc -o json`)) as { items: { path: string }[] };
    assert.deepEqual(
      listed.items.map((e) => e.path),
      ['etc/app.conf', 'etc/link', 'etc/pipe'],
    );
    assert.match(await ok('volume ls latest etc/link'), /symlink .* etc\/link -> app\.conf\n$/);
    assert.equal(await ok('volume cat latest etc/app.conf'), readFileSync(at('source/etc/app.conf'), 'utf8'));

    await ok('volume restore latest folder --path /etc/');
    assert.deepEqual(await oracle.describe(at('folder')), await oracle.describe(at('source/etc')));
    assert.equal(
      await ok('volume restore latest file --path etc/app.conf'),
      `backup/${id} of source restored to file (1 file, 8.8Ki, verified)\n`,
    );
    assert.deepEqual(
      (await oracle.describe(at('file'))).slice(1),
      (await oracle.describe(at('source/etc'))).filter((e) => JSON.stringify(e['path']) === JSON.stringify([hex('app.conf')])),
    );
    for (const [args, error] of [
      ['volume ls latest nope', /^error: nope is not in the volume\n/],
      ['volume cat latest etc', /^error: etc is a directory, not a file\n/],
      ['volume restore latest none --path nope', /error: nope is not in the volume\n/],
    ] as const) {
      const { code, stderr } = await call(args);
      assert.equal(code, 2, args);
      assert.match(stderr, error);
    }
  });

  it('deletes a backup, and one whose record is damaged, after asking', async () => {
    writeFileSync(at('source/file'), noise(MiB, 1));
    const [lost, kept] = [await backup('source'), await backup('source')];
    truncateSync(at(`repository/backups/${lost.id}`), 100);
    const pruned = await call('repository prune');
    assert.equal(pruned.code, 13, pruned.stdout);
    assert.ok(pruned.stderr.endsWith(`\nhint: kubectl dmaas repository verify ${where().join(' ')}\n`), pruned.stderr);
    const found = await call('repository verify');
    assert.equal(found.code, 13);
    const line = /✗ backups\/\S+ is damaged: .*\n +hint: the backup is lost; kubectl dmaas (.*)/.exec(found.stdout)?.[1];
    assert.equal(line, `volume delete ${lost.id} ${where().join(' ')}`);
    const asked = await call(`volume delete ${lost.id}`);
    assert.equal(asked.code, 2);
    assert.match(
      asked.stderr,
      new RegExp(`^error: Delete 1 backup \\(${lost.id}, whose record is damaged\\) from file:\\S+\\? needs a confirmation\n`),
    );
    assert.equal(await ok(`${line} --yes`, []), `backup/${lost.id} deleted\n`);
    await ok('repository verify --read-data');
    await ok('repository prune');
    const whole = await call('volume delete latest');
    assert.match(whole.stderr, new RegExp(`^error: Delete 1 backup \\(source ${kept.id}\\) from `));
    await ok('volume delete latest -y');
    assert.equal(await ok('volume list -o name'), '');
    assert.equal((await call(`volume delete ${kept.id} -y`)).code, 15);
  });

  it('keeps a device in blocks, and a part of it is not a file', async () => {
    writeFileSync(at('image'), noise(3 * MiB, 1));
    truncateSync(at('image'), 64 * MiB);
    assert.equal((await backup('image')).volumes[0]?.mode, 'block');
    await ok('volume restore latest copy');
    assert.ok(readFileSync(at('copy')).equals(readFileSync(at('image'))));
    assert.ok(statSync(at('copy')).blocks * 512 < 8 * MiB, 'zeros were written');
    assert.equal((await call('volume restore latest part --path x')).code, 2);
  });

  it('keeps copies of the index in the user’s cache, needs none and believes none', async () => {
    writeFileSync(at('source/file'), noise(MiB, 1));
    const { items } = JSON.parse(await ok('repository stats -o json')) as { items: { id: string }[] };
    const { id } = items[0]!;
    await backup('source');
    const folder = at(`.cache/dmaas/${id}`);
    assert.ok(readdirSync(folder).length > 0);
    assert.equal(statSync(folder).mode & 0o777, 0o700);

    const chosen = { XDG_CACHE_HOME: at('elsewhere/cache') };
    await ok('volume restore latest target', where(), chosen);
    assert.deepEqual(readdirSync(at(`elsewhere/cache/dmaas/${id}`)), readdirSync(folder));
    for (const name of readdirSync(folder)) writeFileSync(join(folder, name), noise(statSync(join(folder, name)).size, 2));
    // The leaf of the tree is new when the file, just written the first time, has come of age.
    assert.ok(((await backup('source')).volumes[0]?.addedBytes ?? MiB) < 10_000, 'a poisoned copy hides nothing');

    // Where nothing can be kept: below /proc, in a file's place, without a home.
    for (const env of [
      { XDG_CACHE_HOME: '/proc/nowhere' },
      { XDG_CACHE_HOME: at('repository.key') },
      { HOME: '', XDG_CACHE_HOME: 'not/absolute' },
    ])
      await ok('volume list', where(), env);
    await ok('volume restore latest again', where(), { XDG_CACHE_HOME: '/proc/nowhere' });
    assert.deepEqual(readFileSync(at('again/file')), noise(MiB, 1));
    assert.equal(existsSync(at('not')), false);
  });

  it('is restored as RECOVERY.txt says, word for word', async () => {
    writeFileSync(at('source/file'), 'kept');
    const { id } = await backup('source');
    const text = readFileSync(at('repository/RECOVERY.txt'), 'utf8');
    const values = { URL: `file://${at('repository')}`, KEY: at('repository.key'), BACKUP: id, CLAIM: 'source', TARGET: at('out') };
    const words = new Map(Object.entries(values));
    const lines = [...text.matchAll(/^ {4}kubectl dmaas (.*)$/gm)].map(([, line]) =>
      line!.split(' ').map((word) => words.get(word) ?? word),
    );
    const [list, restore] = await Promise.all(lines.map((line) => plugin.run(line)));
    assert.deepEqual([list?.code, restore?.code], [0, 0], `${list?.stderr ?? ''}${restore?.stderr ?? ''}`);
    assert.match(list?.stdout ?? '', new RegExp(`${id} +source `));
    assert.equal(readFileSync(at('out/file'), 'utf8'), 'kept');
  });

  it('says what it did not restore, and exits with 3', async () => {
    assert.ok(process.getuid?.() === 0, 'this test must run as root');
    await oracle.build(at('source'), [TREE[0]!, { ...attributes, path: [hex('null')], type: 'character-device', device: [1, 3] }]);
    await backup('source');
    const without = await call('volume restore latest out');
    assert.deepEqual([without.code, /\(.*$/m.exec(without.stdout)?.[0]], [3, '(0; 1 file is missing)']);
    assert.match(without.stderr, /! source: null was not restored: it is a device node, and these are made only where it is allowed\n/);
    await ok('volume restore latest out2 --allow-devices');
  });

  it('says how much is there and how much is missing, and not that it is verified, when the repository is damaged', async () => {
    for (const name of ['a', 'b']) writeFileSync(at(`source/${name}`), noise(3 * MiB, name.charCodeAt(0)));
    const { id } = await backup('source');
    const packs = globSync('repository/packs/*/*', { cwd: plugin.home }).map(at);
    const [largest] = packs.toSorted((x, y) => statSync(y).size - statSync(x).size);
    const bytes = readFileSync(largest!);
    bytes[bytes.length >> 2]! ^= 1; // in a frame of one of the files
    writeFileSync(largest!, bytes);
    const { code, stdout, stderr } = await call('volume restore latest out');
    assert.deepEqual([code, stdout], [3, `backup/${id} of source restored to out (1 file, 3Mi; 1 file is missing)\n`]);
    const [there = '', ...more] = readdirSync(at('out'));
    assert.deepEqual(more, []);
    assert.match(stderr, new RegExp(`! source: ${there === 'a' ? 'b' : 'a'} was not restored: `));
    const { missing } = JSON.parse((await call('volume restore latest json -o json')).stdout) as { missing: object };
    assert.deepEqual(missing, { entries: 1, declined: 0, files: 1, bytes: 3 * MiB, names: [there === 'a' ? 'b' : 'a'] });
  });

  it('B11: ends when the target is full, and goes on when it is larger', async () => {
    assert.ok(process.getuid?.() === 0, 'this test must run as root');
    for (let i = 0; i < 6; i++) writeFileSync(at(`source/noise-${i}`), noise(MiB, i));
    const { id } = await backup('source');
    mkdirSync(at('small'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'dmaas-test', at('small')]);
    try {
      const full = await call('volume restore latest small');
      assert.deepEqual([full.code, full.stdout], [42, '']);
      assert.match(
        full.stderr,
        /\nerror: small: the volume is full \(4Mi\): the backup has 6Mi in 6 files\nhint: make it larger, or make room in it; small is incomplete; run the same command again: it goes on where it stopped\n$/,
      );
      execFileSync('mount', ['-o', 'remount,size=10m', at('small')]);
      assert.equal(await ok('volume restore latest small'), `backup/${id} of source restored to small (6 files, 6Mi, verified)\n`);
      assert.deepEqual(await oracle.describe(at('small')), await oracle.describe(at('source')));
      const again = await call('volume restore latest small');
      assert.equal(again.code, 40);
      assert.match(again.stderr, /\nerror: small: the volume is not empty\nhint: restore into a new volume, or empty this one first\n$/);
    } finally {
      execFileSync('umount', [at('small')]);
    }
  });

  it('loses nothing that was stored when it is stopped, and goes on with a restore', async () => {
    for (let i = 0; i < 6; i++) writeFileSync(at(`source/noise-${i}`), noise(32 * MiB, i));
    const stopped = plugin.start(['volume', 'backup', 'source', ...where()]);
    await stopped.saw(/source {2}\d/);
    stopped.signal('SIGINT');
    const { code, stderr } = await stopped.ended;
    assert.equal(code, 130, stderr);
    assert.match(stderr, /\nstopped\b|error: stopped\nhint: no backup was recorded/);
    assert.equal(await ok('volume list -o name'), '');
    const done = await backup('source');
    assert.ok((done.volumes[0]?.addedBytes ?? 0) <= 6 * 32 * MiB + MiB);

    const restore = ['volume', 'restore', 'latest', 'out', ...where()];
    const half = plugin.start(restore);
    await half.saw(/source {2}\S+ +[1-9]/);
    half.signal('SIGINT');
    assert.equal((await half.ended).code, 130);
    const { code: end, stderr: said } = await plugin.run(restore);
    assert.equal(end, 0, said);
    assert.deepEqual(await oracle.describe(at('out')), await oracle.describe(at('source')));
  });

  describe('on a server that speaks S3, over TLS', () => {
    let server: S3Server;
    before(async () => {
      server = await startMinio({ tls: true });
      await server.createBucket('backups');
    });
    after(() => server.stop());

    it('takes keys from the environment, and the rest from flags', async () => {
      const env = { AWS_ACCESS_KEY_ID: server.accessKey, AWS_SECRET_ACCESS_KEY: server.secretKey, AWS_REGION: undefined };
      const s3 = (url: string, ...more: string[]) => [
        '--repository',
        url,
        '--endpoint',
        server.endpoint,
        '--key-file',
        at('s3.key'),
        ...more,
      ];
      const trusted = s3('s3://backups/a/b', '--ca-file', server.caFile!, '--region', server.region, '--path-style');
      writeFileSync(at('source/hello'), 'hello');
      assert.equal(await ok('repository init', trusted, env), `repository created at s3://backups/a/b\n`);
      await ok('volume backup source', trusted, env);
      assert.equal(await ok('volume cat latest hello', trusted, env), 'hello');
      const wrong = await call('volume list', trusted, { ...env, AWS_SECRET_ACCESS_KEY: 'not-the-secret' });
      assert.equal(wrong.code, 21, wrong.stderr);
      assert.doesNotMatch(wrong.stderr, /not-the-secret/);
      assert.equal((await call('volume list', s3('s3://backups/none', '--ca-file', server.caFile!), env)).code, 10);
      assert.equal((await call('volume list', s3('s3://nope', '--ca-file', server.caFile!), env)).code, 20);
      const distrusted = await call('volume list', s3('s3://backups/a/b'), env);
      assert.equal(distrusted.code, 22, distrusted.stderr);
    });
  });
});
