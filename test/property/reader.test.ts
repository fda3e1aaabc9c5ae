/** Row H4 of the fault matrix: a program that knows nothing but core/DESIGN.md reads what we write. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { captureVolume } from '../../core/src/mover/capture.ts';
import { KeyRing } from '../../core/src/repository/keys/key-ring.ts';
import { formatKey } from '../../core/src/repository/keys/keys.ts';
import { writeManifests } from '../../core/src/repository/manifests.ts';
import { formatRecoveryKey, newRecoveryKey } from '../../core/src/repository/keys/recipients.ts';
import { createRepository, openRepository, type Repository } from '../../core/src/repository/repository.ts';
import { FileStore } from '../../core/src/store/file.ts';
import { attempt, run } from '../support/setup/command.ts';
import { ensurePackages } from '../support/setup/debian.ts';
import { newBackup } from '../support/repository.ts';
import { hex, recorder, scratch, TreeOracle, UNLOCK, type SpecEntry } from '../support/volume.ts';

const PYTHON = '/usr/bin/python3';
const READER = join(import.meta.dirname, '../reader/dmaas_reader.py');
const VECTORS = join(import.meta.dirname, '../vectors');

const base = { mode: 0o640, uid: 7, gid: 1000, mtimeNs: '1700000000123456789' };
const path = (...names: readonly string[]) => names.map(hex);
/** One of everything that a volume may hold. */
const TREE: readonly SpecEntry[] = [
  { ...base, path: [], type: 'directory', mode: 0o755 },
  { ...base, path: path('empty'), type: 'file', content: [] },
  { ...base, path: path('large'), type: 'file', mode: 0o4755, content: [[3 << 20, 1], [5 << 20], [70_000, 2]] },
  { ...base, path: path('folder'), type: 'directory', mode: 0o2770, mtimeNs: '-1000000001' },
  { ...base, path: [hex('folder'), 'ff00'.slice(0, 2) + '0a'], type: 'file', content: [[5, 3]], xattrs: { [hex('user.note')]: 'ff00fe' } },
  { ...base, path: path('folder', 'link'), type: 'symlink', target: hex('../no where\n') },
  { ...base, path: path('folder', 'same'), type: 'file', link: path('large') },
  { ...base, path: path('pipe'), type: 'fifo' },
  { ...base, path: path('null'), type: 'character-device', device: [1, 3] },
];

