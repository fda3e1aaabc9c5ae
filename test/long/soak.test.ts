/** Rows H3 and H5 of the fault matrix, at length: DMAAS_TEST_NIGHTS nights. Prints what was held after some of them. */
import { assertBucketIsFlat, assertProcessIsFlat, soak } from '../support/soak.ts';

const NIGHTS = Number(process.env['DMAAS_TEST_NIGHTS'] ?? 1000);

describe('nights in one process, at length', function () {
  this.timeout(3 * 3_600_000);

  it(`H3, H5: in ${NIGHTS} nights what is restored is what was backed up; neither the process nor the bucket grows`, async () => {
    const held = await soak(31, NIGHTS);
    for (let night = 0; night < NIGHTS; night += Math.ceil(NIGHTS / 8))
      console.log(`      night ${night + 1}: ${JSON.stringify(held[night])}`);
    assertProcessIsFlat(held);
    assertBucketIsFlat(held);
  });
});
