/** Row A2 of the fault matrix, a small share of it: test/long/kill.test.ts has the rest. */
import assert from 'node:assert/strict';
import { killAround } from '../support/kill-world.ts';

describe('processes that are killed (A2)', function () {
  this.timeout(300_000);

  it('A2, A6, B1, B4: backups and collections killed and stopped at random, over a connection that breaks, lose nothing', async () => {
    const result = await killAround(Number(process.env['DMAAS_TEST_SEED'] ?? 1), 8);
    assert.ok(result.kills >= 8 && result.faults > 0, JSON.stringify(result));
  });
});
