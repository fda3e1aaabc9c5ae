/** Rows D2 to D6 of the fault matrix, at length. Prints what was done. */
import assert from 'node:assert/strict';
import { runWorld } from '../support/collection-world.ts';
import { simulateDays } from '../support/simulated-days.ts';

const WORLDS = 400;
const FORTNIGHTS = 100;

describe('garbage collection beside writers, at length', function () {
  this.timeout(3_600_000);

  it(`D2, D3, D6: ${WORLDS} times 3 writers with 3 backups each, 2 collectors and a deleter, days passing between requests`, async () => {
    let [turns, committed, refused, days] = [0, 0, 0, 0];
    for (let seed = 0; seed < WORLDS; seed++) {
      const result = await runWorld({ seed, writers: 3, collectors: 2, rounds: 3, held: 3 });
      turns += result.turns;
      committed += result.committed;
      refused += result.refused;
      days += result.days;
    }
    console.log(`      ${turns} requests, ${committed} backups, ${refused} calls refused, ${Math.round(days / WORLDS)} days each`);
    assert.ok(committed > WORLDS * 3);
  });

  it(`D5: ${FORTNIGHTS} times 14 days of three writers and a collector, with faults, deaths, pauses, new keys and jumps of the clock`, async () => {
    const sums: Record<string, number> = {};
    for (let seed = 0; seed < FORTNIGHTS; seed++) {
      const result = await simulateDays(seed, 14);
      assert.ok(result.days >= 14);
      for (const [what, count] of Object.entries(result)) sums[what] = (sums[what] ?? 0) + (count as number);
    }
    console.log(
      `      ${Object.entries(sums)
        .map(([what, sum]) => `${what} ${Math.round(sum)}`)
        .join(', ')}`,
    );
    for (const [what, sum] of Object.entries(sums)) assert.ok(sum > 0, `no ${what}`);
  });
});
