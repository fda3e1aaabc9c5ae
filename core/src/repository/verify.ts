import { DmaasError, throwIfCancelled } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import type { Finding } from '../model.ts';
import { forEachParallel } from '../parallel.ts';
import type { CallOptions, ObjectStore } from '../store/object-store.ts';
import { orDamageSync, type BlobReader } from './blobs/blob-reader.ts';
import { LiveSet } from './collection/live-set.ts';
import { walk, type Visitor } from './collection/walk.ts';
import { blobIdAt, LIMITS, type BlobId } from './format/blob.ts';
import { damaged } from './format/damage.ts';
import { referencesOf } from './format/node.ts';
import { checkPack, misfitOf, packIdOf, packKey, PACKS } from './format/pack-reader.ts';
import type { PackInfo } from './format/table.ts';
import type { BlobIndex } from './index/blob-index.ts';
import type { IndexLoader } from './index/index-loader.ts';
import type { RepositoryIndex } from './index/repository-index.ts';
import type { RepositoryConfig } from './keys/config.ts';
import { keyFaults } from './keys/key-copies.ts';
import { BackupList, rootsOfEach, type ListedBackup } from './records/backup-list.ts';
import type { Backup } from './records/backup-record.ts';
import { listSessions, sessionFaults } from './protocol/sessions.ts';
import type { Tombstones } from './protocol/tombstones.ts';
import type { BackupRecords } from './records/backups.ts';

export type VerifyDepth = 'structure' | 'data';

export interface VerifyParts {
  readonly store: ObjectStore;
  readonly config: RepositoryConfig;
  readonly loader: IndexLoader;
  readonly reader: BlobReader;
  readonly records: BackupRecords;
  readonly tombstones: Tombstones;
  /** Reads only this part of all packs: the same ones each time, and all of them after all parts. */
  readonly share?: VerifyShare | undefined;
  /** Is told of each pack that is damaged or missing. */
  readonly onPackFault?: (key: string) => void;
  /** Names what is lost, for people. */
  readonly nameLost?: NameLost | undefined;
}

/** Calls `onLost` for each thing of a backup that has a name and needs blobs that are lost. */
export type NameLost = (
  backup: Backup,
  isLost: (id: BlobId) => boolean,
  onLost: (name: string, ids: readonly BlobId[]) => void,
  opts: CallOptions,
) => Promise<void>;

/** Part `part` of `of`, from 1. */
export interface VerifyShare {
  readonly part: number;
  readonly of: number;
}

/** Whole packs in memory. */
const PACKS_AT_ONCE = 2;
const NAMED_BACKUPS = 10;
/** In a message; in the finding itself more. */
const NAMED_FILES = 5;
const MAX_FILES = 10_000;
const MAX_TRIES = 3;

/** One object or blob that is not as it should be. */
interface Fault {
  /** What it is, e.g. `pack-damaged`. */
  readonly code: string;
  /** A sentence: what is wrong with which object. */
  readonly fact: string;
  /** Whether a blob cannot be read from there; `end` is where its frame ends in the pack. */
  readonly isLost: (id: BlobId, end: number) => boolean;
  /** Says how much cannot be read. */
  readonly loss: string;
  /** It costs nothing but what backups need of it. */
  readonly isExpected?: boolean;
}

/** Who loses something by a fault. */
interface Affected {
  readonly backups: Set<string>;
  readonly names: Set<string>;
}

/**
 * Checks that everything every backup names is there; with `data`, that it also has the content it had. Changes nothing. Each finding
 * names the object at fault and the backups that lose something by it: a blocker when there are any, a warning when none does.
 */
export async function verify(depth: VerifyDepth, run: RunOptions, parts: VerifyParts): Promise<readonly Finding[]> {
  for (let tries = 1; ; tries++) {
    const verification = new Verification(run, parts);
    const findings = await verification.run(depth);
    // What seems lost may have been moved, or given up with its backup, while all of it was read.
    if (tries < MAX_TRIES && verification.hasLosses && (await verification.hasChanged())) continue;
    verification.tellPackFaults();
    for (const finding of findings) run.emit({ type: 'finding', finding });
    return findings;
  }
}

class Verification {
  readonly #run: RunOptions;
  readonly #parts: VerifyParts;
  readonly #index: RepositoryIndex;
  readonly #findings: Finding[] = [];
  /** By object key of the pack. */
  readonly #packFaults = new Map<string, Fault>();
  /** Blobs that are nowhere, or nodes that are not what they should be. */
  readonly #blobFaults = new Map<BlobId, Fault>();
  readonly #packSizes = new Map<string, number>();
  /** When it began. */
  #lists = 0;
  #backups: readonly string[] = [];
  /** Packs that no segment names, by their own tables; and those of them that backups need. */
  #unindexed: RepositoryIndex | undefined;
  readonly #neededUnindexed = new Set<string>();

