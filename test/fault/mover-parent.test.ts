/** Row C7 of the fault matrix where files are large: what a file that is unchanged is taken over with lies below content nodes, and these below others. */
import assert from 'node:assert/strict';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { VolumeBrowser } from '../../core/src/mover/browse.ts';
import { captureVolume, type CaptureResult } from '../../core/src/mover/capture.ts';
import { decodeContentNode } from '../../core/src/mover/content.ts';
import { parsePath } from '../../core/src/mover/paths.ts';
import type { BlobId, BlobKind } from '../../core/src/repository/format/blob.ts';
import { decodeSegment } from '../../core/src/repository/format/index-segment.ts';
import { packKey } from '../../core/src/repository/format/pack-reader.ts';
import { loadConfig } from '../../core/src/repository/keys/config.ts';
import { writeManifests } from '../../core/src/repository/manifests.ts';
import { createRepository, openRepository } from '../../core/src/repository/repository.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import type { ObjectStore } from '../../core/src/store/object-store.ts';
import { FaultyStore } from '../support/faulty-store.ts';
import { all, collect, newBackup, objectsOf, operationOf, QUIET, seededRandom, SMALL, storeOf, UNLOCK } from '../support/repository.ts';
import { recorder, scratch, settled, watchClaims } from '../support/volume.ts';

const random = seededRandom(71);
const FILMS = 30;

