import type { Phase, RunOptions } from './events.ts';

/** Does a phase's work and tells how it went. */
export async function inPhase<T>(phase: Phase, run: RunOptions, work: () => Promise<T>): Promise<T> {
  run.emit({ type: 'phase', phase, state: 'start' });
  try {
    const result = await work();
    run.emit({ type: 'phase', phase, state: 'done' });
    return result;
  } catch (e) {
    run.emit({ type: 'phase', phase, state: 'failed' });
    throw e;
  }
}
