/**
 * Writes the fixture of a format: `node test/support/make-repository-vector.ts test/vectors/v1`. Made once for each version of the format and
 * never again: every later version must read it as it is.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { deriveScope, formatKey, sealSource } from '../../core/src/repository/keys/keys.ts';
import { createRepository } from '../../core/src/repository/repository.ts';
import { FileStore } from '../../core/src/store/file.ts';
import { makeBackup, seededRandom, SMALL } from './repository.ts';

const target = process.argv[2] ?? 'test/vectors/v1';
const random = seededRandom(1);
const locationKey = random(32);
const source = { clusterId: '6f1d2c3b-0000-4000-8000-000000000001', namespace: 'shop', context: 'prod' };
const { directory, unlock } = deriveScope(locationKey, source);
mkdirSync(join(target, directory), { recursive: true });

const repository = await createRepository(new FileStore(join(target, directory)), unlock, {
  random,
  now: () => new Date('2026-11-22T12:03:11Z'),
  parameters: SMALL,
  source: sealSource(locationKey, source, random),
});
const text = Buffer.from('to be or not to be, that is the question. '.repeat(200));
const volumes = [
  [text, Buffer.from(random(9000)), Buffer.alloc(0), Buffer.alloc(5000), Buffer.from('small')],
  [text, Buffer.from(random(9000)), Buffer.concat([text, Buffer.from(random(300))])],
];
const backups: Record<string, string[]> = {};
for (const [n, contents] of volumes.entries()) {
  const { id } = await makeBackup(repository, n + 1, contents);
  backups[id] = contents.map((content) => createHash('sha256').update(content).digest('hex'));
}
await repository.runs.put('operation1', 'plan', { volumes: 1 });
writeFileSync(
  join(target, 'expected.json'),
  `${JSON.stringify({ key: formatKey(locationKey), source, repository: repository.id, backups }, undefined, 2)}\n`,
);