  constructor(run: RunOptions, parts: VerifyParts) {
    this.#run = run;
    this.#parts = parts;
    this.#index = parts.loader.index;
  }

  async run(depth: VerifyDepth): Promise<readonly Finding[]> {
    await this.#checkKeys();
    this.#parts.loader.requireKeys();
    await this.#checkLists();
    await this.#checkSessions();
    // Records first and the index after: whatever a record names is then in the index, unless it is lost.
    const backups = await this.#readRecords();
    this.#backups = [...backups].map(({ id }) => id);
    await this.#checkIndex();
    await this.#walkAll(backups);
    for (const key of this.#neededUnindexed) {
      this.#add('warning', 'pack-unindexed', `${key} is in no index segment; what backups need of it is found by its own table`);
    }
    if (depth === 'data') await this.#checkPacks();
    await this.#report(backups);
    this.#unindexed?.close();
    return this.#findings;
  }

  get hasLosses(): boolean {
    return this.#findings.some(({ level }) => level === 'blocker');
  }

  /** Whether others have collected garbage, or deleted a backup, since it began. */
  async hasChanged(): Promise<boolean> {
    const { tombstones, records } = this.#parts;
    await tombstones.refresh(this.#call);
    if (tombstones.number > this.#lists) return true;
    const present = new Set<string>();
    for await (const { id } of records.list(undefined, { ...this.#call, onUnreadable: () => undefined })) present.add(id);
    return this.#backups.some((id) => !present.has(id));
  }

  tellPackFaults(): void {
    for (const key of this.#packFaults.keys()) this.#parts.onPackFault?.(key);
  }

  async #checkLists(): Promise<void> {
    const { tombstones } = this.#parts;
    await tombstones.refresh(this.#call);
    this.#lists = tombstones.number;
    for (const { message } of (await tombstones.faults(this.#call)).values()) this.#add('warning', 'list-damaged', message);
    const { problem } = tombstones;
    if (problem === undefined) return;
    const hint =
      problem.code === 'REPOSITORY_CORRUPT' ? 'bring it back from an older version in the bucket, or begin a new repository' : problem.hint;
    this.#add('warning', 'list-lost', `nothing can be written or deleted here, only read: ${problem.message}`, hint);
  }

  async #checkSessions(): Promise<void> {
    const { store, config } = this.#parts;
    for (const session of await listSessions(store, this.#call)) {
      for (const { message } of (await sessionFaults({ store, keys: config.keys }, session, this.#call)).values()) {
        const fact = `${message}; what is condemned waits for whoever wrote it`;
        this.#add('warning', 'session-damaged', fact, 'kubectl dmaas repository repair, a day after that process has ended');
      }
    }
  }

  async #checkKeys(): Promise<void> {
    const { store, config } = this.#parts;
    for (const { code, fact, body } of await keyFaults(store, config, this.#call)) {
      this.#add('warning', code, fact, body === undefined ? undefined : 'kubectl dmaas repository repair');
    }
  }

  async #readRecords(): Promise<BackupList> {
    const backups = new BackupList();
    const onUnreadable = (id: string, error: DmaasError) => {
      if (error.code === 'REPOSITORY_KEY') throw error;
      const lost = `the backup is lost; kubectl dmaas backup delete ${id}`;
      this.#add('blocker', 'backup-unreadable', error.message, error.code === 'REPOSITORY_CORRUPT' ? lost : error.hint);
    };
    for await (const backup of this.#parts.records.list(undefined, { ...this.#call, onUnreadable })) {
      backups.add(backup);
    }
    return backups;
  }

  async #listPacks(): Promise<void> {
    for await (const { key, size } of this.#parts.store.list(PACKS, this.#call)) this.#packSizes.set(key, size);
  }

  async #checkIndex(): Promise<void> {
    const { loader, tombstones } = this.#parts;
    await loader.refresh(this.#call);
    await loader.checkAll(this.#call);
    loader.requireKeys();
    for (const error of loader.damaged.values()) this.#add('warning', 'segment-damaged', error.message);
    // A pack is there before a segment names it, and is condemned before it goes.
    await this.#listPacks();
    await tombstones.refresh(this.#call);
    for (const pack of this.#index.packs().values()) this.#checkPresence(pack);
    this.#unindexed = await loader.loadUnindexed(this.#call);
  }

  #checkPresence(pack: PackInfo): void {
    const key = packKey(pack.id);
    const size = this.#packSizes.get(key);
    const fact = misfitOf(pack, size);
    if (fact === undefined) return;
    if (size === undefined) {
      const isExpected = this.#parts.tombstones.condemned.has(pack.id);
      const loss = 'all its blobs are lost';
      this.#packFaults.set(key, { code: 'pack-missing', fact, isLost: () => true, loss, isExpected });
      return;
    }
    const loss = size < pack.size ? 'what it had beyond is lost' : 'all its blobs may be there';
    this.#packFaults.set(key, { code: 'pack-damaged', fact, isLost: (_, end) => end > size, loss });
  }

  /** Reaches every blob of the backups once. */
  async #walkAll(backups: BackupList): Promise<void> {
    const seen = new LiveSet(this.#index.size + (this.#unindexed?.size ?? 0));
    const follow = (ids: Buffer, at: number) => {
      if (seen.get(ids, at) !== undefined) return false;
      seen.set(ids, at, 0);
      return true;
    };
    await this.#walk(
      backups,
      follow,
      () => true,
      () => undefined,
    );
  }

  /** Reaches every blob of one backup. `onLost` is told of each that is lost. */
  async #walkOne(backup: ListedBackup, onLost: (fault: Fault, id: BlobId) => void): Promise<void> {
    const nodes = new Set<BlobId>();
    const enter = (id: BlobId) => !nodes.has(id) && nodes.add(id).has(id);
    await this.#walk([backup], (ids, at) => !nodes.has(blobIdAt(ids, at)), enter, onLost);
  }

  /** `enter`: whether to read a node. */
  #walk(
    backups: Iterable<ListedBackup>,
    follow: (ids: Buffer, at: number) => boolean,
    enter: (node: BlobId) => boolean,
    onLost: (fault: Fault, id: BlobId) => void,
  ): Promise<void> {
    const visit = async (ids: readonly BlobId[]) => (await this.#soundNodes(ids, onLost)).filter((i) => enter(ids[i] as BlobId));
    const read: Visitor['read'] = (nodes, deliver) => {
      const refuse = (i: number, error: DmaasError) => {
        const id = nodes[i] as BlobId;
        onLost(this.#blobFault(id, 'node-damaged', error.message), id);
      };
      const deliverSound = (i: number, node: Uint8Array) => {
        const references = orDamageSync(() => referencesOf(node, nodes[i] as BlobId));
        if (!DmaasError.is(references)) return deliver(i, node);
        refuse(i, references);
        return undefined;
      };
      return this.#parts.reader.readMany(nodes, deliverSound, { ...this.#call, onUnreadable: refuse, isLent: true });
    };
    return walk(rootsOfEach(backups), { follow, visit, read }, this.#call);
  }

  /** The places of those that are nodes and can be read, as far as the index and the packs' sizes tell. */
  async #soundNodes(ids: readonly BlobId[], onLost: (fault: Fault, id: BlobId) => void): Promise<number[]> {
    const indexed = await this.#index.locate(ids, this.#call);
    const others = ids.filter((id) => !indexed.has(id));
    const unindexed = others.length === 0 ? undefined : await this.#unindexed?.locate(others, this.#call);
    const nodes = ids.flatMap((id, i) => {
      const at = indexed.has(id) ? indexed : unindexed?.has(id) === true ? unindexed : undefined;
      const entry = at?.find(id);
      const pack = at !== undefined && entry !== undefined ? at.pack(entry) : undefined;
      if (at === unindexed && pack !== undefined) this.#neededUnindexed.add(packKey(pack.id));
      const fault = this.#faultOf(id, unindexed === undefined ? [indexed] : [indexed, unindexed]);
      if (fault !== undefined) onLost(fault, id);
      return fault === undefined && pack?.kind === 'node' ? i : [];
    });
    indexed.discard();
    unindexed?.discard();
    return nodes;
  }

  /** Why a blob cannot be read, if no copy of it can. */
  #faultOf(id: BlobId, indexes: readonly BlobIndex[]): Fault | undefined {
    let fault: Fault | undefined;
    for (const index of indexes) {
      for (const entry of index.copies(id)) {
        fault = this.#packFaults.get(packKey(index.pack(entry).id));
        const isHere = fault === undefined || !fault.isLost(id, index.offset(entry) + index.length(entry));
        if (isHere) return this.#blobFaults.get(id);
      }
    }
    return fault ?? this.#blobFault(id, 'blob-missing', `the blob ${id} is in no index segment and in no pack`);
  }

  #blobFault(id: BlobId, code: string, fact: string): Fault {
    const fault = this.#blobFaults.get(id) ?? { code, fact, isLost: () => true, loss: 'it is lost' };
    this.#blobFaults.set(id, fault);
    return fault;
  }

  async #checkPacks(): Promise<void> {
    const known = new Map([...this.#index.packs().values()].map((pack) => [packKey(pack.id), pack]));
    await forEachParallel(this.#packSizes, PACKS_AT_ONCE, async ([key, size]) => {
      throwIfCancelled(this.#run.signal);
      const id = packIdOf(key);
      if (id === undefined || !isInShare(id, this.#parts.share)) return;
      const pack = known.get(key);
      const object = size > LIMITS.pack ? undefined : await this.#parts.store.get(key, this.#call);
      if (object === undefined) {
        // It was listed, so it is too large, or garbage collection has taken it meanwhile; then nothing names it.
        const fact = damaged(key, size > LIMITS.pack ? 'it is too large' : 'it is missing').message;
        this.#packFaults.set(key, { code: 'pack-damaged', fact, isLost: () => true, loss: 'all its blobs are lost' });
        return;
      }
      const table = pack && (() => this.#index.tableOf(pack, this.#call));
      const { faults, unreadable } = await checkPack(this.#parts.config.keys, key, object, table);
      const first = faults[0];
      if (first === undefined) return;
      const lost = new Set(unreadable);
      const loss = lost.size === 0 ? 'all its blobs can be read' : `${lost.size} ${lost.size === 1 ? 'blob is' : 'blobs are'} lost`;
      this.#packFaults.set(key, { code: 'pack-damaged', fact: first.message, isLost: (id) => lost.has(id), loss });
    });
  }

  async #report(backups: BackupList): Promise<void> {
    if (this.#packFaults.size + this.#blobFaults.size === 0) return;
    const affected = new Map<Fault, Affected>();
    const of = (fault: Fault): Affected => {
      const known = affected.get(fault) ?? { backups: new Set(), names: new Set() };
      affected.set(fault, known);
      return known;
    };
    for (const fault of this.#packFaults.values()) of(fault);
    // Each backup is walked on its own now: what they share is lost to each.
    for (const backup of backups) {
      const lost = new Map<BlobId, Fault>();
      await this.#walkOne(backup, (fault, id) => {
        of(fault).backups.add(backup.id);
        lost.set(id, fault);
      });
      if (lost.size > 0) await this.#nameLost(backup, lost, of);
    }
    for (const [{ code, fact, loss, isExpected }, { backups: ids, names }] of affected) {
      if (ids.size === 0 && isExpected === true) continue;
      if (ids.size === 0) this.#add('warning', code, `${fact}; ${loss}, no backup is affected`);
      else this.#add('blocker', code, `${fact}; ${loss}, from ${listed(ids)}${filesOf(names)}`, undefined, [...names]);
    }
  }

  async #nameLost({ id }: ListedBackup, lost: ReadonlyMap<BlobId, Fault>, of: (fault: Fault) => Affected): Promise<void> {
    const backup = await this.#parts.records.read(id, this.#call);
    if (backup === undefined) return;
    const onLost = (name: string, ids: readonly BlobId[]) => {
      for (const fault of new Set(ids.map((id) => lost.get(id)))) {
        if (fault === undefined) continue;
        const { names } = of(fault);
        if (names.size < MAX_FILES) names.add(name);
      }
    };
    await this.#parts.nameLost?.(backup, (id) => lost.has(id), onLost, this.#call);
  }

  get #call() {
    return this.#run.signal === undefined ? {} : { signal: this.#run.signal };
  }

  #add(level: Finding['level'], code: string, message: string, hint?: string, lost: readonly string[] = []): void {
    const finding: Finding = { level, code, message, ...(lost.length > 0 && { lost }), ...(hint !== undefined && { hint }) };
    this.#findings.push(finding);
  }
}

function filesOf(names: ReadonlySet<string>): string {
  if (names.size === 0) return '';
  const more = names.size > NAMED_FILES ? ` and ${names.size < MAX_FILES ? '' : 'at least '}${names.size - NAMED_FILES} more` : '';
  return `; missing from ${[...names].slice(0, NAMED_FILES).join(', ')}${more}`;
}

/** Ids of packs are random, so each part has about the same number. */
function isInShare(pack: string, share: VerifyShare | undefined): boolean {
  return share === undefined || Number.parseInt(pack.slice(0, 8), 16) % share.of === share.part - 1;
}

function listed(names: ReadonlySet<string>): string {
  const shown = [...names].slice(0, NAMED_BACKUPS).join(', ');
  const more = names.size > NAMED_BACKUPS ? ` and ${names.size - NAMED_BACKUPS} more` : '';
  return `the backup${names.size === 1 ? '' : 's'} ${shown}${more}`;
}
