import assert from 'node:assert/strict';
import { killRestores } from '../support/restore-killed.ts';

describe('a restore whose process is killed', function () {
  this.timeout(120_000);

  for (const [isInPlace, asOwner, first] of [
    [false, false, 3],
    [true, false, 5],
    [false, true, 7],
    [true, true, 9],
  ] as const) {
    const how = `${isInPlace ? 'in place' : 'into an empty one'}, ${asOwner ? 'as its owner' : 'as root'}`;
    it(`A5: at every twelfth change to the volume, ${how}, is completed by the next run`, async () => {
      const { calls, killed } = await killRestores(first, 12, { isInPlace, asOwner });
      assert.ok(killed >= calls / 12, `only ${killed} were killed`);
    });
  }
});
