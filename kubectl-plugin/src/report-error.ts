import { styleText } from 'node:util';
import { DmaasError, ERRORS } from '@dmaas/core';
import type { Session, Streams } from './session.ts';

/** Prints what failed: `error:`, then `hint:` when there is a next step. @returns the exit code. */
export function reportError(
  error: unknown,
  streams: Streams,
  options: { readonly verbosity: number; readonly session?: Session | undefined },
): number {
  const { stderr } = streams;
  const paint = (format: 'red' | 'cyan', text: string) => styleText(format, text, { stream: stderr });
  const known = DmaasError.is(error) ? error : undefined;
  if (known?.code === 'CANCELLED' && known.hint === undefined) {
    stderr.write(`${known.message}\n`);
  } else if (known !== undefined) {
    stderr.write(`${paint('red', 'error:')} ${known.message}\n`);
    if (known.hint !== undefined) stderr.write(`${paint('cyan', 'hint:')} ${options.session?.pasteable(known.hint) ?? known.hint}\n`);
  } else if (isStop(error)) {
    stderr.write('stopped\n');
    return ERRORS.CANCELLED.exit;
  } else {
    const message = error instanceof Error ? error.message : String(error);
    stderr.write(`${paint('red', 'error:')} unexpected: ${message.split('\n')[0] ?? ''}\n`);
    stderr.write(`${paint('cyan', 'hint:')} this is a defect in DMaaS; run again with -v=8 and report what it prints\n`);
  }
  if (options.verbosity >= 8) stderr.write(`${stackOf(error)}\n`);
  return known?.exitCode ?? ERRORS.INTERNAL.exit;
}

function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const stack = error.stack ?? error.message;
  return error.cause === undefined ? stack : `${stack}\ncaused by ${stackOf(error.cause)}`;
}

/** Ctrl-C at a prompt, or while Node waited for something that knows our signal. */
function isStop(error: unknown): boolean {
  return error instanceof Error && ['ExitPromptError', 'AbortPromptError', 'AbortError'].includes(error.name);
}
