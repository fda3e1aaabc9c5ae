import { commands, EventEmitter } from 'vscode';
import type { Finding, LocatedBackup, LocationSummary } from '@dmaas/core';
import { loadCore } from './core.ts';
import { idOf, nameOf, type KnownLocation, type LocationFiles, type Origin } from './locations.ts';
import { remedyFor, wrongKeyError } from './remedies.ts';
import type { Reporter } from './reporter.ts';
import type { Session } from './session.ts';

/** A location and what is known of it. While it is loading, `backups` are those of before. */
export interface LocationState {
  readonly location: KnownLocation;
  readonly status: 'loading' | 'ready' | 'failed';
  readonly summary?: LocationSummary;
  readonly backups: readonly LocatedBackup[];
  readonly findings: readonly Finding[];
  readonly error?: unknown;
}

/** A backup, and a location in which it is. */
export interface CatalogBackup {
  readonly location: KnownLocation;
  readonly located: LocatedBackup;
}

/**
 * The locations of the connected clusters and of opened files, and the backups in them. Each is loaded by itself, so one that does not
 * answer keeps none of the others waiting.
 */
export class Catalog {
  readonly #session: Session;
  readonly #files: LocationFiles;
  readonly #reporter: Reporter;
  readonly #contexts = new Map<string, unknown>();
  #states = new Map<string, LocationState>();
  #loading: Promise<unknown> | undefined;
  readonly #changed = new EventEmitter<void>();
  readonly onDidChange = this.#changed.event;

  constructor(session: Session, files: LocationFiles, reporter: Reporter) {
    this.#session = session;
    this.#files = files;
    this.#reporter = reporter;
    files.onDidChange(() => void this.refresh());
  }

  get locations(): readonly LocationState[] {
    return [...this.#states.values()].sort((a, b) => nameOf(a.location).localeCompare(nameOf(b.location)));
  }

  /** Clusters whose locations cannot be listed, with the reason. */
  get failedContexts(): readonly (readonly [context: string, error: unknown])[] {
    return [...this.#contexts].filter(([, error]) => error !== undefined);
  }

  /** Whether all that is known of has been read: what is not found then is not there. */
  get isWhole(): boolean {
    return this.#loading !== undefined && this.failedContexts.length === 0 && this.locations.every(({ status }) => status === 'ready');
  }

  /** One bucket may be known under several names: each backup is there once. */
  get backups(): readonly CatalogBackup[] {
    const found = new Map<string, CatalogBackup>();
    for (const { location, backups } of this.locations) {
      for (const located of backups) {
        const key = `${located.source.clusterId}/${located.backup.id}`;
        if (!found.has(key)) found.set(key, { location, located });
      }
    }
    return [...found.values()];
  }

  /** Takes in the locations of a cluster. */
  async connect(context: string): Promise<void> {
    if (this.#contexts.has(context)) return;
    this.#contexts.set(context, undefined);
    await this.#follow(this.#loadContext(context));
  }

  /** Resolves when everything has been loaded once, or could not be. */
  async ready(): Promise<void> {
    if (this.#loading === undefined) await this.refresh();
    await this.#loading;
  }

  async refresh(): Promise<void> {
    if (this.#contexts.size === 0) {
      const current = (await this.#session.contexts().catch(() => [])).find(({ isCurrent }) => isCurrent);
      if (current !== undefined) this.#contexts.set(current.name, undefined);
    }
    const contexts = [...this.#contexts.keys()].map((context) => this.#loadContext(context));
    const files = this.#files.list();
    this.#drop((origin) => origin.kind === 'file' && !files.some(({ id }) => id === idOf(origin)));
    await this.#follow(Promise.all([...contexts, ...files.map((location) => this.#load(location))]));
  }

  /** Loads one location again. */
  async refreshLocation(location: KnownLocation): Promise<void> {
    await this.#follow(this.#load(location));
  }

  /** A backup by its address. Loads what is not loaded yet; throws BACKUP_NOT_FOUND. */
  async find(locationId: string, backupId: string): Promise<CatalogBackup> {
    const known = this.#backup(locationId, backupId);
    if (known !== undefined) return known;
    // An editor that was open before the window was loaded again: its cluster need not be the current one.
    await this.ready();
    const late = this.#backup(locationId, backupId) ?? (await this.#elsewhere(locationId, backupId));
    if (late !== undefined) return late;
    const { DmaasError } = await loadCore();
    throw new DmaasError('BACKUP_NOT_FOUND', `backup ${backupId} is in no location that is known here`);
  }

  async #elsewhere(locationId: string, backupId: string): Promise<CatalogBackup | undefined> {
    for (const { name } of await this.#session.contexts()) {
      if (this.#contexts.has(name)) continue;
      await this.connect(name);
      const found = this.#backup(locationId, backupId);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #backup(locationId: string, backupId: string): CatalogBackup | undefined {
    const state = this.#states.get(locationId);
    const located = state?.backups.find(({ backup }) => backup.id === backupId);
    return state === undefined || located === undefined ? undefined : { location: state.location, located };
  }

  async #follow(work: Promise<unknown>): Promise<void> {
    const before = this.#loading;
    const all = Promise.allSettled([before, work]);
    this.#loading = all;
    await work;
  }

  async #loadContext(context: string): Promise<void> {
    const { listAllLocations } = await loadCore();
    const scope = `cluster ${context}`;
    try {
      const cluster = await this.#session.cluster(context);
      const { locations } = await listAllLocations(cluster, this.#session.places(cluster.namespace));
      const origins = locations.map(({ name, namespace }): Origin => ({ kind: 'secret', context, namespace, name }));
      const ids = new Set(origins.map(idOf));
      this.#drop((origin) => origin.kind === 'secret' && origin.context === context && !ids.has(idOf(origin)));
      this.#contexts.set(context, undefined);
      this.#reporter.recovered(scope);
      await Promise.all(origins.map((origin) => this.#load({ id: idOf(origin), origin })));
    } catch (e) {
      this.#contexts.set(context, e);
      this.#reporter.standing(scope, e, { title: 'Try Again', run: () => commands.executeCommand('dmaas.refresh') });
    }
    this.#changed.fire();
  }

  async #load(location: KnownLocation): Promise<void> {
    const { listBackups, summarizeLocation } = await loadCore();
    const before = this.#states.get(location.id);
    this.#set({ findings: [], backups: [], ...before, location, status: 'loading' });
    const scope = `location ${location.id}`;
    try {
      const access = await this.#files.access(location);
      const summary = summarizeLocation(access.location);
      this.#set({ findings: [], backups: [], ...before, location, summary, status: 'loading' });
      const { backups, findings } = await listBackups(access, {}, this.#session.stores);
      this.#set({ location, summary, status: 'ready', backups, findings });
      const wrongKey = findings.find(({ code }) => code === 'key-opens-nothing');
      if (wrongKey !== undefined) throw await wrongKeyError(wrongKey);
      this.#reporter.recovered(scope);
    } catch (e) {
      const summary = this.#states.get(location.id)?.summary;
      this.#set({ location, ...(summary === undefined ? {} : { summary }), status: 'failed', backups: [], findings: [], error: e });
      this.#reporter.standing(
        scope,
        e,
        remedyFor(location, e, () => this.refreshLocation(location)),
      );
    }
  }

  #set(state: LocationState): void {
    this.#states.set(state.location.id, state);
    this.#changed.fire();
  }

  #drop(isGone: (origin: Origin) => boolean): void {
    this.#states = new Map([...this.#states].filter(([, { location }]) => !isGone(location.origin)));
  }
}
