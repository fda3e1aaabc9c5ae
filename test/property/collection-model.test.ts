/** Row D2 of the fault matrix: all interleavings of writers, deleters and collectors, in a model of the protocol (core/DESIGN.md, section 7). */
import assert from 'node:assert/strict';
import { checkModel, ensureModelChecker, SAFEGUARDS } from '../model/check.ts';

describe('the model of garbage collection (D2)', function () {
  this.timeout(600_000);

  before(ensureModelChecker);

  it('D2: loses nothing in any interleaving of two writers, a collector and a deleter', async () => {
    const { states, isComplete, counterExample } = await checkModel('writers');
    assert.deepEqual({ isComplete, counterExample }, { isComplete: true, counterExample: undefined });
    assert.ok(states > 1_000_000, `${states} states`);
  });

  for (const { rule, without, world, bug } of SAFEGUARDS) {
    it(`D2: needs that ${without}: otherwise ${bug}`, async () => {
      const { counterExample } = await checkModel(world, { without: rule });
      assert.notEqual(counterExample, undefined);
    });
  }
});
