import { z } from 'zod';
import type { RunOptions } from '../events.ts';
import { DmaasError } from '../errors.ts';
import type { Finding } from '../model.ts';
import { isOperationId, type OperationId } from '../operation.ts';
import { isBlobId, type BlobId } from '../repository/blob.ts';
import type { Repository } from '../repository/repository.ts';
import { storeConfigSchema } from '../store/config.ts';
import { captureVolume } from './capture.ts';
import { populateVolume } from './populate.ts';

const operation = z.custom<OperationId>((value) => typeof value === 'string' && isOperationId(value), 'expected an operation id');
const blobId = z.custom<BlobId>((value) => typeof value === 'string' && isBlobId(value), 'expected a blob id');
const count = z.number().int().nonnegative();

const taskFields = {
  schema: z.literal(1),
  operation,
  /** Of the volume within the operation. */
  index: count,
  volume: z.strictObject({ claim: z.string().min(1), mode: z.enum(['filesystem', 'block']) }),
  /** Where the volume is mounted, or its device. */
  path: z.string().startsWith('/'),
  store: storeConfigSchema,
  /** The repository's key, in its text form. */
  unlock: z.string(),
};

/** What a mover is told to do. Holds credentials and a key: never print it. */
export const moverTaskSchema = z.discriminatedUnion('direction', [
  /** `parent`: the volume's root in the backup before. */
  z.strictObject({ ...taskFields, direction: z.literal('capture'), parent: blobId.exactOptional() }),
  z.strictObject({ ...taskFields, direction: z.literal('populate'), root: blobId, allowDevices: z.boolean().exactOptional() }),
]);
export type MoverTask = Readonly<z.infer<typeof moverTaskSchema>>;

const finding: z.ZodType<Finding> = z.looseObject({
  level: z.enum(['blocker', 'warning', 'info']),
  code: z.string(),
  message: z.string(),
  hint: z.string().exactOptional(),
});

/** What a mover has done. */
export const moverResultSchema = z.looseObject({
  schema: z.literal(1),
  operation,
  index: count,
  /** The volume node that was written, or restored. */
  root: blobId,
  files: count,
  entries: count,
  /** Of the volume. */
  bytes: count,
  /** New in the repository, before compression. */
  addedBytes: count,
  findings: z.array(finding).readonly(),
  peakMemoryBytes: count,
  startedAt: z.iso.datetime(),
  finishedAt: z.iso.datetime(),
});
export type MoverResult = Readonly<z.infer<typeof moverResultSchema>>;

/** Name of the run record in which a mover leaves its result. */
export function moverResultName(index: number): string {
  return `volume-${index}`;
}

/** Throws USAGE, naming the field but never its value. */
export function parseMoverTask(value: unknown): MoverTask {
  const parsed = moverTaskSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const field = parsed.error.issues[0]?.path.join('.') ?? '';
  throw new DmaasError('USAGE', `the mover's task is not valid${field === '' ? '' : ` at ${field}`}`, {
    hint: 'use the mover image of the same version',
  });
}

/**
 * Captures or populates a volume and records the result in the repository. A task whose result is recorded is done: it is not done
 * again, whoever asks.
 */
export async function runMoverTask(
  task: MoverTask,
  repository: Repository,
  run: RunOptions,
  now = (): Date => new Date(),
): Promise<MoverResult> {
  const opts = run.signal === undefined ? {} : { signal: run.signal };
  const name = moverResultName(task.index);
  const startedAt = now().toISOString();
  const recorded = async (): Promise<MoverResult | undefined> => {
    const found = await repository.runs.get(task.operation, name, opts);
    return found === undefined ? undefined : moverResultSchema.parse(found);
  };
  const record = async (
    done: Pick<MoverResult, 'root' | 'files' | 'entries' | 'bytes' | 'addedBytes' | 'findings'>,
  ): Promise<MoverResult> => {
    const { operation, index } = task;
    const peakMemoryBytes = process.resourceUsage().maxRSS * 1024;
    const result: MoverResult = { schema: 1, operation, index, ...done, peakMemoryBytes, startedAt, finishedAt: now().toISOString() };
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
  if (earlier !== undefined) return earlier;
  const { path, operation } = task;
  const common = { name: task.volume.claim, mode: task.volume.mode, path, repository };
  if (task.direction === 'capture') {
    return record(await captureVolume({ ...common, ...(task.parent === undefined ? {} : { parent: task.parent }) }, run));
  }
  let result: MoverResult | undefined;
  const { root, allowDevices = false } = task;
  await populateVolume(
    {
      ...common,
      root,
      operation,
      allowDevices,
      record: async (done) => {
        result = await record({ ...done, root, addedBytes: 0 });
      },
    },
    run,
  );
  if (result === undefined) throw new DmaasError('INTERNAL', 'a volume was populated without a result');
  return result;
}
