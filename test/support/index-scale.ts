/**
 * A repository of millions of chunks, at DIRECTORY: its index, nodes and backup records are real, and packs of data only listed. Run as a process of its own, so that its memory can be told.
 *
 *     node test/support/index-scale.ts make DIRECTORY ENTRIES               segments of 1.4 million entries, and of ever less
 *     node test/support/index-scale.ts make-backups DIRECTORY ENTRIES       one backup for every hundred entries, each with a change
 *     node test/support/index-scale.ts open|backup|verify|collect DIRECTORY ENTRIES [CACHE]
 *
 * Each prints as JSON: peak memory, seconds, requests by verb, and what it found.
 */
import { createCipheriv } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { peakMemoryBytes } from '../../core/src/mover/peak-memory.ts';
import { BACKUPS } from '../../core/src/repository/records/backups.ts';
import { BLOB_ID_BYTES, type BlobId } from '../../core/src/repository/format/blob.ts';
import type { BlobWriter } from '../../core/src/repository/blobs/blob-writer.ts';
import { loadConfig } from '../../core/src/repository/keys/config.ts';
import { newSegmentKey, SegmentWriter } from '../../core/src/repository/format/index-segment.ts';
import { createRepository, openRepository } from '../../core/src/repository/repository.ts';
import { encodeNode, NODE_TYPE } from '../../core/src/repository/format/node.ts';
import { packIdOf, packKey, PACKS } from '../../core/src/repository/format/pack-reader.ts';
import { sealRecord } from '../../core/src/repository/format/sealed-record.ts';
import { OBJECT_TYPE } from '../../core/src/repository/format/sealed.ts';
import { ROW_BYTES, type PackInfo } from '../../core/src/repository/format/table.ts';
import { FileStore } from '../../core/src/store/file.ts';
import type { CallOptions, ObjectInfo, ObjectStore } from '../../core/src/store/object-store.ts';
import type { StoreVerb } from './faulty-store.ts';
import { newBackup, QUIET, seededRandom, UNLOCK } from './repository.ts';

const LARGEST = 1_400_000;
const BLOBS_OF_PACK = 250;
const PACK_BYTES = 32 << 20;
const FRAME = { offset: 16, length: 1 << 20 };
/** One blob in so many lies in a pack of nodes. */
const NODE_EVERY = 400;

interface Part {
  readonly number: number;
  readonly entries: number;
}

/** The segments: full ones, and three small ones. */
function partsOf(entries: number): Part[] {
  const full = Math.floor(entries / (LARGEST + 1));
  const left = entries - full * LARGEST;
  const small = [Math.ceil(left * 0.9), Math.ceil(left * 0.08)];
  const sizes = [...Array<number>(full).fill(LARGEST), ...small, left - (small[0] as number) - (small[1] as number)];
  return sizes.map((size, number) => ({ number, entries: size }));
}

/** 32 bytes for each entry of a part, from the `first` on. */
function noise(part: number, first: number, count: number): Buffer {
  const counter = Buffer.alloc(16);
  counter.writeUInt32BE(part, 0);
  counter.writeUIntBE(first * 2, 10, 6);
  return createCipheriv('aes-256-ctr', Buffer.alloc(32, 5), counter).update(Buffer.alloc(count * 32));
}

/** Ids that ascend, and are random all the same. */
function writeId(target: Buffer, at: number, { entries }: Part, i: number, bytes: Buffer, from: number): void {
  const spread = bytes.readUInt32BE(from + 24) / 2 ** 32;
  target.writeUIntBE(Math.floor(((i + spread) * 2 ** 48) / entries), at, 6);
  bytes.copy(target, at + 6, from, from + BLOB_ID_BYTES - 6);
}

function idOf(part: Part, i: number): BlobId {
  const id = Buffer.alloc(BLOB_ID_BYTES);
  writeId(id, 0, part, i, noise(part.number, i, 1), 0);
  return id.toString('hex') as BlobId;
}

function packsOf(part: Part): PackInfo[] {
  const count = Math.ceil(part.entries / BLOBS_OF_PACK) + 1;
  const bytes = noise((1 << 20) | part.number, 0, count);
  // The last holds the nodes.
  return Array.from({ length: count }, (_, i) => ({
    id: bytes.toString('hex', i * 32, i * 32 + 16),
    kind: i === count - 1 ? 'node' : 'data',
    size: PACK_BYTES,
  }));
}

