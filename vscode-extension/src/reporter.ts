import { commands, env, window, type LogOutputChannel } from 'vscode';
import type { DmaasError } from '@dmaas/core';

/** A button of a message, and what it does. */
export interface Action {
  readonly title: string;
  run(): unknown;
}

/** As `DmaasError.is`, without loading core for it. */
export function isDmaasError(e: unknown): e is DmaasError {
  return e instanceof Error && e.name === 'DmaasError';
}

export function messageOf(e: unknown): string {
  const text = e instanceof Error ? e.message : String(e);
  return isDmaasError(e) ? text : `unexpected: ${text.split('\n')[0] ?? ''}`;
}

export function isCancelled(e: unknown): boolean {
  return isDmaasError(e) && e.code === 'CANCELLED';
}

/** The first letter in upper case, unless it begins a name: core's messages go on behind "error:", an editor's stand alone. */
export function sentence(message: string): string {
  if (/^\S*[/.:\d]/.test(message)) return message;
  return message.charAt(0).toUpperCase() + message.slice(1);
}

/** Says what went wrong: one message with the next step as a button, the details in the log. */
export class Reporter {
  readonly log: LogOutputChannel;
  /** What is wrong now, by what it is wrong with. The same is not said twice. */
  readonly #standing = new Map<string, string>();

  constructor(log: LogOutputChannel) {
    this.log = log;
  }

  /** After something that a person asked for. */
  async error(e: unknown, action?: Action): Promise<void> {
    if (isCancelled(e)) return;
    this.#write(e);
    const next = action ?? this.#actionFor(e);
    const chosen = await window.showErrorMessage(sentence(messageOf(e)), next.title);
    if (chosen === next.title) await next.run();
  }

  /** A state that lasts: said once, until `recovered` or something else is wrong. */
  standing(scope: string, e: unknown, action: Action): void {
    if (isCancelled(e)) return;
    const message = messageOf(e);
    const isSaid = [...this.#standing.values()].includes(message);
    this.#standing.set(scope, message);
    if (!isSaid) void this.error(e, action);
  }

  recovered(scope: string): void {
    this.#standing.delete(scope);
  }

  #write(e: unknown): void {
    const hint = isDmaasError(e) && e.hint !== undefined ? `; hint: ${e.hint}` : '';
    this.log.error(`${messageOf(e)}${hint}`);
    if (!isDmaasError(e) && e instanceof Error) this.log.error(e.stack ?? '');
  }

  #actionFor(e: unknown): Action {
    const hint = isDmaasError(e) ? e.hint : undefined;
    if (hint?.startsWith('kubectl ') === true) return { title: 'Copy Command', run: () => env.clipboard.writeText(hint) };
    return { title: 'Show Log', run: () => commands.executeCommand('dmaas.showLog') };
  }
}
