import { randomBytes } from 'node:crypto';
import { DmaasError } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import type { Finding } from '../model.ts';
import type { CallOptions, ObjectStore } from '../store/object-store.ts';
import { rootsOf, type Backup, type BackupFilter, type NewBackup } from './backup-record.ts';
import { BackupRecords, BACKUPS, type BackupListOptions } from './backups.ts';
import { BlobReader, type Deliver, type ReadManyOptions } from './blob-reader.ts';
import type { BlobId, BlobWriter } from './blob.ts';
import { Chunker, gearTable } from './chunker.ts';
import { CONFIG_KEY, DEFAULT_PARAMETERS, loadConfig, makeConfig, type RepositoryConfig, type RepositoryParameters } from './config.ts';
import { damaged, needsNewer } from './damage.ts';
import { IndexLoader } from './index-loader.ts';
import { Journal } from './journal.ts';
import { hmac, type Random } from './keys.ts';
import { PACKS } from './pack-reader.ts';
import { putOnce } from './put-once.ts';
import { recoveryText } from './recovery.ts';
import { RunRecords } from './runs.ts';
import { verify, type VerifyDepth } from './verify.ts';
import { SessionWriter, WriteSession } from './write-session.ts';

export type { BackupListOptions } from './backups.ts';
export type { ReadManyOptions } from './blob-reader.ts';
export type { RepositoryParameters } from './config.ts';
export type { RunRecords } from './runs.ts';

export interface RepositoryOptions extends CallOptions {
  readonly random?: Random;
  readonly now?: () => Date;
}

export interface CreateOptions extends RepositoryOptions {
  readonly parameters?: RepositoryParameters;
  /** The object `source`, from `sealSource`; absent for a repository that is used without a location. */
  readonly source?: Uint8Array;
}

export interface RepositoryStats {
  /** In the index: copies of blobs, and the packs that hold them. */
  readonly blobs: number;
  readonly packs: number;
  readonly packBytes: number;
  readonly segments: number;
}

/** Makes a repository. Throws STORE_EXISTS when there is one. */
export async function createRepository(store: ObjectStore, unlock: Uint8Array, opts: CreateOptions = {}): Promise<Repository> {
  const config = await create(store, unlock, opts);
  if (config === undefined) throw new DmaasError('STORE_EXISTS', `a repository exists at ${store.location}`);
  return openWith(store, config, opts);
}

/** Opens a repository and loads its index. Throws REPOSITORY_NOT_FOUND, REPOSITORY_KEY, REPOSITORY_VERSION, REPOSITORY_CORRUPT. */
export async function openRepository(store: ObjectStore, unlock: Uint8Array, opts: RepositoryOptions = {}): Promise<Repository> {
  const config = await loadConfig(store, unlock, callOf(opts));
  if (config !== undefined) return openWith(store, config, opts);
  await refuseOrphans(store, opts);
  throw new DmaasError('REPOSITORY_NOT_FOUND', `there is no repository at ${store.location}`);
}

/** Opens the repository, or makes it when there is none; of several that try at once, one makes it and all open it. */
export async function openOrCreateRepository(store: ObjectStore, unlock: Uint8Array, opts: CreateOptions = {}): Promise<Repository> {
  const config = (await loadConfig(store, unlock, callOf(opts))) ?? (await create(store, unlock, opts));
  return config === undefined ? openRepository(store, unlock, opts) : openWith(store, config, opts);
}

/** Undefined when there is a repository, or another creator was first. */
async function create(store: ObjectStore, unlock: Uint8Array, opts: CreateOptions): Promise<RepositoryConfig | undefined> {
  if ((await store.stat(CONFIG_KEY, callOf(opts))) !== undefined) return undefined;
  await refuseOrphans(store, opts);
  const now = (opts.now ?? (() => new Date()))();
  const { config, objects } = makeConfig(unlock, opts.parameters ?? DEFAULT_PARAMETERS, opts.random ?? randomBytes, now);
  // Everything else first: when `dmaas.json` is there, the repository is complete.
  if (opts.source !== undefined) await putOnce(store, 'source', opts.source, callOf(opts));
  await putOnce(store, 'RECOVERY.txt', recoveryText(), callOf(opts));
  for (const { key, body } of objects) {
    const isOurs = await putOnce(store, key, body, callOf(opts));
    if (!isOurs) return undefined;
  }
  return config;
}

