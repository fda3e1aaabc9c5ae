/** What the timeline of an operation shows, made of its events. Pure, and plain JSON: the host keeps it, the webview draws it and can keep it over restarts. */
import type { DmaasEvent, Finding, Phase } from '@dmaas/core';

export type Outcome = 'running' | 'done' | 'gaps' | 'failed' | 'stopped' | 'interrupted';

export interface TimelineStep {
  readonly title: string;
  readonly state: 'start' | 'done' | 'skipped' | 'failed';
  readonly reason?: string;
}

/** Bytes of the source; times in milliseconds since 1970. */
export interface TimelineVolume {
  readonly name: string;
  readonly done: number;
  readonly total?: number;
  readonly added: number;
  readonly firstAt: number;
  readonly lastAt: number;
}

export interface TimelinePhase {
  readonly phase: Phase;
  readonly title: string;
  readonly state: 'pending' | 'running' | 'done' | 'failed';
  readonly startedAt?: number;
  readonly endedAt?: number;
  readonly steps: readonly TimelineStep[];
  readonly volumes: readonly TimelineVolume[];
  readonly findings: readonly Finding[];
}

export interface TimelineState {
  /** Of the operation in the editor. */
  readonly id: string;
  readonly kind: 'backup' | 'restore';
  readonly title: string;
  readonly subtitle: string;
  readonly outcome: Outcome;
  readonly startedAt: string;
  readonly endedAt?: string;
  readonly phases: readonly TimelinePhase[];
  /** What came of it, in a sentence. */
  readonly result?: string;
  readonly error?: { readonly message: string; readonly hint?: string };
  /** What can be done about it now. */
  readonly canResume: boolean;
}

/** The phases that are there from the beginning; others are added when they start. */
const PHASES_OF: Readonly<Record<TimelineState['kind'], readonly Phase[]>> = {
  backup: ['discover', 'preflight', 'capture', 'commit', 'cleanup'],
  restore: ['preflight', 'populate', 'activate'],
};

export function newTimeline(
  begin: Pick<TimelineState, 'id' | 'kind' | 'title' | 'subtitle'>,
  titles: Readonly<Record<Phase, string>>,
  now: number,
): TimelineState {
  const phases = PHASES_OF[begin.kind].map((phase): TimelinePhase => ({
    phase,
    title: titles[phase],
    state: 'pending',
    steps: [],
    volumes: [],
    findings: [],
  }));
  return { ...begin, outcome: 'running', startedAt: new Date(now).toISOString(), phases, canResume: false };
}

/** The state after an event. */
export function afterEvent(state: TimelineState, event: DmaasEvent, now: number): TimelineState {
  switch (event.type) {
    case 'phase':
      return atPhase(state, event.phase, (p) => afterPhase(p, event.state, now));
    case 'step': {
      const step = { title: event.title, state: event.state, ...(event.reason === undefined ? {} : { reason: event.reason }) };
      return atPhase(state, event.phase, (p) => ({ ...p, steps: replaced(p.steps, step, (s) => s.title === step.title) }));
    }
    case 'bytes':
      return atPhase(state, current(state), (p) => ({ ...p, volumes: afterBytes(p.volumes, event, now) }));
    case 'finding':
      return atPhase(state, current(state), (p) => ({
        ...p,
        findings: replaced(p.findings, event.finding, (f) => f.message === event.finding.message),
      }));
  }
}

/** The state when it is over: what ran did not go on. */
export function afterEnd(
  state: TimelineState,
  end: {
    readonly outcome: Exclude<Outcome, 'running'>;
    readonly result?: string;
    readonly error?: NonNullable<TimelineState['error']>;
    readonly canResume?: boolean;
  },
  now: number,
): TimelineState {
  const isGood = end.outcome === 'done' || end.outcome === 'gaps';
  const phases = state.phases.map((p): TimelinePhase =>
    p.state === 'running' ? { ...p, state: isGood ? 'done' : 'failed', endedAt: now } : p,
  );
  const { canResume = false, ...rest } = end;
  return { ...state, ...rest, phases, canResume, endedAt: new Date(now).toISOString() };
}

