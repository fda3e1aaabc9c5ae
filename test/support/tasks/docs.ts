/**
 * Writes the generated documents: kubectl-plugin/REFERENCE.md, from the table of commands and the table of errors, test/MATRIX.md and test/model/README.md; with `--check` it only says whether they are up to date; with `--results`
 * the matrix gets the results of the last runs of the tests.
 */
import { join } from 'node:path';
import { ERRORS } from '@dmaas/core';
import { PROGRAM } from '../../../kubectl-plugin/src/usage-error.ts';
import type { Command, Flag } from '../../../kubectl-plugin/src/command.ts';
import { COMMANDS } from '../../../kubectl-plugin/src/commands/table.ts';
import { GLOBAL_FLAGS, OUTPUT_FLAGS } from '../../../kubectl-plugin/src/global-flags.ts';
import { writeGenerated } from './generated.ts';
import { writeMatrix } from './matrix.ts';
import { keepResults } from './matrix-results.ts';
import { writeModelPage } from './model-page.ts';

export const REFERENCE = join(import.meta.dirname, '../../../kubectl-plugin/REFERENCE.md');

function reference(): string {
  const shown = COMMANDS.filter((c) => c.hidden !== true);
  return [
    '# Reference of `kubectl dmaas`',
    '',
    'Generated from the table of commands (`npm run check` says when it is stale; `npm run build` writes it).',
    '',
    '| command | what it does |',
    '| --- | --- |',
    ...shown.map((c) => `| [\`${c.path.join(' ')}\`](#${c.path.join('-')}) | ${c.summary} |`),
    '',
    ...shown.flatMap(section),
    '## Flags of every command',
    '',
    ...flagTable(GLOBAL_FLAGS),
    '## Exit codes',
    '',
    '| exit | code | meaning |',
    '| --- | --- | --- |',
    '| 0 | | done |',
    ...Object.entries(ERRORS)
      .sort(([, a], [, b]) => a.exit - b.exit)
      .map(([code, e]) => `| ${e.exit} | ${code} | ${e.meaning} |`),
    '',
  ].join('\n');
}

function section(command: Command): string[] {
  const words = (command.positionals ?? []).map((p) =>
    p.required ? `${p.name}${p.many === true ? '…' : ''}` : `[${p.name}${p.many === true ? '…' : ''}]`,
  );
  const flags = [...(command.flags ?? []), ...(command.output === true ? OUTPUT_FLAGS : [])];
  return [
    `## ${command.path.join('-')}`,
    '',
    `\`${[PROGRAM, ...command.path, ...words].join(' ')}\``,
    '',
    command.description ?? `${command.summary}.`,
    '',
    ...(command.aliases === undefined
      ? []
      : [`Also: ${command.aliases.map((a) => `\`${[...command.path.slice(0, -1), a].join(' ')}\``).join(', ')}`, '']),
    ...(command.positionals ?? []).map((p) => `- \`${p.name}\`: ${p.describe}`),
    ...(command.positionals === undefined ? [] : ['']),
    ...flagTable(flags),
    ...(command.examples ?? []).flatMap(([what, line]) => ['```', `# ${what}`, `${PROGRAM} ${line}`, '```', '']),
  ];
}

function flagTable(flags: readonly Flag[]): string[] {
  if (flags.length === 0) return [];
  const name = (f: Flag) =>
    `${f.short === undefined ? '' : `-${f.short}, `}--${f.name}${f.type === 'boolean' ? '' : ` ${f.value ?? (f.choices ?? []).join('\\|')}`}`;
  return [
    '| flag | |',
    '| --- | --- |',
    ...flags.map((f) => `| \`${name(f)}\` | ${f.describe}${typeof f.default === 'string' ? ` (default ${f.default})` : ''} |`),
    '',
  ];
}

/** @returns whether the file was as it should be. */
export function writeReference(checkOnly: boolean): Promise<boolean> {
  return writeGenerated(REFERENCE, reference(), checkOnly);
}

if (import.meta.main) {
  const checkOnly = process.argv.includes('--check');
  if (process.argv.includes('--results')) keepResults();
  for (const [file, write] of [
    ['kubectl-plugin/REFERENCE.md', writeReference],
    ['test/MATRIX.md', writeMatrix],
    ['test/model/README.md', writeModelPage],
  ] as const) {
    const same = await write(checkOnly);
    if (!checkOnly || same) continue;
    process.stderr.write(`${file} is stale: node test/support/tasks/docs.ts\n`);
    process.exitCode = 1;
  }
}
