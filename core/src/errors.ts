/**
 * The one error class, and the one table of its codes: how the process exits, and whether repeating the same call can
 * help. 3, 10, 11, 12 and 130 are restic's numbers, kept so that habits carry over.
 */
export const ERRORS = {
  INTERNAL: { exit: 1, retryable: false, meaning: 'a defect in DMaaS' },
  USAGE: { exit: 2, retryable: false, meaning: 'the command line or a value in it is wrong' },
  COMPLETED_WITH_GAPS: { exit: 3, retryable: false, meaning: 'the work is done, but something was left out; it is listed' },
  REPOSITORY_NOT_FOUND: { exit: 10, retryable: false, meaning: 'there is no repository at that location' },
  REPOSITORY_FENCED: { exit: 11, retryable: true, meaning: 'this writer was silent for too long and must start again' },
  REPOSITORY_KEY: { exit: 12, retryable: false, meaning: 'the key does not open this repository' },
  REPOSITORY_CORRUPT: { exit: 13, retryable: false, meaning: 'stored bytes are not what was written' },
  REPOSITORY_VERSION: { exit: 14, retryable: false, meaning: 'the repository needs a newer DMaaS' },
  BACKUP_NOT_FOUND: { exit: 15, retryable: false, meaning: 'no backup, or more than one, has that name' },
  STORE_NOT_FOUND: { exit: 20, retryable: false, meaning: 'the bucket or an object that must exist does not' },
  STORE_EXISTS: { exit: 20, retryable: false, meaning: 'an object that must be new exists' },
  STORE_RANGE: { exit: 13, retryable: false, meaning: 'an object is shorter than it must be' },
  STORE_ACCESS: { exit: 21, retryable: false, meaning: 'the store refused the credentials or the action' },
  STORE_UNAVAILABLE: { exit: 22, retryable: true, meaning: 'the store did not answer, or not in time' },
  CLUSTER_UNREACHABLE: { exit: 30, retryable: true, meaning: 'the API server did not answer' },
  CLUSTER_FORBIDDEN: { exit: 31, retryable: false, meaning: 'the API server refused this identity' },
  CLUSTER_CONFLICT: { exit: 32, retryable: true, meaning: 'an object changed meanwhile, or is owned by another manager' },
  CLUSTER_REJECTED: { exit: 32, retryable: false, meaning: 'the API server found the object invalid' },
  APP_NOT_FOUND: { exit: 33, retryable: false, meaning: 'the selection matches no application' },
  PREFLIGHT_FAILED: { exit: 40, retryable: false, meaning: 'a check before the first change failed; nothing was changed' },
  QUIESCE_FAILED: { exit: 41, retryable: true, meaning: 'the application could not be made consistent' },
  MOVER_FAILED: { exit: 42, retryable: true, meaning: 'a volume could not be captured or populated' },
  RESTORE_STEP_FAILED: { exit: 43, retryable: true, meaning: 'a step of a restore failed; it can be resumed' },
  TIMEOUT: { exit: 44, retryable: true, meaning: 'something did not become ready in time' },
  MACHINE_FAULT: { exit: 45, retryable: true, meaning: 'bytes changed in the memory of this machine; nothing wrong was stored' },
  CANCELLED: { exit: 130, retryable: false, meaning: 'stopped by the user' },
} as const;

export type ErrorCode = keyof typeof ERRORS;

export interface ErrorInit {
  readonly cause?: unknown;
  /** The next step, as a command that can be pasted or a sentence; surfaces show it after the message. */
  readonly hint?: string;
  /** Machine-readable facts: keys, refs, counts. Never secrets, never response headers. */
  readonly details?: Readonly<Record<string, string | number | boolean>>;
}

/** Every failure core reports. `message` is one lower-case sentence without a final period that names the thing and the fact. */
export class DmaasError extends Error {
  override readonly name = 'DmaasError';
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly details: Readonly<Record<string, string | number | boolean>>;

  constructor(code: ErrorCode, message: string, init: ErrorInit = {}) {
    super(message, init.cause === undefined ? undefined : { cause: init.cause });
    this.code = code;
    this.hint = init.hint;
    this.details = init.details ?? {};
  }

  get retryable(): boolean {
    return ERRORS[this.code].retryable;
  }

  get exitCode(): number {
    return ERRORS[this.code].exit;
  }

  /** Whether `e` is a DmaasError (with that code). Works across bundles, where `instanceof` does not. */
  static is(e: unknown, code?: ErrorCode): e is DmaasError {
    return e instanceof Error && e.name === 'DmaasError' && (code === undefined || ('code' in e && e.code === code));
  }
}

/** Throws CANCELLED when the signal is aborted. */
export function throwIfCancelled(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new DmaasError('CANCELLED', 'stopped', { cause: signal.reason });
}