/** The state of what another window ran, or this one before it was loaded again. What it made is as the last step left it. */
export function afterInterruption(kept: TimelineState, canResume: boolean): TimelineState {
  if (kept.outcome !== 'running') return { ...kept, canResume };
  return {
    ...kept,
    outcome: 'interrupted',
    error: {
      message: 'The editor that ran this was closed, and it stopped',
      ...(canResume ? {} : { hint: `"kubectl dmaas ${kept.kind} list" shows how far it came` }),
    },
    canResume,
    phases: kept.phases.map((p) => (p.state === 'running' ? { ...p, state: 'failed' } : p)),
  };
}

/** The state when a new attempt begins. */
export function afterResume(state: TimelineState): TimelineState {
  const { endedAt: _ended, error: _error, result: _result, ...rest } = state;
  return { ...rest, outcome: 'running', canResume: false };
}

/** `Restoring backups · 68% · 214Mi/s`. */
export function progressText(state: TimelineState, bytes: (n: number) => string): string {
  const running = state.phases.find((p) => p.state === 'running');
  if (running === undefined) return 'starting';
  const { done, total, perSecond } = sumOf(running.volumes);
  const share = total === 0 ? '' : ` · ${String(Math.floor((100 * Math.min(done, total)) / total))}%`;
  return `${running.title}${share}${perSecond > 0 && share !== '' ? ` · ${bytes(perSecond)}/s` : ''}`;
}

/** Bytes per second; 0 while there is too little time to tell. */
export function speedOf({ done, firstAt, lastAt }: TimelineVolume): number {
  return lastAt - firstAt >= 500 ? Math.round((1000 * done) / (lastAt - firstAt)) : 0;
}

function sumOf(volumes: readonly TimelineVolume[]): { readonly done: number; readonly total: number; readonly perSecond: number } {
  const known = volumes.filter((v) => v.total !== undefined);
  return {
    done: known.reduce((sum, v) => sum + v.done, 0),
    total: known.reduce((sum, v) => sum + (v.total ?? 0), 0),
    perSecond: volumes.reduce((sum, v) => sum + speedOf(v), 0),
  };
}

function current(state: TimelineState): Phase {
  const running = state.phases.find((p) => p.state === 'running') ?? state.phases.findLast((p) => p.state !== 'pending');
  return running?.phase ?? state.phases[0]?.phase ?? 'preflight';
}

function atPhase(state: TimelineState, phase: Phase, change: (p: TimelinePhase) => TimelinePhase): TimelineState {
  return { ...state, phases: state.phases.map((p) => (p.phase === phase ? change(p) : p)) };
}

/** A restore's preflight check runs twice, when it is planned and when it starts: its time goes from the first to the last. */
function afterPhase(p: TimelinePhase, event: 'start' | 'done' | 'failed', now: number): TimelinePhase {
  if (event === 'start') {
    const { endedAt: _, ...rest } = p;
    return { ...rest, state: 'running', startedAt: p.startedAt ?? now };
  }
  return { ...p, state: event, endedAt: now };
}

function afterBytes(
  volumes: readonly TimelineVolume[],
  event: Extract<DmaasEvent, { type: 'bytes' }>,
  now: number,
): readonly TimelineVolume[] {
  const { volume: name, done, total, added } = event;
  const firstAt = volumes.find((v) => v.name === name)?.firstAt ?? now;
  return replaced(volumes, { name, done, added, firstAt, lastAt: now, ...(total === undefined ? {} : { total }) }, (v) => v.name === name);
}

/** The list with the item in place of the one it replaces, else at its end. */
function replaced<T>(list: readonly T[], item: T, isSame: (other: T) => boolean): readonly T[] {
  const at = list.findIndex(isSame);
  return at < 0 ? [...list, item] : list.with(at, item);
}
