import assert from 'node:assert/strict';
import { DmaasError } from '../../core/src/errors.ts';
import { packKey } from '../../core/src/repository/format/pack-reader.ts';
import { createRepository, openRepository, type PruneReport } from '../../core/src/repository/repository.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import type { ObjectInfo, ObjectLocks } from '../../core/src/store/object-store.ts';
import { withPrefix } from '../../core/src/store/prefix.ts';
import { keysUnder, makeBackup, operationOf, QUIET, seededRandom, SMALL, UNLOCK } from '../support/repository.ts';

const DAY = 24 * 3_600_000;
const random = seededRandom(3);
const contentsOf = (count: number) => Array.from({ length: count }, () => Buffer.from(random(600)));

/** A bucket whose rule locks what is written, on a clock that is the test's. */
class LockingStore extends MemoryStore {
  static now = 0;
  rule: number | undefined = 30;
  refused: DmaasError | undefined;
  readonly until = new Map<string, number>();

  constructor() {
    super({ now: () => new Date(LockingStore.now) });
  }

  readonly locks: ObjectLocks = {
    days: () => (this.refused === undefined ? Promise.resolve(this.rule) : Promise.reject(this.refused)),
    extend: async (key, { until, enough }) => {
      const info: ObjectInfo | undefined = await this.stat(key);
      if (info === undefined || this.lockedUntil(key, info) >= enough.getTime()) return false;
      this.until.set(key, until.getTime());
      return true;
    },
  };

  lockedUntil(key: string, { modifiedAt }: ObjectInfo): number {
    return this.until.get(key) ?? modifiedAt.getTime() + 30 * DAY;
  }
}

describe('collections on a bucket that locks what is written', () => {
  let bucket: LockingStore;
  const store = () => withPrefix(bucket, 'team/r');
  const prune = async (): Promise<PruneReport> => (await openRepository(store(), UNLOCK)).prune({}, QUIET);

  beforeEach(async () => {
    LockingStore.now = Date.parse('2026-11-22T12:00:00Z');
    bucket = new LockingStore();
    await createRepository(store(), UNLOCK, { parameters: SMALL });
  });

  it('keep all that backups need locked for at least half of its time, and nothing else', async () => {
    const kept = contentsOf(12);
    await makeBackup(await openRepository(store(), UNLOCK), 1, kept);
    const dead = await makeBackup(await openRepository(store(), UNLOCK), 2, contentsOf(12));
    const deadPacks: string[] = [];
    for (let day = 1; day <= 90; day++) {
      LockingStore.now += DAY;
      if (day === 20) await (await openRepository(store(), UNLOCK)).deleteBackup(dead.id);
      const { condemn, locks } = await prune();
      deadPacks.push(...condemn.map(({ pack }) => `team/r/${packKey(pack)}`));
      assert.equal(locks?.days, 30);
      assert.equal(locks.until, new Date(LockingStore.now + 30 * DAY).toISOString());
      const needed = (await keysUnder(bucket, 'team/r/')).filter((key) => !/\/(sessions|runs)\//.test(key) && !deadPacks.includes(key));
      for (const key of needed) {
        const left = bucket.lockedUntil(key, (await bucket.stat(key))!) - LockingStore.now;
        assert.ok(left >= 15 * DAY, `${key} on day ${day}: ${left / DAY} days`);
      }
    }
    assert.ok(deadPacks.length > 0);
    for (const key of deadPacks) assert.ok((bucket.until.get(key) ?? 0) <= Date.parse('2026-11-22T12:00:00Z') + (16 + 30) * DAY, key);
    const reader = await openRepository(store(), UNLOCK);
    assert.equal((await reader.backup(operationOf(1))).operation, operationOf(1));
  });

  it('ask for few locks: each object twice in the time of the rule', async () => {
    await makeBackup(await openRepository(store(), UNLOCK), 1, contentsOf(12));
    let rounds = 0;
    for (let day = 1; day <= 60; day++) {
      LockingStore.now += DAY;
      if ((await prune()).locks!.extended > 0) rounds++;
    }
    assert.equal(rounds, 3);
  });

  it('leave the locks alone in a dry run, and where there is no rule', async () => {
    await makeBackup(await openRepository(store(), UNLOCK), 1, contentsOf(12));
    LockingStore.now += 40 * DAY;
    const report = await (await openRepository(store(), UNLOCK)).prune({ dryRun: true }, QUIET);
    assert.equal(report.locks, undefined);
    bucket.rule = undefined;
    assert.equal((await prune()).locks, undefined);
    assert.equal(bucket.until.size, 0);
    assert.equal(await (await openRepository(store(), UNLOCK)).lockDays(), undefined);
  });

  it('warn, and go on, when they may not lock', async () => {
    const dead = await makeBackup(await openRepository(store(), UNLOCK), 1, contentsOf(12));
    await (await openRepository(store(), UNLOCK)).deleteBackup(dead.id);
    bucket.refused = new DmaasError('STORE_ACCESS', 'these credentials may not lock');
    LockingStore.now += 2 * DAY;
    const { findings, condemn, locks } = await prune();
    assert.ok(condemn.length > 0);
    assert.equal(locks, undefined);
    assert.equal(findings.length, 1);
    assert.match(findings[0]!.message, /^locks of what backups need were not made longer: these credentials may not lock$/);
    assert.match(findings[0]!.hint!, /s3:PutObjectRetention/);
    bucket.refused = new DmaasError('CANCELLED', 'stopped');
    await assert.rejects(prune(), { code: 'CANCELLED' });
  });
});
