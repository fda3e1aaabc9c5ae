import { DmaasError } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import type { Repository } from '../repository/repository.ts';
import { captureVolume } from './capture.ts';
import { peakMemoryBytes } from './peak-memory.ts';
import { finishPopulated, populateVolume } from './populate.ts';
import { PROBE_BYTES, probeVolume } from './probe.ts';
import { moverResultName, moverResultSchema, type MoverResult, type MoverTask } from './task.ts';

/**
 * Captures, populates or probes a volume and records the result in the repository. A task whose result is recorded is not done again, whoever
 * asks; to try again what is unfinished, the record goes first.
 */
export async function runMoverTask(
  task: MoverTask,
  repository: Repository,
  run: RunOptions,
  now = (): Date => new Date(),
): Promise<MoverResult> {
  const opts = run.signal === undefined ? {} : { signal: run.signal };
  const name = moverResultName(task);
  const startedAt = now().toISOString();
  const recorded = async (): Promise<MoverResult | undefined> => {
    const found = await repository.runs.get(task.operation, name, opts);
    return found === undefined ? undefined : moverResultSchema.parse(found);
  };
  const record = async (
    done: Pick<
      MoverResult,
      'root' | 'files' | 'entries' | 'bytes' | 'addedBytes' | 'writtenBytes' | 'missing' | 'isUnfinished' | 'findings'
    >,
  ): Promise<MoverResult> => {
    const { operation, index } = task;
    const measured = { peakMemoryBytes: peakMemoryBytes(), startedAt, finishedAt: now().toISOString() };
    const result: MoverResult = { schema: 1, operation, index, ...done, ...measured };
    try {
      await repository.runs.put(operation, name, result, opts);
      return result;
    } catch (error) {
      // Another mover of the same task was there first: two may run when a node comes back.
      const other = DmaasError.is(error, 'STORE_EXISTS') ? await recorded() : undefined;
      if (other === undefined) throw error;
      return other;
    }
  };
  const earlier = await recorded();
  const { path, operation } = task;
  const common = { name: task.volume.claim, mode: task.volume.mode, path, repository };
  if (earlier !== undefined) {
    if (task.direction === 'populate' && earlier.isUnfinished !== true)
      await finishPopulated({ ...common, root: task.root, operation }, run);
    return earlier;
  }
  if (task.direction === 'capture') {
    return record(await captureVolume({ ...common, ...(task.parent === undefined ? {} : { parent: task.parent }) }, run));
  }
  if (task.direction === 'probe') {
    await probeVolume({ ...common, root: task.root }, opts);
    return record({ root: task.root, files: 0, entries: 0, bytes: PROBE_BYTES, addedBytes: 0, writtenBytes: PROBE_BYTES, findings: [] });
  }
  let result: MoverResult | undefined;
  const { root, allowDevices = false, isInPlace = false, allowMissing = false } = task;
  await populateVolume(
    {
      ...common,
      root,
      operation,
      allowDevices,
      isInPlace,
      allowMissing,
      record: async (done) => {
        result = await record({ ...done, root, addedBytes: 0 });
      },
    },
    run,
  );
  if (result === undefined) throw new DmaasError('INTERNAL', 'a volume was populated without a result');
  return result;
}