async function make(store: ObjectStore, entries: number): Promise<void> {
  const random = seededRandom(1);
  await createRepository(store, UNLOCK, { random });
  const { keys } = (await loadConfig(store, UNLOCK, {}))!;
  const row = Buffer.alloc(ROW_BYTES);
  for (const part of partsOf(entries)) {
    const key = newSegmentKey(part.entries === LARGEST ? 5 : 3, random);
    const packs = packsOf(part);
    const writer = new SegmentWriter(keys, key, { entries: part.entries, packs, replaces: [] }, random);
    const step = 1 << 16;
    for (let first = 0; first < part.entries; first += step) {
      const bytes = noise(part.number, first, Math.min(step, part.entries - first));
      for (let i = first; i < Math.min(first + step, part.entries); i++) {
        writeId(row, 0, part, i, bytes, (i - first) * 32);
        const pack = i % NODE_EVERY === 0 ? packs.length - 1 : i % (packs.length - 1);
        [pack, FRAME.offset, FRAME.length, 0, 4096].forEach((value, n) => row.writeUInt32LE(value, BLOB_ID_BYTES + n * 4));
        writer.add(row, 0);
      }
    }
    await store.put(key, writer.finish(), { ifAbsent: true });
  }
}

/** Lists the packs that the index names, without there being any, until they are deleted; and counts what is asked for. */
class SimulatedStore implements ObjectStore {
  readonly location: string;
  readonly requests: Record<StoreVerb, number> = { list: 0, get: 0, put: 0, stat: 0, delete: 0 };
  readonly #store: FileStore;
  readonly #packs: () => Iterable<PackInfo>;
  readonly #deleted = new Set<string>();

  constructor(store: FileStore, packs: () => Iterable<PackInfo>) {
    this.#store = store;
    this.#packs = packs;
    this.location = store.location;
  }

  put(...args: Parameters<ObjectStore['put']>): Promise<void> {
    this.requests.put++;
    return this.#store.put(...args);
  }

  get(...args: Parameters<ObjectStore['get']>): Promise<Uint8Array | undefined> {
    this.requests.get++;
    return this.#store.get(...args);
  }

  stat(...args: Parameters<ObjectStore['stat']>): Promise<ObjectInfo | undefined> {
    this.requests.stat++;
    return this.#store.stat(...args);
  }

  /** A request brings 1000 objects. */
  async *list(prefix: string, opts?: CallOptions): AsyncIterable<ObjectInfo> {
    let listed = 0;
    for await (const object of this.#all(prefix, opts)) {
      if (listed++ % 1000 === 0) this.requests.list++;
      yield object;
    }
    if (listed === 0) this.requests.list++;
  }

  async *#all(prefix: string, opts?: CallOptions): AsyncIterable<ObjectInfo> {
    yield* this.#store.list(prefix, opts);
    if (prefix !== PACKS) return;
    for (const { id, size } of this.#packs()) {
      if (!this.#deleted.has(id)) yield { key: packKey(id), size, modifiedAt: new Date(0) };
    }
  }

  async delete(key: string, opts?: CallOptions): Promise<void> {
    this.requests.delete++;
    const id = packIdOf(key);
    if (id !== undefined) this.#deleted.add(id);
    await this.#store.delete(key, opts);
  }

  close(): Promise<void> {
    return this.#store.close();
  }
}

async function probe(verb: string, directory: string, entries: number, cache: string | undefined): Promise<unknown> {
  const parts = partsOf(entries);
  const store = new SimulatedStore(new FileStore(directory), () => parts.flatMap(packsOf));
  const started = performance.now();
  const repository = await openRepository(store, UNLOCK, cache === undefined ? {} : { cache: { directory: cache } });
  const openMs = Math.round(performance.now() - started);
  const opening = { ...store.requests };
  const { segments } = repository.stats();
  const begun = performance.now();
  const cpu = process.cpuUsage();
  const result = await WORK[verb]!(repository, store, parts);
  const workMs = Math.round(performance.now() - begun);
  const { user, system } = process.cpuUsage(cpu);
  const cpuMs = Math.round((user + system) / 1000);
  const requests = Object.fromEntries(Object.entries(store.requests).map(([name, n]) => [name, n - opening[name as StoreVerb]]));
  await repository.close();
  return { peakMiB: peakMiB(), openMs, opening, segments, workMs, cpuMs, requests, ...result };
}

