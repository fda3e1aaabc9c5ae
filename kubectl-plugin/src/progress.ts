import {
  Listr,
  type ListrDefaultRendererLogLevels,
  type ListrTaskWrapper,
  type DefaultRenderer,
  type SimpleRenderer,
  ListrLogger,
  ProcessOutput,
} from 'listr2';
import { PHASES, type DmaasEvent, type EventSink, type Phase, formatBytes, formatDuration } from '@dmaas/core';
import { findingLines } from './findings.ts';

/** Shows a running operation on stderr: live on a terminal, a line per change elsewhere, JSON events with `--log-format=json`. */
export interface Progress {
  readonly emit: EventSink;
  /** Ends the display; the last phase counts as done, or as failed when an error is given. */
  finish(error?: unknown): Promise<void>;
}

export interface ProgressOptions {
  readonly stderr: NodeJS.WriteStream;
  readonly format: 'text' | 'json';
  readonly now: () => Date;
}

export function showProgress(options: ProgressOptions): Progress {
  if (options.format === 'json') return jsonProgress(options);
  return options.stderr.isTTY ? terminalProgress(options) : lineProgress(options);
}

function jsonProgress({ stderr, now }: ProgressOptions): Progress {
  return {
    emit: (event) => stderr.write(`${JSON.stringify({ time: now().toISOString(), ...event })}\n`),
    finish: () => Promise.resolve(),
  };
}

const GIB = 2 ** 30;

/** One line for each phase and step, and for each tenth of a volume, or each GiB where nobody knows how many there are. */
function lineProgress({ stderr, now }: ProgressOptions): Progress {
  const started = new Map<Phase, number>();
  const parts = new Map<string, number>();
  const say = (text: string) => stderr.write(`${now().toISOString().slice(11, 19)} ${text}\n`);
  return {
    emit: (event) => {
      if (event.type === 'phase') {
        if (event.state === 'start') {
          started.set(event.phase, now().getTime());
          say(PHASES[event.phase]);
        } else {
          const took = formatDuration(now().getTime() - (started.get(event.phase) ?? now().getTime()));
          say(`${PHASES[event.phase]}: ${event.state === 'done' ? 'done' : 'failed'} (${took})`);
        }
      } else if (event.type === 'step' && event.state !== 'start') {
        say(`  ${stepText(event)}`);
      } else if (event.type === 'bytes') {
        const part = event.total === undefined ? event.done / GIB : event.total === 0 ? 0 : (10 * event.done) / event.total;
        if (Math.floor(part) > (parts.get(event.volume) ?? -1)) {
          parts.set(event.volume, Math.floor(part));
          say(`  ${volumeText(event)}`);
        }
      } else if (event.type === 'finding') {
        for (const line of findingLines(event.finding)) say(`  ${line}`);
      }
    },
    finish: () => Promise.resolve(),
  };
}

type Wrapper = ListrTaskWrapper<unknown, typeof DefaultRenderer, typeof SimpleRenderer>;

interface Shown {
  readonly done: () => void;
  readonly fail: (reason: Error) => void;
  readonly list: Promise<unknown>;
  task?: Wrapper;
  readonly lines: Map<string, string>;
}

/** Phases as tasks with a spinner; below each its steps and a bar for each volume. */
function terminalProgress({ stderr }: ProgressOptions): Progress {
  const output = new ProcessOutput(stderr, stderr);
  let current: Shown | undefined;
  let chain: Promise<unknown> = Promise.resolve();

  const start = (phase: Phase) => {
    let done: () => void = () => undefined;
    let fail: (reason: Error) => void = () => undefined;
    const ended = new Promise<void>((resolve, reject) => {
      done = resolve;
      fail = reject;
    });
    ended.catch(() => undefined);
    const shown: Shown = { done, fail, lines: new Map(), list: Promise.resolve() };
    const list = new Listr(
      [
        {
          title: PHASES[phase],
          task: (_, task) => {
            shown.task = task;
            return ended;
          },
          rendererOptions: { outputBar: Infinity, persistentOutput: true },
        },
      ],
      {
        rendererOptions: { logger: new ListrLogger<ListrDefaultRendererLogLevels>({ processOutput: output }), showErrorMessage: false },
        exitOnError: false,
      },
    );
    chain = chain.then(() => list.run()).catch(() => undefined);
    current = shown;
  };
  const draw = () => {
    if (current?.task) current.task.output = [...current.lines.values()].join('\n');
  };
  return {
    emit: (event) => {
      if (event.type === 'phase') {
        if (event.state === 'start') start(event.phase);
        else if (event.state === 'done') current?.done();
        else current?.fail(new Error('failed'));
      } else if (event.type === 'step') {
        current?.lines.set(`step ${event.title}`, stepText(event));
        draw();
      } else if (event.type === 'bytes') {
        current?.lines.set(`volume ${event.volume}`, volumeText(event));
        draw();
      } else {
        current?.lines.set(`finding ${event.finding.message}`, findingLines(event.finding).join('\n'));
        draw();
      }
    },
    finish: async (error) => {
      if (error === undefined) current?.done();
      else current?.fail(new Error('failed'));
      await chain;
    },
  };
}

function stepText(event: Extract<DmaasEvent, { type: 'step' }>): string {
  const mark = { start: '…', done: '✔', skipped: '-', failed: '✖' }[event.state];
  return `${mark} ${event.title}${event.reason === undefined ? '' : `: ${event.reason}`}`;
}

function volumeText(event: Extract<DmaasEvent, { type: 'bytes' }>): string {
  const share = event.total === undefined || event.total === 0 ? undefined : Math.min(1, event.done / event.total);
  const bar =
    share === undefined ? '' : `${'█'.repeat(Math.round(share * 16)).padEnd(16, '░')} ${`${Math.floor(share * 100)}%`.padStart(4)}  `;
  const amount = event.total === undefined ? formatBytes(event.done) : `${formatBytes(event.done)}/${formatBytes(event.total)}`;
  return `${event.volume}  ${bar}${amount}${event.added > 0 ? ` (${formatBytes(event.added)} new)` : ''}`;
}
