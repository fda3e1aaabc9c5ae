/** Draws a timeline's state, and keeps it so that it is there again after a restart. Runs in the webview: no Node, no editor. */
import { speedOf, type TimelineState } from '../state.ts';
import { formatBytes as bytes, formatDuration as duration } from '@dmaas/core';
import { bar, button, element, list, type Child } from './dom.ts';

interface Host {
  getState(): TimelineState | undefined;
  setState(state: TimelineState): void;
  postMessage(message: { readonly type: 'ready' } | { readonly type: 'command'; readonly command: string }): void;
}
declare function acquireVsCodeApi(): Host;

type Phase = TimelineState['phases'][number];

const host = acquireVsCodeApi();
const root = document.getElementById('timeline') as HTMLElement;
const announcer = document.getElementById('announcer') as HTMLElement;
let shown: TimelineState | undefined;
/** Phases that the reader has opened or closed; the others open while they run, and when they failed. */
const chosen = new Map<string, boolean>();

const MARKS = { pending: '○', running: '', done: '✓', failed: '✕' } as const;
const STEP_MARKS = { start: '', done: '✓', skipped: '–', failed: '✕' } as const;
const FINDING_MARKS = { blocker: '✕', warning: '⚠', info: 'i' } as const;
const STATE_WORDS = { pending: 'not started', running: 'running', done: 'done', failed: 'failed' } as const;
const OUTCOME_WORDS = {
  running: 'Running',
  done: 'Completed',
  gaps: 'Completed with warnings',
  failed: 'Failed',
  stopped: 'Stopped',
  interrupted: 'Interrupted',
} as const;

function draw(state: TimelineState): void {
  announce(shown, state);
  shown = state;
  const focused = document.activeElement?.id ?? '';
  root.replaceChildren(header(state), list('phases', 'Phases', state.phases.map(phase)));
  // Drawing anew takes the focus from what a keyboard is on.
  if (focused !== '') document.getElementById(focused)?.focus({ preventScroll: true });
}

function header(state: TimelineState): HTMLElement {
  const ended = state.endedAt === undefined ? Date.now() : Date.parse(state.endedAt);
  const command = (id: string, title: string, isMain = false): Child =>
    button(`button-${id}`, title, isMain, () => {
      host.postMessage({ type: 'command', command: `dmaas.${id}` });
    });
  return element('header', {}, [
    element('h1', {}, [state.title]),
    element('p', { class: 'subtitle' }, [state.subtitle]),
    element('p', { class: `outcome ${state.outcome}` }, [
      element('strong', {}, [OUTCOME_WORDS[state.outcome]]),
      element('span', { class: 'time', id: 'elapsed' }, [duration(ended - Date.parse(state.startedAt))]),
    ]),
    state.result === undefined ? undefined : element('p', { class: 'result' }, [state.result]),
    state.error === undefined
      ? undefined
      : element('div', { class: 'error', role: 'alert' }, [
          element('p', {}, [state.error.message]),
          state.error.hint === undefined ? undefined : element('p', { class: 'hint' }, [state.error.hint]),
        ]),
    element('div', { class: 'buttons' }, [
      state.outcome === 'running' ? command('stop', 'Stop') : undefined,
      state.canResume ? command('resume', 'Resume', true) : undefined,
      state.canResume && state.kind === 'restore' ? command('undoRestore', 'Take Back…') : undefined,
      state.outcome === 'failed' ? command('showLog', 'Show Log') : undefined,
    ]),
  ]);
}

