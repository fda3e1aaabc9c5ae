import type { Command, Flag } from './command.ts';
import { COMMANDS, GROUPS } from './commands/table.ts';
import { GLOBAL_FLAGS } from './global-flags.ts';

/** What a command line names, by any of its names; the name of the group when it names no command in it. */
export function findCommand(words: readonly string[]): { command?: Command; group?: string; rest: readonly string[] } {
  const named = positionalsOf(words, GLOBAL_FLAGS);
  const [first, second] = named;
  if (first === undefined) return { rest: [] };
  const single = COMMANDS.find((c) => c.path.length === 1 && c.path[0] === first);
  if (single !== undefined) return { command: single, rest: words.slice(words.indexOf(first) + 1) };
  const group = GROUPS.find((g) => g.name === first || g.aliases.includes(first));
  if (group === undefined) return { rest: [] };
  const command = COMMANDS.find(
    (c) => c.path[0] === group.name && (c.path[1] === second || (second !== undefined && c.aliases?.includes(second) === true)),
  );
  if (command === undefined || second === undefined) return { group: group.name, rest: [] };
  return { command, rest: words.slice(words.indexOf(second) + 1) };
}

/** The flag that a word is, if the next word is its value. */
export function valueFlag(word: string | undefined, flags: readonly Flag[]): Flag | undefined {
  if (word === undefined || !word.startsWith('-') || word.includes('=')) return undefined;
  const flag = flags.find((f) => `--${f.name}` === word || (f.short !== undefined && `-${f.short}` === word));
  return flag?.type === 'boolean' ? undefined : flag;
}

/** The words that are neither flags nor their values. */
export function positionalsOf(words: readonly string[], flags: readonly Flag[]): readonly string[] {
  return words.filter((w, i) => !w.startsWith('-') && valueFlag(words[i - 1], flags) === undefined);
}