type Repository = Awaited<ReturnType<typeof openRepository>>;

/** What one file needs: a few nodes and a chunk, one after the other. */
async function lookUp(repository: Repository, store: SimulatedStore, parts: readonly Part[]): Promise<object> {
  const part = parts[0]!;
  const before = store.requests.get;
  const ids = [0, NODE_EVERY, NODE_EVERY * 2, NODE_EVERY * 2 + 1].map((i) => idOf(part, i));
  for (const id of ids) if ((await repository.known([id]))[0] !== true) throw new Error(`${id} is not found`);
  return { getsForOneFile: store.requests.get - before };
}

const LOOKUPS = 400_000;
const BATCH = 500;

/** Asks for blobs, half of which are there, and writes 512 MiB. */
async function backup(repository: Repository, _: SimulatedStore, parts: readonly Part[]): Promise<object> {
  const random = seededRandom(9);
  const absent = (await repository.known(Array.from({ length: 1000 }, () => Buffer.from(random(24)).toString('hex') as BlobId))).filter(
    Boolean,
  );
  if (absent.length > 0) throw new Error('found what is not there');
  const lookupPeaks = [peakMiB()];
  let lookupMs = 0;
  let sync = 0;
  for (let done = 0; done < LOOKUPS; done += BATCH) {
    const ids = Array.from({ length: BATCH }, (_, n) => {
      const part = parts[(done + n) % parts.length]!;
      return n % 2 === 0 ? idOf(part, ((done + n) * 7919) % part.entries) : (Buffer.from(random(24)).toString('hex') as BlobId);
    });
    const at = performance.now();
    const answer = repository.known(ids);
    if (!(answer instanceof Promise)) sync++;
    const known = await answer;
    lookupMs += performance.now() - at;
    if (known.some((isKnown, n) => isKnown !== (n % 2 === 0))) throw new Error('the index is wrong');
  }
  lookupPeaks.push(peakMiB());
  const block = Buffer.alloc(128 << 10);
  await repository.write(async (writer) => {
    for (let n = 0; n < Number(process.env.BLOCKS ?? 4096); n++) {
      block.set(random(1 << 10), 0);
      random(0);
      block.writeUInt32LE(n, 4096);
      for (let at = 8192; at < block.length; at += 8192) block.set(random(4096), at);
      await writer.put('data', block);
    }
  });
  return { lookupPeaks, usPerLookup: Math.round((lookupMs * 1000) / LOOKUPS), syncShare: sync / (LOOKUPS / BATCH) };
}

/** Of every kind of node. */
const FAN_OUT = 64;
/** One pack in so many has only what no backup needs. */
const GARBAGE_EVERY = 10;
const ENTRIES_OF_BACKUP = 100;

/**
 * Backs up everything but what lies in the garbage, and again and again with one chunk replaced: a new leaf, what lies between it and the root, and a root, for each backup. Records are put where they belong
 * without the listing that a commit makes.
 */
