/** Row H2 of the fault matrix, a few mutants of modules whose tests are quick; all of them in test/long/mutation.test.ts. */
import assert from 'node:assert/strict';
import { runMutants } from '../support/mutation.ts';

const MODULES = ['format/frame.ts', 'format/sealed.ts', 'collection/live-set.ts'];
const MUTANTS = 12;

describe('tests of the repository (H2)', function () {
  this.timeout(600_000);

  it(`H2: notice four of five faults of ${MUTANTS} in formats and the set of what is needed`, async () => {
    const { tried, killed, survivors } = await runMutants({
      seed: 6,
      minutes: 8,
      most: MUTANTS,
      isWanted: (name) => MODULES.includes(name),
    });
    assert.equal(tried, MUTANTS);
    assert.ok(killed >= tried * 0.8, survivors.join('\n'));
  });
});
