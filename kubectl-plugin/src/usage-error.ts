import { DmaasError, shellWord } from '@dmaas/core';
import type { Command } from './command.ts';
import { findCommand, positionalsOf } from './find-command.ts';
import { GLOBAL_FLAGS } from './global-flags.ts';

export const PROGRAM = 'kubectl dmaas';

/** What the parser has against a command line, as a fact about its words, with the next step. */
export function usageError(complaint: string | null, argv: readonly string[], cause: unknown): DmaasError {
  const { command, group } = findCommand(argv);
  const path = command?.path ?? (group === undefined ? [] : [group]);
  const help = [PROGRAM, ...path, '--help'].join(' ');
  const [, meant] = /^Did you mean (\S+)\?/.exec(complaint ?? '') ?? [];
  if (meant === undefined) {
    const fact = factOf(complaint ?? 'the command line cannot be read', argv, command, path);
    return new DmaasError('USAGE', fact, { cause, hint: help });
  }
  const unknown = positionalsOf(argv, GLOBAL_FLAGS)[path.length] ?? '';
  const corrected = [PROGRAM, ...argv.map((word) => shellWord(word === unknown ? meant : word))].join(' ');
  // The parser's guesses go far.
  return new DmaasError('USAGE', noCommand(unknown, path), { cause, hint: meant.startsWith(unknown.charAt(0)) ? corrected : help });
}

function factOf(complaint: string, argv: readonly string[], command: Command | undefined, path: readonly string[]): string {
  const [, given] = /^Not enough non-option arguments: got (\d+)/.exec(complaint) ?? [];
  const missing = command?.positionals?.filter(({ required }) => required)[Number(given)];
  if (missing !== undefined) return `${missing.name} is missing`;
  const [, flag] = /^Not enough arguments following: (\S+)/.exec(complaint) ?? [];
  if (flag !== undefined) return `${dashed(flag)} needs a value`;
  const [, name = '', value = '', choices] = /Argument: (\S+), Given: "(.*?)", Choices: (.*)/.exec(complaint) ?? [];
  if (choices !== undefined) return `${dashed(name)} ${value} is none of ${choices.replaceAll('"', '')}`;
  const unknown = /^Unknown arguments?: (.*)/.exec(complaint)?.[1]?.split(', ') ?? [];
  const isFlag = (name: string) => argv.some((word) => word.replace(/=.*/s, '') === dashed(name));
  const [first] = unknown;
  if (first === undefined) return complaint.charAt(0).toLowerCase() + complaint.slice(1);
  // No flag of a command that is not known is known.
  const word = command === undefined ? unknown.find((name) => !isFlag(name)) : undefined;
  if (word !== undefined) return noCommand(word, path);
  return isFlag(first) ? `there is no flag ${dashed(first)}` : `"${first}" is an argument too many for ${path.join(' ')}`;
}

function noCommand(word: string, [group]: readonly string[]): string {
  return group === undefined ? `there is no command ${word}` : `there is no command ${word} in ${group}`;
}

function dashed(flag: string): string {
  return flag.length === 1 ? `-${flag}` : `--${flag}`;
}
