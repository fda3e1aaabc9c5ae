import { DmaasError, type ErrorCode } from '../errors.ts';
import type { FinishedPack, PackMemory } from '../repository/blobs/blob-packer.ts';
import type { BlobId } from '../repository/format/blob.ts';
import type { FramedBlob } from '../repository/format/pack-writer.ts';
import type { RepositoryThread } from '../repository/repository.ts';
import type { LookAheadTask } from './look-ahead-thread.ts';
import type { FilesResult, FilesTask } from './read-files.ts';
import type { SpansResult, SpansTask } from './read-spans.ts';
import type { WriteResult, WriteTask } from './write-frames.ts';
import type { Fidelity } from './posix.ts';

/** What threads of a mover do, and what they answer. */
export interface ThreadWork {
  /** Small files, many at a time. */
  readonly files: { readonly task: FilesTask; readonly result: FilesResult };
  /** Parts of a large file or device. */
  readonly spans: { readonly task: SpansTask; readonly result: SpansResult };
  /** Hands over all that is read but in no pack yet. */
  readonly flush: { readonly task: object; readonly result: undefined };
  /** Files that a walk will come to. */
  readonly look: { readonly task: LookAheadTask; readonly result: undefined };
  /** Frames as they came from the store, to where their blobs belong. */
  readonly write: { readonly task: WriteTask; readonly result: WriteResult };
}

export type WorkKind = keyof ThreadWork;

/** What a thread is started with. */
export interface ThreadSetup {
  readonly name: 'dmaas-mover-thread';
  readonly repository: RepositoryThread;
  readonly fidelity: Fidelity;
}

/** What a thread asks of the main one. */
export interface ThreadAsk {
  readonly claim: { readonly ask: { readonly blobs: readonly FramedBlob[] }; readonly answer: readonly boolean[] };
  readonly packMemory: { readonly ask: { readonly bytes: number }; readonly answer: PackMemory };
  readonly store: { readonly ask: { readonly pack: FinishedPack }; readonly answer: undefined };
  readonly node: { readonly ask: { readonly bytes: Uint8Array }; readonly answer: BlobId };
}

export type AskKind = keyof ThreadAsk;

export type ToThread =
  | { readonly type: 'work'; readonly n: number; readonly kind: WorkKind; readonly task: ThreadWork[WorkKind]['task'] }
  | { readonly type: 'answer'; readonly n: number; readonly answer: ThreadAsk[AskKind]['answer'] }
  | { readonly type: 'refusal'; readonly n: number; readonly error: CarriedError };

export type FromThread =
  | { readonly type: 'done'; readonly n: number; readonly result: ThreadWork[WorkKind]['result'] }
  | { readonly type: 'failed'; readonly n: number; readonly error: CarriedError }
  | { readonly type: 'ask'; readonly n: number; readonly kind: AskKind; readonly ask: ThreadAsk[AskKind]['ask'] };

/** An error on its way between threads. */
export type CarriedError =
  | {
      readonly kind: 'told';
      readonly code: ErrorCode;
      readonly message: string;
      readonly hint: string | undefined;
      readonly details: DmaasError['details'];
    }
  | { readonly kind: 'system' | 'defect'; readonly code: string | undefined; readonly message: string; readonly stack: string | undefined };

export function carry(error: unknown): CarriedError {
  if (DmaasError.is(error)) {
    const { code, message, hint, details } = error;
    return { kind: 'told', code, message, hint, details };
  }
  const { message, stack, code } = (error instanceof Error ? error : new Error(String(error))) as NodeJS.ErrnoException;
  return { kind: typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? 'system' : 'defect', code, message, stack };
}

/** The error that was carried; a defect keeps the stack of where it happened. */
export function uncarry(error: CarriedError): Error {
  if (error.kind === 'told') {
    const { code, message, hint, details } = error;
    return new DmaasError(code, message, { ...(hint === undefined ? {} : { hint }), details });
  }
  const { message, code, stack } = error;
  return Object.assign(new Error(message), { ...(error.kind === 'system' ? { code } : {}), ...(stack === undefined ? {} : { stack }) });
}