async function makeBackups(directory: string, entries: number): Promise<void> {
  const store = new FileStore(directory);
  const parts = partsOf(entries);
  const repository = await openRepository(store, UNLOCK);
  const { keys } = (await loadConfig(store, UNLOCK, {}))!;
  const random = seededRandom(11);
  const put = async (writer: BlobWriter, type: number, references: readonly BlobId[], payload = '') =>
    (await writer.put('node', encodeNode({ type, references, payload: Buffer.from(payload) }))).id;
  const leaves = [...leavesOf(parts)];
  /** Of each height, the nodes of the newest backup. */
  const levels: BlobId[][] = [[]];
  const below = (height: number, n: number) => (levels[height - 1] as BlobId[]).slice(n * FAN_OUT, (n + 1) * FAN_OUT);
  await repository.write(async (writer) => {
    for (const leaf of leaves) (levels[0] as BlobId[]).push(await put(writer, NODE_TYPE.leaf, chunksOf(leaf)));
    for (let height = 1; (levels[height - 1] as BlobId[]).length > FAN_OUT; height++) {
      levels.push([]);
      const count = Math.ceil((levels[height - 1] as BlobId[]).length / FAN_OUT);
      for (let n = 0; n < count; n++) (levels[height] as BlobId[]).push(await put(writer, NODE_TYPE.index, below(height, n)));
    }
  });
  mkdirSync(join(directory, BACKUPS), { recursive: true });
  for (let made = 0; made < entries / ENTRIES_OF_BACKUP;) {
    await repository.write(async (writer) => {
      const manifests = await put(writer, NODE_TYPE.manifests, []);
      for (let i = 0; i < 5000 && made < entries / ENTRIES_OF_BACKUP; i++, made++) {
        const changed = (made * 7919) % leaves.length;
        const chunks = chunksOf(leaves[changed]!);
        chunks[made % chunks.length] = chunksOf(leaves[(made * 104_729) % leaves.length]!)[0] as BlobId;
        (levels[0] as BlobId[])[changed] = await put(writer, NODE_TYPE.leaf, chunks, String(made));
        for (let height = 1, n = changed; height < levels.length; height++) {
          n = Math.floor(n / FAN_OUT);
          (levels[height] as BlobId[])[n] = await put(writer, NODE_TYPE.index, below(height, n));
        }
        const volume = await put(writer, NODE_TYPE.volume, levels.at(-1) as BlobId[], String(made));
        const startedAt = new Date(Date.UTC(2020, 0, 1, 0, made)).toISOString();
        const id = `${startedAt.slice(0, 19).replaceAll(/[-:]/g, '')}Z-operation${made}`;
        const record = { ...newBackup(1, { manifests, volume }), startedAt, createdAt: startedAt, operation: `operation${made}`, id };
        const key = BACKUPS + id;
        writeFileSync(join(directory, key), sealRecord(keys, OBJECT_TYPE.backup, key, record, random));
      }
    });
  }
  await repository.close();
}

interface Leaf {
  readonly part: Part;
  readonly first: number;
}

/** Places of the index that a leaf covers: so many that about `FAN_OUT` of them are chunks that are backed up. */
const LEAF_SPAN = 72;

function* leavesOf(parts: readonly Part[]): Generator<Leaf> {
  for (const part of parts) for (let first = 0; first + LEAF_SPAN <= part.entries; first += LEAF_SPAN) yield { part, first };
}

function chunksOf({ part, first }: Leaf): BlobId[] {
  const packs = Math.ceil(part.entries / BLOBS_OF_PACK);
  const bytes = noise(part.number, first, LEAF_SPAN);
  const id = Buffer.alloc(BLOB_ID_BYTES);
  const chunks: BlobId[] = [];
  for (let i = first; i < first + LEAF_SPAN; i++) {
    if (i % NODE_EVERY === 0 || (i % packs) % GARBAGE_EVERY === 0) continue;
    writeId(id, 0, part, i, bytes, (i - first) * 32);
    chunks.push(id.toString('hex') as BlobId);
  }
  return chunks;
}

/** Verifies the structure. */
async function verify(repository: Repository): Promise<object> {
  const findings = await repository.verify('structure', QUIET);
  return { findings: findings.length };
}

/** Collects: the first time what no backup needs is condemned, the second time deleted. */
async function collect(repository: Repository): Promise<object> {
  const { keeps, condemn, delete: deleted } = await repository.prune({ graceMs: 0 }, QUIET);
  return { backups: keeps.length, condemned: condemn.length, deleted: deleted.length };
}

function peakMiB(): number {
  return Math.ceil(peakMemoryBytes() / 2 ** 20);
}

const WORK: Readonly<Record<string, (repository: Repository, store: SimulatedStore, parts: readonly Part[]) => Promise<object>>> = {
  open: lookUp,
  backup,
  verify,
  collect,
};

const [verb, directory, entries, cache] = process.argv.slice(2) as [string, string, string, string?];
if (verb === 'make') await make(new FileStore(directory), Number(entries));
else if (verb === 'make-backups') await makeBackups(directory, Number(entries));
else console.log(JSON.stringify(await probe(verb, directory, Number(entries), cache)));
