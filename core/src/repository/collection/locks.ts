import { forEachParallel } from '../../parallel.ts';
import type { CallOptions, ObjectStore } from '../../store/object-store.ts';
import { CONFIG_KEY, WRAPS } from '../keys/config.ts';
import { RECOVERY } from '../keys/recovery.ts';
import { LISTS } from '../protocol/tombstones.ts';
import { BACKUPS } from '../records/backups.ts';

const DAY_MS = 24 * 60 * 60_000;
const MAX_REQUESTS = 16;

/** What was locked again. */
export interface LockReport {
  /** For how many days the bucket's rule locks what is written. */
  readonly days: number;
  /** Objects. */
  readonly extended: number;
  /** Until when, by the store's clock. */
  readonly until: string;
}

/**
 * Object Lock (core/DESIGN.md, 7.7): what backups need and is locked for less than half the time of the store's rule from `now` is locked for all of it.
 * `packsAndSegments`: their keys, as far as backups need them. Undefined when there is no rule.
 */
export async function extendLocks(
  store: ObjectStore,
  packsAndSegments: readonly string[],
  now: number,
  opts: CallOptions,
): Promise<LockReport | undefined> {
  const { locks } = store;
  const days = await locks?.days(opts);
  if (locks === undefined || days === undefined) return undefined;
  const until = new Date(now + days * DAY_MS);
  const enough = new Date(now + (days * DAY_MS) / 2);
  const keys = [CONFIG_KEY, 'source', RECOVERY, ...packsAndSegments];
  for (const prefix of [WRAPS, BACKUPS, LISTS]) for await (const { key } of store.list(prefix, opts)) keys.push(key);
  let extended = 0;
  await forEachParallel(keys, MAX_REQUESTS, async (key) => {
    if (await locks.extend(key, { until, enough }, opts)) extended++;
  });
  return { days, extended, until: until.toISOString() };
}
