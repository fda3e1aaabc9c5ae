import { randomBytes } from 'node:crypto';
import { DmaasError } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import type { Finding } from '../model.ts';
import type { CallOptions, ObjectStore } from '../store/object-store.ts';
import { BlobReader, type Deliver, type OpenRange, type ReadManyOptions } from './blobs/blob-reader.ts';
import type { BlobWriter } from './blobs/blob-writer.ts';
import { SessionWriter, WriteSession } from './blobs/write-session.ts';
import { keepReachable, noteBeginning } from './collection/commit-rule.ts';
import { prune, type PruneOptions, type PruneReport } from './collection/prune.ts';
import type { BlobId } from './format/blob.ts';
import { damaged } from './format/damage.ts';
import { hmac, type Random } from './format/derive.ts';
import type { KeyMaterial } from './format/key-set.ts';
import { PACKS } from './format/pack-reader.ts';
import type { Entry } from './index/blob-index.ts';
import { IndexLoader } from './index/index-loader.ts';
import { condemnedAndGone, mergeIndex } from './index/index-merge.ts';
import { Journal } from './index/journal.ts';
import type { RepositoryIndex } from './index/repository-index.ts';
import { SegmentCache, type SegmentCacheOptions } from './index/segment-cache.ts';
import {
  CONFIG_KEY,
  DEFAULT_PARAMETERS,
  loadConfig,
  makeConfig,
  notOpened,
  type RepositoryConfig,
  type RepositoryParameters,
} from './keys/config.ts';
import type { Unlock } from './keys/recipients.ts';
import { RECOVERY, recoveryText } from './keys/recovery.ts';
import { fenced } from './protocol/fence.ts';
import { putOnce, requireConditionalCreates } from './protocol/put-once.ts';
import { Session } from './protocol/sessions.ts';
import { Tombstones } from './protocol/tombstones.ts';
import { rootsOf, type Backup, type BackupFilter, type NewBackup } from './records/backup-record.ts';
import { BackupRecords, BACKUPS, type BackupListOptions, type DeletableBackup } from './records/backups.ts';
import { RunRecords } from './records/runs.ts';
import { repair, type RepairReport } from './repair.ts';
import { verify, type NameLost, type VerifyDepth, type VerifyParts } from './verify.ts';

export type { BackupListOptions } from './records/backups.ts';
export type { ReadManyOptions } from './blobs/blob-reader.ts';
export type { RepositoryParameters } from './keys/config.ts';
export type { RunRecords } from './records/runs.ts';
export type { PruneOptions, PruneReport } from './collection/prune.ts';
export type { SegmentCacheOptions } from './index/segment-cache.ts';

export interface RepositoryOptions extends CallOptions {
  readonly random?: Random;
  readonly now?: () => Date;
  /** Where copies of index segments are kept. */
  readonly cache?: SegmentCacheOptions;
}

export interface CreateOptions extends RepositoryOptions {
  readonly parameters?: RepositoryParameters;
  /** The object `source`, from `sealSource`; absent for a repository that is used without a location. */
  readonly source?: Uint8Array;
}

