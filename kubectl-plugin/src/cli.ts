import yargs, { type Argv, type Options } from 'yargs';
import { DmaasError } from '@dmaas/core';
import { Args } from './args.ts';
import type { Command, Flag, Group } from './command.ts';
import { COMMANDS, GROUPS } from './commands/table.ts';
import { GLOBAL_FLAGS, OUTPUT_FLAGS } from './global-flags.ts';
import { PROGRAM, usageError } from './usage-error.ts';

/** What a command line asks for: a command with its values, or help as text. */
export type Parsed = { readonly command: Command; readonly args: Args } | { readonly help: string };

/**
 * Parses a command line against the table of commands. Throws USAGE for anything it does not know.
 * @param argv words after `kubectl dmaas`
 */
export async function parse(argv: readonly string[], columns: number): Promise<Parsed> {
  let chosen: { command: Command; args: Args } | undefined;
  let help = '';
  const choose = (command: Command) => (values: Record<string, unknown>) => {
    chosen = { command, args: new Args(values) };
  };
  const parser = root(columns, argv);
  for (const command of COMMANDS.filter((c) => c.path.length === 1)) addCommand(parser, command, command.path[0] ?? '', choose(command));
  for (const group of GROUPS) addGroup(parser, group, choose);
  await parser.parseAsync([...argv], {}, (_error, _argv, output) => {
    help = output;
  });
  if (help !== '') return { help: `${help}\n` };
  if (chosen !== undefined) return chosen;
  // Only a group was named, or nothing at all.
  parser.showHelp((text) => {
    help = text;
  });
  return { help: `${help}\n` };
}

function root(columns: number, argv: readonly string[]): Argv {
  const parser = yargs()
    .scriptName(PROGRAM)
    .usage(`${PROGRAM} protects, restores and moves stateful applications with their data.\n\nUsage: $0 COMMAND [flags]`)
    .parserConfiguration({
      'boolean-negation': false,
      'camel-case-expansion': false,
      'dot-notation': false,
      'parse-numbers': false,
      'parse-positional-numbers': false,
    })
    .locale('en')
    .wrap(Math.min(columns, 110))
    .strict()
    .recommendCommands()
    .version(false)
    .help('help', 'Show help')
    .alias('help', 'h')
    .exitProcess(false)
    .showHelpOnFail(false)
    .fail((message, error) => {
      // Must throw: yargs would go on and run the command.
      if (DmaasError.is(error)) throw error;
      throw usageError(message, argv, error);
    })
    .epilogue(`Flags of every command: ${PROGRAM} options`);
  for (const flag of GLOBAL_FLAGS) parser.option(flag.name, { ...optionOf(flag), hidden: true });
  return parser.option('no-color', { type: 'boolean', hidden: true });
}

function addGroup(parser: Argv, group: Group, choose: (c: Command) => (v: Record<string, unknown>) => void): void {
  const verbs = COMMANDS.filter((c) => c.path.length === 2 && c.path[0] === group.name);
  parser.command(
    [group.name, ...group.aliases],
    group.summary,
    (y) => {
      y.usage(`${group.summary}\n\nUsage: ${PROGRAM} ${group.name} COMMAND [flags]`);
      for (const verb of verbs) addCommand(y, verb, verb.path[1] ?? '', choose(verb));
      return y.demandCommand(1, `${group.name} needs one of: ${verbs.map((v) => v.path[1]).join(', ')}`);
    },
    () => undefined,
  );
}

/** yargs' sign for a command that help does not show; its types know only the text. */
const HIDDEN = false as unknown as string;

function addCommand(parser: Argv, command: Command, word: string, handler: (values: Record<string, unknown>) => void): void {
  const positionals = (command.positionals ?? []).map((p) =>
    p.required ? `<${p.name}${p.many === true ? '..' : ''}>` : `[${p.name}${p.many === true ? '..' : ''}]`,
  );
  parser.command(
    [[word, ...positionals].join(' '), ...(command.aliases ?? [])],
    command.hidden === true ? HIDDEN : command.summary,
    (y) => {
      y.usage(
        [command.description ?? command.summary, '', `Usage: ${PROGRAM} ${[...command.path, ...positionals].join(' ')} [flags]`].join('\n'),
      );
      for (const p of command.positionals ?? []) y.positional(p.name, { type: 'string', describe: p.describe });
      for (const flag of [...(command.flags ?? []), ...(command.output === true ? OUTPUT_FLAGS : [])]) y.option(flag.name, optionOf(flag));
      for (const [what, line] of command.examples ?? []) y.example(`${PROGRAM} ${line}`, what);
      return y;
    },
    handler,
  );
}

function optionOf(flag: Flag): Options {
  return {
    type: flag.type === 'list' ? 'array' : flag.type,
    describe: flag.type === 'boolean' || flag.value === undefined ? flag.describe : `${flag.value}  ${flag.describe}`,
    // One value per occurrence: `--exclude a b` must not eat positionals.
    ...(flag.type === 'list' ? { nargs: 1, string: true } : {}),
    ...(flag.type === 'string' ? { requiresArg: true } : {}),
    ...(flag.short === undefined ? {} : { alias: flag.short }),
    ...(flag.choices === undefined ? {} : { choices: flag.choices }),
    ...(flag.default === undefined ? {} : { default: flag.default }),
  };
}
