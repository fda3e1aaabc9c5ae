import type { Cluster } from '../cluster/cluster.ts';
import { DmaasError } from '../errors.ts';
import type { ObjectRef } from '../model.ts';

export interface HookFailure {
  /** The end of a sentence that begins with the command. */
  readonly fact: string;
  /** Absent when it did not end by itself. */
  readonly exitCode?: number;
  readonly cause?: unknown;
}

const LONGEST_QUOTE = 300;

/** Runs a command in a container; undefined when it ended well. Throws CANCELLED when `stop` is aborted. */
export async function runHookCommand(
  cluster: Cluster,
  { pod, container }: { readonly pod: ObjectRef; readonly container: string },
  { command, timeoutMs }: { readonly command: readonly string[]; readonly timeoutMs: number },
  stop: AbortSignal | undefined,
): Promise<HookFailure | undefined> {
  const limit = AbortSignal.timeout(timeoutMs);
  try {
    const signal = stop === undefined ? limit : AbortSignal.any([limit, stop]);
    const { exitCode, stdout, stderr } = await cluster.exec(pod, container, command, { signal });
    if (exitCode === 0) return undefined;
    const said = (stderr.trim() === '' ? stdout : stderr).trim().replaceAll(/\s+/g, ' ').slice(0, LONGEST_QUOTE);
    return { exitCode, fact: `ended with exit code ${String(exitCode)}${said === '' ? '' : `: ${said}`}` };
  } catch (e) {
    if (!DmaasError.is(e)) throw e;
    if (limit.aborted) return { fact: `did not end within ${String(Math.round(timeoutMs / 1000))} s`, cause: e };
    if (e.code === 'CANCELLED') throw e;
    return { fact: `could not be run: ${e.message}`, cause: e };
  }
}
