import assert from 'node:assert/strict';
import { killRestores } from '../support/restore-killed.ts';

describe('a restore whose process is killed', function () {
  this.timeout(120_000);

  for (const [isInPlace, first] of [
    [false, 3],
    [true, 5],
  ] as const) {
    it(`A5: at every twelfth change to the volume, ${isInPlace ? 'in place' : 'into an empty one'}, is completed by the next run`, async () => {
      const { calls, killed } = await killRestores(first, 12, isInPlace);
      assert.ok(killed >= calls / 12, `only ${killed} were killed`);
    });
  }
});
