import { PHASES, type EventSink, type Phase, formatDuration } from '@dmaas/core';
import { findingLines } from './findings.ts';
import { stepText, volumeText } from './progress-text.ts';

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

export async function showProgress(options: ProgressOptions): Promise<Progress> {
  if (options.format === 'json') return jsonProgress(options);
  if (!options.stderr.isTTY) return lineProgress(options);
  // What draws takes a quarter of the time in which a command starts.
  const { terminalProgress } = await import('./terminal-progress.ts');
  return terminalProgress(options);
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