describe('the reader in Python (H4)', function () {
  this.timeout(300_000);
  const oracle = new TreeOracle();
  const folder = scratch();
  const reader = (args: readonly string[]) => attempt(PYTHON, [READER, ...args]);

  before(() => ensurePackages('python3', 'python3-cryptography', 'python3-zstandard'));
  after(() => {
    oracle.stop();
    folder.rm();
  });

  for (const version of readdirSync(VECTORS)) {
    it(`H4: reads the fixture ${version}`, async () => {
      const expected = JSON.parse(readFileSync(join(VECTORS, version, 'expected.json'), 'utf8')) as {
        key: string;
        backups: Record<string, readonly string[]>;
      };
      const keyFile = join(folder.path, `${version}.key`);
      writeFileSync(keyFile, expected.key);
      const lines = (await run(PYTHON, [READER, '--repository', join(VECTORS, version), '--key-file', keyFile, 'verify']))
        .trim()
        .split('\n');
      const found = lines.map((line) => JSON.parse(line) as { backup: string; data: Record<string, readonly string[]> });
      assert.deepEqual(Object.fromEntries(found.map(({ backup, data }) => [backup, Object.values(data)[1]])), expected.backups);
    });
  }

  describe('of a repository that was just made', () => {
    const repositoryPath = join(folder.path, 'repository');
    const source = join(folder.path, 'source');
    const device = join(folder.path, 'device');
    const keys = { key: join(folder.path, 'key'), passphrase: join(folder.path, 'passphrase'), recovery: join(folder.path, 'recovery') };
    let described: unknown;

    before(async () => {
      mkdirSync(source);
      mkdirSync(repositoryPath);
      await oracle.build(source, TREE);
      described = await oracle.describe(source);
      writeFileSync(device, Buffer.concat([Buffer.alloc(300_000), randomBytes(700_000), Buffer.alloc(1 << 20)]));
      const store = new FileStore(repositoryPath);
      await createRepository(store, UNLOCK);
      await back(await openRepository(store, UNLOCK), 1);
      const ring = await KeyRing.open(store, UNLOCK, randomBytes);
      await ring.add({ passphrase: 'a few words' }, '');
      const recovery = newRecoveryKey();
      await ring.add({ publicKey: recovery.publicKey }, '');
      await ring.rotate([{ passphrase: 'a few words' }], new Set());
      await back(await openRepository(store, UNLOCK), 2);
      writeFileSync(keys.key, formatKey(UNLOCK));
      writeFileSync(keys.passphrase, 'a few words\n');
      writeFileSync(keys.recovery, formatRecoveryKey(recovery.privateKey));
    });

    async function back(repository: Repository, n: number): Promise<void> {
      const tree = await captureVolume({ name: 'data', path: source, mode: 'filesystem', repository }, recorder());
      const block = await captureVolume({ name: 'block', path: device, mode: 'block', repository }, recorder());
      const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'settings' }, data: { n: String(n) } };
      const manifests = await repository.write((writer) => writeManifests(writer, [{ object, because: [] }]));
      const record = newBackup(n, { manifests, volume: tree.root });
      await repository.commit({
        ...record,
        volumes: [...record.volumes, { ...record.volumes[0]!, claim: 'block', mode: 'block', root: block.root }],
      });
    }

    for (const [kind, flag] of [
      ['key', '--key-file'],
      ['passphrase', '--passphrase-file'],
      ['recovery', '--recovery-key-file'],
    ] as const) {
      it(`H4: restores files with all they have, devices and manifests, given a ${kind}`, async () => {
        for (const n of [1, 2]) {
          const common = ['--repository', repositoryPath, flag, keys[kind]];
          const target = join(folder.path, `${kind}-${n}`);
          await run(PYTHON, [READER, ...common, 'restore', `backup-${n}`, 'data', target]);
          assert.deepEqual(await oracle.describe(target), described);
          await run(PYTHON, [READER, ...common, 'restore', `backup-${n}`, 'block', `${target}-device`]);
          assert.ok(readFileSync(device).equals(readFileSync(`${target}-device`)));
          const manifests = await run(PYTHON, [READER, ...common, 'manifests', `backup-${n}`]);
          assert.equal((JSON.parse(manifests) as { data: { n: string } }).data.n, String(n));
        }
      });
    }

    it('H4: does what RECOVERY.txt says of it, word for word', async () => {
      const text = readFileSync(join(repositoryPath, 'RECOVERY.txt'), 'utf8');
      const target = join(folder.path, 'as-told');
      const words = new Map(Object.entries({ FOLDER: repositoryPath, KEY: keys.key, BACKUP: 'backup-1', CLAIM: 'data', TARGET: target }));
      const commands = [...text.matchAll(/^ +python3 dmaas_reader\.py (.*)$/gm)].map(([, line]) =>
        line!.split(' ').map((word) => words.get(word) ?? word),
      );
      assert.deepEqual(
        commands.map((args) => args[4]),
        ['list', 'manifests', 'restore'],
      );
      for (const args of commands) await run(PYTHON, [READER, ...args]);
      assert.deepEqual(await oracle.describe(target), described);
    });

    it('H4: finds a damaged pack and names the backups', async () => {
      const packs = (await run('find', [join(repositoryPath, 'packs'), '-type', 'f', '-size', '+100k'])).trim().split('\n');
      const body = readFileSync(packs[0]!);
      writeFileSync(packs[0]!, Buffer.from(body).fill(0, 100, 5000));
      const { code, stderr } = await reader(['--repository', repositoryPath, '--key-file', keys.key, 'verify']);
      writeFileSync(packs[0]!, body);
      assert.equal(code, 1);
      assert.match(stderr, /operation1.*is lost/);
    });

    it('H4: says that another key opens nothing', async () => {
      const other = join(folder.path, 'other');
      writeFileSync(other, formatKey(createHash('sha256').digest()));
      const { code, stderr } = await reader(['--repository', repositoryPath, '--key-file', other, 'list']);
      assert.equal(code, 1);
      assert.match(stderr, /^error: the key does not open/);
    });
  });
});
