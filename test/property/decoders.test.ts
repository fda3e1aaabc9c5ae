/** Row G3 of the fault matrix: every decoder, given what is nearly right. test/long/decoders.test.ts does it for longer. */
import assert from 'node:assert/strict';
import { DECODERS } from '../support/decoders.ts';
import { answerTo, fuzz, readCorpus } from '../support/fuzz.ts';

describe('decoders (G3)', function () {
  this.timeout(120_000);
  const corpus = readCorpus();

  for (const decoder of DECODERS) {
    it(`G3: the decoder of a ${decoder.name} decodes or refuses whatever it is given`, async () => {
      const kept = (corpus[decoder.name] ?? []).map((text) => Buffer.from(text, 'base64'));
      for (const input of kept) await answerTo(decoder, input);
      await fuzz(decoder, kept, { runs: 2000, seed: Math.floor(Math.random() * 2 ** 32) });
    });
  }

  it('G3: the corpus has inputs for each', () => {
    for (const { name } of DECODERS) assert.ok((corpus[name] ?? []).length > 0, name);
  });
});
