import { randomUUID } from 'node:crypto';
import { commands, EventEmitter, type Memento } from 'vscode';
import type { DmaasEvent, RunOptions } from '@dmaas/core';
import { loadCore } from './core.ts';
import type { KnownLocation } from './locations.ts';
import { isCancelled, isDmaasError, messageOf, sentence, type Reporter } from './reporter.ts';
import { afterEnd, afterEvent, afterInterruption, afterResume, newTimeline, type TimelineState } from './timeline/state.ts';

/** What an operation comes to. */
export interface Result {
  /** A sentence. */
  readonly text: string;
  /** Something was left out; it is listed. */
  readonly hasGaps: boolean;
}

/** Where a restore that can go on is recorded. Plain JSON. */
export interface RestoreMemo {
  readonly location: KnownLocation;
  readonly restoreId: string;
}

export interface Work {
  readonly kind: TimelineState['kind'];
  readonly title: string;
  readonly subtitle: string;
  /** What has happened of it before it is an operation, such as the preflight check of a plan. */
  readonly before?: readonly { readonly event: DmaasEvent; readonly at: number }[];
  readonly run: (options: RunOptions) => Promise<Result>;
  /** Remembered while it is not done, so that a window that is loaded again can go on. */
  readonly memo?: RestoreMemo;
  /** Goes on after a failure or a stop. */
  readonly resume?: (options: RunOptions) => Promise<Result>;
  /** Takes back what it did. */
  readonly undo?: (options: RunOptions) => Promise<void>;
}

export interface Operation {
  readonly id: string;
  readonly state: TimelineState;
  readonly isUndoable: boolean;
  readonly canResume: boolean;
}

interface Entry extends Operation {
  state: TimelineState;
  isUndoable: boolean;
  canResume: boolean;
  readonly work: Pick<Work, 'memo' | 'resume' | 'undo'>;
  stop: AbortController;
}

/** What is remembered of an operation. */
interface Unfinished {
  readonly state: TimelineState;
  readonly memo: RestoreMemo;
}

const UNFINISHED = 'dmaas.unfinished';

/** Backups and restores that this window runs, those that it ran, and restores that it was interrupted in. */
export class Operations {
  readonly #reporter: Reporter;
  readonly #memory: Memento;
  readonly #entries = new Map<string, Entry>();
  readonly #changed = new EventEmitter<Operation>();
  /** Of any change of any operation, many times a second. */
  readonly onDidChange = this.#changed.event;

  constructor(reporter: Reporter, memory: Memento) {
    this.#reporter = reporter;
    this.#memory = memory;
  }

  /** Lists what the window was interrupted in when it was closed; `workOf` says how to go on with it. */
  revive(workOf: (memo: RestoreMemo) => Pick<Work, 'resume' | 'undo'>): void {
    for (const [id, { state: kept, memo }] of Object.entries(this.#unfinished())) {
      const work = { memo, ...workOf(memo) };
      const state = afterInterruption(kept, true);
      this.#entries.set(id, { id, state, work, isUndoable: true, canResume: true, stop: new AbortController() });
    }
  }

  /** Stops what runs in good order, as far as a window that is closed leaves it the time. */
  dispose(): void {
    for (const { stop } of this.#entries.values()) stop.abort();
  }

  /** The newest first. */
  get list(): readonly Operation[] {
    return [...this.#entries.values()].reverse();
  }

  get running(): readonly Operation[] {
    return this.list.filter(({ state }) => state.outcome === 'running');
  }

  get(id: string): Operation | undefined {
    return this.#entries.get(id);
  }

  /** Starts it and returns at once. `ended` is fulfilled when it is over, however it ended. */
  async start(work: Work): Promise<{ readonly operation: Operation; readonly ended: Promise<void> }> {
    const { PHASES } = await loadCore();
    const id = randomUUID();
    let state = newTimeline(
      { id, kind: work.kind, title: work.title, subtitle: work.subtitle },
      PHASES,
      work.before?.[0]?.at ?? Date.now(),
    );
    for (const { event, at } of work.before ?? []) state = afterEvent(state, event, at);
    const entry: Entry = { id, state, work, isUndoable: false, canResume: false, stop: new AbortController() };
    this.#entries.set(id, entry);
    return { operation: entry, ended: this.#run(entry, work.run) };
  }

  /** Asks it to stop in good order. */
  stop(id: string): void {
    this.#entries.get(id)?.stop.abort();
  }

  async resume(id: string): Promise<void> {
    const entry = this.#entries.get(id);
    const resume = entry?.work.resume;
    if (entry === undefined || resume === undefined || !entry.canResume) return;
    entry.stop = new AbortController();
    entry.state = afterResume(entry.state);
    await this.#run(entry, resume);
  }

  /** Resolves when it has been taken back; throws what stood in the way. */
  async undo(id: string): Promise<void> {
    const entry = this.#entries.get(id);
    await entry?.work.undo?.({ emit: () => undefined });
    if (entry !== undefined) this.#drop(entry);
  }

  clearFinished(): void {
    for (const entry of this.#entries.values()) {
      if (entry.state.outcome === 'running') continue;
      this.#drop(entry);
    }
  }

  #drop(entry: Entry): void {
    this.#entries.delete(entry.id);
    this.#remember(entry);
    this.#changed.fire(entry);
  }

  #unfinished(): Readonly<Record<string, Unfinished>> {
    return this.#memory.get(UNFINISHED, {});
  }

  /** Until it is done, or taken back, or cleared away. */
  #remember({ id, state, canResume, work: { memo } }: Entry): void {
    if (memo === undefined) return;
    const { [id]: _, ...others } = this.#unfinished();
    const isOpen = this.#entries.has(id) && (state.outcome === 'running' || canResume);
    void this.#memory.update(UNFINISHED, isOpen ? { ...others, [id]: { state, memo } } : others);
  }

  async #run(entry: Entry, work: (options: RunOptions) => Promise<Result>): Promise<void> {
    entry.canResume = false;
    entry.isUndoable = false;
    this.#remember(entry);
    this.#changed.fire(entry);
    const emit = (event: DmaasEvent): void => {
      entry.state = afterEvent(entry.state, event, Date.now());
      if (event.type === 'finding') this.#reporter.log.warn(event.finding.message);
      this.#changed.fire(entry);
    };
    let hasBegun = true;
    try {
      const { text, hasGaps } = await work({ emit, signal: entry.stop.signal });
      entry.state = afterEnd(entry.state, { outcome: hasGaps ? 'gaps' : 'done', result: text }, Date.now());
      this.#reporter.log.info(text);
    } catch (e) {
      // A preflight check that failed has changed nothing: there is nothing to go on with.
      hasBegun = !(isDmaasError(e) && e.code === 'PREFLIGHT_FAILED');
      const hint = isDmaasError(e) ? e.hint : undefined;
      const canResume = hasBegun && entry.work.resume !== undefined;
      const error = { message: sentence(messageOf(e)), ...(hint === undefined ? {} : { hint }) };
      entry.state = afterEnd(entry.state, { outcome: isCancelled(e) ? 'stopped' : 'failed', error, canResume }, Date.now());
      entry.canResume = canResume;
      void this.#reporter.error(e, { title: 'Show Timeline', run: () => commands.executeCommand('dmaas.showTimeline', entry.id) });
    }
    entry.isUndoable = hasBegun && entry.work.undo !== undefined;
    this.#remember(entry);
    this.#changed.fire(entry);
  }
}
