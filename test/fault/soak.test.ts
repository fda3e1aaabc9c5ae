/** Rows H3 and H5 of the fault matrix. test/long/soak.test.ts does it for a thousand nights. */
import { assertProcessIsFlat, soak } from '../support/soak.ts';

describe('nights in one process', function () {
  this.timeout(300_000);

  it('H3, H5: what is restored each night is what was backed up; threads, handles, files and memory do not grow', async () => {
    assertProcessIsFlat(await soak(Math.floor(Math.random() * 2 ** 32), 20));
  });
});
