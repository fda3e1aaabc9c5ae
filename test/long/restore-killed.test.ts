/** Row A5 of the fault matrix: every call. */
import assert from 'node:assert/strict';
import { killRestores } from '../support/restore-killed.ts';

describe('restores that are killed, at length (A5)', function () {
  this.timeout(3600_000);

  for (const isInPlace of [false, true]) {
    it(`A5: at each change to the volume, before and after it, ${isInPlace ? 'in place' : 'into an empty one'}, are completed by the next run`, async () => {
      const { calls, killed } = await killRestores(1, 1, isInPlace);
      console.log(`      ${JSON.stringify({ calls, killed })}`);
      assert.ok(killed >= calls * 1.8, `only ${killed} of ${2 * calls} were killed`);
    });
  }
});
