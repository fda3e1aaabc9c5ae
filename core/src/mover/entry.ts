import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { DmaasError } from '../errors.ts';
import type { DmaasEvent, EventSink } from '../events.ts';
import { parseKey } from '../repository/keys/keys.ts';
import { openRepository } from '../repository/repository.ts';
import { openStore } from '../store/open.ts';
import { PATIENT, PROMPT } from '../store/retry.ts';
import { runMoverTask } from './run-task.ts';
import { parseMoverTask, type MoverResult } from './task.ts';

/** The mover image's main: does the task of the file named as argument, and tells of it as one JSON value a line. */

const TASK_FILE = '/run/dmaas/task.json';
/** Where Kubernetes takes a container's last words from. */
const TERMINATION_LOG = '/dev/termination-log';
const MAX_TERMINATION_BYTES = 4096;
const PROGRESS_INTERVAL_MS = 1000;

export interface MoverProcess {
  readonly taskFile: string;
  readonly terminationLog: string;
  readonly write: (line: string) => void;
  readonly signal: AbortSignal;
}

/** Returns the exit code. Findings do not change it: they are in the result. */
export async function runMover({ taskFile, terminationLog, write, signal }: MoverProcess): Promise<number> {
  const print = (value: unknown): void => {
    write(`${JSON.stringify(value)}\n`);
  };
  let last: unknown;
  let exitCode = 0;
  try {
    const result = await runTask(taskFile, throttled(print), signal);
    last = { ...summaryOf(result), findings: result.findings.length };
    print({ type: 'result', ...summaryOf(result), findings: result.findings.length });
  } catch (e) {
    const error = describeError(e);
    exitCode = error.exitCode;
    last = { code: error.code, message: error.message, ...(error.hint === undefined ? {} : { hint: error.hint }) };
    print({ type: 'error', ...(last as object) });
  }
  // Kubernetes makes the file; elsewhere nobody asks.
  if (existsSync(terminationLog)) writeFileSync(terminationLog, cut(JSON.stringify(last)));
  return exitCode;
}

async function runTask(taskFile: string, emit: EventSink, signal: AbortSignal): Promise<MoverResult> {
  const task = parseMoverTask(readTask(taskFile));
  const store = await openStore(task.store, { retry: task.direction === 'probe' ? PROMPT : PATIENT, proxyEnv: process.env });
  try {
    const repository = await openRepository(store, parseKey(task.unlock), { signal });
    try {
      return await runMoverTask(task, repository, { emit, signal });
    } finally {
      await repository.close();
    }
  } finally {
    await store.close();
  }
}

function readTask(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    // Without the cause: a parser quotes what it cannot parse, and there are secrets in it.
    throw new DmaasError('USAGE', `the mover's task ${path} cannot be read, or is no JSON`);
  }
}

/** Progress at most once a second, the newest; everything else at once. */
function throttled(print: (event: DmaasEvent) => void): EventSink {
  let nextAt = 0;
  return (event) => {
    const now = performance.now();
    if (event.type === 'bytes') {
      if (now < nextAt && event.done !== event.total) return;
      nextAt = now + PROGRESS_INTERVAL_MS;
    }
    print(event);
  };
}

function summaryOf({ root, files, entries, bytes, addedBytes, peakMemoryBytes }: MoverResult): object {
  return { root, files, entries, bytes, addedBytes, peakMemoryBytes };
}

function describeError(e: unknown): DmaasError {
  if (DmaasError.is(e)) return e;
  // A defect: where it is matters more than anything, and it goes to whoever reads the log only.
  process.stderr.write(`${e instanceof Error ? (e.stack ?? e.message) : String(e)}\n`);
  return new DmaasError('INTERNAL', 'the mover failed in a way that is not foreseen; its log says where', { cause: e });
}

function cut(text: string): string {
  return Buffer.from(text).subarray(0, MAX_TERMINATION_BYTES).toString('utf8');
}

if (import.meta.main) {
  const stop = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const) {
    process.on(name, () => {
      stop.abort(new DmaasError('CANCELLED', `stopped by ${name}`));
    });
  }
  const exitCode = await runMover({
    taskFile: process.argv[2] ?? TASK_FILE,
    terminationLog: TERMINATION_LOG,
    write: (line) => process.stdout.write(line),
    signal: stop.signal,
  });
  // A connection that a server keeps open must not keep the Job open.
  process.stdout.write('', () => {
    process.exit(exitCode);
  });
}