/** A repository as other threads know it. */
export interface RepositoryThread {
  readonly keys: KeyMaterial;
  readonly parameters: RepositoryParameters;
  readonly seed: Uint8Array;
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

/** Opens a repository and its index. Throws REPOSITORY_NOT_FOUND, REPOSITORY_KEY, REPOSITORY_VERSION, REPOSITORY_CORRUPT. */
export async function openRepository(store: ObjectStore, unlock: Unlock, opts: RepositoryOptions = {}): Promise<Repository> {
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
  const recovery = recoveryText(opts.source !== undefined);
  await putOnce(store, RECOVERY, recovery, callOf(opts));
  try {
    await requireConditionalCreates(store, RECOVERY, recovery, callOf(opts));
  } catch (e) {
    if (DmaasError.is(e, 'PREFLIGHT_FAILED')) await store.delete(RECOVERY, callOf(opts));
    throw e;
  }
  // Everything else first: when `dmaas.json` is there, the repository is complete.
  if (opts.source !== undefined) await putOnce(store, 'source', opts.source, callOf(opts));
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
      throw notOpened(damaged(CONFIG_KEY, `it is missing at ${store.location}, where there are backups (${key})`));
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
  readonly #tombstones: Tombstones;
  readonly #reader: BlobReader;
  readonly #records: BackupRecords;
  readonly #journal: Journal;
  readonly #random: Random;
  #merging: Promise<void> = Promise.resolve();
  #announcing: Promise<Session> | undefined;
  #session: { readonly writes: WriteSession; users: number } | undefined;
  /** Over packs that no segment names. */
  #unindexed: { readonly index: RepositoryIndex; readonly reader: BlobReader } | undefined;

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
    this.#tombstones = new Tombstones(store, config.keys, random);
    this.#loader = new IndexLoader(store, config.keys, new SegmentCache(config.id, { ...opts.cache, random, now }), random);
    this.#reader = new BlobReader(
      store,
      config.keys,
      this.#loader.index,
      (unknown, call) => this.#learn(unknown, call),
      (call) => this.refresh(call),
    );
    this.#records = new BackupRecords(store, config.keys, { random, now });
    this.#loader.index.condemned = this.#tombstones.condemned;
    this.#journal = new Journal(store, config.keys, this.#loader, { random, now, session: () => this.#beginSession() });
    this.treeSeed = hmac(config.keys.chunker, 'tree').readUInt32LE(0);
  }

  /** The id that these bytes have, or would have, as a data blob. */
  dataId(bytes: Uint8Array): BlobId {
    return this.#config.keys.blobId('data', bytes);
  }

  /**
   * For each id, whether the blob is stored, and named by the index as it was last read or by this process. At once when memory or the local copy of the index
   * can tell; ask for many at a time.
   */
  known(ids: readonly BlobId[], opts: CallOptions = {}): readonly boolean[] | Promise<readonly boolean[]> {
    return this.#loader.index.known(ids, callOf(opts));
  }

  /** Reads what was condemned and which index segments were written since, in this order: see core/DESIGN.md, 7.2. */
  async refresh(opts: CallOptions = {}): Promise<void> {
    await this.#tombstones.refresh(callOf(opts));
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

  /** As `readMany`, for callers that have other threads open the frames: see `BlobReader.fetchMany`. */
  fetchMany(ids: readonly BlobId[], open: OpenRange, deliver: Deliver, opts: ReadManyOptions = {}): Promise<void> {
    return this.#reader.fetchMany(ids, open, deliver, opts);
  }

  /** Runs `fn` with a writer. When this resolves, everything put is durable and in the index. When it fails, what is complete stays for the next try. */
  async write<T>(fn: (writer: BlobWriter) => Promise<T>, opts: CallOptions = {}): Promise<T> {
    const session = this.#openSession();
    session.users++;
    const writer = new SessionWriter(session.writes, opts.signal);
    try {
      this.#tombstones.requireKnown();
      this.#loader.requireKeys();
      await this.#beginSession();
      const result = await fn(writer);
      writer.close();
      await session.writes.flush();
      if (session.users === 1) await this.#mergeIndex(callOf(opts));
      return result;
    } catch (e) {
      writer.close();
      if (session.users === 1) await session.writes.abandon(e);
      throw e;
    } finally {
      session.users--;
      if (session.users === 0 && this.#session === session) this.#session = undefined;
      await this.#endSession();
    }
  }

  /** One for all writes of this process that run at the same time; what one could not put into the index is the next one's. */
  async #beginSession(): Promise<Session> {
    const announcing = (this.#announcing ??= Session.begin('write', this.#parts));
    try {
      return await announcing;
    } catch (e) {
      if (this.#announcing === announcing) this.#announcing = undefined;
      throw e;
    }
  }

  async #endSession(): Promise<void> {
    const announcing = this.#announcing;
    if (this.#session !== undefined || !this.#journal.isEmpty || announcing === undefined) return;
    // Before anything is waited for: a write that begins now begins a session of its own.
    this.#announcing = undefined;
    await (await announcing).end();
  }

  #mergeIndex(opts: CallOptions): Promise<void> {
    this.#merging = this.#merging
      .catch(() => undefined)
      .then(async () => {
        const goneOf = condemnedAndGone(this.#store, this.#tombstones);
        await mergeIndex({ ...this.#parts, loader: this.#loader, session: await this.#beginSession(), goneOf }, opts);
      });
    return this.#merging;
  }

  get #parts() {
    return { store: this.#store, keys: this.#config.keys, random: this.#random };
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
    const key = this.#records.keyOf(record);
    const session = await Session.begin('commit', this.#parts, { ...callOf(opts), creates: key });
    try {
      await this.#keepReachable(record, callOf(opts)).catch((e: unknown) => {
        session.giveUp(key);
        throw e;
      });
      return await session.create(key, () => this.#records.put(record, callOf(opts)));
    } catch (e) {
      // Of any other failure nobody knows whether the record is there, or on its way: also a refusal may come after a try whose answer was lost.
      if (DmaasError.is(e, 'REPOSITORY_FENCED')) session.giveUp(key);
      throw e;
    } finally {
      await session.end();
    }
  }

  /** The number of the newest list of condemned packs that was read. It goes up. */
  get condemnedLists(): number {
    return this.#tombstones.number;
  }

  /**
   * Says that an operation begins: a commit of it need not look at what was condemned before. Whoever writes for it opens the repository after. What it takes over from older
   * backups must have been found after this, or after `condemnedLists` was what `since` says: a backup may be deleted, and its packs condemned, between being found and this.
   */
  async begin(operation: string, opts: CallOptions & { readonly since?: number } = {}): Promise<void> {
    if (opts.since === undefined) await this.refresh(opts);
    await noteBeginning(operation, opts.since ?? this.#tombstones.number, this.runs, callOf(opts));
  }

  #keepReachable(record: NewBackup, opts: CallOptions): Promise<void> {
    const parts = { runs: this.runs, tombstones: this.#tombstones, index: this.#loader.index, reader: this.#reader };
    return keepReachable(
      record,
      {
        ...parts,
        refresh: (call) => this.refresh(call),
        copy: (ids, call) => this.#copy(ids, undefined, call),
      },
      opts,
    );
  }

  /** Writes blobs anew that lie in condemned packs only. */
  async #copy(
    ids: readonly BlobId[],
    onUnreadable: ((i: number, error: DmaasError) => void) | undefined,
    opts: CallOptions,
  ): Promise<void> {
    if (ids.length === 0) return;
    const found = await this.#loader.index.locate(ids, opts);
    await this.write(async (writer) => {
      const put = async (i: number, data: Uint8Array) => {
        const id = ids[i] as BlobId;
        await writer.put(found.pack(found.find(id) as Entry).kind, data);
      };
      await this.readMany(ids, put, { ...opts, ...(onUnreadable !== undefined && { onUnreadable }) });
    }, opts);
  }

  /** Collects garbage; several may run at once, beside any backups and restores. Throws when anything is in doubt; then nothing was deleted. */
  async prune(opts: PruneOptions, run: RunOptions): Promise<PruneReport> {
    await this.#journal.flush();
    return prune(
      {
        ...this.#parts,
        loader: this.#loader,
        reader: this.#reader,
        records: this.#records,
        runs: this.runs,
        tombstones: this.#tombstones,
        packBytes: { data: this.parameters.packBytes, node: this.parameters.nodePackBytes },
        copy: (ids, onUnreadable, call) => this.#copy(ids, onUnreadable, call),
      },
      opts,
      run,
    );
  }

  async #requireIndexed(roots: readonly BlobId[], opts: CallOptions): Promise<void> {
    // What is condemned will do: it is written anew before the record is.
    const found = await this.#loader.index.locate(roots, opts);
    if (roots.some((id) => !found.has(id))) await this.refresh(opts);
    const known = await this.#loader.index.locate(roots, opts);
    const missing = roots.find((id) => !known.has(id));
    if (missing !== undefined) {
      // Read once more: a list can have come between those of a moment ago and the index.
      await this.#tombstones.refresh(callOf(opts));
      if (this.#tombstones.number > 0) throw fenced('what the backup relied on');
      throw new DmaasError('REPOSITORY_CORRUPT', `the backup names the blob ${missing}, which is not in the index`, {
        hint: 'run the backup again; what is stored is not sent again',
        details: { blob: missing },
      });
    }
    await this.#journal.flush();
    await this.#endSession();
  }

  /** In order of time. */
  backups(filter?: BackupFilter, opts: BackupListOptions = {}): AsyncIterable<Backup> {
    return this.#records.list(filter, opts);
  }

  /** Finds one backup by id, operation id, unique beginning of the id, name, or `latest`. Throws BACKUP_NOT_FOUND. */
  backup(which: string, filter?: BackupFilter, opts: CallOptions = {}): Promise<Backup> {
    return this.#records.find(which, filter, opts);
  }

  /** A backup to be deleted: as `backup`, and by its whole id also one whose record is damaged. */
  deletableBackup(which: string, filter?: BackupFilter, opts: CallOptions = {}): Promise<DeletableBackup> {
    return this.#records.findDeletable(which, filter, opts);
  }

  /** The space of what only this backup used comes back with garbage collection. Deleting what is not there succeeds. */
  deleteBackup(id: string, opts: CallOptions = {}): Promise<void> {
    return this.#records.delete(id, callOf(opts));
  }

  /** `structure`: everything that backups name is there. `data`: and has the content it had; reads all of the repository, or the share of it. */
  verify(depth: VerifyDepth, run: RunOptions, opts: Pick<VerifyParts, 'share' | 'nameLost'> = {}): Promise<readonly Finding[]> {
    return this.#verify(depth, run, opts);
  }

  /** Makes findable what can be read, and lets the next backup heal what cannot. */
  repair(run: RunOptions, nameLost?: NameLost): Promise<RepairReport> {
    return repair(
      {
        ...this.#parts,
        config: this.#config,
        loader: this.#loader,
        tombstones: this.#tombstones,
        verify: (onPackFault) => this.#verify('data', run, { onPackFault, nameLost }),
        copy: (ids, onUnreadable, call) => this.#copy(ids, onUnreadable, call),
      },
      run,
    );
  }

  #verify(depth: VerifyDepth, run: RunOptions, opts: Pick<VerifyParts, 'share' | 'onPackFault' | 'nameLost'>): Promise<readonly Finding[]> {
    return verify(depth, run, {
      ...opts,
      store: this.#store,
      config: this.#config,
      loader: this.#loader,
      reader: this.#reader,
      records: this.#records,
      tombstones: this.#tombstones,
    });
  }

  /** What another thread needs to pack and open blobs of this repository. Holds keys; and a seed for its random bytes, new with each call. */
  forThread(): RepositoryThread {
    return { keys: this.#config.keys.material, parameters: this.parameters, seed: this.#random(32) };
  }

  /** For how many days the store's own rule locks whatever is written; undefined when it has no such rule, or these credentials may not ask. */
  async lockDays(opts: CallOptions = {}): Promise<number | undefined> {
    return this.#store.locks?.days(opts);
  }

  stats(): RepositoryStats {
    const { index } = this.#loader;
    const packs = [...index.packs().values()];
    return {
      blobs: index.size,
      packs: packs.length,
      packBytes: packs.reduce((sum, pack) => sum + pack.size, 0),
      segments: index.segmentCount,
    };
  }

  /** The store belongs to whoever opened it. */
  close(): Promise<void> {
    this.#unindexed?.index.close();
    this.#loader.close();
    return Promise.resolve();
  }

  /** What the index does not name may have been indexed since, or its segment may be lost: packs name their blobs themselves. */
  async #learn(unknown: readonly BlobId[], opts: CallOptions): Promise<BlobReader> {
    const known = this.#unindexed;
    if (known !== undefined && (await known.reader.knows(unknown, opts))) return known.reader;
    await this.refresh(opts);
    const index = await this.#loader.loadUnindexed(callOf(opts), known?.index);
    this.#unindexed ??= { index, reader: new BlobReader(this.#store, this.#config.keys, index) };
    return this.#unindexed.index === index ? this.#unindexed.reader : new BlobReader(this.#store, this.#config.keys, index);
  }
}
