/** Row A2 of the fault matrix: DMAAS_TEST_KILLS for each of DMAAS_TEST_SEEDS. Prints what was done. */
import assert from 'node:assert/strict';
import { killAround } from '../support/kill-world.ts';

const SEEDS = (process.env['DMAAS_TEST_SEEDS'] ?? '11,12,13,14').split(',').map(Number);
const KILLS = Number(process.env['DMAAS_TEST_KILLS'] ?? 250);

describe('processes that are killed, at length (A2)', function () {
  this.timeout(3 * 3_600_000);

  for (const seed of SEEDS) {
    it(`A2, A6, B1, B4: ${KILLS} kills of backups and collections over a connection that breaks lose nothing (${seed})`, async () => {
      const result = await killAround(seed, KILLS);
      console.log(`      ${JSON.stringify(result)}`);
      assert.ok(result.kills >= KILLS);
    });
  }
});
