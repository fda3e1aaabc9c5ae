/** Given to Node with `--import`: loads one source as DMAAS_TEST_MUTANT, a mutant as JSON, has it, in this process and in those that it starts; the file stays as it is. */
import { registerHooks } from 'node:module';
import { pathToFileURL } from 'node:url';
import { mutated, type Mutant } from './mutant.ts';

const mutant = JSON.parse(process.env['DMAAS_TEST_MUTANT'] ?? 'null') as Mutant | null;

if (mutant !== null) {
  const { href } = pathToFileURL(mutant.file);
  registerHooks({
    load: (url, context, next) =>
      url === href ? { format: 'module-typescript', source: mutated(mutant), shortCircuit: true } : next(url, context),
  });
}
