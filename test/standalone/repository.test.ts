/** `kubectl dmaas repository` and `key` as built, against a server that speaks S3 and without any cluster. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DeleteObjectCommand, GetObjectCommand, ListObjectsV2Command, PutObjectCommand, type S3Client } from '@aws-sdk/client-s3';
import { pluginWithoutCluster, type Plugin } from '../support/plugin.ts';
import { startMinio } from '../support/stores/minio.ts';
import { s3Client } from '../support/stores/s3-bucket.ts';
import type { S3Server } from '../support/stores/server.ts';

interface Pruned {
  readonly items: readonly {
    readonly repository: string;
    readonly condemn: readonly { readonly bytes: number }[];
    readonly delete: readonly unknown[];
    readonly waiting: readonly unknown[];
    readonly keeps: readonly { readonly name: string; readonly bytes: number }[];
  }[];
}
interface Found {
  readonly findings: readonly {
    readonly level: string;
    readonly code: string;
    readonly message: string;
    readonly lost?: readonly string[];
  }[];
}
interface Keys {
  readonly epoch: number;
  readonly items: readonly { readonly id: string; readonly kind: string; readonly label: string; readonly isCurrent: boolean }[];
}

const BUCKET = 'backups';
const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

describe('kubectl dmaas repository and key, on S3', function () {
  this.timeout(180_000);
  let server: S3Server;
  let client: S3Client;
  let plugin: Plugin;
  let prefix = '';
  let repositories = 0;
  const at = (path: string) => join(plugin.home, path);
  const where = (unlock = ['--key-file', at('key')]) => [
    ...['--repository', `s3://${BUCKET}/${prefix}`, '--endpoint', server.endpoint, '--region', server.region, '--path-style'],
    ...unlock,
  ];
  const env = () => ({ AWS_ACCESS_KEY_ID: server.accessKey, AWS_SECRET_ACCESS_KEY: server.secretKey });
  const call = (args: string, unlock?: string[]) => plugin.run([...args.split(' '), ...where(unlock)], env());
  async function ok(args: string, unlock?: string[]): Promise<string> {
    const { code, stdout, stderr } = await call(args, unlock);
    assert.equal(code, 0, `${args}: ${stderr}`);
    return stdout;
  }
  const json = async <T>(args: string, unlock?: string[]) => JSON.parse(await ok(`${args} -o json`, unlock)) as T;

  async function keysUnder(under: string): Promise<string[]> {
    const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: BUCKET, Prefix: `${prefix}/${under}` }));
    return Contents.map(({ Key }) => Key!);
  }
  async function change(key: string, edit: (body: Buffer) => Buffer): Promise<void> {
    const { Body } = await client.send(new GetObjectCommand({ Bucket: BUCKET, Key: key }));
    const body = edit(Buffer.from(await Body!.transformToByteArray()));
    await client.send(new PutObjectCommand({ Bucket: BUCKET, Key: key, Body: body }));
  }

  before(async () => {
    server = await startMinio();
    await server.createBucket(BUCKET);
    client = await s3Client(server);
  });
  after(async () => {
    client.destroy();
    await server.stop();
  });
  beforeEach(async () => {
    plugin = await pluginWithoutCluster();
    prefix = `repository-${++repositories}`;
    mkdirSync(at('source'));
    await ok('repository init');
  });
  afterEach(() => plugin.remove());

  it('prune says what would go and what keeps the rest, marks it, and brings the space back', async () => {
    writeFileSync(at('source/kept'), randomBytes(1 << 20));
    writeFileSync(at('source/old'), randomBytes(8 << 20));
    const first = await json<{ id: string; name: string }>('volume backup source --name first');
    writeFileSync(at('source/old'), 'small now');
    await ok('volume backup source --name first');
    const full = await keysUnder('packs/');

    const idle = await json<Pruned>('repository prune --dry-run --grace 0m');
    assert.equal(idle.items[0]!.condemn.length, 0);
    assert.equal(idle.items[0]!.keeps.length, 2);
    assert.ok(
      idle.items[0]!.keeps.some(({ bytes }) => bytes >= 8 << 20),
      'the first keeps what the second does not need',
    );

    await client.send(new DeleteObjectCommand({ Bucket: BUCKET, Key: `${prefix}/backups/${first.id}` }));
    await sleep(1100); // the store's clock counts seconds
    const said = await ok('repository prune --dry-run --grace 0m');
    assert.match(said, /would be marked: +[1-9]\d* packs?, [\d.]+Mi/);
    assert.deepEqual(await keysUnder('gc/'), [], 'a dry run changes nothing');
    assert.match(await ok('repository prune --grace 0m'), /\n {2}marked: +[1-9]/);
    assert.deepEqual((await keysUnder('gc/')).length, 2);
    assert.ok(full.length > 0 && (await keysUnder('packs/')).length >= full.length, 'nothing is deleted yet');
    await sleep(1100);
    const swept = await json<Pruned>('repository prune --grace 0m');
    assert.ok(swept.items[0]!.delete.length > 0);
    assert.ok((await keysUnder('packs/')).length < full.length + 2);
    assert.deepEqual(await keysUnder('sessions/'), []);

    await ok('volume restore latest out');
    assert.equal(sha(readFileSync(at('out/kept'))), sha(readFileSync(at('source/kept'))));
    assert.equal(readFileSync(at('out/old'), 'utf8'), 'small now');
    assert.match(await ok('repository verify --read-data'), /^no faults found/);
    await ok('volume backup source --name after');
  });

  it('verify names the files that a damaged pack costs; repair and the next backup heal them', async () => {
    writeFileSync(at('source/sound'), 'sound');
    await ok('volume backup source --name a');
    const before = new Set(await keysUnder('packs/'));
    writeFileSync(at('source/broken'), randomBytes(3 << 20));
    await ok('volume backup source --name a');
    const added = (await keysUnder('packs/')).filter((key) => !before.has(key));
    for (const key of added) {
      const { Body } = await client.send(new GetObjectCommand({ Bucket: BUCKET, Key: key }));
      if ((await Body!.transformToByteArray()).length > 1 << 20) await change(key, (body) => body.fill(body[100]! ^ 255, 100, 101));
    }

    assert.match(await ok('repository verify'), /no faults found/, 'its structure is sound');
    const parts = await Promise.all([1, 2, 3].map((part) => call(`repository verify --read-data-subset ${part}/3`)));
    assert.deepEqual(parts.map(({ code }) => code).sort(), [0, 0, 13], 'one part of three reads the pack');
    const { code, stdout } = await call('repository verify --read-data -o json');
    assert.equal(code, 13);
    const [{ findings }] = (JSON.parse(stdout) as { items: [Found] }).items;
    assert.deepEqual(
      findings.map(({ level, code: what, lost }) => [level, what, lost]),
      [['blocker', 'pack-damaged', ['a: broken']]],
    );

    const repaired = await call('repository repair --yes');
    assert.equal(repaired.code, 13, 'what is lost is still lost');
    assert.match(repaired.stdout, /Packs given up: +1; \d+ blobs? of them saved, [1-9]\d* lost/);
    assert.match(repaired.stdout, /missing from a: broken/);
    assert.match(repaired.stderr, /back up again/);
    const lost = await call('volume restore latest half');
    assert.notEqual(lost.code, 0);
    await ok('volume backup source --name a');
    assert.match(await ok('repository verify'), /no faults found/);
    const [, older] = (await json<{ items: { id: string }[] }>('volume list')).items;
    await ok(`volume restore ${older!.id} out`);
    assert.equal(sha(readFileSync(at('out/broken'))), sha(readFileSync(at('source/broken'))), 'the older backup is whole again');
  });

  it('key: a passphrase, a second key file and a recovery key open it; rotation shuts out who is left out', async () => {
    writeFileSync(at('source/file'), 'before');
    await ok('volume backup source');
    writeFileSync(at('phrase'), 'correct horse battery staple\n');
    const other = ['--repository', `file://${at('elsewhere')}`, '--key-file', at('other')];
    assert.equal((await plugin.run(['repository', 'init', ...other])).code, 0);
    await ok(`key add --new-passphrase-file ${at('phrase')} --label safe`);
    await ok(`key add --new-key-file ${at('other')} --label colleague`);
    const recovery = await call(`key add --new-recovery-key ${at('recovery')} --label vault`);
    assert.equal(recovery.code, 0, recovery.stderr);
    assert.match(recovery.stderr, /move it to a safe place/);
    assert.equal(statSync(at('recovery')).mode & 0o777, 0o600);
    const again = await call(`key add --new-recovery-key ${at('recovery')}`);
    assert.equal(again.code, 2, 'an existing file is never written to');
    const { items, epoch } = await json<Keys>('key list');
    assert.equal(epoch, 1);
    assert.deepEqual(items.map(({ kind, label }) => `${kind} ${label}`).sort(), [
      'key ',
      'key colleague',
      'passphrase safe',
      'x25519 vault',
    ]);

    const unlocks = {
      phrase: ['--passphrase-file', at('phrase')],
      other: ['--key-file', at('other')],
      recovery: ['--key-file', at('recovery')],
    };
    for (const unlock of Object.values(unlocks)) assert.equal(await ok('volume cat latest file', unlock), 'before');

    const refused = await call('key rotate');
    assert.equal(refused.code, 2);
    assert.match(refused.stderr, /the new keys could not be given to .*\((safe|colleague)\)/);
    const colleague = items.find(({ label }) => label === 'colleague')!;
    const misspelt = await call(`key rotate --with-passphrase-file ${at('phrase')} --without ${colleague.id.slice(1)}`);
    assert.equal(misspelt.code, 2);
    assert.match(misspelt.stderr, /^error: no current key has the id [0-9a-f]{31}\n/);
    assert.match(
      await ok(`key rotate --with-passphrase-file ${at('phrase')} --without ${colleague.id}`),
      /^key epoch 2 begun; .*\nID +KIND +LABEL\n(\S+ +(key file|passphrase +safe|recovery key +vault)\n){3}$/,
    );
    writeFileSync(at('source/file'), 'after the rotation');
    await ok('volume backup source');
    for (const unlock of [undefined, unlocks.phrase, unlocks.recovery]) {
      assert.equal(await ok('volume cat latest file', unlock), 'after the rotation');
    }
    const old = (await json<{ items: { id: string }[] }>('volume list')).items[1]!;
    assert.equal(await ok(`volume cat ${old.id} file`), 'before', 'what was there stays readable');
    const shutOut = await call('volume cat latest file', unlocks.other);
    assert.notEqual(shutOut.code, 0, 'a key that was left out reads nothing new');
    assert.doesNotMatch(shutOut.stdout, /after/);

    await ok(`key remove ${colleague.id} --yes`);
    const { code, stderr } = await call('volume list', unlocks.other);
    assert.equal(code, 12, stderr);
    const own = items.find(({ kind, label }) => kind === 'key' && label === '')!;
    assert.equal((await call(`key remove ${own.id} --yes`)).code, 2, 'not the one in use');
  });

  it('is pruned by two at once and beside a backup, and nothing is lost', async () => {
    for (let i = 0; i < 8; i++) writeFileSync(at(`source/${i}`), randomBytes(2 << 20));
    const first = await json<{ id: string }>('volume backup source');
    for (let i = 0; i < 4; i++) writeFileSync(at(`source/${i}`), randomBytes(2 << 20));
    await client.send(new DeleteObjectCommand({ Bucket: BUCKET, Key: `${prefix}/backups/${first.id}` }));
    await sleep(1100);
    // Backs up what the deleted backup had, while it is condemned and deleted.
    const outcomes = await Promise.all(
      ['volume backup source', 'repository prune --grace 0m', 'repository prune --grace 0m'].map((args) => call(args)),
    );
    assert.equal(outcomes[0]!.code === 0 || outcomes[0]!.code === 11, true, outcomes[0]!.stderr);
    for (const { code, stderr } of outcomes.slice(1)) assert.ok(code === 0 || /nothing was deleted/.test(stderr), stderr);
    await sleep(1100);
    await ok('repository prune --grace 0m');
    await ok('volume backup source');
    await ok('repository prune --grace 0m');
    assert.match(await ok('repository verify --read-data'), /^no faults found/);
    for (const { id } of (await json<{ items: { id: string }[] }>('volume list')).items) {
      await ok(`volume restore ${id} out-${id}`);
      for (let i = 0; i < 8; i++) assert.equal(sha(readFileSync(at(`out-${id}/${i}`))), sha(readFileSync(at(`source/${i}`))));
    }
  });
});
