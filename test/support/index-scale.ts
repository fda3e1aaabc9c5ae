/**
 * A repository whose index has millions of entries and nothing else, at DIRECTORY: run as a process of its own, so that its memory can be told.
 *
 *     node test/support/index-scale.ts make DIRECTORY ENTRIES      segments of 1.4 million entries, and of ever less
 *     node test/support/index-scale.ts open|backup|verify|prune|merge DIRECTORY ENTRIES [CACHE]
 *
 * Each prints as JSON: peak memory, seconds, requests by verb, and what it found.
 */
import { createCipheriv } from 'node:crypto';
import { BLOB_ID_BYTES, type BlobId } from '../../core/src/repository/blob.ts';
import { loadConfig } from '../../core/src/repository/config.ts';
import { newSegmentKey, SegmentWriter } from '../../core/src/repository/index-segment.ts';
import { createRepository, openRepository } from '../../core/src/repository/repository.ts';
import { encodeNode } from '../../core/src/repository/node.ts';
import { packKey, PACKS } from '../../core/src/repository/pack-reader.ts';
import { ROW_BYTES, type PackInfo } from '../../core/src/repository/table.ts';
import { FileStore } from '../../core/src/store/file.ts';
import type { CallOptions, ObjectInfo, ObjectStore } from '../../core/src/store/object-store.ts';
import { FaultyStore, type StoreVerb } from './faulty-store.ts';
import { makeBackup, newBackup, QUIET, seededRandom, UNLOCK } from './repository.ts';

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

/** Lists the packs that the index names, without there being any. */
class PretendedPacks extends FaultyStore {
  readonly #packs: () => Iterable<PackInfo>;

  constructor(store: ObjectStore, packs: () => Iterable<PackInfo>) {
    super(store);
    this.#packs = packs;
  }

  override async *list(prefix: string, opts?: CallOptions): AsyncIterable<ObjectInfo> {
    yield* super.list(prefix, opts);
    if (prefix !== PACKS) return;
    for (const { id, size } of this.#packs()) yield { key: packKey(id), size, modifiedAt: new Date(0) };
  }
}

async function probe(verb: string, directory: string, entries: number, cache: string | undefined): Promise<unknown> {
  const parts = partsOf(entries);
  const store = new PretendedPacks(new FileStore(directory), () => parts.flatMap(packsOf));
  const started = performance.now();
  const repository = await openRepository(store, UNLOCK, cache === undefined ? {} : { cache: { directory: cache } });
  const openMs = performance.now() - started;
  const opening = requests(store);
  const result = verb === 'open' ? await lookUp(repository, store, parts) : await work(verb, repository, parts);
  const { segments } = repository.stats();
  await repository.close();
  return { ...memory(), openMs: Math.round(openMs), opening, segments, ...result };
}

type Repository = Awaited<ReturnType<typeof openRepository>>;

/** What one file needs: a few nodes and a chunk, one after the other. */
async function lookUp(repository: Repository, store: FaultyStore, parts: readonly Part[]) {
  const part = parts[0]!;
  const before = store.count('get');
  const ids = [0, NODE_EVERY, NODE_EVERY * 2, NODE_EVERY * 2 + 1].map((i) => idOf(part, i));
  for (const id of ids) if ((await repository.known([id]))[0] !== true) throw new Error(`${id} is not found`);
  return { getsForOneFile: store.count('get') - before };
}

async function work(verb: string, repository: Repository, parts: readonly Part[]): Promise<object> {
  const started = performance.now();
  const result =
    verb === 'backup'
      ? await backup(repository, parts)
      : verb === 'verify'
        ? await verify(repository, parts)
        : verb === 'prune'
          ? await prune(repository, parts)
          : await merge(repository);
  return { ...result, workMs: Math.round(performance.now() - started) };
}

const LOOKUPS = 400_000;
const BATCH = 500;

/** Asks for blobs, half of which are there, and writes 512 MiB. */
async function backup(repository: Repository, parts: readonly Part[]): Promise<object> {
  const random = seededRandom(9);
  const absent = (await repository.known(Array.from({ length: 1000 }, () => Buffer.from(random(24)).toString('hex') as BlobId))).filter(
    Boolean,
  );
  if (absent.length > 0) throw new Error('found what is not there');
  const lookupPeaks = [memory().peakMiB];
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
  lookupPeaks.push(memory().peakMiB);
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

const FAN_OUT = 4096;

/** Verifies the structure of a repository with one backup of everything. */
async function verify(repository: Repository, parts: readonly Part[]): Promise<object> {
  const nodes = await backUpAll(repository, parts, 1);
  const started = performance.now();
  const findings = await repository.verify('structure', QUIET);
  return { findings: findings.length, nodes, verifyMs: Math.round(performance.now() - started) };
}

/** Marks what two backups need, of which one has every other segment only, and plans a collection. */
async function prune(repository: Repository, parts: readonly Part[]): Promise<object> {
  await backUpAll(repository, parts, 1);
  await backUpAll(
    repository,
    parts.filter(({ number }) => number % 2 === 0),
    2,
  );
  const started = performance.now();
  const { keeps, condemn, totalBytes } = await repository.prune({ dryRun: true }, QUIET);
  return { backups: keeps.length, condemned: condemn.length, totalBytes, pruneMs: Math.round(performance.now() - started) };
}

/** Backs up nodes that name every blob of the index that is no node. Returns how many. */
async function backUpAll(repository: Repository, parts: readonly Part[], n: number): Promise<number> {
  const node = async (references: readonly BlobId[]) =>
    repository.write(async (writer) => (await writer.put('node', encodeNode({ type: 4, references, payload: Buffer.alloc(0) }))).id);
  let references: BlobId[] = [];
  const nodes: BlobId[] = [];
  await repository.write(async (writer) => {
    const put = async () => {
      nodes.push((await writer.put('node', encodeNode({ type: 4, references, payload: Buffer.alloc(0) }))).id);
      references = [];
    };
    for (const part of parts) {
      for (let i = 0; i < part.entries; i++) {
        if (i % NODE_EVERY !== 0) references.push(idOf(part, i));
        if (references.length === FAN_OUT) await put();
      }
    }
    await put();
  });
  const volume = await node(nodes);
  await repository.commit(newBackup(n, { manifests: await node([]), volume }));
  return nodes.length;
}

/** Makes small backups until the index has been merged a few times. */
async function merge(repository: Repository): Promise<object> {
  const random = seededRandom(3);
  for (let n = 1; n <= 12; n++) await makeBackup(repository, n, [Buffer.from(random(1000))]);
  return {};
}

function memory() {
  return { peakMiB: Math.ceil(process.resourceUsage().maxRSS / 1024) };
}

function requests(store: FaultyStore): Record<string, number> {
  const verbs: StoreVerb[] = ['list', 'get', 'put', 'delete'];
  return Object.fromEntries(verbs.map((verb) => [verb, store.count(verb)]));
}

const [verb, directory, entries, cache] = process.argv.slice(2) as [string, string, string, string?];
if (verb === 'make') await make(new FileStore(directory), Number(entries));
else console.log(JSON.stringify(await probe(verb, directory, Number(entries), cache)));
