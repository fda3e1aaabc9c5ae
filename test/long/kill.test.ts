/** Row A2 of the fault matrix. Prints what was done. */
import assert from 'node:assert/strict';
import { killAround } from '../support/kill-world.ts';

describe('processes that are killed, at length (A2)', function () {
  this.timeout(3 * 3_600_000);

  for (const [seed, kills] of [
    [11, 250],
    [12, 250],
    [13, 250],
    [14, 250],
  ] as const) {
    it(`A2, A6, B1, B4: ${kills} kills of backups and collections over a connection that breaks lose nothing (${seed})`, async () => {
      const result = await killAround(seed, kills);
      console.log(`      ${JSON.stringify(result)}`);
      assert.ok(result.kills >= kills);
    });
  }
});
