import { setTimeout as sleep } from 'node:timers/promises';
import { DmaasError, throwIfCancelled } from '../errors.ts';

/** How long a call is repeated. Waits are drawn evenly from 0 to min(capMs, baseMs · 2^n) ("full jitter"), so that callers who failed together do not return together. */
export interface RetryPolicy {
  /** Tries in all, at least 1. */
  readonly attempts: number;
  /** No further try begins once this much time has passed since the first. */
  readonly totalMs: number;
  readonly baseMs: number;
  readonly capMs: number;
}

/** For people who wait for an answer. */
export const PROMPT: RetryPolicy = { attempts: 4, totalMs: 20_000, baseMs: 200, capMs: 4_000 };
/** For movers, which should outlast a restart of the store or a node's network. */
export const PATIENT: RetryPolicy = { attempts: 30, totalMs: 5 * 60_000, baseMs: 250, capMs: 20_000 };

/** Time and chance, so that tests have neither. */
export interface RetryClock {
  /** Milliseconds, monotonic. */
  readonly now: () => number;
  /** Rejects at once when the signal aborts. */
  readonly sleep: (ms: number, signal: AbortSignal | undefined) => Promise<unknown>;
  /** Evenly from [0, 1). */
  readonly random: () => number;
}

export const SYSTEM_CLOCK: RetryClock = {
  now: () => performance.now(),
  sleep: (ms, signal) => sleep(ms, undefined, signal === undefined ? {} : { signal }),
  random: Math.random,
};

/** What one failed try means. */
export interface Verdict {
  /** What the caller gets if this try was the last. */
  readonly error: DmaasError;
  /** Whether the same call may succeed a little later. */
  readonly retry: boolean;
  /** The server's own wish (Retry-After): the next try begins no sooner. */
  readonly retryAfterMs?: number;
}

/**
 * Calls `attempt` (with 1, 2, ...) until it succeeds, fails for good, or the policy is exhausted; then throws the last verdict's
 * error. From the second try on an earlier one may have taken effect without our knowing. A Retry-After beyond the remaining
 * time ends the tries at once: waiting less than asked would only add load.
 */
export async function withRetry<T>(
  attempt: (n: number) => Promise<T>,
  judge: (e: unknown) => Verdict,
  opts: { readonly policy: RetryPolicy; readonly clock?: RetryClock; readonly signal?: AbortSignal | undefined },
): Promise<T> {
  const { policy, clock = SYSTEM_CLOCK, signal } = opts;
  const end = clock.now() + policy.totalMs;
  for (let n = 1; ; n++) {
    throwIfCancelled(signal);
    let verdict: Verdict;
    try {
      return await attempt(n);
    } catch (e) {
      throwIfCancelled(signal);
      verdict = DmaasError.is(e) ? { error: e, retry: false } : judge(e);
    }
    const wait = Math.max(clock.random() * Math.min(policy.capMs, policy.baseMs * 2 ** (n - 1)), verdict.retryAfterMs ?? 0);
    if (!verdict.retry || n >= policy.attempts || clock.now() + wait >= end) throw verdict.error;
    try {
      await clock.sleep(wait, signal);
    } catch (e) {
      throwIfCancelled(signal);
      throw e;
    }
  }
}

/** Milliseconds from a Retry-After header: seconds or an HTTP date (RFC 9110, 10.2.3). */
export function parseRetryAfter(header: string | undefined, now: Date): number | undefined {
  if (header === undefined) return undefined;
  if (/^\d{1,9}$/.test(header)) return Number(header) * 1000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now.getTime());
}
