import { Args } from './args.ts';
import type { Command, Completer, Flag } from './command.ts';
import { COMMANDS, GROUPS } from './commands/table.ts';
import { findCommand, positionalsOf, valueFlag } from './find-command.ts';
import { GLOBAL_FLAGS, OUTPUT_FLAGS } from './global-flags.ts';
import { Session, type Streams } from './session.ts';

interface Choice {
  readonly value: string;
  readonly describe?: string;
}

/** kubectl's protocol for plugins: a choice a line, `value<TAB>description`; the last line is a directive, 4 = offer no file names, 0 = do. */
const NO_FILES = ':4';
const FILES = ':0';

/**
 * Completes the last word of a command line, as kubectl asks through `kubectl_complete-dmaas`.
 * @param words after `kubectl dmaas`; the last is what is being typed, maybe empty
 */
export async function completeWords(words: readonly string[], streams: Streams, signal: AbortSignal): Promise<string> {
  const typed = words.at(-1) ?? '';
  const before = words.slice(0, -1);
  const { command, group, rest } = findCommand(before);
  if (command === undefined) {
    const candidates: Choice[] =
      group === undefined
        ? [
            ...GROUPS.map((g) => ({ value: g.name, describe: g.summary })),
            ...COMMANDS.filter((c) => c.path.length === 1 && c.hidden !== true).map((c) => ({
              value: c.path[0] ?? '',
              describe: c.summary,
            })),
          ]
        : COMMANDS.filter((c) => c.path[0] === group).map((c) => ({ value: c.path[1] ?? '', describe: c.summary }));
    return print(candidates, typed);
  }
  const flags = [...(command.flags ?? []), ...(command.output === true ? OUTPUT_FLAGS : []), ...GLOBAL_FLAGS];
  const inline = /^--([a-z-]+)=(.*)$/.exec(typed);
  const flag = inline ? flags.find((f) => f.name === inline[1]) : valueFlag(before.at(-1), flags);
  const session = new Session(streams, signal, argsOf(rest, flags, command));
  try {
    if (flag !== undefined) return await completeFlag(flag, session, inline ? `--${flag.name}=` : '', inline?.[2] ?? typed);
    if (typed.startsWith('-'))
      return print(
        flags.map((f) => ({ value: `--${f.name}`, describe: f.describe })),
        typed,
      );
    const at = positionalsOf(rest, flags).length;
    const positional = command.positionals?.[at] ?? command.positionals?.find((p) => p.many);
    return print(await offer(positional?.complete, session), typed);
  } finally {
    await session.close();
  }
}

async function completeFlag(flag: Flag, session: Session, prefix: string, typed: string): Promise<string> {
  const choices: readonly Choice[] =
    flag.choices === undefined ? await offer(flag.complete, session) : flag.choices.map((value) => ({ value }));
  if (choices.length === 0 && flag.value === 'FILE') return `${FILES}\n`;
  return print(
    choices.map((c) => ({ ...c, value: `${prefix}${c.value}` })),
    `${prefix}${typed}`,
  );
}

async function offer(complete: Completer | undefined, session: Session): Promise<readonly Choice[]> {
  if (complete === undefined) return [];
  try {
    return await complete(session, session.args);
  } catch {
    return []; // A cluster that does not answer must not break the user's command line.
  }
}

function argsOf(words: readonly string[], flags: readonly Flag[], command: Command): Args {
  const values: Record<string, unknown> = {};
  words.forEach((word, i) => {
    const inline = /^--([a-z-]+)=(.*)$/.exec(word);
    const flag = inline ? flags.find((f) => f.name === inline[1]) : valueFlag(words[i - 1], flags);
    if (inline && flag) values[flag.name] = inline[2];
    else if (flag) values[flag.name] = word;
  });
  positionalsOf(words, flags).forEach((word, i) => {
    const name = command.positionals?.[i]?.name;
    if (name !== undefined) values[name] = word;
  });
  return new Args(values);
}

function print(choices: readonly Choice[], typed: string): string {
  const lines = choices
    .filter((c) => c.value.startsWith(typed))
    .map((c) => (c.describe === undefined ? c.value : `${c.value}\t${c.describe}`));
  return `${[...lines, NO_FILES].join('\n')}\n`;
}
