/** Row H2 of the fault matrix: DMAAS_TEST_MUTATION_MINUTES of mutants, in the modules of DMAAS_TEST_MUTATION_MODULES (all: those in which a fault loses data), in an order that DMAAS_TEST_MUTATION_SEED decides. */
import assert from 'node:assert/strict';
import { runMutants } from '../support/mutation.ts';

const MINUTES = Number(process.env['DMAAS_TEST_MUTATION_MINUTES'] ?? 40);
const SEED = Number(process.env['DMAAS_TEST_MUTATION_SEED'] ?? 1);
const MODULES = process.env['DMAAS_TEST_MUTATION_MODULES']?.split(',');

describe('tests of the repository (H2)', function () {
  this.timeout(MINUTES * 60_000 + 600_000);

  it(`H2: notice four of five faults in what data hangs on, of as many as ${MINUTES} minutes try`, async () => {
    const { tried, killed, survivors } = await runMutants({
      seed: SEED,
      minutes: MINUTES,
      ...(MODULES !== undefined && { isWanted: (name: string) => MODULES.includes(name) }),
    });
    console.log(`      seed ${SEED}: ${killed} of ${tried} noticed, ${Math.round((killed / tried) * 100)} %`);
    assert.ok(tried > 0, 'no module is called so, or there was no time');
    assert.ok(killed >= tried * 0.8, survivors.join('\n'));
  });
});
