import { createCipheriv } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RunOptions } from '../../core/src/events.ts';
import { rootsOf, type Backup, type NewBackup } from '../../core/src/repository/records/backup-record.ts';
import type { BlobId } from '../../core/src/repository/format/blob.ts';
import type { BlobWriter } from '../../core/src/repository/blobs/blob-writer.ts';
import type { RepositoryParameters } from '../../core/src/repository/keys/config.ts';
import { RepositoryKeys } from '../../core/src/repository/format/key-set.ts';
import type { Random } from '../../core/src/repository/format/derive.ts';
import { writeManifests } from '../../core/src/repository/manifests.ts';
import { decodeNode, encodeNode, NODE_TYPE } from '../../core/src/repository/format/node.ts';
import { openRepository, type PruneOptions, type PruneReport, type Repository } from '../../core/src/repository/repository.ts';
import { FileStore } from '../../core/src/store/file.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import type { ObjectStore } from '../../core/src/store/object-store.ts';

export const UNLOCK = Buffer.alloc(32, 7);
export const QUIET: RunOptions = { emit: () => undefined };

/** Small packs, so that a few kilobytes make several. */
export const SMALL: RepositoryParameters = {
  chunker: { min: 64, average: 256, max: 1024, block: 4096 },
  packBytes: 16 << 10,
  nodePackBytes: 4 << 10,
};

/** Bytes that look random and are the same for the same seed. */
export function seededRandom(seed: number): Random {
  const stream = createCipheriv('aes-256-ctr', Buffer.alloc(32, seed), Buffer.alloc(16));
  return (n) => stream.update(Buffer.alloc(n));
}

export function testKeys(): RepositoryKeys {
  return new RepositoryKeys({ dedup: Buffer.alloc(32, 1), epochs: [{ epoch: 1, root: Buffer.alloc(32, 2) }] }, Buffer.alloc(16, 9));
}

/** A store in memory and one in a directory; run the same test over both. */
export const STORES: readonly { readonly name: string; readonly make: () => { store: ObjectStore; remove: () => void } }[] = [
  { name: 'memory', make: () => ({ store: new MemoryStore(), remove: () => undefined }) },
  {
    name: 'directory',
    make: () => {
      const directory = mkdtempSync(join(tmpdir(), 'dmaas-repository-'));
      return {
        store: new FileStore(directory),
        remove: () => {
          rmSync(directory, { recursive: true, force: true });
        },
      };
    },
  },
];

/** A store of which the test says what the time is. */
export function clockedStore(): { store: MemoryStore; pass: (ms: number) => void; now: () => number } {
  let now = Date.parse('2026-11-22T12:00:00Z');
  return {
    store: new MemoryStore({ now: () => new Date(now) }),
    pass: (ms) => {
      now += ms;
    },
    now: () => now,
  };
}

/** The operation with this number. */
export function operationOf(n: number): string {
  return `operation${n}`;
}

export function newBackup(n: number, roots: { readonly manifests: BlobId; readonly volume: BlobId }): NewBackup {
  const at = (seconds: number) => `${new Date(Date.UTC(2026, 10, 22, 12, n, seconds)).toISOString().slice(0, 19)}Z`;
  return {
    operation: operationOf(n),
    name: `backup-${n}`,
    startedAt: at(11),
    tool: 'dmaas/test',
    app: { name: 'web', namespace: 'shop', selector: { labelSelector: 'app=web' } },
    cluster: { id: '6f1d2c3b-0000-4000-8000-000000000001', context: 'test', version: 'v1.36.0' },
    manifests: roots.manifests,
    members: 1,
    volumes: [
      {
        claim: 'data',
        mode: 'filesystem',
        storageClass: 'standard',
        driver: 'csi.example',
        accessModes: ['ReadWriteOnce'],
        capacityBytes: 1 << 30,
        method: 'volume-snapshot',
        consistentAt: at(20),
        root: roots.volume,
        files: 1,
        bytes: 1,
        addedBytes: 1,
      },
    ],
    findings: [],
    labels: {},
  };
}

/** A collection by a process of its own. */
export async function collect(store: ObjectStore, opts: PruneOptions = {}): Promise<PruneReport> {
  return (await openRepository(store, UNLOCK)).prune(opts, QUIET);
}

/** Another process deletes the backup of this number. */
export async function removeBackup(store: ObjectStore, n: number): Promise<void> {
  const repository = await openRepository(store, UNLOCK);
  await repository.deleteBackup((await repository.backup(operationOf(n))).id);
}

/** Puts the parts of a backup: manifests, and a volume of two levels over `contents`. */
export async function putBackup(writer: BlobWriter, contents: readonly Uint8Array[]): Promise<{ manifests: BlobId; volume: BlobId }> {
  const object = {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'settings', namespace: 'shop' },
    data: { size: String(contents.length) },
  };
  const manifests = await writeManifests(writer, [{ object, because: [] }]);
  const leaves: BlobId[] = [];
  for (let at = 0; at < contents.length; at += 4) {
    const references: BlobId[] = [];
    for (const content of contents.slice(at, at + 4)) references.push((await writer.put('data', content)).id);
    leaves.push((await writer.put('node', encodeNode({ type: NODE_TYPE.leaf, references, payload: Buffer.from('leaf') }))).id);
  }
  const volume = await writer.put('node', encodeNode({ type: NODE_TYPE.volume, references: leaves, payload: Buffer.from('{}') }));
  return { manifests, volume: volume.id };
}

export async function makeBackup(repository: Repository, n: number, contents: readonly Uint8Array[]): Promise<Backup> {
  const roots = await repository.write((writer) => putBackup(writer, contents));
  return repository.commit(newBackup(n, roots));
}

/** What a restore of the volume gives: its contents, in order. Checks the manifests' blobs, too. */
export async function restoreBackup(repository: Repository, backup: Backup): Promise<Uint8Array[]> {
  const manifests = decodeNode(await repository.read(backup.manifests), backup.manifests);
  await repository.readMany(manifests.references, () => undefined);
  const root = rootsOf(backup)[1] as BlobId;
  const contents: Uint8Array[] = [];
  for (const leaf of decodeNode(await repository.read(root), root).references) {
    const { references } = decodeNode(await repository.read(leaf), leaf);
    const start = contents.length;
    await repository.readMany(references, (i, data) => {
      contents[start + i] = Buffer.from(data);
    });
  }
  return contents;
}

export async function objectsOf(store: ObjectStore): Promise<Map<string, Uint8Array>> {
  const objects = new Map<string, Uint8Array>();
  for await (const { key } of store.list('')) objects.set(key, (await store.get(key)) as Uint8Array);
  return objects;
}

export async function storeOf(objects: ReadonlyMap<string, Uint8Array>): Promise<MemoryStore> {
  const store = new MemoryStore();
  for (const [key, body] of objects) await store.put(key, body);
  return store;
}

export async function keysUnder(store: ObjectStore, prefix: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(prefix)) keys.push(key);
  return keys;
}

export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}
