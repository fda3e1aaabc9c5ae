/** Row D2 of the fault matrix: the model of garbage collection in every world, as far as memory and DMAAS_TEST_MODEL_MINUTES for each reach. Prints what was explored, for EXPLORED in test/model/check.ts. */
import assert from 'node:assert/strict';
import { checkModel, ensureModelChecker, WORLDS, type World } from '../model/check.ts';

const MINUTES = Number(process.env['DMAAS_TEST_MODEL_MINUTES'] ?? 25);

describe('the model of garbage collection, whole (D2)', function () {
  this.timeout(3_600_000);

  before(ensureModelChecker);

  for (const world of Object.keys(WORLDS) as World[]) {
    it(`D2: loses nothing in the world "${world}"`, async () => {
      const { states, isComplete, counterExample } = await checkModel(world, { bitState: 34, minutes: MINUTES });
      console.log(`      ${JSON.stringify(WORLDS[world])}: ${states} states${isComplete ? '' : ' and not done'}`);
      assert.equal(counterExample, undefined);
      assert.ok(states > 1_000_000);
    });
  }
});
