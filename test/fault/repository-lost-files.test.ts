/** Rows C1, C2 and C7 of the fault matrix: what a damaged pack costs is named by file, no more and no less, and the next backup heals it. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DmaasError } from '../../core/src/errors.ts';
import { VolumeBrowser } from '../../core/src/mover/browse.ts';
import { captureVolume } from '../../core/src/mover/capture.ts';
import { lostFilesOf } from '../../core/src/mover/lost-files.ts';
import { parsePath } from '../../core/src/mover/paths.ts';
import type { BlobId } from '../../core/src/repository/format/blob.ts';
import { writeManifests } from '../../core/src/repository/manifests.ts';
import { createRepository, openRepository, type Repository } from '../../core/src/repository/repository.ts';
import { repairRepository, verifyRepository } from '../../core/src/standalone/verify.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import { all, newBackup, objectsOf, QUIET, seededRandom, SMALL, storeOf, UNLOCK } from '../support/repository.ts';
import { scratch } from '../support/volume.ts';

const random = seededRandom(61);
const LARGER = { min: 4 << 10, average: 8 << 10, max: 16 << 10 };
const PARAMETERS = { ...SMALL, chunker: { ...SMALL.chunker, ...LARGER } };

describe('what a damaged pack costs (C7)', function () {
  this.timeout(120_000);
  const dir = scratch();
  // Which thread packs which is not the same each time: so many that each way names enough.
  const files = Array.from({ length: 60 }, (_, i) => `${['a', 'b/c', 'd'][i % 3]!}/file-${i}`);
  let objects: ReadonlyMap<string, Uint8Array>;

  async function backUp(repository: Repository, n: number): Promise<void> {
    const now = () => Date.now() + 60_000;
    const [latest] = (await all(repository.backups())).slice(-1);
    const parent = latest === undefined ? {} : { parent: latest.volumes[0]!.root };
    const captured = await captureVolume({ name: 'data', path: dir.path, mode: 'filesystem', repository, now, ...parent }, QUIET);
    const settings = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'settings', namespace: 'shop' } };
    const manifests = await repository.write((writer) => writeManifests(writer, [{ object: settings, because: [] }]));
    await repository.commit(newBackup(n, { manifests, volume: captured.root }));
  }

  before(async () => {
    for (const folder of ['a', 'b/c', 'd']) mkdirSync(join(dir.path, folder), { recursive: true });
    for (const [i, file] of files.entries()) writeFileSync(join(dir.path, file), random(1 + i * 311));
    const store = new MemoryStore();
    await createRepository(store, UNLOCK, { parameters: PARAMETERS });
    await backUp(await openRepository(store, UNLOCK), 1);
    objects = await objectsOf(store);
  });
  after(() => {
    dir.rm();
  });

  /** The files that cannot be read, by reading each. */
  async function unreadable(store: MemoryStore): Promise<string[]> {
    const repository = await openRepository(store, UNLOCK);
    const backup = await repository.backup('latest');
    const lost: string[] = [];
    for (const file of files) {
      try {
        const browser = await VolumeBrowser.open(repository, backup.volumes[0]!.root);
        let bytes = 0;
        for await (const part of browser.readFile(parsePath(file))) bytes += part.length;
        assert.ok(bytes > 0);
      } catch (e) {
        assert.ok(DmaasError.is(e, 'REPOSITORY_CORRUPT'), String(e));
        lost.push(`data: ${file}`);
      }
    }
    return lost;
  }

  for (const [what, change] of [
    ['with one bad byte', (body: Buffer) => Buffer.from(body).fill(body[40]! ^ 1, 40, 41)],
    ['cut in the middle', (body: Buffer) => body.subarray(0, body.length >> 1)],
    ['that is gone', () => undefined],
  ] as const) {
    it(`C7: of a pack ${what}, exactly the files that cannot be read are named; after repair the next backup heals them`, async () => {
      let named = 0;
      let packs = 0;
      for (const [key, body] of objects) {
        if (!key.startsWith('packs/')) continue;
        const changed = new Map(objects);
        const damagedBody = change(Buffer.from(body));
        if (damagedBody === undefined) changed.delete(key);
        else changed.set(key, damagedBody);
        const store = await storeOf(changed);
        const lost = await unreadable(store);
        const findings = await verifyRepository(await openRepository(store, UNLOCK), 'data', QUIET);
        const names = new Set(findings.flatMap((finding) => finding.lost ?? []));
        // Where nodes are lost the names of files are, too.
        const isRange = [...names].some((name) => /: (everything|all)/.test(name));
        const told = [...names].filter((name) => name.startsWith('data: ') && !/: (everything|all)/.test(name));
        if (!isRange) assert.deepEqual(told.sort(), lost.sort(), key);
        else assert.ok(told.every((name) => lost.includes(name)));
        if (lost.length > 0) assert.ok(findings.some(({ level, message }) => level === 'blocker' && message.includes('missing from')));
        named += told.length;
        if (packs++ % 5 > 0) continue;
        // What is damaged does not keep the next backup from being made; it is sound once this has been repaired.
        await backUp(await openRepository(store, UNLOCK), 2);
        const report = await repairRepository(await openRepository(store, UNLOCK), QUIET);
        assert.equal(report.condemnedPacks.length, 1);
        await backUp(await openRepository(store, UNLOCK), 3);
        assert.deepEqual(await unreadable(store), []);
        const after = await verifyRepository(await openRepository(store, UNLOCK), 'data', QUIET);
        assert.deepEqual(
          after.filter(({ level }) => level === 'blocker'),
          [],
        );
      }
      assert.ok(named > 20, `${named} files named`);
    });
  }

  it('C7: objects of the application are named, too', async () => {
    const store = await storeOf(objects);
    const repository = await openRepository(store, UNLOCK);
    const { manifests } = await repository.backup('latest');
    const lost: string[] = [];
    const backup = await repository.backup('latest');
    const kept = new Set([manifests, ...backup.volumes.map(({ root }) => root)]);
    const isLost = (id: BlobId) => !kept.has(id);
    await lostFilesOf(repository)(backup, isLost, (name) => lost.push(name), {});
    assert.ok(lost.includes('manifests: ConfigMap/settings'));
    assert.ok(lost.includes('data: all files'));
  });
});