describe('taking over large files that are unchanged (C7)', function () {
  this.timeout(240_000);
  const dir = scratch();
  const contents = new Map<string, Uint8Array>();
  let objects: ReadonlyMap<string, Uint8Array>;
  let packs: Record<BlobKind, string[]>;

  const write = (path: string, content: Uint8Array): void => {
    writeFileSync(join(dir.path, path), content);
    contents.set(path, content);
  };

  /** By a process of its own, with the newest backup as its parent. */
  async function backUp(store: ObjectStore, path = dir.path): Promise<CaptureResult & { readonly claims: number }> {
    const repository = await openRepository(store, UNLOCK);
    const before = await all(repository.backups());
    const n = before.length + 1;
    await repository.begin(operationOf(n));
    const parent = before.at(-1)?.volumes[0]?.root;
    let claims = 0;
    const watched = watchClaims(repository, () => claims++);
    const options = { name: 'data', path, mode: 'filesystem', repository: watched, now: settled } as const;
    const captured = await captureVolume({ ...options, ...(parent === undefined ? {} : { parent }) }, recorder());
    const manifests = await repository.write((writer) => writeManifests(writer, []));
    await repository.commit(newBackup(n, { manifests, volume: captured.root }));
    return { ...captured, claims };
  }

  async function packsOf(store: ObjectStore): Promise<typeof packs> {
    const { keys } = (await loadConfig(store, UNLOCK, {}))!;
    const found: typeof packs = { data: [], node: [] };
    for (const [key, body] of await objectsOf(store)) {
      if (!key.startsWith('index/')) continue;
      for (const { id, kind } of decodeSegment(keys, key, body).table.packs) found[kind].push(packKey(id));
    }
    return found;
  }

  /** What is wrong with the backups, all of them. */
  async function lost(store: ObjectStore): Promise<string[]> {
    const repository = await openRepository(store, UNLOCK);
    const findings = await repository.verify('data', QUIET);
    return findings.filter(({ level }) => level === 'blocker').map(({ message }) => message);
  }

  async function read(store: ObjectStore, root: BlobId, path: string): Promise<Buffer> {
    const browser = await VolumeBrowser.open(await openRepository(store, UNLOCK), root);
    const parts: Uint8Array[] = [];
    for await (const part of browser.readFile(parsePath(path))) parts.push(part);
    return Buffer.concat(parts);
  }

  before(async () => {
    mkdirSync(join(dir.path, 'films'));
    write('deep', random(300_000));
    write('small', random(1000));
    for (let i = 0; i < FILMS; i++) write(`films/${i}`, random(30_000));
    const store = new MemoryStore();
    // Where files and lists of chunks are cut is decided by keys: with these there are nodes below nodes.
    const parameters = { ...SMALL, packBytes: 256 << 10, nodePackBytes: 32 << 10 };
    await createRepository(store, UNLOCK, { random: seededRandom(1), parameters });
    await backUp(store);
    const { root } = await backUp(store);
    objects = await objectsOf(store);
    packs = await packsOf(store);
    const repository = await openRepository(store, UNLOCK);
    const browser = await VolumeBrowser.open(repository, root);
    for (const [path, level] of [
      ['deep', 1],
      ['films/0', 0],
    ] as const) {
      const { node } = (await browser.stat(parsePath(path)))!.content as { readonly node: BlobId };
      assert.equal(decodeContentNode(await repository.read(node), node).level, level, path);
    }
  });
  after(() => {
    dir.rm();
  });

  for (const [what, gone] of [
    ['any one pack is gone', () => [...packs.data, ...packs.node].map((key) => [key])],
    ['all packs of data are gone', () => [packs.data]],
  ] as const) {
    it(`C7: when ${what}, repair and the next backup heal all older backups, and space comes back again`, async () => {
      for (const keys of gone()) {
        const store = await storeOf(new Map([...objects].filter(([key]) => !keys.includes(key))));
        assert.notDeepEqual(await lost(store), []);
        const report = await (await openRepository(store, UNLOCK)).repair(QUIET);
        assert.equal(report.condemnedPacks.length, keys.length);
        const { root } = await backUp(store);
        assert.deepEqual(await lost(store), [], String(keys));
        for (const [path, content] of contents) assert.ok((await read(store, root, path)).equals(content), path);
        await collect(store, { graceMs: 0 });
        await collect(store, { graceMs: 0 });
        assert.deepEqual(await lost(store), [], String(keys));
      }
    });
  }

  it('C7: where a content node cannot be read and nothing says so yet, its file is read, and the backup says so', async () => {
    let told = 0;
    for (const key of packs.node) {
      const store = await storeOf(new Map([...objects].filter((entry) => entry[0] !== key)));
      const { findings, claims } = await backUp(store);
      for (const { code } of findings) assert.equal(code, 'parent-unreadable');
      if (findings.some(({ message }) => message.includes('a file of the backup before cannot be compared with'))) told++;
      assert.equal(findings.length > 0, claims > 0, key);
    }
    assert.ok(told > 0);
  });

  for (const [where, block] of [
    ['in its entry', 64 << 10],
    ['below a content node', 4 << 10],
  ] as const) {
    it(`C7: a file that was cut in blocks, listed ${where}, is cut so again when it is read because some of it is gone`, async () => {
      const volume = scratch();
      try {
        const table = join(volume.path, 'table');
        writeFileSync(table, random(1_200_000));
        const store = new MemoryStore();
        const parameters = { ...SMALL, chunker: { ...SMALL.chunker, block }, packBytes: 256 << 10 };
        await createRepository(store, UNLOCK, { parameters });
        await backUp(store, volume.path);
        // Rewritten in place, which is why it is cut in blocks.
        const fd = openSync(table, 'r+');
        writeSync(fd, 'changed', 500_000);
        closeSync(fd);
        const { root } = await backUp(store, volume.path);
        for (const key of (await packsOf(store)).data) await store.delete(key);
        await (await openRepository(store, UNLOCK)).repair(QUIET);
        await backUp(store, volume.path);
        assert.ok((await read(store, root, 'table')).equals(readFileSync(table)));
      } finally {
        volume.rm();
      }
    });
  }

  it('reads none of them when all is there, and of the repository only nodes, many at a time', async () => {
    const store = new FaultyStore(await storeOf(objects));
    const { claims, addedBytes, findings } = await backUp(store);
    assert.deepEqual({ claims, addedBytes, findings }, { claims: 0, addedBytes: 0, findings: [] });
    assert.deepEqual(
      store.calls.filter(({ verb, key }) => verb === 'get' && packs.data.includes(key)),
      [],
    );
    const reads = store.calls.filter(({ verb, key }) => verb === 'get' && packs.node.includes(key)).length;
    assert.ok(reads < FILMS, `${reads} requests`);
  });
});
