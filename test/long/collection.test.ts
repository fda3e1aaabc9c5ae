/** Rows D2 to D6 of the fault matrix, at length. Prints what was done. */
import assert from 'node:assert/strict';
import { runWorld } from '../support/collection-world.ts';

describe('garbage collection beside writers, at length', function () {
  this.timeout(3_600_000);

  for (const [row, seeds, writers, collectors, rounds, held] of [
    ['D2, D3, D6', 400, 3, 2, 3, 3],
    ['D5', 12, 3, 1, 42, 4],
  ] as const) {
    it(`${row}: ${seeds} times ${writers} writers with ${rounds} backups each, ${collectors} collectors and a deleter, days passing between requests`, async () => {
      let [turns, committed, refused, days] = [0, 0, 0, 0];
      for (let seed = 0; seed < seeds; seed++) {
        const result = await runWorld({ seed, writers, collectors, rounds, held });
        turns += result.turns;
        committed += result.committed;
        refused += result.refused;
        days += result.days;
      }
      console.log(`      ${turns} requests, ${committed} backups, ${refused} calls refused, ${Math.round(days / seeds)} days each`);
      assert.ok(committed > seeds * writers);
    });
  }
});
