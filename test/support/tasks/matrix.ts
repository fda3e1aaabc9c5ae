/** Writes test/MATRIX.md: the rows of the fault matrix, and the tests that carry their ids. With `--check` it only says whether it is up to date. */
import { globSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { writeGenerated } from './generated.ts';
import { keptResults, type FileResult, type RowResult } from './matrix-results.ts';

const root = resolve(import.meta.dirname, '../../..');
const MATRIX = join(root, 'test/MATRIX.md');
const ID = /\b[A-H]\d{1,2}\b/g;

/** What is done; and, of rows that no test has, why. */
const ROWS: Readonly<Record<string, readonly [what: string, gap?: string]>> = {
  A1: ['a crash at every store call of a backup, before and after its effect'],
  A2: ['kill -9 at random times'],
  A3: ['a crash at every store call of a garbage collection'],
  A4: ['a crash at every store call of a merge of the index'],
  A5: ['a crash in a restore', 'between the last two calls the time of the root directory, and nothing else, can be lost'],
  A6: ['lost acknowledgements'],
  B1: ['the store is too busy: 500, 503, 429'],
  B2: ['the store is away'],
  B3: ['a slow link', '10 KB/s with two seconds for each request takes a minute; the suite has 30 KB/s and half a second'],
  B4: ['connections that break in the middle'],
  B5: ['answers that are cut, or of another length or range'],
  B6: ['answers of other objects, old versions, old listings'],
  B7: ['listings that lag'],
  B8: ['a store that ignores conditional creates'],
  B9: [
    'credentials that expire or are refused',
    'credentials that expire while a command runs and are renewed by the SDK need a provider that issues them',
  ],
  B10: ['Object Lock', 'locks of Google Cloud Storage are not made longer: no server that has them can be run here'],
  B11: ['no space'],
  B12: ['leftovers of multipart uploads', 'there are none: nothing is uploaded in parts'],
  C1: ['one flipped bit anywhere in every kind of object'],
  C2: ['objects cut, blanked, removed'],
  C3: ['objects in the place of others'],
  C4: ['wrong, rotated and damaged keys'],
  C5: ['objects of a newer format'],
  C6: [
    'a bit that flips in our memory before upload',
    'what changes before it is sealed, or in an index, is found by verifying and reading, and healed; opening each pack again would cost half of a backup',
  ],
  C7: ['verifying a share or all of the data, and repair'],
  D1: ['many writers at the same time'],
  D2: ['writers beside garbage collection, in all orders'],
  D3: ['several collections at once, and beside deletes and restores'],
  D4: ['clocks that are wrong or go back'],
  D5: ['14 simulated days of random actions'],
  D6: ['writers that are silent for longer than the grace'],
  D7: ['local copies that are stale, foreign or damaged'],
  F1: ['files that change while they are read'],
  F2: ['files that cannot be read'],
  F3: ['everything a file may have, there and back'],
  F4: ['extremes of size, count and depth'],
  F5: ['names of any bytes'],
  G1: ['hostile content of a repository'],
  G2: ['a hostile target of a restore'],
  G3: [
    'decoders given any bytes',
    'minutes of a processor, in runs of 5 to 60: backup records 60, the protocol of movers 60, plans and leaves of trees 30 each (and as much in runs that were not kept), packs with their trailers and tables 60, index segments 60',
  ],
  H1: ['properties of the formats, the index, the chunker and the round trip'],
  H2: [
    'mutation testing',
    'a sample: 653 of 1271 faults, in the sixteen modules where one loses data, of which 594 (91 %) were noticed; most of the others change only what something costs. For garbage collection each rule is taken out of the model, and three out of the code (D2)',
  ],
  H3: [
    'limits of memory; a thousand nights in one process',
    'with ten million chunks and 100 000 backups, verifying the structure took 401 to 472 MiB and a collection 430 to 446, of the 512 that are allowed; figures in core/DESIGN.md, 7.6',
  ],
  H4: ['repositories of earlier versions, and another program that reads them'],
  H5: [
    'restore drills',
    'each night one of the backups that are kept, chosen at random, is restored and compared; on real clusters the end-to-end tests restore what they backed up; the product schedules no drills yet',
  ],
};

interface Found {
  readonly file: string;
  readonly isLong: boolean;
  readonly titles: number;
}

async function testsByRow(): Promise<Map<string, Found[]>> {
  const rows = new Map<string, Map<string, number>>();
  for (const file of globSync('test/**/*.test.ts', { cwd: root }).sort()) {
    const source = await readFile(join(root, file), 'utf8');
    const ofFile = new Map<string, number>();
    for (const [, title] of source.matchAll(/\b(?:it|describe)\(\s*['`]([^'`]*)/g)) {
      for (const [id] of (title ?? '').matchAll(ID)) ofFile.set(id, (ofFile.get(id) ?? 0) + 1);
    }
    for (const [, row] of source.matchAll(/^\s+\['([A-H]\d[^']*)', \d/gm)) {
      for (const [id] of (row ?? '').matchAll(ID)) ofFile.set(id, (ofFile.get(id) ?? 0) + 1);
    }
    for (const [id, titles] of ofFile) rows.set(id, (rows.get(id) ?? new Map<string, number>()).set(file, titles));
  }
  return new Map(
    [...rows].map(([id, files]) => [
      id,
      [...files].map(([file, titles]) => ({ file: relative('test', file), isLong: file.startsWith('test/long/'), titles })),
    ]),
  );
}

async function matrix(): Promise<string> {
  const tests = await testsByRow();
  const cell = (found: readonly Found[]) =>
    found.length === 0 ? '–' : found.map(({ file, titles }) => `[${file}](${file}) (${titles})`).join(', ');
  const results = keptResults();
  const lines = Object.entries(ROWS).map(([id, [what, gap]]) => {
    const found = tests.get(id) ?? [];
    if (found.length === 0 && gap === undefined) throw new Error(`no test carries the id ${id}, and nothing says why`);
    const [short, long] = [found.filter((f) => !f.isLong), found.filter((f) => f.isLong)];
    const columns = [id, what, cell(short), casesOf(id, short, results), cell(long), casesOf(id, long, results), gap ?? ''];
    return `| ${columns.join(' | ')} |`;
  });
  return [
    '# The fault matrix',
    '',
    'Generated from the ids in the titles of tests (`node test/support/tasks/docs.ts`). In brackets: how many titles carry the id. A test that fails fails the suite.',
    '',
    'Cases and results are those of runs that were kept in [matrix-results.json](matrix-results.json), which names the day and the commit of each file of tests: `npm test` leaves what it found in',
    '`test/artifacts`, and `node test/support/tasks/docs.ts --results` takes it over. A case is a call at which something was killed, a flipped bit, an input of a fuzzer; a test that does not count is one.',
    '"not kept" says that a file of the row has no kept result yet. What is missing says also why a row cannot be run on one machine, and what stands in.',
    '',
    '| row | what is done | in `npm test` | cases and result | besides in `npm run test:long` | cases and result | what is missing |',
    '| --- | --- | --- | --- | --- | --- | --- |',
    ...lines,
    '',
  ].join('\n');
}

/** How many cases the tests of a row had, and how they ended. */
function casesOf(id: string, found: readonly Found[], results: Readonly<Record<string, FileResult>>): string {
  if (found.length === 0) return '–';
  const kept = found.flatMap(({ file }) => results[file]?.rows[id] ?? []);
  const sum = (of: (row: RowResult) => number) => kept.reduce((total, row) => total + of(row), 0);
  const failed = sum((row) => row.failed);
  const missing = kept.length < found.length ? [`${found.length - kept.length} of ${found.length} files not kept`] : [];
  if (kept.length === 0) return 'not kept';
  return (
    [sum((row) => row.cases), failed === 0 ? 'passed' : `**${failed} failed**`].join(' ') + missing.map((text) => `; ${text}`).join('')
  );
}

/** @returns whether the file was as it should be. */
export async function writeMatrix(checkOnly: boolean): Promise<boolean> {
  return writeGenerated(MATRIX, await matrix(), checkOnly);
}