/** Where backups lie without the identity and keys they need, a new identity would bury them. */
async function refuseOrphans(store: ObjectStore, opts: CallOptions): Promise<void> {
  for (const prefix of [BACKUPS, PACKS]) {
    for await (const { key } of store.list(prefix, callOf(opts))) {
      throw damaged(CONFIG_KEY, `it is missing at ${store.location}, where there are backups (${key})`);
    }
  }
}

async function openWith(store: ObjectStore, config: RepositoryConfig, opts: RepositoryOptions): Promise<Repository> {
  const repository = new Repository(store, config, opts);
  await repository.refresh(callOf(opts));
  return repository;
}

function callOf(opts: CallOptions): CallOptions {
  return opts.signal === undefined ? {} : { signal: opts.signal };
}

/** Blobs in, blobs out; and backups, which name the blobs that must stay. Made by the functions above. */
export class Repository {
  /** 32 hex digits. */
  readonly id: string;
  readonly location: string;
  readonly parameters: RepositoryParameters;
  /** The secret 32 bits that seed the hash by which trees are cut into leaves. */
  readonly treeSeed: number;
  readonly runs: RunRecords;
  readonly #store: ObjectStore;
  readonly #config: RepositoryConfig;
  readonly #loader: IndexLoader;
  readonly #reader: BlobReader;
  readonly #records: BackupRecords;
  readonly #journal: Journal;
  readonly #random: Random;
  readonly #gear: Uint32Array;
  #session: { readonly writes: WriteSession; users: number } | undefined;
  /** Over packs that no segment names. */
  #unindexed: BlobReader | undefined;

  constructor(store: ObjectStore, config: RepositoryConfig, opts: RepositoryOptions) {
    const random = opts.random ?? randomBytes;
    const now = opts.now ?? (() => new Date());
    this.id = config.id;
    this.location = store.location;
    this.parameters = config.parameters;
    this.runs = new RunRecords(store, config.keys, random);
    this.#store = store;
    this.#config = config;
    this.#random = random;
    this.#loader = new IndexLoader(store, config.keys);
    this.#reader = new BlobReader(store, config.keys, this.#loader.index, (unknown, call) => this.#learn(unknown, call));
    this.#records = new BackupRecords(store, config.keys, { random, now });
    const onSegment = (key: string) => {
      this.#loader.markDone(key);
    };
    this.#journal = new Journal(store, config.keys, { random, now, onSegment });
    this.#gear = gearTable(config.keys.chunker);
    this.treeSeed = hmac(config.keys.chunker, 'tree').readUInt32LE(0);
  }

  /** The id that these bytes have, or would have, as a data blob. */
  dataId(bytes: Uint8Array): BlobId {
    return this.#config.keys.blobId('data', bytes);
  }

  /** Whether the index, as loaded, names this blob. */
  has(id: BlobId): boolean {
    return this.#loader.index.has(id);
  }

  /** Reads index segments that were written since. */
  async refresh(opts: CallOptions = {}): Promise<void> {
    await this.#loader.refresh(callOf(opts));
  }

  /** A blob's bytes, verified. */
  read(id: BlobId, opts: CallOptions = {}): Promise<Uint8Array> {
    return this.#reader.read(id, callOf(opts));
  }

  /**
   * Delivers each blob once for each place it has in `ids`, in any order, several at a time; further ones wait for the promises of
   * `deliver`. Reads are planned by pack: frames that lie together are fetched together, and each is decoded once.
   * `data` may be a view of a larger buffer.
   */
  readMany(ids: readonly BlobId[], deliver: Deliver, opts: ReadManyOptions = {}): Promise<void> {
    return this.#reader.readMany(ids, deliver, opts);
  }