function phase(p: Phase): HTMLElement {
  const hasMore = p.steps.length + p.volumes.length + p.findings.length > 0;
  const isOpen =
    chosen.get(p.phase) ??
    (p.state === 'running' || p.state === 'failed' || p.volumes.length > 0 || p.findings.some((f) => f.level !== 'info'));
  const heading = [
    element('span', { class: `mark ${p.state}`, 'aria-hidden': 'true' }, [MARKS[p.state]]),
    element('span', { class: 'title' }, [p.title]),
    element('span', { class: 'sr' }, [`, ${STATE_WORDS[p.state]}`]),
    element('span', { class: 'time', id: `time-${p.phase}` }, [timeOf(p)]),
  ];
  const body = [
    ...p.volumes.map((v) => {
      const share = v.total === undefined || v.total === 0 ? undefined : Math.min(1, v.done / v.total);
      const speed = speedOf(v);
      const facts = [
        v.total === undefined ? bytes(v.done) : `${bytes(v.done)} of ${bytes(v.total)}`,
        ...(speed > 0 ? [`${bytes(speed)}/s`] : []),
        ...(v.added > 0 ? [`${bytes(v.added)} new`] : []),
      ];
      return element('div', { class: 'volume' }, [
        element('span', { class: 'name' }, [v.name]),
        bar(share ?? 0, v.name),
        element('span', { class: 'facts' }, [facts.join(' · ')]),
      ]);
    }),
    p.findings.length === 0
      ? undefined
      : list(
          'findings',
          'Findings',
          p.findings.map((f) =>
            element('li', { class: f.level }, [
              element('span', { class: 'mark', 'aria-hidden': 'true' }, [FINDING_MARKS[f.level]]),
              element('span', {}, [f.message, f.hint === undefined ? undefined : element('span', { class: 'hint' }, [f.hint])]),
            ]),
          ),
        ),
    p.steps.length === 0
      ? undefined
      : list(
          'steps',
          'Steps',
          p.steps.map((s) =>
            element('li', { class: s.state }, [
              element('span', { class: `mark ${s.state}`, 'aria-hidden': 'true' }, [STEP_MARKS[s.state]]),
              element('span', {}, [s.title, s.reason === undefined ? undefined : element('span', { class: 'hint' }, [s.reason])]),
            ]),
          ),
        ),
  ];
  if (!hasMore) return element('li', { class: `phase ${p.state}` }, [element('div', { class: 'heading' }, heading)]);
  const summary = element('summary', { class: 'heading', id: `phase-${p.phase}` }, heading);
  const details = element('details', isOpen ? { open: '' } : {}, [summary, element('div', { class: 'body' }, body)]);
  summary.addEventListener('click', () => chosen.set(p.phase, !details.hasAttribute('open')));
  return element('li', { class: `phase ${p.state}` }, [details]);
}

function timeOf(p: Phase): string {
  return p.startedAt === undefined ? '' : duration((p.endedAt ?? Date.now()) - p.startedAt);
}

/** Screen readers hear of phases and of the end, not of every step. */
function announce(before: TimelineState | undefined, after: TimelineState): void {
  const changed = after.phases.find((p, i) => p.state !== 'pending' && p.state !== before?.phases[i]?.state);
  if (after.outcome !== 'running' && after.outcome !== before?.outcome)
    announcer.textContent = `${after.title}: ${after.error?.message ?? after.result ?? OUTCOME_WORDS[after.outcome]}`;
  else if (changed !== undefined) announcer.textContent = `${changed.title}: ${STATE_WORDS[changed.state]}`;
}

/** Times go on between events. */
function tick(): void {
  if (shown?.outcome !== 'running') return;
  const elapsed = document.getElementById('elapsed');
  if (elapsed !== null) elapsed.textContent = duration(Date.now() - Date.parse(shown.startedAt));
  for (const p of shown.phases) {
    const time = document.getElementById(`time-${p.phase}`);
    if (time !== null) time.textContent = timeOf(p);
  }
}

window.addEventListener('message', ({ data }: MessageEvent<TimelineState>) => {
  host.setState(data);
  draw(data);
});
setInterval(tick, 1000);
const kept = host.getState();
if (kept !== undefined) draw(kept);
host.postMessage({ type: 'ready' });
