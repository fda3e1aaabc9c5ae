import type { RunOptions } from '../events.ts';
import type { KubeObject } from '../model.ts';
import type { MoverSpec } from './job.ts';
import type { MoverResult, MoverTask } from './task.ts';

export interface MoverRequest {
  readonly spec: MoverSpec;
  /** Holds the store's credentials and the repository's key. */
  readonly task: MoverTask;
  /** The claim that it mounts, when that is made for this task alone and goes with it. Its name is that of the spec. */
  readonly ownClaim?: KubeObject;
}

/**
 * Runs tasks next to the data. The same task (operation and index) may be run again, by this process or another: it goes on, or
 * gives the result that is there; what is unfinished it tries again, and in place it compares again, whatever is there. Throws MOVER_FAILED, TIMEOUT when it cannot start, or
 * CANCELLED. When it returns or throws, what it created is removed, unless removing failed too: `cleanupOperation` finds that.
 */
export interface Mover {
  run(request: MoverRequest, run: RunOptions): Promise<MoverResult>;
}