  /** Runs `fn` with a writer. When this resolves, everything put is durable and in the index. When it fails, what is complete stays for the next try. */
  async write<T>(fn: (writer: BlobWriter) => Promise<T>, opts: CallOptions = {}): Promise<T> {
    const session = this.#openSession();
    session.users++;
    const writer = new SessionWriter(session.writes, opts.signal);
    try {
      const result = await fn(writer);
      writer.close();
      await session.writes.flush();
      return result;
    } catch (e) {
      writer.close();
      if (session.users === 1) await session.writes.abandon(e);
      throw e;
    } finally {
      session.users--;
      if (session.users === 0 && this.#session === session) this.#session = undefined;
    }
  }

  #openSession(): { readonly writes: WriteSession; users: number } {
    if (this.#session === undefined || this.#session.writes.hasFailed) {
      const { packBytes, nodePackBytes } = this.parameters;
      const writes = new WriteSession({
        store: this.#store,
        keys: this.#config.keys,
        index: this.#loader.index,
        journal: this.#journal,
        random: this.#random,
        packBytes: { data: packBytes, node: nodePackBytes },
      });
      this.#session = { writes, users: 0 };
    }
    return this.#session;
  }

  /** Makes the backup exist. Repeating it with the same operation returns the record that is there. */
  async commit(record: NewBackup, opts: CallOptions = {}): Promise<Backup> {
    const present = await this.#records.ofOperation(record.operation, callOf(opts));
    if (present !== undefined) return present;
    await this.#requireIndexed(rootsOf(record), opts);
    for await (const { key } of this.#store.list('gc/', callOf(opts))) {
      // Garbage is collected here by a version whose rules for writers this one does not know.
      throw needsNewer(key);
    }
    return this.#records.put(record, callOf(opts));
  }

  async #requireIndexed(roots: readonly BlobId[], opts: CallOptions): Promise<void> {
    if (roots.some((id) => !this.has(id))) await this.refresh(opts);
    const missing = roots.find((id) => !this.has(id));
    if (missing !== undefined) {
      throw new DmaasError('REPOSITORY_CORRUPT', `the backup names the blob ${missing}, which is not in the index`, {
        hint: 'run the backup again; what is stored is not sent again',
        details: { blob: missing },
      });
    }
    await this.#journal.flush();
  }

  /** In order of time. */
  backups(filter?: BackupFilter, opts: BackupListOptions = {}): AsyncIterable<Backup> {
    return this.#records.list(filter, opts);
  }

  /** Finds one backup by id, operation id, unique beginning of the id, name, or `latest`. Throws BACKUP_NOT_FOUND. */
  backup(which: string, filter?: BackupFilter, opts: CallOptions = {}): Promise<Backup> {
    return this.#records.find(which, filter, opts);
  }

  /** The space of what only this backup used comes back with garbage collection. Deleting what is not there succeeds. */
  deleteBackup(id: string, opts: CallOptions = {}): Promise<void> {
    return this.#records.delete(id, callOf(opts));
  }

  /** `structure`: everything that backups name is there. `data`: and has the content it had; reads all of the repository. */
  verify(depth: VerifyDepth, run: RunOptions): Promise<readonly Finding[]> {
    return verify(depth, run, {
      store: this.#store,
      config: this.#config,
      loader: this.#loader,
      reader: this.#reader,
      records: this.#records,
    });
  }

  /** Finds where to cut files, with this repository's secret table. */
  chunker(): Chunker {
    return new Chunker(this.#gear, this.parameters.chunker);
  }

  stats(): RepositoryStats {
    const { index, segments } = this.#loader;
    return {
      blobs: index.size,
      packs: index.packs.length,
      packBytes: index.packs.reduce((sum, pack) => sum + pack.size, 0),
      segments,
    };
  }

  /** The store belongs to whoever opened it. */
  close(): Promise<void> {
    return Promise.resolve();
  }

  /** What the index does not name may have been indexed since, or its segment may be lost: packs name their blobs themselves. */
  async #learn(unknown: readonly BlobId[], opts: CallOptions): Promise<BlobReader> {
    if (this.#unindexed?.knows(unknown) === true) return this.#unindexed;
    await this.refresh(opts);
    this.#unindexed = new BlobReader(this.#store, this.#config.keys, await this.#loader.loadUnindexed(callOf(opts)));
    return this.#unindexed;
  }
}
