import { stderr } from 'node:process';

const TICK_MS = 1000;
const LINE_MS = 30_000;

/** Minutes and seconds, as in `2:05`. */
export function elapsed(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}

export function say(message: string): void {
  stderr.write(`${message}\n`);
}

/**
 * Runs slow work and shows on standard error what it is, what it is at and for how long it has run: a ticking line on a
 * terminal, a line every half minute elsewhere. Work that is done within a second is not mentioned. Steps may overlap when
 * no terminal is there; on one they are expected one after the other.
 */
export async function step<T>(title: string, work: (detail: (text: string) => void) => Promise<T>): Promise<T> {
  const began = Date.now();
  const isTerminal = stderr.isTTY && process.env['CI'] === undefined;
  let detail = '';
  let lines = 0;
  const show = (outcome: string): void => {
    const line = `${title} … ${outcome}`;
    stderr.write(isTerminal ? `\r\x1b[K${line}` : `${line}\n`);
    lines += 1;
  };
  const tick = setInterval(() => {
    const time = Date.now() - began;
    if (isTerminal || time >= lines * LINE_MS) show([elapsed(time), detail].filter(Boolean).join(' '));
  }, TICK_MS);
  const finish = (outcome: string): void => {
    clearInterval(tick);
    if (lines === 0) return;
    show(`${outcome} in ${elapsed(Date.now() - began)}`);
    if (isTerminal) stderr.write('\n');
  };
  try {
    const result = await work((text) => (detail = text));
    finish('done');
    return result;
  } catch (error) {
    finish('failed');
    throw error;
  }
}
