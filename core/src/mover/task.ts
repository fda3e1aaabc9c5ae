import * as z from 'zod';
import { DmaasError } from '../errors.ts';
import type { Finding } from '../model.ts';
import { isOperationId, type OperationId } from '../operation.ts';
import { isBlobId, type BlobId } from '../repository/format/blob.ts';
import { storeConfigSchema } from '../store/config.ts';

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
  /** `parent`: the volume's root in the backup before. `moment`: what the volume is read as of; a result of another moment is none of this task. */
  z.strictObject({
    ...taskFields,
    direction: z.literal('capture'),
    parent: blobId.exactOptional(),
    moment: z
      .string()
      .regex(/^[0-9a-f]+$/)
      .exactOptional(),
  }),
  z.strictObject({
    ...taskFields,
    direction: z.literal('populate'),
    root: blobId,
    allowDevices: z.boolean().exactOptional(),
    isInPlace: z.boolean().exactOptional(),
    allowMissing: z.boolean().exactOptional(),
  }),
  /** Whether a volume like this could be populated from that root. */
  z.strictObject({ ...taskFields, direction: z.literal('probe'), root: blobId }),
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
  /** Of the volume; when it was populated, of what is there. */
  files: count,
  entries: count,
  bytes: count,
  /** These two when a volume was populated. */
  missing: z.object({ entries: count, declined: count, files: count, bytes: count, names: z.array(z.string()).readonly() }).exactOptional(),
  /** The volume looks unfinished still: the task is not done, and can be tried again. */
  isUnfinished: z.boolean().exactOptional(),
  /** New in the repository, before compression. */
  addedBytes: count,
  /** Of content, written to a volume. */
  writtenBytes: count.exactOptional(),
  findings: z.array(finding).readonly(),
  peakMemoryBytes: count,
  startedAt: z.iso.datetime(),
  finishedAt: z.iso.datetime(),
});
export type MoverResult = Readonly<z.infer<typeof moverResultSchema>>;

/** Name of the run record in which a mover leaves its result. */
export function moverResultName({ index, moment }: { readonly index: number; readonly moment?: string }): string {
  return moment === undefined ? `volume-${index}` : `volume-${index}-${moment}`;
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
