/** Rows D2 to D6 of the fault matrix: garbage collection as it is, in orders of its requests that are chosen at random, on a store whose time is made up. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { ObjectStore } from '../../core/src/store/object-store.ts';
import { isFence } from '../../core/src/repository/protocol/fence.ts';
import { runWorld, type WorldOptions } from '../support/collection-world.ts';
import { simulateDays } from '../support/simulated-days.ts';

const world = (writers: number, collectors: number): fc.Arbitrary<WorldOptions> =>
  fc.record({
    seed: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    writers: fc.constant(writers),
    collectors: fc.constant(collectors),
    rounds: fc.integer({ min: 1, max: 3 }),
    held: fc.integer({ min: 0, max: 3 }),
  });

/** Rules of the protocol, taken out by a store that does not do what is asked of it: the worlds must be able to lose something. */
const SABOTAGE: Readonly<Record<string, (store: ObjectStore, actor: string) => Partial<ObjectStore>>> = {
  'fences are not created': (store) => ({ put: (key, body, opts) => (isFence(body) ? Promise.resolve() : store.put(key, body, opts)) }),
  'writers do not see what is condemned': (store, actor) => ({
    list: (prefix, opts) => store.list(prefix === 'gc/' && actor.startsWith('writer') ? 'nothing/' : prefix, opts),
  }),
  'commits have no session': (store, actor) => ({
    put: (key, body, opts) => (actor.startsWith('writer') && key.startsWith('sessions/') ? Promise.resolve() : store.put(key, body, opts)),
  }),
};

function override(store: ObjectStore, changes: Partial<ObjectStore>): ObjectStore {
  return new Proxy(store, {
    get: (target, name) => {
      const changed = changes[name as keyof ObjectStore];
      if (changed !== undefined) return changed;
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

describe('garbage collection beside writers', function () {
  this.timeout(600_000);

  for (const [row, writers, collectors] of [
    ['D2', 2, 1],
    ['D3', 2, 2],
    ['D6', 3, 2],
  ] as const) {
    it(`${row}: ${writers} writers, ${collectors} collectors and a deleter lose nothing, whatever the order and however long somebody stands still`, async () => {
      let turns = 0;
      let committed = 0;
      let refused = 0;
      await fc.assert(
        fc.asyncProperty(world(writers, collectors), async (opts) => {
          const result = await runWorld(opts);
          turns += result.turns;
          committed += result.committed;
          refused += result.refused;
        }),
        { numRuns: 25, endOnFailure: true },
      );
      assert.ok(committed > 25 && turns > 2500, `${committed} backups in ${turns} requests, ${refused} refused`);
    });
  }

  it('D5: in days of backups, restores, deletes, collections, repairs and new keys, with faults, deaths, pauses and jumps of the clock, every backup that should exist restores', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 2 ** 32 - 1 }), async (seed) => {
        const { backups, restores, collections, days } = await simulateDays(seed, 14);
        assert.ok(
          days >= 14 && backups > 20 && restores > 0 && collections > 0,
          JSON.stringify({ seed, days, backups, restores, collections }),
        );
      }),
      { numRuns: 4, endOnFailure: true },
    );
  });

  for (const [what, sabotage] of Object.entries(SABOTAGE)) {
    it(`D2: would lose something if ${what}`, async () => {
      for (let seed = 0; seed < 400; seed++) {
        const opts = {
          seed,
          writers: 2,
          collectors: 1,
          rounds: 2,
          held: 3,
          sabotage: (s: ObjectStore, a: string) => override(s, sabotage(s, a)),
        };
        const isWhole = await runWorld(opts).then(
          () => true,
          () => false,
        );
        if (!isWhole) return;
      }
      assert.fail('nothing was lost');
    });
  }
});
