/** Row A5 of the fault matrix: every call. */
import assert from 'node:assert/strict';
import { killRestores } from '../support/restore-killed.ts';

describe('restores that are killed, at length (A5)', function () {
  this.timeout(3600_000);

  for (const [isInPlace, asOwner] of [
    [false, false],
    [true, false],
    [false, true],
    [true, true],
  ] as const) {
    const how = `${isInPlace ? 'in place' : 'into an empty one'}, ${asOwner ? 'as its owner' : 'as root'}`;
    it(`A5: at each change to the volume, before and after it, ${how}, are completed by the next run`, async () => {
      const { calls, killed } = await killRestores(1, 1, { isInPlace, asOwner });
      console.log(`      ${JSON.stringify({ calls, killed })}`);
      assert.ok(killed >= calls * 1.8, `only ${killed} of ${2 * calls} were killed`);
    });
  }
});
