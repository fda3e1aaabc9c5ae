import type { RunOptions } from '../events.ts';
import { forEachParallel } from '../parallel.ts';

/**
 * Calls `work` for each item, at most `limit` at once. The first failure cancels what is under way and is thrown when all of it
 * has ended, so that nothing is created behind the back of whoever cleans up.
 */
export async function forEachOrStop<T>(
  items: readonly T[],
  limit: number,
  run: RunOptions,
  work: (item: T, run: RunOptions) => Promise<void>,
): Promise<void> {
  const stop = new AbortController();
  const signal = run.signal === undefined ? stop.signal : AbortSignal.any([run.signal, stop.signal]);
  let failure: { readonly error: unknown } | undefined;
  const attempt = async (item: T) => {
    try {
      await work(item, { ...run, signal });
    } catch (error) {
      failure ??= { error };
      stop.abort(error);
      throw error;
    }
  };
  try {
    await forEachParallel(items, limit, attempt);
  } catch (e) {
    throw failure === undefined ? e : failure.error;
  }
}
