/** Row G3 of the fault matrix, at length: minutes of the processor for each decoder, DMAAS_TEST_FUZZ_MINUTES of them, so that a busy machine takes nothing from it. Inputs with new answers are added to the corpus in test/corpus. */
import { DECODERS } from '../support/decoders.ts';
import { fuzz, readCorpus, writeCorpus } from '../support/fuzz.ts';

const MINUTES = Number(process.env['DMAAS_TEST_FUZZ_MINUTES'] ?? 2);

describe('decoders, at length (G3)', function () {
  this.timeout(MINUTES * 60_000 * 6 + 600_000);

  for (const decoder of DECODERS) {
    it(`G3: the decoder of a ${decoder.name}, for ${MINUTES} minutes`, async () => {
      const corpus = readCorpus();
      const kept = (corpus[decoder.name] ?? []).map((text) => Buffer.from(text, 'base64'));
      const before = kept.length;
      const began = process.cpuUsage();
      const minutes = () => (process.cpuUsage(began).user + process.cpuUsage(began).system) / 60e6;
      let inputs = 0;
      do {
        kept.push(...(await fuzz(decoder, kept, { runs: 5000, seed: Math.floor(Math.random() * 2 ** 32) })));
        inputs += 5000;
      } while (minutes() < MINUTES);
      console.log(`      ${inputs} inputs, ${kept.length - before} with new answers, ${kept.length} kept`);
      writeCorpus({ ...corpus, [decoder.name]: kept.map((input) => input.toString('base64')) });
    });
  }
});
